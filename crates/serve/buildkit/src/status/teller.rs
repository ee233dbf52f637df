//! From the events of a build to what is told of it, and what of that is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use api::build::{BuildEvent, CANCELED, LogStream};
use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{Vertex, VertexLog, VertexStatus, VertexWarning};
use bollard_buildkit_proto::pb::{Position, Range, SourceInfo};
use dockerfile::check::Rule;
use prost::Message as _;
use tonic::Status;

use super::{Item, timestamp};
use crate::fault::Recipe;

/// What is told of a step's output, as BuildKit has it.
const LOG_MAX: usize = 2 << 20;
/// The same of all steps of a build, with what keeping each piece takes.
const LOGS_MAX: usize = 32 << 20;
/// Steps of a build that are told of.
const STEPS_MAX: usize = 50_000;
/// Names and messages of a build that are told whole.
const WORDS_MAX: usize = 4 << 20;
/// What is told of one afterwards.
const WORD_MAX: usize = 256;
/// Warnings of a build that are told.
const WARNINGS_MAX: usize = 1000;
/// Bytes of the files that warnings show, each time that one is sent.
const FILES_MAX: usize = 32 << 20;
/// The longest of these files: a message must have room for it.
const FILE_MAX: usize = 8 << 20;
/// What BuildKit says of steps that were stopped because another one failed: clients know them by it.
const STOPPED: &str = "context canceled";
/// The run of steps that are not the engine's; those of the engine count from the next number on.
pub(super) const OWN: u32 = 0;

/// A step's run, and its number there.
pub(super) type Id = (u32, u64);

/// Turns the events of one build into what is told.
pub struct Teller {
    /// The build's id: vertexes of two builds have different digests.
    build: String,
    steps: BTreeMap<Id, Step>,
    pub(super) recipe: Recipe,
    /// The file that the last warning was about.
    file: Option<Arc<SourceInfo>>,
    spent: Spent,
}

/// What was told already.
#[derive(Default)]
struct Spent {
    logs: usize,
    words: usize,
    files: usize,
    warnings: usize,
}

struct Step {
    vertex: Vertex,
    logged: usize,
    is_clipped: bool,
}

impl Teller {
    pub fn new(build: &str) -> Teller {
        let (steps, recipe) = (BTreeMap::new(), Recipe::default());
        Teller { build: build.to_owned(), steps, recipe, file: None, spent: Spent::default() }
    }

    /// Which Dockerfile is built: warnings show its lines.
    pub(super) fn reads(&mut self, recipe: Recipe) {
        (self.recipe, self.file) = (recipe, None);
    }

    /// What an event of the build's run of this number says, at a time: each run counts its steps anew.
    pub fn tell(&mut self, run: u32, event: &BuildEvent, now: SystemTime) -> Option<Item> {
        let time = Some(timestamp(now));
        match event {
            BuildEvent::StepStarted { id, name, inputs, .. } => self.begin((run, *id), name, inputs, time),
            BuildEvent::StepCached { id } => self.end((run, *id), |vertex| {
                vertex.cached = true;
                vertex.completed = time;
            }),
            BuildEvent::StepDone { id, .. } => self.end((run, *id), |vertex| vertex.completed = time),
            BuildEvent::StepError { id, message } => {
                let error = if message == CANCELED { STOPPED.to_owned() } else { self.words(message) };
                self.end((run, *id), |vertex| (vertex.completed, vertex.error) = (time, error))
            }
            BuildEvent::StepStatus { id, name } => self.status((run, *id), name, time),
            BuildEvent::StepLog { id, stream, text } => self.log((run, *id), *stream, text, time),
            BuildEvent::Warning { rule, message, line, help, .. } => {
                self.warning(rule, message, *line, help.as_deref())
            }
            BuildEvent::StepMissed { .. } | BuildEvent::StepNote { .. } | BuildEvent::StageSkipped { .. } => {
                None
            }
        }
    }

    fn begin(&mut self, id: Id, name: &str, inputs: &[u64], started: Option<Timestamp>) -> Option<Item> {
        if self.steps.len() >= STEPS_MAX {
            return None;
        }
        let (run, number) = id;
        let digest = super::digest(&self.build, run, number).to_string();
        let inputs =
            inputs.iter().filter_map(|input| Some(self.steps.get(&(run, *input))?.vertex.digest.clone()));
        let inputs = inputs.collect();
        let vertex = Vertex { digest, inputs, name: self.words(name), started, ..Vertex::default() };
        self.steps.insert(id, Step { vertex: vertex.clone(), logged: 0, is_clipped: false });
        Some(Item::Vertex(vertex))
    }

