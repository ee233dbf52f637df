//! What happens when a process has ended: of the init above all, which ends the container's run.
//!
//! The order is a promise: the status is on disk before anybody hears of the exit, and what the container held (network
//! namespace, port reservations, control group) is given back and cleaned up before those who wait go on, because what they do next
//! may need it.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::epoll::EventFlags;
use rustix::process::{Pid, PidfdFlags};

use super::notices::{complain, note};
use super::poll::{Timer, Token};
use super::session::Owner;
use super::start::delete_cgroup;
use super::{Cleanup, Container, INIT, Monitor, Stage};
use crate::protocol::{self, Reply};
use crate::status::{HealthStatus, State};

/// How long output that somebody outside of the container holds open is still read.
const DRAIN: Duration = Duration::from_secs(1);
/// How long those who wait for the exit wait for the clean-up: it may itself wait for one of them.
const CLEANUP: Duration = Duration::from_secs(5);

impl Monitor {
    pub(super) fn process_exited(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // Closing the descriptor, which reaping does, ends its being watched.
        match session.reap() {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(e) => {
                complain(&e);
                // Somebody else has reaped it; how it ended will never be known.
                (session.pidfd, session.exit_code) = (None, Some(255));
            }
        }
        let owner = session.owner.clone();
        if owner == Owner::Init {
            // Without a pid namespace of its own the container's other processes live on.
            if let Some(cgroup) = self.running.as_ref().and_then(|running| running.cgroup.as_ref())
                && let Err(e) = cgroup.kill_all()
            {
                complain(&e);
            }
        }
        self.drain(id);
        let drained = self.sessions.get(&id).is_none_or(|session| session.is_drained());
        if drained || owner == Owner::Probe {
            self.stop_draining(id);
        } else {
            if self.sessions.get(&id).is_some_and(|session| session.throttled) {
                self.unthrottle(id);
            }
            self.timers.set(Timer::Drain(id), DRAIN);
        }
    }

    /// A session's process has exited and its output is through, or given up.
    pub(super) fn stop_draining(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (owner, code) = (session.owner.clone(), session.exit_code.unwrap_or(255));
        let captured = std::mem::take(&mut session.captured);
        match owner {
            Owner::Init => {
                self.close_session(id);
                self.init_exited(code);
            }
            Owner::Exec(exec) => {
                match session.is_drained() {
                    true => self.close_session(id),
                    false => self.abandon_session(id),
                }
                self.exec_exited(&exec, code);
            }
            Owner::Probe => {
                self.close_session(id);
                self.probe_ended(code, &captured);
            }
        }
    }

    fn init_exited(&mut self, code: i32) {
        self.take_oom_events();
        let Some(running) = self.running.take() else { return };
        if let Some(oom) = &running.oom {
            self.poll.delete(oom);
        }
        self.end_further_processes();
        let ran = running.since.elapsed();
        // Before a restart too: Linux 6.15 to at least 6.18 kills at once what is cloned into a group that has had its
        // cgroup.kill written, as it compares the group's count of kills with that of the parent's group.
        delete_cgroup(running.cgroup.as_ref());
        if let Some(Container { config, .. }) = &self.container {
            let failed = runtime::poststop(&config.id, &config.spec, Some(&self.launch.container_dir));
            failed.iter().for_each(|e| complain(e));
        }
        let now = Timestamp::now();
        if let Some(container) = &mut self.container
            && let Some(log) = &mut container.log
            && let Err(e) = log.finish(now)
        {
            complain(&e);
        }
        self.status.pid = 0;
        self.status.exit_code = code;
        self.status.finished_at = Some(now);
        if let Some(health) = &mut self.status.health {
            health.status = HealthStatus::Unhealthy;
        }
        let policy = self.container.as_ref().map(|container| container.config.restart).unwrap_or_default();
        let pause = self.restarts.next(policy, code, self.status.manually_stopped, ran);
        self.status.restart_count = self.restarts.count;
        self.status.state = if pause.is_some() { State::Restarting } else { State::Exited };
        self.record(pause.is_none() && self.outlives_its_run());
        self.event("die", &[("exitCode", code.to_string()), ("execDuration", ran.as_secs().to_string())]);
        match pause {
            Some(pause) => {
                self.timers.set(Timer::Restart, pause);
                self.answer_waiters();
            }
            None => self.end_of_run(),
        }
    }

    /// The processes that came by `exec` died with the init, or are about to.
    fn end_further_processes(&mut self) {
        self.stop_probing();
        let left: Vec<u32> = self.sessions.keys().copied().filter(|&id| id != INIT).collect();
        for id in left {
            if let Some(session) = self.sessions.get_mut(&id)
                && let Some(pidfd) = &session.pidfd
            {
                let _ = sys::signal::send(pidfd.as_fd(), 9);
                self.process_exited(id);
            }
        }
    }

