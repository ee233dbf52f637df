//! `COPY` and `ADD`.

use super::direct::Direct;
use super::remote::{self, Remote};
use super::{Prepared, Workspace, timespec};
use crate::context::is_archive;
use crate::error::{BoxError, Error};
use crate::files::index::{Index, Sum};
use crate::files::plan::{self, Node, Target};
use crate::files::select::{self, Match};
use crate::files::walk::{Item, Tree};
use crate::files::{copy::Writer, digest, listing};
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
use std::path::PathBuf;
use sys::root::Root;

/// Files that a cache record lists one by one.
pub(super) const LISTED: usize = 2000;

/// Selects the sources, and digests those that are elsewhere.
pub(crate) fn select(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    inputs: &Inputs,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    let view = match &copy.from {
        Origin::Fs(fs) => match session.view(inputs.chain(session, op, fs).as_ref())? {
            None => Some(remote::empty(session, prepared)?),
            view => view,
        },
        Origin::Context(_) => None,
    };
    let cancelled = || session.stopped();
    let context = session.context_of(&copy.from);
    let root = context.map(|c| &c.root).or(view.as_ref());
    let fail = |e| file_error(session, op, e);
    let exclude = Ignore::from_patterns(copy.exclude.iter().map(String::as_str));
    let exclude = exclude.map_err(|e| fail(e.into()))?;
    let include = Ignore::from_patterns(copy.include.iter().map(String::as_str));
    let include = include.map_err(|e| fail(e.into()))?;
    let (mut read, mut matches) = (BTreeMap::new(), BTreeMap::new());
    for (i, source) in copy.sources.iter().enumerate() {
        match source {
            CopySource::Inline { .. } => {}
            CopySource::Url { .. } | CopySource::Git { .. } => {
                if let Some(found) = remote::read(session, op, source, prepared, &mut read)? {
                    prepared.remotes.insert(i, found);
                }
            }
            CopySource::Path(path) => {
                let Some(root) = root else {
                    return Err(fail(crate::files::Error::not_found(path, None)));
                };
                let from = tree(root, context, &cancelled);
                let found = match copy.parents {
                    true => select::select_parents(&from, path, pivot(path), &exclude),
                    false => select::select(&from, path, &exclude),
                };
                let mut found = found.map_err(fail)?;
                if !include.is_empty() {
                    select::only(&mut found, &include);
                }
                require(copy, &found).map_err(fail)?;
                matches.insert(i, found);
            }
        }
    }
    prepared.view = view;
    prepared.matches = matches;
    prepared.read = read;
    Ok(())
}

/// Fails where nothing of what has to be copied was found.
fn require(copy: &Copy, found: &[Match]) -> Result<(), crate::files::Error> {
    match copy.required.iter().find(|path| !select::has(found, path)) {
        Some(path) => Err(crate::files::Error::not_found(path, None)),
        None => Ok(()),
    }
}

/// Reads what was selected, as far as its content is not known yet, and says what is in the key of it.
pub(crate) fn read(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    prepared: &mut Prepared,
) -> Result<BTreeMap<String, String>, Error> {
    let cancelled = || session.stopped();
    let context = session.context_of(&copy.from);
    let Some(root) = context.map(|c| &c.root).or(prepared.view.as_ref()) else {
        return Ok(prepared.read.clone());
    };
    let from = tree(root, context, &cancelled);
    let fail = |e| file_error(session, op, e);
    let index = session.index(&from).map_err(fail)?;
    recall(&prepared.matches, &mut prepared.sums, index.as_deref());
    let mut rest = &mut prepared.sums[..];
    let mut steady = true;
    for found in prepared.matches.values().flatten() {
        let (own, after) = rest.split_at_mut(found.items.len());
        digest::fill(&from, &found.items, own, index.as_deref(), &mut steady).map_err(fail)?;
        rest = after;
    }
    prepared.unsteady |= !steady;
    content(copy, &from, prepared).map_err(fail)
}

/// What is known of the contents, if nobody has asked yet.
pub(super) fn recall(
    matches: &BTreeMap<usize, Vec<Match>>,
    sums: &mut Vec<Option<Sum>>,
    index: Option<&Index>,
) {
    if sums.is_empty() {
        sums.extend(matches.values().flatten().flat_map(|found| digest::known(&found.items, index)));
    }
}

/// Whether everything is read from a context, where reading it beforehand may be for nothing.
pub(crate) fn is_local(copy: &Copy) -> bool {
    matches!(copy.from, Origin::Context(_)) && is_plain(copy) && !copy.link
}

