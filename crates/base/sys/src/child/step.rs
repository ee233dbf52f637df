//! The vocabulary of a plan: what a new process does, one system call or a short fixed sequence each.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::exe::Place;

/// One step. Everything that needs memory is made before the clone.
#[derive(Debug)]
pub enum Step {
    /// Joins a namespace, or with a pidfd several at once. `kinds` is of `CLONE_NEW*`.
    Setns {
        fd: OwnedFd,
        kinds: u32,
    },
    /// Another process goes on, in the pid namespace that this one has joined, where only children get to. It has the
    /// descriptors, directories and rights of this one, and neither its session nor its [`Step::ParentDeathSignal`].
    Move,
    /// Leaves namespaces for new ones. A time namespace takes effect at `execve` (Linux 6.3).
    Unshare {
        kinds: u32,
    },
    /// Joins version 1 control groups through their open `tasks` files. Only a thread that moves itself is
    /// spared the machine-wide lock of a migration, which costs milliseconds.
    JoinGroups {
        tasks: Arc<[OwnedFd]>,
    },
    /// Writes to a file of the machine, by its path before the pivot.
    WriteFile {
        path: CString,
        content: Vec<u8>,
    },
    /// Becomes root of the user namespace.
    BecomeRoot,
    /// A new session keyring.
    SessionKeyring,
    /// A new session; the process has no terminal then.
    Setsid,
    Umask(u32),
    /// The processors to run on, a bit each.
    Affinity {
        mask: Vec<u64>,
    },
    /// Where memory comes from: `MPOL_*`, and memory nodes, a bit each.
    MemoryPolicy {
        mode: i32,
        nodes: Vec<u64>,
    },
    Dumpable(bool),
    /// Cuts the new mount namespace off from the machine's: events still come in, none go out.
    SlaveMounts,
    /// Takes a detached mount as root file system. Attached over `/` path look-up doesn't see it.
    AttachRoot {
        tree: OwnedFd,
        over: CString,
    },
    /// Enters the root directory of a process whose mount namespace is ours.
    EnterRoot {
        root: OwnedFd,
    },
    /// Changes to the directory of the root file system, before that is `/`.
    ChdirRoot,
    /// Takes `/` as root file system, in a process that has joined a container.
    OpenRoot,
    Mount(Box<MountStep>),
    /// Changes what is mounted at a place already.
    Remount(Box<RemountStep>),
    /// Changes the mount that step `slot` has made; `None` is the root file system.
    SetAttr {
        slot: Option<usize>,
        set: u64,
        propagation: u64,
        recursive: bool,
    },
    MakeDir {
        target: Target,
    },
    Node(Box<NodeStep>),
    /// A symbolic link; one that is there already stays, unless it must be replaced.
    Symlink {
        to: CString,
        at: Target,
        replace: bool,
    },
    /// Hides a path: a directory under an empty read-only tmpfs, a file under the null device.
    Mask {
        path: CString,
    },
    /// Makes a path, with all below, read-only.
    ReadonlyPath {
        path: CString,
    },
    /// Opens a private procfs of the pid namespace, for [`Step::WriteProc`].
    OpenProc,
    /// Writes to a file of the private procfs.
    WriteProc {
        path: CString,
        content: Vec<u8>,
        optional: bool,
    },
    Hostname(Vec<u8>),
    Domainname(Vec<u8>),
    /// A pseudo terminal of the devpts at `/dev/pts` below the root: the master goes to the parent, the other
    /// end becomes the controlling terminal and the standard streams, and is bound to `/dev/console` if
    /// asked.
    Console {
        uid: u32,
        console: Option<Target>,
    },
    /// These become the standard streams.
    Stdio {
        fds: [OwnedFd; 3],
    },
    /// Standard streams that are the machine's null device become the one at `/dev/null`: root in a container could
    /// change the mode of the other.
    OwnNull,
    /// Gives the standard streams to the user of the process, where they are no null device.
    ChownStdio {
        uid: u32,
    },
    /// The root file system becomes `/`; the machine's is gone.
    Pivot,
    /// The root file system becomes `/` without a pivot, which an initial ramfs does not allow: the machine's tree stays
    /// below it, out of reach.
    Chroot,
    /// Takes away a mount of the machine by its path; one that stays is covered with an empty directory.
    Hide {
        path: CString,
    },
    /// Tells the parent and waits for its answer.
    Sync,
    Hook(Box<HookStep>),
    NoNewPrivileges,
    /// A resource limit; one that may not be raised so far is raised as far as it may, with a warning.
    Rlimit {
        resource: u32,
        soft: u64,
        hard: u64,
    },
    Scheduler(Box<SchedAttr>),
    IoPriority {
        value: i32,
    },
    Personality {
        domain: u64,
    },
    /// All handlers to their defaults, no signal blocked.
    ResetSignals,
    /// Closes all descriptors from `first` on, but the control socket and those of a gate.
    CloseFds {
        first: u32,
    },
    Chdir {
        path: CString,
        ignore_denied: bool,
    },
    /// Loads a filter: `struct sock_filter` instructions and `SECCOMP_FILTER_FLAG_*`. With
    /// [`SECCOMP_NEW_LISTENER`] tells the parent of the descriptor and waits for its answer.
    Seccomp {
        instructions: Vec<u64>,
        flags: u32,
    },
    Credentials(Box<Credentials>),
    /// Whether to be killed when the parent thread ends. A change of user clears it.
    ParentDeathSignal(bool),
    /// Chooses the first of the candidates that can be executed. With `search` the result is "not found"
    /// whatever hinders. What would run the program at `own`, ours, is refused.
    LookPath {
        candidates: Vec<CString>,
        search: bool,
        own: Option<Place>,
    },
    /// Tells the parent that all is prepared and waits for its word.
    Ready,
    /// Ends the process if the parent is gone. A plan that has this instead of [`Step::Ready`] begins at once and waits for
    /// nothing: the end of file tells the parent that the program runs.
    Unasked,
    /// Waits for a byte in `go`, for as long as it takes: the parent may be gone. From here on the child says what it
    /// has to say into `said`, one [`crate::child::Message`] a write. Both are fifos, open for reading and writing, so
    /// that neither ever is at its end here; they are spared by [`Step::CloseFds`], and gone with `execve`.
    Gate {
        go: OwnedFd,
        said: OwnedFd,
    },
    /// Executes what [`Step::LookPath`] has chosen.
    Exec {
        argv: Argv,
        envp: Argv,
    },
}

