//! The classic builder's text from the events of a build that runs steps side by side.
//!
//! Classic output is in order: the oldest unfinished step is shown as it happens, what later steps say waits.
//! Steps of no instruction (reading the context, looking base images up) have no title; what they print is shown.
//! Each portion of a command's output is a message of its own, red when it comes from standard error: that is how
//! Docker's builder marks it, for all clients.

use std::collections::BTreeMap;

use api::JsonMessage;
use api::build::{BuildEvent, LogStream};

const RED: &str = "\x1b[91m";
const PLAIN: &str = "\x1b[0m";

/// Turns events into text.
#[derive(Default)]
pub struct Classic {
    steps: BTreeMap<u64, Step>,
}

#[derive(Default)]
struct Step {
    waiting: Vec<String>,
    shows_cache: bool,
    is_export: bool,
    ended: bool,
}

impl Classic {
    /// The text that an event brings to light.
    pub fn text(&mut self, event: BuildEvent) -> Vec<JsonMessage> {
        match event {
            BuildEvent::StepStarted { id, name, instruction, .. } => {
                let step = self.step(id);
                step.is_export = name.starts_with("exporting");
                if !instruction.is_empty() {
                    step.waiting.push(title(id, &name, &instruction));
                    // A base image is there, or it is not: nothing was done before.
                    step.shows_cache =
                        !instruction.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("from "));
                }
            }
            BuildEvent::StepCached { id } => {
                let step = self.step(id);
                if step.shows_cache {
                    step.waiting.push(" ---> Using cache\n".to_owned());
                }
                step.ended = true;
            }
            BuildEvent::StepMissed { .. } | BuildEvent::StepNote { .. } | BuildEvent::StageSkipped { .. } => {
            }
            BuildEvent::StepLog { id, stream, text } => {
                // The last lines of the answer name the image and its tags.
                let step = self.step(id);
                if !step.is_export {
                    step.waiting.push(match stream {
                        LogStream::Stdout => text,
                        LogStream::Stderr => format!("{RED}{text}{PLAIN}"),
                    });
                }
            }
            BuildEvent::StepDone { id, .. } | BuildEvent::StepError { id, .. } => self.step(id).ended = true,
            BuildEvent::Warning { message, file, line, .. } => {
                return vec![JsonMessage::stream(format!("[Warning] {file}:{line}: {message}\n"))];
            }
        }
        self.shown().into_iter().map(JsonMessage::stream).collect()
    }

    fn step(&mut self, id: u64) -> &mut Step {
        self.steps.entry(id).or_default()
    }

    fn shown(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        while let Some(mut oldest) = self.steps.first_entry() {
            text.append(&mut oldest.get_mut().waiting);
            if !oldest.get().ended {
                break;
            }
            oldest.remove();
        }
        text
    }
}

/// `Step 2/4 : RUN make`, counted within the stage when the step's name says so.
fn title(id: u64, name: &str, instruction: &str) -> String {
    let label = name.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(label, _)| label);
    let number = label.rsplit(' ').next().filter(|number| number.contains('/'));
    let number = number.map_or_else(|| id.to_string(), str::to_owned);
    format!("Step {number} : {}\n", instruction.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: u64, name: &str, instruction: &str) -> BuildEvent {
        BuildEvent::StepStarted {
            id,
            name: name.into(),
            stage: String::new(),
            instruction: instruction.into(),
        }
    }

    fn log(id: u64, text: &str) -> BuildEvent {
        BuildEvent::StepLog { id, stream: LogStream::Stdout, text: text.into() }
    }

    #[test]
    fn steps_side_by_side_come_out_in_order() {
        let mut classic = Classic::default();
        let events = [
            started(1, "[build 1/2] FROM a", "FROM a"),
            started(2, "[2/2] RUN b", "RUN b"),
            log(2, "two\n"),
            BuildEvent::StepLog { id: 1, stream: LogStream::Stderr, text: "one\n".into() },
            BuildEvent::StepDone { id: 2, millis: 1 },
            BuildEvent::StepCached { id: 1 },
            started(3, "[internal] load metadata", ""),
            log(3, "pulling\n"),
            BuildEvent::StepDone { id: 3, millis: 1 },
            started(4, "[2/2] RUN c", "RUN c"),
            BuildEvent::StepCached { id: 4 },
            started(5, "exporting to image", ""),
            log(5, "writing\n"),
        ];
        let text: String =
            events.into_iter().flat_map(|event| classic.text(event)).map(|m| m.stream).collect();
        assert_eq!(
            text,
            "Step 1/2 : FROM a\n\x1b[91mone\n\x1b[0mStep 2/2 : RUN b\ntwo\npulling\nStep 2/2 : RUN c\n ---> Using cache\n"
        );
    }
}
