//! Layers: unpacked, immutable, named by their chain.
//!
//! A layer is unpacked below `ingest`, where it needs to know nothing of the layers below it, so the layers of an
//! image unpack side by side; publishing, lowest first, settles what depends on those below and gives it its name. Its files
//! are a directory or an image, see [`crate::form`].

use crate::form::{DIRECTORY, IMAGE};
use crate::{Error, Lease, Listed, Store, each_once, sync_dir};
use archive::{Behind, Draft, HashingReader, HashingWriter, Options, Packer, Stats, Tree, Unsettled};
use oci::{ChainId, Digest};
use rustix::fs::RenameFlags;
use serde::{Deserialize, Serialize};
use state::{Tx, leases};
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::Scope;
use sys::mount::Overlay;
use sys::root::Root;

/// A layer that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name: itself and all below it.
    pub chain_id: ChainId,
    /// Digest of its uncompressed archive.
    pub diff_id: Digest,
    /// The layer below.
    pub parent: Option<ChainId>,
    /// Bytes of its files.
    pub size: u64,
    /// Length of the archive that packing it gives, if that is known to have `diff_id` as its digest: so it is for
    /// layers that were made here. Others came as an archive of somebody else's making.
    pub archive_size: Option<u64>,
    /// The layer whose files are this one's too, but for what its own directory has otherwise.
    pub over: Option<Over>,
    /// Whether its files are in an image.
    pub is_image: bool,
}

/// Another layer's files as the lower half of a layer's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// The other layer; it stays as long as this one.
    pub chain: ChainId,
    /// Bytes of the files that are in this layer's own directory.
    pub own: u64,
}

impl Layer {
    /// Bytes of files that are here for this layer alone.
    pub fn own_size(&self) -> u64 {
        self.over.as_ref().map_or(self.size, |over| over.own)
    }
}

/// `layer.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    diff_id: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<ChainId>,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    archive_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over: Option<Over>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    image: bool,
}

/// A layer that is unpacked and has no name yet. Dropping it leaves its files to the lease.
#[derive(Debug)]
pub struct Unpacked {
    pub(crate) directory: PathBuf,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
    pub(crate) archive_size: Option<u64>,
    pub(crate) over: Option<Over>,
    pub(crate) unsettled: Unsettled,
    pub(crate) image: Option<Image>,
}

/// The image of an unpacked layer.
#[derive(Debug)]
pub(crate) enum Image {
    /// It is whole.
    Whole,
    /// What the layers below have decides about some of its inodes.
    Draft(Box<Draft>),
}

