//! `docker events`: the events file, read from a point in time and followed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use api::events::{EventMessage, EventsOptions};
use api::filters::Filters;
use api::time;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use crate::Engine;
use crate::error::{Context, Error, Result};
use crate::watch::Watch;

const BACKLOG: usize = 64;
const KNOWN: [&str; 16] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
    "builder",
    "id",
];

/// What is to be sent.
#[derive(Debug, Clone)]
struct Wanted {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filters: Filters,
}

/// Events since a time (or from now on) until a time (or for ever).
pub async fn events(engine: &Engine, options: EventsOptions) -> Result<mpsc::Receiver<EventMessage>> {
    options.filters.accept(&KNOWN)?;
    let now = Timestamp::now();
    let instant = |text: &str| match text {
        "" => Ok(None),
        text => time::parse_instant(text, now, &TimeZone::system())
            .map(Some)
            .map_err(|e| Error::invalid(e.to_string())),
    };
    let wanted =
        Wanted { since: instant(&options.since)?, until: instant(&options.until)?, filters: options.filters };
    if let (Some(since), Some(until)) = (wanted.since, wanted.until)
        && until < since
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) must be before `until` time ({})",
            options.since, options.until
        )));
    }
    let path = engine.events_path();
    // The file must be there to be watched through its directory and read from its present end.
    let dir = engine.config().root.clone();
    let watch = Watch::new(&[&dir])?;
    let start = match wanted.since {
        Some(_) => 0,
        None => std::fs::metadata(&path).map_or(0, |m| m.len()),
    };
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        if let Err(e) = pump(path, start, wanted, watch, &sender).await {
            tracing::warn!(error = %e, "events ended");
        }
    });
    Ok(receiver)
}

async fn pump(
    path: PathBuf,
    start: u64,
    wanted: Wanted,
    watch: Watch,
    sender: &mpsc::Sender<EventMessage>,
) -> Result<()> {
    let mut tail = Tail { path, reader: None, offset: start, partial: Vec::new() };
    loop {
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let batch = tail.batch();
                (tail, batch)
            });
            let (again, batch) = read.await.during("read events")?;
            tail = again;
            let batch = batch.during("read events")?;
            if batch.is_empty() {
                break;
            }
            for event in batch {
                if is_after(&event, wanted.until) {
                    return Ok(());
                }
                if is_wanted(&event, &wanted) && sender.send(event).await.is_err() {
                    return Ok(());
                }
            }
        }
        let left = wanted.until.map(|until| until.duration_since(Timestamp::now()));
        let timeout = match left {
            Some(left) if left.is_positive() => std::time::Duration::try_from(left).unwrap_or_default(),
            Some(_) => return Ok(()),
            None => std::time::Duration::from_secs(86_400),
        };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = tokio::time::sleep(timeout) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Reads whole lines from an offset on.
struct Tail {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    offset: u64,
    partial: Vec<u8>,
}

impl Tail {
    const BATCH: usize = 256;

    /// The next events; none when there are no more so far. A line that is no event is skipped.
    fn batch(&mut self) -> std::io::Result<Vec<EventMessage>> {
        use std::io::{Seek, SeekFrom};
        let mut events = Vec::new();
        if self.reader.is_none() {
            let mut file = match File::open(&self.path) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(events),
                Err(e) => return Err(e),
            };
            file.seek(SeekFrom::Start(self.offset))?;
            self.reader = Some(BufReader::new(file));
        }
        let Some(reader) = &mut self.reader else { return Ok(events) };
        while events.len() < Self::BATCH {
            reader.read_until(b'\n', &mut self.partial)?;
            if self.partial.last() != Some(&b'\n') {
                break;
            }
            if let Ok(event) = serde_json::from_slice(&self.partial) {
                events.push(event);
            }
            self.partial.clear();
        }
        Ok(events)
    }
}

