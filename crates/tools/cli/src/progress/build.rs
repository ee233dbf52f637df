//! A build's steps: lines that follow one another, or a picture on the terminal that is drawn anew.
//!
//! The plain form is BuildKit's: `#5 [build 2/4] RUN make`, `#5 0.312 output`, `#5 DONE 1.2s`, `#5 CACHED`. Both
//! forms are pure functions of the events and the time; the caller writes.

use std::collections::BTreeMap;
use std::time::Duration;

use api::build::{BuildEvent, CANCELED};

/// Lines of output kept of each step, for the picture and for the error at the end.
const TAIL: usize = 200;
/// A line that gets longer becomes several.
const LINE_MAX: usize = 64 << 10;
/// Lines of output shown of a running step.
const SHOWN: usize = 5;

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Cached,
    Done,
    Failed,
    Cancelled,
}

struct Step {
    name: String,
    state: State,
    started: Duration,
    took: Duration,
    /// Its parts that are done.
    parts: Vec<String>,
    log: Vec<(Duration, String)>,
    /// Output that is no whole line yet.
    partial: String,
}

/// All that is known of a build.
#[derive(Default)]
pub struct Picture {
    steps: BTreeMap<u64, Step>,
    warnings: Vec<String>,
    /// The step that the last plain line was about.
    current: Option<u64>,
}

impl Picture {
    /// Takes an event in; the answer is its plain lines. `now` is the time since the build began.
    pub fn plain(&mut self, event: &BuildEvent, now: Duration) -> String {
        let mut out = String::new();
        match event {
            BuildEvent::StepStarted { id, .. } => {
                self.take(event, now);
                self.switch(*id, true, &mut out);
            }
            BuildEvent::StepCached { id } => {
                self.take(event, now);
                self.switch(*id, false, &mut out);
                out.push_str(&format!("#{id} CACHED\n"));
                self.end(&mut out);
            }
            BuildEvent::StepMissed { id, reasons } => {
                self.switch(*id, false, &mut out);
                for reason in reasons {
                    out.push_str(&format!("#{id} cache miss: {}\n", clean_lines(reason)));
                }
            }
            BuildEvent::StepNote { id, note } => {
                self.switch(*id, false, &mut out);
                out.push_str(&format!("#{id} {}\n", clean_lines(note)));
            }
            BuildEvent::StepStatus { id, name } => {
                self.switch(*id, false, &mut out);
                out.push_str(&format!("#{id} {} done\n", clean_lines(name)));
            }
            BuildEvent::StepLog { id, .. } => {
                let lines = self.take(event, now);
                if !lines.is_empty() {
                    self.switch(*id, false, &mut out);
                }
                for (at, line) in lines {
                    out.push_str(&format!("#{id} {:.3} {line}\n", at.as_secs_f64()));
                }
            }
            BuildEvent::StepDone { id, millis } => {
                let lines = self.take(event, now);
                self.switch(*id, false, &mut out);
                for (at, line) in lines {
                    out.push_str(&format!("#{id} {:.3} {line}\n", at.as_secs_f64()));
                }
                out.push_str(&format!("#{id} DONE {:.1}s\n", *millis as f64 / 1000.0));
                self.end(&mut out);
            }
            BuildEvent::StepError { id, message } => {
                let lines = self.take(event, now);
                self.switch(*id, false, &mut out);
                for (at, line) in lines {
                    out.push_str(&format!("#{id} {:.3} {line}\n", at.as_secs_f64()));
                }
                match message == CANCELED {
                    true => out.push_str(&format!("#{id} CANCELED\n")),
                    false => out.push_str(&format!("#{id} ERROR: {}\n", clean_lines(message))),
                }
                self.end(&mut out);
            }
            BuildEvent::StageSkipped { .. } | BuildEvent::Warning { .. } => drop(self.take(event, now)),
        }
        out
    }

    fn switch(&mut self, id: u64, first: bool, out: &mut String) {
        if self.current == Some(id) {
            return;
        }
        if self.current.is_some() {
            out.push('\n');
        }
        self.current = Some(id);
        let name = self.steps.get(&id).map_or("", |step| step.name.as_str());
        match first {
            true => out.push_str(&format!("#{id} {name}\n")),
            false => out.push_str(&format!("#{id} ...\n")),
        }
    }

    fn end(&mut self, out: &mut String) {
        self.current = None;
        out.push('\n');
    }

