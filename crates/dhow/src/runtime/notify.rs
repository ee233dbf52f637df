//! A service manager that waits for the container's program to say that it is ready (`NOTIFY_SOCKET`): its word is handed on.

use std::os::fd::{AsFd, OwnedFd};

use runtime::containers::{Container, Notify};

use super::{Failure, Globals};
use crate::manager;

/// The ear of one container, and whom to tell.
pub struct Relay<'a> {
    notify: Notify,
    manager: &'a str,
}

impl<'a> Relay<'a> {
    /// Before the container's start, so that no word is lost. Nothing where no manager waits, or where the container was created
    /// when none did.
    pub fn begin(globals: &'a Globals, container: &Container) -> Result<Option<Relay<'a>>, Failure> {
        let Some(manager) = &globals.manager else { return Ok(None) };
        Ok(Notify::bind(container)?.map(|notify| Relay { notify, manager }))
    }

    /// Waits until the program is ready or gone. `main`: the process that the manager has to follow instead of this one, which
    /// ends.
    pub fn follow(&self, process: &OwnedFd, main: Option<i32>) -> Result<(), Failure> {
        let Some(ready) = self.notify.ready(process.as_fd())? else { return Ok(()) };
        let state = main.map_or_else(|| ready.clone(), |pid| format!("{ready}\nMAINPID={pid}"));
        manager::tell(self.manager, &state)
            .map_err(|error| Failure::of("tell the service manager that the container is ready", &error))
    }
}
