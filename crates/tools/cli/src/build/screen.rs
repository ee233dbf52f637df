//! What is seen of builds while they run: one, or several at once on one screen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use api::build::{BuildEvent, BuildRecord, BuildResult, NATIVE_PROGRESS_ID};
use client::JsonLines;
use jiff::Timestamp;

use super::history::inspect::steps;
use super::run::Args;
use crate::context::Cli;
use crate::error::Error;
use crate::progress::build::Picture;
use crate::progress::raw::Raw;
use crate::stream::signals::interruptible;
use crate::stream::terminal;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Terminal,
    Plain,
    Raw,
    Quiet,
    /// Not even the image's id.
    None,
    /// The text of Docker's builder before BuildKit.
    Classic,
}

impl Shown {
    /// What was asked for, or else what suits the terminal.
    pub fn choose(cli: &Cli, quiet: bool, progress: Option<&str>) -> Result<Shown, Error> {
        if quiet {
            return match progress.unwrap_or_default() {
                "" | "auto" | "quiet" | "none" => Ok(Shown::Quiet),
                other => Err(Error::new(format!("progress={other} and quiet cannot be used together"))),
            };
        }
        let word = progress.map(str::to_owned).or_else(|| cli.variable("BUILDKIT_PROGRESS"));
        let classic = matches!(cli.variable("DOCKER_BUILDKIT").as_deref(), Some("0" | "false"));
        match word.as_deref().unwrap_or("auto") {
            "" | "auto" if classic => Ok(Shown::Classic),
            "" | "auto" if cli.stderr_is_terminal() => Ok(Shown::Terminal),
            "" | "auto" | "plain" => Ok(Shown::Plain),
            "tty" if cli.stderr_is_terminal() => Ok(Shown::Terminal),
            "tty" => Err(Error::new("failed to get console: the output is no terminal")),
            "quiet" => Ok(Shown::Quiet),
            "none" => Ok(Shown::None),
            "rawjson" => Ok(Shown::Raw),
            other => Err(Error::new(format!("invalid progress mode {other}"))),
        }
    }
}

/// The screen of one command.
pub struct Screen {
    shown: Shown,
    begun: Instant,
    state: RefCell<State>,
}

struct State {
    picture: Picture,
    /// What programs are told of the steps.
    raw: Raw,
    /// How the steps stand, and why.
    told: BuildRecord,
    /// Warnings, as BuildKit's documents.
    warnings: Vec<serde_json::Value>,
    /// Lines of the picture that stand on the terminal.
    drawn: usize,
    /// The number on the screen of each step of each build.
    numbers: BTreeMap<(String, u64), u64>,
}

/// A build on a screen.
pub struct View<'s> {
    screen: &'s Screen,
    /// Which of several builds it is.
    name: Option<&'s str>,
}

impl<'s> View<'s> {
    /// The only build on this screen.
    pub fn alone(screen: &'s Screen) -> View<'s> {
        View { screen, name: None }
    }

    /// One of several.
    pub fn of(screen: &'s Screen, name: &'s str) -> View<'s> {
        View { screen, name: Some(name) }
    }

    pub fn shown(&self) -> Shown {
        self.screen.shown
    }

    /// The warnings so far, as BuildKit's documents.
    pub fn warnings(&self) -> serde_json::Value {
        self.screen.state.borrow().warnings.clone().into()
    }

    pub fn is_one_of_several(&self) -> bool {
        self.name.is_some()
    }

    /// Shows the build to its end; what became of it. Where the result is held, that is before the end of the messages.
    pub async fn show(
        &self,
        cli: &Cli,
        messages: &mut JsonLines<api::JsonMessage>,
        held: bool,
    ) -> Result<Option<BuildResult>, Error> {
        let result = interruptible(self.follow(cli, messages, held)).await;
        let result = result.map_err(|error| match error.message.is_empty() {
            true => self.screen.cancel(error),
            false => error,
        });
        result.map_err(|error| match self.screen.shown {
            Shown::Classic | Shown::Quiet | Shown::None => error,
            _ => Error { message: headed(&error.message), ..error },
        })
    }

