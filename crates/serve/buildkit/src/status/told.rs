//! What one build has told, for all who listen.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use api::build::{BuildEvent, LogStream};
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, VertexStatus, VertexWarning};
use tokio::sync::watch;
use tonic::Status;

use super::teller::OWN;
use super::{Item, Teller, batch, timestamp};
use crate::fault::Recipe;

/// What a build has told so far, for everybody who listens, from the beginning.
pub struct Told {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    teller: Teller,
    all: Vec<Item>,
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
        self.with(|state| state.all.extend(state.teller.tell(run, event, SystemTime::now())));
    }

    /// Which Dockerfile is built: warnings show its lines.
    pub fn reads(&self, recipe: Recipe) {
        self.with(|state| state.teller.reads(recipe));
    }

    pub fn recipe(&self) -> Recipe {
        self.with(|state| state.teller.recipe.clone())
    }

    /// The step of a run that failed, by its digest.
    pub fn failed(&self, run: u32) -> Option<String> {
        self.with(|state| state.teller.failed(run))
    }

    /// A warning that the client itself has.
    pub fn warn(&self, warning: VertexWarning) -> Result<(), Status> {
        self.with(|state| {
            state.all.extend(state.teller.pass(warning)?);
            Ok(())
        })
    }

    /// Begins a step that is not the engine's.
    pub fn step(&self, name: &str) -> OwnStep<'_> {
        let id = self.with(|state| {
            state.next += 1;
            state.next
        });
        let (name, stage, instruction) = (name.to_owned(), String::new(), String::new());
        self.event(OWN, &BuildEvent::StepStarted { id, name, stage, instruction, inputs: Vec::new() });
        OwnStep { told: self, id, begun: SystemTime::now(), ended: false }
    }

    /// Nothing more comes: what it takes of memory to keep all.
    pub fn end(&self) -> usize {
        self.with(|state| {
            if !std::mem::replace(&mut state.ended, true) {
                state.all.extend(state.teller.rest());
                state.teller = Teller::new("");
            }
            kept(&state.all)
        })
    }

    /// What was told from a position on, and whether that was all; waits for something new.
    pub async fn after(&self, position: &mut usize) -> Option<StatusResponse> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((status, count)) = batch(state.all.get(*position..).unwrap_or_default()) {
                    *position += count;
                    return Some(status);
                }
                if state.ended {
                    return None;
                }
            }
            changed.changed().await.ok()?;
        }
    }
}

/// Bytes of items, with the files that they share.
fn kept(items: &[Item]) -> usize {
    let mut last = std::ptr::null();
    let file = |item: &Item| match item {
        Item::Warning(_, Some(file)) if std::sync::Arc::as_ptr(file) != last => {
            last = std::sync::Arc::as_ptr(file);
            file.data.len()
        }
        _ => 0,
    };
    items.iter().map(Item::kept).sum::<usize>() + items.iter().map(file).sum::<usize>()
}

/// A step of the protocol itself: receiving files, handing results out. One that is dropped was cancelled.
pub struct OwnStep<'t> {
    told: &'t Told,
    id: u64,
    begun: SystemTime,
    ended: bool,
}

impl OwnStep<'_> {
    /// Says something of what takes long.
    pub fn line(&self, line: &str) {
        let text = format!("{line}\n");
        self.told.event(OWN, &BuildEvent::StepLog { id: self.id, stream: LogStream::Stderr, text });
    }

    /// How much of something is done: `transferring context:`. Its first word says what it is that is done.
    pub fn progress(&self, what: &str, current: u64, total: u64, complete: bool) {
        let now = Some(timestamp(SystemTime::now()));
        let status = VertexStatus {
            id: what.to_owned(),
            vertex: String::new(),
            name: what.split(' ').next().unwrap_or_default().to_owned(),
            current: current.try_into().unwrap_or(i64::MAX),
            total: total.try_into().unwrap_or(i64::MAX),
            timestamp: now,
            started: Some(timestamp(self.begun)),
            completed: now.filter(|_| complete),
        };
        self.told.with(|state| state.all.extend(state.teller.progress(self.id, status)));
    }

    /// Ends the step as the work of it ended.
    pub fn end<T>(mut self, result: Result<T, Status>) -> Result<T, Status> {
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
    use prost::Message as _;

    /// Of a Dockerfile of this size that many warnings.
    fn warned(size: usize, count: usize) -> Told {
        let told = Told::new("b");
        told.reads(Recipe { name: "Dockerfile".to_owned(), text: "x".repeat(size), definition: None });
        let message = "Maintainer instruction is deprecated".to_owned();
        let (rule, file) = ("MaintainerDeprecated".to_owned(), "Dockerfile".to_owned());
        let warning =
            BuildEvent::Warning { rule, message, file, line: 1, help: None, excerpt: String::new() };
        (0..count).for_each(|_| told.event(1, &warning));
        told
    }

    async fn all(told: &Told) -> Vec<StatusResponse> {
        let (mut position, mut all) = (0, Vec::new());
        while let Some(status) = told.after(&mut position).await {
            all.push(status);
        }
        all
    }

    fn shown(all: &[StatusResponse]) -> usize {
        let infos = all.iter().flat_map(|status| &status.warnings).filter_map(|w| w.info.as_ref());
        infos.map(|info| info.data.len()).sum()
    }

    #[tokio::test]
    async fn listeners_hear_all_from_the_beginning() {
        let told = Told::new("b");
        told.step("exporting").end(Ok(())).unwrap();
        drop(told.step("cancelled"));
        told.end();
        for _ in 0..2 {
            let all = all(&told).await;
            assert_eq!((all.len(), all[0].vertexes.len()), (1, 4));
            assert_eq!(all[0].vertexes[3].error, "context canceled");
        }
    }

    #[tokio::test]
    async fn many_warnings_of_one_file_fit_messages() {
        let told = warned(70 << 10, 250);
        assert!(told.end() < 1 << 20);
        let all = all(&told).await;
        assert!(all.iter().all(|status| status.encoded_len() < 2 << 20));
        assert_eq!(shown(&all), 250 * (70 << 10));
    }

    #[tokio::test]
    async fn endless_warnings_are_counted() {
        let told = warned(4 << 20, 10_000);
        assert!(told.end() < 8 << 20);
        let all = all(&told).await;
        let warnings: Vec<_> = all.iter().flat_map(|status| &status.warnings).collect();
        assert_eq!(warnings.last().unwrap().short, b"9000 more warnings are not shown");
        assert_eq!(warnings.len(), 1001);
        assert!(shown(&all) <= 32 << 20);
    }

    #[tokio::test]
    async fn warnings_of_a_client_share_its_file() {
        use bollard_buildkit_proto::pb::SourceInfo;
        let told = Told::new("b");
        let info = Some(SourceInfo { data: vec![b'x'; 1 << 20], ..SourceInfo::default() });
        for _ in 0..8 {
            told.warn(VertexWarning { info: info.clone(), ..VertexWarning::default() }).unwrap();
        }
        assert!(told.end() < 2 << 20);
        assert_eq!(shown(&all(&told).await), 8 << 20);
    }
}
