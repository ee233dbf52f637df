//! Control groups, version 2, 1 and both side by side (hybrid).
//!
//! A container has one path (`/dhow/<id>`) in every hierarchy that the machine has mounted. Limits are
//! applied where the controller lives. A controller or file that is missing is a warning if something was
//! asked of it, as Docker warns and discards; a value that the kernel refuses is an error.
//!
//! Where version 2 is mounted, even without controllers, it freezes, kills and tells when the last process is
//! gone; version 1 can do none of that well and has to be asked again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use oci::runtime::{HugepageLimit, Resources};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

mod account;
mod controllers;
mod devices;
mod events;
mod layout;
pub(crate) mod mount;
mod own;
mod read;
mod settings;
mod stats;
pub mod systemd;
mod unified;

pub use account::{Account, BlkioQueues, Cpuset, MemoryEntry, Pressure, Stall};
pub use controllers::Controllers;
pub use events::OomEvents;
pub use stats::{BlkioEntry, BlkioStats, CpuStats, HugetlbStats, MemoryStats, PidsStats, Stats};

use layout::Layout;
pub(crate) use layout::unescape;
use settings::Setting;

/// A refused control group operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{attempt}")]
    Call { attempt: String, source: io::Error },
    #[error("invalid control group path {path:?}")]
    Path { path: String },
    #[error("invalid cgroup device {reason}")]
    Device { reason: String },
    #[error("invalid limits: {reason}")]
    Limits { reason: String },
    #[error(
        "{attempt}: {group} has processes of its own, beside which it may give nothing down: move them to a group below it"
    )]
    Occupied { attempt: String, group: String },
    #[error(
        "there is no version 1 controller {name:?} here: on version 2 name the group alone, without a controller"
    )]
    Controller { name: String },
    #[error("controller {name} shares its hierarchy with one that is given another group")]
    Torn { name: String },
    #[error("{attempt}: it lies below a threaded group, where no container can be: choose another path")]
    Threaded { attempt: String },
    #[error("{attempt}: {group} is not ours to change: have it delegated, or leave out the limit")]
    NotDelegated { attempt: String, group: String, source: io::Error },
}

fn call(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Call { attempt: attempt.into(), source }
}

/// The control group of one container: the same path in every hierarchy of the machine. Making the value
/// touches nothing; it can be made again from its path in any process.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: String,
    layout: Layout,
    /// Hierarchies of version 1 in which it is another one, by mount point.
    elsewhere: BTreeMap<PathBuf, String>,
    /// The version 1 `tasks` files, once they are open.
    tasks: OnceLock<Arc<[OwnedFd]>>,
}

/// Between two looks where the kernel gives no event (version 1 alone).
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How long a freezer may take.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);

fn layout() -> Result<Layout, Error> {
    let text = crate::proc::read("/proc/self/mountinfo").map_err(call("read /proc/self/mountinfo"))?;
    Ok(Layout::parse(&text))
}

impl Cgroup {
    /// Looks at what the machine has mounted. `path` is absolute, below the root of each hierarchy.
    pub fn new(path: &str) -> Result<Cgroup, Error> {
        let parts = || path.split('/').skip(1);
        let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
        if !path.starts_with('/') || parts().any(bad) {
            return Err(Error::Path { path: path.to_owned() });
        }
        Ok(Cgroup {
            path: path.to_owned(),
            layout: layout()?,
            elsewhere: BTreeMap::new(),
            tasks: OnceLock::new(),
        })
    }

