//! `COPY` and `ADD`.

use super::remote::{self, Remote};
use super::{Prepared, Workspace, direct};
use crate::context::is_archive;
use crate::error::{BoxError, Error};
use crate::files::select::{self, Match};
use crate::files::walk::Tree;
use crate::files::{copy::Writer, digest};
use crate::graph::{Copy, CopySource, Op, Origin};
use crate::mode::Change;
use crate::session::{Session, io_error, tree};
use crate::step::{Inputs, file_error};
use crate::users::Users;
use dockerfile::ignore::Ignore;
use oci::ChainId;
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sys::root::Root;

/// Files that a cache record lists one by one.
const LISTED: usize = 2000;

/// Selects the sources, and digests those that are elsewhere.
pub(crate) fn select(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    inputs: &Inputs,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    let view = match &copy.from {
        Origin::Fs(fs) => session.view(inputs.chain(session, op, fs).as_ref())?,
        Origin::Context(_) => None,
    };
    let cancelled = || session.stopped();
    let context = session.context_of(&copy.from);
    let root = context.map(|c| &c.root).or(view.as_ref());
    let fail = |e| file_error(session, op, e);
    prepared.literal = match (&copy.literal, context) {
        (Some(literal), Some(context)) => {
            let name = Path::new(&literal.first);
            context.root.lstat(name).is_ok() && !context.ignore.is_ignored(&literal.first)
        }
        _ => false,
    };
    let (sources, _) = effective(copy, prepared.literal);
    let exclude = Ignore::from_patterns(copy.exclude.iter().map(String::as_str));
    let exclude = exclude.map_err(|e| fail(e.into()))?;
    let (mut read, mut matches) = (BTreeMap::new(), BTreeMap::new());
    for (i, source) in sources.iter().enumerate() {
        match source {
            CopySource::Inline { .. } => {}
            CopySource::Url { .. } | CopySource::Git { .. } => {
                if let Some(found) = remote::read(session, op, source, prepared, &mut read)? {
                    prepared.remotes.insert(i, found);
                }
            }
            CopySource::Path(path) => {
                let Some(root) = root else {
                    let missing = crate::files::Error::NotFound { path: path.clone(), ignored: None };
                    return Err(fail(missing));
                };
                let from = tree(root, context, &cancelled);
                let found = select::select(&from, path, &exclude).map_err(fail)?;
                matches.insert(i, found);
            }
        }
    }
    prepared.view = view.map(Arc::new);
    prepared.matches = Arc::new(matches);
    prepared.read = read;
    Ok(())
}

/// The sources of a copy that were selected, to be digested.
pub(crate) struct Selected {
    matches: Arc<BTreeMap<usize, Vec<Match>>>,
    view: Option<Arc<Root>>,
    read: BTreeMap<String, String>,
}

impl Selected {
    pub fn of(prepared: &Prepared) -> Self {
        Self {
            matches: Arc::clone(&prepared.matches),
            view: prepared.view.clone(),
            read: prepared.read.clone(),
        }
    }

    /// Reads what was selected; and whether it was the same before and after.
    pub fn digests(
        self,
        session: &Session<'_>,
        op: &Op,
        copy: &Copy,
    ) -> Result<(BTreeMap<String, String>, bool), Error> {
        let cancelled = || session.stopped();
        let context = session.context_of(&copy.from);
        let (mut read, mut steady) = (self.read, true);
        if let Some(root) = context.map(|c| &c.root).or(self.view.as_deref()) {
            let from = tree(root, context, &cancelled);
            for found in self.matches.values().flatten() {
                read_match(session, copy, &from, found, &mut read, &mut steady)
                    .map_err(|e| file_error(session, op, e))?;
            }
        }
        Ok((digest::summarise(read, LISTED), steady))
    }
}

/// Whether everything is read from a context, where reading it beforehand may be for nothing.
pub(crate) fn is_local(copy: &Copy) -> bool {
    matches!(copy.from, Origin::Context(_)) && is_plain(copy)
}

