//! Changes of single files, one after the other, as one layer.

use super::{Workspace, timespec};
use crate::error::Error;
use crate::files::copy::Writer;
use crate::files::select;
use crate::files::walk::Tree;
use crate::graph::{Change, ChangeKind, Op};
use crate::session::{Session, io_error};
use crate::step::{at_step, file_error};
use crate::users::Users;
use dockerfile::ignore::Ignore;
use oci::ChainId;
use rustix::fs::{FileType, Timestamps};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// Makes the layer.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    changes: &[Change],
    parent: Option<&ChainId>,
) -> Result<ChainId, Error> {
    let workspace = Workspace::new(session)?;
    let root = workspace.mount(session, parent)?;
    for (number, change) in changes.iter().enumerate() {
        let Err(error) = (Changing { session, op, root: &root, change }).run() else { continue };
        let mut error = at_step(session, op, error)?;
        drop(root);
        // Whoever looks around afterwards finds what was done before it.
        let before = session.request.keep_mounts.then(|| workspace.commit(session, parent).ok()).flatten();
        error.spot.get_or_insert_default().change = Some((number, before));
        return Err(Error::Step(error));
    }
    drop(root);
    workspace.commit(session, parent)
}

struct Changing<'c, 's> {
    session: &'c Session<'s>,
    op: &'c Op,
    root: &'c Root,
    change: &'c Change,
}

impl Changing<'_, '_> {
    fn failed(&self, message: String) -> Error {
        Error::Step(self.session.step_error(self.op, message))
    }

    fn run(&self) -> Result<(), Error> {
        let Change { path, kind, owner, time } = self.change;
        let fail = |e| file_error(self.session, self.op, e);
        let owner = match owner {
            None => (0, 0),
            Some(owner) => {
                let found = Users::read(Some(self.root)).and_then(|users| users.owner(owner));
                found.map_err(|unknown| unknown.of_step(self.session, self.op))?
            }
        };
        let writer = Writer { owner: Some(owner), ..Writer::plain(self.root) };
        if let ChangeKind::Gone { optional, pattern } = kind {
            return self.remove(path, *optional, *pattern);
        }
        // The last component is what changes, also where it is a link; those above are followed.
        let (parent, name) = (Path::new(path).parent(), Path::new(path).file_name());
        let Some(name) = name else { return self.root_itself(kind) };
        let parent = writer.resolve(&parent.unwrap_or(Path::new("/")).to_string_lossy()).map_err(fail)?;
        let target = parent.join(name);
        match kind {
            ChangeKind::File { mode, data } => {
                let target = writer.resolve(path).map_err(fail)?;
                let mut writer = writer;
                writer.write(&target, &data[..], *mode, None).map_err(fail)?;
                return self.stamp(&target, *time);
            }
            ChangeKind::Directory { mode, parents } => {
                if *parents {
                    writer.make_dirs(&parent).map_err(fail)?;
                }
                let made = self.root.mkdir(&target, *mode);
                match made {
                    Err(e)
                        if e.kind() == ErrorKind::AlreadyExists && *parents && self.is_directory(&target) =>
                    {
                        return Ok(());
                    }
                    made => made.map_err(io_error("make directory", &target))?,
                }
                self.own(&target, owner)?;
                self.root.chmod(&target, *mode).map_err(io_error("set mode of", &target))?;
            }
            ChangeKind::Link { target: says } => {
                self.root.symlink(says, &target).map_err(io_error("make link", &target))?;
                self.own(&target, owner)?;
            }
            ChangeKind::Gone { .. } => {}
        }
        self.stamp(&target, *time)
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.root.lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// The top directory is always there.
    fn root_itself(&self, kind: &ChangeKind) -> Result<(), Error> {
        match kind {
            ChangeKind::Directory { parents: true, .. } => Ok(()),
            _ => Err(self.failed(format!("{} can't be replaced", self.change.path))),
        }
    }

    fn own(&self, path: &Path, (user, group): (u32, u32)) -> Result<(), Error> {
        self.root.chown(path, user, group).map_err(io_error("change owner of", path))
    }

    fn stamp(&self, path: &Path, time: Option<i64>) -> Result<(), Error> {
        let Some(nanos) = time else { return Ok(()) };
        let time = timespec(nanos);
        let times = Timestamps { last_access: time, last_modification: time };
        self.root.utimes(path, &times).map_err(io_error("set times of", path))
    }

    fn remove(&self, path: &str, optional: bool, pattern: bool) -> Result<(), Error> {
        let found = if pattern { self.matching(path)? } else { vec![self.real(path)?] };
        for target in found {
            if target.as_os_str().is_empty() {
                return Err(self.failed("the top directory can't be removed".into()));
            }
            let is_there = self.root.lstat(&target).is_ok();
            if !is_there && !optional {
                return Err(self.failed(format!("lstat {path}: no such file or directory")));
            }
            self.root.remove_all(&target).map_err(io_error("remove", &target))?;
        }
        Ok(())
    }

    /// The path with the links above its last component resolved.
    fn real(&self, path: &str) -> Result<PathBuf, Error> {
        let path = Path::new(path);
        let Some(name) = path.file_name() else { return Ok(PathBuf::new()) };
        let parent = crate::files::real::path(self.root, path.parent().unwrap_or(Path::new("/")));
        Ok(parent.map_err(|e| file_error(self.session, self.op, e))?.join(name))
    }

    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, Error> {
        let cancelled = || self.session.stopped();
        let tree = Tree { root: self.root, ignore: None, is_context: false, cancelled: &cancelled };
        let found = select::select(&tree, pattern, &Ignore::default());
        let found = found.map_err(|e| file_error(self.session, self.op, e))?;
        let paths = found.into_iter().map(|found| self.real(&found.path.to_string_lossy()));
        paths.collect()
    }
}
