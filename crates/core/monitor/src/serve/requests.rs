//! What a client may ask, one arm a request.
//!
//! `Ok(Some(reply))` answers at once, `Ok(None)` means that the connection has become a stream or that the answer comes later.

use rustix::io::Errno;

use super::connection::{Role, Subscriber};
use super::notices::{complain, note};
use super::{INIT, Monitor, Waiter};
use crate::config::RestartPolicy;
use crate::detach::{Matcher, parse_detach_keys};
use crate::protocol::{Attach, Condition, Exit, Failure, FailureKind, Reply, Request};
use crate::status::State;

/// What handling a request gives.
pub type Answer = Result<Option<Reply>, Failure>;

/// A refusal.
pub fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure { kind, message: message.into(), exit_code: None }
}

/// A failure of something that should work.
pub fn system(error: &dyn std::error::Error) -> Failure {
    failure(FailureKind::System, crate::chain(error))
}

const DONE: Answer = Ok(Some(Reply::Done));

impl Monitor {
    pub(super) fn handle(&mut self, id: u32, request: Request) -> Answer {
        match request {
            Request::Start { config, netns, mounted } => {
                let descriptors =
                    self.connections.get_mut(&id).map(|c| c.take_descriptors()).unwrap_or_default();
                self.start(*config, netns, mounted, descriptors).map(Some)
            }
            Request::Attach(attach) => self.attach(id, &attach),
            Request::Resize { height, width } => self.resize(height, width),
            Request::Signal { signal } => self.signal(signal).and(DONE),
            Request::Stop { signal, timeout } => self.stop(id, signal, timeout),
            Request::Pause { held } => self.pause(held.then_some(id)),
            Request::Unpause => self.unpause(),
            Request::Wait { condition, cleans } => self.wait(id, condition, cleans),
            Request::CleanedUp { error } => {
                self.client_cleaned_up(id, error);
                Ok(None)
            }
            Request::Further => self.inhabited(),
            Request::ExecCreate(create) => self.exec_create(*create),
            Request::ExecStart(start) => self.exec_start(id, &start),
            Request::ExecResize { id, height, width } => self.exec_resize(&id, height, width),
            Request::ExecInspect { id } => self.exec_inspect(&id),
            Request::Update { resources, restart } => self.update(resources.map(|r| *r), restart),
            Request::Names { config } => {
                let descriptors =
                    self.connections.get_mut(&id).map(|c| c.take_descriptors()).unwrap_or_default();
                self.expect_running()?;
                self.serve_names(&config, descriptors).and(DONE)
            }
            Request::Rename { name } => {
                self.withdraw_name();
                if let Some(container) = &mut self.container {
                    container.config.name = name;
                }
                if self.running.is_some() {
                    self.announce_name();
                }
                DONE
            }
            Request::Status => Ok(Some(Reply::Status(Box::new(self.status.clone())))),
            Request::Removed => {
                self.answer_removed(None);
                DONE
            }
        }
    }

    fn attach(&mut self, id: u32, attach: &Attach) -> Answer {
        let keys = parse_detach_keys(attach.detach_keys.as_deref().unwrap_or(""))
            .map_err(|e| failure(FailureKind::Invalid, e.to_string()))?;
        let Some(session) = self.sessions.get(&INIT) else { return Ok(None) };
        let started = session.pidfd.is_some();
        let tty = started.then_some(session.tty);
        let subscriber = Subscriber {
            session: INIT,
            stdin: attach.stdin && (!started || session.accepts_input),
            stdout: attach.stdout,
            stderr: attach.stderr,
            keys: Matcher::new(if tty == Some(false) { Vec::new() } else { keys }),
            raw: None,
        };
        self.subscribe(id, subscriber, tty);
        Ok(None)
    }

    /// Turns a connection into a stream.
    pub(super) fn subscribe(&mut self, id: u32, subscriber: Subscriber, tty: Option<bool>) {
        let Some(session) = self.sessions.get_mut(&subscriber.session) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        session.clients.push(id);
        let fed = subscriber.stdin;
        connection.queue_message(&Reply::Attached { tty });
        connection.role = Role::Stream(subscriber);
        let typed = connection.take_rest();
        if fed && !typed.is_empty() {
            self.type_in(id, &typed);
        }
    }

    fn resize(&mut self, height: u16, width: u16) -> Answer {
        self.expect_running()?;
        let Some(session) = self.sessions.get(&INIT) else { return DONE };
        session.resize(height, width).map_err(|e| system(&e))?;
        self.event("resize", &[("height", height.to_string()), ("width", width.to_string())]);
        DONE
    }

