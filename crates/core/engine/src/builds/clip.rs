//! How much of what a step prints is kept with the record of its build.

use std::collections::BTreeMap;

use api::build::BuildEvent;

/// Bytes of a step's output: it can print for ever, and nobody reads more.
const STEP_MAX: usize = 2 << 20;

/// What was kept of each step until now.
#[derive(Default)]
pub(super) struct Clip {
    printed: BTreeMap<u64, usize>,
}

impl Clip {
    /// The event as it is kept, or nothing of a step of which enough is.
    pub fn keep(&mut self, mut event: BuildEvent) -> Option<BuildEvent> {
        let BuildEvent::StepLog { id, text, .. } = &mut event else { return Some(event) };
        let printed = self.printed.entry(*id).or_default();
        let room = STEP_MAX.checked_sub(*printed)?;
        *printed += text.len();
        if text.len() > room {
            text.truncate(text.floor_char_boundary(room));
            text.push_str("\n[output clipped, log limit 2MiB reached]\n");
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::build::LogStream;

    #[test]
    fn of_a_step_that_prints_for_ever_the_beginning_is_kept() {
        let mut clip = Clip::default();
        let mut kept = |id, text: &str| {
            let (stream, text) = (LogStream::Stdout, text.to_owned());
            match clip.keep(BuildEvent::StepLog { id, stream, text })? {
                BuildEvent::StepLog { text, .. } => Some(text),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(kept(1, "one\n").as_deref(), Some("one\n"));
        let whole = "\u{e9}".repeat(STEP_MAX / 2 - 2);
        assert_eq!(kept(1, &whole), Some(whole));
        let last = kept(1, "\u{e9}\n").unwrap();
        assert_eq!(last, "\n[output clipped, log limit 2MiB reached]\n");
        assert_eq!((kept(1, "more\n"), kept(2, "two\n").as_deref()), (None, Some("two\n")));
        assert_eq!(clip.keep(BuildEvent::StepCached { id: 1 }), Some(BuildEvent::StepCached { id: 1 }));
    }
}
