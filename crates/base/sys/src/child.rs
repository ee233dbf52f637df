//! A process made by one `clone3`, which walks a plan of [`Step`]s up to `execve`.
//!
//! Between clone and exec the child is a copy of a process that may have threads, so it may not allocate,
//! lock or panic: it runs [`Step`]s that hold all their memory already. Parent and child share one
//! SOCK_SEQPACKET pair, both ends close-on-exec:
//!
//! ```text
//! parent                              child
//!   | clone3 ------------------------> | waits
//!   | (id maps, cgroup, oom score)     |
//!   | Go{pid} -----------------------> | steps …
//!   | <------------------ Warning{…} * |
//!   | <------- Master + SCM_RIGHTS ? * |
//!   | <------------------- Listener ?  | waits
//!   | Continue ----------------------> |
//!   | <----------------------- Sync ?  | waits
//!   | Continue ----------------------> |
//!   | <----------------------- Ready   | waits
//!   | Continue ----------------------> | execve
//!   | <------------------ end of file  |   done
//! ```
//! With [`Step::Move`] another process goes on in the first one's place, and says so by `Moved{pid}`.
//! With [`Step::Unasked`] the child begins by itself, and of all this only its own warnings and the end of file are left.
//! At any place the child may send `Failed{step, errno, text}` instead and exit. When the parent is gone it
//! exits too.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};

mod credentials;
mod files;
mod hook;
mod look_path;
mod moved;
mod run;
mod step;
mod terminal;

pub use step::{
    Argv, CapabilityMasks, Credentials, HookStep, MountSource, MountStep, NodeStep, RemountStep,
    SECCOMP_NEW_LISTENER, SLOTS, SchedAttr, Step, Target,
};

/// The longest text that a message carries.
const TEXT: usize = 100;

/// What the child says.
#[derive(Debug)]
pub enum Message {
    /// The step with this index failed; `text` is what the kernel had to say about it.
    Failed { step: usize, errno: i32, text: String },
    /// The step with this index was done in part.
    Warning { step: usize, errno: i32 },
    /// The master of the terminal.
    Master(OwnedFd),
    /// The listener of a filter, which [`Child::take_fd`] gets by this number while the child waits. By number, because
    /// the filter may already hold up the calls that descriptors are sent with.
    Listener(i32),
    /// The child waits in [`Step::Sync`].
    Sync,
    /// The child waits in [`Step::Ready`].
    Ready,
    /// Another process, with this number, goes on in the child's place: see [`Child::moved`].
    Moved(i32),
    /// The child has executed its program, or it is dead.
    End,
}

const FAILED: u8 = 1;
const WARNING: u8 = 2;
const MASTER: u8 = 3;
const SYNC: u8 = 4;
const READY: u8 = 5;
const LISTENER: u8 = 6;
const MOVED: u8 = 7;

/// A process to make.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Namespaces to make, of `CLONE_NEW*`.
    pub namespaces: u64,
    /// A user namespace to be born in: it will own the namespaces that are made. A process of its own enters it first,
    /// clones for us, and is gone.
    pub user: Option<BorrowedFd<'a>>,
    /// A cgroup v2 directory to be born in (Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    pub steps: &'a [Step],
}

/// A process on its way to `execve`. Dropping it kills and reaps the process, unless [`Child::release`] was
/// called.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: Option<OwnedFd>,
    control: OwnedFd,
}

/// The kernel's `struct clone_args` (88 bytes, version 2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Makes the process. It waits for [`Child::go`] before its first step.
pub fn spawn(request: &Spawn<'_>) -> io::Result<Child> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: request.namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let blocked = BlockedSignals::all()?;
    if let Some(user) = request.user {
        args.flags |= libc::CLONE_PARENT as u64;
        args.exit_signal = 0;
        let ends = [theirs.as_raw_fd(), ours.as_raw_fd()];
        let (pid, pidfd) = within(user, &mut args, &mut pidfd, ends, request.steps)?;
        return Ok(Child { pid, pidfd: Some(pidfd), control: ours });
    }
    // SAFETY: without CLONE_VM the child has its own copy of the memory and this stack. It calls `run::child`
    // only, which makes system calls on memory that exists already and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid == 0 {
        run::child(theirs.as_raw_fd(), ours.as_raw_fd(), request.steps);
    }
    let failure = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(failure);
    }
    // SAFETY: CLONE_PIDFD has stored a new descriptor here, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: pid as i32, pidfd: Some(pidfd), control: ours })
}