    /// Takes an event in; the answer is the whole lines of output that it completes.
    pub fn take(&mut self, event: &BuildEvent, now: Duration) -> Vec<(Duration, String)> {
        match event {
            BuildEvent::StepStarted { id, name, .. } => {
                let step = Step {
                    name: clean(name.lines().next().unwrap_or_default()),
                    state: State::Running,
                    started: now,
                    took: Duration::ZERO,
                    parts: Vec::new(),
                    log: Vec::new(),
                    partial: String::new(),
                };
                self.steps.insert(*id, step);
            }
            BuildEvent::StepCached { id } => self.settle(*id, State::Cached, Duration::ZERO),
            BuildEvent::StepMissed { .. } | BuildEvent::StepNote { .. } | BuildEvent::StageSkipped { .. } => {
            }
            BuildEvent::StepStatus { id, name } => {
                if let Some(step) = self.steps.get_mut(id).filter(|step| step.parts.len() < TAIL) {
                    step.parts.push(clean(name));
                }
            }
            BuildEvent::StepLog { id, text, .. } => return self.log(*id, text, now),
            BuildEvent::StepDone { id, millis } => {
                let rest = self.rest(*id, now);
                self.settle(*id, State::Done, Duration::from_millis(*millis));
                return rest;
            }
            BuildEvent::StepError { id, message } => {
                let rest = self.rest(*id, now);
                let started = self.steps.get(id).map_or(now, |step| step.started);
                let state = if message == CANCELED { State::Cancelled } else { State::Failed };
                self.settle(*id, state, now.saturating_sub(started));
                return rest;
            }
            BuildEvent::Warning { rule, message, file, line, help, excerpt } => {
                let mut text = format!(" - {rule}: {message} ({file}:{line})");
                for part in
                    [Some(excerpt), help.as_ref()].into_iter().flatten().filter(|part| !part.is_empty())
                {
                    text.push_str(&format!("\n{}", part.trim_end()));
                }
                self.warnings.push(clean_lines(&text));
            }
        }
        Vec::new()
    }

    /// Nothing runs any more; the answer is the plain lines about it.
    pub fn cancel(&mut self, now: Duration) -> String {
        let running: Vec<u64> =
            self.steps.iter().filter(|(_, step)| step.state == State::Running).map(|(id, _)| *id).collect();
        let mut out = String::new();
        for id in running {
            let started = self.steps.get(&id).map_or(now, |step| step.started);
            self.settle(id, State::Cancelled, now.saturating_sub(started));
            self.switch(id, false, &mut out);
            out.push_str(&format!("#{id} CANCELED\n"));
            self.end(&mut out);
        }
        out
    }

    fn settle(&mut self, id: u64, state: State, took: Duration) {
        if let Some(step) = self.steps.get_mut(&id) {
            (step.state, step.took) = (state, took);
        }
    }

    fn log(&mut self, id: u64, text: &str, now: Duration) -> Vec<(Duration, String)> {
        let Some(step) = self.steps.get_mut(&id) else { return Vec::new() };
        let at = now.saturating_sub(step.started);
        let mut lines = Vec::new();
        for part in text.split_inclusive('\n') {
            step.partial.push_str(part);
            if !part.ends_with('\n') {
                shorten(&mut step.partial);
            }
            if part.ends_with('\n') || step.partial.len() > LINE_MAX {
                let line = std::mem::take(&mut step.partial);
                // Bars that a program draws over itself count as their last state.
                let line = line.trim_end_matches(['\n', '\r']);
                lines.push((at, clean(line.rsplit('\r').next().unwrap_or_default())));
            }
        }
        step.log.extend(lines.iter().cloned());
        let surplus = step.log.len().saturating_sub(TAIL);
        step.log.drain(..surplus);
        lines
    }

    /// A last line without an end.
    fn rest(&mut self, id: u64, now: Duration) -> Vec<(Duration, String)> {
        match self.steps.get(&id).is_some_and(|step| !step.partial.is_empty()) {
            true => self.log(id, "\n", now),
            false => Vec::new(),
        }
    }