/// A null-terminated vector of C strings, as `execve` takes it.
#[derive(Debug)]
pub struct Argv {
    /// Owns what `pointers` point to; never touched again.
    _strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers go to heap memory that the same value owns and that nobody writes.
unsafe impl Send for Argv {}
// SAFETY: as for Send: there is no interior mutability.
unsafe impl Sync for Argv {}

impl Argv {
    /// Fails on a string with a NUL byte.
    pub fn new<T: Into<Vec<u8>>>(strings: impl IntoIterator<Item = T>) -> Result<Argv, std::ffi::NulError> {
        let strings = strings.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Ok(Argv { _strings: strings, pointers })
    }

    pub(super) fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr()
    }
}

/// A path below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Without a slash at its start; `.` is the root itself.
    pub(super) path: CString,
    /// The path without its last component.
    pub(super) parent: CString,
    /// The last component; empty for the root itself.
    pub(super) name: CString,
    /// No component may be a symbolic link.
    pub(super) plain: bool,
}

impl Target {
    /// `path` is taken below the root; `.` is dropped, `..` is refused.
    pub fn new(path: &Path, plain: bool) -> Result<Target, Errno> {
        use std::os::unix::ffi::OsStrExt;
        let parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
        let names: Vec<&[u8]> = parts.filter(|name| !matches!(*name, b"" | b".")).collect();
        if names.contains(&&b".."[..]) {
            return Err(Errno::INVAL);
        }
        let text = |text: Vec<u8>| CString::new(text).map_err(|_| Errno::INVAL);
        let below = |names: &[&[u8]]| text(if names.is_empty() { b".".to_vec() } else { names.join(&b'/') });
        let (name, parents) = names.split_last().map_or((&b""[..], &[][..]), |(name, rest)| (*name, rest));
        Ok(Target { path: below(&names)?, parent: below(parents)?, name: text(name.to_vec())?, plain })
    }

    pub(super) fn is_root(&self) -> bool {
        self.name.is_empty()
    }
}

/// One mount.
#[derive(Debug)]
pub struct MountStep {
    pub source: MountSource,
    pub target: Target,
    /// The mount point is a directory; else a file.
    pub directory: bool,
    /// `MOUNT_ATTR_*` of a new file system's mount.
    pub attrs: u64,
    /// `MS_PRIVATE` and the like, zero to leave it.
    pub propagation: u64,
    pub recursive: bool,
    /// The mount point may lie in a procfs. Otherwise one that does is refused: it could hide what a check
    /// relies on.
    pub over_proc: bool,
    /// Where [`Step::SetAttr`] finds the mount again; below [`SLOTS`].
    pub slot: Option<usize>,
    /// Attach a copy of the tree that is made then: from Linux 6.8 on mounts are listed by their age. It costs a
    /// grace period of the kernel.
    pub renew: bool,
}

/// How many mounts can be remembered.
pub const SLOTS: usize = 64;

/// A mount that is changed where it is.
#[derive(Debug)]
pub struct RemountStep {
    pub target: Target,
    /// `MOUNT_ATTR_*`.
    pub set: u64,
    pub clear: u64,
    /// For the file system itself, as in [`MountSource::Fs`]; empty leaves it alone.
    pub options: Vec<(CString, Option<CString>)>,
    pub propagation: u64,
    pub recursive: bool,
}

/// The flag of a filter that hands calls over to a listener (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
pub const SECCOMP_NEW_LISTENER: u32 = 8;

/// What is mounted.
#[derive(Debug)]
pub enum MountSource {
    /// A detached mount.
    Tree(OwnedFd),
    /// A new file system, made in the namespaces of the new process. Options without a value are flags.
    Fs { fs_type: CString, source: CString, options: Vec<(CString, Option<CString>)> },
}

/// A device node or fifo.
#[derive(Debug)]
pub struct NodeStep {
    pub target: Target,
    /// With the type bits.
    pub mode: u32,
    pub dev: u64,
    pub uid: u32,
    pub gid: u32,
    /// The machine's node, bind-mounted where nodes can't be made (user namespaces).
    pub host: CString,
}

/// A program run in the middle of the plan, with the container's state on its standard input.
#[derive(Debug)]
pub struct HookStep {
    pub path: CString,
    pub argv: Argv,
    pub envp: Argv,
    /// JSON; ten blanks at `pid_at` take the process id.
    pub state: Vec<u8>,
    pub pid_at: usize,
    pub timeout_ms: i32,
    /// Its output. `None` is the `/dev/null` of the root directory at that time.
    pub null: Option<OwnedFd>,
}

/// The kernel's `struct sched_attr` (version 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// Who the process becomes. Capability sets are bit masks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// False leaves groups alone, where a user namespace forbids setting them.
    pub set_groups: bool,
    /// `None` leaves the capabilities to what the change of user does to them.
    pub capabilities: Option<CapabilityMasks>,
    /// The highest capability of this kernel.
    pub last_capability: u32,
}

/// The five capability sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilityMasks {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}
