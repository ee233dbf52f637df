//! Mounts as descriptors: the new mount API (Linux 5.2, `mount_setattr` 5.12).
//!
//! A detached mount belongs to no mount namespace, nobody else sees it, and it vanishes with its last
//! descriptor unless it has been moved into a namespace. So nothing here leaves anything behind on the
//! machine. [`Root::from_fd`] gives access to the files of a detached mount.
//!
//! [`Root::from_fd`]: crate::root::Root::from_fd

mod page;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use serde::{Deserialize, Serialize};

use crate::root::Root;

/// A mount that the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open file system type {fs_type}")]
    Type { fs_type: String, source: io::Error },
    #[error("set {option} of {fs_type}{}", said(.log))]
    Option { fs_type: String, option: String, log: String, source: io::Error },
    #[error("mount {fs_type}{}", said(.log))]
    Mount { fs_type: String, log: String, source: io::Error },
    #[error("clone the mount at {path}")]
    Clone { path: PathBuf, source: io::Error },
    #[error("remove the mark {path} of a volatile overlay")]
    Mark { path: PathBuf, source: io::Error },
    #[error("overlay without layers")]
    NoLayers,
    #[error("{0} layers: the kernel lays no more than {LAYERS_MAX} over each other")]
    TooManyLayers(usize),
}

/// So many directories make an overlay at most (`OVL_MAX_STACK`).
pub const LAYERS_MAX: usize = 500;

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// An overlay of immutable layers with an optional writable one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Topmost first: directories, and files named `*.erofs`, which are mounted for it.
    pub lower: Vec<PathBuf>,
    /// Takes the writes. Without it the mount is read-only.
    pub upper: Option<PathBuf>,
    /// An empty directory on the file system of `upper`; needed with it.
    pub work: Option<PathBuf>,
    /// Omit all syncs: contents are lost at a crash of the machine. For throw-away steps.
    pub volatile: bool,
}

impl Overlay {
    /// Makes the detached mount. One directory alone needs no overlay and is bind-mounted; its writes, if it
    /// is `upper`, go straight to it.
    pub fn mount(&self) -> Result<OwnedFd, Error> {
        match (&self.upper, self.lower.as_slice()) {
            (None, []) => Err(Error::NoLayers),
            (_, lower) if lower.len() > LAYERS_MAX => Err(Error::TooManyLayers(lower.len())),
            (Some(upper), []) => clone_tree(upper, false),
            (None, [only]) if is_image(only) => image(only),
            (None, [only]) => {
                let tree = clone_tree(only, false)?;
                let attrs = SetAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..SetAttr::default() };
                set_attr(&tree, &attrs).map_err(|source| Error::Clone { path: only.clone(), source })?;
                Ok(tree)
            }
            _ => self.mount_layers(),
        }
    }

    fn mount_layers(&self) -> Result<OwnedFd, Error> {
        if self.volatile {
            self.forget_volatile()?;
        }
        if !takes_layers_one_by_one() {
            return page::mount(self).map_err(|source| Error::Mount {
                fs_type: "overlay".to_owned(),
                log: format!("{} layers", self.lower.len()),
                source,
            });
        }
        let mut fs = Context::open("overlay")?;
        // The directories are named through descriptors when their paths are too long for fsconfig.
        let mut held = Vec::new();
        for layer in &self.lower {
            let name =
                if is_image(layer) { named(image(layer)?, &mut held) } else { short(layer, &mut held)? };
            fs.set("lowerdir+", &name)?;
        }
        if self.lower.iter().any(|layer| is_image(layer)) {
            // Else files of one directory would lie on different devices, and who stays on one (`tar`, `find -xdev`) leave
            // them out. The numbers of files in images are small.
            fs.set("xino", "on")?;
        }
        if let Some(upper) = &self.upper {
            fs.set("upperdir", &short(upper, &mut held)?)?;
            fs.set("workdir", &short(self.work.as_deref().unwrap_or(Path::new("")), &mut held)?)?;
            // Whiteouts and whole files only, so that the upper directory can become a layer as it is.
            fs.set("redirect_dir", "off")?;
            fs.set("metacopy", "off")?;
            fs.set("index", "off")?;
            if self.volatile {
                fs.flag("volatile")?;
            }
        }
        fs.create()?;
        fs.mount(MountAttrFlags::empty())
    }
}

