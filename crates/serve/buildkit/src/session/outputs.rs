//! Handing archives out: `moby.filesync.v1.FileSend/DiffCopy` with bytes.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_client::FileSendClient;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::{Code, Request, Status};

use super::{Session, append};
use crate::fault;
use crate::line::Line;

pub(super) const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Which of the client's outputs is meant.
pub(super) const EXPORTER: &str = "buildkit-attachable-exporter-id";
/// What is said of an archive comes behind this.
const TOLD: &str = "exporter-md-";

impl Session {
    /// Sends an archive to the output of this number, with what is to be said of it. A client that has it already may say so.
    pub async fn send_archive(
        &self,
        output: usize,
        mut archive: mpsc::Receiver<engine::Result<Bytes>>,
        told: &HashMap<String, String>,
    ) -> Result<(), Status> {
        self.needs(METHOD)?;
        let (failed, mut failure) = mpsc::channel(1);
        let messages = async_stream(move |sender: mpsc::Sender<BytesMessage>| async move {
            while let Some(chunk) = archive.recv().await {
                match chunk {
                    Ok(bytes) => {
                        if sender.send(BytesMessage { data: bytes.into() }).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = failed.send(fault::status(error)).await;
                        // The call must not end well: it is dropped by the one who reads the failure.
                        return std::future::pending().await;
                    }
                }
            }
        });
        let mut request = Request::new(messages);
        append(request.metadata_mut(), EXPORTER, &[output.to_string()]);
        for (key, value) in told {
            // What is no name of a header is nothing that an output would be chosen by.
            let Ok(key) = AsciiMetadataKey::from_bytes(format!("{TOLD}{key}").as_bytes()) else { continue };
            if let Ok(value) = AsciiMetadataValue::try_from(value.as_str()) {
                request.metadata_mut().insert(key, value);
            }
        }
        let mut client = FileSendClient::with_origin(self.line(), Line::origin());
        let call = async {
            let mut answers = client.diff_copy(request).await?.into_inner();
            while let Some(answer) = answers.next().await {
                answer?;
            }
            Ok(())
        };
        tokio::select! {
            ended = call => ended.or_else(is_there),
            Some(status) = failure.recv() => Err(status),
        }
    }
}

/// A client that does not want it again says that it is there.
fn is_there(status: Status) -> Result<(), Status> {
    if status.code() == Code::AlreadyExists { Ok(()) } else { Err(status) }
}

/// A stream of what a task sends; the task ends with the stream.
pub(super) fn async_stream<T: Send + 'static, F>(
    work: impl FnOnce(mpsc::Sender<T>) -> F,
) -> impl futures_util::Stream<Item = T> + Send
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(8);
    let mut task = tokio::task::JoinSet::new();
    task.spawn(work(sender));
    futures_util::stream::unfold((receiver, task), |(mut receiver, task)| async {
        receiver.recv().await.map(|item| (item, (receiver, task)))
    })
}
