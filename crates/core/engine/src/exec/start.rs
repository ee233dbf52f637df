//! The second half of `docker exec`.

use api::exec::StartRequest;
use std::io::Write as _;

use monitor::protocol::{ExecStart, FailureKind};
use monitor::{client, stdcopy};
use tokio::net::UnixStream;

use super::{held, monitor};
use crate::Engine;
use crate::error::{Context, Error, Kind, Result};

/// A running process and its standard streams.
pub struct Started {
    /// Whether the bytes are raw, as of a terminal, else framed.
    pub tty: bool,
    /// Both directions.
    pub stream: UnixStream,
}

/// Runs a prepared process and attaches to it. One that can't be run says so on its standard error, and its exit code
/// tells the rest: that is how Docker answers, and clients read the code from `exec inspect`.
///
/// Whether the stream is framed is this request's to say, not the prepared process': clients that forget about its
/// terminal here expect frames.
pub async fn start(engine: &Engine, id: &str, request: StartRequest) -> Result<Started> {
    let id = id.to_owned();
    let tty = request.tty;
    let stream = engine
        .brief(move |engine| {
            let start = ExecStart { id, size: size(&request), raw: Some(tty), ..ExecStart::default() };
            let started = match held::run(engine, &start)? {
                Some(started) => started,
                None => monitor(engine, &start.id)?.0.exec_attach(&start.id, start.size, start.raw),
            };
            match started {
                Ok(stream) => Ok(stream),
                Err(client::Error::Failed(failure)) if failure.kind == FailureKind::Start => {
                    last_words(&message(&failure.message), tty)
                }
                Err(other) => Err(other.into()),
            }
        })
        .await?;
    stream.set_nonblocking(true).during("prepare the monitor's connection")?;
    let stream = UnixStream::from_std(stream).during("prepare the monitor's connection")?;
    Ok(Started { tty, stream })
}

/// Runs a prepared process without attaching.
pub async fn start_detached(engine: &Engine, id: &str, request: StartRequest) -> Result<()> {
    let id = id.to_owned();
    engine
        .brief(move |engine| {
            let (mut connection, _) = monitor(engine, &id)?;
            connection.exec_detached(&id).map_err(failed)?;
            if let Some((height, width)) = size(&request) {
                connection.exec_resize(&id, height, width)?;
            }
            Ok(())
        })
        .await
}

fn size(request: &StartRequest) -> Option<(u16, u16)> {
    let [height, width] = request.console_size?.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    (height > 0 && width > 0).then_some((height, width))
}

fn failed(error: client::Error) -> Error {
    match error {
        client::Error::Failed(failure) if failure.kind == FailureKind::Start => {
            Error::new(Kind::InvalidParameter, message(&failure.message))
        }
        other => other.into(),
    }
}

fn message(failure: &str) -> String {
    format!("OCI runtime exec failed: exec failed: unable to start container process: {failure}: unknown")
}

/// A stream that says this and ends.
fn last_words(message: &str, tty: bool) -> Result<std::os::unix::net::UnixStream> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().during("make a connection")?;
    let text = format!("{message}\r\n");
    let mut bytes = Vec::new();
    if !tty {
        bytes.extend(stdcopy::header(stdcopy::Stream::Stderr, u32::try_from(text.len()).unwrap_or(u32::MAX)));
    }
    bytes.extend(text.as_bytes());
    (&ours).write_all(&bytes).during("answer")?;
    Ok(theirs)
}
