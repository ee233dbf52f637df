//! From `dhow monitor` to a serving process.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::epoll::EventFlags;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::connection::Connection;
use super::notices::note;
use super::poll::{Poll, Timers, Token};
use super::session::{Owner, Session};
use super::{INIT, Monitor};
use crate::place;
use crate::protocol::{self, Failure, FailureKind, Launch, Reply};
use crate::restart::Restarts;
use crate::status::{Status, StatusError};

/// How often the lock is tried, as one who only looks holds it for a moment, and the pause between.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(1);
/// How much is read from a process at once.
const BUFFER: usize = 16 * 1024;

/// Signals that may reach this process from a terminal, a session's end or a shutdown. It outlives them all: at a shutdown
/// the container gets its own signal, and its end must be recorded.
const DISREGARDED: [i32; 8] = [1, 2, 3, 10, 12, 13, 14, 15];

/// Why a monitor did not come up.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{attempt}")]
    Call {
        attempt: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("open {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("read launch message")]
    Launch(#[from] protocol::FrameError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("container {0} has a monitor")]
    Taken(String),
}

fn call(attempt: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Call { attempt, source }
}

/// The whole life of a monitor process. Standard input is the socket to its spawner, see [`crate::client::spawn`]. To be
/// called before the program has opened a descriptor or started a thread.
pub fn run() -> ExitCode {
    sys::daemon::close_inherited();
    // The kernel has named it by the descriptor that it was executed through.
    let _ = rustix::thread::set_name(c"dhow");
    let Ok(mut spawner) = take_socket() else {
        note(format_args!(
            "dhow monitor: standard input is not a socket; this command is for the engine only\n"
        ));
        return ExitCode::from(2);
    };
    let monitor = match set_up(&mut spawner) {
        Ok(monitor) => monitor,
        Err(e) => {
            let kind = if matches!(e, Error::Taken(_)) { FailureKind::Busy } else { FailureKind::System };
            let failure = Failure { kind, message: crate::chain(&e), exit_code: None };
            // Nobody is left to tell if the spawner has gone.
            let _ = protocol::write(&mut spawner, &Reply::Failed(failure));
            return ExitCode::FAILURE;
        }
    };
    serve(monitor, spawner)
}

fn serve((mut monitor, lock): (Monitor, OwnedFd), spawner: UnixStream) -> ExitCode {
    let result = Connection::new(spawner).and_then(|connection| {
        monitor.welcome(connection)?;
        monitor.serve()
    });
    // The socket's name goes before the lock: after it, the name is the next monitor's.
    let directory = place::directory(&monitor.launch.run_dir, &monitor.launch.id);
    drop(monitor);
    let _ = std::fs::remove_file(directory.join(place::SOCKET));
    drop(lock);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            note(format_args!("dhow monitor: {e}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Moves the socket away from standard input, which becomes `/dev/null`.
fn take_socket() -> io::Result<UnixStream> {
    let socket = rustix::stdio::stdin().try_clone_to_owned()?;
    rustix::net::sockopt::socket_type(&socket)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(UnixStream::from(socket))
}

fn set_up(spawner: &mut UnixStream) -> Result<(Monitor, OwnedFd), Error> {
    // The spawner reaps this process, if it is still there: a parent that goes leaves it to whoever adopts orphans.
    rustix::process::setsid().map_err(|e| call("leave the spawner's session")(e.into()))?;
    rustix::process::chdir("/").map_err(|e| call("leave the spawner's directory")(e.into()))?;
    sys::signal::disregard(&DISREGARDED).map_err(call("disregard signals"))?;
    // Each published port is a descriptor.
    sys::daemon::raise_files().map_err(call("raise the limit of open files"))?;
    leave_cgroup();
    let launch: Launch = protocol::read(spawner)?;
    let path = place::directory(&launch.run_dir, &launch.id);
    let directory = make_directory(&path).map_err(|source| Error::Open { path: path.clone(), source })?;
    let lock = lock(&directory, &launch)?;
    redirect_errors(&directory).map_err(|source| Error::Open { path: path.join(place::ERRORS), source })?;
    let status = Status::read(&launch.container_dir, &path)?.unwrap_or_default();
    let status = if status.state.is_live() { bury(&status, &launch)? } else { status };
    match rustix::fs::unlinkat(&directory, place::SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(Error::Open { path: path.join(place::SOCKET), source: e.into() }),
    }
    // Nobody may connect between bind and chmod either.
    rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener =
        place::listen(&directory).map_err(|source| Error::Open { path: path.join(place::SOCKET), source })?;
    // What the container and the clean-up inherit.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    listener.set_nonblocking(true).map_err(call("set up the socket"))?;
    let poll = Poll::new().map_err(call("create an epoll instance"))?;
    poll.add(&listener, Token::Listener, EventFlags::IN).map_err(call("watch the socket"))?;
    let monitor = Monitor {
        launch,
        poll,
        timers: Timers::default(),
        listener,
        connections: Default::default(),
        sessions: [(INIT, Session::new(Owner::Init))].into(),
        next: INIT,
        status,
        container: None,
        running: None,
        execs: Default::default(),
        waiters: Vec::new(),
        stoppers: Vec::new(),
        pause_holder: None,
        restarts: Restarts::default(),
        probe_began: Timestamp::UNIX_EPOCH,
        cleanup: None,
        buffer: vec![0; BUFFER].into_boxed_slice(),
    };
    Ok((monitor, lock))
}

/// We hold the lock, so whoever wrote that the container lives is dead, and the container with it. From now on a monitor is
/// there again, so the file must not say so any more.
fn bury(status: &Status, launch: &Launch) -> Result<Status, StatusError> {
    let status = status.lost();
    status.write(&launch.container_dir, true)?;
    Ok(status)
}

fn make_directory(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    place::open(path)
}

fn lock(directory: &OwnedFd, launch: &Launch) -> Result<OwnedFd, Error> {
    let failed = |e: Errno| Error::Call { attempt: "lock the container's monitor", source: e.into() };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, place::LOCK, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    for _ in 0..LOCK_ATTEMPTS {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(e) => return Err(failed(e)),
        }
    }
    Err(Error::Taken(launch.id.clone()))
}

fn redirect_errors(directory: &OwnedFd) -> io::Result<()> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, place::ERRORS, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(rustix::stdio::dup2_stderr(File::from(file).as_fd())?)
}

/// Leaves the session's control group for one of our own, where there is a session manager: it would kill this process when
/// its spawner's session or service ends. Where that is not permitted we stay.
fn leave_cgroup() {
    let Ok(memberships) = std::fs::read_to_string("/proc/self/cgroup") else { return };
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mounts: &[&str] = match controllers {
            "" => &["/sys/fs/cgroup/unified", "/sys/fs/cgroup"],
            "name=systemd" => &["/sys/fs/cgroup/systemd"],
            _ => continue,
        };
        let mount = mounts.iter().map(Path::new).find(|mount| mount.join("cgroup.procs").exists());
        if let Some(mount) = mount.filter(|_| path != "/") {
            let group = mount.join("dhow-monitors");
            let _ = std::fs::create_dir(&group);
            let _ = std::fs::write(group.join("cgroup.procs"), std::process::id().to_string());
        }
    }
}
