//! Steps about the root file system. Paths below the root are resolved by `openat2` in the root; what happens
//! next happens to the descriptor that came out, never to the path again.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::run::{Failure, State, check};
use super::step::{MountSource, MountStep, NodeStep, RemountStep, Target};
use crate::make_path::{Want, make_path};

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// The kernel's directories in which something has to be hidden.
const KERNELS: [&[u8]; 2] = [b"proc", b"sys"];

fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    // EAGAIN: a rename elsewhere raced with `..`; bounded, since it may be done on purpose.
    let mut result = Err(Errno::AGAIN);
    for _ in 0..128 {
        result = rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
    }
    result
}

/// The directory at a target; it and its parents are made where they lack.
pub(super) fn directory(root: BorrowedFd<'_>, target: &Target) -> Result<OwnedFd, Errno> {
    reach(root, &target.path, Want::Directory, target)
}

/// The file at a target, of any kind but a directory; an empty one is made where it lacks.
fn file(root: BorrowedFd<'_>, target: &Target) -> Result<OwnedFd, Errno> {
    reach(root, &target.path, Want::File, target)
}

/// The parent directory of a target, and the last name.
fn parent<'t>(root: BorrowedFd<'_>, target: &'t Target) -> Result<(OwnedFd, &'t CStr), Errno> {
    if target.is_root() {
        return Err(Errno::INVAL);
    }
    Ok((reach(root, &target.parent, Want::Directory, target)?, &target.name))
}

fn reach(root: BorrowedFd<'_>, path: &CStr, want: Want, target: &Target) -> Result<OwnedFd, Errno> {
    let flags = match want {
        Want::Directory => OFlags::PATH | OFlags::DIRECTORY,
        Want::File => OFlags::PATH,
    };
    match open(root, path, flags, resolve(target)) {
        Err(Errno::NOENT) => {
            make_path(root, path.to_bytes(), want, Mode::from_raw_mode(0o755), !target.plain)
        }
        other => other,
    }
}

fn resolve(target: &Target) -> ResolveFlags {
    if target.plain { IN_ROOT | ResolveFlags::NO_SYMLINKS } else { IN_ROOT }
}

pub(super) fn slave_mounts() -> Result<(), Errno> {
    rustix::mount::mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
}

