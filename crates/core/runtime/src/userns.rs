//! User namespaces: the id maps.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use oci::runtime::IdMapping;
use sys::child::{Message, Spawn, Step, spawn};

use crate::Error;

/// Writes the maps of a process' new user namespace. Each file takes exactly one write.
pub(crate) fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<(), Error> {
    for (file, maps) in [("uid_map", uids), ("gid_map", gids)] {
        if maps.is_empty() {
            return Err(Error::Spec { reason: format!("a user namespace needs mappings ({file})") });
        }
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, lines(maps))
            .map_err(|source| Error::Call { attempt: format!("write {path}"), source })?;
    }
    Ok(())
}

fn lines(maps: &[IdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{} {} {}", map.container_id, map.host_id, map.size);
        text
    })
}

/// A user namespace with nobody in it, to map the ids of a mount.
pub(crate) fn with_maps(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Error> {
    let call = |attempt: &str| {
        let attempt = attempt.to_owned();
        move |source: io::Error| Error::Call { attempt, source }
    };
    let steps = [Step::Ready];
    let child =
        spawn(&Spawn { namespaces: libc::CLONE_NEWUSER as u64, user: None, cgroup: None, steps: &steps })
            .map_err(call("make a user namespace"))?;
    write_maps(child.pid(), uids, gids)?;
    child.go().map_err(call("make a user namespace"))?;
    match child.receive().map_err(call("make a user namespace"))? {
        Message::Ready => {}
        _ => return Err(call("make a user namespace")(io::ErrorKind::BrokenPipe.into())),
    }
    let file =
        File::open(format!("/proc/{}/ns/user", child.pid())).map_err(call("open the user namespace"))?;
    Ok(file.into())
}
