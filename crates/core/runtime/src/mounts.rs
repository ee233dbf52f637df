//! The mounts of a specification as steps. Sources on the machine are cloned before the process exists;
//! kernel file systems are made by the process, in its namespaces.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use oci::runtime::{Mount, NamespaceType, Spec};
use rustix::fs::FileType;
use rustix::mount::MountAttrFlags;
use sys::child::{MountSource, MountStep, RemountStep, SLOTS, Step, Target};
use sys::mount::{Propagation, SetAttr};
use sys::root::Root;

use crate::Error;
use crate::cgroup::Cgroup;
use crate::options::Options;
use crate::plan::{Label, Plan, c_string, mount_error, said};
use crate::userns;

mod copy_up;

/// Mount option `dhow.subpath=<relative path>` of a bind: mount only that part of the source, whatever links there are
/// on the way to it. Beyond the runtime specification: a source path alone cannot say where trust ends.
pub const SUBPATH: &str = "dhow.subpath";

/// Mount option `dhow.mounts-of=<mount namespace>` of a bind: the source is what is mounted at that path there. The kernel clones
/// mounts of one's own namespace alone, so that no path leads to another container's.
pub const MOUNTS_OF: &str = "dhow.mounts-of";

/// What lies in /proc and may be mounted over, as with lxcfs.
const OVER_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/net/dev",
    "/proc/sys/crypto/fips_enabled",
];

/// What the mounts of a container are made against.
pub(crate) struct Scene<'a> {
    pub spec: &'a Spec,
    /// Where relative sources start.
    pub bundle: &'a Path,
    /// The root file system, before anything is mounted in it.
    pub root: &'a Root,
    pub cgroup: Option<&'a Cgroup>,
    /// The container's mounts are the machine's: where its root file system is attached.
    pub over: Option<&'a Path>,
    /// Mounts are listed in the order of the specification, which costs time.
    pub in_order: bool,
}

/// Read-only file systems that the runtime has to fill first: the remembered mounts to be closed at the end.
#[derive(Debug, Default)]
pub(crate) struct Late {
    slots: usize,
}

impl Late {
    pub fn slot(&mut self) -> Option<usize> {
        let slot = self.slots;
        (slot < SLOTS).then(|| {
            self.slots += 1;
            slot
        })
    }

    /// Makes the remembered mounts read-only.
    pub fn close(&self, plan: &mut Plan) {
        for slot in 0..self.slots {
            let set = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
            plan.push(
                "make a mount read-only",
                Step::SetAttr { slot: Some(slot), set, propagation: 0, recursive: false },
            );
        }
    }
}

/// Plans all mounts, in their order.
pub(crate) fn plan(scene: &Scene<'_>, plan: &mut Plan) -> Result<Late, Error> {
    let mut late = Late::default();
    let label = scene.spec.linux.as_ref().map(|linux| linux.mount_label.as_str()).unwrap_or_default();
    if !label.is_empty() && !crate::process::selinux() {
        plan.warnings.push(format!("mountLabel {label:?} is ignored: SELinux is not enabled here"));
    }
    for mount in &scene.spec.mounts {
        let destination = clean(&mount.destination)?;
        let options = Options::parse(&mount.options);
        let bind_mount = options.bind || mount.typ == "bind";
        if options.remount {
            remount(plan, mount, destination, &options)?;
            continue;
        }
        if !bind_mount
            && (options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty())
        {
            let what = format!("mapping the ids of the {} mount at {}", mount.typ, destination.display());
            return Err(Error::Unsupported { what: format!("{what}, which is no bind mount,") });
        }
        if bind_mount {
            bind(scene, plan, mount, destination, &options)?;
        } else if mount.typ == "cgroup" || mount.typ == "cgroup2" {
            crate::cgroup::mount::plan(scene, plan, &mut late, &mount.typ, destination, &options)?;
        } else {
            file_system(scene, plan, &mut late, mount, destination, &options)?;
        }
    }
    Ok(late)
}

/// The path without `.` and `..`, as text. One that is not absolute starts at the root as well: the specification asks
/// for that for the sake of old ones.
pub(crate) fn clean(path: &Path) -> Result<PathBuf, Error> {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    if path.as_os_str().is_empty() {
        return Err(Error::Spec { reason: "a mount without destination".to_owned() });
    }
    Ok(clean)
}

/// Where kernel file systems go no component may be a symbolic link: the image could lead a mount elsewhere.
pub(crate) fn target(path: &Path) -> Result<Target, Error> {
    Target::new(path, is_kernels(path))
        .map_err(|_| Error::Spec { reason: format!("bad path {}", path.display()) })
}