    fn end(&mut self, id: Id, change: impl FnOnce(&mut Vertex)) -> Option<Item> {
        let step = self.steps.get_mut(&id)?;
        change(&mut step.vertex);
        Some(Item::Vertex(step.vertex.clone()))
    }

    /// A text that is kept, or its beginning where there are too many.
    fn words(&mut self, text: &str) -> String {
        if self.spent.words + text.len() <= WORDS_MAX {
            self.spent.words += text.len();
            return text.to_owned();
        }
        text[..text.floor_char_boundary(WORD_MAX)].to_owned()
    }

    fn log(&mut self, id: Id, stream: LogStream, text: &str, time: Option<Timestamp>) -> Option<Item> {
        let step = self.steps.get_mut(&id).filter(|step| !step.is_clipped)?;
        step.logged += text.len();
        self.spent.logs += text.len() + size_of::<Item>();
        let limit = match (step.logged > LOG_MAX, self.spent.logs > LOGS_MAX) {
            (true, _) => Some("log limit 2MiB"),
            (_, true) => Some("log limit 32MiB of the build"),
            _ => None,
        };
        step.is_clipped = limit.is_some();
        let mut msg = text.as_bytes().to_vec();
        if let Some(limit) = limit {
            msg.extend_from_slice(format!("\n[output clipped, {limit} reached]\n").as_bytes());
        }
        let stream = match stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
        };
        Some(Item::Log(VertexLog { vertex: step.vertex.digest.clone(), timestamp: time, stream, msg }))
    }

    /// A part of a step that is done.
    fn status(&mut self, id: Id, name: &str, time: Option<Timestamp>) -> Option<Item> {
        let name = self.words(name);
        let vertex = self.steps.get(&id)?.vertex.digest.clone();
        let (timestamp, started, completed) = (time, time, time);
        Some(Item::Progress(VertexStatus {
            id: name,
            vertex,
            timestamp,
            started,
            completed,
            ..Default::default()
        }))
    }

    /// How much of something a step of our own has done.
    pub(super) fn progress(&self, number: u64, progress: VertexStatus) -> Option<Item> {
        let vertex = self.steps.get(&(OWN, number))?.vertex.digest.clone();
        Some(Item::Progress(VertexStatus { vertex, ..progress }))
    }

    fn warning(&mut self, rule: &str, message: &str, line: u32, help: Option<&str>) -> Option<Item> {
        self.spent.warnings += 1;
        if self.spent.warnings > WARNINGS_MAX {
            return None;
        }
        let message = self.words(message);
        let known = dockerfile::check::find(rule);
        let about = known.map(|rule| rule.description.as_bytes().to_vec());
        let help = help.map(|help| self.words(help).into_bytes());
        let line_number = i32::try_from(line).unwrap_or(0);
        let at = || Some(Position { line: line_number, character: 0 });
        let warning = VertexWarning {
            vertex: self.first(),
            level: 1,
            short: format!("{rule}: {message} (line {line})").into_bytes(),
            // What the rule is about comes first: clients show that.
            detail: about.into_iter().chain(help).collect(),
            url: known.and_then(Rule::url).unwrap_or_default(),
            info: None,
            ranges: vec![Range { start: at(), end: at() }],
        };
        let file = self.file.clone().unwrap_or_else(|| Arc::new(self.recipe.info()));
        Some(Item::Warning(warning, self.shown(file)))
    }

    /// The first step of a run that failed, by its digest; those that it took along were cancelled.
    pub(super) fn failed(&self, run: u32) -> Option<String> {
        let mut steps = self.steps.range((run, 0)..=(run, u64::MAX)).map(|(_, step)| &step.vertex);
        let failed = steps.find(|vertex| !vertex.error.is_empty() && vertex.error != STOPPED);
        failed.map(|vertex| vertex.digest.clone())
    }

    /// Warnings belong to the step that read the file, the first one.
    fn first(&self) -> String {
        let first = self.steps.range((OWN + 1, 0)..).next();
        first.map(|(_, step)| step.vertex.digest.clone()).unwrap_or_default()
    }

    /// A file that a warning shows, unless that was done often enough.
    fn shown(&mut self, file: Arc<SourceInfo>) -> Option<Arc<SourceInfo>> {
        self.file = Some(file.clone());
        let size = file.encoded_len();
        if file.data.is_empty() || size > FILE_MAX || self.spent.files + size > FILES_MAX {
            return None;
        }
        self.spent.files += size;
        Some(file)
    }

    /// A warning that the client itself has.
    pub(super) fn pass(&mut self, mut warning: VertexWarning) -> Result<Option<Item>, Status> {
        let given = warning.info.take();
        let size = warning.encoded_len();
        if self.spent.words + size > WORDS_MAX {
            let message = format!("names and warnings of a build have more than {} MiB", WORDS_MAX >> 20);
            return Err(Status::resource_exhausted(message));
        }
        self.spent.words += size;
        self.spent.warnings += 1;
        if self.spent.warnings > WARNINGS_MAX {
            return Ok(None);
        }
        let file = given.and_then(|given| match self.file.take().filter(|file| **file == given) {
            Some(same) => self.shown(same),
            None => self.shown(Arc::new(given)),
        });
        Ok(Some(Item::Warning(warning, file)))
    }

    /// What is to be said at the end: how much was not.
    pub fn rest(&self) -> Option<Item> {
        let more = self.spent.warnings.checked_sub(WARNINGS_MAX).filter(|more| *more > 0)?;
        let short = format!("{more} more warnings are not shown").into_bytes();
        Some(Item::Warning(
            VertexWarning { vertex: self.first(), level: 1, short, ..Default::default() },
            None,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: u64, name: &str) -> BuildEvent {
        BuildEvent::StepStarted {
            id,
            name: name.into(),
            stage: String::new(),
            instruction: String::new(),
            inputs: Vec::new(),
        }
    }

    fn said(id: u64, text: &str) -> BuildEvent {
        BuildEvent::StepLog { id, stream: LogStream::Stdout, text: text.to_owned() }
    }

    fn vertex(teller: &mut Teller, event: &BuildEvent) -> Vertex {
        match teller.tell(1, event, SystemTime::now()) {
            Some(Item::Vertex(vertex)) => vertex,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_step_is_told_again_when_it_ends() {
        let mut teller = Teller::new("b");
        let first = vertex(&mut teller, &started(1, "[1/2] FROM a"));
        assert!(first.started.is_some() && first.completed.is_none());
        let cached = vertex(&mut teller, &BuildEvent::StepCached { id: 1 });
        assert!(cached.cached && cached.completed.is_some() && cached.digest == first.digest);
        assert_eq!(teller.tell(1, &BuildEvent::StepCached { id: 9 }, SystemTime::now()), None);
        let mut next = started(2, "[2/2] RUN b");
        if let BuildEvent::StepStarted { inputs, .. } = &mut next {
            inputs.push(1);
        }
        assert_eq!(vertex(&mut teller, &next).inputs, std::slice::from_ref(&first.digest));
        let other = vertex(&mut Teller::new("c"), &started(1, "[1/2] FROM a"));
        assert_ne!(other.digest, first.digest);
    }

    #[test]
    fn what_another_step_stopped_has_not_failed() {
        let mut teller = Teller::new("b");
        let failed = |id, message: &str| BuildEvent::StepError { id, message: message.into() };
        vertex(&mut teller, &started(1, "x"));
        vertex(&mut teller, &started(2, "y"));
        assert_eq!(vertex(&mut teller, &failed(1, CANCELED)).error, "context canceled");
        assert_eq!(teller.failed(1), None);
        let culprit = vertex(&mut teller, &failed(2, "exit code: 1"));
        assert_eq!(
            (culprit.error.as_str(), teller.failed(1)),
            ("exit code: 1", Some(culprit.digest.clone()))
        );
    }

    #[test]
    fn output_is_clipped() {
        let mut teller = Teller::new("b");
        let now = SystemTime::now();
        teller.tell(1, &started(1, "x"), now);
        teller.tell(1, &started(2, "y"), now);
        let mut log = |id, text: &str| match teller.tell(1, &said(id, text), now) {
            Some(Item::Log(log)) => Some(String::from_utf8(log.msg).unwrap()),
            _ => None,
        };
        assert_eq!(log(9, "x"), None);
        assert!(log(1, &"x".repeat(LOG_MAX + 1)).unwrap().contains("clipped, log limit 2MiB reached"));
        assert_eq!(log(1, "more"), None);
        // Single bytes cost what keeping them does.
        let told = (0..LOGS_MAX).take_while(|_| log(2, "y").is_some()).count();
        assert!(told > 10_000 && told * size_of::<Item>() <= LOGS_MAX, "{told}");
    }

    #[test]
    fn names_are_whole_while_there_is_room() {
        let mut teller = Teller::new("b");
        let long = "é".repeat(WORDS_MAX / 2);
        assert_eq!(vertex(&mut teller, &started(1, &long)).name, long);
        assert_eq!(vertex(&mut teller, &started(2, &long)).name, "é".repeat(WORD_MAX / 2));
        assert_eq!(vertex(&mut teller, &started(3, "short")).name, "short");
        assert!(teller.pass(VertexWarning { short: vec![b'x'], ..VertexWarning::default() }).is_err());
    }
}
