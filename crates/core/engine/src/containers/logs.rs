//! `docker logs`.

use std::path::PathBuf;
use std::time::Duration;

use api::containers::LogsOptions;
use api::stdcopy::{self, Stream};
use api::time;
use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::logfile::{Cursor, Entry, Item};
use super::record;
use crate::Engine;
use crate::error::{Context, Error, Result};
use crate::watch::Watch;

/// Portions that may wait for a slow reader.
const BACKLOG: usize = 16;
/// Records that are read at once.
const BATCH: usize = 256;
/// How often a follower looks whether the container has gone with its monitor, which no file tells.
const LIVENESS: Duration = Duration::from_secs(1);

/// A container's output.
pub struct LogStream {
    /// Whether it has a terminal: then the bytes are raw, else framed.
    pub tty: bool,
    /// The output; ends with the log, or with the container when it is followed.
    pub rx: mpsc::Receiver<Result<Bytes>>,
}

/// What of a log is wanted, parsed.
#[derive(Debug, Clone, Default)]
struct Wanted {
    stdout: bool,
    stderr: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
    details: bool,
    tail: Option<u64>,
    tty: bool,
}

/// Reads a container's log and, if asked, follows it until the container has stopped.
pub async fn logs(engine: &Engine, reference: &str, options: LogsOptions) -> Result<LogStream> {
    let mut wanted = wanted(&options)?;
    let reference = reference.to_owned();
    let record = engine.blocking(move |engine| record::find(engine, &reference)).await?;
    if record.document.host_config.log_config.typ == "none" {
        return Err(Error::not_implemented("configured logging driver does not support reading"));
    }
    wanted.tty = record.document.config.tty;
    let dir = engine.container_dir(&record.id);
    let watch = if options.follow { Some(Watch::new(&[&dir])?) } else { None };
    let (sender, rx) = mpsc::channel(BACKLOG);
    let (engine, tty) = (engine.clone(), wanted.tty);
    tokio::spawn(async move {
        if let Err(e) = pump(&engine, &record.id, dir, &wanted, watch, &sender).await {
            let _ = sender.send(Err(e)).await;
        }
    });
    Ok(LogStream { tty, rx })
}

