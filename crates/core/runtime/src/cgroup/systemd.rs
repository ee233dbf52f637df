//! The systemd cgroup driver: a container's control group is a scope of systemd's, which makes it, keeps its limits and counts
//! it to a slice. What systemd has no property for is written to the files of the group, which is delegated.
//!
//! Names are those of runc: a `cgroupsPath` of `slice:prefix:name` is the unit `prefix-name.scope` in the slice, and the slice
//! `a-b.slice` lies in `a.slice` (systemd.slice(5)). Processor times are in microseconds, sizes in bytes.
//!
//! A scope begins with a process, and the container's init is to be born in a group with its limits. So a process that does
//! nothing holds the place ([`Keeper`]) from before the scope is made until the init is in it.
//!
//! We speak D-Bus ourselves: six methods and one signal of one peer, in one thread, need a few hundred lines. A general client
//! (zbus 5, blocking, least features) is eighty crates, more than a megabyte of program, and threads in a process that clones.
//!
//! Without systemd every operation fails with [`Error::NotRunning`]; what systemd says no to names the unit and its reason.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use oci::runtime::Resources;
use sys::child::{Child, Spawn, spawn};

mod annotations;
mod bus;
mod devices;
mod properties;
mod wire;

pub use annotations::ANNOTATION;
use bus::{Bus, Refusal};
use properties::Dialect;
use wire::{Call, Message, Writer};

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";

/// A refused operation of the systemd cgroup driver.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "systemd isn't running here (there is neither {tried}): leave out --systemd-cgroup, and control groups are made as directories"
    )]
    NotRunning { tried: String },
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
    )]
    Path { path: String },
    #[error("invalid slice name {slice:?}")]
    Slice { slice: String },
    #[error("invalid set {set:?} of processors or memory nodes")]
    Set { set: String },
    #[error("name the devices of the container to systemd")]
    Devices(#[source] Box<super::Error>),
    #[error("annotation {annotation}: {value:?} is no value of a property of systemd's")]
    Annotation { annotation: String, value: String },
    #[error("connect to systemd at {}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("talk to systemd")]
    Talk { source: io::Error },
    #[error("systemd is not understood: {reason}")]
    Protocol { reason: String },
    #[error("make a process that holds the place in unit {unit}")]
    Keeper { unit: String, source: io::Error },
    #[error("unable to {verb} unit {unit}: {reason}")]
    Refused { verb: &'static str, unit: String, reason: String },
    #[error(
        "unable to {verb} unit {unit}: its job ended as {result:?}; `systemctl status {unit}` tells more"
    )]
    Job { verb: &'static str, unit: String, result: String },
}

/// Which unit a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    slice: String,
    unit: String,
}

impl Scope {
    /// Of a `cgroupsPath`; without one it is `dhow-<id>.scope` in the slice of the system's services.
    pub(crate) fn parse(path: &str, id: &str) -> Result<Scope, Error> {
        if path.is_empty() {
            return Ok(Scope { slice: "system.slice".to_owned(), unit: format!("dhow-{id}.scope") });
        }
        let bad = || Error::Path { path: path.to_owned() };
        let [slice, prefix, name] = path.split(':').collect::<Vec<_>>().try_into().map_err(|_| bad())?;
        // A slice holds no processes, and a unit's name is one part of a path.
        if name.is_empty() || name.ends_with(".slice") || path.contains(['/', '\0']) {
            return Err(bad());
        }
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        expand(slice)?;
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        Ok(Scope { slice: slice.to_owned(), unit })
    }

    pub(crate) fn unit(&self) -> &str {
        &self.unit
    }
}

/// Where a slice lies below the manager's own group: every dash is a level.
fn expand(slice: &str) -> Result<String, Error> {
    let bad = || Error::Slice { slice: slice.to_owned() };
    let name = slice.strip_suffix(".slice").ok_or_else(bad)?;
    if name == "-" {
        return Ok(String::new());
    }
    if name.contains(['/', '\0']) || name.split('-').any(str::is_empty) {
        return Err(bad());
    }
    let dashes = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Ok(dashes.map(|end| format!("/{}.slice", &name[..end])).collect())
}

/// Holds the place in a scope. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Keeper {
    _child: Child,
}

/// The container that a scope is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub id: &'a str,
    pub annotations: &'a BTreeMap<String, String>,
}

/// systemd, ready to be asked.
#[derive(Debug)]
pub(crate) struct Systemd {
    bus: Bus,
    dialect: Dialect,
}

impl Systemd {
    /// The manager that answers to this process' user. `unified`: no controller is of version 1.
    pub(crate) fn connect(unified: bool) -> Result<Systemd, Error> {
        Systemd::over(Bus::connect()?, unified)
    }

    fn over(bus: Bus, unified: bool) -> Result<Systemd, Error> {
        let mut systemd = Systemd { bus, dialect: Dialect { version: 0, unified } };
        systemd.dialect.version = properties::version(&systemd.property("Version")?);
        if systemd.bus.listen(MANAGER, "JobRemoved")? {
            systemd.manage("subscribe to", "jobs", "Subscribe", "", Writer::default())?;
        }
        Ok(systemd)
    }

    fn property(&mut self, name: &'static str) -> Result<String, Error> {
        let mut body = Writer::default();
        body.text(MANAGER);
        body.text(name);
        let answer = self.bus.call(&Call {
            destination: SERVICE,
            path: OBJECT,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            signature: "ss",
            body: &body.into_bytes(),
        })?;
        let message = answer.map_err(|refusal| refused("ask for", name, refusal))?;
        message.reader().text_variant().map_err(misread)
    }