/// Digests of one match: its entries, and of what is around them what shows in the result.
fn read_match(
    session: &Session<'_>,
    copy: &Copy,
    from: &Tree<'_>,
    found: &Match,
    read: &mut BTreeMap<String, String>,
    steady: &mut bool,
) -> Result<(), crate::files::Error> {
    let real = &found.items[0].path;
    if &found.path != real {
        // The name of a link that a pattern found is the name of the copy.
        read.insert(format!("link /{}", found.path.display()), format!("/{}", real.display()));
    }
    let index = session.index(from)?;
    let mut entries = digest::entries(from, &found.items, index.as_deref(), steady)?;
    if copy.parents {
        for parent in found.path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            let own = from.entry(parent)?;
            entries.extend(digest::entries(from, &[own], index.as_deref(), steady)?);
        }
    } else if found.is_dir
        && let Some(_) = entries.remove(&format!("/{}", real.display()))
    {
        // A top directory lends its content alone: mode and owner of the new one are the destination's.
        read.entry(format!("/{}", real.display())).or_insert_with(|| "top".into());
    }
    read.extend(entries);
    Ok(())
}

/// Sources and destination, after the decision about a trailing comment.
fn effective(copy: &Copy, literal: bool) -> (&[CopySource], &str) {
    match &copy.literal {
        Some(other) if literal => (&other.sources, &other.dest),
        _ => (&copy.sources, &copy.dest),
    }
}

/// Writes the layer.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    parent: Option<&ChainId>,
    prepared: &mut Prepared,
) -> Result<Option<ChainId>, Error> {
    let workspace = Workspace::new(session)?;
    let below = session.view(parent)?;
    let planned = match is_plain(copy) {
        true => {
            let dest = effective(copy, prepared.literal).1;
            let matches = prepared.matches.values().flatten();
            direct::plan(below.as_ref(), dest, matches).map_err(|e| file_error(session, op, e))?
        }
        false => None,
    };
    let root = match &planned {
        Some((_, there)) => {
            let root = Root::open(&workspace.upper).map_err(io_error("open", &workspace.upper))?;
            there.make(&root)?;
            root
        }
        None => workspace.mount(session, parent)?,
    };
    let failed = |message: String| Error::Step(session.step_error(op, message));
    let owner = match &copy.chown {
        Some(spec) => Some(Users::read(below.as_ref()).and_then(|users| users.owner(spec)).map_err(failed)?),
        None => None,
    };
    let mode = copy.chmod.as_deref().map(Change::parse).transpose().map_err(failed)?;
    let mut writer = Writer { root: &root, owner, mode, unsteady: false };
    let remotes: BTreeMap<usize, Remote> = std::mem::take(&mut prepared.remotes);
    let literal = prepared.literal;
    let (sources, dest) = effective(copy, literal);
    let real = planned.as_ref().map(|(to, _)| match dest.ends_with('/') {
        true => format!("/{}/", to.display()),
        false => format!("/{}", to.display()),
    });
    let dest = real.as_deref().unwrap_or(dest);
    let count: usize = sources.len().max(prepared.matches.values().map(Vec::len).sum());
    let cancelled = || session.stopped();
    let context = session.context_of(&copy.from);
    let view = prepared.view.take();
    let from = context.map(|c| &c.root).or(view.as_deref());
    let job = Job { session, op, copy, dest, many: count > 1 };
    for (i, source) in sources.iter().enumerate() {
        match source {
            CopySource::Inline { name, content } => job.inline(&mut writer, name, content)?,
            CopySource::Url { .. } | CopySource::Git { .. } => {
                if let Some(found) = remotes.get(&i) {
                    remote::write(&job, &mut writer, found, prepared)?;
                }
            }
            CopySource::Path(path) => {
                let Some(from) = from else { continue };
                let from = tree(from, context, &cancelled);
                for found in prepared.matches.get(&i).into_iter().flatten() {
                    job.path(&mut writer, &from, path, found)?;
                }
            }
        }
    }
    prepared.unsteady |= writer.unsteady;
    if let Some((_, there)) = &planned {
        there.settle(&root)?;
    }
    drop(root);
    workspace.commit(session, parent).map(Some)
}

