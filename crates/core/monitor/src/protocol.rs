//! What a client and a monitor say to each other over `monitor.sock`.
//!
//! A message is a 4-byte little-endian length and that many bytes of JSON, at most [`MAX_MESSAGE`]. The monitor speaks first:
//! [`Reply::Hello`] says that the connection is in its books, so that it will not leave before answering. Then the client
//! sends a request and the monitor answers with one reply (`Wait` with two), in order; the next request may follow.
//!
//! ```text
//!   client                               monitor
//!     │ ◄──────────────────────────────── Hello{version}
//!     │ Start{config} + descriptors ────► │
//!     │ ◄──────────────────────────────── Started{pid} | Failed
//!     │ Wait{next-exit} ────────────────► │
//!     │ ◄──────────────────────────────── Registered
//!     │ ◄──────────────────────────────── Exit{exit_code, error}          (when it happens)
//!     │ Attach{…} | ExecStart{…} ───────► │
//!     │ ◄──────────────────────────────── Attached{tty}
//!     │ ◄════════ raw stream ═══════════► │
//! ```
//!
//! After `Attached` the connection is Docker's hijacked stream: to the client, frames of [`crate::stdcopy`], or raw bytes
//! with a terminal; from the client raw standard input, whose end is a half-close. The monitor closes it when the process
//! has exited and all its output is through, or when the client typed its detach keys.
//!
//! A client that reads slowly slows the container down, as a pipe would: nothing is lost. One that has taken no byte at all
//! for 30 seconds does no longer hold the container up; from then on 8 MiB are kept for it, and with more it is cut off.
//!
//! Descriptors (SCM_RIGHTS) come with the first byte of `Start`: the network namespace first if `netns` says so, then the
//! UDP and the listening TCP socket of [`Config::dns`] if it is there, then sockets that are only held open until the final
//! exit (the reservations of published ports), last the detached mount of the root file system if `mounted` says so. The same two sockets come with `Names`. With an
//! `ExecStart` whose `report` says so comes a pipe, into which the monitor writes one `Exited` when the process has ended.

use std::io::{self, Read, Write};

use oci::runtime::{Process, Resources};
use serde::{Deserialize, Serialize};

use crate::{Config, Further, RestartPolicy, State, Status};

/// How many descriptors one message may carry: the kernel's bound. More come with the next byte.
pub(crate) const DESCRIPTORS: usize = 253;

/// The version of the protocol. A monitor outlives upgrades: variants and fields are added, never changed.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest message either side accepts.
pub const MAX_MESSAGE: usize = 16 << 20;

/// What a monitor must know before it can listen; the first message of its spawner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The container's id.
    pub id: String,
    /// `<root>/containers/<id>`: status and log.
    pub container_dir: std::path::PathBuf,
    /// The engine's run directory; the monitor's files are in `containers/<id>` below it.
    pub run_dir: std::path::PathBuf,
}

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Run the container. Fails with [`FailureKind::AlreadyRunning`] if it runs, with [`FailureKind::Busy`] while the
    /// clean-up of its last run goes on.
    Start {
        /// The container.
        config: Box<Config>,
        /// The first descriptor is the network namespace to run in.
        netns: bool,
        /// The last descriptor is the mount of the root file system.
        #[serde(default)]
        mounted: bool,
    },
    /// Become a stream to the container's stdio; also before it is started.
    Attach(Attach),
    /// Change the size of the container's terminal.
    Resize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// Send a signal to the container's init.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// Ask the container to stop, and kill it when it does not; answered when it has exited and is cleaned up. The caller must
    /// not hold a lock that the clean-up needs.
    Stop {
        /// Instead of the configured signal.
        signal: Option<i32>,
        /// Seconds, instead of the configured timeout; -1 waits for ever.
        timeout: Option<i64>,
    },
    /// Freeze all processes.
    Pause {
        /// Thaw them as soon as this connection ends, however it does.
        #[serde(default)]
        held: bool,
    },
    /// Thaw them.
    Unpause,
    /// Answer once with [`Reply::Registered`], then with [`Reply::Exit`].
    Wait {
        /// For what.
        condition: Condition,
        /// The client takes the clean-up upon itself if it is asked to by [`Reply::CleanUp`].
        #[serde(default)]
        cleans: bool,
    },
    /// The clean-up that [`Reply::CleanUp`] asked for is done. Answered by the [`Reply::Exit`] of the wait.
    CleanedUp {
        /// Why it could not be done, if it could not.
        #[serde(default)]
        error: Option<String>,
    },
    /// Say what a further process needs to know of the container.
    Further,
    /// Prepare a further process in the running container.
    ExecCreate(Box<ExecCreate>),
    /// Run a prepared process; becomes a stream unless `detach`.
    ExecStart(ExecStart),
    /// Change the size of a further process' terminal.
    ExecResize {
        /// Which.
        id: String,
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    },
    /// Describe a further process.
    ExecInspect {
        /// Which.
        id: String,
    },
    /// Change limits, the restart policy or both, now and for later restarts.
    Update {
        /// Whole new limits.
        resources: Option<Box<Resources>>,
        /// New policy.
        restart: Option<RestartPolicy>,
    },
    /// Answer the container's questions for names from now on, on the two sockets that come with this: it was connected to
    /// the first network that has names.
    Names {
        /// From what.
        config: dns::Config,
    },
    /// The container has a new name (an attribute of events).
    Rename {
        /// Without the leading slash.
        name: String,
    },
    /// Say how the container is.
    Status,
    /// The container was removed: answer those who wait for it.
    Removed,
}

