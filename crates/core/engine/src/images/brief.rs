//! What a build tells of the pull of its base image: a line now and then, for all layers together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::JsonMessage;

/// How long nothing is said of more bytes.
const QUIET: Duration = Duration::from_secs(1);

/// Makes few lines out of a pull's many.
pub(super) struct Brief {
    /// Of each layer how much is here, and how much there is.
    layers: BTreeMap<String, (i64, i64)>,
    said: Instant,
}

impl Brief {
    pub fn new(now: Instant) -> Brief {
        Brief { layers: BTreeMap::new(), said: now }
    }

    /// What is to be said at this time after a message: what is waited for at once, what has come every second.
    pub fn line(&mut self, message: &JsonMessage, now: Instant) -> Option<String> {
        let detail = message.progress_detail.as_ref();
        if message.id.is_empty() || message.status.starts_with("Pulling from") {
            // Of the whole: what it is and how it ended the build tells itself.
            let is_notice = message.status.starts_with("Waiting");
            return is_notice.then(|| message.status.clone());
        }
        if message.status.starts_with("Retrying") {
            return Some(format!("{}: {}", message.id, message.status));
        }
        if let Some(detail) = detail.filter(|detail| detail.total > 0) {
            self.layers.insert(message.id.clone(), (detail.current, detail.total));
        } else if matches!(message.status.as_str(), "Download complete" | "Pull complete")
            && let Some((current, total)) = self.layers.get_mut(&message.id)
        {
            *current = *total;
        }
        if self.layers.is_empty() || now.duration_since(self.said) < QUIET {
            return None;
        }
        self.said = now;
        let sum = |of: fn(&(i64, i64)) -> i64| self.layers.values().map(of).sum::<i64>() as f64 / 1e6;
        let complete = self.layers.values().filter(|(current, total)| current == total).count();
        let (current, total) = (sum(|(current, _)| *current), sum(|(_, total)| *total));
        Some(format!("{current:.1}MB / {total:.1}MB, {complete} of {} layers are here", self.layers.len()))
    }
}

#[cfg(test)]
mod tests {
    use api::common::Progress;

    use super::*;

    #[test]
    fn bytes_are_told_once_a_second_and_waits_at_once() {
        let begun = Instant::now();
        let mut brief = Brief::new(begun);
        let mut at = |millis, message| brief.line(&message, begun + Duration::from_millis(millis));
        let bytes = |id: &str, current, total| {
            JsonMessage::part(id, "Downloading", Progress { current, total, ..Progress::default() })
        };
        assert_eq!(at(2000, JsonMessage::status("Status: Downloaded newer image")), None);
        assert_eq!(at(100, bytes("a", 1_000_000, 4_000_000)), None, "too early");
        let first = at(1100, bytes("b", 500_000, 2_000_000)).unwrap();
        assert_eq!(first, "1.5MB / 6.0MB, 0 of 2 layers are here");
        assert_eq!(at(1200, bytes("b", 600_000, 2_000_000)), None);
        let waits = JsonMessage::part("b", "Retrying in 3 seconds", Progress::default());
        assert_eq!(at(1300, waits).unwrap(), "b: Retrying in 3 seconds");
        let notice = JsonMessage::status("Waiting 6 seconds for h: too many requests");
        assert_eq!(at(1400, notice).unwrap(), "Waiting 6 seconds for h: too many requests");
        let complete = JsonMessage::part("b", "Download complete", Progress::default());
        assert_eq!(at(2200, complete).unwrap(), "3.0MB / 6.0MB, 1 of 2 layers are here");
    }
}
