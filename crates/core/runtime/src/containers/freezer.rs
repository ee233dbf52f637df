//! `pause` and `resume`.

use super::{Container, Error, Status};
use crate::cgroup::Cgroup;

/// Stops all processes of a container, until [`resume`].
pub fn pause(container: &Container) -> Result<(), Error> {
    match container.status()? {
        Status::Running | Status::Created => with_group(container, Cgroup::freeze),
        _ => Err(Error::NotRunning),
    }
}

/// Lets them run again.
pub fn resume(container: &Container) -> Result<(), Error> {
    if container.status()? == Status::Stopped || !container.is_frozen()? {
        return Err(Error::NotPaused);
    }
    with_group(container, Cgroup::thaw)
}

fn with_group(
    container: &Container,
    act: impl FnOnce(&Cgroup) -> Result<(), crate::cgroup::Error>,
) -> Result<(), Error> {
    let cgroup = container.cgroup()?.ok_or(Error::NoCgroup { what: "the freezer" })?;
    act(&cgroup).map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })
}