/// A request to follow the container's stdio.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// Feed the container's standard input (nothing happens unless it was created with an open one).
    pub stdin: bool,
    /// Send its standard output (with a terminal: all output).
    pub stdout: bool,
    /// Send its standard error.
    pub stderr: bool,
    /// Docker's notation, for example `ctrl-p,ctrl-q`; `None` is that default. Only looked for with a terminal.
    pub detach_keys: Option<String>,
}

/// When a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// At once if the container does not run and its last run is cleaned up, else when that is so.
    NotRunning,
    /// At the next exit; if it is the last, when it is cleaned up.
    NextExit,
    /// When the container has been removed: by its clean-up if it is to remove itself, else by word of the engine.
    Removed,
}

/// A container towards its further processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhabited {
    /// Its name at the moment.
    pub name: String,
    /// How it is.
    pub state: State,
    /// Its init, in the engine's namespace; 0 unless it runs.
    pub pid: i32,
    /// As in [`Config::further`].
    pub further: Option<Further>,
}

/// A further process to prepare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCreate {
    /// Given by the engine (64 hexadecimal digits).
    pub id: String,
    /// What to run; users are already numbers.
    pub process: Process,
    /// A terminal instead of pipes.
    #[serde(default)]
    pub tty: bool,
    /// Its standard input will be fed.
    #[serde(default)]
    pub stdin: bool,
    /// Its standard output will be sent.
    #[serde(default)]
    pub stdout: bool,
    /// Its standard error will be sent.
    #[serde(default)]
    pub stderr: bool,
    /// As in [`Attach`].
    #[serde(default)]
    pub detach_keys: Option<String>,
    /// The user as asked for, kept for `ExecInspect`.
    #[serde(default)]
    pub user: String,
    /// Whether it was asked to be privileged, kept for `ExecInspect`.
    #[serde(default)]
    pub privileged: bool,
    /// Why it can't be run, if the engine knows: starting it fails with this and leaves exit code 126.
    #[serde(default)]
    pub refused: Option<String>,
}

/// A prepared process to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStart {
    /// Which.
    pub id: String,
    /// Without a stream: answered with [`Reply::Started`].
    #[serde(default)]
    pub detach: bool,
    /// First size of its terminal, (rows, columns).
    #[serde(default)]
    pub size: Option<(u16, u16)>,
    /// Whether its output comes without frames; `None` is as its terminal says.
    #[serde(default)]
    pub raw: Option<bool>,
    /// A descriptor has come to write [`Reply::Exited`] into.
    #[serde(default)]
    pub report: bool,
}

/// A further process as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// What it was prepared with.
    pub create: ExecCreate,
    /// Whether it runs now.
    pub running: bool,
    /// `None` until it has exited (or could not be started).
    pub exit_code: Option<i32>,
    /// In the engine's namespace; 0 until it runs.
    pub pid: i32,
}

