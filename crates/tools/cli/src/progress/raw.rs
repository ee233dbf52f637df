//! A build's events as BuildKit's client prints them for programs: a `SolveStatus` a line (moby/buildkit,
//! `client/graph.go`), with vertexes for steps, bytes in base64, and times in RFC 3339.

use std::collections::BTreeMap;

use api::build::{BuildEvent, LogStream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use oci::Digest;
use serde::Serialize;

/// What BuildKit says of steps that were stopped.
const STOPPED: &str = "context canceled";

/// One line.
#[derive(Debug, Default, Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<Part>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<Log>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

#[derive(Debug, Clone, Serialize)]
struct Vertex {
    digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    name: String,
    started: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

/// A part of a step that is done.
#[derive(Debug, Serialize)]
struct Part {
    id: String,
    vertex: String,
    current: i64,
    timestamp: Timestamp,
    started: Timestamp,
    completed: Timestamp,
}

#[derive(Debug, Serialize)]
struct Log {
    vertex: String,
    stream: u8,
    data: String,
    timestamp: Timestamp,
}

/// What builds but is probably not meant so.
#[derive(Debug, Serialize)]
pub struct Warning {
    vertex: String,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(rename = "sourceInfo")]
    source_info: Source,
    range: [Range; 1],
}

#[derive(Debug, Serialize)]
struct Source {
    filename: String,
    language: &'static str,
}

#[derive(Debug, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Position {
    line: u32,
}

/// The steps of one screen.
#[derive(Debug)]
pub struct Raw {
    /// Steps of two runs are different vertexes.
    run: String,
    steps: BTreeMap<u64, Vertex>,
}

impl Raw {
    /// Nothing yet, of a run that began then.
    pub fn new(begun: Timestamp) -> Raw {
        Raw { run: format!("{begun} {}", std::process::id()), steps: BTreeMap::new() }
    }

    /// What an event says; why a step was not in the cache is nothing that programs are told.
    pub fn line(&mut self, event: &BuildEvent, now: Timestamp) -> Option<String> {
        let mut status = Status::default();
        match event {
            BuildEvent::StepStarted { id, name, inputs, .. } => {
                let inputs = inputs.iter().filter_map(|id| Some(self.steps.get(id)?.digest.clone()));
                let vertex = Vertex {
                    digest: Digest::sha256(format!("{}/{id}/{name}", self.run).as_bytes()).to_string(),
                    inputs: inputs.collect(),
                    name: name.clone(),
                    started: now,
                    completed: None,
                    cached: false,
                    error: String::new(),
                };
                self.steps.insert(*id, vertex.clone());
                status.vertexes.push(vertex);
            }
            BuildEvent::StepCached { id } => status.vertexes.extend(self.end(*id, now, true, "")),
            BuildEvent::StepDone { id, .. } => status.vertexes.extend(self.end(*id, now, false, "")),
            BuildEvent::StepError { id, message } => {
                let error = if message == api::build::CANCELED { STOPPED } else { message };
                status.vertexes.extend(self.end(*id, now, false, error));
            }
            BuildEvent::StepStatus { id, name } => status.statuses.extend(self.steps.get(id).map(|step| {
                let (timestamp, started, completed) = (now, now, now);
                Part {
                    id: name.clone(),
                    vertex: step.digest.clone(),
                    current: 0,
                    timestamp,
                    started,
                    completed,
                }
            })),
            BuildEvent::StepLog { id, stream, text } => {
                status.logs.extend(self.steps.get(id).map(|step| Log {
                    vertex: step.digest.clone(),
                    stream: if *stream == LogStream::Stdout { 1 } else { 2 },
                    data: STANDARD.encode(text),
                    timestamp: now,
                }))
            }
            BuildEvent::Warning { .. } => status.warnings.extend(self.warning(event)),
            BuildEvent::StepMissed { .. } | BuildEvent::StepNote { .. } | BuildEvent::StageSkipped { .. } => {
                return None;
            }
        }
        encoded(&status)
    }

    /// Nothing runs any more.
    pub fn cancel(&mut self, now: Timestamp) -> Option<String> {
        let running: Vec<u64> =
            self.steps.iter().filter(|(_, step)| step.completed.is_none()).map(|(id, _)| *id).collect();
        let vertexes = running.into_iter().filter_map(|id| self.end(id, now, false, STOPPED)).collect();
        encoded(&Status { vertexes, ..Status::default() })
    }

    fn end(&mut self, id: u64, now: Timestamp, cached: bool, error: &str) -> Option<Vertex> {
        let step = self.steps.get_mut(&id)?;
        step.completed = Some(now);
        step.cached |= cached;
        step.error = error.to_owned();
        Some(step.clone())
    }