/// All that has been logged so far, for a client that attaches.
pub(super) fn replay(dir: PathBuf, tty: bool, stdout: bool, stderr: bool) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let wanted = Wanted { stdout, stderr, tty, ..Wanted::default() };
    tokio::task::spawn_blocking(move || {
        let Ok(mut cursor) = Cursor::new(&dir, None) else { return };
        loop {
            match portion(&mut cursor, &wanted) {
                Ok(Portion { bytes, read, .. }) if read > 0 => {
                    if !bytes.is_empty() && sender.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    receiver
}

fn wanted(options: &LogsOptions) -> Result<Wanted> {
    let instant = |text: &str| match text {
        "" | "0" => Ok(None),
        text => time::parse_instant(text, Timestamp::now(), &TimeZone::system())
            .map(Some)
            .map_err(|e| Error::invalid(e.to_string())),
    };
    Ok(Wanted {
        stdout: options.stdout,
        stderr: options.stderr,
        since: instant(&options.since)?,
        until: instant(&options.until)?,
        timestamps: options.timestamps,
        details: options.details,
        // As in Docker, what is no number means all.
        tail: options.tail.parse().ok(),
        tty: false,
    })
}

async fn pump(
    engine: &Engine,
    id: &str,
    dir: PathBuf,
    wanted: &Wanted,
    watch: Option<Watch>,
    sender: &mpsc::Sender<Result<Bytes>>,
) -> Result<()> {
    let tail = wanted.tail;
    let mut cursor = blocking(move || Cursor::new(&dir, tail).during("open the log")).await?;
    loop {
        // Looked at before reading: what a container wrote before it stopped must still be read.
        let live = watch.is_some() && is_live(engine, id).await?;
        loop {
            let (again, portion) = {
                let wanted = wanted.clone();
                blocking(move || portion(&mut cursor, &wanted).during("read the log").map(|p| (cursor, p)))
                    .await?
            };
            cursor = again;
            if !portion.bytes.is_empty() && sender.send(Ok(portion.bytes)).await.is_err() {
                return Ok(());
            }
            if portion.over {
                return Ok(());
            }
            if portion.read == 0 {
                break;
            }
        }
        let past = wanted.until.is_some_and(|until| Timestamp::now() > until);
        let Some(watch) = watch.as_ref().filter(|_| live && !past) else { return Ok(()) };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = tokio::time::sleep(LIVENESS) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

async fn is_live(engine: &Engine, id: &str) -> Result<bool> {
    let id = id.to_owned();
    engine.blocking(move |engine| Ok(record::observe(engine, &id)?.status.state.is_live())).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.during("read the log")?
}

struct Portion {
    bytes: Bytes,
    /// Records that were read, wanted or not.
    read: usize,
    /// A record after `until` was met.
    over: bool,
}

fn portion(cursor: &mut Cursor, wanted: &Wanted) -> std::io::Result<Portion> {
    let mut bytes = BytesMut::new();
    let mut read = 0;
    while read < BATCH {
        let Some(item) = cursor.next()? else { break };
        read += 1;
        let entry = match item {
            Item::Entry(entry) => entry,
            Item::Lost(files) => {
                lost(files, wanted, &mut bytes);
                continue;
            }
        };
        if wanted.until.is_some_and(|until| entry.time > until) {
            return Ok(Portion { bytes: bytes.freeze(), read, over: true });
        }
        if is_wanted(&entry, wanted) {
            render(&entry, wanted, &mut bytes);
        }
    }
    Ok(Portion { bytes: bytes.freeze(), read, over: false })
}

fn is_wanted(entry: &Entry, wanted: &Wanted) -> bool {
    let stream = if entry.stream == "stderr" { wanted.stderr } else { wanted.stdout };
    stream && wanted.since.is_none_or(|since| entry.time >= since)
}

/// Says what a reader of this log does not get, where it would stand: in between the container's own words, as its end is not
/// known to be near and an error would end it.
fn lost(files: u64, wanted: &Wanted, out: &mut BytesMut) {
    let plural = if files == 1 { "file" } else { "files" };
    let end = if wanted.tty { "\r\n" } else { "\n" };
    let text = format!(
        "dhow: {files} log {plural} went before being read here: raise --log-opt max-size or max-file{end}"
    );
    if !wanted.tty {
        out.put_slice(&stdcopy::header(Stream::Stderr, text.len()));
    }
    out.put_slice(text.as_bytes());
}

fn render(entry: &Entry, wanted: &Wanted, out: &mut BytesMut) {
    let mut text = String::new();
    if wanted.timestamps {
        text.push_str(&time::rfc3339_fixed(entry.time));
        text.push(' ');
    }
    if wanted.details {
        let pairs: Vec<String> = entry.attrs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        text.push_str(&pairs.join(","));
        text.push(' ');
    }
    text.push_str(&entry.log);
    if !wanted.tty {
        let stream = if entry.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
        out.put_slice(&stdcopy::header(stream, text.len()));
    }
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn log(dir: &std::path::Path) {
        let mut f = std::fs::File::create(dir.join("log")).unwrap();
        for (n, stream) in [(1, "stdout"), (2, "stderr"), (3, "stdout")] {
            writeln!(
                f,
                "{{\"log\":\"line {n}\\n\",\"stream\":\"{stream}\",\"attrs\":{{\"a\":\"b\"}},\"time\":\"2026-01-01T00:00:0{n}Z\"}}"
            )
            .unwrap();
        }
    }

    fn read(change: impl FnOnce(&mut Wanted)) -> String {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path());
        let mut wanted = Wanted { stdout: true, stderr: true, tty: true, ..Wanted::default() };
        change(&mut wanted);
        let mut cursor = Cursor::new(dir.path(), wanted.tail).unwrap();
        String::from_utf8(portion(&mut cursor, &wanted).unwrap().bytes.to_vec()).unwrap()
    }

    #[test]
    fn options() {
        assert_eq!(read(|_| {}), "line 1\nline 2\nline 3\n");
        assert_eq!(read(|w| w.stderr = false), "line 1\nline 3\n");
        assert_eq!(read(|w| w.tail = Some(1)), "line 3\n");
        assert_eq!(read(|w| w.since = "2026-01-01T00:00:02Z".parse().ok()), "line 2\nline 3\n");
        assert_eq!(read(|w| w.until = "2026-01-01T00:00:02Z".parse().ok()), "line 1\nline 2\n");
        assert_eq!(
            read(|w| (w.timestamps, w.details, w.tail) = (true, true, Some(1))),
            "2026-01-01T00:00:03.000000000Z a=b line 3\n"
        );
        assert_eq!(read(|w| (w.tty, w.tail) = (false, Some(1))), "\u{1}\0\0\0\0\0\0\u{7}line 3\n");
    }

    #[test]
    fn a_tail_that_is_no_number_means_all() {
        let options = |tail: &str| LogsOptions { tail: tail.into(), ..LogsOptions::default() };
        assert_eq!(wanted(&options("all")).unwrap().tail, None);
        assert_eq!(wanted(&options("-1")).unwrap().tail, None);
        assert_eq!(wanted(&options("0")).unwrap().tail, Some(0));
    }
}
