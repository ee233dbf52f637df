//! Mount points that the image does not have.
//!
//! A runtime makes missing mount points in the container's file system, where they would end up in the layer. Here they
//! lie in a directory of their own under all layers: they are there to be mounted on, and nothing has to be taken out of
//! the layer afterwards, where a hostile process could have put links in their place (CVE-2024-23652).

use crate::error::Error;
use crate::files::real;
use crate::session::{Scratch, io_error};
use std::path::{Path, PathBuf};
use sys::root::Root;

/// A mount point.
pub(crate) struct Stub {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// A directory and no file.
    pub is_dir: bool,
}

/// Makes the directory with those that `view` (the image; none is empty) lacks.
pub(crate) fn make(scratch: &Scratch, view: Option<&Root>, stubs: &[Stub]) -> Result<PathBuf, Error> {
    let dir = scratch.dir("stubs")?;
    let root = Root::open(&dir).map_err(io_error("open", &dir))?;
    for stub in stubs {
        let path = match view {
            Some(view) => match real::path(view, &stub.path) {
                Ok(real) if view.lstat(&real).is_ok() => continue,
                Ok(real) => real,
                // What cannot be resolved cannot be mounted on either: the runtime will say so.
                Err(_) => continue,
            },
            None => stub.path.strip_prefix("/").unwrap_or(&stub.path).to_path_buf(),
        };
        place(&root, &path, stub.is_dir).map_err(io_error("make mount point", &stub.path))?;
    }
    Ok(dir)
}

fn place(root: &Root, path: &Path, is_dir: bool) -> std::io::Result<()> {
    if is_dir {
        return root.mkdir_p(path, 0o755).map(drop);
    }
    if let Some(parent) = path.parent() {
        root.mkdir_p(parent, 0o755)?;
    }
    match root.create_file(path, 0o644) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}
