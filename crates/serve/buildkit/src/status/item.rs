//! What is told, one thing at a time, and the messages that carry it.

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{
    StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning,
};
use bollard_buildkit_proto::pb::SourceInfo;
use prost::Message as _;

/// What is sent in one message: items, and bytes. Clients take 16 MiB.
const ITEMS: usize = 256;
const BYTES: usize = 1 << 20;

/// One thing that is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Vertex(Vertex),
    Progress(VertexStatus),
    Log(VertexLog),
    /// Many warnings show one file: it is put in when they are sent.
    Warning(VertexWarning, Option<Arc<SourceInfo>>),
}

impl Item {
    /// What it takes of memory, without the file that it shares with others.
    pub fn kept(&self) -> usize {
        let said = match self {
            Item::Vertex(vertex) => vertex.encoded_len(),
            Item::Progress(progress) => progress.encoded_len(),
            Item::Log(log) => log.encoded_len(),
            Item::Warning(warning, _) => warning.encoded_len(),
        };
        size_of::<Item>() + said
    }

    /// What it takes of a message.
    fn sent(&self) -> usize {
        let file = match self {
            Item::Warning(_, Some(file)) => file.encoded_len(),
            _ => 0,
        };
        self.kept() + file
    }

    fn put(&self, status: &mut StatusResponse) {
        match self {
            Item::Vertex(vertex) => status.vertexes.push(vertex.clone()),
            Item::Progress(progress) => status.statuses.push(progress.clone()),
            Item::Log(log) => status.logs.push(log.clone()),
            Item::Warning(warning, file) => {
                let info = file.as_deref().cloned();
                status.warnings.push(VertexWarning { info, ..warning.clone() });
            }
        }
    }
}

/// The first items as one message, and how many they are; none if there are none.
pub fn batch(items: &[Item]) -> Option<(StatusResponse, usize)> {
    let mut status = StatusResponse::default();
    let (mut count, mut bytes) = (0, 0);
    for item in items.iter().take(ITEMS) {
        bytes += item.sent();
        if count > 0 && bytes > BYTES {
            break;
        }
        item.put(&mut status);
        count += 1;
    }
    (count > 0).then_some((status, count))
}
