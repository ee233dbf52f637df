//! Which namespaces a process gets: made by the clone, made or joined by the process itself, or joined by our
//! thread around the clone where only a parent can give them (pid namespaces; and, for a process with a user
//! namespace of its own, those of the machine, in which it has no rights).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci::runtime::{Linux, NamespaceType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::child::Step;

use crate::Error;
use crate::plan::Plan;

/// How the namespaces come about.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` for the clone.
    pub clone: u64,
    /// Whether the process lives in a user namespace that is not ours.
    pub user: bool,
    /// The user namespace that the process is born in, so that its pid namespace belongs to it: only then a procfs can be
    /// mounted there.
    birthplace: Option<OwnedFd>,
    /// For our thread, around the clone.
    around: Vec<Around>,
    /// For the process: `CLONE_NEW*` and a namespace of that kind, or a pidfd for several.
    join: Vec<Join>,
    /// `CLONE_NEW*` that the process makes after it has joined others.
    unshare: u32,
}

/// What a process joins.
#[derive(Debug)]
struct Join {
    kinds: u32,
    fd: OwnedFd,
    /// For errors.
    what: String,
}

/// What our thread joins for a while.
#[derive(Debug)]
struct Around {
    typ: NamespaceType,
    fd: OwnedFd,
    /// For errors.
    what: String,
}

/// The namespaces of a running process that are not this process' own: what another one beside it joins.
#[derive(Debug)]
pub struct Joined {
    /// `CLONE_NEW*`.
    kinds: u32,
}

impl Joined {
    /// Looks at a process.
    pub fn of_process(pid: i32) -> Result<Joined, Error> {
        let mut joined = Joined { kinds: 0 };
        for (_, bit, name) in KINDS {
            // Not every kernel has every kind.
            let Ok(own) = std::fs::read_link(format!("/proc/thread-self/ns/{name}")) else { continue };
            let path = format!("/proc/{pid}/ns/{name}");
            let theirs = std::fs::read_link(&path).map_err(call(format!("read {path}")))?;
            if own != theirs {
                joined.kinds |= bit;
            }
        }
        Ok(joined)
    }

    pub(crate) fn plan(&self, pidfd: BorrowedFd<'_>) -> Result<Namespaces, Error> {
        let user = self.kinds & libc::CLONE_NEWUSER as u32 != 0;
        let mut plan = Namespaces { user, ..Namespaces::default() };
        if self.kinds != 0 {
            let fd = pidfd.try_clone_to_owned().map_err(call("duplicate the pidfd"))?;
            let what = "the container's namespaces".to_owned();
            plan.join.push(Join { kinds: self.kinds, fd, what });
        }
        Ok(plan)
    }
}

/// In the order in which error texts list them.
const KINDS: [(NamespaceType, u32, &str); 8] = [
    (NamespaceType::User, libc::CLONE_NEWUSER as u32, "user"),
    (NamespaceType::Mount, libc::CLONE_NEWNS as u32, "mnt"),
    (NamespaceType::Uts, libc::CLONE_NEWUTS as u32, "uts"),
    (NamespaceType::Ipc, libc::CLONE_NEWIPC as u32, "ipc"),
    (NamespaceType::Network, libc::CLONE_NEWNET as u32, "net"),
    (NamespaceType::Pid, libc::CLONE_NEWPID as u32, "pid"),
    (NamespaceType::Cgroup, libc::CLONE_NEWCGROUP as u32, "cgroup"),
    (NamespaceType::Time, libc::CLONE_NEWTIME as u32, "time"),
];

/// Those that a document may ask for.
pub(crate) fn kinds() -> impl Iterator<Item = NamespaceType> {
    KINDS.iter().map(|(kind, ..)| *kind)
}

/// As `/proc/<pid>/ns` calls a kind.
fn word(typ: NamespaceType) -> &'static str {
    KINDS.iter().find(|(t, ..)| *t == typ).map_or("", |(.., name)| *name)
}

/// Whether a path leads to the namespace of a kind that this process is in itself.
pub(crate) fn is_own(typ: NamespaceType, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let own = place(Path::new(&format!("/proc/thread-self/ns/{}", word(typ))));
    own.is_some() && own == place(path)
}

