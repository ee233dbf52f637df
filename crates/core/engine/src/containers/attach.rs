//! `docker attach`, and the attach that `docker run` makes before it starts.

use api::containers::AttachOptions;
use bytes::Bytes;
use monitor::State;
use monitor::protocol::Attach;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{logs, record, start};
use crate::error::{Context, Error, Result};
use crate::{Engine, events};

/// A client's place at a container's standard streams.
pub struct Attached {
    /// Whether the container has a terminal: then the bytes are raw, else framed.
    pub tty: bool,
    /// What was logged before, to be shown first.
    pub replay: Option<mpsc::Receiver<Bytes>>,
    /// Both directions.
    pub stream: UnixStream,
}

/// Attaches; also to a container that has not been started yet.
pub async fn attach(engine: &Engine, reference: &str, options: AttachOptions) -> Result<Attached> {
    let reference = reference.to_owned();
    let wanted = options.clone();
    let (stream, record) = engine
        .brief(move |engine| {
            let record = record::find(engine, &reference)?;
            if !wanted.detach_keys.is_empty() {
                monitor::parse_detach_keys(&wanted.detach_keys).map_err(|e| Error::invalid(e.to_string()))?;
            }
            if record::observe(engine, &record.id)?.status.state == State::Paused {
                return Err(Error::conflict(format!(
                    "container {} is paused, unpause the container before attach",
                    record.id
                )));
            }
            let stream = if wanted.stream {
                let request = Attach {
                    stdin: wanted.stdin,
                    stdout: wanted.stdout,
                    stderr: wanted.stderr,
                    detach_keys: Some(wanted.detach_keys).filter(|k| !k.is_empty()),
                };
                start::monitor(engine, &record.id)?.attach(request)?.0
            } else {
                // Only what was logged: the stream is one that has ended.
                std::os::unix::net::UnixStream::pair().during("create a socket pair")?.0
            };
            events::emit_container(engine, "attach", &record, &[]);
            Ok((stream, record))
        })
        .await?;
    stream.set_nonblocking(true).during("prepare the monitor's connection")?;
    let tty = record.document.config.tty;
    let replay = options
        .logs
        .then(|| logs::replay(engine.container_dir(&record.id), tty, options.stdout, options.stderr));
    let stream = UnixStream::from_std(stream).during("prepare the monitor's connection")?;
    Ok(Attached { tty, replay, stream })
}