    /// A group of this name below the one that this process is in, hierarchy by hierarchy: what limits this process limits it
    /// too. With version 2 alone it lies beside.
    pub fn below_own(name: &str) -> Result<Cgroup, Error> {
        let read = |path: &str| crate::proc::read(path).map_err(call(format!("read {path}")));
        let group = Cgroup::new(&format!("/{name}"))?;
        let above = own::paths(&group.layout, &read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let elsewhere = above.into_iter().map(|(at, path)| (at, format!("{path}/{name}"))).collect();
        Ok(group.with_elsewhere(elsewhere))
    }

    /// Where it has another path than [`Cgroup::path`], by mount point.
    pub fn elsewhere(&self) -> &BTreeMap<PathBuf, String> {
        &self.elsewhere
    }

    /// The same group as [`Cgroup::elsewhere`] told of it.
    #[must_use]
    pub fn with_elsewhere(self, elsewhere: BTreeMap<PathBuf, String>) -> Cgroup {
        Cgroup { elsewhere, tasks: OnceLock::new(), ..self }
    }

    /// Whether the controllers of this machine are of version 2.
    pub fn unified() -> Result<bool, Error> {
        let layout = layout()?;
        Ok(layout.v2.is_some() && layout.v1("memory").is_none())
    }

    /// Its path below the root of each hierarchy.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Groups below this one: each name is of a controller of version 1, or empty for all there are. What is not named stays
    /// this group. They need not exist.
    pub fn inner(&self, asked: &BTreeMap<String, String>) -> Result<Cgroup, Error> {
        let below = |name: &str| match name.trim_matches('/') {
            "" => Ok(self.clone()),
            name => {
                let inner = Cgroup::new(&format!("{}/{name}", self.path))?;
                let deeper = |(at, path): (&PathBuf, &String)| (at.clone(), format!("{path}/{name}"));
                Ok(inner.with_elsewhere(self.elsewhere.iter().map(deeper).collect()))
            }
        };
        if let Some(name) = asked.get("") {
            return below(name);
        }
        let mut told = BTreeMap::new();
        for (controller, name) in asked {
            let Some(mountpoint) = self.layout.v1(controller) else {
                return Err(Error::Controller { name: controller.clone() });
            };
            let group = below(name)?;
            let path = group.elsewhere.get(mountpoint).unwrap_or(&group.path);
            if told.insert(mountpoint.to_owned(), path.clone()).is_some_and(|other| other != *path) {
                return Err(Error::Torn { name: controller.clone() });
            }
        }
        let mut elsewhere = self.elsewhere.clone();
        elsewhere.extend(told);
        Ok(self.clone().with_elsewhere(elsewhere))
    }

    fn below(&self, mountpoint: &Path) -> PathBuf {
        let path = self.elsewhere.get(mountpoint).unwrap_or(&self.path);
        mountpoint.join(path.trim_start_matches('/'))
    }

    fn v1_dir(&self, controller: &str) -> Option<PathBuf> {
        self.layout.v1(controller).map(|mountpoint| self.below(mountpoint))
    }

    fn v2_dir(&self) -> Option<PathBuf> {
        self.layout.v2.as_deref().map(|mountpoint| self.below(mountpoint))
    }

    fn v1_dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.layout.v1.iter().map(|hierarchy| self.below(&hierarchy.mountpoint))
    }

