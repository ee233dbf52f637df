//! From a configuration to a running container; also for a restart.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::epoll::EventFlags;

use super::connection::Role;
use super::notices::complain;
use super::poll::{Timer, Token};
use super::session::{self, Plumbing};
use super::{Container, INIT, Monitor, Running};
use crate::config::{CONFIG_VERSION, Config, LogDriver};
use crate::health;
use crate::log::Log;
use crate::protocol::{Failure, FailureKind, Reply};
use crate::restart::Restarts;
use crate::status::{HealthRecord, State, StatusError};

/// Docker's exit code of a container that could not be started for other reasons than its command.
const CANNOT_START: i32 = 128;
/// A container that has run so long stays for a while. To drop the code takes longer than much that a short one does.
const SETTLED: Duration = Duration::from_secs(1);

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open log")]
    Log(#[source] io::Error),
    #[error("create standard streams")]
    Stdio(#[source] io::Error),
    #[error("watch the container's process")]
    Watch(#[source] io::Error),
    #[error("record that the container runs")]
    Record(#[source] StatusError),
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
}

impl Error {
    /// 127 if the command was not found, 126 if it cannot be executed, 128 for the rest.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Runtime(e) => {
                Some(e.exit_code()).filter(|code| matches!(code, 126 | 127)).unwrap_or(CANNOT_START)
            }
            _ => CANNOT_START,
        }
    }
}

impl Monitor {
    /// Serves `Start`.
    pub(super) fn start(
        &mut self,
        config: Config,
        with_netns: bool,
        mounted: bool,
        mut descriptors: VecDeque<OwnedFd>,
    ) -> Result<Reply, Failure> {
        let refuse =
            |kind, message: &str| Err(Failure { kind, message: message.to_owned(), exit_code: None });
        if self.status.state.is_live() {
            return refuse(FailureKind::AlreadyRunning, "container is already running");
        }
        if self.cleanup.is_some() {
            return refuse(FailureKind::Busy, "the last run of the container is being cleaned up");
        }
        if config.version != CONFIG_VERSION || config.id != self.launch.id {
            return refuse(FailureKind::Invalid, "the configuration is not for this container and version");
        }
        let netns = if with_netns { descriptors.pop_front() } else { None };
        if with_netns && netns.is_none() {
            return refuse(FailureKind::Invalid, "the network namespace is missing");
        }
        let mounted = if mounted { descriptors.pop_back() } else { None };
        let log = self.open_log(&config).map_err(|e| self.failed_start(&Error::Log(e)))?;
        let dns = config.dns.clone();
        let sockets = descriptors.drain(..descriptors.len().min(if dns.is_some() { 2 } else { 0 })).collect();
        let held = descriptors.into();
        let restarts = config.restarts;
        self.container = Some(Container {
            config,
            netns,
            mounted,
            held,
            names: None,
            log,
            log_failed: false,
            filter: Default::default(),
        });
        if let Some(dns) = dns {
            self.serve_names(&dns, sockets).inspect_err(|_| self.container = None)?;
        }
        self.restarts = Restarts::default();
        self.restarts.count = restarts;
        self.status.restart_count = restarts;
        self.status.manually_stopped = false;
        match self.launch() {
            Ok(warnings) => Ok(Reply::Started { pid: self.status.pid, warnings }),
            Err(e) => {
                let failure = self.failed_start(&e);
                self.container = None;
                Err(failure)
            }
        }
    }

    fn open_log(&self, config: &Config) -> io::Result<Option<Log>> {
        match config.log.driver {
            LogDriver::None => Ok(None),
            LogDriver::JsonFile => {
                let default = self.launch.container_dir.join("log");
                Log::open(config.log.path.as_ref().unwrap_or(&default), &config.log).map(Some)
            }
        }
    }

    fn failed_start(&mut self, error: &Error) -> Failure {
        let message = crate::chain(error);
        let exit_code = error.exit_code();
        self.status.exit_code = exit_code;
        self.status.error = message.clone();
        self.record(self.outlives_its_run());
        Failure { kind: FailureKind::Start, message, exit_code: Some(exit_code) }
    }

    /// Runs the container of the last `Start`. Gives warnings.
    pub(super) fn launch(&mut self) -> Result<Vec<String>, Error> {
        let result = self.launch_init().and_then(|warnings| {
            // A container that runs while its status says otherwise would be started or removed beside itself.
            self.write_status(false).map_err(Error::Record)?;
            Ok(warnings)
        });
        match &result {
            Ok(_) => {
                self.event("start", &[]);
                self.waiters.iter_mut().for_each(|waiter| waiter.early = false);
                self.schedule_probe();
                // What the start needed is not kept: memory at once, code when it turns out that this container stays.
                sys::daemon::trim_memory();
                self.timers.set(Timer::Settled, SETTLED);
            }
            // Clients that came early stay: the next start may succeed.
            Err(_) => self.forget_init(),
        }
        result
    }