    async fn follow(
        &self,
        cli: &Cli,
        messages: &mut JsonLines<api::JsonMessage>,
        held: bool,
    ) -> Result<Option<BuildResult>, Error> {
        let screen = self.screen;
        let mut found = None;
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut native = false;
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                _ = tick.tick(), if screen.shown == Shown::Terminal => {
                    screen.draw(false)?;
                    continue;
                }
            };
            let Some(message) = message else { return Ok(found) };
            let message = message?;
            if let Some(error) = message.error_detail.filter(|error| !error.message.is_empty()) {
                return Err(Error::new(error.message));
            }
            if !message.error.is_empty() {
                return Err(Error::new(message.error));
            }
            match message.aux {
                Some(aux) if message.id == NATIVE_PROGRESS_ID => {
                    native = true;
                    // An event of a newer server that we do not know tells us nothing.
                    if let Ok(event) = serde_json::from_value::<BuildEvent>(aux) {
                        screen.event(&self.placed(event))?;
                    }
                }
                Some(aux) => {
                    let result: Option<BuildResult> = serde_json::from_value(aux).ok();
                    let is_result = |result: &BuildResult| !result.id.is_empty() || result.details.is_some();
                    found = result.filter(is_result).or(found);
                    // Nothing follows what has details.
                    if held && found.as_ref().is_some_and(|found| found.details.is_some()) {
                        return Ok(found);
                    }
                }
                // The closing words of the classic text are said by the steps already.
                None if native => {}
                // Docker's own builder says nothing but the id then, as text.
                None if matches!(screen.shown, Shown::Quiet | Shown::None) => {
                    found = said(&message.stream).or(found);
                }
                None => {
                    let text = match message.stream.is_empty() {
                        true => format!("{}\n", message.status),
                        false => message.stream,
                    };
                    cli.print(&text)?;
                }
            }
        }
    }

    /// The event as it is shown: among several builds, steps have numbers of the screen's and tell whose they are.
    fn placed(&self, mut event: BuildEvent) -> BuildEvent {
        let Some(build) = self.name else { return event };
        let numbers = &mut self.screen.state.borrow_mut().numbers;
        if let Some(id) = number(&mut event) {
            let next = numbers.len() as u64 + 1;
            *id = *numbers.entry((build.to_owned(), *id)).or_insert(next);
        }
        if let BuildEvent::StepStarted { name, inputs, .. } = &mut event {
            *name = labelled(name, build);
            inputs
                .iter_mut()
                .for_each(|id| *id = numbers.get(&(build.to_owned(), *id)).copied().unwrap_or(0));
        }
        event
    }
}

/// The result that a line is nothing but the id of.
fn said(text: &str) -> Option<BuildResult> {
    let id: oci::Digest = text.trim().parse().ok()?;
    Some(BuildResult { id: id.to_string(), details: None })
}

/// `[build 2/4] RUN make` of the build `app` is `[app build 2/4] RUN make`.
fn labelled(name: &str, build: &str) -> String {
    match name.strip_prefix('[') {
        Some(rest) => format!("[{build} {rest}"),
        None => format!("[{build}] {name}"),
    }
}

/// The number of the step that an event is about.
fn number(event: &mut BuildEvent) -> Option<&mut u64> {
    match event {
        BuildEvent::StepStarted { id, .. }
        | BuildEvent::StepCached { id }
        | BuildEvent::StepMissed { id, .. }
        | BuildEvent::StepNote { id, .. }
        | BuildEvent::StepStatus { id, .. }
        | BuildEvent::StepLog { id, .. }
        | BuildEvent::StepDone { id, .. }
        | BuildEvent::StepError { id, .. } => Some(id),
        BuildEvent::StageSkipped { .. } | BuildEvent::Warning { .. } => None,
    }
}

/// The excerpt of the Dockerfile comes first, the error itself last, where it is looked for.
fn headed(message: &str) -> String {
    const RULE: &str = "--------------------\n";
    match message.rfind(RULE) {
        Some(at) => {
            let (excerpt, rest) = message.split_at(at + RULE.len());
            format!("{excerpt}ERROR: {rest}")
        }
        None => format!("ERROR: {message}"),
    }
}

impl Screen {
    /// The screen of a build.
    pub fn new(cli: &Cli, args: &Args) -> Result<Screen, Error> {
        Ok(Screen::showing(Shown::choose(cli, args.quiet, args.progress.as_deref())?))
    }

