//! Events of one container, appended to the engine's events file.
//!
//! One event is one line of JSON, Docker's document. A line is written by one write(2) to a file opened with O_APPEND, so
//! lines of many monitors and engines never mix.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

/// Docker's event document.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// The old name of `action`.
    pub status: &'a str,
    /// The old name of the actor's id.
    pub id: &'a str,
    /// The image.
    pub from: &'a str,
    /// Always `container`.
    #[serde(rename = "Type")]
    pub kind: &'a str,
    /// What happened.
    #[serde(rename = "Action")]
    pub action: &'a str,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor<'a>,
    /// Always `local`.
    pub scope: &'a str,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Whom an event is about.
#[derive(Clone, Debug, Serialize)]
pub struct Actor<'a> {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: &'a str,
    /// Image, name, labels and what the action adds.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<&'a str, String>,
}

/// An event of the container `id` at `now`.
pub fn container<'a>(
    id: &'a str,
    image: &'a str,
    action: &'a str,
    attributes: BTreeMap<&'a str, String>,
    now: Timestamp,
) -> Event<'a> {
    Event {
        status: action,
        id,
        from: image,
        kind: "container",
        action,
        actor: Actor { id, attributes },
        scope: "local",
        time: now.as_second(),
        time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

/// Appends an event to a file, which is created if need be, readable by its owner only.
pub fn append(path: &Path, event: &Event<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_dockers_document() {
        let now = "2024-05-01T10:00:00.5Z".parse().unwrap();
        let event = container("ab", "nginx", "die", BTreeMap::from([("exitCode", "1".to_owned())]), now);
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"status":"die","id":"ab","from":"nginx","Type":"container","Action":"die","Actor":{"ID":"ab","Attributes":{"exitCode":"1"}},"scope":"local","time":1714557600,"timeNano":1714557600500000000}"#
        );
    }

    #[test]
    fn events_are_appended_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.ndjson");
        for action in ["start", "die"] {
            append(&path, &container("ab", "nginx", action, BTreeMap::new(), Timestamp::UNIX_EPOCH)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
