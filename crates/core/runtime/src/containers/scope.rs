//! Containers whose control group is a scope of systemd's.

use oci::runtime::{Linux, Resources, Spec};

use super::Error;
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::{self, About, Keeper, Scope, Systemd};

/// The scope of a container that is created.
#[derive(Debug)]
pub(super) struct Place {
    systemd: Systemd,
    scope: Scope,
    started: bool,
    /// Limits that come when the keeper has gone.
    late: Resources,
}

/// Limits beside which there is no room for an init as long as the keeper is there. Of the two ways to say it the name of the
/// file is the stronger one.
fn tight(resources: &mut Resources) -> Resources {
    const FILE: &str = "pids.max";
    let few = |text: &String| text.trim() == "1";
    let unified = match resources.unified.get(FILE) {
        Some(text) if few(text) => resources.unified.remove_entry(FILE),
        Some(_) => return Resources::default(),
        None => None,
    };
    let pids = resources.pids.take_if(|pids| pids.limit == 1 || unified.is_some());
    Resources { pids, unified: unified.into_iter().collect(), ..Resources::default() }
}

fn connect() -> Result<Systemd, Error> {
    let unified = Cgroup::unified().map_err(|source| Error::Cgroup { path: String::new(), source })?;
    Systemd::connect(unified).map_err(Error::Systemd)
}

impl Place {
    /// Reads the `cgroupsPath` of a container and puts there which control group that means.
    pub fn find(linux: &mut Linux, id: &str) -> Result<Place, Error> {
        let scope = Scope::parse(&linux.cgroups_path, id).map_err(Error::Systemd)?;
        let mut systemd = connect()?;
        linux.cgroups_path = systemd.path(&scope).map_err(Error::Systemd)?;
        Ok(Place { systemd, scope, started: false, late: Resources::default() })
    }

    pub fn unit(&self) -> &str {
        self.scope.unit()
    }

    /// Has the group made.
    pub fn start(&mut self, spec: &mut Spec, id: &str) -> Result<Keeper, Error> {
        let none = Resources::default();
        let mut resources = spec.linux.as_mut().and_then(|linux| linux.resources.as_mut());
        if let Some(resources) = &mut resources {
            self.late = tight(resources);
        }
        let about = About { id, annotations: &spec.annotations };
        let keeper = self
            .systemd
            .start(&self.scope, about, resources.as_deref().unwrap_or(&none))
            .map_err(Error::Systemd)?;
        self.started = true;
        Ok(keeper)
    }

    /// Sets what had to wait for the keeper to go.
    pub fn finish(&mut self, cgroup: &Cgroup) -> Result<(), Error> {
        let resources = std::mem::take(&mut self.late);
        if resources == Resources::default() {
            return Ok(());
        }
        self.systemd.update(self.scope.unit(), &resources).map_err(Error::Systemd)?;
        let applied = cgroup.apply(&resources);
        applied.map(drop).map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })
    }

    /// After a failure: what we have made is gone.
    pub fn undo(&mut self) {
        if self.started {
            // The error that stopped us is the one to tell.
            let _ = self.systemd.stop(self.scope.unit());
        }
    }
}

/// Other limits for a scope that runs.
pub(super) fn update(unit: &str, resources: &Resources) -> Result<(), Error> {
    connect()?.update(unit, resources).map_err(Error::Systemd)
}

/// Ends a scope. Where systemd is gone, so are its scopes.
pub(super) fn stop(unit: &str) -> Result<(), Error> {
    match connect() {
        Err(Error::Systemd(systemd::Error::NotRunning { .. })) => Ok(()),
        Err(error) => Err(error),
        Ok(mut systemd) => systemd.stop(unit).map_err(Error::Systemd),
    }
}

#[cfg(test)]
mod tests {
    use oci::runtime::Pids;

    use super::*;

    #[test]
    fn one_task_is_the_keeper_or_the_init() {
        let given = |limit: Option<i64>, file: Option<&str>| Resources {
            pids: limit.map(|limit| Pids { limit }),
            unified: file.map(|text| ("pids.max".to_owned(), text.to_owned())).into_iter().collect(),
            ..Resources::default()
        };
        for (limit, file, late) in [
            (Some(1), None, true),
            (Some(2), None, false),
            (Some(20), Some("1"), true),
            (None, Some("1\n"), true),
            (Some(1), Some("1"), true),
            (Some(1), Some("7"), false),
            (None, None, false),
        ] {
            let all = given(limit, file);
            let mut now = all.clone();
            let then = tight(&mut now);
            let (rest, kept) = if late { (given(None, None), all) } else { (all, given(None, None)) };
            assert_eq!((now, then), (rest, kept), "{limit:?} {file:?}");
        }
    }
}