pub(super) fn attach_root(state: &mut State<'_>, tree: &OwnedFd, over: &CStr) -> Result<(), Errno> {
    rustix::mount::move_mount(tree, c"", CWD, over, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    // The descriptor of a detached mount follows the mount to its place.
    state.root = Some(rustix::fs::openat(
        tree,
        c".",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    Ok(())
}

pub(super) fn mount(state: &mut State<'_>, step: &MountStep) -> Result<(), Failure> {
    let root = state.root()?;
    let target = match (step.directory, step.target.is_root()) {
        (true, _) => directory(root, &step.target)?,
        (false, true) => return Err(Errno::NOTDIR.into()),
        (false, false) => file(root, &step.target)?,
    };
    if !step.directory && FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory
    {
        return Err(Errno::NOTDIR.into());
    }
    if !step.over_proc && rustix::fs::fstatfs(&target)?.f_type == PROC_SUPER_MAGIC {
        return Err(Failure::with_text(Errno::PERM, b"cannot be mounted because it is inside /proc"));
    }
    let made;
    let tree = match &step.source {
        MountSource::Tree(tree) => tree,
        MountSource::Fs { fs_type, source, options } => {
            made = new_fs(fs_type, source, options, step.attrs)?;
            &made
        }
    };
    attach(tree.as_fd(), target.as_fd())?;
    let copy = if step.renew { renew(tree, target.as_fd())? } else { None };
    let tree = copy.as_ref().unwrap_or(tree);
    if step.propagation != 0 {
        set_attr(tree, 0, step.propagation, step.recursive)?;
    }
    let kernels = KERNELS.iter().position(|name| step.target.path.to_bytes() == *name);
    let slot = step.slot.and_then(|at| state.slots.get_mut(at));
    let kernel = kernels.and_then(|at| state.kernels.get_mut(at));
    for remembered in slot.into_iter().chain(kernel) {
        *remembered = Some(tree.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?);
    }
    Ok(())
}

/// What is to be hidden or made read-only. In the kernel's directories it is looked for below the mount itself: who shares
/// the root file system may exchange a mount point for something else meanwhile, and put it back afterwards.
fn sensitive(state: &State<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    for (name, mount) in KERNELS.iter().zip(&state.kernels) {
        let rest = path.to_bytes_with_nul().strip_prefix(b"/").and_then(|path| path.strip_prefix(*name));
        let rest = rest.and_then(|path| path.strip_prefix(b"/")).map(CStr::from_bytes_with_nul);
        if let (Some(Ok(rest)), Some(mount)) = (rest, mount) {
            return open(mount.as_fd(), rest, OFlags::PATH, IN_ROOT);
        }
    }
    open(state.root()?, path, OFlags::PATH, IN_ROOT)
}

/// Changes the mount at a target, and its file system where options ask for that.
pub(super) fn remount(state: &State<'_>, step: &RemountStep) -> Result<(), Failure> {
    let mount = open(state.root()?, &step.target.path, OFlags::PATH, resolve(&step.target))?;
    if !step.options.is_empty() {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let fs = rustix::mount::fspick(&mount, c"", flags)?;
        configure(&fs, &step.options, |fs| rustix::mount::fsconfig_reconfigure(fs))?;
    }
    change(&mount, [step.set, step.clear, step.propagation], step.recursive)?;
    Ok(())
}

/// Puts a copy in the place of a mount. Where that is not allowed the mount stays.
fn renew(tree: &OwnedFd, target: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let Ok(copy) = clone(tree.as_fd(), true) else { return Ok(None) };
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (_, digits) = path.split_at_mut(b"/proc/self/fd/".len());
    decimal(tree.as_raw_fd(), digits);
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::INVAL)?;
    if rustix::mount::unmount(path, UnmountFlags::DETACH).is_err() {
        return Ok(None);
    }
    attach(copy.as_fd(), target)?;
    Ok(Some(copy))
}

/// Writes the digits of a descriptor, which has at most ten.
fn decimal(number: i32, into: &mut [u8]) {
    let length = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut left = number.unsigned_abs();
    for digit in into.iter_mut().take(length).rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

fn new_fs(
    fs_type: &CStr,
    source: &CStr,
    options: &[(std::ffi::CString, Option<std::ffi::CString>)],
    attrs: u64,
) -> Result<OwnedFd, Failure> {
    let fs = rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(&fs, c"source", source)?;
    }
    configure(&fs, options, |fs| {
        rustix::mount::fsconfig_create(fs)?;
        let attrs = MountAttrFlags::from_bits_retain(attrs as u32);
        rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attrs)
    })
}

/// Sets options and does what they are for; with the file system's own words if it refuses.
fn configure<T>(
    fs: &OwnedFd,
    options: &[(std::ffi::CString, Option<std::ffi::CString>)],
    finish: impl FnOnce(&OwnedFd) -> Result<T, Errno>,
) -> Result<T, Failure> {
    let made = (|| {
        for (key, value) in options {
            match value {
                Some(value) => rustix::mount::fsconfig_set_string(fs, key.as_c_str(), value.as_c_str())?,
                None => rustix::mount::fsconfig_set_flag(fs, key.as_c_str())?,
            }
        }
        finish(fs)
    })();
    made.map_err(|errno| {
        let mut said = [0u8; 100];
        match rustix::io::read(fs, &mut said) {
            // The line starts with its kind and a blank.
            Ok(length) => Failure::with_text(errno, said.get(2..length).unwrap_or_default()),
            Err(_) => errno.into(),
        }
    })
}

pub(super) fn set_attr(mount: &OwnedFd, set: u64, propagation: u64, recursive: bool) -> Result<(), Errno> {
    change(mount, [set, 0, propagation], recursive)
}

/// Attributes to set, to clear, and the propagation.
fn change(mount: &OwnedFd, [set, clear, propagation]: [u64; 3], recursive: bool) -> Result<(), Errno> {
    // The kernel's `struct mount_attr`; last comes a user namespace.
    let attr: [u64; 4] = [set, clear, propagation, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: a C string and a live struct of the length that is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    })
    .map(drop)
}

/// Binds a file that is open in this mount namespace on a target.
pub(super) fn bind_file(state: &State<'_>, source: BorrowedFd<'_>, target: &Target) -> Result<(), Errno> {
    let target = file(state.root()?, target)?;
    let tree = clone(source, false)?;
    attach(tree.as_fd(), target.as_fd())
}

fn clone(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(source, c"", flags)
}

