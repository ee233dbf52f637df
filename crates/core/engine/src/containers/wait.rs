//! `docker wait`, and the wait that `docker run` registers before it starts.

use std::future::Future;

use api::containers::{WaitCondition, WaitError, WaitResponse};
use monitor::client;
use monitor::protocol::{self, Condition, Exit, Reply, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::record::{self, Record};
use super::{cleanup, start};
use crate::Engine;
use crate::error::{Context, Error, Kind, Result};

/// Registers the wait; the future that comes back ends with the container's exit.
pub async fn wait(
    engine: &Engine,
    reference: &str,
    condition: WaitCondition,
) -> Result<impl Future<Output = Result<WaitResponse>> + Send + use<>> {
    let reference = reference.to_owned();
    let registered = engine.brief(move |engine| register(engine, &reference, condition)).await?;
    let engine = engine.clone();
    Ok(async move {
        match registered {
            Registered::Over(code) => Ok(response(code, None)),
            Registered::Waiting { stream, record } => {
                stream.set_nonblocking(true).during("prepare the monitor's connection")?;
                let stream = UnixStream::from_std(stream).during("prepare the monitor's connection")?;
                match ended(&engine, stream, &record.id).await {
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
    let stream = connection.wait_to_clean(wire)?.into_stream();
    Ok(Registered::Waiting { stream, record: Box::new(record) })
}

/// Awaits the end of the wait; cleans up after the container if asked to, which spares the process that would do it.
async fn ended(engine: &Engine, mut stream: UnixStream, id: &str) -> Result<Exit> {
    loop {
        match receive(&mut stream).await? {
            Reply::CleanUp => {
                let failed = cleanup::cleanup_as_told(engine, id).await.err();
                let error = failed.map(|e| format!("clean up container: {e}"));
                let done = protocol::encode(&Request::CleanedUp { error }).system()?;
                stream.write_all(&done).await.during("report the clean-up")?;
            }
            reply => return exit_of(reply),
        }
    }
}

/// Reads the one message that ends a wait.
pub(super) async fn exit(mut stream: UnixStream) -> Result<Exit> {
    exit_of(receive(&mut stream).await?)
}

fn exit_of(reply: Reply) -> Result<Exit> {
    match reply {
        Reply::Exit(exit) => Ok(exit),
        Reply::Failed(failure) => Err(Error::system(failure.message)),
        other => Err(Error::system(format!("unexpected reply of monitor: {other:?}"))),
    }
}

async fn receive(stream: &mut UnixStream) -> Result<Reply> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.during("wait for the container")?;
    let mut body = vec![0; protocol::body_length(header).system()?];
    stream.read_exact(&mut body).await.during("wait for the container")?;
    protocol::decode(&body).system()
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
