//! The engine's events as BuildKit's status: vertexes that start and end, what they log, warnings.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use api::build::{BuildEvent, LogStream};
use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{
    StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning,
};
use bollard_buildkit_proto::pb;
use oci::Digest;
use tokio::sync::watch;

use crate::fault::Recipe;

/// What is kept of a step's output, as BuildKit has it.
const LOG_MAX: usize = 2 << 20;
/// The run of steps that are not the engine's; those of the engine count from the next number on.
const OWN: u32 = 0;
/// What is sent in one message.
const BATCH: usize = 256;

/// A moment as the protocol has it.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}

/// A moment in RFC 3339.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from(time.as_duration()).ok()?)
}

/// Turns the events of one build into statuses.
pub struct Teller {
    /// The build's id: vertexes of two builds have different digests.
    build: String,
    steps: HashMap<(u32, u64), Step>,
    pub recipe: Recipe,
}

struct Step {
    vertex: Vertex,
    logged: usize,
}

impl Teller {
    pub fn new(build: &str) -> Teller {
        Teller { build: build.to_owned(), steps: HashMap::new(), recipe: Recipe::default() }
    }

    /// What an event of the build's run of this number says, at a time: each run counts its steps anew.
    pub fn tell(&mut self, run: u32, event: &BuildEvent, now: SystemTime) -> StatusResponse {
        let mut status = StatusResponse::default();
        let time = Some(timestamp(now));
        match event {
            BuildEvent::StepStarted { id, name, .. } => {
                let digest = Digest::sha256(format!("{}/{run}/{id}", self.build).as_bytes()).to_string();
                let vertex = Vertex { digest, name: name.clone(), started: time, ..Vertex::default() };
                status.vertexes.push(vertex.clone());
                self.steps.insert((run, *id), Step { vertex, logged: 0 });
            }
            BuildEvent::StepCached { id } => status.vertexes.extend(self.end((run, *id), |vertex| {
                vertex.cached = true;
                vertex.completed = time;
            })),
            BuildEvent::StepDone { id, .. } => {
                status.vertexes.extend(self.end((run, *id), |vertex| vertex.completed = time));
            }
            BuildEvent::StepError { id, message } => status.vertexes.extend(self.end((run, *id), |vertex| {
                vertex.completed = time;
                vertex.error.clone_from(message);
            })),
            BuildEvent::StepLog { id, stream, text } => {
                let number = match stream {
                    LogStream::Stdout => 1,
                    LogStream::Stderr => 2,
                };
                status.logs.extend(self.log((run, *id), number, text, time));
            }
            BuildEvent::Warning { rule, message, line, help, .. } => {
                status.warnings.push(self.warning(rule, message, *line, help.as_deref()));
            }
            BuildEvent::StepMissed { .. } | BuildEvent::StepNote { .. } | BuildEvent::StageSkipped { .. } => {
            }
        }
        status
    }

    fn end(&mut self, id: (u32, u64), change: impl FnOnce(&mut Vertex)) -> Option<Vertex> {
        let step = self.steps.get_mut(&id)?;
        change(&mut step.vertex);
        Some(step.vertex.clone())
    }

    fn log(&mut self, id: (u32, u64), stream: i64, text: &str, time: Option<Timestamp>) -> Option<VertexLog> {
        let step = self.steps.get_mut(&id)?;
        if step.logged > LOG_MAX {
            return None;
        }
        step.logged += text.len();
        let mut msg = text.as_bytes().to_vec();
        if step.logged > LOG_MAX {
            msg.extend_from_slice(b"\n[output clipped, log limit 2MiB reached]\n");
        }
        Some(VertexLog { vertex: step.vertex.digest.clone(), timestamp: time, stream, msg })
    }

    fn warning(&self, rule: &str, message: &str, line: u32, help: Option<&str>) -> VertexWarning {
        // Warnings belong to the step that read the file, the first one.
        let first = self.steps.iter().filter(|((run, _), _)| *run != OWN).min_by_key(|(id, _)| **id);
        let line_number = i32::try_from(line).unwrap_or(0);
        let at = || Some(pb::Position { line: line_number, character: 0 });
        let info = pb::SourceInfo {
            filename: self.recipe.name.clone(),
            data: self.recipe.text.clone().into_bytes(),
            definition: None,
            language: "Dockerfile".to_owned(),
        };
        VertexWarning {
            vertex: first.map(|(_, step)| step.vertex.digest.clone()).unwrap_or_default(),
            level: 1,
            short: format!("{rule}: {message} (line {line})").into_bytes(),
            detail: help.map(|help| help.as_bytes().to_vec()).into_iter().collect(),
            url: String::new(),
            info: Some(info),
            ranges: vec![pb::Range { start: at(), end: at() }],
        }
    }
}

/// What a build has told so far, for everybody who listens, from the beginning.
pub struct Told {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    teller: Teller,
    all: Vec<StatusResponse>,
    ended: bool,
    /// Numbers of steps that are not the engine's.
    next: u64,
    /// How many runs there were.
    runs: u32,
}