/// Whether all that is copied is known beforehand: nothing that is written, unpacked or fetched, no paths that are kept.
fn is_plain(copy: &Copy) -> bool {
    let is_path = |source: &CopySource| matches!(source, CopySource::Path(_));
    !copy.is_add && !copy.parents && copy.unpack.is_none() && copy.sources.iter().all(is_path)
}

pub(super) struct Job<'j, 'a> {
    pub session: &'j Session<'a>,
    pub op: &'j Op,
    pub copy: &'j Copy,
    pub dest: &'j str,
    pub many: bool,
}

impl Job<'_, '_> {
    pub fn fail(&self, error: crate::files::Error) -> Error {
        file_error(self.session, self.op, error)
    }

    fn inline(&self, writer: &mut Writer<'_>, name: &str, content: &str) -> Result<(), Error> {
        let target = self.target(writer, &OsString::from(name))?;
        writer.write(&target, content.as_bytes(), 0o644, None).map_err(|e| self.fail(e))
    }

    pub fn target(&self, writer: &Writer<'_>, name: &OsString) -> Result<PathBuf, Error> {
        let to = writer.resolve(self.dest).map_err(|e| self.fail(e))?;
        writer.file_target(&to, name, self.dest.ends_with('/'), self.many).map_err(|e| self.fail(e))
    }

    fn path(
        &self,
        writer: &mut Writer<'_>,
        from: &Tree<'_>,
        source: &str,
        found: &Match,
    ) -> Result<(), Error> {
        let unpacks = self.copy.is_add && self.copy.unpack != Some(false);
        if unpacks && !found.is_dir && found.items[0].kind == FileType::RegularFile {
            let path = &found.items[0].path;
            let open = || {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                from.root
                    .open_with(path, flags, Mode::empty())
                    .map(File::from)
                    .map_err(io_error("open", path))
            };
            if self.extract(writer, open()?, open()?)? {
                return Ok(());
            }
        }
        let copied = if self.copy.parents {
            writer.copy_parents(from, found, pivot(source), self.dest)
        } else {
            writer.copy(from, found, self.dest, self.many)
        };
        copied.map_err(|e| self.fail(e))
    }

    /// Unpacks an archive at the destination; `false` if the file is none.
    pub fn extract(&self, writer: &Writer<'_>, probe: File, file: File) -> Result<bool, Error> {
        if !is_archive(probe) {
            return Ok(false);
        }
        let to = writer.resolve(self.dest).map_err(|e| self.fail(e))?;
        writer.make_dirs(&to).map_err(|e| self.fail(e))?;
        let root: Root = writer.root.open_root(&to).map_err(io_error("open", &to))?;
        let bad = |e: BoxError| {
            let mut error = self.session.step_error(self.op, "unpack archive");
            error.source = Some(e);
            Error::Step(error)
        };
        let stream = archive::decompress(file).map_err(|e| bad(e.into()))?;
        let options = archive::Options { owner: writer.owner, ..archive::Options::plain() };
        let stream = archive::Guard::new(stream, options.limits.stream(), || self.session.stopped());
        archive::unpack(stream, &root, &options).map_err(|e| bad(e.into()))?;
        Ok(true)
    }
}

/// How many leading components `--parents` leaves out: those before `/./`.
fn pivot(source: &str) -> usize {
    match source.find("/./") {
        Some(at) => {
            dockerfile::ignore::clean(&source[..at]).split('/').filter(|p| !p.is_empty() && *p != ".").count()
        }
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pivots() {
        assert_eq!(pivot("a/b/c"), 0);
        assert_eq!(pivot("./a/./b"), 1);
        assert_eq!(pivot("x/y/./z/*.c"), 2);
        assert_eq!(pivot("/x/./z"), 1);
    }
}