    /// All directories, version 2 first.
    fn dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.v2_dir().into_iter().chain(self.v1_dirs())
    }

    /// Whether this machine has control groups at all. Without, a group is a value that does nothing.
    pub fn is_mounted(&self) -> bool {
        self.dirs().next().is_some()
    }

    /// The names of the groups directly below it, in any hierarchy.
    pub fn names_below(&self) -> BTreeSet<String> {
        let found = self.dirs().flat_map(|dir| children(&dir));
        found.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect()
    }

    pub fn exists(&self) -> bool {
        self.dirs().any(|dir| dir.is_dir())
    }

    /// Makes the directories; existing ones are taken over.
    pub fn create(&self) -> Result<(), Error> {
        for hierarchy in &self.layout.v1 {
            let dir = self.below(&hierarchy.mountpoint);
            fs::create_dir_all(&dir).map_err(call(format!("make {}", dir.display())))?;
            if hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
                self.inherit_cpuset(&hierarchy.mountpoint)?;
            }
        }
        if let Some(mountpoint) = &self.layout.v2 {
            self.create_v2(mountpoint)?;
        }
        Ok(())
    }

    /// A new version 1 cpuset is empty and takes no process.
    fn inherit_cpuset(&self, mountpoint: &Path) -> Result<(), Error> {
        let mut dir = mountpoint.to_owned();
        let path = self.elsewhere.get(mountpoint).unwrap_or(&self.path);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let parent = dir.clone();
            dir.push(name);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = fs::read_to_string(dir.join(file)).unwrap_or_default();
                if own.trim().is_empty() {
                    let inherited = fs::read_to_string(parent.join(file))
                        .map_err(call(format!("read {}", parent.join(file).display())))?;
                    write(&dir.join(file), inherited.trim())?;
                }
            }
        }
        Ok(())
    }

    /// Sets limits, also of a running container; `None` fields stay as they are. Gives warnings.
    pub fn apply(&self, resources: &Resources) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        settings::check(resources).map_err(|reason| Error::Limits { reason })?;
        self.check_usage(resources)?;
        if !resources.hugepage_limits.is_empty() {
            self.check_page_sizes(resources)?;
        }
        if !resources.devices.is_empty() {
            match (self.v1_dir("devices"), self.v2_dir()) {
                (Some(dir), _) => devices::apply_v1(&dir, &resources.devices)?,
                (None, Some(dir)) => devices::apply_v2(&dir, &resources.devices)?,
                (None, None) => warnings.push("the devices controller is not available here".to_owned()),
            }
        }
        let v1 = settings::v1(resources);
        let v2 = settings::v2(resources);
        let in_v1 = |s: &&Setting| self.layout.v1(s.controller).is_some();
        self.write_all(v1.iter().filter(in_v1), &mut warnings, |s| self.v1_dir(s.controller))?;
        // Version 1 calls its block device controller blkio, version 2 io; and what version 2 has no word for is not
        // missing where version 1 has.
        let served = |s: &&Setting| in_v1(s) || (s.controller == "io" && self.layout.v1("blkio").is_some());
        let dir = self.v2_dir();
        let given = dir.as_deref().map(unified::controllers).unwrap_or_default();
        let mut wanted = Vec::new();
        for setting in v2.iter().filter(|s| !served(s)) {
            let has = given.iter().any(|name| name == setting.controller)
                || (!setting.file.is_empty() && self.has_v2(setting.controller)?);
            match has {
                true => wanted.push(setting),
                false if setting.extra => {}
                false => discarded(setting, &mut warnings),
            }
        }
        self.write_all(wanted.into_iter(), &mut warnings, |_| dir.clone())?;
        if !resources.unified.is_empty() {
            let dir = dir.ok_or_else(|| Error::Limits {
                reason: "cannot use unified: cgroup version 2 is not mounted".to_owned(),
            })?;
            let mut settings = resources.unified.iter();
            settings.try_for_each(|(file, value)| self.apply_unified(&dir, file, value))?;
        }
        Ok(warnings)
    }

    /// Where it is asked for (`checkBeforeUpdate`), a memory limit below what is in use is refused: the kernel would take
    /// it and kill.
    fn check_usage(&self, resources: &Resources) -> Result<(), Error> {
        let Some(memory) =
            resources.memory.as_ref().filter(|memory| memory.check_before_update == Some(true))
        else {
            return Ok(());
        };
        let (dir, used, swapped) = match self.v1_dir("memory") {
            Some(dir) => (Some(dir), "memory.usage_in_bytes", None),
            None => (self.v2_dir(), "memory.current", Some("memory.swap.current")),
        };
        let Some(dir) = dir else { return Ok(()) };
        let number =
            |file: &str| -> Option<i64> { fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok() };
        let usage = number(used).unwrap_or_default();
        let all = usage + swapped.and_then(number).unwrap_or_default();
        for (limit, usage, what) in [(memory.limit, usage, "memory"), (memory.swap, all, "memory+swap")] {
            if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit < usage) {
                let reason = format!("rejecting {what} limit {limit} because of usage {usage}");
                return Err(Error::Limits { reason });
            }
        }
        Ok(())
    }

    /// Pages of a size that this machine doesn't have are no matter of a missing controller.
    fn check_page_sizes(&self, resources: &Resources) -> Result<(), Error> {
        let (dir, any) = match self.v1_dir("hugetlb") {
            Some(dir) => (Some(dir), "limit_in_bytes"),
            None => (self.v2_dir(), "max"),
        };
        let Some(dir) = dir else { return Ok(()) };
        let known = read::page_sizes(&dir, &format!(".{any}"));
        let missing = |huge: &&HugepageLimit| !known.is_empty() && !known.contains(&huge.page_size);
        match resources.hugepage_limits.iter().find(missing) {
            Some(huge) => Err(Error::Limits {
                reason: format!("no huge pages of {} here, but of {}", huge.page_size, known.join(", ")),
            }),
            None => Ok(()),
        }
    }

    fn write_all<'s>(
        &self,
        settings: impl Iterator<Item = &'s Setting>,
        warnings: &mut Vec<String>,
        dir: impl Fn(&Setting) -> Option<PathBuf>,
    ) -> Result<(), Error> {
        // The kernel keeps pairs of limits in order (memory below memory and swap, burst below quota, quota within the
        // parent's): what is refused at first may pass after the other has moved.
        let mut again = Vec::new();
        for setting in settings {
            let Some(dir) = dir(setting) else { continue };
            match set(&dir, setting, warnings) {
                Err(Error::Call { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
                    again.push((dir, setting));
                }
                other => other?,
            }
        }
        again.into_iter().try_for_each(|(dir, setting)| set(&dir, setting, warnings))
    }

    /// Moves a process of this pid namespace into the group.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        self.dirs().try_for_each(|dir| write(&dir.join("cgroup.procs"), &pid.to_string()))
    }

    /// Whether its limit of tasks leaves no room for a process that makes another one in its place. Moving a process into
    /// it is possible nevertheless.
    pub(crate) fn is_crowded(&self) -> bool {
        let dir = self.v1_dir("pids").or_else(|| self.v2_dir());
        dir.is_some_and(|dir| {
            let limit = read::number(&dir, "pids.max");
            limit.is_some_and(|limit| read::number(&dir, "pids.current").is_some_and(|now| now + 2 > limit))
        })
    }

    /// The version 2 directory, for a process to be born in.
    pub(crate) fn birthplace(&self) -> Result<Option<OwnedFd>, Error> {
        self.v2_dir().as_deref().map(open).transpose()
    }

    /// The version 1 `tasks` files, for a process to join by itself.
    pub(crate) fn tasks(&self) -> Result<Arc<[OwnedFd]>, Error> {
        if let Some(tasks) = self.tasks.get() {
            return Ok(tasks.clone());
        }
        let open = |dir: PathBuf| {
            let file = dir.join("tasks");
            let opened = fs::OpenOptions::new().write(true).open(&file);
            Ok(opened.map_err(call(format!("open {}", file.display())))?.into())
        };
        let tasks = self.v1_dirs().map(open).collect::<Result<Arc<[OwnedFd]>, Error>>()?;
        Ok(self.tasks.get_or_init(|| tasks).clone())
    }

    /// The processes in the group and the groups below it, as this pid namespace numbers them.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let Some(dir) = self.dirs().next() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        collect_pids(&dir, &mut pids)?;
        Ok(pids)
    }

    /// Sends SIGKILL to all processes of the group and those below; returns before they are gone.
    pub fn kill_all(&self) -> Result<(), Error> {
        if let Some(dir) = self.v2_dir() {
            match fs::write(dir.join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Call { attempt: "kill the group".to_owned(), source }),
            }
        }
        // Frozen processes don't die, and processes may fork while we count: until a look finds none that was
        // not told.
        let mut told = BTreeSet::new();
        loop {
            let new: Vec<i32> = self.pids()?.into_iter().filter(|pid| told.insert(*pid)).collect();
            for pid in new.iter().copied().filter_map(Pid::from_raw) {
                // One that has ended meanwhile is what we want.
                let _ = kill_process(pid, Signal::KILL);
            }
            if new.is_empty() {
                return self.thaw();
            }
        }
    }

    /// Stops all tasks and waits until they have stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        let deadline = Instant::now() + FREEZE_PATIENCE;
        if let Some(dir) = self.v2_freezer() {
            write(&dir.join("cgroup.freeze"), "1")?;
            let frozen =
                events::wait_for(&dir, "frozen", 1, deadline).map_err(call("wait for the freezer"))?;
            return if frozen { Ok(()) } else { self.too_slow() };
        }
        let file = self.freezer_v1()?;
        loop {
            // A task that forks meanwhile makes the kernel start over: say it again.
            write(&file, "FROZEN")?;
            let state = fs::read_to_string(&file).map_err(call("read the freezer"))?;
            if state.trim() == "FROZEN" {
                return Ok(());
            }
            if Instant::now() > deadline {
                return self.too_slow();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn too_slow(&self) -> Result<(), Error> {
        self.thaw()?;
        Err(call("freeze the group")(io::ErrorKind::TimedOut.into()))
    }

    /// Lets all tasks run again. A group that is absent has none.
    pub fn thaw(&self) -> Result<(), Error> {
        if let Some(dir) = self.v2_freezer() {
            return write(&dir.join("cgroup.freeze"), "0");
        }
        match self.v1_dir("freezer") {
            Some(dir) if dir.exists() => write(&dir.join("freezer.state"), "THAWED"),
            _ => Ok(()),
        }
    }

    pub fn is_frozen(&self) -> Result<bool, Error> {
        if let Some(dir) = self.v2_freezer() {
            let text = fs::read_to_string(dir.join("cgroup.events")).map_err(call("read cgroup.events"))?;
            return Ok(read_key(&text, "frozen") == Some(1));
        }
        let text = fs::read_to_string(self.freezer_v1()?).map_err(call("read the freezer"))?;
        Ok(text.trim() != "THAWED")
    }

    /// Version 2 freezes from Linux 5.2 on.
    fn v2_freezer(&self) -> Option<PathBuf> {
        self.v2_dir().filter(|dir| dir.join("cgroup.freeze").exists())
    }

    fn freezer_v1(&self) -> Result<PathBuf, Error> {
        let dir = self.v1_dir("freezer");
        Ok(dir
            .ok_or_else(|| call("freeze the group")(io::ErrorKind::Unsupported.into()))?
            .join("freezer.state"))
    }

    /// What the group has used. A group that is absent has used nothing.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(read::stats(self))
    }

    /// What else the group keeps account of, beside [`Cgroup::stats`].
    pub fn account(&self) -> Account {
        account::account(self)
    }

    /// How many tasks of the group were killed for want of memory in its life; zero where the kernel doesn't
    /// count.
    pub fn oom_kills(&self) -> u64 {
        let (dir, file) = match self.v1_dir("memory") {
            Some(dir) => (Some(dir), "memory.oom_control"),
            None => (self.v2_dir(), "memory.events"),
        };
        let text = dir.and_then(|dir| fs::read_to_string(dir.join(file)).ok()).unwrap_or_default();
        read_key(&text, "oom_kill").unwrap_or_default()
    }

    /// A descriptor that tells of kills for want of memory.
    pub fn oom_events(&self) -> Result<OomEvents, Error> {
        OomEvents::new(self)
    }

    /// Removes the group and those below it, waiting until at most `patience` for the last process to go. A
    /// group that is absent is removed.
    pub fn delete(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        if let Some(dir) = self.v2_dir() {
            let attempt = || format!("wait for the processes of {}", dir.display());
            if !events::wait_for(&dir, "populated", 0, deadline).map_err(call(attempt()))? {
                return Err(call(attempt())(io::ErrorKind::TimedOut.into()));
            }
        }
        self.dirs().try_for_each(|dir| remove(&dir, deadline))
    }
}

