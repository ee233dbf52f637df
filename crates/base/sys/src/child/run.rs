//! The child's side: from clone to `execve`. Nothing here allocates, locks or panics.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::step::{Argv, SLOTS, Step};
use super::{
    FAILED, LISTENER, MASTER, MOVED, READY, SYNC, TEXT, WARNING, credentials, files, hook, look_path, moved,
    terminal,
};

/// Why a step failed.
pub(super) struct Failure {
    errno: Errno,
    length: u8,
    text: [u8; TEXT],
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure { errno, text: [0; TEXT], length: 0 }
    }
}

impl Failure {
    /// With what the kernel has to say about it.
    pub(super) fn with_text(errno: Errno, text: &[u8]) -> Failure {
        let mut failure = Failure::from(errno);
        for (to, from) in failure.text.iter_mut().zip(text) {
            *to = *from;
            failure.length += 1;
        }
        failure
    }
}

/// What the child remembers between steps. The descriptors stay open up to [`Step::CloseFds`].
pub(super) struct State<'a> {
    control: RawFd,
    /// What stays open up to execve: the control socket and the two descriptors of a gate, in ascending order.
    spared: [RawFd; 3],
    /// As the parent's pid namespace numbers it.
    pub(super) pid: i32,
    pub(super) root: Option<OwnedFd>,
    pub(super) proc: Option<OwnedFd>,
    pub(super) slots: [Option<OwnedFd>; SLOTS],
    /// The mounts of `/proc` and `/sys`.
    pub(super) kernels: [Option<OwnedFd>; 2],
    /// The null device of the machine, to mask files with.
    pub(super) null: Option<OwnedFd>,
    /// An attached empty tmpfs, to mask directories with.
    pub(super) empty: Option<OwnedFd>,
    program: Option<&'a CStr>,
    step: usize,
}

