//! The monitor process: one thread, one epoll loop, one container.
//!
//! Everything happens in the loop, so no two things happen at once and the order of events, records and answers is the order
//! of the code. Nothing blocks in it but the runtime (milliseconds), the disk, and the removal of a control group.
//!
//! [`Monitor`] holds all state. Its methods are spread over files by topic: `requests` decides what a client may do,
//! `start` and `exit` move the container through its life, `stop`, `exec`, `probe`, `names` are what their names say, `stdio` moves
//! bytes, `clients` accepts and answers.

mod clients;
mod connection;
mod exec;
mod exit;
mod names;
mod notices;
mod poll;
mod probe;
mod requests;
mod session;
mod setup;
mod start;
mod stdio;
mod stop;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use jiff::Timestamp;
use runtime::cgroup::{Cgroup, OomEvents};
use runtime::seccomp::Program;
use rustix::event::epoll::EventFlags;

use crate::config::Config;
use crate::log::Log;
use crate::protocol::{Condition, ExecCreate, Launch};
use crate::restart::Restarts;
use crate::status::Status;

use connection::Connection;
use poll::{Poll, Timer, Timers, Token};
use session::Session;

pub use setup::run;

/// The session of the container's init. It exists before the init does, so that clients can attach early.
const INIT: u32 = 0;

/// All state of the process.
struct Monitor {
    launch: Launch,
    poll: Poll,
    timers: Timers,
    listener: UnixListener,
    connections: BTreeMap<u32, Connection>,
    sessions: BTreeMap<u32, Session>,
    /// The number that the next connection or session gets.
    next: u32,
    status: Status,
    /// Set by the first start.
    container: Option<Container>,
    /// Set while the init runs.
    running: Option<Running>,
    execs: BTreeMap<String, Exec>,
    waiters: Vec<Waiter>,
    /// Connections that wait for the container to stop.
    stoppers: Vec<u32>,
    /// The connection whose end thaws the paused container.
    pause_holder: Option<u32>,
    restarts: Restarts,
    /// When the running health probe began.
    probe_began: Timestamp,
    /// Set while the clean-up of the last run goes on.
    cleanup: Option<Cleanup>,
    /// What is read from processes passes through here.
    buffer: Box<[u8]>,
}

/// What is kept over restarts.
struct Container {
    config: Config,
    netns: Option<OwnedFd>,
    /// The root file system for the first run; a restart mounts it anew.
    mounted: Option<OwnedFd>,
    /// Held open until the final exit.
    held: Vec<OwnedFd>,
    /// Answers questions for names.
    names: Option<dns::Server>,
    log: Option<Log>,
    /// The log could not be written; said once.
    log_failed: bool,
    /// The compiled filter of system calls, from the first further process on.
    filter: OnceCell<Program>,
}

/// What exists while the init runs.
struct Running {
    pid: i32,
    /// Which of its namespaces are not ours; looked at for the first further process.
    namespaces: OnceCell<runtime::Joined>,
    cgroup: Option<Cgroup>,
    oom: Option<OomEvents>,
    since: Instant,
}

/// Who waits, and for what.
struct Waiter {
    connection: u32,
    condition: Condition,
    /// It came when the container did not run: the end of the clean-up of the last run is not the exit it means.
    early: bool,
    /// It can be asked to clean up.
    cleans: bool,
}

/// A further process.
struct Exec {
    create: ExecCreate,
    /// Its number among all; older ones are forgotten first.
    order: u32,
    stage: Stage,
    /// Where its end is told.
    report: Option<OwnedFd>,
}

/// Where in its life a further process is.
enum Stage {
    Prepared,
    Running { session: u32, pid: i32 },
    Exited { exit_code: i32, pid: i32 },
}

/// Who cleans up after the last run.
enum Cleanup {
    /// A process of its own.
    Process { process: std::process::Child, pidfd: OwnedFd },
    /// A client that waits. It spares the process; if it goes before it is done, there is one after all.
    Client(u32),
}

impl Monitor {
    /// Serves until nobody needs this process any more.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            if self.is_idle() && !self.accept_all()? {
                return Ok(());
            }
            for (token, flags) in self.poll.wait(self.timers.until_next())? {
                self.dispatch(token, flags)?;
            }
            while let Some(timer) = self.timers.take_due() {
                self.time_up(timer);
            }
            self.settle_connections();
        }
    }

    fn dispatch(&mut self, token: Token, flags: EventFlags) -> io::Result<()> {
        match token {
            Token::Listener => drop(self.accept_all()?),
            Token::Connection(id) => self.connection_ready(id, flags),
            Token::Output(id, stream) => self.output_ready(id, stream),
            Token::Input(id) => self.input_ready(id, flags),
            Token::Process(id) => self.process_exited(id),
            Token::Cleanup => self.cleanup_ended(),
            Token::Oom => self.take_oom_events(),
            Token::Names => self.answer_questions(),
        }
        Ok(())
    }

    fn time_up(&mut self, timer: Timer) {
        match timer {
            Timer::Kill => self.kill_now(),
            Timer::Restart => self.restart_now(),
            Timer::Probe => self.start_probe(),
            Timer::ProbeTimeout => self.probe_took_too_long(),
            Timer::Drain(session) => self.stop_draining(session),
            Timer::Stall => self.look_for_stalled_clients(),
            Timer::Cleanup => self.cleanup_takes_long(),
            Timer::Settled => sys::daemon::drop_code(),
        }
    }

    /// Whether nothing keeps this process here.
    fn is_idle(&self) -> bool {
        !self.status.state.is_live() && self.cleanup.is_none() && self.connections.is_empty()
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}
