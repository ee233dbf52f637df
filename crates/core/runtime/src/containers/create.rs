//! `create`: everything up to the gate.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use oci::runtime::Linux;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::bundle::{self, Bundle};
use super::folder::Folder;
use super::identity::Identity;
use super::record::{Gate, Record};
use super::scope::Place;
use super::{CgroupManager, Container, Error, id};
use super::{notify, rootfs};
use crate::cgroup::Cgroup;
use crate::{Created, Rootfs, Stdio, userns};

/// What is asked for.
#[derive(Debug)]
pub struct Create<'a> {
    /// The state root.
    pub root: &'a Path,
    pub id: &'a str,
    pub bundle: &'a Path,
    pub cgroups: CgroupManager,
    /// Go on without a control group where we may not make one.
    pub cgroup_optional: bool,
    /// Where the master of the terminal is sent. `None`: it comes back to the caller.
    pub console_socket: Option<&'a Path>,
    /// Descriptors from 3 on that the program gets.
    pub preserve_fds: u32,
    /// So many of them come from a service manager: the program is told, as sd_listen_fds(3) has it.
    pub listen_fds: u32,
    /// Whether a service manager wants to be told what the program says: see [`super::Notify`].
    pub notify: bool,
    /// As in [`crate::Create`].
    pub no_pivot: bool,
    /// As in [`crate::Create`].
    pub inherit_keyring: bool,
}

/// A container at its gate.
#[derive(Debug)]
pub struct Waiting {
    pub container: Container,
    pub pid: i32,
    /// The init, which is a child of this process.
    pub pidfd: OwnedFd,
    /// Unless it was sent away.
    pub master: Option<OwnedFd>,
    pub warnings: Vec<String>,
}

/// Creates a container, which waits for [`super::start()`] of whatever process. `check` may refuse its process. After
/// an error nothing is left of it.
pub fn create(
    request: &Create<'_>,
    check: impl FnOnce(&oci::runtime::Process) -> Result<(), Error>,
) -> Result<Waiting, Error> {
    id::check(request.id)?;
    let mut bundle = bundle::read(request.bundle)?;
    if let Some(process) = &bundle.spec.process {
        check(process)?;
    }
    let (mut place, cgroup) = adapt(request, &mut bundle)?;
    let mut record = Record::new(request.id, &bundle.spec, bundle.path.clone(), bundle.rootfs.clone());
    record.elsewhere = cgroup.as_ref().map(|cgroup| cgroup.elsewhere().clone()).unwrap_or_default();
    record.scope = place.as_ref().map(|place| place.unit().to_owned());
    let (folder, _lock) = Folder::create(request.root, request.id)?;
    match set_up(request, bundle, &folder, record, place.as_mut(), cgroup) {
        Ok(made) => Ok(Waiting {
            container: Container { folder, record: made.record },
            pid: made.pid,
            pidfd: made.pidfd,
            master: made.master,
            warnings: made.warnings,
        }),
        Err(error) => {
            if let Some(place) = &mut place {
                place.undo();
            }
            // The error that stopped us is the one to tell.
            let _ = folder.read_record().and_then(|record| rootfs::unmount(&record));
            let _ = folder.remove();
            Err(error)
        }
    }
}

/// What the document leaves to the runtime.
fn adapt(request: &Create<'_>, bundle: &mut Bundle) -> Result<(Option<Place>, Option<Cgroup>), Error> {
    let (mut place, mut cgroup) = (None, None);
    if let Some(linux) = &mut bundle.spec.linux {
        if request.cgroups == CgroupManager::Systemd {
            place = Some(Place::find(linux, request.id)?);
        } else {
            cgroup = find(request, linux)?;
        }
    }
    if let (1.., Some(process)) = (request.listen_fds, &mut bundle.spec.process) {
        // The init of a pid namespace, or a process that can't know its number any better.
        process.env.extend([format!("LISTEN_FDS={}", request.listen_fds), "LISTEN_PID=1".to_owned()]);
    }
    Ok((place, cgroup))
}

/// The control group that we make ourselves: below this process' own where the document names no absolute path, as runc's.
fn find(request: &Create<'_>, linux: &mut Linux) -> Result<Option<Cgroup>, Error> {
    let path = cgroup_path(&linux.cgroups_path, request.id);
    let found = match linux.cgroups_path.starts_with('/') {
        true => Cgroup::new(&path),
        false => Cgroup::below_own(path.trim_start_matches('/')),
    };
    let cgroup = found.map_err(|source| Error::Cgroup { path: path.clone(), source })?;
    if request.cgroup_optional && !may_make(&cgroup)? {
        linux.cgroups_path.clear();
        return Ok(None);
    }
    linux.cgroups_path = path;
    Ok(Some(cgroup))
}

