//! A container's state in the words of `docker ps` and the document of `inspect`. Pure.

use std::time::Duration;

use api::containers as doc;
use api::time;
use jiff::Timestamp;
use monitor::{HealthRecord, State, Status};

/// Docker's one word.
pub fn word(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running => "running",
        State::Paused => "paused",
        State::Restarting => "restarting",
        State::Exited => "exited",
        State::Dead => "dead",
    }
}

/// The text of the column STATUS.
pub fn text(status: &Status, now: Timestamp) -> String {
    let since = |at: Option<Timestamp>| {
        let passed = at.map_or(0, |at| now.as_nanosecond().saturating_sub(at.as_nanosecond()));
        // A clock that was set back must not give a negative duration.
        api::duration::human(Duration::from_nanos(u64::try_from(passed).unwrap_or(0)))
    };
    match status.state {
        State::Created => "Created".to_owned(),
        State::Dead => "Dead".to_owned(),
        State::Running => match health_note(status.health.as_ref()) {
            Some(note) => format!("Up {} ({note})", since(status.started_at)),
            None => format!("Up {}", since(status.started_at)),
        },
        State::Paused => format!("Up {} (Paused)", since(status.started_at)),
        State::Restarting => format!("Restarting ({}) {} ago", status.exit_code, since(status.finished_at)),
        State::Exited => format!("Exited ({}) {} ago", status.exit_code, since(status.finished_at)),
    }
}

fn health_note(health: Option<&HealthRecord>) -> Option<String> {
    let health = health?;
    Some(match health.status {
        monitor::HealthStatus::Starting => "health: starting".to_owned(),
        other => other.as_str().to_owned(),
    })
}

/// The word that the filter `health` compares with.
pub fn health_word(status: &Status) -> &'static str {
    status.health.as_ref().map_or("none", |h| h.status.as_str())
}

/// The document `State` of `inspect`.
pub fn document(status: &Status) -> doc::State {
    let at = |t: Option<Timestamp>| t.map_or_else(|| time::ZERO.to_owned(), time::rfc3339);
    doc::State {
        status: word(status.state).to_owned(),
        // Docker calls paused and restarting containers running, too.
        running: status.state.is_live(),
        paused: status.state == State::Paused,
        restarting: status.state == State::Restarting,
        oom_killed: status.oom_killed,
        dead: status.state == State::Dead,
        pid: i64::from(status.pid),
        exit_code: i64::from(status.exit_code),
        error: status.error.clone(),
        started_at: at(status.started_at),
        finished_at: at(status.finished_at),
        health: status.health.as_ref().map(health_document),
    }
}

fn health_document(health: &HealthRecord) -> doc::Health {
    doc::Health {
        status: health.status.as_str().to_owned(),
        failing_streak: i64::from(health.failing_streak),
        log: health
            .log
            .iter()
            .map(|probe| doc::HealthLog {
                start: time::rfc3339(probe.start),
                end: time::rfc3339(probe.end),
                exit_code: i64::from(probe.exit_code),
                output: probe.output.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State) -> Status {
        Status {
            state,
            exit_code: 3,
            started_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            finished_at: Some("2026-01-01T00:01:00Z".parse().unwrap()),
            ..Status::default()
        }
    }

    #[test]
    fn texts_are_dockers() {
        let now = "2026-01-01T00:06:00Z".parse().unwrap();
        let text = |s: &Status| text(s, now);
        assert_eq!(text(&status(State::Created)), "Created");
        assert_eq!(text(&status(State::Running)), "Up 6 minutes");
        assert_eq!(text(&status(State::Paused)), "Up 6 minutes (Paused)");
        assert_eq!(text(&status(State::Exited)), "Exited (3) 5 minutes ago");
        assert_eq!(text(&status(State::Restarting)), "Restarting (3) 5 minutes ago");
        let mut healthy = status(State::Running);
        healthy.health = Some(HealthRecord::default());
        assert_eq!(text(&healthy), "Up 6 minutes (health: starting)");
        healthy.health.as_mut().unwrap().status = monitor::HealthStatus::Healthy;
        assert_eq!(text(&healthy), "Up 6 minutes (healthy)");
    }

    #[test]
    fn a_clock_set_back_gives_no_negative_duration() {
        let now = "2020-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(text(&status(State::Running), now), "Up Less than a second");
    }

    #[test]
    fn a_paused_container_is_running_too() {
        let d = document(&status(State::Paused));
        assert!(d.running && d.paused);
        assert_eq!(document(&Status::default()).started_at, time::ZERO);
    }
}
