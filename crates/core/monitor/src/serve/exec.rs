//! Further processes in the running container.

use std::time::Duration;

use super::connection::Subscriber;
use super::requests::{Answer, failure, system};
use super::session::{self, Owner, Plumbing, Session};
use super::{Exec, Monitor, Stage};
use crate::detach::{Matcher, parse_detach_keys};
use crate::place;
use crate::protocol::{ExecCreate, ExecStart, ExecState, Failure, FailureKind, Inhabited, Reply};
use crate::status::State;

/// How many further processes that have exited are remembered.
const REMEMBERED: usize = 32;

/// A process that the runtime has started in the container.
pub struct Spawned {
    pub session: u32,
    pub pid: i32,
    pub warnings: Vec<String>,
}

impl Monitor {
    pub(super) fn inhabited(&self) -> Answer {
        let config = self.container.as_ref().map(|container| &container.config);
        let config = config.ok_or_else(|| failure(FailureKind::NotRunning, "container is not running"))?;
        Ok(Some(Reply::Inhabited(Box::new(Inhabited {
            name: config.name.clone(),
            state: self.status.state,
            pid: self.status.pid,
            further: config.further.clone(),
        }))))
    }

    pub(super) fn exec_create(&mut self, create: ExecCreate) -> Answer {
        self.expect_running()?;
        if self.status.state == State::Paused {
            return Err(failure(
                FailureKind::Paused,
                "container is paused, unpause the container before exec",
            ));
        }
        if create.process.args.is_empty() {
            return Err(failure(FailureKind::Invalid, "no exec command specified"));
        }
        parse_detach_keys(create.detach_keys.as_deref().unwrap_or(""))
            .map_err(|e| failure(FailureKind::Invalid, e.to_string()))?;
        if self.execs.contains_key(&create.id) {
            return Err(failure(FailureKind::ExecConflict, format!("exec {} exists already", create.id)));
        }
        self.forget_old_execs();
        self.exec_event("exec_create", &create);
        let order = self.number();
        self.execs.insert(create.id.clone(), Exec { create, order, stage: Stage::Prepared, report: None });
        Ok(Some(Reply::Done))
    }

    fn forget_old_execs(&mut self) {
        let mut finished: Vec<(u32, String)> = self
            .execs
            .iter()
            .filter(|(_, exec)| matches!(exec.stage, Stage::Exited { .. }))
            .map(|(id, exec)| (exec.order, id.clone()))
            .collect();
        finished.sort();
        let surplus = (finished.len() + 1).saturating_sub(REMEMBERED);
        for (_, id) in finished.drain(..surplus) {
            self.execs.remove(&id);
            let _ = std::fs::remove_file(place::exec(&self.launch.run_dir, &id));
        }
    }

    pub(super) fn exec_start(&mut self, connection: u32, start: &ExecStart) -> Answer {
        self.expect_running()?;
        if self.status.state == State::Paused {
            return Err(failure(
                FailureKind::Paused,
                "container is paused, unpause the container before exec",
            ));
        }
        let exec = self.execs.get(&start.id).ok_or_else(|| no_such_exec(&start.id))?;
        if !matches!(exec.stage, Stage::Prepared) {
            let message = format!("exec {} has already run", start.id);
            return Err(failure(FailureKind::ExecConflict, message));
        }
        let create = exec.create.clone();
        let report = match (start.report, self.connections.get_mut(&connection)) {
            (true, Some(connection)) => connection.take_descriptors().pop_front(),
            _ => None,
        };
        self.exec_event("exec_start", &create);
        let plumbing = match create.tty {
            true => session::plumb_terminal(),
            false => {
                let attached = !start.detach;
                session::plumb(attached && create.stdin, attached && create.stdout, attached && create.stderr)
                    .map_err(|e| system(&e))?
            }
        };
        let spawned = match create.refused.clone() {
            Some(why) => Err(failure(FailureKind::Start, why)),
            None => self.spawn(Owner::Exec(start.id.clone()), &create.process, plumbing, create.tty),
        };
        let spawned = match spawned {
            Ok(spawned) => spawned,
            Err(failure) => {
                let exit_code = failure.exit_code.unwrap_or(126);
                self.set_stage(&start.id, Stage::Exited { exit_code, pid: 0 });
                return Err(failure);
            }
        };
        if let Some(exec) = self.execs.get_mut(&start.id) {
            exec.stage = Stage::Running { session: spawned.session, pid: spawned.pid };
            exec.report = report;
        }
        let size = start.size.or(create.process.console_size.map(|size| (size.height, size.width)));
        if let (true, Some((height, width)), Some(session)) =
            (create.tty, size, self.sessions.get(&spawned.session))
        {
            session.resize(height, width).map_err(|e| system(&e))?;
        }
        if start.detach {
            return Ok(Some(Reply::Started { pid: spawned.pid, warnings: spawned.warnings }));
        }
        self.follow(connection, spawned.session, &create, start.raw)
    }

