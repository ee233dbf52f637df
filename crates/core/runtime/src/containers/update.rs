//! `update`: other limits for a container.

use oci::runtime::Resources;

use super::{Container, Error, Status};

/// Applies limits; what is `None` stays. Gives warnings.
pub fn update(container: &Container, resources: &Resources) -> Result<Vec<String>, Error> {
    if container.status()? == Status::Stopped {
        return Err(Error::NotRunning);
    }
    let cgroup = container.cgroup()?.ok_or(Error::NoCgroup { what: "a limit" })?;
    if let Some(unit) = &container.record.scope {
        super::scope::update(unit, resources)?;
    }
    cgroup.apply(resources).map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })
}