impl State<'_> {
    pub(super) fn root(&self) -> Result<BorrowedFd<'_>, Errno> {
        use std::os::fd::AsFd;
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn control(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open up to execve; CloseFds spares it.
        unsafe { BorrowedFd::borrow_raw(self.control) }
    }

    fn message(&self, kind: u8, errno: i32, text: &[u8]) -> [u8; 16 + TEXT] {
        let mut bytes = [0u8; 16 + TEXT];
        let words = [self.step as u32, errno as u32, text.len() as u32];
        let numbers = words.iter().flat_map(|word| word.to_ne_bytes());
        let header = [kind, 0, 0, 0].into_iter().chain(numbers);
        for (to, from) in bytes.iter_mut().zip(header.chain(text.iter().copied())) {
            *to = from;
        }
        bytes
    }

    /// By write(2), which every filter must allow anyway.
    fn say(&self, kind: u8, errno: i32, text: &[u8]) -> Result<(), Errno> {
        rustix::io::write(self.control(), &self.message(kind, errno, text)).map(drop)
    }

    pub(super) fn warn(&self, errno: Errno) -> Result<(), Errno> {
        self.say(WARNING, errno.raw_os_error(), &[])
    }

    /// Tells the parent the number of the process that goes on.
    pub(super) fn say_moved(&self, pid: i32) -> Result<(), Errno> {
        self.say(MOVED, pid, &[])
    }

    pub(super) fn send_master(&self, master: BorrowedFd<'_>) -> Result<(), Errno> {
        let bytes = self.message(MASTER, 0, &[]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [master];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let parts = [std::io::IoSlice::new(&bytes)];
        rustix::net::sendmsg(self.control(), &parts, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
    }

    /// Tells the parent of a filter's listener, waits until the parent has taken it, and closes it.
    pub(super) fn hand_over(&self, listener: RawFd) -> Result<(), Errno> {
        self.say(LISTENER, listener, &[])?;
        self.hear()?;
        // SAFETY: the descriptor came from the kernel a moment ago; nobody else knows of it here.
        unsafe { rustix::io::close(listener) };
        Ok(())
    }

    /// Waits for the parent; its end of file ends us.
    fn hear(&self) -> Result<[u8; 4], Errno> {
        let mut bytes = [0u8; 4];
        loop {
            match rustix::io::read(self.control(), &mut bytes) {
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
                Ok(0) => exit(),
                Ok(_) => return Ok(bytes),
            }
        }
    }
}

/// Ends the child without running anything of the program.
pub(super) fn exit() -> ! {
    // SAFETY: exit_group does not return and touches no memory.
    unsafe { libc::_exit(125) }
}

/// The child's whole life before its program.
pub(super) fn child(control: RawFd, parent_end: RawFd, steps: &[Step]) -> ! {
    // SAFETY: this is the child's copy of a descriptor; the parent's `OwnedFd` lives in the parent alone, and
    // the child never drops its copy of that value. With it open the child would not see the parent go.
    unsafe { rustix::io::close(parent_end) };
    forget_environment();
    let unasked = steps.iter().any(|step| matches!(step, Step::Unasked));
    let mut state = State {
        control,
        spared: spared(control, steps),
        pid: 0,
        root: None,
        proc: None,
        slots: [const { None }; SLOTS],
        kernels: [None, None],
        null: None,
        empty: None,
        program: None,
        step: 0,
    };
    let begun = match unasked {
        false => state.hear().map(|bytes| state.pid = i32::from_ne_bytes(bytes)),
        true => rustix::fs::fcntl_setfl(state.control(), OFlags::NONBLOCK),
    };
    if begun.is_err() {
        exit();
    }
    for (index, step) in steps.iter().enumerate() {
        state.step = index;
        if let Err(failure) = run(&mut state, step) {
            let text = failure.text.get(..failure.length.into()).unwrap_or_default();
            let _ = state.say(FAILED, failure.errno.raw_os_error(), text);
            exit();
        }
    }
    exit()
}

/// Clears this process's copy of the environment that the parent was started with: a container that may trace processes
/// reads it in `/proc` until the program runs, and it is whoever's who called us.
fn forget_environment() {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    // SAFETY: a null-terminated vector of C strings that the kernel made, in memory that is this process's own copy; nothing
    // in a plan points there, and nothing else runs here.
    unsafe {
        let mut variable = environ;
        while !variable.is_null() && !(*variable).is_null() {
            libc::explicit_bzero((*variable).cast(), libc::strlen(*variable));
            variable = variable.add(1);
        }
    }
}

/// The same descriptor several times where there is no gate.
fn spared(control: RawFd, steps: &[Step]) -> [RawFd; 3] {
    let mut spared = [control; 3];
    for step in steps {
        if let Step::Gate { go, said } = step {
            spared = [control, go.as_raw_fd(), said.as_raw_fd()];
        }
    }
    spared.sort_unstable();
    spared
}

/// Waits for the word of a later process.
fn gate(state: &mut State<'_>, go: &OwnedFd, said: &OwnedFd) -> Result<(), Errno> {
    let mut byte = [0u8; 1];
    while let Err(e) = rustix::io::read(go, &mut byte) {
        if e != Errno::INTR {
            return Err(e);
        }
    }
    state.control = said.as_raw_fd();
    Ok(())
}

fn run<'a>(state: &mut State<'a>, step: &'a Step) -> Result<(), Failure> {
    match step {
        Step::Setns { .. }
        | Step::Unshare { .. }
        | Step::BecomeRoot
        | Step::SessionKeyring
        | Step::Setsid => {
            isolate(step)?;
        }
        Step::JoinGroups { tasks } => {
            for file in tasks.iter() {
                rustix::io::write(file, b"0")?;
            }
        }
        Step::WriteFile { path, content } => files::write_file(path, content)?,
        Step::Umask(mask) => drop(rustix::process::umask(Mode::from_raw_mode(*mask))),
        Step::Dumpable(yes) => {
            prctl(libc::PR_SET_DUMPABLE, u64::from(*yes), 0, 0)?;
        }
        Step::SlaveMounts => files::slave_mounts()?,
        Step::AttachRoot { tree, over } => files::attach_root(state, tree, over)?,
        Step::EnterRoot { root } => {
            rustix::process::fchdir(root)?;
            rustix::process::chroot(c".")?;
        }
        Step::ChdirRoot => rustix::process::fchdir(state.root()?)?,
        Step::OpenRoot => {
            state.root = Some(rustix::fs::open(
                c"/",
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?);
        }
        Step::Mount(step) => files::mount(state, step)?,
        Step::Remount(step) => files::remount(state, step)?,
        Step::SetAttr { slot, set, propagation, recursive } => {
            let fd = match slot {
                Some(slot) => state.slots.get(*slot).and_then(Option::as_ref).ok_or(Errno::BADF)?,
                None => state.root.as_ref().ok_or(Errno::BADF)?,
            };
            files::set_attr(fd, *set, *propagation, *recursive)?;
        }
        Step::MakeDir { target } => drop(files::directory(state.root()?, target)?),
        Step::Node(node) => files::node(state, node)?,
        Step::Symlink { to, at, replace } => files::symlink(state, to, at, *replace)?,
        Step::Mask { path } => files::mask(state, path)?,
        Step::ReadonlyPath { path } => files::readonly(state, path)?,
        Step::OpenProc => files::open_proc(state)?,
        Step::WriteProc { path, content, optional } => files::write_proc(state, path, content, *optional)?,
        Step::Console { uid, console } => terminal::console(state, *uid, console.as_ref())?,
        Step::Stdio { fds } => terminal::stdio([fds[0].as_raw_fd(), fds[1].as_raw_fd(), fds[2].as_raw_fd()])?,
        Step::OwnNull => terminal::own_null()?,
        Step::ChownStdio { uid } => terminal::chown_stdio(*uid),
        Step::Pivot => files::pivot(state)?,
        Step::Chroot => files::chroot(state)?,
        Step::Hide { path } => files::hide(path)?,
        Step::Sync => {
            state.say(SYNC, 0, &[])?;
            state.hear()?;
        }
        Step::Hook(step) => hook::run(step, state.pid)?,
        Step::CloseFds { first } => close_fds(*first, state.spared)?,
        Step::Chdir { path, ignore_denied } => chdir(path, *ignore_denied)?,
        Step::LookPath { candidates, search, own } => {
            let program = look_path::find(candidates, *search)?;
            if let Some(own) = own {
                look_path::refuse_own(program, *own)?;
            }
            state.program = Some(program);
        }
        Step::Ready => {
            state.say(READY, 0, &[])?;
            state.hear()?;
        }
        Step::Unasked => match state.hear() {
            Err(Errno::AGAIN) => {}
            other => drop(other?),
        },
        Step::Move => moved::into_pid_namespace(state)?,
        Step::Gate { go, said } => gate(state, go, said)?,
        Step::Exec { argv, envp } => execute(state.program.ok_or(Errno::NOENT)?, argv, envp)?,
        step => credentials::run(state, step)?,
    }
    Ok(())
}

fn isolate(step: &Step) -> Result<(), Errno> {
    // SAFETY: these calls take numbers only. Namespaces and ids of this process change, its memory does not.
    let result = unsafe {
        match step {
            Step::Setns { fd, kinds } => libc::syscall(libc::SYS_setns, fd.as_raw_fd(), *kinds),
            Step::Unshare { kinds } => libc::syscall(libc::SYS_unshare, *kinds),
            Step::BecomeRoot => match libc::syscall(libc::SYS_setresgid, 0, 0, 0) {
                0 => libc::syscall(libc::SYS_setresuid, 0, 0, 0),
                failed => failed,
            },
            Step::SessionKeyring => libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0),
            _ => libc::syscall(libc::SYS_setsid),
        }
    };
    match (step, check(result)) {
        // Kernels without keyrings, and users over their quota of keys, go on with the parent's, as runc
        // does. EPERM is a filter's: what runs here inherits that, and has no use of any keyring.
        (Step::SessionKeyring, Err(Errno::NOSYS | Errno::DQUOT | Errno::PERM)) => Ok(()),
        (_, result) => result.map(drop),
    }
}

