//! When each step of a build began and ended, as a trace of OpenTelemetry in the JSON that clients of BuildKit read: a span after the
//! other, with the field names of the SDK for Go. It is made when a client asks for it, from what the record knows.

use std::collections::BTreeMap;

use api::build::{BuildEvent, BuildRecord};
use engine::Engine;
use engine::builds::history::Which;
use engine::builds::{Digest, attached, history};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tonic::Status;

use crate::{fault, status};

/// Its media type.
pub const TYPE: &str = "application/vnd.buildkit.otlp.json.v0";

/// Adds the trace to the record of a build that has ended.
pub async fn attach(engine: &Engine, record: &BuildRecord) -> Result<(), Status> {
    let events = history::logs(engine, Which::Id(record.id.clone())).await.map_err(fault::status)?;
    let trace = trace(record, &events).into_bytes();
    attached::attach(engine, record.id.clone(), TYPE, trace).await.map_err(fault::status)
}

/// The whole, and its steps within it.
fn trace(record: &BuildRecord, events: &[(u64, BuildEvent)]) -> String {
    let known = |text: &str| text.parse::<Timestamp>().ok();
    let begun = known(&record.started_at).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = |millis: u64| {
        let since = SignedDuration::from_millis(i64::try_from(millis).unwrap_or(0));
        begun.checked_add(since).unwrap_or(begun)
    };
    let last = events.last().map_or(begun, |(millis, _)| at(*millis));
    let ended = known(&record.completed_at).unwrap_or(last);
    let error = Some(record.error.as_str()).filter(|error| !error.is_empty());
    let ids = Ids { trace: hex(&record.id, 32), root: hex(&format!("{}/", record.id), 16) };
    let mut spans = vec![ids.span(("build", ""), (begun, ended), &[("ref", &record.id)], error)];
    let mut open: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
    for (millis, event) in events {
        let (id, cached, error) = match event {
            BuildEvent::StepStarted { id, name, .. } => {
                open.insert(*id, (*millis, name));
                continue;
            }
            BuildEvent::StepCached { id } => (id, "true", None),
            BuildEvent::StepDone { id, .. } => (id, "false", None),
            BuildEvent::StepError { id, message } => (id, "false", Some(message.as_str())),
            _ => continue,
        };
        let Some((start, name)) = open.remove(id) else { continue };
        let vertex = status::digest(&record.id, 1, *id).to_string();
        let attributes = [("vertex", vertex.as_str()), ("cached", cached)];
        let span = hex(&vertex, 16);
        spans.push(ids.span((name, &span), (at(start), at(*millis)), &attributes, error));
    }
    spans.iter().map(|span| format!("{span}\n")).collect()
}

/// How the trace and its first span are called.
struct Ids {
    trace: String,
    root: String,
}

impl Ids {
    /// A span of a name, with its id where it is not the first.
    fn span(
        &self,
        (name, id): (&str, &str),
        (start, end): (Timestamp, Timestamp),
        attributes: &[(&str, &str)],
        error: Option<&str>,
    ) -> Value {
        let context = |span: &str| json!({ "TraceID": self.trace, "SpanID": span, "TraceFlags": "01" });
        let (own, parent) = match id {
            "" => (self.root.as_str(), NOBODY),
            id => (id, self.root.as_str()),
        };
        let text = |(key, value): &(&str, &str)| json!({ "Key": key, "Value": { "Type": "STRING", "Value": value } });
        let status = match error {
            Some(error) => json!({ "Code": "Error", "Description": error }),
            None => json!({ "Code": "Ok", "Description": "" }),
        };
        json!({
            "Name": name,
            "SpanContext": context(own),
            "Parent": context(parent),
            "SpanKind": 1,
            "StartTime": start.to_string(),
            "EndTime": end.to_string(),
            "Attributes": attributes.iter().map(text).collect::<Vec<_>>(),
            "Status": status,
            "Resource": [text(&("service.name", "dhow"))],
        })
    }
}

/// The parent of what has none.
const NOBODY: &str = "0000000000000000";

/// So many digits that stand for a text.
fn hex(text: &str, digits: usize) -> String {
    Digest::sha256(text.as_bytes()).hex()[..digits].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lie_within_the_build() {
        let record = BuildRecord {
            id: "abcdefgh".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            completed_at: "2026-01-01T00:00:03Z".to_owned(),
            error: "failed".to_owned(),
            ..BuildRecord::default()
        };
        let started = |id, name: &str| BuildEvent::StepStarted {
            id,
            name: name.to_owned(),
            stage: String::new(),
            instruction: String::new(),
            inputs: Vec::new(),
        };
        let events = [
            (0, started(1, "one")),
            (500, started(2, "two")),
            (1000, BuildEvent::StepCached { id: 1 }),
            (1500, BuildEvent::StepError { id: 2, message: "no".to_owned() }),
            // It did not end.
            (1600, started(3, "three")),
            // What a log from elsewhere may say.
            (u64::MAX, BuildEvent::StepCached { id: 9 }),
        ];
        let text = trace(&record, &events);
        let spans: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named: Vec<_> = spans.iter().map(|span| span["Name"].as_str().unwrap()).collect();
        assert_eq!(named, ["build", "one", "two"]);
        assert_eq!(spans[0]["Parent"]["SpanID"], NOBODY);
        for step in &spans[1..] {
            assert_eq!(step["Parent"], spans[0]["SpanContext"]);
            assert_eq!(step["SpanContext"]["TraceID"].as_str().unwrap().len(), 32);
        }
        assert_eq!(spans[2]["EndTime"], "2026-01-01T00:00:01.5Z");
        assert_eq!(spans[2]["Status"], json!({ "Code": "Error", "Description": "no" }));
        assert_eq!(spans[1]["Attributes"][1]["Value"]["Value"], "true");
    }
}