    /// The container will not run again by itself: gives back what it held and cleans up.
    pub(super) fn end_of_run(&mut self) {
        self.timers.cancel(Timer::Kill);
        self.timers.cancel(Timer::Settled);
        self.withdraw_name();
        if !self.stoppers.is_empty() {
            self.event("stop", &[]);
        }
        let Some(container) = &mut self.container else { return };
        container.netns = None;
        container.held = Vec::new();
        container.names = None;
        container.log = None;
        if container.config.cleanup.is_empty() {
            return self.run_is_over(None);
        }
        match self.waiters.iter().find(|waiter| waiter.cleans).map(|waiter| waiter.connection) {
            Some(client) => {
                self.answer(client, &Reply::CleanUp);
                self.cleanup = Some(Cleanup::Client(client));
                self.timers.set(Timer::Cleanup, CLEANUP);
            }
            None => self.clean_up_by_process(),
        }
    }

    fn clean_up_by_process(&mut self) {
        let Some(container) = &self.container else { return };
        match spawn_cleanup(&container.config.cleanup) {
            Ok((process, pidfd)) => {
                if let Err(e) = self.poll.add(&pidfd, Token::Cleanup, EventFlags::IN) {
                    complain(&e);
                }
                self.cleanup = Some(Cleanup::Process { process, pidfd });
                self.timers.set(Timer::Cleanup, CLEANUP);
            }
            Err(e) => {
                complain(&e);
                self.cleanup = None;
                self.run_is_over(Some(format!("spawn clean-up: {e}")));
            }
        }
    }

    /// A client that was asked to clean up has done so. From one that was given up it comes too late.
    pub(super) fn client_cleaned_up(&mut self, client: u32, error: Option<String>) {
        if matches!(self.cleanup, Some(Cleanup::Client(asked)) if asked == client) {
            self.cleanup = None;
            self.run_is_over(error);
        }
    }

    /// A client has gone; it may have left the clean-up undone.
    pub(super) fn cleaner_has_gone(&mut self, client: u32) {
        if matches!(self.cleanup, Some(Cleanup::Client(asked)) if asked == client) {
            self.clean_up_by_process();
        }
    }

    /// Nobody waits longer for a clean-up by a process; one by a client is not waited for at all: a process does it.
    pub(super) fn cleanup_takes_long(&mut self) {
        match self.cleanup {
            Some(Cleanup::Client(_)) => self.clean_up_by_process(),
            _ => self.answer_waiters(),
        }
    }

    pub(super) fn cleanup_ended(&mut self) {
        let Some(Cleanup::Process { mut process, pidfd }) = self.cleanup.take() else { return };
        self.poll.delete(&pidfd);
        let error = match process.wait() {
            Ok(status) if status.success() => None,
            Ok(status) => Some(told(status, process.stderr.take())),
            Err(e) => Some(format!("await clean-up: {e}")),
        };
        self.run_is_over(error);
    }

    fn run_is_over(&mut self, error: Option<String>) {
        self.answer_waiters();
        if self.container.as_ref().is_some_and(|container| container.config.auto_remove) {
            self.answer_removed(error.as_deref());
        }
    }

    /// Runs the container again after the policy's pause.
    pub(super) fn restart_now(&mut self) {
        if self.status.state != State::Restarting {
            return;
        }
        if let Err(e) = self.launch() {
            complain(&e);
            self.status.state = State::Exited;
            self.status.error = crate::chain(&e);
            self.status.exit_code = e.exit_code();
            self.record(self.outlives_its_run());
            self.end_of_run();
        }
    }

    pub(super) fn take_oom_events(&mut self) {
        let Some(oom) = self.running.as_mut().and_then(|running| running.oom.as_mut()) else { return };
        match oom.drain() {
            Ok(0) => {}
            Ok(_) => {
                self.status.oom_killed = true;
                self.record(false);
                self.event("oom", &[]);
            }
            Err(e) => complain(&e),
        }
    }

    fn exec_exited(&mut self, id: &str, code: i32) {
        let Some(exec) = self.execs.get_mut(id) else { return };
        let pid = match exec.stage {
            Stage::Running { pid, .. } | Stage::Exited { pid, .. } => pid,
            Stage::Prepared => 0,
        };
        exec.stage = Stage::Exited { exit_code: code, pid };
        if let Some(report) = exec.report.take()
            && let Ok(message) = protocol::encode(&Reply::Exited { exit_code: code, pid })
        {
            // Nothing else is in the pipe. Who does not read it has gone, or asks.
            let _ = rustix::io::write(&report, &message);
        }
        self.event("exec_die", &[("execID", id.to_owned()), ("exitCode", code.to_string())]);
    }
}

/// The last words of a clean-up that has failed, which also go where our own errors go; without any, how it ended.
fn told(status: ExitStatus, stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    // It has ended: there is no more than what the pipe holds.
    if let Some(stderr) = stderr {
        let _ = stderr.take(64 << 10).read_to_string(&mut text);
    }
    note(format_args!("{text}"));
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.to_owned(),
        None => format!("clean up container: {status}"),
    }
}

fn spawn_cleanup(argv: &[String]) -> std::io::Result<(Child, OwnedFd)> {
    let (program, arguments) = argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    sys::daemon::with_files_as_before(&mut command);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let process = command.spawn()?;
    let pid =
        i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidData)?;
    let pidfd: OwnedFd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok((process, pidfd))
}
