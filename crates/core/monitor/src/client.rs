//! How an engine reaches a container's monitor.
//!
//! [`ensure`] gives a connection, spawning a monitor if there is none; [`connect`] only looks. Calls block; each says how
//! long. What is to be awaited asynchronously hands out its socket: [`Connection::attach`], [`Connection::exec_attach`] and
//! [`Waiting::into_stream`].
//!
//! A monitor that leaves closes its listener first and greets every connection that it accepted, so a connection without
//! a greeting met a leaving monitor, and the client tries again: no request is ever lost between two monitors.

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use oci::runtime::Resources;

use crate::protocol::{
    self, Attach, Condition, ExecCreate, ExecStart, ExecState, Exit, Failure, FailureKind, FrameError,
    Inhabited, Launch, PROTOCOL_VERSION, Reply, Request,
};
use crate::{Config, RestartPolicy, Status, StatusError, place};

/// How long [`ensure`] lets an old monitor take to leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a monitor may take to greet.
const GREETING: Duration = Duration::from_secs(10);
/// Between two looks at a monitor that is about to leave.
const PAUSE: Duration = Duration::from_millis(5);

/// How talking to a monitor fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The monitor process could not be started.
    #[error("spawn monitor of container {id}")]
    Spawn {
        /// The container.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The monitor's socket could not be reached.
    #[error("connect to monitor at {path}")]
    Connect {
        /// The container's directory below the run directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An old monitor neither serves nor leaves.
    #[error("monitor of container {0} neither answers nor leaves")]
    Stuck(String),
    /// The exchange broke off.
    #[error("talk to monitor")]
    Frame(#[from] FrameError),
    /// The monitor said something out of turn.
    #[error("unexpected reply of monitor: {0}")]
    Unexpected(String),
    /// A monitor from the future.
    #[error("monitor speaks protocol version {0}, this program version {PROTOCOL_VERSION}")]
    Version(u32),
    /// The monitor could not do it.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A connection to a monitor. The monitor stays while it is open.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// Whether the greeting is still to come.
    ungreeted: bool,
}

/// A wait that the monitor has noted.
#[derive(Debug)]
pub struct Waiting {
    stream: UnixStream,
}

/// A process that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// In the caller's namespace.
    pub pid: i32,
    /// What could not be granted and did not stop the start, one sentence each.
    pub warnings: Vec<String>,
}

/// What is known of a container without asking its monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The status; of a lost container as [`Status::lost`] makes it.
    pub status: Status,
    /// Whether a monitor is there.
    pub alive: bool,
    /// The monitor was killed while the container ran: nobody has cleaned up after it.
    pub lost: bool,
}

/// Whether the container's monitor lives. Two system calls.
pub fn is_alive(run_dir: &Path, id: &str) -> bool {
    let Ok(lock) = rustix::fs::open(
        place::directory(run_dir, id).join(place::LOCK),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return false;
    };
    matches!(rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}

/// The container's status as recorded, corrected if its monitor was killed; `None` if it never had a monitor.
pub fn observe(container_dir: &Path, run_dir: &Path, id: &str) -> Result<Option<Observed>, StatusError> {
    let alive = is_alive(run_dir, id);
    let own_run_dir = place::directory(run_dir, id);
    let Some(status) = Status::read(container_dir, &own_run_dir)? else { return Ok(None) };
    if alive || !status.state.is_live() {
        return Ok(Some(Observed { status, alive, lost: false }));
    }
    // The status may have been read before, and the lock tried after, a monitor began or ended; look once more.
    let alive = is_alive(run_dir, id);
    let status = Status::read(container_dir, &own_run_dir)?.unwrap_or(status);
    let lost = !alive && status.state.is_live() && !is_alive(run_dir, id);
    let status = if lost { status.lost() } else { status };
    Ok(Some(Observed { status, alive, lost }))
}

/// A connection to the container's monitor, which is the `spare` one or spawned if there is none, and then also the process
/// to be reaped when it ends. Milliseconds; seconds only behind a monitor that is leaving.
pub fn ensure(
    exe: &Path,
    launch: &Launch,
    mut spare: Option<Spare>,
) -> Result<(Connection, Option<Child>), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // What has a spare one is new, and has no other.
        let spawned = match spare.take() {
            Some(spare) => spare.launch(launch),
            None => match connect(&launch.run_dir, &launch.id)? {
                Some(connection) => return Ok((connection, None)),
                None => spawn(exe, launch),
            },
        };
        match spawned {
            Err(Error::Failed(Failure { kind: FailureKind::Busy, .. })) => {}
            result => return result.map(|(connection, process)| (connection, Some(process))),
        }
        if Instant::now() > deadline {
            return Err(Error::Stuck(launch.id.clone()));
        }
        std::thread::sleep(PAUSE);
    }
}