    fn launch_init(&mut self) -> Result<Vec<String>, Error> {
        let Some(Container { config, netns, mounted, .. }) = &mut self.container else {
            return Ok(Vec::new());
        };
        let plumbing = match config.tty {
            true => session::plumb_terminal(),
            false => session::plumb(config.open_stdin, true, true).map_err(Error::Stdio)?,
        };
        let Plumbing { stdio, input, outputs } = plumbing;
        let created = runtime::create(runtime::Create {
            id: &config.id,
            spec: &config.spec,
            rootfs: config.rootfs.clone(),
            mounted: mounted.take(),
            bundle: Some(&self.launch.container_dir),
            stdio,
            netns: netns.as_ref().map(AsFd::as_fd),
            preserve_fds: 0,
            die_with_parent: true,
            no_pivot: false,
            inherit_keyring: false,
        })?;
        let cgroup = created.cgroup.clone();
        // The counter must be running before the program can be killed.
        let oom = cgroup.as_ref().and_then(|cgroup| cgroup.oom_events().map_err(|e| complain(&e)).ok());
        let running = match created.start() {
            Ok(running) => running,
            Err(e) => {
                delete_cgroup(cgroup.as_ref());
                return Err(e.into());
            }
        };
        let size = config.spec.process.as_ref().and_then(|process| process.console_size);
        let Some(session) = self.sessions.get_mut(&INIT) else { return Ok(Vec::new()) };
        session.tty = config.tty;
        session.accepts_input = config.open_stdin;
        session.input_once = config.stdin_once;
        session.input_ends &= config.stdin_once && !config.tty;
        (session.input, session.outputs) = (input, outputs);
        session.pidfd = Some(running.pidfd);
        session.exit_code = None;
        if let Some(master) = running.master {
            session.take_master(master).map_err(Error::Stdio)?;
            if let Some(size) = size {
                session.resize(size.height, size.width).map_err(Error::Stdio)?;
            }
        }
        self.running = Some(Running {
            pid: running.pid,
            namespaces: OnceCell::new(),
            cgroup,
            oom,
            since: Instant::now(),
        });
        self.has_started();
        self.announce_name();
        self.watch(INIT).map_err(Error::Watch)?;
        self.feed(INIT);
        self.admit_early_clients();
        Ok(running.warnings)
    }

    /// Brings the status up to date with a new init.
    fn has_started(&mut self) {
        let Some(running) = &self.running else { return };
        if let Some(oom) = &running.oom
            && let Err(e) = self.poll.add(oom, Token::Oom, EventFlags::IN)
        {
            complain(&e);
        }
        let status = &mut self.status;
        status.state = State::Running;
        status.pid = running.pid;
        status.started_at = Some(Timestamp::now());
        status.exit_code = 0;
        status.oom_killed = false;
        status.error = String::new();
        let health = self.container.as_ref().and_then(|container| container.config.health.as_ref());
        status.health = health.and_then(health::command).map(|_| HealthRecord::default());
    }

    /// Clients that attached before the start learn what kind of streams there are.
    fn admit_early_clients(&mut self) {
        let Some(session) = self.sessions.get(&INIT) else { return };
        for id in session.clients.clone() {
            if let Some(connection) = self.connections.get_mut(&id)
                && let Role::Stream(subscriber) = &mut connection.role
            {
                subscriber.stdin &= session.accepts_input;
                if !session.tty {
                    subscriber.keys = crate::detach::Matcher::new(Vec::new());
                }
            }
        }
    }

    /// Undoes a start that failed half-way: the process, if there is one, must not live on unwatched.
    fn forget_init(&mut self) {
        if let Some(session) = self.sessions.get_mut(&INIT) {
            if let Some(pidfd) = session.pidfd.take() {
                let _ = sys::signal::send(pidfd.as_fd(), 9);
                let options = rustix::process::WaitIdOptions::EXITED;
                let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), options);
            }
            session.input = None;
            session.outputs = [None, None];
        }
        if let Some(running) = self.running.take() {
            delete_cgroup(running.cgroup.as_ref());
        }
        if self.status.state.is_live() {
            self.status.state = State::Exited;
            self.status.pid = 0;
        }
        self.timers.cancel(Timer::Probe);
    }
}

/// Removes a control group; one that stays is found by `system check`.
pub fn delete_cgroup(cgroup: Option<&runtime::cgroup::Cgroup>) {
    if let Some(cgroup) = cgroup
        && let Err(e) = cgroup.delete(Duration::from_secs(2))
    {
        complain(&e);
    }
}