/// Without ways up, whatever the document has; the id where it has nothing.
fn cgroup_path(path: &str, id: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        parts.push(id);
    }
    format!("/{}", parts.join("/"))
}

/// Whether a control group can be made; it is, if so.
fn may_make(cgroup: &Cgroup) -> Result<bool, Error> {
    match cgroup.create() {
        Ok(()) => Ok(true),
        Err(crate::cgroup::Error::Call { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Ok(false)
        }
        Err(source) => Err(Error::Cgroup { path: cgroup.path().to_owned(), source }),
    }
}

struct Made {
    record: Record,
    pid: i32,
    pidfd: OwnedFd,
    master: Option<OwnedFd>,
    warnings: Vec<String>,
}

fn set_up(
    request: &Create<'_>,
    mut bundle: Bundle,
    folder: &Folder,
    mut record: Record,
    mut place: Option<&mut Place>,
    cgroup: Option<Cgroup>,
) -> Result<Made, Error> {
    folder.write_spec(&bundle.text)?;
    userns::enter(&mut bundle.spec).map_err(Error::Start)?;
    if request.notify {
        folder.make_notify()?;
        let folder = std::path::absolute(folder.path()).map_err(|source| Error::Notify { source })?;
        notify::adapt(&mut bundle.spec, &folder.join(notify::FOLDER));
    }
    let mounted = rootfs::mount(&bundle)?;
    record.mount = mounted.as_ref().map(rootfs::id).transpose()?;
    // Names the control group and the mount to whoever clears up after a death of ours. The init doesn't outlive us yet.
    folder.write_record(&record)?;
    let gate = folder.make_gate()?;
    let keeper = match &mut place {
        Some(place) => Some(place.start(&mut bundle.spec, request.id)?),
        None => None,
    };
    let terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
    let asked = crate::Create {
        id: request.id,
        spec: &bundle.spec,
        rootfs: Rootfs::Path(bundle.rootfs),
        mounted,
        bundle: Some(&bundle.path),
        stdio: if terminal { Stdio::Terminal } else { Stdio::Inherit },
        netns: None,
        preserve_fds: request.preserve_fds,
        die_with_parent: false,
        no_pivot: request.no_pivot,
        inherit_keyring: request.inherit_keyring,
    };
    let mut created = crate::create::set_up(asked, Some(gate), keeper, cgroup).map_err(Error::Start)?;
    let cgroup = created.cgroup.take();
    record.cgroup = cgroup.as_ref().map(|cgroup| cgroup.path().to_owned()).unwrap_or_default();
    let finished = match (place, &cgroup) {
        (Some(place), Some(cgroup)) => place.finish(cgroup),
        _ => Ok(()),
    };
    let left = finished.and_then(|()| announce(request, folder, &mut record, &mut created)).and_then(|()| {
        let warnings = std::mem::take(&mut created.warnings);
        let (pid, master) = (created.pid, created.master.take());
        let pidfd = created.leave().map_err(Error::Start)?;
        Ok((pid, pidfd, master, warnings))
    });
    match left {
        Ok((pid, pidfd, master, warnings)) => Ok(Made { record, pid, pidfd, master, warnings }),
        Err(error) => {
            if let Some(cgroup) = cgroup {
                // As above.
                let _ = cgroup.delete(Duration::from_secs(5));
            }
            Err(error)
        }
    }
}

/// Writes down who the init is, and gives its terminal away: then it may outlive us.
fn announce(
    request: &Create<'_>,
    folder: &Folder,
    record: &mut Record,
    created: &mut Created,
) -> Result<(), Error> {
    record.init = Some(Identity::of(created.pid)?);
    let (first, labels) = created.behind_gate();
    record.gate = Gate::new(first, labels);
    folder.write_record(record)?;
    if let Some(path) = request.console_socket
        && let Some(master) = created.master.take()
    {
        send_master(path, &master)?;
    }
    Ok(())
}

/// Sends the master of a terminal, with the name that runc gives it, to whoever listens.
pub(super) fn send_master(path: &Path, master: &OwnedFd) -> Result<(), Error> {
    let fail = |source| Error::ConsoleSocket { path: path.to_owned(), source };
    let socket = UnixStream::connect(path).map_err(fail)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let name = [IoSlice::new(b"/dev/ptmx")];
    rustix::net::sendmsg(&socket, &name, &mut ancillary, SendFlags::NOSIGNAL).map_err(|e| fail(e.into()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_lie_below_the_roots() {
        assert_eq!(cgroup_path("", "c"), "/c");
        assert_eq!(cgroup_path("/docker/x", "c"), "/docker/x");
        assert_eq!(cgroup_path("a//b/./", "c"), "/a/b");
        assert_eq!(cgroup_path("../../etc", "c"), "/etc");
        assert_eq!(cgroup_path("/..", "c"), "/c");
    }
}