impl Store {
    /// The layer of this chain, none if it isn't here.
    pub fn layer(&self, chain: &ChainId) -> Result<Option<Layer>, Error> {
        let path = self.layer_dir(chain).join("layer.json");
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("read", &path))?,
        };
        let description: Description = serde_json::from_slice(&bytes)
            .map_err(|source| Error::DamagedLayer { chain: chain.clone(), source })?;
        Ok(Some(Layer {
            chain_id: chain.clone(),
            diff_id: description.diff_id,
            parent: description.parent,
            size: description.size,
            archive_size: description.archive_size,
            over: description.over,
            is_image: description.image,
        }))
    }

    /// The layer of this chain, which from now on stays as long as the lease; none if it isn't here.
    pub fn use_layer(&self, lease: &Lease, chain: &ChainId) -> Result<Option<Layer>, Error> {
        lease.pin(&chain.0)?;
        self.layer(chain)
    }

    /// Unpacks a layer (compressed or not) below `ingest`. Reads `diff` to its end.
    pub fn unpack(&self, lease: &Lease, diff: impl Read + Send) -> Result<Unpacked, Error> {
        self.unpack_as(lease, diff, None)
    }

    /// As [`Store::unpack`]. If the archive isn't compressed, `known` is its digest, which the caller has computed already.
    pub fn unpack_as(
        &self,
        lease: &Lease,
        diff: impl Read + Send,
        known: Option<&Digest>,
    ) -> Result<Unpacked, Error> {
        self.unpack_into(self.makes_images(lease), lease, diff, known)
    }

    /// As [`Store::unpack`], into a directory whatever layers become here: for what is packed again.
    pub fn unpack_files(&self, lease: &Lease, diff: impl Read + Send) -> Result<Unpacked, Error> {
        self.unpack_into(false, lease, diff, None)
    }

    pub(crate) fn unpack_into(
        &self,
        image: bool,
        lease: &Lease,
        diff: impl Read + Send,
        known: Option<&Digest>,
    ) -> Result<Unpacked, Error> {
        let target = Target::make(lease.scratch(), image)?;
        let diff =
            archive::decompress(diff).map_err(archive::Error::Read).map_err(Error::archive("unpack"))?;
        let known = known.filter(|_| diff.compression() == archive::Compression::None);
        let options = Options { limits: self.limits(), ..Options::layer() };
        let ((stats, draft), diff_id) = archive::read_ahead(lease.guard(diff), |ahead| {
            if let Some(known) = known {
                return Ok((target.fill(ahead, &options)?, known.clone()));
            }
            let mut hashing = HashingReader::new(ahead);
            let filled = target.fill(&mut hashing, &options)?;
            // The digest is of all of the stream, also of what follows the end mark.
            archive::drain(&mut hashing).map_err(archive::Error::Read)?;
            Ok((filled, Digest::from_sha256(hashing.finish().0)))
        })
        .map_err(Error::archive("unpack"))?;
        let mut unpacked = Unpacked {
            directory: target.directory,
            diff_id,
            size: stats.bytes,
            archive_size: None,
            over: None,
            unsettled: stats.unsettled,
            image: draft.map(Image::Draft),
        };
        if unpacked.unsettled == Unsettled::default() {
            // The layers below have no say: its inodes needn't be kept in mind until their turn comes.
            unpacked.finish_image(|| Ok(Vec::new()))?;
        }
        Ok(unpacked)
    }

    /// Gives an unpacked layer its name on top of `parent`, durable and pinned by the lease.
    pub fn publish(
        &self,
        lease: &Lease,
        parent: Option<&ChainId>,
        unpacked: Unpacked,
    ) -> Result<Layer, Error> {
        let chain_id = ChainId::on(parent, &unpacked.diff_id);
        if let Some(mut layer) = self.use_layer(lease, &chain_id)? {
            crate::lease::remove(&unpacked.directory)?;
            if layer.archive_size.is_none() && unpacked.archive_size.is_some() {
                // It came from elsewhere and turned out to be what packing gives.
                layer.archive_size = unpacked.archive_size;
                let scratch = lease.scratch();
                make_dir(&scratch, 0o700)?;
                self.describe(&scratch, &layer)?;
                crate::durable::make(&scratch)?;
                let target = self.layer_dir(&layer.chain_id).join("layer.json");
                std::fs::rename(scratch.join("layer.json"), &target)
                    .map_err(Error::io("rename to", &target))?;
            }
            return Ok(layer);
        }
        let (layer, directory) = self.ready(parent, unpacked, || self.roots(parent))?;
        crate::durable::make(&directory)?;
        self.name_layer(lease, &directory, &layer)?;
        Ok(layer)
    }

    /// Does all for an unpacked layer but to make it durable and to give it its name.
    pub(crate) fn ready(
        &self,
        parent: Option<&ChainId>,
        mut unpacked: Unpacked,
        lower: impl FnOnce() -> Result<Vec<Root>, Error>,
    ) -> Result<(Layer, PathBuf), Error> {
        unpacked.settle(lower)?;
        let layer = Layer {
            is_image: unpacked.image.is_some(),
            chain_id: ChainId::on(parent, &unpacked.diff_id),
            diff_id: unpacked.diff_id,
            parent: parent.cloned(),
            size: unpacked.size,
            archive_size: unpacked.archive_size,
            over: unpacked.over,
        };
        self.describe(&unpacked.directory, &layer)?;
        if layer.is_image {
            crate::durable::seal(&unpacked.directory.join(IMAGE))?;
        }
        Ok((layer, unpacked.directory))
    }

    /// Unpacks and publishes a layer (compressed or not); with `expected`, its diff id has to be that.
    pub fn apply_layer(
        &self,
        lease: &Lease,
        parent: Option<&ChainId>,
        diff: impl Read + Send,
        expected: Option<&Digest>,
    ) -> Result<Layer, Error> {
        let unpacked = self.unpack(lease, diff)?;
        unpacked.expect(expected)?;
        self.publish(lease, parent, unpacked)
    }

    /// Gives a layer that was unpacked by [`Store::unpack_files`] the digest of the archive that packing it gives: for an archive
    /// of which nobody knows the digest, so that it needn't be kept to name the layer.
    pub fn repack(&self, lease: &Lease, unpacked: Unpacked) -> Result<Unpacked, Error> {
        let files = unpacked.files();
        let (size, sum, length) = std::thread::scope(|scope| {
            let mut sink = Early {
                inner: Behind::new(scope, HashingWriter::new(io::sink())),
                left: Some(EARLY),
                scope,
                files: &files,
            };
            let size =
                pack(&Root::open(&files).map_err(Error::io("open", &files))?, &mut lease.watch(&mut sink))?;
            let sink = sink.inner.finish().map_err(Error::io("pack", &files))?;
            let (_, sum, length) = sink.finish();
            Ok::<_, Error>((size, sum, length))
        })?;
        Ok(Unpacked { diff_id: Digest::from_sha256(sum), size, archive_size: Some(length), ..unpacked })
    }

    /// Makes the upper directory of an overlay a layer: takes it over by a rename, without copying. It has to be
    /// on the store's file system, and not mounted any more.
    pub fn layer_from_dir(
        &self,
        lease: &Lease,
        parent: Option<&ChainId>,
        upper: &Path,
    ) -> Result<Layer, Error> {
        let directory = lease.scratch();
        let files = directory.join(DIRECTORY);
        make_dir(&directory, 0o700)?;
        std::fs::rename(upper, &files).map_err(Error::io("take over", upper))?;
        std::fs::set_permissions(&files, PermissionsExt::from_mode(0o755))
            .map_err(Error::io("set mode of", &files))?;
        let unpacked = Unpacked {
            directory,
            diff_id: Digest::sha256(b""),
            size: 0,
            archive_size: None,
            over: None,
            unsettled: Unsettled::default(),
            image: None,
        };
        self.publish(lease, parent, self.repack(lease, unpacked)?)
    }

    /// Makes a copy of the upper directory of an overlay a layer; it may be in use.
    pub fn layer_from_copy(
        &self,
        lease: &Lease,
        parent: Option<&ChainId>,
        upper: &Path,
    ) -> Result<Layer, Error> {
        let (reader, writer) = io::pipe().map_err(Error::io("make a pipe for", upper))?;
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let mut sink = HashingWriter::new(BufWriter::with_capacity(1 << 20, writer));
                pack(&Root::open(upper).map_err(Error::io("open", upper))?, &mut sink)?;
                sink.flush().map_err(Error::io("pack", upper))?;
                Ok::<u64, Error>(sink.length())
            });
            let unpacked = self.unpack(lease, reader);
            // If packing failed, unpacking has seen a cut archive: the first reason is the better one.
            let length = match packing.join() {
                Ok(length) => length?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            let unpacked = Unpacked { archive_size: Some(length), ..unpacked? };
            self.publish(lease, parent, unpacked)
        })
    }

    /// Writes a layer's archive, uncompressed, as packing its files gives it. Only for a layer that was made here
    /// are those the bytes that its diff id names; for others use the blob that they came in.
    pub fn layer_tar(&self, layer: &Layer, sink: impl Write) -> Result<(), Error> {
        let mut sink = HashingWriter::new(sink);
        pack(&self.layer_root(layer)?, &mut sink)?;
        let found = Digest::from_sha256(sink.finish().1);
        if found != layer.diff_id {
            return Err(Error::Mismatch { what: "layer", expected: layer.diff_id.clone(), found });
        }
        Ok(())
    }

    /// A layer and all below it, topmost first.
    pub fn chain(&self, chain: Option<&ChainId>) -> Result<Vec<Layer>, Error> {
        let mut layers = Vec::new();
        let mut next = chain.cloned();
        while let Some(chain) = next.take() {
            let layer = self.layer(&chain)?.ok_or_else(|| Error::NoLayer(chain.clone()))?;
            // A chain id covers those below it, so this ends; a damaged description could say otherwise.
            if ChainId::on(layer.parent.as_ref(), &layer.diff_id) != chain {
                return Err(Error::NoLayer(chain));
            }
            next.clone_from(&layer.parent);
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Where the files of a chain are, topmost first, as [`Overlay`] takes them.
    pub fn layer_dirs(&self, chain: &ChainId) -> Result<Vec<PathBuf>, Error> {
        let layers = self.chain(Some(chain))?;
        let mut directories = Vec::with_capacity(layers.len());
        for layer in &layers {
            directories.extend(self.own_dirs(layer)?);
        }
        Ok(each_once(directories))
    }

    /// The root file system of a chain (none: empty), writable if there are `upper` and `work`.
    pub fn overlay(
        &self,
        chain: Option<&ChainId>,
        upper: Option<&Path>,
        work: Option<&Path>,
    ) -> Result<Overlay, Error> {
        let lower = match chain {
            Some(chain) => self.layer_dirs(chain)?,
            None => Vec::new(),
        };
        Ok(Overlay {
            lower,
            upper: upper.map(Path::to_path_buf),
            work: work.map(Path::to_path_buf),
            ..Overlay::default()
        })
    }

    /// All layers that are here; those whose description can't be read with the reason.
    pub fn layers(&self) -> Result<Vec<Listed<ChainId, Layer>>, Error> {
        let directory = self.layers_dir();
        let failed = || Error::io("list", &directory);
        let mut layers = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let Ok(digest) = Digest::from_hex(&name.to_string_lossy()) else { continue };
            let chain = ChainId(digest);
            let layer = match self.layer(&chain) {
                Ok(Some(layer)) => Ok(layer),
                Ok(None) => Err(Error::NoLayer(chain.clone())),
                Err(error) => Err(error),
            };
            layers.push((chain, layer));
        }
        layers.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(layers)
    }

    pub(crate) fn layer_dir(&self, chain: &ChainId) -> PathBuf {
        self.layers_dir().join(chain.0.hex())
    }

    /// The roots of a chain, topmost first.
    pub(crate) fn roots(&self, chain: Option<&ChainId>) -> Result<Vec<Root>, Error> {
        let Some(chain) = chain else { return Ok(Vec::new()) };
        let directories = self.layer_dirs(chain)?;
        directories.iter().map(|path| sys::mount::layer_root(path).map_err(Error::io("open", path))).collect()
    }

    pub(crate) fn describe(&self, directory: &Path, layer: &Layer) -> Result<(), Error> {
        let path = directory.join("layer.json");
        let description = Description {
            diff_id: layer.diff_id.clone(),
            parent: layer.parent.clone(),
            size: layer.size,
            archive_size: layer.archive_size,
            over: layer.over.clone(),
            image: layer.is_image,
        };
        let bytes = serde_json::to_vec(&description)
            .map_err(|source| Error::DamagedLayer { chain: layer.chain_id.clone(), source })?;
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))
    }

    fn name_layer(&self, lease: &Lease, directory: &Path, layer: &Layer) -> Result<(), Error> {
        if !self.db().write_fleeting(|tx| self.name_now(tx, lease, directory, layer))? {
            return crate::lease::remove(directory);
        }
        sync_dir(&self.layers_dir())
    }

    /// Gives the directory of a layer its name, pinned by the lease; false if another process was first with the same files.
    pub(crate) fn name_now(
        &self,
        tx: &Tx<'_>,
        lease: &Lease,
        directory: &Path,
        layer: &Layer,
    ) -> Result<bool, Error> {
        leases::pin(tx, lease.id(), &layer.chain_id.0)?;
        let (here, target) = (rustix::fs::CWD, self.layer_dir(&layer.chain_id));
        match rustix::fs::renameat_with(here, directory, here, &target, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(Error::io("rename to", &target)(error.into())),
        }
    }
}