    /// The picture for a terminal of this size; `finished` adds nothing that still moves.
    pub fn draw(&self, now: Duration, rows: usize, columns: usize, finished: bool) -> Vec<String> {
        let done = self.steps.values().filter(|step| step.state != State::Running).count();
        let word = if finished { "FINISHED" } else { "" };
        let head = format!("[+] Building {:.1}s ({done}/{}) {word}", now.as_secs_f64(), self.steps.len());
        let mut lines = vec![fit(&head, columns)];
        for step in self.steps.values() {
            let took =
                if step.state == State::Running { now.saturating_sub(step.started) } else { step.took };
            let prefix = match step.state {
                State::Cached => " => CACHED ",
                State::Failed => " => ERROR ",
                State::Cancelled => " => CANCELED ",
                _ => " => ",
            };
            lines.push(timed(&format!("{prefix}{}", step.name), took, columns));
            lines.extend(
                step.parts.iter().map(|part| timed(&format!(" => => {part}"), Duration::ZERO, columns)),
            );
            if step.state == State::Running && !finished {
                let from = step.log.len().saturating_sub(SHOWN);
                lines.extend(
                    step.log[from..].iter().map(|(_, line)| fit(&format!(" => => # {line}"), columns)),
                );
            }
        }
        // What does not fit goes at the top: the newest is what moves.
        if !finished && lines.len() > rows.saturating_sub(1) {
            let surplus = lines.len() - rows.saturating_sub(1).max(2);
            lines.drain(1..=surplus.min(lines.len() - 1));
        }
        lines
    }

    /// The output of the step that failed, and warnings: what remains to be said.
    pub fn epilogue(&self) -> String {
        let mut out = String::new();
        for step in self.steps.values().filter(|step| step.state == State::Failed) {
            out.push_str(&format!("------\n > {}:\n", step.name));
            for (at, line) in &step.log {
                out.push_str(&format!("{:.3} {line}\n", at.as_secs_f64()));
            }
            out.push_str("------\n");
        }
        if !self.warnings.is_empty() {
            let count = self.warnings.len();
            out.push_str(&format!("\n {count} warning{} found:\n", if count == 1 { "" } else { "s" }));
            for warning in &self.warnings {
                out.push_str(warning);
                out.push('\n');
            }
        }
        out
    }
}

/// Of a long beginning of a line, what was drawn over is not kept.
fn shorten(partial: &mut String) {
    if partial.len() > LINE_MAX
        && let Some(at) = partial.trim_end_matches('\r').rfind('\r')
    {
        partial.drain(..=at);
    }
}

/// A line with a time at its end.
fn timed(text: &str, took: Duration, columns: usize) -> String {
    let time = format!("{:.1}s", took.as_secs_f64());
    let width = columns.saturating_sub(time.len() + 1).max(10);
    fit(&format!("{:<width$} {time}", fit(text, width)), columns)
}

fn fit(text: &str, width: usize) -> String {
    crate::format::text::ellipsis(text, width)
}