pub(super) fn node(state: &State<'_>, node: &NodeStep) -> Result<(), Failure> {
    let (dir, name) = parent(state.root()?, &node.target)?;
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(&dir, name, FileType::from_raw_mode(node.mode), mode, node.dev) {
        Ok(()) => {}
        Err(Errno::EXIST) => return existing_node(&dir, name, node),
        // A user namespace makes no nodes: take the machine's.
        Err(Errno::PERM) => {
            let host = rustix::fs::open(node.host.as_c_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            return Ok(bind_file(state, host.as_fd(), &node.target)?);
        }
        Err(e) => return Err(e.into()),
    }
    if node.uid != 0 || node.gid != 0 {
        let (uid, gid) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
        rustix::fs::chownat(&dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// What the image has there already must be that very device.
fn existing_node(dir: &OwnedFd, name: &CStr, node: &NodeStep) -> Result<(), Failure> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let same = FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(node.mode)
        && stat.st_rdev == node.dev;
    if same { Ok(()) } else { Err(Failure::with_text(Errno::EXIST, b"the image has something else there")) }
}

pub(super) fn symlink(state: &State<'_>, to: &CStr, at: &Target, replace: bool) -> Result<(), Errno> {
    let (dir, name) = parent(state.root()?, at)?;
    if replace {
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    match rustix::fs::symlinkat(to, &dir, name) {
        Err(Errno::EXIST) if !replace => Ok(()),
        other => other,
    }
}

/// Mask sources are the machine's own null device, verified, and a tmpfs of ours: never what the image has at
/// /dev/null (CVE-2025-31133). They are read-only, so that nobody changes the device's mode through them.
pub(super) fn mask(state: &mut State<'_>, path: &CStr) -> Result<(), Failure> {
    let target = match sensitive(state, path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let attrs = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory {
        let tree = match &state.empty {
            Some(empty) => clone(empty.as_fd(), false)?,
            None => new_fs(c"tmpfs", c"tmpfs", &[], u64::from(attrs.bits()))?,
        };
        attach(tree.as_fd(), target.as_fd())?;
        if state.empty.is_none() {
            state.empty = Some(tree);
        }
        return Ok(());
    }
    if state.null.is_none() {
        state.null = Some(null_device()?);
    }
    let null = state.null.as_ref().ok_or(Errno::NODEV)?;
    let tree = clone(null.as_fd(), false)?;
    let attrs = attrs.difference(MountAttrFlags::MOUNT_ATTR_NODEV);
    set_attr(&tree, attrs.bits().into(), libc::MS_PRIVATE, false)?;
    Ok(attach(tree.as_fd(), target.as_fd())?)
}

fn null_device() -> Result<OwnedFd, Failure> {
    let null = rustix::fs::open(c"/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&null)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null {
        Ok(null)
    } else {
        Err(Failure::with_text(Errno::NODEV, b"/dev/null is not the null device"))
    }
}

pub(super) fn readonly(state: &State<'_>, path: &CStr) -> Result<(), Errno> {
    let target = match sensitive(state, path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let tree = clone(target.as_fd(), true)?;
    let attrs = MountAttrFlags::MOUNT_ATTR_RDONLY.bits();
    set_attr(&tree, attrs.into(), libc::MS_PRIVATE, true)?;
    attach(tree.as_fd(), target.as_fd())
}

pub(super) fn open_proc(state: &mut State<'_>) -> Result<(), Failure> {
    state.proc = Some(new_fs(c"proc", c"proc", &[], 0)?);
    Ok(())
}

/// The private procfs has nothing mounted over it, and links in it are refused: a write can't be led
/// elsewhere (CVE-2025-52881).
pub(super) fn write_proc(
    state: &State<'_>,
    path: &CStr,
    content: &[u8],
    optional: bool,
) -> Result<(), Errno> {
    let proc = state.proc.as_ref().ok_or(Errno::BADF)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = match open(proc.as_fd(), path, OFlags::WRONLY, resolve) {
        Err(Errno::NOENT) if optional => return Ok(()),
        other => other?,
    };
    rustix::io::write(&file, content).map(drop)
}

pub(super) fn write_file(path: &CStr, content: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content).map(drop)
}

/// pivot_root(2) of a directory onto itself: the machine's tree ends up on top of ours and is taken off.
pub(super) fn pivot(state: &State<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(state.root()?)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// What switch_root(8) does: the root file system covers `/` already, and has only to be entered.
pub(super) fn chroot(state: &State<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(state.root()?)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

pub(super) fn hide(path: &CStr) -> Result<(), Errno> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        // Gone, or below one that is gone.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // A mount that came from a more powerful namespace stays where it is.
        Err(Errno::INVAL | Errno::PERM) => {
            rustix::mount::mount(c"tmpfs", path, c"tmpfs", rustix::mount::MountFlags::empty(), None::<&CStr>)
        }
        Err(e) => Err(e),
    }
}
