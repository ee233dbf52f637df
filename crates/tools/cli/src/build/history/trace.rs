//! `history trace`: when each step of a build began and ended, as the document that Jaeger's UI reads (jaeger-ui, "JSON File"), and
//! that Docker's plugin prints where it opens no browser. Times are microseconds.

use std::collections::BTreeMap;

use api::build::{BuildEvent, BuildLogLine, BuildRecord};
use oci::Digest;
use serde_json::{Value, json};

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let client = cli.client()?;
    let record = client::builds::inspect(client, args.args.first().map_or("", String::as_str)).await?;
    if record.status == "running" {
        return Err(Error::new(format!("build {} is running: it is traced when it has ended", record.id)));
    }
    let lines = client::builds::logs(client, &record.id).await?;
    cli.print(&crate::system::inspect::pretty(&trace(&record, &lines))?)?;
    Ok(0)
}

/// The build as one span, and its steps within it.
fn trace(record: &BuildRecord, lines: &[BuildLogLine]) -> Value {
    let id = hex(&record.id, 32);
    let begun = api::time::parse(&record.started_at).map_or(0, |at| at.as_microsecond().unsigned_abs());
    let last = lines.last().map_or(0, |line| micros(line.millis));
    let took = super::duration(record).map_or(last, |took| u64::try_from(took.as_micros()).unwrap_or(last));
    let tags = [("ref", record.id.as_str()), ("status", &record.status)];
    let mut spans = vec![span(&id, ("build", ROOT), (begun, took), &tags, &record.error)];
    let mut open = BTreeMap::new();
    for BuildLogLine { millis, event } in lines {
        let (number, cached, error) = match event {
            Some(BuildEvent::StepStarted { id, name, .. }) => {
                open.insert(*id, (micros(*millis), name));
                continue;
            }
            Some(BuildEvent::StepCached { id }) => (id, "true", ""),
            Some(BuildEvent::StepDone { id, .. }) => (id, "false", ""),
            Some(BuildEvent::StepError { id, message }) => (id, "false", message.as_str()),
            _ => continue,
        };
        let Some((start, name)) = open.remove(number) else { continue };
        let times = (begun.saturating_add(start), micros(*millis).saturating_sub(start));
        spans.push(span(&id, (name, &number.to_string()), times, &[("cached", cached)], error));
    }
    let process = json!({ "serviceName": "dhow", "tags": [] });
    json!({ "data": [{ "traceID": id, "spans": spans, "processes": { PROCESS: process }, "warnings": null }] })
}

/// What the span of the whole build is called among those of its steps, which have numbers.
const ROOT: &str = "";
const PROCESS: &str = "p1";

/// A span of a name and a number, with when it began and how long it took.
fn span(
    trace: &str,
    (name, number): (&str, &str),
    (start, took): (u64, u64),
    tags: &[(&str, &str)],
    error: &str,
) -> Value {
    let id = |number: &str| hex(&format!("{trace}/{number}"), 16);
    let text = |(key, value): &(&str, &str)| json!({ "key": key, "type": "string", "value": value });
    let mut tags: Vec<Value> = tags.iter().map(text).collect();
    if !error.is_empty() {
        tags.push(json!({ "key": "error", "type": "bool", "value": true }));
        tags.push(text(&("otel.status_description", error)));
    }
    let parent = || json!({ "refType": "CHILD_OF", "traceID": trace, "spanID": id(ROOT) });
    json!({
        "traceID": trace,
        "spanID": id(number),
        "operationName": name,
        "references": (number != ROOT).then(parent).into_iter().collect::<Vec<_>>(),
        "startTime": start,
        "duration": took,
        "tags": tags,
        "logs": [],
        "processID": PROCESS,
        "warnings": null,
    })
}

fn micros(millis: u64) -> u64 {
    millis.saturating_mul(1000)
}

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
            id: "abc".to_owned(),
            status: "error".to_owned(),
            error: "no".to_owned(),
            started_at: "2026-01-01T00:00:01Z".to_owned(),
            completed_at: "2026-01-01T00:00:04Z".to_owned(),
            ..BuildRecord::default()
        };
        let started = |id, name: &str| BuildEvent::StepStarted {
            id,
            name: name.to_owned(),
            stage: String::new(),
            instruction: String::new(),
            inputs: Vec::new(),
        };
        let line = |millis, event| BuildLogLine { millis, event: Some(event) };
        let lines = [
            line(0, started(1, "one")),
            line(500, started(2, "two")),
            line(700, BuildEvent::StepCached { id: 1 }),
            line(1500, BuildEvent::StepError { id: 2, message: "no".to_owned() }),
            // It did not end; and what a log from elsewhere may say.
            line(1600, started(3, "three")),
            line(u64::MAX, BuildEvent::StepCached { id: 9 }),
        ];
        let document = trace(&record, &lines);
        let spans = document["data"][0]["spans"].as_array().unwrap();
        let told: Vec<_> = spans
            .iter()
            .map(|span| {
                let micros = |key: &str| span[key].as_u64().unwrap();
                (span["operationName"].as_str().unwrap(), micros("startTime"), micros("duration"))
            })
            .collect();
        let second = 1_767_225_601_000_000;
        assert_eq!(
            told,
            [("build", second, 3_000_000), ("one", second, 700_000), ("two", second + 500_000, 1_000_000)]
        );
        for step in &spans[1..] {
            assert_eq!(step["references"][0]["spanID"], spans[0]["spanID"]);
        }
        assert_eq!(spans[1]["tags"][0]["value"], "true");
        assert_eq!(spans[2]["tags"][1], json!({ "key": "error", "type": "bool", "value": true }));
        assert!(spans[0]["references"].as_array().unwrap().is_empty());
    }
}
