//! The classic builder's text from the events of a build that runs steps side by side.
//!
//! Docker's classic builder does one instruction after the other, and clients read what it says of each:
//!
//! ```text
//! Step 2/3 : RUN make
//!  ---> Running in 3e172310e5c0
//! (what it prints)
//! Removing intermediate container 3e172310e5c0
//!  ---> 4a35fde148fa
//! ```
//!
//! or, where its result was there, ` ---> Using cache` in place of the middle. So the lines of all stages that are built come out in
//! their order: the line that it is the turn of is shown as it happens, what others say waits. Steps of no line (reading the
//! context, looking base images up) are not told; what they print is. Each portion of a command's output is a message of its
//! own, red when it comes from standard error: that is how Docker's builder marks it, for all clients.
//!
//! No container and no image are made for a line: the names that stand for them are made of what the line is about.

use std::collections::{BTreeMap, HashMap};

use api::JsonMessage;
use engine::builds::{ChainId, Digest, Event, Line, LineKind, Stream, Teller};

const RED: &str = "\x1b[91m";
const PLAIN: &str = "\x1b[0m";
/// What a step says that did nothing wrong.
const CANCELLED: &str = "canceled";
/// Characters of an id that are shown.
const SHORT: usize = 12;

/// Turns events into text.
pub struct Classic {
    /// Whether it is told that containers are removed, after a success and after a failure.
    removes: (bool, bool),
    lines: Vec<Line>,
    /// How many of them count.
    total: usize,
    /// The line whose turn it is, its number among those that count, and what was told of it.
    at: usize,
    number: usize,
    told: Told,
    /// The ids of the lines before.
    ids: Vec<String>,
    steps: HashMap<u64, String>,
    work: BTreeMap<String, Work>,
    image: Option<(Digest, bool)>,
    /// A step has failed, and all of it is told.
    is_over: bool,
    /// Warnings of a file that may turn out to be none: that is a plain error, and no answer has begun.
    held: Vec<String>,
}

/// The line that a step begins with.
fn title(number: usize, total: usize, instruction: &str) -> String {
    format!("Step {number}/{total} : {}\n", instruction.replace('\n', " "))
}

/// What a step of this name did.
#[derive(Default)]
struct Work {
    outcome: Option<Outcome>,
    waiting: Vec<String>,
    end: Option<Option<ChainId>>,
    has_failed: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Cached,
    Runs,
}

/// How far a line is told.
#[derive(Clone, Copy, Default, PartialEq)]
enum Told {
    #[default]
    Nothing,
    Title,
    Outcome,
    All,
}

impl Classic {
    /// Clients may want to know nothing of containers, or of those of failures too.
    pub fn new(removes: bool, removes_failed: bool) -> Self {
        Self {
            removes: (removes || removes_failed, removes_failed),
            lines: Vec::new(),
            total: 0,
            at: 0,
            number: 0,
            told: Told::default(),
            ids: Vec::new(),
            steps: HashMap::new(),
            work: BTreeMap::new(),
            image: None,
            is_over: false,
            held: Vec::new(),
        }
    }

    /// The text that an event brings to light.
    pub fn text(&mut self, event: Event) -> Vec<JsonMessage> {
        let mut text = Vec::new();
        match event {
            Event::Stuck { number, total, text: instruction } => {
                text.append(&mut self.held);
                text.push(title(number, total, &instruction));
            }
            Event::Lines { lines } => {
                text.append(&mut self.held);
                let names = lines.iter().filter_map(|line| line.step.clone());
                self.work = names.map(|name| (name, Work::default())).collect();
                self.total = lines.iter().filter(|line| line.kind != LineKind::Trigger).count();
                self.lines = lines;
            }
            Event::StepStarted { id, name, .. } => drop(self.steps.insert(id, name)),
            Event::StepCached { id, layers } => self.ends(id, Outcome::Cached, layers),
            Event::StepDone { id, layers, .. } => self.ends(id, Outcome::Runs, layers),
            Event::StepMissed { id, .. } => self.begins(id),
            Event::StepLog { id, stream, text: said } => {
                let said = match stream {
                    Stream::Stdout => said,
                    Stream::Stderr => format!("{RED}{said}{PLAIN}"),
                };
                match self.steps.get(&id).map(|name| (self.work.get_mut(name), name)) {
                    Some((Some(work), _)) => {
                        work.outcome.get_or_insert(Outcome::Runs);
                        work.waiting.push(said);
                    }
                    _ => text.push(said),
                }
            }
            Event::StepError { id, message } => self.fails(id, message == CANCELLED),
            Event::Image { image, is_new } => self.image = Some((image, is_new)),
            // The last lines of the answer name the image and its tags.
            Event::StepStatus { .. } | Event::StepNote { .. } | Event::StageSkipped { .. } => {}
            Event::Warning { message, file, span, .. } => {
                self.held.push(format!("[Warning] {file}:{}: {message}\n", span.line));
                if !self.lines.is_empty() {
                    text.append(&mut self.held);
                }
            }
        }
        while self.tell(&mut text) {}
        text.into_iter().map(JsonMessage::stream).collect()
    }