impl Overlay {
    /// A volatile mount leaves a mark in its work directory, by which the kernel refuses every later mount: the machine may
    /// have crashed in between. Who asks for a volatile mount doesn't mind.
    fn forget_volatile(&self) -> Result<(), Error> {
        let Some(work) = &self.work else { return Ok(()) };
        let mark = work.join("work/incompat/volatile");
        let gone = |removed: rustix::io::Result<()>| match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::Mark { path: mark.clone(), source: e.into() }),
        };
        gone(rustix::fs::unlink(mark.join("dirty")))?;
        gone(rustix::fs::rmdir(&mark))?;
        gone(rustix::fs::rmdir(work.join("work/incompat")))?;
        Ok(())
    }
}

/// Whether overlayfs knows `lowerdir+` (Linux 6.5). Asking it costs a line in the kernel's log where it doesn't, because
/// older ones look at their options only when all are there.
fn takes_layers_one_by_one() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0_u32));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 5)
}

/// A name for a directory that fits into an fsconfig string and holds no separator.
fn short(path: &Path, held: &mut Vec<OwnedFd>) -> Result<String, Error> {
    if let Some(text) = path.to_str()
        && text.len() < 200
        && !text.contains([':', ',', '\\'])
    {
        return Ok(text.to_owned());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| Error::Clone { path: path.to_owned(), source: e.into() })?;
    Ok(named(fd, held))
}

/// A name for what a descriptor is open on, as long as that is held.
fn named(fd: OwnedFd, held: &mut Vec<OwnedFd>) -> String {
    let name = format!("/proc/thread-self/fd/{}", fd.as_raw_fd());
    held.push(fd);
    name
}

/// Whether a layer is a file with an EROFS image.
pub fn is_image(layer: &Path) -> bool {
    layer.extension() == Some(OsStr::new("erofs"))
}

/// Mounts an EROFS image from its file, detached (Linux 6.12). Each mount caches its files on its own.
pub fn image(path: &Path) -> Result<OwnedFd, Error> {
    let mut fs = Context::open("erofs")?;
    let mut held = Vec::new();
    let source = match path.to_str().filter(|text| text.len() < 200) {
        Some(text) => text.to_owned(),
        None => {
            let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            named(fd.map_err(|e| Error::Clone { path: path.to_owned(), source: e.into() })?, &mut held)
        }
    };
    fs.set("source", &source)?;
    fs.flag("ro")?;
    fs.create()?;
    fs.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// The files of one layer, whether it is a directory or an image.
pub fn layer_root(layer: &Path) -> io::Result<Root> {
    if is_image(layer) {
        image(layer).map_err(io::Error::other).and_then(Root::from_fd)
    } else {
        Root::open(layer)
    }
}

/// A file system being configured: `fsopen` … `fsmount`.
#[derive(Debug)]
pub struct Context {
    fd: OwnedFd,
    fs_type: String,
}

impl Context {
    /// Starts a new file system of a type.
    pub fn open(fs_type: &str) -> Result<Context, Error> {
        let fd = rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|e| Error::Type { fs_type: fs_type.to_owned(), source: e.into() })?;
        Ok(Context { fd, fs_type: fs_type.to_owned() })
    }

    /// Sets `key=value`.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value)
            .map_err(|e| self.refused(&format!("{key}={value}"), e))
    }

    /// Sets an option without a value.
    pub fn flag(&mut self, key: &str) -> Result<(), Error> {
        rustix::mount::fsconfig_set_flag(&self.fd, key).map_err(|e| self.refused(key, e))
    }

    /// Makes the superblock.
    pub fn create(&mut self) -> Result<(), Error> {
        rustix::mount::fsconfig_create(&self.fd).map_err(|e| self.failed(e))
    }

    /// Makes the detached mount.
    pub fn mount(self, attrs: MountAttrFlags) -> Result<OwnedFd, Error> {
        rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attrs).map_err(|e| self.failed(e))
    }

    fn refused(&self, option: &str, e: Errno) -> Error {
        let (fs_type, option) = (self.fs_type.clone(), option.to_owned());
        Error::Option { fs_type, option, log: self.log(), source: e.into() }
    }

    fn failed(&self, e: Errno) -> Error {
        Error::Mount { fs_type: self.fs_type.clone(), log: self.log(), source: e.into() }
    }

    /// What the file system says about its refusal: lines of `e text`, `w text` or `i text`.
    fn log(&self) -> String {
        let mut text = String::new();
        let mut line = [0u8; 512];
        while let Ok(n) = rustix::io::read(&self.fd, &mut line) {
            let said = String::from_utf8_lossy(&line[..n]);
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(said.trim_end().get(2..).unwrap_or_default());
        }
        text
    }
}

