//! `ps`: who is in a container.

use super::{Container, Error};

/// The processes of a container, as this pid namespace numbers them; none when it has stopped.
pub fn ps(container: &Container) -> Result<Vec<i32>, Error> {
    match container.cgroup()? {
        Some(cgroup) => {
            cgroup.pids().map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })
        }
        None => Ok(container.init()?.map(|(pid, _)| pid).into_iter().collect()),
    }
}