    fn try_manage(
        &mut self,
        member: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Result<Message, Refusal>, Error> {
        let call = Call { destination: SERVICE, path: OBJECT, interface: MANAGER, member, signature, body };
        self.bus.call(&call)
    }

    fn manage(
        &mut self,
        verb: &'static str,
        unit: &str,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<Message, Error> {
        let answer = self.try_manage(member, signature, &body.into_bytes())?;
        answer.map_err(|refusal| refused(verb, unit, refusal))
    }

    /// The path of a scope's control group, as the manager makes it.
    pub(crate) fn path(&mut self, scope: &Scope) -> Result<String, Error> {
        let root = self.property("ControlGroup")?;
        Ok(format!("{}{}/{}", root.trim_end_matches('/'), expand(&scope.slice)?, scope.unit))
    }

    /// Makes the scope and waits until it is there. The keeper has to live until there is another process in it.
    pub(crate) fn start(
        &mut self,
        scope: &Scope,
        about: About<'_>,
        resources: &Resources,
    ) -> Result<Keeper, Error> {
        let limits = properties::limits(resources, self.dialect)?;
        let annotated = annotations::properties(about.annotations)?;
        let child = spawn(&Spawn { namespaces: 0, user: None, cgroup: None, steps: &[] });
        let child = child.map_err(|source| Error::Keeper { unit: scope.unit.clone(), source })?;
        let mut list = properties::scope(about.id, &scope.slice, child.pid() as u32, self.dialect);
        list.extend(limits);
        if !self.dialect.unified {
            let known = std::fs::read_to_string("/proc/devices").unwrap_or_default();
            let allowed = devices::properties(&resources.devices, &known);
            list.extend(allowed.map_err(|error| Error::Devices(Box::new(error)))?);
        }
        list.extend(annotated);
        let mut body = Writer::default();
        body.text(&scope.unit);
        // A job of the same unit that contradicts ours is a mistake to be told, not to be replaced.
        body.text("fail");
        body.properties(&list);
        body.no_units();
        let (signature, body) = ("ssa(sv)a(sa(sv))", body.into_bytes());
        let mut answer = self.try_manage("StartTransientUnit", signature, &body)?;
        if matches!(&answer, Err(refusal) if refusal.name == "org.freedesktop.systemd1.UnitExists") {
            // One that has failed is remembered until somebody says that he has seen it.
            self.forget(&scope.unit)?;
            answer = self.try_manage("StartTransientUnit", signature, &body)?;
        }
        let message = answer.map_err(|refusal| refused("start", &scope.unit, refusal))?;
        let ended = self.wait("start", &scope.unit, &message);
        if ended.is_err() {
            // The error that stopped us is the one to tell.
            let _ = self.stop(&scope.unit);
        }
        ended.map(|()| Keeper { _child: child })
    }

    /// Other limits for a scope, as long as it is there.
    pub(crate) fn update(&mut self, unit: &str, resources: &Resources) -> Result<(), Error> {
        let limits = properties::limits(resources, self.dialect)?;
        if limits.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(unit);
        body.bool(true);
        body.properties(&limits);
        self.manage("set limits of", unit, "SetUnitProperties", "sba(sv)", body).map(drop)
    }

    /// Ends a scope and waits for it; one that is absent has ended.
    pub(crate) fn stop(&mut self, unit: &str) -> Result<(), Error> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        match self.try_manage("StopUnit", "ss", &body.into_bytes())? {
            Ok(message) => self.wait("stop", unit, &message)?,
            Err(refusal) if unknown(&refusal) => return Ok(()),
            Err(refusal) => return Err(refused("stop", unit, refusal)),
        }
        self.forget(unit)
    }

    /// Lets systemd forget that a unit has failed, if it has.
    fn forget(&mut self, unit: &str) -> Result<(), Error> {
        let mut body = Writer::default();
        body.text(unit);
        match self.try_manage("ResetFailedUnit", "s", &body.into_bytes())? {
            Err(refusal) if !unknown(&refusal) => Err(refused("reset", unit, refusal)),
            _ => Ok(()),
        }
    }

    /// Waits for the end of the job that an answer names.
    fn wait(&mut self, verb: &'static str, unit: &str, answer: &Message) -> Result<(), Error> {
        let job = answer.reader().text().map_err(misread)?;
        let result = self.bus.signal(|signal| {
            if signal.interface != MANAGER || signal.member != "JobRemoved" {
                return None;
            }
            let mut reader = signal.reader();
            let (_number, path, _unit) = (reader.u32().ok()?, reader.text().ok()?, reader.text().ok()?);
            if path == job { reader.text().ok() } else { None }
        })?;
        if result == "done" { Ok(()) } else { Err(Error::Job { verb, unit: unit.to_owned(), result }) }
    }
}

fn unknown(refusal: &Refusal) -> bool {
    refusal.name == "org.freedesktop.systemd1.NoSuchUnit"
}

fn refused(verb: &'static str, unit: &str, refusal: Refusal) -> Error {
    let Refusal { name, words } = refusal;
    let reason = if words.is_empty() { name } else { words };
    Error::Refused { verb, unit: unit.to_owned(), reason }
}

fn misread(e: wire::Malformed) -> Error {
    Error::Protocol { reason: e.to_string() }
}

#[cfg(test)]
mod tests;
