//! `state`: what the kernel and the record say.

use super::{Container, Error, State, Status};

impl Container {
    pub fn status(&self) -> Result<Status, Error> {
        let Some(init) = &self.record.init else {
            // Whoever creates holds the lock; without it, it has died over it.
            return Ok(if self.folder.is_locked()? { Status::Creating } else { Status::Stopped });
        };
        if init.open()?.is_none() {
            return Ok(Status::Stopped);
        }
        Ok(match (self.is_frozen()?, self.folder.gate()?) {
            (true, _) => Status::Paused,
            (false, Some(_)) => Status::Created,
            (false, None) => Status::Running,
        })
    }

    /// A group that is gone, or that no freezer has, is not frozen.
    pub(super) fn is_frozen(&self) -> Result<bool, Error> {
        Ok(self.cgroup()?.is_some_and(|cgroup| cgroup.is_frozen().unwrap_or(false)))
    }

    pub fn state(&self) -> Result<State, Error> {
        let (record, status) = (&self.record, self.status()?);
        let pid = record.init.as_ref().map_or(0, |init| init.pid);
        Ok(State {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            pid: if status == Status::Stopped { 0 } else { pid },
            status,
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner: String::new(),
        })
    }
}