/// What of the matches is in the key: their entries, and of what is around them what shows in the result.
fn content(
    copy: &Copy,
    from: &Tree<'_>,
    prepared: &Prepared,
) -> Result<BTreeMap<String, String>, crate::files::Error> {
    let mut read = prepared.read.clone();
    let matches = || prepared.matches.values().flatten();
    // A top directory lends its content alone: mode and owner of the new one are the destination's. But where it is copied itself.
    let lends = !copy.parents && !copy.whole;
    let is_top = |found: &Match, item: &Item| found.is_dir && lends && item.is_start();
    let all = matches().flat_map(|found| found.items.iter().map(move |item| (found, item)));
    let entries = all
        .zip(prepared.sums.iter().map(Option::as_ref))
        .filter(|((found, item), _)| !is_top(found, item))
        .map(|((_, item), sum)| (item, sum));
    read.extend(digest::lines(from, entries, LISTED));
    for found in matches() {
        let real = &found.items[0].path;
        if &found.path != real {
            // The name of a link that a pattern found is the name of the copy.
            read.insert(format!("link {}", digest::named(&found.path)), digest::named(real));
        }
        if is_top(found, &found.items[0]) {
            read.entry(digest::named(real)).or_insert_with(|| "top".into());
        }
        if copy.parents {
            let parents = found.path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
            let parents = parents.map(|parent| from.entry(parent)).collect::<Result<Vec<_>, _>>()?;
            read.extend(digest::lines(from, parents.iter().map(|item| (item, None)), parents.len()));
        }
    }
    Ok(read)
}

/// Which files are other than those that this layer was made of; nothing where its maker noted none.
pub(crate) fn changed_files(
    session: &Session<'_>,
    copy: &Copy,
    prepared: &Prepared,
    made: Option<&ChainId>,
) -> Vec<String> {
    let count: usize = prepared.matches.values().flatten().map(|found| found.items.len()).sum();
    if count <= LISTED || prepared.sums.len() != count || copy.chmod.is_some() || copy.chown.is_some() {
        // The key has named them already, or the layer can't tell what they were.
        return Vec::new();
    }
    let bytes = made.and_then(|chain| session.env.store.listing(chain));
    let Some(old) = bytes.as_deref().and_then(listing::decode) else { return Vec::new() };
    let target = Target { is_context: session.context_of(&copy.from).is_some(), ..Target::default() };
    let Some(new) = plan::nodes(&target, &BTreeMap::new(), prepared.matches.values().flatten()) else {
        return Vec::new();
    };
    let sum = |node: &Node<'_>| node.source.and_then(|(number, _)| prepared.sums[number]);
    let sums: Vec<_> = new.iter().map(sum).collect();
    listing::differences(old, new.iter().zip(&sums).map(|(node, sum)| listing::Entry::of(node, sum.as_ref())))
}

/// Who gets the files of a copy that is independent of the layers below: names are looked up in them all the same, and the
/// numbers are what the copy depends on.
pub(crate) fn owner(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    parent: Option<&ChainId>,
) -> Result<Option<(u32, u32)>, Error> {
    let Some(spec) = copy.chown.as_ref().filter(|_| copy.link) else { return Ok(None) };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let below = if spec.split(':').all(is_number) { None } else { session.view(parent)? };
    let found = Users::read(below.as_ref()).and_then(|users| users.owner(spec));
    found.map(Some).map_err(|unknown| unknown.of_step(session, op))
}

/// Writes the layer.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    parent: Option<&ChainId>,
    prepared: &mut Prepared,
) -> Result<Option<ChainId>, Error> {
    let below = session.view(parent)?;
    let failed = |message: String| Error::Step(session.step_error(op, message));
    let owner = match (&copy.chown, prepared.owner) {
        (_, Some(owner)) => Some(owner),
        (Some(spec), None) => {
            let found = Users::read(below.as_ref()).and_then(|users| users.owner(spec));
            Some(found.map_err(|unknown| unknown.of_step(session, op))?)
        }
        (None, None) => None,
    };
    let mode = copy.chmod.as_deref().map(Change::parse).transpose().map_err(failed)?;
    if is_plain(copy) {
        let direct = Direct { session, op, copy, parent, below: below.as_ref(), owner, mode: mode.as_ref() };
        if let Some(chain) = direct.run(prepared)? {
            return Ok(Some(chain));
        }
    }
    let workspace = Workspace::new(session)?;
    let root = workspace.mount(session, parent)?;
    let Copy { replaces, whole, .. } = *copy;
    let time = copy.time.map(timespec);
    let mut writer = Writer { owner, mode, replaces, whole, time, ..Writer::plain(&root) };
    let remotes: BTreeMap<usize, Remote> = std::mem::take(&mut prepared.remotes);
    let cancelled = || session.stopped();
    let context = session.context_of(&copy.from);
    let view = prepared.view.take();
    let from = context.map(|c| &c.root).or(view.as_ref());
    let job = Job { session, op, copy };
    if copy.rooted {
        job.require_directory(&writer)?;
    }
    for (i, source) in copy.sources.iter().enumerate() {
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
                if copy.parents {
                    // Into it goes what is found, be it nothing.
                    job.make_destination(&writer)?;
                }
                for found in prepared.matches.get(&i).into_iter().flatten() {
                    job.path(&mut writer, &from, path, found)?;
                }
            }
        }
    }
    prepared.unsteady |= writer.unsteady;
    drop(root);
    workspace.commit(session, parent).map(Some)
}

