//! Steps about the standard streams.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use super::files;
use super::run::{Failure, State, check};
use super::step::Target;

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Opens a pseudo terminal of the container's devpts. Nothing trusts a path here: the master must be the ptmx
/// device of a devpts, and the other end comes from the master (CVE-2025-52565).
pub(super) fn console(state: &State<'_>, uid: u32, console: Option<&Target>) -> Result<(), Failure> {
    let master = open_master(state.root()?)?;
    let unlock: libc::c_int = 0;
    // SAFETY: the ioctl reads one int.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) }.into())?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY,
    )?;
    match rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None) {
        // A user that the user namespace doesn't map has to do without.
        Err(Errno::INVAL | Errno::PERM) | Ok(()) => {}
        Err(e) => return Err(e.into()),
    }
    if let Some(target) = console {
        files::bind_file(state, slave.as_fd(), target)?;
    }
    state.send_master(master.as_fd())?;
    stdio([slave.as_raw_fd(); 3])?;
    rustix::process::ioctl_tiocsctty(slave.as_fd())?;
    Ok(())
}

fn open_master(root: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let master = rustix::fs::openat2(root, c"dev/pts/ptmx", flags, Mode::empty(), resolve)?;
    let stat = rustix::fs::fstat(&master)?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && rustix::fs::fstatfs(&master)?.f_type == DEVPTS_SUPER_MAGIC;
    if is_ptmx { Ok(master) } else { Err(Failure::with_text(Errno::NODEV, b"/dev/pts/ptmx is no terminal")) }
}

/// Puts descriptors at 0, 1 and 2.
pub(super) fn stdio(fds: [RawFd; 3]) -> Result<(), Errno> {
    // A source may itself be 0, 1 or 2 and be overwritten: lift such ones out of the way first.
    let mut lifted = fds;
    for fd in &mut lifted {
        if *fd < 3 {
            // SAFETY: duplicating a descriptor takes numbers only.
            *fd = check(unsafe { libc::syscall(libc::SYS_fcntl, *fd, libc::F_DUPFD_CLOEXEC, 3) })? as RawFd;
        }
    }
    for (to, from) in lifted.iter().enumerate() {
        // SAFETY: numbers only; what was open at 0, 1 and 2 is not used again.
        check(unsafe { libc::syscall(libc::SYS_dup3, *from, to, 0) })?;
    }
    Ok(())
}

fn is_null(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3))
}

/// What lies at the path may be the container's doing: it is opened so that it can't hold us up, and looked at.
fn open_null() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty())?;
    if !is_null(null.as_fd())? {
        return Err(Errno::NODEV);
    }
    rustix::fs::fcntl_setfl(&null, OFlags::RDWR)?;
    Ok(null)
}

pub(super) fn own_null() -> Result<(), Failure> {
    let mut own: Option<OwnedFd> = None;
    for fd in 0..3 {
        // SAFETY: 0, 1 and 2 are open or the calls fail.
        if !is_null(unsafe { BorrowedFd::borrow_raw(fd) }).unwrap_or(false) {
            continue;
        }
        if own.is_none() {
            own = Some(match open_null() {
                Ok(null) => null,
                // Who has spoiled its own device gets an empty file instead.
                Err(_) => rustix::fs::memfd_create(c"null", rustix::fs::MemfdFlags::CLOEXEC)?,
            });
        }
        let null = own.as_ref().ok_or(Errno::BADF)?;
        // SAFETY: numbers only; the machine's device at that number is not used again.
        check(unsafe { libc::syscall(libc::SYS_dup3, null.as_raw_fd(), fd, 0) })?;
    }
    Ok(())
}

/// Best effort, as runc: a pipe that cannot be given away still works through its descriptor.
pub(super) fn chown_stdio(uid: u32) {
    for fd in 0..3 {
        // SAFETY: 0, 1 and 2 are open or the calls fail.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        if stat.st_uid != uid && is_null(fd) == Ok(false) {
            let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(stat.st_gid)));
        }
    }
}
