//! A client's standard input: `moby.upload.v1.Upload`.

use std::io;
use std::pin::Pin;

use bollard_buildkit_proto::moby::upload::v1::BytesMessage;
use bollard_buildkit_proto::moby::upload::v1::upload_client::UploadClient;
use bytes::Bytes;
use engine::builds::received::{Entry, EntryKind, Received};
use futures_util::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tonic::{Request, Status};

use super::{STALL, Session, append, within};
use crate::line::Line;
use crate::{MESSAGE_MAX, fault};

/// What addresses of uploads begin with.
pub const ADDRESS: &str = "http://buildkit-session/";
/// How a file is called that was uploaded.
pub const CONTENT: &str = "content";

impl Session {
    /// The bytes behind an address that begins with [`ADDRESS`].
    pub async fn upload(
        &self,
        address: &str,
    ) -> Result<Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>, Status> {
        let name = address.strip_prefix(ADDRESS).unwrap_or(address);
        // Nothing is said; but while this call lasts the client must not see its end.
        let mut request = Request::new(futures_util::stream::pending::<BytesMessage>());
        append(request.metadata_mut(), "urlpath", &[format!("/{name}")]);
        append(request.metadata_mut(), "urlhost", &["buildkit-session".to_owned()]);
        let mut client = UploadClient::with_origin(self.line(), Line::origin());
        client = client.max_decoding_message_size(MESSAGE_MAX);
        let messages = client.pull(request).await?.into_inner();
        Ok(Box::pin(messages.map(|message| match message {
            Ok(message) => Ok(message.data.into()),
            Err(status) => Err(io::Error::other(status.message().to_owned())),
        })))
    }

    /// The same bytes as a file, [`CONTENT`], in a directory.
    pub async fn uploaded(&self, address: &str, mut into: Received) -> Result<Received, Status> {
        let mut bytes = self.upload(address).await?;
        let runtime = Handle::current();
        let write = move || {
            let (path, kind) = (CONTENT.into(), EntryKind::File);
            let (uid, gid, modified, size, attributes) = (0, 0, 0, 0, Vec::new());
            let file = Entry { path, kind, mode: 0o600, uid, gid, modified, size, attributes };
            into.add(&file).and_then(|()| into.open(0, &file)).map_err(fault::status)?;
            while let Some(piece) = runtime.block_on(within(STALL, "what it uploads", bytes.next()))? {
                let piece = piece.map_err(|e| Status::aborted(format!("error from sender: {e}")))?;
                into.write(0, &piece).map_err(fault::status)?;
            }
            into.close(0).and_then(|()| into.finish()).map_err(fault::status)?;
            Ok(into)
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(|e| Status::internal(format!("receive an upload: {e}")))?
    }
}
