//! The health check as a state machine: when to probe, and what a probe's result means. Pure; Docker's rules.

use std::time::Duration;

use crate::config::Health;
use crate::status::{HealthLog, HealthRecord, HealthStatus};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// How many probes are remembered.
const REMEMBERED: usize = 5;
/// How much of a probe's output is remembered, in bytes.
pub const OUTPUT: usize = 4096;

/// The command of a probe; `None` if the check is `NONE` or empty.
pub fn command(health: &Health) -> Option<Vec<String>> {
    let (kind, rest) = health.test.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" => {
            let mut command = match health.shell.is_empty() {
                true => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                false => health.shell.clone(),
            };
            command.push(rest.first()?.clone());
            Some(command)
        }
        _ => None,
    }
}

/// How long a probe may take.
pub fn timeout(health: &Health) -> Duration {
    or(health.timeout, TIMEOUT)
}

/// How long to wait for the next probe, `since_start` after the container's start.
pub fn pause(health: &Health, record: &HealthRecord, since_start: Duration) -> Duration {
    if record.status == HealthStatus::Starting && since_start < health.start_period {
        or(health.start_interval, START_INTERVAL)
    } else {
        or(health.interval, INTERVAL)
    }
}

/// Notes a probe that began `since_start` after the container's start. True if the verdict changed.
pub fn note(health: &Health, record: &mut HealthRecord, probe: HealthLog, since_start: Duration) -> bool {
    let before = record.status;
    let retries = if health.retries == 0 { RETRIES } else { health.retries };
    if probe.exit_code == 0 {
        record.failing_streak = 0;
        record.status = HealthStatus::Healthy;
    } else if before != HealthStatus::Starting || since_start >= health.start_period {
        record.failing_streak = record.failing_streak.saturating_add(1);
        if record.failing_streak >= retries {
            record.status = HealthStatus::Unhealthy;
        }
    }
    record.log.push(probe);
    let surplus = record.log.len().saturating_sub(REMEMBERED);
    record.log.drain(..surplus);
    record.status != before
}

/// A probe's output as it is remembered, given at most one byte more than [`OUTPUT`].
pub fn output(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(OUTPUT)]).into_owned();
    if bytes.len() > OUTPUT {
        text.push_str("...");
    }
    text
}

fn or(value: Duration, default: Duration) -> Duration {
    if value.is_zero() { default } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn health(start_period: u64, retries: u32) -> Health {
        Health { start_period: Duration::from_secs(start_period), retries, ..Health::default() }
    }

    fn probe(exit_code: i32) -> HealthLog {
        let epoch = Timestamp::UNIX_EPOCH;
        HealthLog { start: epoch, end: epoch, exit_code, output: String::new() }
    }

    #[test]
    fn three_failures_in_a_row_are_unhealthy_and_one_success_heals() {
        let (health, mut record) = (health(0, 0), HealthRecord::default());
        let late = Duration::from_secs(100);
        assert!(!note(&health, &mut record, probe(1), late));
        assert!(!note(&health, &mut record, probe(1), late));
        assert_eq!(record.status, HealthStatus::Starting);
        assert!(note(&health, &mut record, probe(1), late));
        assert_eq!((record.status, record.failing_streak), (HealthStatus::Unhealthy, 3));
        assert!(note(&health, &mut record, probe(0), late));
        assert_eq!((record.status, record.failing_streak), (HealthStatus::Healthy, 0));
        assert!(!note(&health, &mut record, probe(1), late));
        assert_eq!((record.status, record.failing_streak), (HealthStatus::Healthy, 1));
    }

    #[test]
    fn failures_within_the_start_period_do_not_count_until_a_success() {
        let (health, mut record) = (health(60, 1), HealthRecord::default());
        let early = Duration::from_secs(5);
        assert!(!note(&health, &mut record, probe(1), early));
        assert_eq!(record.failing_streak, 0);
        assert!(note(&health, &mut record, probe(0), early));
        assert!(note(&health, &mut record, probe(1), early));
        assert_eq!(record.status, HealthStatus::Unhealthy);
    }

    #[test]
    fn the_start_period_has_its_own_interval() {
        let mut health = health(60, 0);
        health.start_interval = Duration::from_secs(1);
        let mut record = HealthRecord::default();
        assert_eq!(pause(&health, &record, Duration::from_secs(1)), Duration::from_secs(1));
        assert_eq!(pause(&health, &record, Duration::from_secs(61)), INTERVAL);
        record.status = HealthStatus::Healthy;
        assert_eq!(pause(&health, &record, Duration::from_secs(1)), INTERVAL);
    }

    #[test]
    fn five_probes_are_remembered() {
        let (health, mut record) = (health(0, 0), HealthRecord::default());
        for code in 0..7 {
            note(&health, &mut record, probe(code), Duration::ZERO);
        }
        let codes: Vec<i32> = record.log.iter().map(|probe| probe.exit_code).collect();
        assert_eq!(codes, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn tests_are_commands_or_none() {
        let test = |words: &[&str]| {
            command(&Health { test: words.iter().map(|&w| w.to_owned()).collect(), ..Health::default() })
        };
        assert_eq!(test(&["CMD", "curl", "-f"]).unwrap(), ["curl", "-f"]);
        assert_eq!(test(&["CMD-SHELL", "exit 1"]).unwrap(), ["/bin/sh", "-c", "exit 1"]);
        assert_eq!(test(&["NONE"]), None);
        assert_eq!(test(&["CMD"]), None);
        assert_eq!(test(&["CMD-SHELL"]), None);
        assert_eq!(test(&[]), None);
    }

    #[test]
    fn long_output_is_marked_as_cut() {
        assert_eq!(output(b"ok"), "ok");
        let cut = output(&[b'x'; OUTPUT + 1]);
        assert!(cut.ends_with("x...") && cut.len() == OUTPUT + 3);
    }
}