/// Where no link is followed: there file systems of the kernel go.
pub(crate) fn is_kernels(path: &Path) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|dir| path.starts_with(dir))
}

fn bind(
    scene: &Scene<'_>,
    plan: &mut Plan,
    mount: &Mount,
    destination: PathBuf,
    options: &Options,
) -> Result<(), Error> {
    let source = scene.bundle.join(&mount.source);
    outside_proc(&source, &destination)?;
    let fail = |e: io::Error| mount_error(source.clone(), destination.clone(), errno(&e), "");
    let cloned = match (options.value(MOUNTS_OF), options.value(SUBPATH)) {
        (Some(namespace), _) => clone_of(Path::new(namespace), &source),
        (None, Some(part)) => clone_part(&source, part, options.recursive),
        (None, None) => sys::mount::clone_tree(&source, options.recursive),
    };
    let tree = match cloned {
        Ok(tree) => tree,
        Err(sys::mount::Error::Clone { source: e, .. }) => return Err(fail(e)),
        Err(e) => return Err(Error::Rootfs { source: e }),
    };
    let stat = rustix::fs::fstat(&tree).map_err(|e| fail(e.into()))?;
    if destination == Path::new("/proc") && !is_proc(&tree) {
        let text = "cannot be mounted because it is not of type proc";
        return Err(mount_error(source, destination, libc::EPERM, text));
    }
    prepare(scene, plan, &tree, mount, options, &source, &destination)?;
    // What can't be bound can't be copied either.
    let (propagation, recursive) =
        options.propagation.filter(|(kind, _)| *kind == libc::MS_UNBINDABLE).unwrap_or((0, false));
    let step = MountStep {
        directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        over_proc: over_proc(&destination),
        target: target(&destination)?,
        source: MountSource::Tree(tree),
        attrs: 0,
        propagation,
        recursive,
        slot: None,
        renew: scene.in_order,
    };
    plan.labeled(Label::Mount { source, destination }, Step::Mount(Box::new(step)));
    Ok(())
}

/// Clones a part of `source`. The kernel resolves it below the source, where another container may be swapping
/// directories for links meanwhile.
fn clone_part(source: &Path, part: &str, recursive: bool) -> Result<OwnedFd, sys::mount::Error> {
    let cloned = Root::open(source)
        .and_then(|root| root.resolve(part))
        .and_then(|found| sys::mount::open_tree_clone(found.as_fd(), Path::new(""), recursive));
    cloned.map_err(|e| sys::mount::Error::Clone { path: source.join(part), source: e })
}

/// Clones what is mounted at `source` in another mount namespace.
fn clone_of(namespace: &Path, source: &Path) -> Result<OwnedFd, sys::mount::Error> {
    let cloned = std::fs::File::open(namespace)
        .and_then(|namespace| sys::mount::clone_within(namespace.as_fd(), source));
    cloned.map_err(|e| sys::mount::Error::Clone { path: source.to_owned(), source: e })
}

/// The user namespace whose maps a mount takes: its own, or else the container's.
fn mapping(scene: &Scene<'_>, mount: &Mount) -> Result<OwnedFd, Error> {
    let (Some(linux), true) = (scene.spec.linux.as_ref(), mount.uid_mappings.is_empty()) else {
        return userns::with_maps(&mount.uid_mappings, &mount.gid_mappings);
    };
    let joined = linux.namespace(NamespaceType::User);
    match joined.and_then(|namespace| namespace.path.as_deref()) {
        Some(path) => crate::namespaces::open_as(NamespaceType::User, path),
        None => userns::with_maps(&linux.uid_mappings, &linux.gid_mappings),
    }
}

