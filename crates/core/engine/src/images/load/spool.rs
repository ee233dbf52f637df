//! Taking an archive apart: layers go to the store as they come in, the few small files that say what is what below a
//! scratch directory, where the confined resolver opens them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use archive::{Entry, Kind, Options, Unpacker};
use oci::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use store::{Batch, Lease, Store};
use sys::root::Root;

use super::early::Early;
use crate::error::{Context as _, Error, Result};

/// A file that is longer than this is no document that an archive has beside its blobs.
const LONG: u64 = 256 << 10;
/// Where an archive's first entry says that it is one, and how.
const TAR: (usize, &[u8]) = (257, b"ustar");
/// What has to be seen of a file to know whether it may be a layer.
const BEGINNING: usize = TAR.0 + TAR.1.len();
const BUFFER: usize = 256 << 10;

/// The files of an archive that are no blobs by their names.
pub(super) struct Spool {
    root: Root,
    /// What became a blob all the same, by the file that has its name. Each of them has a second name in `kept`: as long as
    /// there is one, no other file is given its number, whatever entries follow.
    blobs: HashMap<(u64, u64), Digest>,
    kept: PathBuf,
}

/// A file of an archive.
pub(super) enum Found {
    Blob(Digest),
    File(File),
}

impl Spool {
    /// Directories for it, which go with the lease.
    pub fn make(lease: &Lease) -> Result<Spool> {
        let (scratch, kept) = (lease.scratch(), lease.scratch());
        for directory in [&scratch, &kept] {
            std::fs::DirBuilder::new().mode(0o700).create(directory).during("make a scratch directory")?;
        }
        let root = Root::open(&scratch).during("open the scratch directory")?;
        Ok(Spool { root, blobs: HashMap::new(), kept })
    }

    /// Reads the archive to its end. Layers are unpacked meanwhile if `eager`.
    pub fn fill<'a>(
        &mut self,
        store: &Store,
        batch: &'a Batch,
        early: &Early<'a>,
        eager: bool,
        source: impl Read + Send,
    ) -> Result<()> {
        let known = if eager { diff_ids(store)? } else { HashSet::new() };
        let source = archive::decompress(source).during("read the archive")?;
        archive::read_ahead(batch.lease().guard(source), |ahead| {
            // It has documents and archives: nobody ever asks for a device of it, or for an owner.
            let owner = Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
            let options = Options { devices: false, owner, limits: store.limits(), ..Options::plain() };
            let root = self.root.try_clone().during("open the scratch directory")?;
            let mut unpacker = Unpacker::new(&root, &options);
            let mut reader = archive::Reader::new(&mut *ahead);
            while let Some(entry) = reader.next_entry().map_err(unreadable)? {
                let content = Content { store, batch, early, known: &known, eager };
                if let Some(digest) = blob_digest(&entry) {
                    content.keep(Some(&digest), &mut reader)?;
                } else if is_content(&entry) {
                    let digest = content.keep(None, &mut reader)?;
                    unpacker.place(&Entry { size: 0, ..entry.clone() }, &mut reader).map_err(unreadable)?;
                    self.remember(&entry.path, digest)?;
                } else {
                    unpacker.place(&entry, &mut reader).map_err(unreadable)?;
                }
            }
            unpacker.finish().map_err(unreadable)?;
            archive::drain(ahead).during("read the archive")
        })?;
        early.all_kept()
    }

    fn remember(&mut self, path: &Path, digest: Digest) -> Result<()> {
        let what = "remember a file of the archive";
        let file = self.root.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).during(what)?;
        let status = rustix::fs::fstat(&file).map_err(io::Error::from).during(what)?;
        let (link, name) = (format!("/proc/self/fd/{}", file.as_raw_fd()), self.blobs.len().to_string());
        rustix::fs::linkat(CWD, link, CWD, self.kept.join(name), AtFlags::SYMLINK_FOLLOW)
            .map_err(io::Error::from)
            .during(what)?;
        self.blobs.insert((status.st_dev, status.st_ino), digest);
        Ok(())
    }

    /// Opens a file by its path in the archive.
    pub fn open(&self, path: &str) -> io::Result<Found> {
        let file = self.root.open_file(path)?;
        let status = file.metadata()?;
        match self.blobs.get(&(status.dev(), status.ino())) {
            Some(digest) => Ok(Found::Blob(digest.clone())),
            None if !status.is_file() => Err(io::Error::other("it is no file")),
            None => Ok(Found::File(file)),
        }
    }
}

/// Where the bytes of an archive's entries go.
struct Content<'s, 'a> {
    store: &'s Store,
    batch: &'a Batch,
    early: &'s Early<'a>,
    /// The uncompressed archives of layers that are here.
    known: &'s HashSet<Digest>,
    eager: bool,
}

impl<'a> Content<'_, 'a> {
    /// Has the current entry become a blob.
    fn keep<R: BufRead>(&self, digest: Option<&Digest>, reader: &mut archive::Reader<R>) -> Result<Digest> {
        if let Some(digest) = digest
            && self.batch.use_blob(digest)?.is_some()
        {
            return Ok(digest.clone());
        }
        let mut writer = self.store.ingest(self.batch.lease())?;
        let mut data = reader.data();
        let mut first = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match data.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(cut(&error)),
            };
            let lacking = BEGINNING.saturating_sub(first.len()).min(count);
            first.extend_from_slice(&buffer[..lacking]);
            writer.write_all(&buffer[..count]).during("keep a blob of the archive")?;
            self.batch.wrote(count as u64);
        }
        let digest = writer.seal(digest).map_err(|error| match error {
            error @ store::Error::Mismatch { .. } => Error::invalid(format!("invalid archive: {error}")),
            error => error.into(),
        })?;
        if self.batch.use_blob(&digest)?.is_some() {
            return Ok(digest);
        }
        let unpack = self.eager && is_layer(&first) && !self.known.contains(&digest);
        self.early.keep(digest.clone(), writer, unpack);
        Ok(digest)
    }
}

/// Archives of layers that are here need not be unpacked before it is known that somebody wants that.
fn diff_ids(store: &Store) -> Result<HashSet<Digest>> {
    Ok(store.layers()?.into_iter().filter_map(|(_, layer)| Some(layer.ok()?.diff_id)).collect())
}

fn cut(error: &io::Error) -> Error {
    Error::invalid(format!("invalid archive: {}", crate::error::chain(error)))
}

pub(super) fn unreadable(error: archive::Error) -> Error {
    let text = format!("invalid archive: {}", crate::error::chain(&error));
    Error::invalid(crate::error::with_way_out(text))
}

/// The digest that a file of the layout has by its name.
pub(super) fn blob_digest(entry: &Entry) -> Option<Digest> {
    if entry.kind != Kind::File || entry.sparse.is_some() {
        return None;
    }
    let path = entry.path.strip_prefix("./").unwrap_or(&entry.path);
    let mut parts = path.strip_prefix("blobs").ok()?.iter();
    let (algorithm, hex) = (parts.next()?.to_str()?, parts.next()?.to_str()?);
    parts.next().is_none().then(|| format!("{algorithm}:{hex}").parse().ok())?
}

/// Whether it is a layer, by its name or by its length.
fn is_content(entry: &Entry) -> bool {
    let named = entry.path.extension().is_some_and(|extension| extension == "tar");
    entry.kind == Kind::File && entry.sparse.is_none() && (named || entry.size > LONG)
}

fn is_layer(first: &[u8]) -> bool {
    first.get(TAR.0..).is_some_and(|at| at.starts_with(TAR.1))
        || archive::Compression::detect(first) != archive::Compression::None
}
