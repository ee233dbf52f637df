//! `docker wait`, and the wait that `docker run` registers before it starts.

use std::future::Future;

use api::containers::{WaitCondition, WaitError, WaitResponse};
use monitor::client;
use monitor::protocol::{self, Condition, Exit, Reply};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::record::{self, Record};
use super::start;
use crate::Engine;
use crate::error::{Context, Error, Kind, Result};

/// Registers the wait; the future that comes back ends with the container's exit.
pub async fn wait(
    engine: &Engine,
    reference: &str,
    condition: WaitCondition,
) -> Result<impl Future<Output = Result<WaitResponse>> + Send + use<>> {
    let reference = reference.to_owned();
    let registered = engine.blocking(move |engine| register(engine, &reference, condition)).await?;
    let engine = engine.clone();
    Ok(async move {
        match registered {
            Registered::Over(code) => Ok(response(code, None)),
            Registered::Waiting { stream, record } => {
                stream.set_nonblocking(true).during("prepare the monitor's connection")?;
                let stream = UnixStream::from_std(stream).during("prepare the monitor's connection")?;
                match exit(stream).await {
                    Ok(exit) => Ok(response(exit.exit_code, exit.error)),
                    // The monitor was killed, and the container with it.
                    Err(_) => lost(&engine, &record).await,
                }
            }
        }
    })
}

enum Registered {
    Over(i32),
    Waiting { stream: std::os::unix::net::UnixStream, record: Box<Record> },
}

fn register(engine: &Engine, reference: &str, condition: WaitCondition) -> Result<Registered> {
    let record = record::find(engine, reference)?;
    let wire = match condition {
        WaitCondition::NotRunning => {
            let status = record::observe(engine, &record.id)?.status;
            if !status.state.is_live() {
                return Ok(Registered::Over(status.exit_code));
            }
            Condition::NotRunning
        }
        WaitCondition::NextExit => Condition::NextExit,
        WaitCondition::Removed => Condition::Removed,
    };
    let connection = match condition {
        // It may have ended since, with its monitor: no new one is needed to say so.
        WaitCondition::NotRunning => client::connect(&engine.config().run, &record.id)?,
        _ => Some(start::monitor(engine, &record.id)?),
    };
    let Some(connection) = connection else {
        return Ok(Registered::Over(record::observe(engine, &record.id)?.status.exit_code));
    };
    let stream = connection.wait(wire)?.into_stream();
    Ok(Registered::Waiting { stream, record: Box::new(record) })
}

/// Reads the one message that ends a wait.
pub(super) async fn exit(mut stream: UnixStream) -> Result<Exit> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.during("wait for the container")?;
    let mut body = vec![0; protocol::body_length(header).system()?];
    stream.read_exact(&mut body).await.during("wait for the container")?;
    match protocol::decode(&body).system()? {
        Reply::Exit(exit) => Ok(exit),
        Reply::Failed(failure) => Err(Error::system(failure.message)),
        other => Err(Error::system(format!("unexpected reply of monitor: {other:?}"))),
    }
}

async fn lost(engine: &Engine, record: &Record) -> Result<WaitResponse> {
    let id = record.id.clone();
    engine
        .blocking(move |engine| match record::get(engine, &id) {
            Ok(_) => Ok(response(record::observe(engine, &id)?.status.exit_code, None)),
            Err(e) if e.kind == Kind::NotFound => Ok(response(0, None)),
            Err(e) => Err(e),
        })
        .await
}

fn response(code: i32, error: Option<String>) -> WaitResponse {
    WaitResponse { status_code: i64::from(code), error: error.map(|message| WaitError { message }) }
}