/// The result of a raw system call.
pub(super) fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: errno is a thread local of this thread, which the C library has set up before the clone.
    Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
}

pub(super) fn prctl(option: libc::c_int, a: u64, b: u64, c: u64) -> Result<libc::c_long, Errno> {
    // SAFETY: callers use options that take numbers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, a, b, c, 0u64) })
}

/// Closes all from `first` on but those that are spared, which are in ascending order.
fn close_fds(first: u32, spared: [RawFd; 3]) -> Result<(), Errno> {
    let mut from = first;
    let mut closed = Ok(());
    for fd in spared.map(|fd| fd as u32) {
        if from < fd {
            closed = closed.and_then(|()| close_range(from, fd - 1));
        }
        from = from.max(fd + 1);
    }
    match closed.and_then(|()| close_range(from, u32::MAX)) {
        // Before Linux 5.9. The table has at most as many entries as the limit that it grew under.
        Err(Errno::NOSYS) => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
            for fd in first..limit.unwrap_or(1 << 20).min(1 << 20) as u32 {
                if !spared.contains(&(fd as RawFd)) {
                    // SAFETY: nothing uses these descriptors again: the plan is past them.
                    unsafe { libc::syscall(libc::SYS_close, fd) };
                }
            }
            Ok(())
        }
        other => other,
    }
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: nothing uses these descriptors again: the plan is past them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Changes the directory and makes sure that it is one of this mount namespace: a directory reached through a
/// leaked descriptor has no path here (CVE-2024-21626).
fn chdir(path: &CStr, ignore_denied: bool) -> Result<(), Failure> {
    match rustix::process::chdir(path) {
        Err(Errno::ACCESS) if ignore_denied => return Ok(()),
        other => other?,
    }
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes at most the given length.
    let length = check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) });
    match (length, buffer[0]) {
        (Ok(_), b'/') | (Err(Errno::RANGE | Errno::NAMETOOLONG), _) => Ok(()),
        _ => Err(Failure::with_text(
            Errno::NOENT,
            b"current working directory is outside of container mount namespace root",
        )),
    }
}

fn execute(program: &CStr, argv: &Argv, envp: &Argv) -> Result<(), Errno> {
    // SAFETY: a C string and two null-terminated vectors of C strings, all alive.
    check(unsafe { libc::syscall(libc::SYS_execve, program.as_ptr(), argv.as_ptr(), envp.as_ptr()) })
        .map(drop)
}