impl Unpacked {
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.join(if self.image.is_some() { IMAGE } else { DIRECTORY })
    }

    /// Does what had to wait until the layers below are there.
    pub(crate) fn settle(&mut self, lower: impl FnOnce() -> Result<Vec<Root>, Error>) -> Result<(), Error> {
        if self.image.is_some() {
            return self.finish_image(lower);
        }
        if self.unsettled == Unsettled::default() {
            return Ok(());
        }
        let files = self.files();
        let root = Root::open(&files).map_err(Error::io("open", &files))?;
        archive::settle(&root, &self.unsettled, &lower()?).map_err(Error::archive("unpack"))
    }

    /// Writes what an image lacks.
    fn finish_image(&mut self, lower: impl FnOnce() -> Result<Vec<Root>, Error>) -> Result<(), Error> {
        let Some(Image::Draft(mut draft)) = self.image.take_if(|image| matches!(image, Image::Draft(_)))
        else {
            return Ok(());
        };
        draft.settle(&lower()?).map_err(Error::archive("unpack"))?;
        let digits = self.diff_id.hex().as_bytes().chunks_exact(2);
        let bytes = digits
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        let mut uuid = [0; 16];
        uuid.iter_mut().zip(bytes.flatten()).for_each(|(to, byte)| *to = byte);
        draft.finish(uuid).map_err(Error::archive("unpack"))?;
        self.image = Some(Image::Whole);
        Ok(())
    }

    /// Whether it is what was expected.
    pub fn expect(&self, diff_id: Option<&Digest>) -> Result<(), Error> {
        match diff_id {
            Some(expected) if *expected != self.diff_id => Err(Error::Mismatch {
                what: "layer",
                expected: expected.clone(),
                found: self.diff_id.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Where an archive is unpacked to.
struct Target {
    directory: PathBuf,
    files: Files,
}

enum Files {
    Directory(Root),
    Image(File),
}

impl Target {
    fn make(directory: PathBuf, image: bool) -> Result<Target, Error> {
        make_dir(&directory, 0o700)?;
        let files = if image {
            let path = directory.join(IMAGE);
            Files::Image(File::create_new(&path).map_err(Error::io("make", &path))?)
        } else {
            let path = directory.join(DIRECTORY);
            make_dir(&path, 0o755)?;
            Files::Directory(Root::open(&path).map_err(Error::io("open", &path))?)
        };
        Ok(Target { directory, files })
    }

    fn fill(
        &self,
        source: &mut impl BufRead,
        options: &Options,
    ) -> Result<(Stats, Option<Box<Draft>>), archive::Error> {
        match &self.files {
            Files::Directory(root) => Ok((archive::unpack_buffered(source, root, options)?, None)),
            Files::Image(file) => {
                let file = file.try_clone().map_err(archive::Error::Write)?;
                let draft = archive::unpack_image(source, file, options.limits)?;
                Ok((draft.stats.clone(), Some(Box::new(draft))))
            }
        }
    }
}

/// Bytes of a layer's archive from which on writing its files out early is worth a thread.
const EARLY: usize = 8 << 20;

/// Has the kernel begin to write the files of a large layer out while they are packed: the sync before the layer gets its
/// name then has little left to wait for.
struct Early<'scope, 'env, W> {
    inner: W,
    /// Bytes until that; none once it is done.
    left: Option<usize>,
    scope: &'scope Scope<'scope, 'env>,
    files: &'env Path,
}

impl<W: Write> Write for Early<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        if let Some(left) = self.left {
            self.left = left.checked_sub(count);
            if self.left.is_none() {
                let files = self.files;
                // Whatever goes wrong here, the sync that counts meets it again.
                self.scope.spawn(move || File::open(files).map(rustix::fs::syncfs));
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Packs the files of a layer; the sum of their sizes.
fn pack(root: &Root, sink: &mut impl Write) -> Result<u64, Error> {
    let mut packer = Packer::new(sink);
    let tree = Tree { root, path: Path::new(""), name: Path::new(""), layer: true };
    let size = archive::pack_tree(&mut packer, tree).map_err(Error::archive("pack"))?;
    packer.finish().map_err(Error::archive("pack"))?;
    Ok(size)
}

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().mode(mode).create(path).map_err(Error::io("make", path))?;
    // The process's mask may have taken bits away.
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(Error::io("set mode of", path))
}
