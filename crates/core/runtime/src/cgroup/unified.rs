//! What version 2 has of its own: controllers that are given down level by level, and settings by the names of files.
//!
//! A group gives controllers to those below it only while it has no processes itself (but for the root of the hierarchy), and
//! only what it was given. Nobody is told when a controller is not given: its files are missing.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{Cgroup, Error, call, open, write};

/// Those that a group was given.
pub(super) fn controllers(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Whether a group has processes beside which it may give nothing down. The root of the hierarchy may, and has no type. Some
/// controllers could be given down all the same, but then the groups below would be threaded ones, good for no container.
fn is_occupied(dir: &Path) -> bool {
    let processes = || fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    dir.join("cgroup.type").exists() && !processes().is_empty()
}

fn give(dir: &Path, controllers: &[&str]) -> io::Result<()> {
    if is_occupied(dir) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let text: Vec<String> = controllers.iter().map(|controller| format!("+{controller}")).collect();
    fs::write(dir.join("cgroup.subtree_control"), text.join(" "))
}

impl Cgroup {
    /// The groups above this one from the root on, each with the next.
    fn levels(&self, mountpoint: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        let mut dir = mountpoint.to_owned();
        self.path.split('/').filter(|name| !name.is_empty()).map(move |name| {
            let above = dir.clone();
            dir.push(name);
            (above, dir.clone())
        })
    }

    /// Makes the directories, and has all controllers given down. One that can't be is missed later, when a limit asks for
    /// it.
    pub(super) fn create_v2(&self, mountpoint: &Path) -> Result<(), Error> {
        for (above, dir) in self.levels(mountpoint) {
            let enabled = fs::read_to_string(above.join("cgroup.subtree_control")).unwrap_or_default();
            let on = |name: &String| enabled.split_whitespace().any(|on| on == name);
            let found = controllers(&above);
            let missing: Vec<&str> = found.iter().filter(|name| !on(name)).map(String::as_str).collect();
            if !missing.is_empty() && give(&above, &missing).is_err() {
                for controller in missing {
                    let _ = give(&above, &[controller]);
                }
            }
            match fs::create_dir(&dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(call(format!("make {}", dir.display())))?,
            }
        }
        let dir = self.below(mountpoint);
        match fs::read_to_string(dir.join("cgroup.type")) {
            Ok(typ) if typ.trim() == "domain invalid" => {
                Err(Error::Threaded { attempt: format!("use {}", dir.display()) })
            }
            _ => Ok(()),
        }
    }

    /// Whether this group has a controller. Where a group above has it and may not give it down, this is an error that says
    /// which group, and why.
    pub(super) fn has_v2(&self, controller: &str) -> Result<bool, Error> {
        let Some(mountpoint) = &self.layout.v2 else { return Ok(false) };
        let has = |dir: &Path| controllers(dir).iter().any(|name| name == controller);
        if !has(mountpoint) {
            return Ok(false);
        }
        for (above, dir) in self.levels(mountpoint) {
            if !has(&dir) {
                let attempt = format!("give the {controller} controller down to {}", dir.display());
                give(&above, &[controller]).map_err(|source| refused(attempt, &above, source))?;
            }
        }
        Ok(true)
    }

    /// The directory of the group below this one in which a process of the container is. A container that gives controllers
    /// to groups of its own has moved its processes there, and this group takes none.
    pub(crate) fn birthplace_beside(&self, pid: i32) -> Result<Option<OwnedFd>, Error> {
        let file = format!("/proc/{pid}/cgroup");
        let text = crate::proc::read(&file).map_err(call(format!("read {file}")))?;
        let inner = path_of(&text).filter(|path| {
            path.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/')) && !path.contains("/..")
        });
        match (&self.layout.v2, inner) {
            (Some(mountpoint), Some(path)) => open(&mountpoint.join(path.trim_start_matches('/'))).map(Some),
            _ => Ok(None),
        }
    }

    /// Writes settings by the names of their files, each line by itself as the kernel takes one at a time.
    pub(super) fn apply_unified(&self, dir: &Path, file: &str, value: &str) -> Result<(), Error> {
        if file.contains('/') {
            let reason = format!("unified resource {file:?} must be a file name (no slashes)");
            return Err(Error::Limits { reason });
        }
        let mut lines = value.strip_suffix('\n').unwrap_or(value).split('\n');
        lines.try_for_each(|line| write(&dir.join(file), line)).map_err(|error| {
            let Error::Call { source, .. } = &error else { return error };
            if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) {
                return error;
            }
            let reason = match file.split_once('.') {
                None => format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER"),
                Some(("cgroup", _)) => return error,
                Some((controller, _)) => match self.has_v2(controller) {
                    Ok(true) => return error,
                    Ok(false) => {
                        format!(
                            "unified resource {file:?} can't be set: controller {controller:?} not available"
                        )
                    }
                    Err(why) => return why,
                },
            };
            Error::Limits { reason }
        })
    }
}

/// The path of a process' group, from `/proc/<pid>/cgroup`.
fn path_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

fn refused(attempt: String, above: &Path, source: io::Error) -> Error {
    let group = above.display().to_string();
    match source.raw_os_error() {
        Some(libc::EBUSY) => Error::Occupied { attempt, group },
        Some(libc::EOPNOTSUPP) => Error::Threaded { attempt },
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => Error::NotDelegated { attempt, group, source },
        _ => Error::Call { attempt, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_version_2_has_no_controllers_in_its_line() {
        assert_eq!(path_of("9:memory:/a\n1:name=systemd:/b\n0::/c/d\n"), Some("/c/d"));
        assert_eq!(path_of("9:memory:/a\n"), None);
    }
}
