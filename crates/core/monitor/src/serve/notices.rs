//! What the monitor leaves behind for others to read: status, events, complaints.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use super::Monitor;
use crate::status::StatusError;
use crate::{event, place};

impl Monitor {
    /// Writes `status.json`. Without it the container still runs, so a failure is only noted.
    pub(super) fn record(&mut self, durable: bool) {
        if let Err(e) = self.write_status(durable) {
            complain(&e);
        }
    }

    pub(super) fn write_status(&self, durable: bool) -> Result<(), StatusError> {
        let dir = &self.launch.container_dir;
        match self.outlives_its_run() {
            true => self.status.write(dir, durable),
            false => {
                self.status.write_fleeting(dir, &place::directory(&self.launch.run_dir, &self.launch.id))
            }
        }
    }

    /// Whether how the container ended must survive a power failure: one that is removed at its end leaves nothing to tell.
    pub(super) fn outlives_its_run(&self) -> bool {
        self.container.as_ref().is_none_or(|container| !container.config.auto_remove)
    }

    /// Lets the container be found by its name while it runs. Whoever finds it so asks whether that still is its name.
    pub(super) fn announce_name(&self) {
        let Some(link) = self.name_link() else { return };
        let id = &self.launch.id;
        let failed = match std::os::unix::fs::symlink(id, &link) {
            // One that was killed has left it there.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&link).and_then(|()| std::os::unix::fs::symlink(id, &link))
            }
            made => made,
        };
        // It is found by the database as well.
        if let Err(e) = failed
            && e.kind() != io::ErrorKind::NotFound
        {
            complain(&e);
        }
    }

    /// Takes the name back, unless it is another container's by now.
    pub(super) fn withdraw_name(&self) {
        let Some(link) = self.name_link() else { return };
        place::forget_name(&link, &self.launch.id);
    }

    fn name_link(&self) -> Option<PathBuf> {
        let name = &self.container.as_ref()?.config.name;
        place::name(&self.launch.run_dir, name)
    }

    /// Appends an event with the container's attributes and some of its own.
    pub(super) fn event(&self, action: &str, own: &[(&'static str, String)]) {
        let Some(config) = self.container.as_ref().map(|container| &container.config) else { return };
        let Some(path) = &config.events else { return };
        let mut attributes: BTreeMap<&str, String> =
            config.labels.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        attributes.insert("image", config.image.clone());
        attributes.insert("name", config.name.clone());
        attributes.extend(own.iter().cloned());
        let event = event::container(&config.id, &config.image, action, attributes, Timestamp::now());
        if let Err(e) = event::append(path, &event) {
            complain(&e);
        }
    }
}

/// Says on standard error, which is a file next to the socket, what went wrong without stopping anything.
pub fn complain(error: &dyn std::error::Error) {
    note(format_args!("{} {}\n", Timestamp::now(), crate::chain(error)));
}

/// Writes there, if there is room: a full disk is no reason to end a container.
pub fn note(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_fmt(text);
}