    fn wait(&mut self, id: u32, condition: Condition, cleans: bool) -> Answer {
        let over =
            condition == Condition::NotRunning && !self.status.state.is_live() && self.cleanup.is_none();
        let exit = Exit { exit_code: self.status.exit_code, error: None };
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(None) };
        connection.queue_message(&Reply::Registered);
        if over {
            return Ok(Some(Reply::Exit(exit)));
        }
        connection.role = Role::Pending;
        let early = !self.status.state.is_live();
        self.waiters.push(Waiter { connection: id, condition, early, cleans });
        Ok(None)
    }

    fn pause(&mut self, holder: Option<u32>) -> Answer {
        self.expect_running()?;
        if self.status.state == State::Paused {
            return Err(failure(FailureKind::Paused, "container is already paused"));
        }
        self.with_cgroup(|cgroup| cgroup.freeze())?;
        self.pause_holder = holder;
        self.stop_probing();
        self.status.state = State::Paused;
        self.record(false);
        self.event("pause", &[]);
        DONE
    }

    fn unpause(&mut self) -> Answer {
        self.expect_running()?;
        if self.status.state != State::Paused {
            return Err(failure(FailureKind::Paused, "container is not paused"));
        }
        self.thaw()?;
        DONE
    }

    /// Lets a paused container go on.
    pub(super) fn thaw(&mut self) -> Result<(), Failure> {
        self.with_cgroup(|cgroup| cgroup.thaw())?;
        self.pause_holder = None;
        self.status.state = State::Running;
        self.record(false);
        self.event("unpause", &[]);
        self.schedule_probe();
        Ok(())
    }

    /// A client has gone: if it is the one that the container is paused for, the container goes on.
    pub(super) fn pause_holder_has_gone(&mut self, id: u32) {
        if self.pause_holder != Some(id) {
            return;
        }
        self.pause_holder = None;
        if self.status.state == State::Paused
            && let Err(failure) = self.thaw()
        {
            complain(&failure);
        }
    }

    fn update(
        &mut self,
        resources: Option<oci::runtime::Resources>,
        restart: Option<RestartPolicy>,
    ) -> Answer {
        if let Some(resources) = resources {
            if self.running.is_some() {
                self.with_cgroup(|cgroup| {
                    cgroup.apply(&resources)?.iter().for_each(|warning| note(format_args!("{warning}\n")));
                    Ok(())
                })?;
            }
            if let Some(container) = &mut self.container {
                let own = &mut container.config.spec.linux.get_or_insert_default().resources;
                // Devices are no limits: the next run has those that were given.
                let devices = own.take().unwrap_or_default().devices;
                *own = Some(oci::runtime::Resources { devices, ..resources });
            }
        }
        if let (Some(policy), Some(container)) = (restart, &mut self.container) {
            container.config.restart = policy;
            if self.status.state == State::Restarting && !self.restarts.keeps(policy, self.status.exit_code) {
                self.cancel_restart()?;
            }
        }
        DONE
    }

    fn with_cgroup(
        &self,
        act: impl FnOnce(&runtime::cgroup::Cgroup) -> Result<(), runtime::cgroup::Error>,
    ) -> Result<(), Failure> {
        let cgroup = self.running.as_ref().and_then(|running| running.cgroup.as_ref());
        let cgroup =
            cgroup.ok_or_else(|| failure(FailureKind::System, "the container has no control group"))?;
        act(cgroup).map_err(|e| system(&e))
    }

    /// Refuses unless the init runs; a paused one does.
    pub(super) fn expect_running(&self) -> Result<(), Failure> {
        match self.running {
            Some(_) => Ok(()),
            None if self.status.state == State::Restarting => Err(failure(
                FailureKind::NotRunning,
                "container is restarting, wait until the container is running",
            )),
            None => Err(failure(FailureKind::NotRunning, "container is not running")),
        }
    }

    /// Sends a signal to the init by its descriptor. One that has exited just now is as good as hit.
    pub(super) fn send(&self, signal: i32) -> Result<(), Failure> {
        use std::os::fd::AsFd;
        let Some(pidfd) = self.sessions.get(&INIT).and_then(|session| session.pidfd.as_ref()) else {
            return Ok(());
        };
        match sys::signal::send(pidfd.as_fd(), signal) {
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Err(failure(FailureKind::Invalid, format!("invalid signal: {signal}")))
            }
            Err(e) if e.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                complain(&e);
                Err(system(&e))
            }
            _ => Ok(()),
        }
    }
}