/// Clones the mount at a path of the machine into a detached one; links in the path are followed. `recursive`
/// takes the mounts below it along.
pub fn clone_tree(path: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    open_tree_clone(CWD, path, recursive).map_err(|source| Error::Clone { path: path.to_owned(), source })
}

/// Clones the mount at `path` below `dir` (the empty path is `dir` itself) into a detached one.
pub fn open_tree_clone(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(dir, path, flags)?)
}

/// Clones the one mount at `path` in another mount namespace into a detached one. A thread of its own goes there, as only one
/// that shares its directories with no other may; what the path leads to is looked up below the root that it finds there.
pub fn clone_within(namespace: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let clone = || {
        unshare_directories()?;
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
        let found = Root::open(Path::new("/"))?.resolve(path)?;
        open_tree_clone(found.as_fd(), Path::new(""), false)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mounts".into()).stack_size(256 << 10);
        let outcome = thread.spawn_scoped(scope, clone)?.join();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[allow(unsafe_code)]
fn unshare_directories() -> io::Result<()> {
    // SAFETY: only CLONE_FILES has the I/O-safety hazard that makes this function unsafe.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?)
}

/// Attaches a mount on the file or directory that `target` is open on.
pub fn move_mount_into(tree: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree.as_fd(), "", target.as_fd(), "", flags)?)
}

/// A change of a mount's attributes.
#[derive(Clone, Copy, Debug)]
pub struct SetAttr {
    pub set: MountAttrFlags,
    pub clear: MountAttrFlags,
    pub propagation: Option<Propagation>,
    pub recursive: bool,
}

impl Default for SetAttr {
    fn default() -> SetAttr {
        let none = MountAttrFlags::empty();
        SetAttr { set: none, clear: none, propagation: None, recursive: false }
    }
}

/// How mount events travel between namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Private,
    Slave,
    Shared,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
        }
    }
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes attributes of the mount that `mount` is open on.
pub fn set_attr(mount: impl AsFd, change: &SetAttr) -> io::Result<()> {
    let mut attr = MountAttr {
        attr_set: change.set.bits().into(),
        attr_clr: change.clear.bits().into(),
        propagation: change.propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    // The access time mode is one field: setting any value of it clears the field first.
    let atime = MountAttrFlags::MOUNT_ATTR__ATIME;
    if change.set.intersects(atime) || change.clear.intersects(atime) {
        attr.attr_clr |= u64::from(atime.bits());
    }
    setattr(mount.as_fd(), &attr, change.recursive)
}

/// Maps the owners of files seen through a detached mount as `user_namespace` maps ids (Linux 5.12).
pub fn idmap(mount: impl AsFd, user_namespace: impl AsFd, recursive: bool) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: MountAttrFlags::MOUNT_ATTR_IDMAP.bits().into(),
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_fd().as_raw_fd() as u64,
    };
    setattr(mount.as_fd(), &attr, recursive)
}

fn setattr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid C string, and `attr` points to a struct of the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attr,
            size_of::<MountAttr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
