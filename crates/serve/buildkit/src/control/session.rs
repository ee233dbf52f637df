//! A session over a call instead of a connection of its own: its bytes travel in messages.

use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::Many;
use crate::host::Refused;
use crate::{Host, Peer};

const BUFFER: usize = 64 << 10;

pub fn session(
    host: &Host,
    request: Request<Streaming<BytesMessage>>,
    peer: Peer,
) -> Result<Response<Many<BytesMessage>>, Status> {
    let headers = request.metadata().clone().into_headers();
    let opening = host.session(&headers, peer).map_err(|refused| match refused {
        Refused::Nameless => Status::invalid_argument(refused.to_string()),
        Refused::Exists(_) => Status::already_exists(refused.to_string()),
        Refused::TooMany => Status::resource_exhausted(refused.to_string()),
    })?;
    let (near, far) = tokio::io::duplex(BUFFER);
    tokio::spawn(opening.run(TokioIo::new(near)));
    let (output, mut input) = tokio::io::split(far);
    let mut messages = request.into_inner();
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if input.write_all(&message.data).await.is_err() {
                return;
            }
        }
        // The session has ended then: there is nobody to tell.
        let _ = input.shutdown().await;
    });
    let answers = futures_util::stream::unfold(output, |mut output| async {
        let mut data = vec![0; BUFFER];
        let count = output.read(&mut data).await.ok().filter(|count| *count > 0)?;
        data.truncate(count);
        Some((Ok(BytesMessage { data }), output))
    });
    Ok(Response::new(Box::pin(answers)))
}
