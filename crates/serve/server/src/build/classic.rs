//! The classic builder's text from the events of a build that runs steps side by side.
//!
//! Classic output is in order: the oldest unfinished step is shown as it happens, what later steps say waits.

use std::collections::BTreeMap;

use api::JsonMessage;
use engine::builds::Event;

/// Turns events into text.
#[derive(Default)]
pub struct Classic {
    steps: BTreeMap<u64, Step>,
}

#[derive(Default)]
struct Step {
    waiting: String,
    ended: bool,
}

impl Classic {
    /// The text that an event brings to light.
    pub fn text(&mut self, event: Event) -> Vec<JsonMessage> {
        match event {
            Event::StepStarted { id, name, instruction, .. } => {
                let title = if instruction.is_empty() { name } else { instruction };
                self.step(id).waiting.push_str(&format!("Step {id} : {}\n", title.replace('\n', " ")));
            }
            Event::StepCached { id } => {
                let step = self.step(id);
                step.waiting.push_str(" ---> Using cache\n");
                step.ended = true;
            }
            Event::StepMissed { .. } => {}
            Event::StepLog { id, text, .. } => self.step(id).waiting.push_str(&text),
            Event::StepDone { id, .. } | Event::StepError { id, .. } => self.step(id).ended = true,
            Event::Warning { message, file, span, .. } => {
                return vec![JsonMessage::stream(format!("[Warning] {file}:{}: {message}\n", span.line))];
            }
        }
        self.shown().into_iter().map(JsonMessage::stream).collect()
    }

    fn step(&mut self, id: u64) -> &mut Step {
        self.steps.entry(id).or_default()
    }

    fn shown(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(mut oldest) = self.steps.first_entry() {
            text.push_str(&std::mem::take(&mut oldest.get_mut().waiting));
            if !oldest.get().ended {
                break;
            }
            oldest.remove();
        }
        (!text.is_empty()).then_some(text)
    }
}