/// Clones from within a user namespace. The process in between shares our table of descriptors, which is how the pidfd gets
/// to us; the child is ours by CLONE_PARENT.
fn within(
    user: BorrowedFd<'_>,
    args: &mut CloneArgs,
    pidfd: &mut libc::c_int,
    [theirs, ours]: [RawFd; 2],
    steps: &[Step],
) -> io::Result<(i32, OwnedFd)> {
    let (answer, said) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut between: libc::c_int = -1;
    let first = CloneArgs {
        flags: (libc::CLONE_PIDFD | libc::CLONE_FILES) as u64,
        pidfd: &raw mut between as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: as in `spawn`: copies of memory and stack, and system calls on what exists already.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const first, size_of::<CloneArgs>()) };
    if pid == 0 {
        let result = (|| {
            // SAFETY: numbers only.
            run::check(unsafe { libc::syscall(libc::SYS_setns, user.as_raw_fd(), libc::CLONE_NEWUSER) })?;
            // SAFETY: as above, for the child itself.
            match run::check(unsafe {
                libc::syscall(libc::SYS_clone3, &raw const *args, size_of::<CloneArgs>())
            })? {
                0 => run::child(theirs, ours, steps),
                pid => Ok([pid as i32, *pidfd]),
            }
        })();
        let words = result.unwrap_or_else(|errno: Errno| [-errno.raw_os_error(), -1]);
        let [[a, b, c, d], [e, f, g, h]] = words.map(i32::to_ne_bytes);
        let _ = rustix::io::write(&said, &[a, b, c, d, e, f, g, h]);
        run::exit();
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: CLONE_PIDFD has stored a new descriptor here, which nobody else owns.
    let between = unsafe { OwnedFd::from_raw_fd(between) };
    wait(between.as_fd())?;
    let mut bytes = [0u8; 8];
    rustix::fs::fcntl_setfl(&answer, rustix::fs::OFlags::NONBLOCK)?;
    if rustix::io::read(&answer, &mut bytes)? != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let [a, b, c, d, e, f, g, h] = bytes;
    let (pid, pidfd) = (i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
    if pid < 0 {
        return Err(io::Error::from_raw_os_error(-pid));
    }
    // SAFETY: the kernel has put this descriptor into our table, and nobody else knows of it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

impl Child {
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets the first step begin.
    pub fn go(&self) -> io::Result<()> {
        self.send(&self.pid.to_ne_bytes())
    }

    /// Lets a child go on that has said [`Message::Sync`] or [`Message::Ready`].
    pub fn proceed(&self) -> io::Result<()> {
        self.send(&[1])
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match rustix::net::send(&self.control, bytes, SendFlags::NOSIGNAL) {
            // It is gone; what it said last, or the end of file, tells more.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits for the child's next message.
    pub fn receive(&self) -> io::Result<Message> {
        let mut bytes = [0u8; 16 + TEXT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        let received = loop {
            match rustix::net::recvmsg(&self.control, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Ok(Message::End),
                other => break other?.bytes,
            }
        };
        parse(&bytes, received, || take_fd(&mut ancillary))
    }

    /// A copy of one of the child's descriptors (Linux 5.6).
    pub fn take_fd(&self, number: i32) -> io::Result<OwnedFd> {
        let pidfd = self.pidfd.as_ref().ok_or(Errno::SRCH)?;
        Ok(rustix::process::pidfd_getfd(pidfd, number, rustix::process::PidfdGetfdFlags::empty())?)
    }

    /// Takes the process that goes on, as [`Message::Moved`] says, for the child. The one until here is ending.
    pub fn moved(&mut self, pid: i32) -> io::Result<()> {
        let number = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        // It is our child, too: nobody else has its number before we reap it.
        let next = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty())?;
        let before = self.pidfd.replace(next);
        self.pid = pid;
        before.map_or(Ok(()), |before| wait(before.as_fd()).map(drop))
    }

    /// Hands the running process over: from now on its life is the caller's business.
    pub fn release(mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }

    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            kill_and_reap(pidfd.as_fd());
        }
    }
}

/// Waits for the next message of a process that has gone through its [`Step::Gate`], at the other end of `said`. The
/// descriptor was opened while the process stood at the gate.
pub fn receive_behind_gate(said: BorrowedFd<'_>) -> io::Result<Message> {
    let mut bytes = [0u8; 16 + TEXT];
    loop {
        let mut polled = [PollFd::new(&said, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Err(Errno::INTR) => continue,
            other => drop(other?),
        }
        match rustix::io::read(said, &mut bytes) {
            Err(Errno::INTR | Errno::AGAIN) => continue,
            other => return parse(&bytes, other?, || None),
        }
    }
}

/// A message as the child writes it; fewer bytes are the end of what it says.
fn parse(
    bytes: &[u8; 16 + TEXT],
    received: usize,
    fd: impl FnOnce() -> Option<OwnedFd>,
) -> io::Result<Message> {
    if received < 16 {
        return Ok(Message::End);
    }
    let word = |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (step, errno, length) = (word(4) as usize, word(8), (word(12).max(0) as usize).min(TEXT));
    Ok(match bytes[0] {
        FAILED => {
            let text = String::from_utf8_lossy(&bytes[16..16 + length]).trim().to_owned();
            Message::Failed { step, errno, text }
        }
        WARNING => Message::Warning { step, errno },
        SYNC => Message::Sync,
        READY => Message::Ready,
        LISTENER => Message::Listener(errno),
        MOVED => Message::Moved(errno),
        MASTER => match fd() {
            Some(fd) => Message::Master(fd),
            None => return Err(io::ErrorKind::InvalidData.into()),
        },
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// Reaps the children of this process that have ended, up to the first that is `own`, which is its caller's.
pub fn reap_others(own: i32) -> io::Result<()> {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WNOHANG;
        // SAFETY: the buffer is one siginfo_t; with WNOWAIT nothing else changes.
        let found = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options | libc::WNOWAIT) };
        if found != 0 {
            return match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ECHILD) => Ok(()),
                error => Err(error),
            };
        }
        // SAFETY: it was zeroed, and waitid has filled it in or left it, which means nobody.
        let pid = unsafe { info.assume_init().si_pid() };
        if pid == 0 || pid == own {
            return Ok(());
        }
        // SAFETY: the buffer is one siginfo_t; the child has ended and is not the caller's.
        unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, info.as_mut_ptr(), options) };
    }
}

/// Kills a child of this process and waits for it.
pub fn kill_and_reap(pidfd: BorrowedFd<'_>) {
    // Both fail only when somebody else has reaped it: then it is gone, which is what is wanted.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let _ = wait(pidfd);
}

/// Waits for a child to end, and reaps it: how it ended.
pub fn wait(pidfd: BorrowedFd<'_>) -> io::Result<Exit> {
    use rustix::process::{WaitId, WaitIdOptions};
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
            Ok(None) => return Err(Errno::CHILD.into()),
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, signal) => Exit::Signal(signal.unwrap_or_default()),
                });
            }
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// As a shell and Docker number it: 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

fn take_fd(ancillary: &mut RecvAncillaryBuffer<'_>) -> Option<OwnedFd> {
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

/// Keeps this thread's handlers from running in the child before it has reset them.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn all() -> io::Result<BlockedSignals> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises `all`; pthread_sigmask reads it and initialises `before` when it
        // succeeds.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(BlockedSignals { before: before.assume_init() }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by the kernel. The call fails on a bad first argument only.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests;