/// The `CLONE_NEW*` of a kind.
pub(crate) fn flag(typ: NamespaceType) -> u32 {
    KINDS.iter().find(|(t, ..)| *t == typ).map_or(0, |(_, flag, _)| *flag)
}

impl Namespaces {
    /// Opens what is joined. `netns` takes the place of what the document says about the network.
    pub fn plan(linux: &Linux, netns: Option<BorrowedFd<'_>>) -> Result<Namespaces, Error> {
        let mut plan = Namespaces::default();
        let user = linux.namespace(NamespaceType::User);
        let path = user.and_then(|user| user.path.as_deref());
        let makes_user = user.is_some() && path.is_none();
        let joins_user = path.is_some_and(|path| !is_own(NamespaceType::User, path));
        plan.user = user.is_some();
        if let Some(fd) = netns {
            let fd = fd.try_clone_to_owned().map_err(call("duplicate the network namespace"))?;
            plan.joined(NamespaceType::Network, fd, "the network namespace".to_owned(), makes_user);
        }
        let mut seen = 0;
        for namespace in &linux.namespaces {
            let (typ, bit) = (namespace.typ, flag(namespace.typ));
            if seen & bit != 0 {
                return Err(Error::Spec { reason: format!("namespace {typ:?} is given twice") });
            }
            seen |= bit;
            match &namespace.path {
                _ if typ == NamespaceType::Network && netns.is_some() => {}
                // The kernel takes nobody in who is there already.
                Some(_) if typ == NamespaceType::User && !joins_user => {}
                Some(path) => {
                    let what = format!("the {} namespace {}", word(typ), path.display());
                    plan.joined(typ, open_as(typ, path)?, what, makes_user);
                }
                // A process takes the control group that it is in as the root of the namespace: it has to be
                // in it. And the offsets of clocks must be written before anybody lives in their namespace.
                None if matches!(typ, NamespaceType::Cgroup | NamespaceType::Time) => plan.unshare |= bit,
                None if joins_user && typ != NamespaceType::Pid => plan.unshare |= bit,
                None => plan.clone |= u64::from(bit),
            }
        }
        let user_flag = libc::CLONE_NEWUSER as u32;
        if plan.clone & u64::from(flag(NamespaceType::Pid)) != 0
            && let Some(at) = plan.join.iter().position(|join| join.kinds == user_flag)
        {
            plan.birthplace = Some(plan.join.remove(at).fd);
        }
        // Rights in a user namespace are rights over the namespaces that it owns: it comes first.
        plan.join.sort_by_key(|join| join.kinds != user_flag);
        Ok(plan)
    }

    fn joined(&mut self, typ: NamespaceType, fd: OwnedFd, what: String, makes_user: bool) {
        if typ == NamespaceType::Pid || makes_user {
            self.around.push(Around { typ, fd, what });
        } else {
            self.join.push(Join { kinds: flag(typ), fd, what });
        }
    }

    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.birthplace.as_ref().map(AsFd::as_fd)
    }

    /// The steps of the process itself, once it is in its control group.
    pub fn steps(&mut self, plan: &mut Plan) {
        for Join { kinds, fd, what } in self.join.drain(..) {
            plan.push(format!("join {what}"), Step::Setns { fd, kinds });
        }
        if self.user {
            plan.push("become root of the user namespace", Step::BecomeRoot);
        }
        if self.unshare != 0 {
            plan.push("make namespaces", Step::Unshare { kinds: self.unshare });
        }
    }

    /// Whether the process joins the namespaces of a kind by itself.
    pub fn joins(&self, typ: NamespaceType) -> bool {
        self.join.iter().any(|join| join.kinds & flag(typ) != 0)
    }

    /// Whether other containers, or the machine, see the process by its number before it executes its program.
    pub fn shares_pids(&self) -> bool {
        self.clone & libc::CLONE_NEWPID as u64 == 0
    }

    /// Runs `clone` while this thread lives in the namespaces that only a parent can give.
    pub fn around<T>(&self, clone: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
        let mut home = Home { back: Vec::new() };
        for Around { typ, fd, what } in &self.around {
            home.leave(*typ, fd.as_fd(), what)?;
        }
        let result = clone();
        home.return_all()?;
        result.map_err(call("clone the process"))
    }
}

/// The way back into this thread's own namespaces.
struct Home {
    back: Vec<(NamespaceType, OwnedFd)>,
}