    /// A screen that shows things so.
    pub fn showing(shown: Shown) -> Screen {
        let state = State {
            picture: Picture::default(),
            raw: Raw::new(Timestamp::now()),
            told: BuildRecord::default(),
            warnings: Vec::new(),
            drawn: 0,
            numbers: BTreeMap::new(),
        };
        Screen { shown, begun: Instant::now(), state: RefCell::new(state) }
    }

    /// A signal ended the build: what ran is shown as cancelled, and `error` gets words.
    fn cancel(&self, error: Error) -> Error {
        // The error that follows says the same where nobody reads this.
        self.stop();
        Error { message: "build canceled".to_owned(), ..error }
    }

    /// Nothing is going on any more, whatever was: other builds stop where one failed.
    pub fn stop(&self) {
        let state = &mut *self.state.borrow_mut();
        let text = state.picture.cancel(self.begun.elapsed());
        let text = match self.shown {
            Shown::Plain => text,
            Shown::Raw => state.raw.cancel(Timestamp::now()).unwrap_or_default(),
            _ => return,
        };
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn event(&self, event: &BuildEvent) -> Result<(), Error> {
        let state = &mut *self.state.borrow_mut();
        state.told.note(event);
        state
            .warnings
            .extend(state.raw.warning(event).and_then(|warning| serde_json::to_value(warning).ok()));
        let now = self.begun.elapsed();
        let mut out = std::io::stderr().lock();
        match self.shown {
            Shown::Terminal => drop(state.picture.take(event, now)),
            Shown::Raw => {
                let line = state.raw.line(event, Timestamp::now());
                out.write_all(line.unwrap_or_default().as_bytes())?;
            }
            Shown::Plain => out.write_all(state.picture.plain(event, now).as_bytes())?,
            Shown::Quiet | Shown::None | Shown::Classic => {}
        }
        Ok(())
    }

    fn draw(&self, finished: bool) -> Result<(), Error> {
        let state = &mut *self.state.borrow_mut();
        let (rows, columns) =
            terminal::size().map_or((24, 80), |(rows, columns)| (rows.into(), columns.into()));
        let lines = state.picture.draw(self.begun.elapsed(), rows, columns, finished);
        let mut text = String::new();
        if state.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r", state.drawn));
        }
        for line in &lines {
            text.push_str(&format!("{line}\x1b[K\n"));
        }
        text.push_str("\x1b[J");
        state.drawn = lines.len();
        let mut out = std::io::stderr().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Says what remains to be said.
    pub fn finish(&self, explain: bool) -> Result<(), Error> {
        if self.shown == Shown::Terminal {
            self.draw(true)?;
        }
        let state = self.state.borrow();
        if matches!(self.shown, Shown::Terminal | Shown::Plain) {
            std::io::stderr().write_all(state.picture.epilogue().as_bytes())?;
        }
        if explain {
            std::io::stderr().write_all(steps(&state.told).as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_several_builds_are_told_apart() {
        let screen = Screen::showing(Shown::Quiet);
        let (one, two) = (View::of(&screen, "app"), View::of(&screen, "web"));
        let started = |name: &str| BuildEvent::StepStarted {
            id: 1,
            name: name.into(),
            stage: String::new(),
            instruction: String::new(),
            inputs: vec![1],
        };
        let placed = [one.placed(started("[build 2/4] RUN make")), two.placed(started("exporting to image"))];
        let told: Vec<(u64, &str, &[u64])> = placed
            .iter()
            .filter_map(|event| match event {
                BuildEvent::StepStarted { id, name, inputs, .. } => Some((*id, name.as_str(), &inputs[..])),
                _ => None,
            })
            .collect();
        assert_eq!(told, [(1, "[app build 2/4] RUN make", &[1][..]), (2, "[web] exporting to image", &[2])]);
        assert_eq!(two.placed(BuildEvent::StepCached { id: 1 }), BuildEvent::StepCached { id: 2 });
        let alone = View::alone(&screen);
        assert_eq!(alone.placed(BuildEvent::StepCached { id: 7 }), BuildEvent::StepCached { id: 7 });
    }
}
