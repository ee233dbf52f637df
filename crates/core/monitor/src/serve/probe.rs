//! Health probes: running what [`crate::health`] decides.

use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;

use super::Monitor;
use super::exec::go_duration;
use super::notices::complain;
use super::poll::Timer;
use super::session::{self, Owner};
use crate::health;
use crate::status::{HealthLog, State};

/// The exit code of a probe that could not run or took too long.
const NO_RESULT: i32 = -1;

impl Monitor {
    /// Plans the next probe, if the container has a health check and runs.
    pub(super) fn schedule_probe(&mut self) {
        if self.status.state != State::Running {
            return;
        }
        let since_start = self.since_start();
        let check = self.container.as_ref().and_then(|container| container.config.health.as_ref());
        if let (Some(check), Some(record)) = (check, &self.status.health) {
            self.timers.set(Timer::Probe, health::pause(check, record, since_start));
        }
    }

    pub(super) fn start_probe(&mut self) {
        let Some(container) = self.container.as_ref().filter(|_| self.status.state == State::Running) else {
            return;
        };
        let Some(check) = &container.config.health else { return };
        let (Some(args), Some(mut process)) = (health::command(check), container.config.spec.process.clone())
        else {
            return;
        };
        process.args = args;
        process.terminal = false;
        process.console_size = None;
        let timeout = health::timeout(check);
        self.probe_began = Timestamp::now();
        let spawned = match session::plumb_probe() {
            Ok(plumbing) => self.spawn(Owner::Probe, &process, plumbing, false).map_err(|e| e.message),
            Err(e) => Err(e.to_string()),
        };
        match spawned {
            Ok(_) => self.timers.set(Timer::ProbeTimeout, timeout),
            Err(message) => self.note_probe(NO_RESULT, message),
        }
    }

    /// The probe's process has exited.
    pub(super) fn probe_ended(&mut self, code: i32, output: &[u8]) {
        if !self.timers.is_set(Timer::ProbeTimeout) {
            // It was cut short because the container was paused or has exited: it says nothing about its health.
            return;
        }
        self.timers.cancel(Timer::ProbeTimeout);
        self.note_probe(code, health::output(output));
    }

    pub(super) fn probe_took_too_long(&mut self) {
        let timeout = self.container.as_ref().and_then(|c| c.config.health.as_ref()).map(health::timeout);
        let output = self.kill_probe();
        let mut text =
            format!("Health check exceeded timeout ({})", go_duration(timeout.unwrap_or_default()));
        if !output.is_empty() {
            text = format!("{text}: {}", health::output(&output));
        }
        self.note_probe(NO_RESULT, text);
    }

    /// No probes until they are scheduled again.
    pub(super) fn stop_probing(&mut self) {
        self.timers.cancel(Timer::Probe);
        self.timers.cancel(Timer::ProbeTimeout);
        self.kill_probe();
    }

    /// Kills the running probe, which is then reaped as any process. Gives what it has written.
    fn kill_probe(&mut self) -> Vec<u8> {
        let Some(session) = self.sessions.values_mut().find(|session| session.owner == Owner::Probe) else {
            return Vec::new();
        };
        if let Some(pidfd) = &session.pidfd
            && let Err(e) = sys::signal::send(pidfd.as_fd(), 9)
        {
            complain(&e);
        }
        std::mem::take(&mut session.captured)
    }

    fn note_probe(&mut self, exit_code: i32, output: String) {
        let probe = HealthLog { start: self.probe_began, end: Timestamp::now(), exit_code, output };
        let since_start = self.since_start();
        let check = self.container.as_ref().and_then(|container| container.config.health.as_ref());
        let (Some(check), Some(record)) = (check, self.status.health.as_mut()) else { return };
        let changed = health::note(check, record, probe, since_start);
        let verdict = record.status.as_str();
        self.record(false);
        if changed {
            self.event(&format!("health_status: {verdict}"), &[]);
        }
        self.schedule_probe();
    }

    fn since_start(&self) -> Duration {
        self.running.as_ref().map(|running| running.since.elapsed()).unwrap_or_default()
    }
}