fn is_after(event: &EventMessage, until: Option<Timestamp>) -> bool {
    until.is_some_and(|until| i128::from(event.time_nano) > until.as_nanosecond())
}

fn is_wanted(event: &EventMessage, wanted: &Wanted) -> bool {
    let since = wanted.since.is_none_or(|since| i128::from(event.time_nano) >= since.as_nanosecond());
    since && passes(event, &wanted.filters)
}

/// Docker's rules: an action matches also by its part before the colon (`exec_create: sh`); an object by name, id or
/// the start of its id.
fn passes(event: &EventMessage, filters: &Filters) -> bool {
    let attributes: &BTreeMap<String, String> = &event.actor.attributes;
    let object = |typ: &str| {
        let mut wanted = filters.get(typ).peekable();
        wanted.peek().is_none()
            || (event.typ == typ
                && wanted.any(|w| {
                    let name = attributes.get("name").map_or("", String::as_str);
                    event.actor.id == w || name == w || event.actor.id.starts_with(w)
                }))
    };
    let image = || {
        let mut wanted = filters.get("image").peekable();
        let own = |w: &str| {
            let name = attributes.get("name").map_or("", String::as_str);
            event.typ == "image" && (event.actor.id == w || name == w || untagged(name) == w)
        };
        let used = |w: &str| attributes.get("image").is_some_and(|i| i == w || untagged(i) == w);
        wanted.peek().is_none() || wanted.any(|w| own(w) || used(w))
    };
    let action = event.action.split(": ").next().unwrap_or_default();
    let mut actions = filters.get("event").peekable();
    (actions.peek().is_none() || actions.any(|w| w == event.action || w == action))
        && filters.exact("type", &event.typ)
        && filters.exact("scope", &event.scope)
        && filters.exact("id", &event.actor.id)
        && filters.labels("label", attributes)
        && [
            "container",
            "network",
            "volume",
            "daemon",
            "plugin",
            "node",
            "service",
            "secret",
            "config",
            "builder",
        ]
        .iter()
        .all(|typ| object(typ))
        && image()
}

fn untagged(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => bare,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn event(typ: &str, action: &str, id: &str, name: &str) -> EventMessage {
        let mut event = EventMessage { typ: typ.into(), action: action.into(), ..EventMessage::default() };
        event.actor.id = id.into();
        event.actor.attributes =
            BTreeMap::from([("name".into(), name.into()), ("image".into(), "nginx:1".into())]);
        event
    }

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::default();
        for (k, v) in pairs {
            filters.add(*k, *v);
        }
        filters
    }

    #[test]
    fn filter_rules() {
        let e = event("container", "exec_create: sh", "abcdef", "web");
        assert!(passes(&e, &filters(&[])));
        assert!(passes(&e, &filters(&[("event", "exec_create"), ("container", "web")])));
        assert!(passes(&e, &filters(&[("container", "abc"), ("image", "nginx")])));
        assert!(passes(&e, &filters(&[("type", "container"), ("type", "image")])));
        assert!(!passes(&e, &filters(&[("type", "image")])));
        assert!(!passes(&e, &filters(&[("network", "web")])));
        assert!(!passes(&e, &filters(&[("event", "die")])));
        assert!(!passes(&e, &filters(&[("label", "x")])));
    }

    #[test]
    fn only_whole_lines_are_events() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        let mut tail = Tail { path: path.clone(), reader: None, offset: 0, partial: Vec::new() };
        assert!(tail.batch().unwrap().is_empty());
        let mut file = File::create(&path).unwrap();
        write!(file, "garbage\n{{\"Type\":\"container\",\"Action\":\"die\"}}\n{{\"Type\":\"im").unwrap();
        assert_eq!(tail.batch().unwrap().len(), 1);
        writeln!(file, "age\",\"Action\":\"pull\"}}").unwrap();
        assert_eq!(tail.batch().unwrap()[0].typ, "image");
    }
}