fn set(dir: &Path, setting: &Setting, warnings: &mut Vec<String>) -> Result<(), Error> {
    if setting.file.is_empty() {
        discarded(setting, warnings);
        return Ok(());
    }
    let missing = |e: &Error| matches!(e, Error::Call { source, .. } if lacks(source)) && dir.is_dir();
    let mut written = write(&dir.join(&setting.file), &setting.value);
    if let (Err(e), Some((file, value))) = (&written, &setting.instead)
        && missing(e)
    {
        written = write(&dir.join(file), value);
    }
    match written {
        Err(e) if missing(&e) => {
            if !setting.extra {
                discarded(setting, warnings);
            }
            Ok(())
        }
        other => other,
    }
}

/// No such file, or one that is a relic.
fn lacks(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn discarded(setting: &Setting, warnings: &mut Vec<String>) {
    let text =
        format!("the kernel does not support {} or its cgroup is not mounted: discarded", setting.what);
    if !warnings.contains(&text) {
        warnings.push(text);
    }
}

fn open(dir: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| call(format!("open {}", dir.display()))(e.into()))
}

/// Control files want one write, and existing.
fn write(file: &Path, value: &str) -> Result<(), Error> {
    use std::io::Write;
    let written =
        fs::OpenOptions::new().write(true).open(file).and_then(|mut f| f.write_all(value.as_bytes()));
    written.map_err(call(format!("write {value:?} to {}", file.display())))
}

/// A number of a `key value` file.
fn read_key(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path()).collect()
}

fn collect_pids(dir: &Path, pids: &mut Vec<i32>) -> Result<(), Error> {
    let text = match fs::read_to_string(dir.join("cgroup.procs")) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        other => other.map_err(call(format!("read {}/cgroup.procs", dir.display())))?,
    };
    // Zero is a process of a pid namespace that ours doesn't see.
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    children(dir).iter().try_for_each(|child| collect_pids(child, pids))
}

/// Removes a directory with those below it. Version 1 tells nobody when its last task is gone.
fn remove(dir: &Path, deadline: Instant) -> Result<(), Error> {
    // Mostly there is nothing below it, so it is looked for only when the kernel says that the group is busy.
    let mut looked = false;
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && !looked => {
                looked = true;
                children(dir).iter().try_for_each(|child| remove(child, deadline))?;
            }
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(source) => return Err(Error::Call { attempt: format!("remove {}", dir.display()), source }),
        }
    }
}