    fn work_of(&mut self, id: u64) -> Option<&mut Work> {
        self.work.get_mut(self.steps.get(&id)?)
    }

    fn begins(&mut self, id: u64) {
        if let Some(work) = self.work_of(id) {
            work.outcome.get_or_insert(Outcome::Runs);
        }
    }

    fn ends(&mut self, id: u64, outcome: Outcome, layers: Option<ChainId>) {
        if let Some(work) = self.work_of(id) {
            work.outcome.get_or_insert(outcome);
            work.end = Some(layers);
        }
    }

    /// What failed is what everybody wants to see: it is its turn, whatever else was under way.
    fn fails(&mut self, id: u64, is_cancelled: bool) {
        self.begins(id);
        let Some(work) = self.work_of(id).filter(|_| !is_cancelled) else { return };
        work.has_failed = true;
        let step = self.steps.get(&id);
        let Some(at) = self.lines.iter().position(|line| line.step.as_ref() == step) else { return };
        if at > self.at {
            self.number = self.lines[..at].iter().filter(|line| line.kind != LineKind::Trigger).count();
            self.ids.resize(at, String::new());
            (self.at, self.told) = (at, Told::Nothing);
        }
    }

    /// Tells what there is to tell of the line whose turn it is; whether it is the next one's turn then.
    fn tell(&mut self, text: &mut Vec<String>) -> bool {
        let Some(line) = self.lines.get(self.at).filter(|_| !self.is_over) else { return false };
        if self.told == Told::Nothing {
            self.told = Told::Title;
            if line.kind != LineKind::Trigger {
                self.number += 1;
                text.push(title(self.number, self.total, &line.text));
            }
        }
        match line.kind {
            LineKind::Argument => return self.turn(String::new(), None, text),
            LineKind::From { triggers, .. } if triggers > 0 => {
                let plural = if triggers == 1 { "" } else { "s" };
                text.push(format!("# Executing {triggers} build trigger{plural}\n"));
                return self.turn(self.id(None), None, text);
            }
            LineKind::From { .. } => {
                if line.step.as_ref().is_some_and(|step| self.is_under_way(step)) {
                    return false;
                }
            }
            LineKind::Trigger | LineKind::Instruction => {
                if self.told != Told::All && !self.tell_work(text) {
                    return false;
                }
                self.told = Told::All;
            }
        }
        let line = &self.lines[self.at];
        let end = line.step.as_ref().and_then(|step| self.work.get(step)?.end.clone().flatten());
        let id = match (self.at + 1 == self.lines.len(), &self.image) {
            (true, Some((image, _))) => short(image),
            (true, None) => return false,
            (false, _) => self.id(end.as_ref()),
        };
        let is_last = self.lines.get(self.at + 1).is_none_or(|next| next.kind != LineKind::Trigger);
        let shown = is_last.then(|| format!(" ---> {id}\n"));
        self.turn(id, shown, text)
    }

    /// The next line's turn.
    fn turn(&mut self, id: String, shown: Option<String>, text: &mut Vec<String>) -> bool {
        text.extend(shown);
        self.ids.push(id);
        self.at += 1;
        self.told = Told::Nothing;
        true
    }

    /// Whether a step has yet to end, unless all is there.
    fn is_under_way(&self, step: &str) -> bool {
        self.image.is_none() && self.work.get(step).is_some_and(|work| work.end.is_none())
    }

