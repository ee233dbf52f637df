//! `COPY` and `ADD`.

use super::{Prepared, Workspace};
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
use oci::{ChainId, Digest};
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use sys::root::Root;

/// Files that a cache record lists one by one.
const LISTED: usize = 2000;

/// A fetched URL.
pub(crate) struct Spooled {
    path: PathBuf,
    name: String,
    modified: Option<i64>,
}

/// Selects and digests the sources.
pub(crate) fn read(
    session: &Session<'_>,
    op: &Op,
    copy: &Copy,
    inputs: &Inputs,
    prepared: &mut Prepared,
) -> Result<BTreeMap<String, String>, Error> {
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
    let (sources, _) = effective(copy, prepared);
    let exclude = Ignore::from_patterns(copy.exclude.iter().map(String::as_str));
    let exclude = exclude.map_err(|e| fail(e.into()))?;
    let mut read = BTreeMap::new();
    for (i, source) in sources.iter().enumerate() {
        match source {
            CopySource::Inline { .. } => {}
            CopySource::Git { url, .. } => {
                let message = format!("cannot clone {url}: this build has no access to repositories");
                return Err(Error::Step(session.step_error(op, message)));
            }
            CopySource::Url { url, checksum } => {
                let (spooled, found) = fetch(session, op, url, checksum.as_deref(), prepared)?;
                read.insert(url.clone(), format!("{found} {}", spooled.name));
                prepared.fetched.insert(i, spooled);
            }
            CopySource::Path(path) => {
                let Some(root) = root else {
                    let missing = crate::files::Error::NotFound { path: path.clone(), ignored: None };
                    return Err(fail(missing));
                };
                let from = tree(root, context, &cancelled);
                let matches = select::select(&from, path, &exclude).map_err(fail)?;
                for found in &matches {
                    read_match(session, copy, &from, found, &mut read).map_err(fail)?;
                }
                prepared.matches.insert(i, matches);
            }
        }
    }
    prepared.view = view;
    Ok(digest::summarise(read, LISTED))
}