impl Told {
    pub fn new(build: &str) -> Told {
        let state = State { teller: Teller::new(build), all: Vec::new(), ended: false, next: 0, runs: OWN };
        Told { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        result
    }

    /// The number of a run of the engine that begins.
    pub fn run(&self) -> u32 {
        self.with(|state| {
            state.runs = state.runs.saturating_add(1);
            state.runs
        })
    }

    /// Takes an event of a run of the engine in.
    pub fn event(&self, run: u32, event: &BuildEvent) {
        self.with(|state| {
            let status = state.teller.tell(run, event, SystemTime::now());
            if status != StatusResponse::default() {
                state.all.push(status);
            }
        });
    }

    /// Which Dockerfile is built: warnings show its lines.
    pub fn reads(&self, recipe: Recipe) {
        self.with(|state| state.teller.recipe = recipe);
    }

    pub fn recipe(&self) -> Recipe {
        self.with(|state| state.teller.recipe.clone())
    }

    /// A warning that the client itself has.
    pub fn warn(&self, warning: VertexWarning) {
        self.with(|state| {
            state.all.push(StatusResponse { warnings: vec![warning], ..StatusResponse::default() })
        });
    }

    /// Begins a step that is not the engine's.
    pub fn step(&self, name: &str) -> OwnStep<'_> {
        let id = self.with(|state| {
            state.next += 1;
            state.next
        });
        let (stage, instruction) = (String::new(), String::new());
        self.event(OWN, &BuildEvent::StepStarted { id, name: name.to_owned(), stage, instruction });
        OwnStep { told: self, id, begun: SystemTime::now(), ended: false }
    }

    /// Nothing more comes.
    pub fn end(&self) {
        self.with(|state| state.ended = true);
    }

    /// What was told from a position on, and whether that was all; waits for something new.
    pub async fn after(&self, position: &mut usize) -> Option<StatusResponse> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let news = state.all.get(*position..).unwrap_or_default();
                if !news.is_empty() {
                    let batch = &news[..news.len().min(BATCH)];
                    *position += batch.len();
                    return Some(joined(batch));
                }
                if state.ended {
                    return None;
                }
            }
            changed.changed().await.ok()?;
        }
    }
}

/// Several statuses as one.
pub fn joined(all: &[StatusResponse]) -> StatusResponse {
    let mut joined = StatusResponse::default();
    for status in all {
        joined.vertexes.extend(status.vertexes.iter().cloned());
        joined.statuses.extend(status.statuses.iter().cloned());
        joined.logs.extend(status.logs.iter().cloned());
        joined.warnings.extend(status.warnings.iter().cloned());
    }
    joined
}

/// A step of the protocol itself: receiving files, handing results out. One that is dropped was cancelled.
pub struct OwnStep<'t> {
    told: &'t Told,
    id: u64,
    begun: SystemTime,
    ended: bool,
}

impl OwnStep<'_> {
    /// How much of something is done.
    pub fn progress(&self, what: &str, current: u64, total: u64, complete: bool) {
        let now = Some(timestamp(SystemTime::now()));
        self.told.with(|state| {
            let Some(step) = state.teller.steps.get(&(OWN, self.id)) else { return };
            let status = VertexStatus {
                id: what.to_owned(),
                vertex: step.vertex.digest.clone(),
                name: what.to_owned(),
                current: current.try_into().unwrap_or(i64::MAX),
                total: total.try_into().unwrap_or(i64::MAX),
                timestamp: now,
                started: Some(timestamp(self.begun)),
                completed: now.filter(|_| complete),
            };
            state.all.push(StatusResponse { statuses: vec![status], ..StatusResponse::default() });
        });
    }

    /// Ends the step as the work of it ended.
    pub fn end<T>(mut self, result: Result<T, tonic::Status>) -> Result<T, tonic::Status> {
        self.ended = true;
        self.told.event(
            OWN,
            &match &result {
                Ok(_) => BuildEvent::StepDone { id: self.id, millis: 0 },
                Err(status) => BuildEvent::StepError { id: self.id, message: status.message().to_owned() },
            },
        );
        result
    }
}

impl Drop for OwnStep<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let message = "context canceled".to_owned();
            self.told.event(OWN, &BuildEvent::StepError { id: self.id, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: u64, name: &str) -> BuildEvent {
        BuildEvent::StepStarted { id, name: name.into(), stage: String::new(), instruction: String::new() }
    }

    #[test]
    fn a_step_is_told_again_when_it_ends() {
        let mut teller = Teller::new("b");
        let now = SystemTime::now();
        let first = teller.tell(1, &started(1, "[1/2] FROM a"), now).vertexes.remove(0);
        assert!(first.started.is_some() && first.completed.is_none());
        let cached = teller.tell(1, &BuildEvent::StepCached { id: 1 }, now).vertexes.remove(0);
        assert!(cached.cached && cached.completed.is_some() && cached.digest == first.digest);
        assert_eq!(teller.tell(1, &BuildEvent::StepCached { id: 9 }, now), StatusResponse::default());
        let other = Teller::new("c").tell(1, &started(1, "[1/2] FROM a"), now).vertexes.remove(0);
        assert_ne!(other.digest, first.digest);
    }

    #[test]
    fn output_is_clipped() {
        let mut teller = Teller::new("b");
        let now = SystemTime::now();
        teller.tell(1, &started(1, "x"), now);
        let text = "x".repeat(LOG_MAX + 1);
        let log = |teller: &mut Teller| {
            teller
                .tell(1, &BuildEvent::StepLog { id: 1, stream: LogStream::Stdout, text: text.clone() }, now)
                .logs
        };
        assert!(String::from_utf8_lossy(&log(&mut teller)[0].msg).contains("output clipped"));
        assert!(log(&mut teller).is_empty());
    }

    #[tokio::test]
    async fn listeners_hear_all_from_the_beginning() {
        let told = Told::new("b");
        told.step("exporting").end(Ok(())).unwrap();
        drop(told.step("cancelled"));
        told.end();
        for _ in 0..2 {
            let mut position = 0;
            let all = told.after(&mut position).await.unwrap();
            assert_eq!(all.vertexes.len(), 4);
            assert_eq!(all.vertexes[3].error, "context canceled");
            assert!(told.after(&mut position).await.is_none());
        }
    }
}
