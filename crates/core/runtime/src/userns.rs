//! User namespaces: the id maps, and the way in for who has no privileges outside.
//!
//! A process without privileges writes maps itself where the only id in them is its own (man 7 user_namespaces), and has
//! `newuidmap` and `newgidmap` write the others, which know from `/etc/subuid` and `/etc/subgid` what it may have.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use oci::runtime::{IdMapping, Namespace, NamespaceType, Spec};
use rustix::thread::CapabilitySet;
use sys::child::{Message, Spawn, Step, spawn};

use crate::{Error, namespaces};

/// Which of the two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Users,
    Groups,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Kind::Users => "uid_map",
            Kind::Groups => "gid_map",
        }
    }

    fn helper(self) -> &'static str {
        match self {
            Kind::Users => "newuidmap",
            Kind::Groups => "newgidmap",
        }
    }

    /// The id that this process has and may map without anybody's help.
    fn own(self) -> u32 {
        match self {
            Kind::Users => rustix::process::geteuid().as_raw(),
            Kind::Groups => rustix::process::getegid().as_raw(),
        }
    }
}

fn call(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Call { attempt: attempt.into(), source }
}

/// Whether this process has a capability in the namespace that it is in.
fn has(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Takes this process, which has one thread, into the user namespace of a container that it may not make otherwise, and
/// changes the document accordingly: from there on it has all rights over what is made. Does nothing with privileges.
pub(crate) fn enter(spec: &mut Spec) -> Result<(), Error> {
    let Some(linux) = spec.linux.as_mut().filter(|_| !has(CapabilitySet::SYS_ADMIN)) else {
        return Ok(());
    };
    let Some(at) = linux.namespaces.iter().position(|namespace| namespace.typ == NamespaceType::User) else {
        let reason = "rootless container requires user namespaces: see spec --rootless".to_owned();
        return Err(Error::Spec { reason });
    };
    let namespace = match &linux.namespaces[at].path {
        Some(path) if namespaces::is_own(NamespaceType::User, path) => return Ok(()),
        Some(path) => namespaces::open(path)?,
        None => with_maps(&linux.uid_mappings, &linux.gid_mappings)?,
    };
    if let Some(hooks) = &spec.hooks {
        crate::hooks::stay(hooks).map_err(call("stay in the runtime namespace for hooks"))?;
    }
    go(&namespace)?;
    linux.namespaces[at] =
        Namespace { typ: NamespaceType::User, path: Some(Path::new("/proc/self/ns/user").to_owned()) };
    Ok(())
}

/// The same for one more process in the container of `pid`.
pub(crate) fn enter_that_of(pid: i32) -> Result<(), Error> {
    let path = format!("/proc/{pid}/ns/user");
    if has(CapabilitySet::SYS_ADMIN) || namespaces::is_own(NamespaceType::User, Path::new(&path)) {
        return Ok(());
    }
    go(&namespaces::open(Path::new(&path))?)
}

fn go(namespace: &OwnedFd) -> Result<(), Error> {
    sys::userns::enter(namespace.as_fd()).map_err(|e| call("enter the container's user namespace")(e.into()))
}

/// Whether nobody in the user namespace of a process, else of this one, may have other groups than they have.
pub(crate) fn denies_groups(pid: Option<i32>) -> bool {
    let path = pid.map_or_else(|| "/proc/self/setgroups".to_owned(), |pid| format!("/proc/{pid}/setgroups"));
    crate::proc::read(path).is_ok_and(|text| text.trim_end() == "deny")
}

/// Writes the maps of a process' new user namespace. Each file takes exactly one write.
pub(crate) fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<(), Error> {
    let privileged = has(CapabilitySet::SETUID | CapabilitySet::SETGID);
    for (kind, maps) in [(Kind::Users, uids), (Kind::Groups, gids)] {
        let file = kind.file();
        if maps.is_empty() {
            return Err(Error::Spec { reason: format!("a user namespace needs mappings ({file})") });
        }
        let own = matches!(maps, [IdMapping { host_id, size: 1, .. }] if *host_id == kind.own());
        if !privileged && !own {
            help(kind, pid, maps)?;
            continue;
        }
        if !privileged && kind == Kind::Groups {
            // Else one could leave a group that is refused what all others may do.
            let path = format!("/proc/{pid}/setgroups");
            std::fs::write(&path, "deny").map_err(call(format!("write {path}")))?;
        }
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, lines(maps)).map_err(call(format!("write {path}")))?;
    }
    Ok(())
}

/// Has a program write a map that has other ids than our own.
fn help(kind: Kind, pid: i32, maps: &[IdMapping]) -> Result<(), Error> {
    let program = kind.helper();
    let numbers = maps.iter().flat_map(|map| [map.container_id, map.host_id, map.size]);
    let output = Command::new(program).arg(pid.to_string()).args(numbers.map(|n| n.to_string())).output();
    let attempt = format!(
        "run {program} (package uidmap), which maps ids of /etc/sub{}, as a container with other ids than one's own needs it",
        &kind.file()[..3]
    );
    let output = output.map_err(call(attempt))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(call(format!("have {program} write the map"))(io::Error::other(said)))
}

fn lines(maps: &[IdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{} {} {}", map.container_id, map.host_id, map.size);
        text
    })
}

/// A user namespace with nobody in it: to map the ids of a mount, or to be entered.
pub(crate) fn with_maps(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Error> {
    const MAKE: &str = "make a user namespace";
    let steps = [Step::Ready];
    let child =
        spawn(&Spawn { namespaces: libc::CLONE_NEWUSER as u64, user: None, cgroup: None, steps: &steps })
            .map_err(call(refused()))?;
    write_maps(child.pid(), uids, gids)?;
    child.go().map_err(call(MAKE))?;
    match child.receive().map_err(call(MAKE))? {
        Message::Ready => {}
        _ => return Err(call(MAKE)(io::ErrorKind::BrokenPipe.into())),
    }
    let file =
        File::open(format!("/proc/{}/ns/user", child.pid())).map_err(call("open the user namespace"))?;
    Ok(file.into())
}

/// What a user is told whom the kernel refuses a user namespace.
fn refused() -> String {
    "make a user namespace (who may is said by the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone \
     and kernel.apparmor_restrict_unprivileged_userns, as far as they are here)"
        .to_owned()
}
