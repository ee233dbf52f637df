//! The second half of `docker exec`.

use api::exec::StartRequest;
use monitor::client;
use monitor::protocol::{Failure, FailureKind};
use tokio::net::UnixStream;

use super::monitor;
use crate::Engine;
use crate::error::{Context, Error, Kind, Result};

/// A running process and its standard streams.
pub struct Started {
    /// Whether it has a terminal: then the bytes are raw, else framed.
    pub tty: bool,
    /// Both directions.
    pub stream: UnixStream,
}

/// Runs a prepared process and attaches to it.
pub async fn start(engine: &Engine, id: &str, request: StartRequest) -> Result<Started> {
    let id = id.to_owned();
    let (stream, tty) = engine
        .blocking(move |engine| {
            let (mut connection, _) = monitor(engine, &id)?;
            let state = connection.exec_inspect(&id)?;
            let stream = connection.exec_attach(&id, size(&request)).map_err(failed)?;
            Ok((stream, state.create.tty))
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
        .blocking(move |engine| {
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
        client::Error::Failed(Failure { kind: FailureKind::Start, message, .. }) => Error::new(
            Kind::InvalidParameter,
            format!(
                "OCI runtime exec failed: exec failed: unable to start container process: {message}: unknown"
            ),
        ),
        other => other.into(),
    }
}