    /// What an instruction does; whether it has ended.
    fn tell_work(&mut self, text: &mut Vec<String>) -> bool {
        let Some(outcome) = self.outcome() else { return false };
        let line = &self.lines[self.at];
        let word = line.text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        // Files are put into an image without a container.
        let container = match word.as_str() {
            "COPY" | "ADD" => None,
            _ => Some(short(&Digest::sha256(format!("container {} {}", self.at, self.id(None)).as_bytes()))),
        };
        if self.told == Told::Title {
            self.told = Told::Outcome;
            match (outcome, &container) {
                (Outcome::Cached, _) => text.push(" ---> Using cache\n".to_owned()),
                (Outcome::Runs, Some(container)) => text.push(format!(" ---> Running in {container}\n")),
                (Outcome::Runs, None) => {}
            }
        }
        if let Some(step) = line.step.clone() {
            let is_under_way = self.is_under_way(&step);
            let work = self.work.entry(step).or_default();
            text.append(&mut work.waiting);
            self.is_over = work.has_failed;
            if is_under_way && !self.is_over {
                return false;
            }
        }
        let removes = if self.is_over { self.removes.1 } else { self.removes.0 };
        if let (Outcome::Runs, Some(container), true) = (outcome, container, removes) {
            text.push(format!("Removing intermediate container {container}\n"));
        }
        !self.is_over
    }

    /// Whether the instruction's result was there, as far as it is known.
    fn outcome(&self) -> Option<Outcome> {
        let line = &self.lines[self.at];
        let of = |step: &str| match (self.work.get(step).and_then(|work| work.outcome), &self.image) {
            (None, Some(_)) => Some(Outcome::Cached),
            (outcome, _) => outcome,
        };
        match (&line.step, &line.told_by) {
            (Some(step), _) | (None, Teller::Step(step)) => of(step),
            (None, Teller::Image) => {
                self.image.as_ref().map(|(_, is_new)| if *is_new { Outcome::Runs } else { Outcome::Cached })
            }
            (None, Teller::Nobody) => Some(Outcome::Cached),
        }
    }

    /// What is shown as the image that the line gives.
    fn id(&self, layers: Option<&ChainId>) -> String {
        let line = &self.lines[self.at];
        let on = line.on.and_then(|on| self.ids.get(on));
        match (&line.kind, on) {
            (LineKind::From { image: Some(image), .. }, _) => short(image),
            (LineKind::From { .. }, Some(on)) => on.clone(),
            (LineKind::From { .. }, None) if layers.is_none() => String::new(),
            _ => {
                let layers = layers.map(ToString::to_string).unwrap_or_default();
                let on = on.map_or("", String::as_str);
                short(&Digest::sha256(format!("{on} {} {layers}", line.text).as_bytes()))
            }
        }
    }
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(SHORT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, kind: LineKind, step: Option<&str>, told_by: Teller) -> Line {
        Line { text: text.into(), kind, on: None, step: step.map(str::to_owned), told_by }
    }

    fn plan() -> Event {
        let image = || Some(Digest::sha256(b"base"));
        let from = |triggers| LineKind::From { image: image(), triggers };
        let step = |name: &str| Teller::Step(name.to_owned());
        use LineKind::{Argument, Instruction, Trigger};
        let lines = vec![
            line("ARG V=1", Argument, None, Teller::Nobody),
            line("FROM a AS one", from(0), Some("FROM a"), Teller::Nobody),
            line("ENV X=1", Instruction, None, step("r")),
            line("RUN r", Instruction, Some("r"), step("r")),
            line("FROM b", from(2), Some("FROM b"), Teller::Nobody),
            line("RUN t", Trigger, Some("t"), step("t")),
            line("COPY . .", Trigger, Some("c"), step("c")),
            line("CMD x", Instruction, None, Teller::Image),
        ];
        Event::Lines { lines }
    }

    fn started(id: u64, name: &str) -> Event {
        Event::StepStarted {
            id,
            name: name.into(),
            stage: String::new(),
            instruction: String::new(),
            inputs: Vec::new(),
        }
    }

    fn log(id: u64, stream: Stream, text: &str) -> Event {
        Event::StepLog { id, stream, text: text.into() }
    }

    /// The text, every id as `#`.
    fn told(classic: &mut Classic, events: impl IntoIterator<Item = Event>) -> String {
        let text: String =
            events.into_iter().flat_map(|event| classic.text(event)).map(|message| message.stream).collect();
        let shown = |line: &str| {
            let (before, id) = line.rsplit_once(' ').unwrap_or((line, ""));
            let is_id = id.len() == SHORT && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_id { format!("{before} #\n") } else { format!("{line}\n") }
        };
        text.lines().map(shown).collect()
    }