impl Home {
    fn leave(&mut self, typ: NamespaceType, fd: BorrowedFd<'_>, what: &str) -> Result<(), Error> {
        // The namespace of children, not of the thread itself: that one a setns doesn't change.
        let own = if typ == NamespaceType::Pid { "pid_for_children" } else { word(typ) };
        self.back.push((typ, open(Path::new(&format!("/proc/thread-self/ns/{own}")))?));
        enter(typ, fd).map_err(call(format!("join {what}")))
    }

    fn return_all(&mut self) -> Result<(), Error> {
        while let Some((typ, fd)) = self.back.pop() {
            enter(typ, fd.as_fd()).map_err(call("return to our own namespaces"))?;
        }
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        while let Some((typ, fd)) = self.back.pop() {
            // The error that made us leave early is the one that is told.
            let _ = enter(typ, fd.as_fd());
        }
    }
}

/// The kernel sees to it that the descriptor is of the kind.
fn enter(typ: NamespaceType, fd: BorrowedFd<'_>) -> io::Result<()> {
    let kind = match typ {
        NamespaceType::User => LinkNameSpaceType::User,
        NamespaceType::Mount => LinkNameSpaceType::Mount,
        NamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceType::Network => LinkNameSpaceType::Network,
        NamespaceType::Pid => LinkNameSpaceType::ProcessID,
        NamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceType::Time => LinkNameSpaceType::Time,
    };
    Ok(move_into_link_name_space(fd, Some(kind))?)
}

pub(crate) fn open(path: &Path) -> Result<OwnedFd, Error> {
    Ok(File::open(path).map_err(call(format!("open namespace {}", path.display())))?.into())
}

/// Opens a namespace that is to be joined. One of another kind is refused, for joining it would isolate nothing.
pub(crate) fn open_as(typ: NamespaceType, path: &Path) -> Result<OwnedFd, Error> {
    let fd = open(path)?;
    let kind = sys::namespace::kind(&fd).map_err(call(format!("open namespace {}", path.display())))?;
    if kind == Some(flag(typ)) {
        return Ok(fd);
    }
    let found = KINDS.iter().find(|(_, bit, _)| kind == Some(*bit)).map_or("none", |(.., name)| *name);
    let (path, wanted) = (path.display(), word(typ));
    Err(Error::Spec { reason: format!("{path} is a namespace of kind {found}, not {wanted}") })
}

fn call(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Call { attempt: attempt.into(), source }
}

#[cfg(test)]
mod tests {
    use oci::runtime::Namespace;

    use super::*;

    fn plan(list: &[(NamespaceType, Option<&str>)]) -> Result<Namespaces, Error> {
        let namespaces =
            list.iter().map(|(typ, path)| Namespace { typ: *typ, path: path.map(Into::into) }).collect();
        Namespaces::plan(&Linux { namespaces, ..Linux::default() }, None)
    }

    #[test]
    fn new_ones_are_made_by_the_clone_but_for_cgroup_and_time() {
        let plan = plan(&[
            (NamespaceType::Mount, None),
            (NamespaceType::Pid, None),
            (NamespaceType::Cgroup, None),
            (NamespaceType::Time, None),
        ]);
        let plan = plan.unwrap();
        assert_eq!(plan.clone, (libc::CLONE_NEWNS | libc::CLONE_NEWPID) as u64);
        assert_eq!(plan.unshare, (libc::CLONE_NEWCGROUP | libc::CLONE_NEWTIME) as u32);
    }

    #[test]
    fn a_joined_pid_namespace_and_those_of_the_machine_are_the_parents_work() {
        let own = Some("/proc/self/ns/net");
        let pid = Some("/proc/self/ns/pid");
        let joined = plan(&[(NamespaceType::Network, own), (NamespaceType::Pid, pid)]).unwrap();
        assert_eq!((joined.around.len(), joined.join.len()), (1, 1));
        let mapped = plan(&[(NamespaceType::Network, own), (NamespaceType::User, None)]).unwrap();
        assert_eq!((mapped.around.len(), mapped.join.len()), (1, 0));
    }

    #[test]
    fn twice_is_refused() {
        let twice = plan(&[(NamespaceType::Uts, None), (NamespaceType::Uts, None)]);
        assert!(matches!(twice, Err(Error::Spec { .. })));
    }
}