/// Whether all that is copied is known beforehand: nothing that is written, unpacked or fetched, no paths that are kept.
fn is_plain(copy: &Copy) -> bool {
    let is_path = |source: &CopySource| matches!(source, CopySource::Path(_));
    !copy.is_add
        && !copy.parents
        && !copy.whole
        && !copy.replaces
        && !copy.rooted
        && copy.time.is_none()
        && copy.include.is_empty()
        && copy.unpack.is_none()
        && copy.sources.iter().all(is_path)
}

pub(super) struct Job<'j, 'a> {
    pub session: &'j Session<'a>,
    pub op: &'j Op,
    pub copy: &'j Copy,
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
        let to = writer.resolve(&self.copy.dest).map_err(|e| self.fail(e))?;
        writer.file_target(&to, name, self.copy.dest.ends_with('/')).map_err(|e| self.fail(e))
    }

    /// Fails where the directory that the destination lies in is not there.
    fn require_directory(&self, writer: &Writer<'_>) -> Result<(), Error> {
        let to = writer.resolve(&self.copy.dest).map_err(|e| self.fail(e))?;
        let Some(directory) = to.parent() else { return Ok(()) };
        writer.root.lstat(directory).map(drop).map_err(io_error("find", directory))
    }

    fn make_destination(&self, writer: &Writer<'_>) -> Result<(), Error> {
        let made = writer.resolve(&self.copy.dest).and_then(|to| writer.make_dirs(&to));
        made.map(drop).map_err(|e| self.fail(e))
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
        let within = self.within(writer, found)?;
        let dest = within.as_deref().unwrap_or(&self.copy.dest);
        let copied = if self.copy.parents {
            writer.copy_parents(from, found, pivot(source), &self.copy.dest)
        } else {
            writer.copy(from, found, dest)
        };
        copied.map_err(|e| self.fail(e))
    }

    /// Where a whole directory goes if the destination is one already: below it, under its own name.
    fn within(&self, writer: &Writer<'_>, found: &Match) -> Result<Option<String>, Error> {
        if !self.copy.whole || !found.is_dir || found.name.is_empty() {
            return Ok(None);
        }
        let to = writer.resolve(&self.copy.dest).map_err(|e| self.fail(e))?;
        let is_dir = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !writer.root.lstat(&to).is_ok_and(is_dir) {
            return Ok(None);
        }
        let name = found.name.to_string_lossy();
        Ok(Some(format!("{}/{name}", self.copy.dest.trim_end_matches('/'))))
    }

    /// Unpacks an archive at the destination; `false` if the file is none.
    pub fn extract(&self, writer: &Writer<'_>, probe: File, file: File) -> Result<bool, Error> {
        if !is_archive(probe) {
            return Ok(false);
        }
        let to = writer.resolve(&self.copy.dest).map_err(|e| self.fail(e))?;
        // What is unpacked has modes of its own.
        let plain = Writer { owner: writer.owner, ..Writer::plain(writer.root) };
        plain.make_dirs(&to).map_err(|e| self.fail(e))?;
        let root: Root = writer.root.open_root(&to).map_err(io_error("open", &to))?;
        let bad = |e: BoxError| {
            let mut error = self.session.step_error(self.op, "unpack archive");
            error.source = Some(e);
            Error::Step(error)
        };
        let stream = archive::decompress(file).map_err(|e| bad(e.into()))?;
        let limits = self.session.lease.limits();
        let options = archive::Options { owner: writer.owner, limits, ..archive::Options::plain() };
        let stream = archive::Guard::new(stream, options.limits.stream(), || self.session.stopped());
        archive::unpack(stream, &root, &options).map_err(|e| bad(e.into()))?;
        Ok(true)
    }
}

/// How many leading components `--parents` leaves out: those before `/./`.
fn pivot(source: &str) -> usize {
    match source.find("/./") {
        Some(at) => oci::path::clean(&source[..at]).split('/').filter(|p| !p.is_empty() && *p != ".").count(),
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
