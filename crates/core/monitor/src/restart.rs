//! The restart policy: whether and when a container runs again after an exit. Pure; Docker's rules.
//!
//! The pause doubles from 100 ms to one minute, and starts over once a run lasted ten seconds, whatever its end.

use std::time::Duration;

use crate::config::{RestartName, RestartPolicy};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run of this length clears the pause.
const LONG_RUN: Duration = Duration::from_secs(10);

/// What the policy remembers between exits of one container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restarts {
    pause: Option<Duration>,
    /// Restarts since the last start by hand.
    pub count: u32,
}

impl Restarts {
    /// How long to wait before the next run; `None` means that there is none.
    pub fn next(
        &mut self,
        policy: RestartPolicy,
        exit_code: i32,
        asked_to_stop: bool,
        ran: Duration,
    ) -> Option<Duration> {
        if asked_to_stop || !wants(policy, exit_code, self.count) {
            return None;
        }
        let pause = match self.pause {
            Some(pause) if ran < LONG_RUN => (pause * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.pause = Some(pause);
        self.count += 1;
        Some(pause)
    }

    /// Whether another policy wants the restart too that [`Restarts::next`] has promised.
    pub(crate) fn keeps(&self, policy: RestartPolicy, exit_code: i32) -> bool {
        wants(policy, exit_code, self.count.saturating_sub(1))
    }
}

/// Whether the policy wants one more restart after so many.
fn wants(policy: RestartPolicy, exit_code: i32, count: u32) -> bool {
    match policy.name {
        RestartName::No => false,
        RestartName::Always | RestartName::UnlessStopped => true,
        RestartName::OnFailure => exit_code != 0 && (policy.max_retries == 0 || count < policy.max_retries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    fn policy(name: RestartName, max_retries: u32) -> RestartPolicy {
        RestartPolicy { name, max_retries }
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let mut restarts = Restarts::default();
        let always = policy(RestartName::Always, 0);
        let pauses: Vec<u128> =
            (0..12).map(|_| restarts.next(always, 0, false, SHORT).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(restarts.count, 12);
    }

    #[test]
    fn a_long_run_clears_the_pause() {
        let mut restarts = Restarts::default();
        let always = policy(RestartName::Always, 0);
        for _ in 0..5 {
            restarts.next(always, 1, false, SHORT);
        }
        assert_eq!(restarts.next(always, 1, false, LONG_RUN), Some(FIRST_PAUSE));
        assert_eq!(restarts.next(always, 1, false, SHORT), Some(FIRST_PAUSE * 2));
    }

    #[test]
    fn on_failure_counts() {
        let mut restarts = Restarts::default();
        let twice = policy(RestartName::OnFailure, 2);
        assert!(restarts.next(twice, 0, false, SHORT).is_none());
        assert!(restarts.next(twice, 1, false, SHORT).is_some());
        assert!(restarts.next(twice, 1, false, SHORT).is_some());
        assert!(restarts.next(twice, 1, false, SHORT).is_none());
        assert_eq!(restarts.count, 2);
    }

    #[test]
    fn on_failure_without_bound_never_gives_up() {
        let mut restarts = Restarts::default();
        let unbounded = policy(RestartName::OnFailure, 0);
        assert!((0..100).all(|_| restarts.next(unbounded, 1, false, SHORT).is_some()));
    }

    #[test]
    fn who_was_asked_to_stop_stays_down() {
        for name in [RestartName::No, RestartName::OnFailure, RestartName::Always, RestartName::UnlessStopped]
        {
            assert!(Restarts::default().next(policy(name, 0), 1, true, SHORT).is_none());
        }
    }

    #[test]
    fn another_policy_may_keep_the_next_restart() {
        let mut restarts = Restarts::default();
        restarts.next(policy(RestartName::Always, 0), 1, false, SHORT).unwrap();
        restarts.next(policy(RestartName::Always, 0), 1, false, SHORT).unwrap();
        assert!(restarts.keeps(policy(RestartName::UnlessStopped, 0), 0));
        assert!(restarts.keeps(policy(RestartName::OnFailure, 2), 1));
        for (name, retries, code) in
            [(RestartName::No, 0, 1), (RestartName::OnFailure, 1, 1), (RestartName::OnFailure, 0, 0)]
        {
            assert!(!restarts.keeps(policy(name, retries), code), "{name:?}");
        }
    }

    #[test]
    fn no_means_no() {
        assert!(Restarts::default().next(policy(RestartName::No, 0), 1, false, SHORT).is_none());
    }
}
