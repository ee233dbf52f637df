//! `WORKDIR`.

use super::Workspace;
use crate::error::Error;
use crate::files::copy::Writer;
use crate::files::real;
use crate::graph::{Mkdir, Op};
use crate::session::{Session, io_error};
use crate::step::file_error;
use crate::users::Users;
use oci::ChainId;
use rustix::fs::{FileType, Timespec, Timestamps};
use std::path::{Path, PathBuf};
use sys::root::Root;

/// Makes the directory; no layer if it is there.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    dir: &Mkdir,
    parent: Option<&ChainId>,
) -> Result<Option<ChainId>, Error> {
    let view = session.view(parent)?;
    if let Some(root) = &view {
        let real = real::path(root, Path::new(&dir.path)).map_err(|e| file_error(session, op, e))?;
        match root.lstat(&real).map(|s| FileType::from_raw_mode(s.st_mode)) {
            Ok(FileType::Directory) => return Ok(parent.cloned()),
            Ok(_) => {
                let message = format!("mkdir {}: not a directory", dir.path);
                return Err(Error::Step(session.step_error(op, message)));
            }
            Err(_) => {}
        }
    }
    let owner = Users::read(view.as_ref()).and_then(|users| match dir.user.as_str() {
        "" => Ok((0, 0)),
        user => users.maker(user),
    });
    let owner = owner.map_err(|unknown| unknown.of_step(session, op))?;
    drop(view);
    let workspace = Workspace::new(session)?;
    let root = workspace.mount(session, parent)?;
    let writer = Writer { owner: Some(owner), ..Writer::plain(&root) };
    let path = writer.resolve(&dir.path).map_err(|e| file_error(session, op, e))?;
    let (above, new) = divide(&root, &path);
    let before = root.lstat(&above).map_err(io_error("stat", &above))?;
    writer.make_dirs(&path).map_err(|e| file_error(session, op, e))?;
    if let Some(seconds) = dir.time {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        new.iter().try_for_each(|new| root.utimes(new, &times).map_err(io_error("set times of", new)))?;
        // The directory that they are in is part of the layer too.
        if !above.as_os_str().is_empty() {
            let time = Timespec { tv_sec: before.st_mtime as _, tv_nsec: before.st_mtime_nsec as _ };
            let times = Timestamps { last_access: time, last_modification: time };
            root.utimes(&above, &times).map_err(io_error("set times of", &above))?;
        }
    }
    drop(root);
    workspace.commit(session, parent).map(Some)
}

/// The last directory of a path that is there, and those below that are not.
fn divide(root: &Root, path: &Path) -> (PathBuf, Vec<PathBuf>) {
    let new = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && root.lstat(path).is_err());
    let new: Vec<PathBuf> = new.map(Path::to_owned).collect();
    let above = new.last().unwrap_or(&path.to_owned()).parent().unwrap_or(Path::new("")).to_owned();
    (above, new)
}
