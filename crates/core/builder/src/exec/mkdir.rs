//! `WORKDIR`.

use super::Workspace;
use crate::error::Error;
use crate::files::copy::Writer;
use crate::files::real;
use crate::graph::{Mkdir, Op};
use crate::session::Session;
use crate::step::file_error;
use crate::users::Users;
use oci::ChainId;
use rustix::fs::FileType;
use std::path::Path;

/// Makes the directory; no layer if it is there.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    dir: &Mkdir,
    parent: Option<&ChainId>,
) -> Result<Option<ChainId>, Error> {
    let failed = |message: String| Error::Step(session.step_error(op, message));
    let view = session.view(parent)?;
    if let Some(root) = &view {
        let real = real::path(root, Path::new(&dir.path)).map_err(|e| file_error(session, op, e))?;
        match root.lstat(&real).map(|s| FileType::from_raw_mode(s.st_mode)) {
            Ok(FileType::Directory) => return Ok(parent.cloned()),
            Ok(_) => return Err(failed(format!("mkdir {}: not a directory", dir.path))),
            Err(_) => {}
        }
    }
    let users = Users::read(view.as_ref()).map_err(failed)?;
    let owner = match dir.user.as_str() {
        "" => (0, 0),
        user => users.maker(user).map_err(failed)?,
    };
    drop(view);
    let workspace = Workspace::new(session)?;
    let root = workspace.mount(session, parent)?;
    let writer = Writer { root: &root, owner: Some(owner), mode: None, unsteady: false };
    let made = writer.resolve(&dir.path).and_then(|path| writer.make_dirs(&path));
    made.map_err(|e| file_error(session, op, e))?;
    drop(root);
    workspace.commit(session, parent).map(Some)
}