/// Digests of one match: its entries, and of what is around them what shows in the result.
fn read_match(
    session: &Session<'_>,
    copy: &Copy,
    from: &Tree<'_>,
    found: &Match,
    read: &mut BTreeMap<String, String>,
) -> Result<(), crate::files::Error> {
    let real = &found.items[0].path;
    if &found.path != real {
        // The name of a link that a pattern found is the name of the copy.
        read.insert(format!("link /{}", found.path.display()), format!("/{}", real.display()));
    }
    let mut entries = digest::entries(from, &found.items, &session.env.db)?;
    if copy.parents {
        for parent in found.path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            let own = from.entry(parent)?;
            entries.extend(digest::entries(from, &[own], &session.env.db)?);
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
fn effective<'c>(copy: &'c Copy, prepared: &Prepared) -> (&'c [CopySource], &'c str) {
    match &copy.literal {
        Some(literal) if prepared.literal => (&literal.sources, &literal.dest),
        _ => (&copy.sources, &copy.dest),
    }
}

/// Fetches a URL into the work directory; with its digest.
fn fetch(
    session: &Session<'_>,
    op: &Op,
    url: &str,
    checksum: Option<&str>,
    prepared: &mut Prepared,
) -> Result<(Spooled, Digest), Error> {
    let failed = |message: String, source: Option<BoxError>| {
        let mut error = session.step_error(op, message);
        error.source = source;
        Error::Step(error)
    };
    let Some(fetch) = &session.env.fetch else {
        return Err(failed(format!("cannot fetch {url}: this build has no access to the network"), None));
    };
    let mut fetched = fetch(url).map_err(|e| failed(format!("failed to load {url}"), Some(e)))?;
    if prepared.scratch.is_none() {
        prepared.scratch = Some(session.scratch()?);
    }
    let Some(scratch) = &prepared.scratch else { return Err(Error::Cancelled) };
    let path = scratch.path.join(format!("url-{}", prepared.fetched.len()));
    let file = File::create(&path).map_err(io_error("create", &path))?;
    let mut writer = archive::HashingWriter::new(file);
    let mut buffer = vec![0; 128 << 10];
    loop {
        if session.stopped() {
            return Err(Error::Cancelled);
        }
        let n = fetched.body.read(&mut buffer).map_err(|e| failed(format!("read {url}"), Some(e.into())))?;
        if n == 0 {
            break;
        }
        writer.write_all(&buffer[..n]).map_err(io_error("write", &path))?;
    }
    let (_, sum, _) = writer.finish();
    let found = Digest::from_sha256(sum);
    if let Some(expected) = checksum
        && expected.parse::<Digest>().ok().as_ref() != Some(&found)
    {
        let message = format!("digest mismatch {found}: {expected}");
        return Err(failed(message, None));
    }
    let name = file_name(url, fetched.file_name.as_deref());
    Ok((Spooled { path, name, modified: fetched.modified }, found))
}

/// What a fetched file is called: what the server proposes, or the end of the URL; never a path.
fn file_name(url: &str, proposed: Option<&str>) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let after_host = path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, p)| p);
    let candidate = proposed.unwrap_or(after_host);
    let name = candidate.rsplit(['/', '\\']).next().unwrap_or_default();
    if matches!(name, "." | "..") { String::new() } else { name.replace('\0', "") }
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
    let root = workspace.mount(session, parent)?;
    let failed = |message: String| Error::Step(session.step_error(op, message));
    let owner = match &copy.chown {
        Some(spec) => Some(Users::read(Some(&root)).and_then(|users| users.owner(spec)).map_err(failed)?),
        None => None,
    };
    let mode = copy.chmod.as_deref().map(Change::parse).transpose().map_err(failed)?;
    let mut writer = Writer { root: &root, owner, mode, unsteady: false };
    let (sources, dest) = effective(copy, prepared);
    let count: usize = sources.len().max(prepared.matches.values().map(Vec::len).sum());
    let cancelled = || session.stopped();
    let context = session.context_of(&copy.from);
    let from = context.map(|c| &c.root).or(prepared.view.as_ref());
    let job = Job { session, op, copy, dest, many: count > 1 };
    for (i, source) in sources.iter().enumerate() {
        match source {
            CopySource::Inline { name, content } => job.inline(&mut writer, name, content)?,
            CopySource::Git { .. } => {}
            CopySource::Url { .. } => {
                if let Some(spooled) = prepared.fetched.get(&i) {
                    job.url(&mut writer, spooled)?;
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
    drop(root);
    workspace.commit(session, parent).map(Some)
}

struct Job<'j, 'a> {
    session: &'j Session<'a>,
    op: &'j Op,
    copy: &'j Copy,
    dest: &'j str,
    many: bool,
}

impl Job<'_, '_> {
    fn fail(&self, error: crate::files::Error) -> Error {
        file_error(self.session, self.op, error)
    }

    fn inline(&self, writer: &mut Writer<'_>, name: &str, content: &str) -> Result<(), Error> {
        let target = self.target(writer, &OsString::from(name))?;
        writer.write(&target, content.as_bytes(), 0o644, None).map_err(|e| self.fail(e))
    }

    fn target(&self, writer: &Writer<'_>, name: &OsString) -> Result<PathBuf, Error> {
        let to = writer.resolve(self.dest).map_err(|e| self.fail(e))?;
        writer.file_target(&to, name, self.dest.ends_with('/'), self.many).map_err(|e| self.fail(e))
    }

    fn url(&self, writer: &mut Writer<'_>, spooled: &Spooled) -> Result<(), Error> {
        let file = || File::open(&spooled.path).map_err(io_error("open", &spooled.path));
        if self.copy.unpack == Some(true) {
            return self.extract(writer, file()?, file()?).and_then(|done| match done {
                true => Ok(()),
                false => {
                    Err(Error::Step(self.session.step_error(self.op, "the URL's content is no archive")))
                }
            });
        }
        if spooled.name.is_empty() && self.dest.ends_with('/') {
            let message = "cannot determine filename from URL: the destination must name the file";
            return Err(Error::Step(self.session.step_error(self.op, message)));
        }
        let target = self.target(writer, &OsString::from(&spooled.name))?;
        writer.write(&target, file()?, 0o600, spooled.modified).map_err(|e| self.fail(e))
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
    fn extract(&self, writer: &Writer<'_>, probe: File, file: File) -> Result<bool, Error> {
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

/// Whether a file is a tar archive, compressed or not, with something in it.
fn is_archive(file: File) -> bool {
    let Ok(stream) = archive::decompress(file) else { return false };
    matches!(archive::Reader::new(BufReader::new(stream)).next_entry(), Ok(Some(_)))
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
    fn names_of_urls_are_no_paths() {
        for (url, proposed, want) in [
            ("https://h/a/b.tar.gz", None, "b.tar.gz"),
            ("https://h/a/b?x=/y", None, "b"),
            ("https://h", None, ""),
            ("https://h/", None, ""),
            ("https://h/a", Some("../../etc/passwd"), "passwd"),
            ("https://h/a", Some(".."), ""),
            ("https://h/..", None, ""),
        ] {
            assert_eq!(file_name(url, proposed), want, "{url}");
        }
    }

    #[test]
    fn pivots() {
        assert_eq!(pivot("a/b/c"), 0);
        assert_eq!(pivot("./a/./b"), 1);
        assert_eq!(pivot("x/y/./z/*.c"), 2);
        assert_eq!(pivot("/x/./z"), 1);
    }
}