/// Sets attributes of a cloned tree while nobody sees it.
fn prepare(
    scene: &Scene<'_>,
    plan: &mut Plan,
    tree: &OwnedFd,
    mount: &Mount,
    options: &Options,
    source: &Path,
    destination: &Path,
) -> Result<(), Error> {
    let fail = |e: io::Error| mount_error(source.to_owned(), destination.to_owned(), errno(&e), "");
    if options.idmap.is_some() || !mount.uid_mappings.is_empty() {
        let namespace = mapping(scene, mount)?;
        sys::mount::idmap(tree, namespace, options.idmap.unwrap_or(false)).map_err(fail)?;
    }
    // A clone of a shared mount is its peer: without this the container's mounts would show on the machine.
    let (propagation, recursive) = match options.propagation {
        Some((libc::MS_PRIVATE, recursive)) => (Propagation::Private, recursive),
        Some((libc::MS_SHARED, recursive)) => (Propagation::Shared, recursive),
        Some((libc::MS_UNBINDABLE, recursive)) => (Propagation::Private, recursive),
        Some((_, recursive)) => (Propagation::Slave, recursive),
        None => (Propagation::Slave, true),
    };
    let change = SetAttr { propagation: Some(propagation), recursive, ..SetAttr::default() };
    sys::mount::set_attr(tree, &change).map_err(fail)?;
    for (change, recursive) in [(options.attrs, false), (options.recursive_attrs, true)] {
        if !change.is_none() {
            let change = SetAttr { set: change.set, clear: change.clear, propagation: None, recursive };
            sys::mount::set_attr(tree, &change).map_err(fail)?;
        }
    }
    for (key, _) in options.data.iter().filter(|(key, _)| ![SUBPATH, MOUNTS_OF].contains(&key.as_str())) {
        plan.warnings.push(format!("mount option {key:?} of {} is ignored", destination.display()));
    }
    Ok(())
}

fn file_system(
    scene: &Scene<'_>,
    plan: &mut Plan,
    late: &mut Late,
    mount: &Mount,
    destination: PathBuf,
    options: &Options,
) -> Result<(), Error> {
    let name =
        if mount.source.as_os_str().is_empty() { mount.typ.as_str().into() } else { mount.source.clone() };
    outside_proc(&name, &destination)?;
    if mount.typ.is_empty() {
        return Err(Error::Spec { reason: format!("mount at {} has no type", destination.display()) });
    }
    let mut words = Vec::new();
    if mount.typ == "tmpfs" && options.value("mode").is_none() {
        // As runc: it looks like the directory that it covers.
        if let Ok(stat) = scene.root.stat(&destination) {
            words.push((c"mode".to_owned(), Some(c_string(format!("{:o}", stat.st_mode & 0o7777), "mode")?)));
        }
    }
    words.extend(data(options)?);
    let label = scene.spec.linux.as_ref().map(|linux| linux.mount_label.as_str()).unwrap_or_default();
    let unlabelled = ["proc", "sysfs", "mqueue", "devpts"].contains(&mount.typ.as_str());
    if !label.is_empty() && !unlabelled && options.value("context").is_none() && crate::process::selinux() {
        words.push((c"context".to_owned(), Some(c_string(label, "mountLabel")?)));
    }
    let mut attrs = options.attrs.and(options.recursive_attrs).set;
    if attrs.contains(MountAttrFlags::MOUNT_ATTR_RDONLY) && is_block_device(&name) {
        // A device that is read-only itself takes no other.
        words.push((c"ro".to_owned(), None));
    }
    // What is mounted below needs its mount point made first.
    let readonly = attrs.contains(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let slot = if mount.typ == "tmpfs" && readonly { late.slot() } else { None };
    if slot.is_some() {
        attrs.remove(MountAttrFlags::MOUNT_ATTR_RDONLY);
    }
    let (propagation, recursive) = options.propagation.unwrap_or((0, false));
    let source = if options.copy_up {
        if mount.typ != "tmpfs" {
            return Err(Error::Unsupported { what: format!("mount option tmpcopyup of type {}", mount.typ) });
        }
        let fail = |e: io::Error| mount_error(name.clone(), destination.clone(), errno(&e), "tmpcopyup");
        let tree = copy_up::tmpfs(scene.root, &destination, &name, words, attrs).map_err(fail)?;
        attrs = MountAttrFlags::empty();
        MountSource::Tree(tree)
    } else {
        MountSource::Fs {
            fs_type: c_string(mount.typ.as_str(), "a mount type")?,
            source: c_string(name.as_os_str().as_encoded_bytes(), "a mount source")?,
            options: words,
        }
    };
    let step = MountStep {
        source,
        target: target(&destination)?,
        directory: true,
        attrs: attrs.bits().into(),
        propagation,
        recursive,
        over_proc: over_proc(&destination),
        slot,
        renew: false,
    };
    plan.labeled(Label::Mount { source: name, destination }, Step::Mount(Box::new(step)));
    Ok(())
}

/// Changes what is mounted at a destination already. With `bind` that is the mount alone, else its file system too.
fn remount(plan: &mut Plan, mount: &Mount, destination: PathBuf, options: &Options) -> Result<(), Error> {
    let bind = options.bind || mount.typ == "bind";
    let mut words = Vec::new();
    if !bind {
        let readonly = if options.readonly() { c"ro" } else { c"rw" };
        words.push((readonly.to_owned(), None));
        words.extend(data(options)?);
    } else if let Some((key, _)) = options.data.first() {
        plan.warnings.push(format!("mount option {key:?} of {} is ignored", destination.display()));
    }
    let change = options.attrs.and(options.recursive_attrs);
    let atime = MountAttrFlags::MOUNT_ATTR__ATIME;
    let mut clear = change.clear;
    if change.set.intersects(atime) || clear.intersects(atime) {
        clear.insert(atime);
    }
    let (propagation, recursive) = options.propagation.unwrap_or((0, false));
    let step = RemountStep {
        target: target(&destination)?,
        set: change.set.bits().into(),
        clear: clear.bits().into(),
        options: words,
        propagation,
        recursive: recursive || !options.recursive_attrs.is_none(),
    };
    plan.labeled(Label::Mount { source: mount.source.clone(), destination }, Step::Remount(Box::new(step)));
    Ok(())
}

/// The options of a file system.
fn data(options: &Options) -> Result<Vec<(CString, Option<CString>)>, Error> {
    let option = |(key, value): &(String, Option<String>)| {
        let value = value.as_deref().map(|value| c_string(value, "a mount option")).transpose()?;
        Ok((c_string(key.as_str(), "a mount option")?, value))
    };
    options.data.iter().map(option).collect()
}

/// Where a new mount of the machine's procfs or sysfs can be seen: what pivot_root(2) takes away as a matter of course.
pub(crate) fn full_of_knobs(mountinfo: &str) -> Vec<String> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let kind = right.split(' ').next()?;
        matches!(kind, "proc" | "sysfs")
            .then(|| crate::cgroup::unescape(left.split(' ').nth(4).unwrap_or("/")))
    };
    let mut paths: Vec<String> = mountinfo.lines().filter_map(parse).collect();
    // What lies deeper goes first.
    paths.reverse();
    paths
}