/// A connection to the container's monitor, or `None` if it has none.
pub fn connect(run_dir: &Path, id: &str) -> Result<Option<Connection>, Error> {
    match dial(run_dir, id)? {
        Some(stream) => greeted(stream),
        None => Ok(None),
    }
}

/// A connection to the monitor of a container that runs, as it seems, or `None` if it has none. Nothing is awaited: the
/// greeting is read together with the first answer. A monitor that leaves instead of answering is [`FailureKind::NotRunning`].
pub fn reach(run_dir: &Path, id: &str) -> Result<Option<Connection>, Error> {
    Ok(dial(run_dir, id)?.map(|stream| Connection { stream, ungreeted: true }))
}

/// The id of the container of this name, if it runs: to be compared with the name that it says that it has.
pub fn running(run_dir: &Path, name: &str) -> Option<String> {
    let link = std::fs::read_link(place::name(run_dir, name)?).ok()?;
    link.into_os_string().into_string().ok()
}

/// Forgets the name of a container whose monitor was killed.
pub fn forget_name(run_dir: &Path, name: &str, id: &str) {
    if let Some(link) = place::name(run_dir, name) {
        place::forget_name(&link, id);
    }
}

/// The process of the container's monitor, as a pidfd that is readable once it has ended; `None` if it has none.
pub fn process(run_dir: &Path, id: &str) -> Result<Option<OwnedFd>, Error> {
    let failed = |source| Error::Connect { path: place::directory(run_dir, id), source };
    let Some(mut connection) = connect(run_dir, id)? else { return Ok(None) };
    let peer = rustix::net::sockopt::socket_peercred(&connection.stream);
    let peer = peer.map_err(|error| failed(error.into()))?;
    let Some(process) = sys::process::open(peer.pid).map_err(failed)? else { return Ok(None) };
    // Who answers afterwards had this number before: it is nobody else's.
    match connection.status() {
        Ok(_) => Ok(Some(process)),
        Err(Error::Frame(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

fn dial(run_dir: &Path, id: &str) -> Result<Option<UnixStream>, Error> {
    let path = place::directory(run_dir, id);
    match place::connect(&path) {
        Ok(stream) => Ok(Some(stream)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(source) => Err(Error::Connect { path, source }),
    }
}

/// Starts a monitor and gives the first connection to it. Fails with [`FailureKind::Busy`] if there is one already.
pub fn spawn(exe: &Path, launch: &Launch) -> Result<(Connection, Child), Error> {
    Spare::spawn(exe, &launch.id)?.launch(launch)
}

/// The process of a monitor to be, which comes up while its container is being made and touches nothing until it is
/// launched. It ends when this is dropped.
#[derive(Debug)]
pub struct Spare {
    stream: UnixStream,
    process: Child,
}

impl Spare {
    /// Starts the process. What it is a parent of is the caller's to reap.
    pub fn spawn(exe: &Path, id: &str) -> Result<Spare, Error> {
        let failed = |source| Error::Spawn { id: id.to_owned(), source };
        let (stream, theirs) = UnixStream::pair().map_err(failed)?;
        // The container's processes are copies of the monitor until they execute their program: it runs from a mount that
        // none of them can write to (CVE-2019-5736).
        let program = sys::exe::readonly(exe).map_err(failed)?;
        let path = program.as_ref().map_or_else(|| exe.to_owned(), sys::exe::path_of);
        let mut command = Command::new(path);
        let process = sys::daemon::with_files_as_before(&mut command)
            .arg0(exe)
            .arg("monitor")
            .arg(id)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Spare { stream, process })
    }

    /// Tells the process whose monitor it is.
    pub fn launch(mut self, launch: &Launch) -> Result<(Connection, Child), Error> {
        let sent = protocol::write(&mut self.stream, launch);
        let failed = match greeted(self.stream) {
            Ok(Some(connection)) => return Ok((connection, self.process)),
            Ok(None) => {
                let source = io::Error::other("the monitor ended before it was ready");
                sent.map_err(Error::from).and(Err(Error::Spawn { id: launch.id.clone(), source }))
            }
            Err(e) => Err(e),
        };
        // What has no connection ends.
        let _ = self.process.wait();
        failed
    }
}

fn greeted(mut stream: UnixStream) -> Result<Option<Connection>, Error> {
    let greeting = greeting(&mut stream)?;
    Ok(greeting.map(|()| Connection { stream, ungreeted: false }))
}

/// Reads the greeting; `None` from a monitor that leaves.
fn greeting(stream: &mut UnixStream) -> Result<Option<()>, Error> {
    stream.set_read_timeout(Some(GREETING)).map_err(FrameError::Io)?;
    let reply = match protocol::read(stream) {
        Err(FrameError::Closed) => return Ok(None),
        reply => reply?,
    };
    stream.set_read_timeout(None).map_err(FrameError::Io)?;
    match reply {
        Reply::Hello { version } if version <= PROTOCOL_VERSION => Ok(Some(())),
        Reply::Hello { version } => Err(Error::Version(version)),
        Reply::Failed(failure) => Err(failure.into()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> Error {
    Error::Unexpected(format!("{reply:?}"))
}

impl Connection {
    /// Runs the container in `netns` (its own spec's namespaces if `None`), the first time on `mounted`, the mount of its
    /// root file system (made from the configuration if `None`); `held` stay open until its final exit. The first two of
    /// these are the UDP and the TCP socket of [`Config::dns`], if it is there.
    ///
    /// On [`FailureKind::Busy`] give up the container's lock, await [`Condition::NotRunning`], and try again.
    pub fn start(
        &mut self,
        config: &Config,
        netns: Option<BorrowedFd<'_>>,
        held: &[BorrowedFd<'_>],
        mounted: Option<BorrowedFd<'_>>,
    ) -> Result<Started, Error> {
        let descriptors: Vec<BorrowedFd<'_>> = netns.iter().chain(held).chain(&mounted).copied().collect();
        let (netns, mounted) = (netns.is_some(), mounted.is_some());
        let request = Request::Start { config: Box::new(config.clone()), netns, mounted };
        send_with(&mut self.stream, &protocol::encode(&request)?, &descriptors).map_err(FrameError::Io)?;
        match self.receive()? {
            Reply::Started { pid, warnings } => Ok(Started { pid, warnings }),
            other => Err(unexpected(&other)),
        }
    }

    /// Becomes the stream to the container's stdio. The second value is whether it is raw; `None` before the start.
    pub fn attach(mut self, attach: Attach) -> Result<(UnixStream, Option<bool>), Error> {
        match self.call(&Request::Attach(attach))? {
            Reply::Attached { tty } => Ok((self.stream, tty)),
            other => Err(unexpected(&other)),
        }
    }

    /// Registers a wait; returns as soon as it is noted.
    pub fn wait(self, condition: Condition) -> Result<Waiting, Error> {
        self.register(condition, false)
    }

    /// Registers a wait of somebody who also cleans up when asked to by [`Reply::CleanUp`].
    pub fn wait_to_clean(self, condition: Condition) -> Result<Waiting, Error> {
        self.register(condition, true)
    }

    fn register(mut self, condition: Condition, cleans: bool) -> Result<Waiting, Error> {
        match self.call(&Request::Wait { condition, cleans })? {
            Reply::Registered => Ok(Waiting { stream: self.stream }),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops the container; returns when it has exited and is cleaned up, which with a timeout of -1 may be never. The
    /// caller must not hold a lock that the clean-up needs.
    pub fn stop(&mut self, signal: Option<i32>, timeout: Option<i64>) -> Result<(), Error> {
        self.done(&Request::Stop { signal, timeout })
    }

    /// Sends a signal to the container's init.
    pub fn signal(&mut self, signal: i32) -> Result<(), Error> {
        self.done(&Request::Signal { signal })
    }

    /// Changes the size of the container's terminal.
    pub fn resize(&mut self, height: u16, width: u16) -> Result<(), Error> {
        self.done(&Request::Resize { height, width })
    }

    /// Freezes the container.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.done(&Request::Pause { held: false })
    }

    /// Freezes the container for as long as this connection is open, so that the death of its owner thaws it.
    pub fn pause_held(&mut self) -> Result<(), Error> {
        self.done(&Request::Pause { held: true })
    }

    /// Thaws the container.
    pub fn unpause(&mut self) -> Result<(), Error> {
        self.done(&Request::Unpause)
    }

    /// Changes limits, the restart policy or both.
    pub fn update(
        &mut self,
        resources: Option<Resources>,
        restart: Option<RestartPolicy>,
    ) -> Result<(), Error> {
        self.done(&Request::Update { resources: resources.map(Box::new), restart })
    }

    /// Has the container's questions for names answered that come to a UDP and a listening TCP socket.
    pub fn names(&mut self, config: &dns::Config, sockets: [BorrowedFd<'_>; 2]) -> Result<(), Error> {
        let request = Request::Names { config: config.clone() };
        send_with(&mut self.stream, &protocol::encode(&request)?, &sockets).map_err(FrameError::Io)?;
        match self.receive()? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells the container's new name.
    pub fn rename(&mut self, name: &str) -> Result<(), Error> {
        self.done(&Request::Rename { name: name.to_owned() })
    }

    /// Tells that the container was removed.
    pub fn removed(&mut self) -> Result<(), Error> {
        self.done(&Request::Removed)
    }

    /// The status as the monitor knows it.
    pub fn status(&mut self) -> Result<Status, Error> {
        match self.call(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// The container towards a further process; `None` if its monitor is older than that question, or was not told.
    pub fn inhabited(&mut self) -> Result<Option<Inhabited>, Error> {
        match self.call(&Request::Further) {
            Ok(Reply::Inhabited(inhabited)) => Ok(Some(*inhabited)),
            Ok(other) => Err(unexpected(&other)),
            Err(Error::Failed(Failure { kind: FailureKind::Invalid, .. })) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Prepares a further process.
    pub fn exec_create(&mut self, create: ExecCreate) -> Result<(), Error> {
        self.done(&Request::ExecCreate(Box::new(create)))
    }

    /// Runs a prepared process and becomes the stream to its stdio; without `raw` as is usual, which is unframed if it
    /// has a terminal.
    pub fn exec_attach(
        mut self,
        id: &str,
        size: Option<(u16, u16)>,
        raw: Option<bool>,
    ) -> Result<UnixStream, Error> {
        let start = ExecStart { id: id.to_owned(), size, raw, ..ExecStart::default() };
        match self.call(&Request::ExecStart(start))? {
            Reply::Attached { .. } => Ok(self.stream),
            other => Err(unexpected(&other)),
        }
    }

    /// Prepares a further process, runs it and becomes the stream to its stdio, all by one message. When it has ended the
    /// monitor writes [`Reply::Exited`] into `report`, and after that closes the stream; one that is older than this closes
    /// `report` without a word.
    pub fn exec_run(
        mut self,
        create: ExecCreate,
        start: ExecStart,
        report: BorrowedFd<'_>,
    ) -> Result<UnixStream, Error> {
        let mut frames = protocol::encode(&Request::ExecCreate(Box::new(create)))?;
        frames.extend(protocol::encode(&Request::ExecStart(ExecStart { report: true, ..start }))?);
        let written = send_with(&mut self.stream, &frames, &[report]).map_err(FrameError::Io);
        self.greeted()?;
        written?;
        match self.receive()? {
            Reply::Done => {}
            other => return Err(unexpected(&other)),
        }
        match self.receive()? {
            Reply::Attached { .. } => Ok(self.stream),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a prepared process without a stream.
    pub fn exec_detached(&mut self, id: &str) -> Result<Started, Error> {
        let start = ExecStart { id: id.to_owned(), detach: true, ..ExecStart::default() };
        match self.call(&Request::ExecStart(start))? {
            Reply::Started { pid, warnings } => Ok(Started { pid, warnings }),
            other => Err(unexpected(&other)),
        }
    }

    /// Changes the size of a further process' terminal.
    pub fn exec_resize(&mut self, id: &str, height: u16, width: u16) -> Result<(), Error> {
        self.done(&Request::ExecResize { id: id.to_owned(), height, width })
    }

    /// Describes a further process.
    pub fn exec_inspect(&mut self, id: &str) -> Result<ExecState, Error> {
        match self.call(&Request::ExecInspect { id: id.to_owned() })? {
            Reply::Exec(state) => Ok(*state),
            other => Err(unexpected(&other)),
        }
    }

    fn done(&mut self, request: &Request) -> Result<(), Error> {
        match self.call(request)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn call(&mut self, request: &Request) -> Result<Reply, Error> {
        let written = protocol::write(&mut self.stream, request);
        self.greeted()?;
        written?;
        self.receive()
    }

    /// Reads the greeting where that was left to the first answer.
    fn greeted(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.ungreeted) && greeting(&mut self.stream)?.is_none() {
            let message = "container is not running".to_owned();
            return Err(Failure { kind: FailureKind::NotRunning, message, exit_code: None }.into());
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Reply, Error> {
        match protocol::read(&mut self.stream)? {
            Reply::Failed(failure) => Err(failure.into()),
            reply => Ok(reply),
        }
    }
}

impl Waiting {
    /// Blocks until it has happened.
    pub fn join(mut self) -> Result<Exit, Error> {
        match protocol::read(&mut self.stream)? {
            Reply::Exit(exit) => Ok(exit),
            Reply::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// The socket, whose next message is [`Reply::Exit`], or [`Reply::CleanUp`] to who offered it: for a caller that waits
    /// asynchronously, with [`protocol::body_length`] and [`protocol::decode`]. End of file means that the monitor was
    /// killed.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// Sends a frame whose first bytes carry descriptors, each as many as the kernel allows.
fn send_with(stream: &mut UnixStream, mut frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut portions = descriptors.chunks(protocol::DESCRIPTORS).peekable();
    while let Some(portion) = portions.next() {
        let bytes = if portions.peek().is_some() { 1 } else { frame.len() };
        let sent = send_some(stream, &frame[..bytes.min(frame.len())], portion)?;
        frame = &frame[sent..];
    }
    stream.write_all(frame)
}

/// Sends the beginning of `bytes` with descriptors.
fn send_some(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![std::mem::MaybeUninit::uninit(); rights.size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(rights) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    Ok(rustix::net::sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}
