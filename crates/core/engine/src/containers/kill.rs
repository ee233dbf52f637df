//! `docker kill`.

use std::time::Duration;

use monitor::protocol::Condition;
use tokio::net::UnixStream;

use super::stop::keep_down;
use super::{launch, record, signal, start, wait};
use crate::Engine;
use crate::error::{Context, Error, Kind, Result};

const SIGKILL: i32 = 9;
/// How long a killed container may take to be gone before the answer goes out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a signal to a container's init; SIGKILL if none is named, which returns when the container has ended: clients
/// inspect or remove it next. One that a daemon would start again after a pause stays down, too.
pub async fn kill(engine: &Engine, reference: &str, signal_name: &str) -> Result<()> {
    let (reference, signal_name) = (reference.to_owned(), signal_name.to_owned());
    let end = engine
        .blocking(move |engine| {
            let number = if signal_name.is_empty() { SIGKILL } else { signal::parse(&signal_name)? };
            let record = record::find(engine, &reference)?;
            let not_running = |e: Error| match e.kind {
                Kind::Conflict => Error::conflict(format!(
                    "cannot kill container: {reference}: container {} is not running",
                    record.id
                )),
                _ => e,
            };
            let ends = number == SIGKILL || number == launch::stop_signal(&record)?;
            let mut connection = loop {
                match start::running(engine, &record) {
                    Ok(connection) => break connection,
                    // It was started in between.
                    Err(e) if e.kind == Kind::Conflict && ends && !keep_down(engine, &record)? => {}
                    Err(e) => return Err(not_running(e)),
                }
            };
            connection.signal(number).map_err(Error::from).map_err(not_running)?;
            match number {
                SIGKILL => {
                    Ok(connection.wait(Condition::NotRunning).ok().map(monitor::client::Waiting::into_stream))
                }
                _ => Ok(None),
            }
        })
        .await?;
    if let Some(stream) = end {
        stream.set_nonblocking(true).during("prepare the monitor's connection")?;
        let stream = UnixStream::from_std(stream).during("prepare the monitor's connection")?;
        // The signal was sent: a container that the kernel keeps is as Docker leaves it, and a monitor that has gone has
        // taken the container with it.
        let _ = tokio::time::timeout(PATIENCE, wait::exit(stream)).await;
    }
    Ok(())
}