/// Refuses by the path alone; what a link makes of it is the process' to check.
fn outside_proc(source: &Path, destination: &Path) -> Result<(), Error> {
    let inside = destination.starts_with("/proc") && destination != Path::new("/proc");
    if inside && !over_proc(destination) {
        let text = format!("{destination:?} cannot be mounted because it is inside /proc");
        return Err(mount_error(source.to_owned(), destination.to_owned(), libc::EPERM, &text));
    }
    Ok(())
}

fn is_block_device(source: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    source.is_absolute() && std::fs::metadata(source).is_ok_and(|found| found.file_type().is_block_device())
}

fn over_proc(destination: &Path) -> bool {
    OVER_PROC.iter().any(|path| destination == Path::new(path))
}

fn is_proc(tree: &OwnedFd) -> bool {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    rustix::fs::fstatfs(tree.as_fd()).is_ok_and(|fs| fs.f_type as u64 == PROC_SUPER_MAGIC)
}

pub(crate) fn errno(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}

/// The root file system as a detached mount.
pub(crate) fn rootfs(rootfs: &crate::Rootfs) -> Result<OwnedFd, Error> {
    match rootfs {
        crate::Rootfs::Overlay(overlay) => overlay.mount().map_err(|source| Error::Rootfs { source }),
        crate::Rootfs::Path(path) => {
            let tree = sys::mount::clone_tree(path, true).map_err(|source| Error::Rootfs { source })?;
            let change =
                SetAttr { propagation: Some(Propagation::Private), recursive: true, ..SetAttr::default() };
            sys::mount::set_attr(&tree, &change).map_err(|source| Error::Call {
                attempt: format!("make the mount of {} private", path.display()),
                source,
            })?;
            Ok(tree)
        }
    }
}

/// `linux.rootfsPropagation` as bits, and whether for all below.
pub(crate) fn root_propagation(word: &str) -> Result<Option<(u64, bool)>, Error> {
    if word.is_empty() {
        return Ok(None);
    }
    match Options::parse(&[word.to_owned()]).propagation {
        Some(propagation) => Ok(Some(propagation)),
        None => Err(Error::Spec { reason: format!("rootfsPropagation {word:?}: {}", said(libc::EINVAL)) }),
    }
}

/// Whether the runtime fills /dev: not where the specification binds one.
pub(crate) fn makes_dev(spec: &Spec) -> bool {
    !spec.mounts.iter().any(|mount| {
        let bind = mount.typ == "bind" || Options::parse(&mount.options).bind;
        bind && clean(&mount.destination).is_ok_and(|path| path == Path::new("/dev"))
    })
}

/// Whether the process has a control group namespace, new or joined.
pub(crate) fn has_cgroup_namespace(spec: &Spec) -> bool {
    let linux = spec.linux.as_ref();
    linux.is_some_and(|linux| linux.namespace(NamespaceType::Cgroup).is_some())
}
