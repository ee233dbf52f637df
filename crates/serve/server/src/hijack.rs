//! Connections that leave HTTP: the client's side and a monitor's stream joined in both directions.

use std::io;
use std::time::Duration;

use api::common::{MULTIPLEXED_STREAM, RAW_STREAM};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::answer::{self, Answer, Result};
use crate::call::Call;
use crate::listen::{Stream, WriteHalf};

const BUFFER: usize = 32 << 10;
/// How often a client that sends nothing more is looked at for having gone.
const GONE_CHECK: Duration = Duration::from_secs(1);
/// How long the answer's head may lie unread before output follows it.
const HEAD_PATIENCE: Duration = Duration::from_millis(250);
/// Between two looks at whether the head was read, once the first looks in quick succession were in vain.
const HEAD_CHECK: Duration = Duration::from_millis(1);
/// How many looks are in quick succession.
const HEAD_QUICK: u32 = 50;

/// What the far side gives: what came before, then a stream in both directions.
pub struct Session {
    pub tty: bool,
    pub replay: Option<mpsc::Receiver<Bytes>>,
    pub stream: UnixStream,
}

/// Joins the client to a session: by 101 and the bare connection when the client asked for that, else with the
/// bodies of request and answer.
pub fn join(mut call: Call, session: Session) -> Result {
    let kind = match !session.tty && call.version.at_least(42) {
        true => MULTIPLEXED_STREAM,
        false => RAW_STREAM,
    };
    match call.upgrade.take() {
        Some(upgrade) => Ok(switch(upgrade, kind, session)),
        None => Ok(bodies(call, kind, session)),
    }
}

fn switch(upgrade: OnUpgrade, kind: &'static str, session: Session) -> Answer {
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => relay(connection, session).await,
            Err(e) => tracing::debug!(error = %e, "client left before the connection was handed over"),
        }
    });
    let mut response = Response::new(answer::no_body());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    response
}

/// Copies until the far side has ended or the client has gone. The end of the client's input is passed on, and
/// output still flows.
async fn relay(connection: Upgraded, session: Session) {
    let Ok(parts) = connection.downcast::<TokioIo<Stream>>() else { return };
    let (client_in, client_out) = parts.io.into_inner().into_split();
    let (far_in, far_out) = session.stream.into_split();
    let early = io::Cursor::new(parts.read_buf);
    let input = upload(early.chain(client_in), far_out);
    let output = download(far_in, session.replay, client_out);
    tokio::pin!(input, output);
    tokio::select! {
        () = &mut output => return,
        ended = &mut input => if ended == Input::Broken { return },
    }
    output.await;
}

/// How a client's input ended.
#[derive(PartialEq, Eq)]
enum Input {
    /// At its end, or nobody takes it any more; output may still come.
    Ended,
    /// With the connection.
    Broken,
}

async fn upload(mut client: impl AsyncRead + Unpin, mut far: OwnedWriteHalf) -> Input {
    let mut buffer = vec![0; BUFFER];
    loop {
        match client.read(&mut buffer).await {
            Err(_) => return Input::Broken,
            Ok(0) => break,
            Ok(count) => {
                if far.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        }
    }
    // The far side may have closed first; there is nobody to tell then.
    let _ = far.shutdown().await;
    Input::Ended
}

async fn download(mut far: OwnedReadHalf, replay: Option<mpsc::Receiver<Bytes>>, mut client: WriteHalf) {
    head_taken(&client).await;
    if let Some(mut replay) = replay {
        while let Some(bytes) = replay.recv().await {
            if client.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = tokio::select! {
            read = far.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            },
            () = gone(&client) => return,
        };
        if client.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = client.shutdown().await;
}

/// Waits until the client has read the answer's head. Clients that parse HTTP through a buffer and then take the
/// bare socket from below it (Docker's own library for Python) lose what comes in one portion with the head. An
/// engine that is slower than theirs at starting processes never shows them that.
async fn head_taken(client: &WriteHalf) {
    let wait = async {
        let mut looks = 0;
        while !client.is_taken() {
            looks += 1;
            match looks < HEAD_QUICK {
                true => tokio::task::yield_now().await,
                false => tokio::time::sleep(HEAD_CHECK).await,
            }
        }
    };
    // A client that reads nothing yet gets its output all the same.
    let _ = tokio::time::timeout(HEAD_PATIENCE, wait).await;
}

/// Ends when the client has closed its connection altogether, which an end of input alone does not tell.
async fn gone(client: &WriteHalf) {
    loop {
        tokio::time::sleep(GONE_CHECK).await;
        if client.peer_is_gone().await {
            return;
        }
    }
}

/// Without an upgrade the request's body is the input and the answer's body the output.
fn bodies(call: Call, kind: &'static str, session: Session) -> Answer {
    let (far_in, far_out) = session.stream.into_split();
    let input = StreamReader::new(Box::pin(call.take_body()));
    tokio::spawn(upload(input, far_out));
    let replay = futures_util::stream::unfold(session.replay, |replay| async {
        let mut replay = replay?;
        let bytes = replay.recv().await?;
        Some((Ok(bytes), Some(replay)))
    });
    answer::stream(kind, replay.chain(ReaderStream::with_capacity(far_in, BUFFER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_never_comes_in_one_portion_with_the_head() {
        let (ours, mut client) = UnixStream::pair().unwrap();
        let (far, mut process) = UnixStream::pair().unwrap();
        process.write_all(b"output").await.unwrap();
        drop(process);
        let (_, mut out) = Stream::Unix(ours).into_split();
        out.write_all(b"head").await.unwrap();
        let relay = tokio::spawn(download(far.into_split().0, None, out));
        tokio::time::sleep(HEAD_CHECK).await;
        let mut buffer = [0; 64];
        let count = client.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"head");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"output");
        relay.await.unwrap();
    }
}