/// What a monitor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The connection is accepted.
    Hello {
        /// [`PROTOCOL_VERSION`] of the monitor.
        version: u32,
    },
    /// It is done.
    Done,
    /// The process runs.
    Started {
        /// In the engine's namespace.
        pid: i32,
        /// What could not be granted and did not stop the start, one sentence each.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// From here on the connection is a stream.
    Attached {
        /// Whether the bytes are raw; `None` if the container has not been started yet.
        tty: Option<bool>,
    },
    /// The wait is noted; [`Reply::Exit`] follows.
    Registered,
    /// The container has ended: clean up after it, and say so with [`Request::CleanedUp`]. Comes before
    /// [`Reply::Exit`] to at most one of those who offered it; when that client goes, a process does it.
    CleanUp,
    /// What was waited for has happened.
    Exit(Exit),
    /// The answer to `Further`.
    Inhabited(Box<Inhabited>),
    /// The answer to `ExecInspect`.
    Exec(Box<ExecState>),
    /// How a further process has ended; goes where its `ExecStart` said.
    Exited {
        /// As in [`ExecState`].
        exit_code: i32,
        /// As in [`ExecState`].
        pid: i32,
    },
    /// The answer to `Status`.
    Status(Box<Status>),
    /// It could not be done.
    Failed(Failure),
}

/// How a wait ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code of the container.
    pub exit_code: i32,
    /// Why the container could not be removed, if it could not.
    #[serde(default)]
    pub error: Option<String>,
}

/// Why a request could not be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Of what kind.
    pub kind: FailureKind,
    /// The whole chain of causes, joined by `: `.
    pub message: String,
    /// Of a failed start: 127 command not found, 126 not executable, 128 anything else.
    #[serde(default)]
    pub exit_code: Option<i32>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The container does not run.
    NotRunning,
    /// It runs already.
    AlreadyRunning,
    /// It is paused, or not paused.
    Paused,
    /// The clean-up of the last run goes on. The caller gives up the container's lock, for which the clean-up may be
    /// waiting, awaits [`Condition::NotRunning`], and tries again.
    Busy,
    /// No such further process.
    NoSuchExec,
    /// The further process was started before, or its id is taken.
    ExecConflict,
    /// The request makes no sense.
    Invalid,
    /// The container or the further process could not be started; `exit_code` says more.
    Start,
    /// Something else.
    System,
}

/// How a message fails to arrive.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed.
    #[error("exchange message")]
    Io(#[from] io::Error),
    /// The other side has gone.
    #[error("connection closed by the other side")]
    Closed,
    /// More than [`MAX_MESSAGE`] bytes.
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
    /// Not a message of this protocol.
    #[error("parse message")]
    Parse(#[source] serde_json::Error),
}

/// A message as bytes, length included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Parse)?;
    let size = frame.len() - 4;
    let length =
        u32::try_from(size).ok().filter(|_| size <= MAX_MESSAGE).ok_or(FrameError::TooLarge(size))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// How many bytes follow a header.
pub fn body_length(header: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_MESSAGE { Err(FrameError::TooLarge(length)) } else { Ok(length) }
}

/// A message from its body, without the length.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(FrameError::Parse)
}

/// Reads one message, and not a byte more.
pub fn read<T: for<'a> Deserialize<'a>>(stream: &mut impl Read) -> Result<T, FrameError> {
    let mut header = [0; 4];
    read_exact(stream, &mut header)?;
    let mut body = vec![0; body_length(header)?];
    read_exact(stream, &mut body)?;
    decode(&body)
}

/// Writes one message.
pub fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), FrameError> {
    Ok(stream.write_all(&encode(message)?)?)
}

fn read_exact(stream: &mut impl Read, buffer: &mut [u8]) -> Result<(), FrameError> {
    stream.read_exact(buffer).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => FrameError::Closed,
        _ => FrameError::Io(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_way() {
        let start =
            ExecStart { id: "abc".into(), detach: true, size: Some((24, 80)), ..ExecStart::default() };
        let request = Request::ExecStart(start);
        let frame = encode(&request).unwrap();
        let back: Request = read(&mut frame.as_slice()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
    }

    #[test]
    fn a_reply_is_read_without_touching_the_stream_behind_it() {
        let mut bytes = encode(&Reply::Attached { tty: Some(false) }).unwrap();
        bytes.extend_from_slice(b"stream");
        let mut rest = bytes.as_slice();
        let reply: Reply = read(&mut rest).unwrap();
        assert!(matches!(reply, Reply::Attached { tty: Some(false) }));
        assert_eq!(rest, b"stream");
    }

    #[test]
    fn a_hostile_length_is_refused_before_it_is_allocated() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff];
        assert!(matches!(read::<Reply>(&mut bytes), Err(FrameError::TooLarge(_))));
    }

    #[test]
    fn a_torn_message_is_a_closed_connection() {
        let frame = encode(&Reply::Done).unwrap();
        assert!(matches!(read::<Reply>(&mut &frame[..frame.len() - 1]), Err(FrameError::Closed)));
    }
}