    /// Makes the connection the stream of a further process.
    fn follow(&mut self, connection: u32, number: u32, create: &ExecCreate, raw: Option<bool>) -> Answer {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.accepts_input = create.stdin;
            session.input_once = true;
        }
        let keys = parse_detach_keys(create.detach_keys.as_deref().unwrap_or("")).unwrap_or_default();
        let subscriber = Subscriber {
            session: number,
            stdin: create.stdin,
            stdout: create.stdout || create.tty,
            stderr: create.stderr,
            keys: Matcher::new(if create.tty { keys } else { Vec::new() }),
            raw,
        };
        self.subscribe(connection, subscriber, Some(raw.unwrap_or(create.tty)));
        Ok(None)
    }

    /// Starts a process in the container and watches it as a session.
    pub(super) fn spawn(
        &mut self,
        owner: Owner,
        process: &oci::runtime::Process,
        plumbing: Plumbing,
        tty: bool,
    ) -> Result<Spawned, Failure> {
        use std::os::fd::AsFd;
        let (Some(running), Some(container)) = (&self.running, &self.container) else {
            return Err(failure(FailureKind::NotRunning, "container is not running"));
        };
        let init = self.sessions.get(&super::INIT).and_then(|session| session.pidfd.as_ref());
        let Some(pidfd) = init else {
            return Err(failure(FailureKind::NotRunning, "container is not running"));
        };
        let Plumbing { stdio, input, outputs } = plumbing;
        let state = oci::runtime::State {
            oci_version: oci::runtime::VERSION.to_owned(),
            id: container.config.id.clone(),
            status: "running".to_owned(),
            pid: Some(running.pid),
            bundle: self.launch.container_dir.clone(),
            annotations: container.config.spec.annotations.clone(),
        };
        let seccomp = container.config.spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        let filter = match (container.filter.get(), seccomp) {
            (None, Some(profile)) => {
                let program = runtime::seccomp::compile(profile, runtime::seccomp::Arch::HOST);
                let program = program.map_err(|e| start_failure(&e))?;
                Some(container.filter.get_or_init(|| program))
            }
            (known, _) => known,
        };
        if running.namespaces.get().is_none() {
            let found = runtime::Joined::of_process(running.pid).map_err(|e| start_failure(&e))?;
            running.namespaces.get_or_init(|| found);
        }
        let started = runtime::exec(runtime::Exec {
            pid: running.pid,
            pidfd: pidfd.as_fd(),
            process,
            namespaces: running.namespaces.get(),
            cgroup: running.cgroup.as_ref(),
            cgroup_only: false,
            seccomp,
            filter,
            stdio,
            preserve_fds: 0,
            die_with_parent: true,
            container: Some(&state),
        })
        .map_err(|e| start_failure(&e))?;
        let number = self.number();
        let mut session = Session::new(owner);
        session.tty = tty;
        (session.input, session.outputs) = (input, outputs);
        session.pidfd = Some(started.pidfd);
        if let Some(master) = started.master {
            session.take_master(master).map_err(|e| system(&e))?;
        }
        self.sessions.insert(number, session);
        self.watch(number).map_err(|e| system(&e))?;
        Ok(Spawned { session: number, pid: started.pid, warnings: started.warnings })
    }

    pub(super) fn exec_resize(&mut self, id: &str, height: u16, width: u16) -> Answer {
        let exec = self.execs.get(id).ok_or_else(|| no_such_exec(id))?;
        let Stage::Running { session, .. } = exec.stage else {
            return Err(failure(FailureKind::NotRunning, format!("exec {id} is not running")));
        };
        if let Some(session) = self.sessions.get(&session) {
            session.resize(height, width).map_err(|e| system(&e))?;
        }
        Ok(Some(Reply::Done))
    }

    pub(super) fn exec_inspect(&mut self, id: &str) -> Answer {
        let exec = self.execs.get(id).ok_or_else(|| no_such_exec(id))?;
        let (running, exit_code, pid) = match exec.stage {
            Stage::Prepared => (false, None, 0),
            Stage::Running { pid, .. } => (true, None, pid),
            Stage::Exited { exit_code, pid } => (false, Some(exit_code), pid),
        };
        Ok(Some(Reply::Exec(Box::new(ExecState { create: exec.create.clone(), running, exit_code, pid }))))
    }

    fn set_stage(&mut self, id: &str, stage: Stage) {
        if let Some(exec) = self.execs.get_mut(id) {
            exec.stage = stage;
        }
    }

    fn exec_event(&self, action: &str, create: &ExecCreate) {
        let action = format!("{action}: {}", create.process.args.join(" "));
        self.event(&action, &[("execID", create.id.clone())]);
    }
}

fn no_such_exec(id: &str) -> Failure {
    failure(FailureKind::NoSuchExec, format!("No such exec instance: {id}"))
}

/// A process that could not be started; 127 and 126 tell a command that is missing from one that does not work.
fn start_failure(error: &runtime::Error) -> Failure {
    let code = Some(error.exit_code()).filter(|code| matches!(code, 126 | 127)).unwrap_or(126);
    Failure { kind: FailureKind::Start, message: crate::chain(error), exit_code: Some(code) }
}

/// How a duration reads in Go, and so in Docker's messages: `1m30s`, `500ms`.
pub fn go_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 {
        let (unit, scale) = match nanos {
            0 => return "0s".to_owned(),
            1..1_000 => ("ns", 1.0),
            1_000..1_000_000 => ("µs", 1e3),
            _ => ("ms", 1e6),
        };
        return format!("{}{unit}", f64::from(nanos) / scale);
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let fraction = format!("{}s", (seconds % 60) as f64 + f64::from(nanos) / 1e9);
    match (hours, minutes) {
        (0, 0) => fraction,
        (0, minutes) => format!("{minutes}m{fraction}"),
        (hours, minutes) => format!("{hours}h{minutes}m{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let text = |millis| go_duration(Duration::from_millis(millis));
        assert_eq!([text(0), text(500), text(1000), text(1500)], ["0s", "500ms", "1s", "1.5s"]);
        assert_eq!([text(90_000), text(3_600_000)], ["1m30s", "1h0m0s"]);
    }
}
