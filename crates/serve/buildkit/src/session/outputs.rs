//! Handing archives out: `moby.filesync.v1.FileSend/DiffCopy` with bytes.

use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_client::FileSendClient;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tonic::{Request, Status};

use super::{Session, append};
use crate::fault;
use crate::line::Line;

pub(super) const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Which of the client's outputs is meant.
pub(super) const EXPORTER: &str = "buildkit-attachable-exporter-id";

impl Session {
    /// Sends an archive to the output of this number.
    pub async fn send_archive(
        &self,
        output: usize,
        mut archive: mpsc::Receiver<engine::Result<Bytes>>,
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
        let mut client = FileSendClient::with_origin(self.line(), Line::origin());
        let call = async {
            let mut answers = client.diff_copy(request).await?.into_inner();
            while let Some(answer) = answers.next().await {
                answer?;
            }
            Ok(())
        };
        tokio::select! {
            ended = call => ended,
            Some(status) = failure.recv() => Err(status),
        }
    }
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
