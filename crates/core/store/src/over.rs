//! Layers over layers: one that differs little from another keeps only what differs.
//!
//! A build that copies thousands of files of which one has changed makes a layer of thousands of files again; and a layer that
//! depends on nothing below it is the same on every base. Such a layer's directory has what it has otherwise than the layer that
//! it lies over, in overlayfs' form, and the files of both are mounted one above the other wherever the layer is. A whiteout
//! in it takes a file of the lower half away and means nothing to the layers below, so it may only stand where those have
//! nothing. The archive, the digest and the chain of the layer are those of the merged files.
//!
//! The lower half is a layer as all others are: immutable, with a name of its own, and referred to as long as the upper half
//! is here.

use crate::form::DIRECTORY;
use crate::layers::make_dir;
use crate::{Error, Layer, Lease, Over, Store, Unpacked};
use archive::Unsettled;
use oci::{ChainId, Digest};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use sys::mount::Overlay;
use sys::root::Root;

/// Halves below halves at most: a change over a layer that was put on another base.
const DEPTH: usize = 4;
/// What a layer's maker noted about its files.
const LISTING: &str = "files";

/// Writes something to a file that is being made.
pub type Writing<'a> = &'a dyn Fn(&mut dyn Write) -> io::Result<()>;

/// The files of a new layer, whose archive is known already: whoever wrote them has computed it meanwhile.
pub struct Packed<'a> {
    /// The directory with the files, on the store's file system and not mounted; it is taken over.
    pub files: &'a Path,
    /// Digest of the archive that packing the files (with those of the lower half) gives.
    pub diff_id: Digest,
    /// Its length.
    pub archive_size: u64,
    /// Bytes of all files, with those of the lower half.
    pub size: u64,
    /// The lower half, which the lease has to hold.
    pub over: Option<Over>,
    /// Writes what [`Store::listing`] gives back.
    pub listing: Option<Writing<'a>>,
}

/// The directories of a stack, topmost first, each once: one that is there again below has decided all that it can where it is
/// first, and the kernel takes none twice.
pub fn each_once(directories: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    directories.into_iter().filter(|directory| seen.insert(directory.clone())).collect()
}

impl Store {
    /// Makes files a layer without reading them again. The digest is believed: [`Store::check`] and whoever needs the archive
    /// compare it.
    pub fn layer_from_packed(
        &self,
        lease: &Lease,
        parent: Option<&ChainId>,
        packed: Packed<'_>,
    ) -> Result<Layer, Error> {
        let directory = lease.scratch();
        let files = directory.join(DIRECTORY);
        make_dir(&directory, 0o700)?;
        std::fs::rename(packed.files, &files).map_err(Error::io("take over", packed.files))?;
        std::fs::set_permissions(&files, PermissionsExt::from_mode(0o755))
            .map_err(Error::io("set mode of", &files))?;
        if let Some(listing) = packed.listing {
            let path = directory.join(LISTING);
            File::create(&path).and_then(|mut file| listing(&mut file)).map_err(Error::io("write", &path))?;
        }
        let unpacked = Unpacked {
            directory,
            diff_id: packed.diff_id,
            size: packed.size,
            archive_size: Some(packed.archive_size),
            over: packed.over,
            unsettled: Unsettled::default(),
            image: None,
        };
        self.publish(lease, parent, unpacked)
    }

    /// The same layer on another one: its files are not copied.
    pub fn rebase(&self, lease: &Lease, layer: &Layer, parent: Option<&ChainId>) -> Result<Layer, Error> {
        self.lay(lease, layer, parent, (&layer.diff_id, layer.archive_size))
    }

    /// The same files as a layer that came as another archive, of this digest: whoever wants the archive has to have it as
    /// a blob.
    pub fn rename(
        &self,
        lease: &Lease,
        layer: &Layer,
        parent: Option<&ChainId>,
        diff_id: &Digest,
    ) -> Result<Layer, Error> {
        let length = layer.archive_size.filter(|_| layer.diff_id == *diff_id);
        self.lay(lease, layer, parent, (diff_id, length))
    }

    fn lay(
        &self,
        lease: &Lease,
        layer: &Layer,
        parent: Option<&ChainId>,
        (diff_id, archive_size): (&Digest, Option<u64>),
    ) -> Result<Layer, Error> {
        if layer.parent.as_ref() == parent && layer.diff_id == *diff_id {
            return Ok(layer.clone());
        }
        lease.pin(&layer.chain_id.0)?;
        let directory = lease.scratch();
        make_dir(&directory, 0o700)?;
        make_dir(&directory.join(DIRECTORY), 0o755)?;
        let unpacked = Unpacked {
            directory,
            diff_id: diff_id.clone(),
            size: layer.size,
            archive_size,
            over: Some(Over { chain: layer.chain_id.clone(), own: 0 }),
            unsettled: Unsettled::default(),
            image: None,
        };
        self.publish(lease, parent, unpacked)
    }

    /// What the maker of a layer noted about its files; none if it noted nothing or it can't be read.
    pub fn listing(&self, chain: &ChainId) -> Option<Vec<u8>> {
        std::fs::read(self.layer_dir(chain).join(LISTING)).ok()
    }

    /// The layers whose own files together are this layer's, itself first.
    pub(crate) fn halves(&self, layer: &Layer) -> Result<Vec<Layer>, Error> {
        let mut halves = vec![layer.clone()];
        let mut next = layer.over.clone();
        while let Some(over) = next {
            let below = self.layer(&over.chain)?.ok_or_else(|| Error::NoLayer(over.chain.clone()))?;
            if halves.len() > DEPTH {
                return Err(Error::NoLayer(over.chain));
            }
            next = below.over.clone();
            halves.push(below);
        }
        Ok(halves)
    }

    /// Where this layer's files are, those that decide first; see [`sys::mount::layer_root`]. A half that adds nothing is left out:
    /// the files of a single directory are read as they are, with the marks of directories that hide what is below them, which a
    /// mount of several does not show.
    pub fn own_dirs(&self, layer: &Layer) -> Result<Vec<PathBuf>, Error> {
        if layer.over.is_none() {
            return Ok(vec![self.files(layer)]);
        }
        let mut directories: Vec<PathBuf> = self.halves(layer)?.iter().map(|half| self.files(half)).collect();
        let lowest = directories.pop();
        directories
            .retain(|path| std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_some()));
        directories.extend(lowest);
        Ok(directories)
    }

    /// This layer's files.
    pub fn layer_root(&self, layer: &Layer) -> Result<Root, Error> {
        let directories = self.own_dirs(layer)?;
        if let [only] = &directories[..] {
            return sys::mount::layer_root(only).map_err(Error::io("open", only));
        }
        let directory = self.layer_dir(&layer.chain_id);
        let mount = Overlay { lower: directories, ..Overlay::default() }.mount();
        mount
            .map_err(io::Error::other)
            .and_then(Root::from_fd)
            .map_err(Error::io("mount the files of", directory))
    }
}