    fn all(ends: impl Fn(u64) -> Event) -> Vec<Event> {
        let names = ["[internal] load metadata", "t", "FROM b", "FROM a", "r", "c"];
        let started = names.iter().zip(1..).map(|(name, id)| started(id, name));
        let logs = [
            log(2, Stream::Stdout, "trigger\n"),
            log(1, Stream::Stdout, "pulling\n"),
            log(5, Stream::Stderr, "red\n"),
        ];
        std::iter::once(plan()).chain(started).chain(logs).chain((1..=6).map(ends)).collect()
    }

    #[test]
    fn steps_side_by_side_come_out_in_order() {
        let mut classic = Classic::new(true, false);
        let ends = |id| match id {
            3 | 4 => Event::StepCached { id, layers: None },
            _ => Event::StepDone { id, millis: 1, layers: None },
        };
        let image = Digest::sha256(b"image");
        let done = Event::Image { image: image.clone(), is_new: true };
        let events = all(ends);
        assert_eq!(
            told(&mut classic, events),
            "Step 1/6 : ARG V=1\nStep 2/6 : FROM a AS one\npulling\n ---> #\nStep 3/6 : ENV X=1\n \
             ---> Running in #\nRemoving intermediate container #\n ---> #\nStep 4/6 : RUN r\n ---> Running in #\n\
             \u{1b}[91mred\n\u{1b}[0mRemoving intermediate container #\n ---> #\nStep 5/6 : FROM b\n\
             # Executing 2 build triggers\n ---> Running in #\ntrigger\nRemoving intermediate container #\n ---> #\n\
             Step 6/6 : CMD x\n"
        );
        let last = classic.text(done).pop().unwrap().stream;
        assert_eq!(last, format!(" ---> {}\n", short(&image)), "the last line gives the image");
    }

    #[test]
    fn what_was_there_says_so() {
        let mut classic = Classic::new(true, false);
        let quiet = all(|id| Event::StepCached { id, layers: None });
        let quiet = quiet.into_iter().filter(|event| !matches!(event, Event::StepLog { .. }));
        let done = Event::Image { image: Digest::sha256(b"image"), is_new: false };
        let text = told(&mut classic, quiet.chain([done]));
        assert_eq!(text.matches(" ---> Using cache\n").count(), 5, "{text}");
        assert!(!text.contains("Running") && !text.contains("Removing"), "{text}");
    }

    #[test]
    fn a_failure_is_told_before_all_that_was_cancelled() {
        for (removes, end) in [((true, false), "trigger\n"), ((true, true), "container #\n")] {
            let mut classic = Classic::new(removes.0, removes.1);
            let error = |id, message: &str| Event::StepError { id, message: message.into() };
            let events = all(|id| if id == 2 { error(id, "exit code 1") } else { error(id, CANCELLED) });
            let text = told(&mut classic, events);
            assert!(text.contains(" ---> Running in #\ntrigger\n") && text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn a_last_step_is_told_once_though_the_image_comes_later() {
        let mut classic = Classic::new(true, false);
        let lines = vec![line("RUN r", LineKind::Instruction, Some("r"), Teller::Nobody)];
        let done = Event::StepDone { id: 1, millis: 1, layers: None };
        let image = Event::Image { image: Digest::sha256(b"image"), is_new: true };
        let events = [Event::Lines { lines }, started(1, "r"), done, started(2, "exporting to image"), image];
        let want = "Step 1/1 : RUN r\n ---> Running in #\nRemoving intermediate container #\n ---> #\n";
        assert_eq!(told(&mut classic, events), want);
    }

    #[test]
    fn what_cannot_be_done_is_told_after_its_step() {
        let warning = || Event::Warning {
            rule: "X".into(),
            message: "odd".into(),
            file: "Dockerfile".into(),
            span: Default::default(),
            help: None,
            excerpt: String::new(),
        };
        let mut classic = Classic::new(true, false);
        // There may be no answer yet that it could be part of.
        assert_eq!(told(&mut classic, [warning()]), "");
        let stuck = Event::Stuck { number: 2, total: 3, text: "FROM \\\nx".into() };
        assert_eq!(told(&mut classic, [stuck]), "[Warning] Dockerfile:0: odd\nStep 2/3 : FROM \\ x\n");
    }

    #[test]
    fn containers_are_told_of_as_asked_for() {
        let mut classic = Classic::new(false, false);
        let text = told(&mut classic, all(|id| Event::StepDone { id, millis: 1, layers: None }));
        assert!(text.contains("Running in") && !text.contains("Removing"), "{text}");
    }
}