    /// The warning that an event is. It belongs to the step that reads the file, the first one.
    pub fn warning(&self, event: &BuildEvent) -> Option<Warning> {
        let BuildEvent::Warning { rule, message, file, line, help, .. } = event else { return None };
        let at = Position { line: *line };
        Some(Warning {
            vertex: self.steps.values().next().map(|step| step.digest.clone()).unwrap_or_default(),
            level: 1,
            short: STANDARD.encode(format!("{rule}: {message} (line {line})")),
            detail: help.iter().map(|help| STANDARD.encode(help)).collect(),
            source_info: Source { filename: file.clone(), language: "Dockerfile" },
            range: [Range { start: at, end: at }],
        })
    }
}

/// The line with its end; none for a status that says nothing.
fn encoded(status: &Status) -> Option<String> {
    let Status { vertexes, statuses, logs, warnings } = status;
    if vertexes.is_empty() && statuses.is_empty() && logs.is_empty() && warnings.is_empty() {
        return None;
    }
    serde_json::to_string(status).ok().map(|line| format!("{line}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn told(raw: &mut Raw, event: BuildEvent) -> Value {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        raw.line(&event, now).map_or(Value::Null, |line| serde_json::from_str(&line).unwrap())
    }

    #[test]
    fn lines_are_statuses() {
        let mut raw = Raw::new(Timestamp::UNIX_EPOCH);
        let (stage, instruction) = (String::new(), String::new());
        let begun = told(
            &mut raw,
            BuildEvent::StepStarted {
                id: 1,
                name: "[1/2] FROM a".into(),
                stage,
                instruction,
                inputs: Vec::new(),
            },
        );
        let vertex = &begun["vertexes"][0];
        assert_eq!(
            (&vertex["name"], &vertex["started"]),
            (&"[1/2] FROM a".into(), &"2023-11-14T22:13:20Z".into())
        );
        assert!(vertex["digest"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(vertex.get("completed").or(vertex.get("cached")).or(begun.get("logs")), None);
        let text = "h\u{e9}\n".to_owned();
        let log = told(&mut raw, BuildEvent::StepLog { id: 1, stream: LogStream::Stderr, text });
        assert_eq!((&log["logs"][0]["data"], &log["logs"][0]["stream"]), (&"aMOpCg==".into(), &2.into()));
        assert_eq!(log["logs"][0]["vertex"], vertex["digest"]);
        let part = told(&mut raw, BuildEvent::StepStatus { id: 1, name: "writing image x".into() });
        assert_eq!(
            (&part["statuses"][0]["id"], &part["statuses"][0]["vertex"]),
            (&"writing image x".into(), &vertex["digest"])
        );
        let (name, stage, instruction) = ("[2/2] RUN b".to_owned(), String::new(), String::new());
        let next = BuildEvent::StepStarted { id: 2, name, stage, instruction, inputs: vec![1] };
        assert_eq!(
            told(&mut raw, next)["vertexes"][0]["inputs"],
            Value::from(vec![vertex["digest"].clone()])
        );
        assert_eq!(told(&mut raw, BuildEvent::StepMissed { id: 1, reasons: Vec::new() }), Value::Null);
        assert_eq!(told(&mut raw, BuildEvent::StepDone { id: 9, millis: 1 }), Value::Null);
        let cached = told(&mut raw, BuildEvent::StepCached { id: 1 });
        assert_eq!(
            (&cached["vertexes"][0]["cached"], &cached["vertexes"][0]["digest"]),
            (&true.into(), &vertex["digest"])
        );
        let warning = BuildEvent::Warning {
            rule: "Rule".into(),
            message: "no".into(),
            file: "Dockerfile".into(),
            line: 3,
            help: None,
            excerpt: String::new(),
        };
        let warned = told(&mut raw, warning);
        assert_eq!(warned["warnings"][0]["range"][0]["start"]["line"], 3);
        assert_eq!(warned["warnings"][0]["vertex"], vertex["digest"]);
        told(&mut raw, BuildEvent::StepDone { id: 2, millis: 1 });
        assert_eq!(raw.cancel(Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_runs_is_cancelled() {
        let mut raw = Raw::new(Timestamp::UNIX_EPOCH);
        let (stage, instruction) = (String::new(), String::new());
        told(
            &mut raw,
            BuildEvent::StepStarted { id: 1, name: "x".into(), stage, instruction, inputs: Vec::new() },
        );
        let line: Value = serde_json::from_str(&raw.cancel(Timestamp::UNIX_EPOCH).unwrap()).unwrap();
        assert_eq!(line["vertexes"][0]["error"], "context canceled");
    }
}