/// Output without what would move the cursor or change the terminal's state.
fn clean(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.next_if_eq(&'[').is_some() => {
                for c in chars.by_ref() {
                    if c.is_ascii_alphabetic() || c == '~' {
                        break;
                    }
                }
            }
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// The same of a text of several lines.
fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::build::LogStream;

    #[test]
    fn nothing_of_a_dockerfile_is_obeyed_by_the_terminal() {
        let evil = "x \u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[1A\u{9b}2Ky";
        let warning = BuildEvent::Warning {
            rule: evil.into(),
            message: evil.into(),
            file: evil.into(),
            line: 1,
            help: Some(evil.into()),
            excerpt: format!("{evil}\n{evil}"),
        };
        let missed = BuildEvent::StepMissed { id: 1, reasons: vec![evil.into()] };
        let note = BuildEvent::StepNote { id: 1, note: evil.into() };
        let error = BuildEvent::StepError { id: 1, message: evil.into() };
        let all = [started(1, evil), missed, note, log(1, &format!("{evil}\n")), warning, error];
        let mut picture = Picture::default();
        let mut shown: String = all.iter().map(|event| picture.plain(event, Duration::ZERO)).collect();
        shown.push_str(&picture.draw(Duration::ZERO, 24, 200, true).join("\n"));
        shown.push_str(&picture.epilogue());
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(shown.matches("x ]0;title").count(), 5 + 1 + 2 + 6, "{shown}");
    }

    fn started(id: u64, name: &str) -> BuildEvent {
        BuildEvent::StepStarted {
            id,
            name: name.into(),
            stage: String::new(),
            instruction: String::new(),
            inputs: Vec::new(),
        }
    }

    fn log(id: u64, text: &str) -> BuildEvent {
        BuildEvent::StepLog { id, stream: LogStream::Stdout, text: text.into() }
    }

    fn events() -> Vec<(u64, BuildEvent)> {
        vec![
            (0, started(1, "[internal] load build definition")),
            (100, BuildEvent::StepDone { id: 1, millis: 100 }),
            (100, started(2, "[build 1/3] FROM alpine")),
            (110, BuildEvent::StepCached { id: 2 }),
            (200, started(3, "[build 2/3] RUN make")),
            (300, log(3, "one\r\x1b[32mtwo\x1b[0m\nth")),
            (310, started(4, "[other 1/1] RUN x")),
            (1400, log(3, "ree\n")),
            (1500, BuildEvent::StepError { id: 3, message: "exit code: 1".into() }),
        ]
    }

    #[test]
    fn plain_lines() {
        let mut picture = Picture::default();
        let text: String =
            events().iter().map(|(at, event)| picture.plain(event, Duration::from_millis(*at))).collect();
        assert_eq!(
            text,
            "#1 [internal] load build definition\n#1 DONE 0.1s\n\n#2 [build 1/3] FROM alpine\n#2 CACHED\n\n\
             #3 [build 2/3] RUN make\n#3 0.100 two\n\n#4 [other 1/1] RUN x\n\n#3 ...\n#3 1.200 three\n\
             #3 ERROR: exit code: 1\n\n"
        );
        assert_eq!(picture.epilogue(), "------\n > [build 2/3] RUN make:\n0.100 two\n1.200 three\n------\n");
        assert_eq!(picture.cancel(Duration::from_secs(2)), "#4 ...\n#4 CANCELED\n\n");
        let drawn = picture.draw(Duration::from_secs(3), 24, 48, true);
        assert_eq!(drawn[4], " => CANCELED [other 1/1] RUN x              1.7s");
        // What became of it is there to the end.
        let named = BuildEvent::StepStatus { id: 4, name: "naming to x".into() };
        assert_eq!(picture.plain(&named, Duration::ZERO), "#4 ...\n#4 naming to x done\n");
        picture.take(&named, Duration::ZERO);
        let drawn = picture.draw(Duration::from_secs(3), 24, 48, true);
        assert_eq!(drawn[5], " => => naming to x                          0.0s");
    }

    #[test]
    fn pictures() {
        let mut picture = Picture::default();
        for (at, event) in &events()[..7] {
            picture.take(event, Duration::from_millis(*at));
        }
        assert_eq!(
            picture.draw(Duration::from_millis(1200), 24, 48, false),
            [
                "[+] Building 1.2s (2/4) ",
                " => [internal] load build definition        0.1s",
                " => CACHED [build 1/3] FROM alpine          0.0s",
                " => [build 2/3] RUN make                    1.0s",
                " => => # two",
                " => [other 1/1] RUN x                       0.9s",
            ]
        );
        let short = picture.draw(Duration::from_millis(1200), 4, 48, false);
        assert_eq!(short.len(), 3);
        assert!(short[2].contains("RUN x"), "{short:?}");
        // A line that wraps would stay when the next picture is drawn over this one.
        for columns in 1..48 {
            let narrow = picture.draw(Duration::from_millis(1200), 24, columns, false);
            assert!(narrow.iter().all(|line| line.chars().count() <= columns), "{columns}: {narrow:?}");
        }
    }

    #[test]
    fn what_another_step_stopped_has_not_failed() {
        let mut picture = Picture::default();
        let mut told = picture.plain(&started(1, "FROM base"), Duration::ZERO);
        let stopped = BuildEvent::StepError { id: 1, message: CANCELED.into() };
        told += &picture.plain(&stopped, Duration::from_secs(1));
        assert_eq!(told, "#1 FROM base\n#1 CANCELED\n\n");
        assert_eq!(
            picture.draw(Duration::from_secs(1), 24, 40, true)[1],
            " => CANCELED FROM base              1.0s"
        );
        assert_eq!(picture.epilogue(), "");
    }

    #[test]
    fn a_line_without_an_end_is_told_as_it_comes() {
        let mut picture = Picture::default();
        picture.take(&started(1, "RUN x"), Duration::ZERO);
        let mut told = String::new();
        for _ in 0..100 {
            told += &picture.plain(&log(1, &"a".repeat(10_000)), Duration::ZERO);
            assert!(picture.steps[&1].partial.len() <= LINE_MAX);
        }
        told += &picture.plain(&BuildEvent::StepDone { id: 1, millis: 1 }, Duration::ZERO);
        assert_eq!(told.matches('a').count(), 1_000_000);
        // A bar is what it is at last, however often it is drawn.
        for number in 0..100 {
            let bar = format!("{}{number}\r", "=".repeat(5_000));
            assert_eq!(picture.take(&log(1, &bar), Duration::ZERO), []);
        }
        let [(_, last)] = &picture.take(&log(1, "done\n"), Duration::ZERO)[..] else { panic!() };
        assert_eq!(last, "done");
    }
}
