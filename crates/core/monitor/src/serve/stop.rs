//! Signals and stopping.

use std::time::Duration;

use super::Monitor;
use super::connection::Role;
use super::notices::complain;
use super::poll::Timer;
use super::requests::{Answer, failure};
use crate::protocol::{Failure, FailureKind};
use crate::status::State;

const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Monitor {
    /// Sends a signal on behalf of somebody. One that asks for the end also forbids the restart, and wakes a paused container, which
    /// would not see it otherwise.
    ///
    /// Docker takes *any* signal for such a wish unless the image names a stop signal, so that its `kill -s HUP`, the
    /// usual order to reload, switches the restart policy off. We do not follow it there.
    pub(super) fn signal(&mut self, signal: i32) -> Result<(), Failure> {
        if self.status.state == State::Restarting && self.asks_for_the_end(signal) {
            self.status.manually_stopped = true;
            return self.cancel_restart();
        }
        self.expect_running()?;
        self.send(signal)?;
        if self.asks_for_the_end(signal) {
            self.status.manually_stopped = true;
            self.record(false);
        }
        self.event("kill", &[("signal", signal.to_string())]);
        if self.status.state == State::Paused && self.asks_for_the_end(signal) {
            self.thaw()?;
        }
        Ok(())
    }

    fn asks_for_the_end(&self, signal: i32) -> bool {
        let stop_signal = self.container.as_ref().map(|container| container.config.stop_signal);
        matches!(signal, SIGINT | SIGQUIT | SIGKILL | SIGTERM) || Some(signal) == stop_signal
    }

    /// Serves `Stop`.
    pub(super) fn stop(&mut self, id: u32, signal: Option<i32>, timeout: Option<i64>) -> Answer {
        let Some(config) = self.container.as_ref().map(|container| &container.config) else {
            return Err(failure(FailureKind::NotRunning, "container is not running"));
        };
        if !self.status.state.is_live() && self.cleanup.is_none() {
            return Err(failure(FailureKind::NotRunning, "container is not running"));
        }
        let signal = signal.unwrap_or(config.stop_signal);
        let timeout = timeout.unwrap_or(config.stop_timeout);
        if self.running.is_some() {
            self.signal(signal)?;
            if self.status.state == State::Paused {
                self.thaw()?;
            }
            if let Ok(seconds) = u64::try_from(timeout) {
                self.timers.set_at_most(Timer::Kill, Duration::from_secs(seconds));
            }
        }
        self.status.manually_stopped = true;
        self.stoppers.push(id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.role = Role::Pending;
        }
        if self.status.state == State::Restarting {
            self.cancel_restart()?;
        }
        Ok(None)
    }

    /// A container between two runs has nothing to be stopped but its restart.
    pub(super) fn cancel_restart(&mut self) -> Result<(), Failure> {
        self.timers.cancel(Timer::Restart);
        self.status.state = State::Exited;
        self.record(true);
        self.end_of_run();
        Ok(())
    }

    /// The patience of a stop is over.
    pub(super) fn kill_now(&mut self) {
        if self.running.is_none() {
            return;
        }
        if let Err(e) = self.signal(SIGKILL) {
            complain(&e);
        }
    }
}
