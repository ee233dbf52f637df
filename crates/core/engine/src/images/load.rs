//! `docker load`: OCI layouts and Docker's archives, compressed or not, with any number of images.
//!
//! The archive is a stranger's: its blobs are kept only under their own digest, its other files are unpacked below a
//! scratch directory and opened by the confined resolver, so no path in its documents leads anywhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::JsonMessage;
use archive::{Entry, Options, Unpacker};
use bytes::Bytes;
use futures_util::Stream;
use oci::image::{
    CONFIG_MAX, Descriptor, Document, INDEX_DEPTH_MAX, ImageConfig, Index, Manifest, is_attestation,
};
use oci::{ChainId, Digest, Reference, media_types};
use store::{Lease, NewImage, Store};
use sys::root::Root;
use tokio::sync::mpsc::Sender;

use super::layout::{self, Item};
use super::report::{self, Report};
use crate::error::{Context as _, Error, Result};
use crate::{Engine, events, pipe, privileges};

/// Loads all images of an archive. One line an image tells its name or id.
pub async fn load(
    engine: &Engine,
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    quiet: bool,
    progress: Sender<JsonMessage>,
) -> Result<()> {
    let reader = pipe::reader(body);
    let report = Report::new(progress);
    engine
        .blocking(move |engine| {
            let store = engine.store();
            let lease = store.lease("load")?;
            report.stops(&lease);
            let scratch = lease.scratch();
            std::fs::DirBuilder::new().mode(0o700).create(&scratch).during("make a scratch directory")?;
            let root = Root::open(&scratch).during("open the scratch directory")?;
            spool(store, &lease, &root, reader)?;
            let load =
                Load { engine, store, lease: &lease, root, report: &report, quiet, seen: Mutex::default() };
            load.run()
        })
        .await
}

/// Takes the archive apart: blobs of a layout go to the store, all else to the scratch directory.
fn spool(store: &Store, lease: &Lease, root: &Root, source: impl Read + Send) -> Result<()> {
    let source = archive::decompress(source).during("read the archive")?;
    archive::read_ahead(lease.guard(source), |ahead| {
        // It has documents and archives: nobody ever asks for a device of it, or for an owner.
        let owner = Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
        let options = Options { devices: false, owner, limits: store.limits(), ..Options::plain() };
        let mut unpacker = Unpacker::new(root, &options);
        let mut reader = archive::Reader::new(&mut *ahead);
        while let Some(entry) = reader.next_entry().map_err(unreadable)? {
            match blob_digest(&entry) {
                Some(digest) => keep(store, lease, &digest, &mut reader)?,
                None => unpacker.place(&entry, &mut reader).map_err(unreadable)?,
            }
        }
        unpacker.finish().map_err(unreadable)?;
        archive::drain(ahead).during("read the archive")
    })
}

fn unreadable(error: archive::Error) -> Error {
    let text = format!("invalid archive: {}", crate::error::chain(&error));
    Error::invalid(crate::error::with_way_out(text))
}

/// The digest that a file of the layout has by its name.
fn blob_digest(entry: &Entry) -> Option<Digest> {
    if entry.kind != archive::Kind::File || entry.sparse.is_some() {
        return None;
    }
    let path = entry.path.strip_prefix("./").unwrap_or(&entry.path);
    let mut parts = path.strip_prefix("blobs").ok()?.iter();
    let (algorithm, hex) = (parts.next()?.to_str()?, parts.next()?.to_str()?);
    parts.next().is_none().then(|| format!("{algorithm}:{hex}").parse().ok())?
}

fn keep<R: BufRead>(
    store: &Store,
    lease: &Lease,
    digest: &Digest,
    reader: &mut archive::Reader<R>,
) -> Result<()> {
    if store.use_blob(lease, digest)?.is_some() {
        return Ok(());
    }
    let mut writer = store.ingest(lease)?;
    io::copy(&mut reader.data(), &mut writer).during(format_args!("read blob {digest} of the archive"))?;
    match writer.commit(Some(digest)) {
        Err(error @ store::Error::Mismatch { .. }) => {
            Err(Error::invalid(format!("invalid archive: {error}")))
        }
        other => other.map(|_| ()).map_err(Error::from),
    }
}

struct Load<'a> {
    engine: &'a Engine,
    store: &'a Store,
    lease: &'a Lease,
    root: Root,
    report: &'a Report,
    quiet: bool,
    /// Members of indexes that were looked at for the name under way.
    seen: Mutex<BTreeSet<Digest>>,
}

impl Load<'_> {
    fn run(&self) -> Result<()> {
        let items = match self.document(layout::MANIFEST)? {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice::<Vec<Item>>(&bytes)
                .map_err(|e| Error::invalid(format!("invalid archive: {}: {e}", layout::MANIFEST)))?,
        };
        if self.document(layout::OCI_LAYOUT)?.is_some()
            && let Some(bytes) = self.document(layout::INDEX)?
        {
            return self.index(&bytes, &items);
        }
        if items.is_empty() {
            return Err(Error::invalid("invalid archive: does not contain a manifest.json or an index.json"));
        }
        for item in &items {
            self.item(item)?;
        }
        Ok(())
    }

    /// A document of the archive, none if it has none of that name.
    fn document(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.root.read_file(path, CONFIG_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::invalid(format!("invalid archive: {path}: {error}"))),
        }
    }

    /// An OCI layout. `items` is what `manifest.json` says about the same images: more names.
    fn index(&self, bytes: &[u8], items: &[Item]) -> Result<()> {
        let index = match Document::parse(bytes) {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(_)) => {
                return Err(Error::invalid("invalid archive: index.json is no index"));
            }
            Err(e) => {
                return Err(Error::invalid(format!(
                    "invalid archive: index.json: {}",
                    crate::error::chain(&e)
                )));
            }
        };
        let mut targets: Vec<(&Digest, Vec<Reference>)> = Vec::new();
        for descriptor in &index.manifests {
            match targets.iter_mut().find(|(digest, _)| **digest == descriptor.digest) {
                Some((_, names)) => names.extend(name_of(descriptor)?),
                None => targets.push((&descriptor.digest, name_of(descriptor)?.into_iter().collect())),
            }
        }
        for (digest, mut names) in targets {
            self.seen().clear();
            let images = self.target(digest, INDEX_DEPTH_MAX)?;
            if images.is_empty() {
                return Err(Error::invalid(format!("invalid archive: it has no image for {digest}")));
            }
            for item in items {
                if images.iter().any(|image| item.config.ends_with(image.config.hex())) {
                    names.extend(tags_of(item)?);
                }
            }
            names.sort();
            names.dedup();
            self.record(&images, digest, &names)?;
        }
        Ok(())
    }

    /// What a digest of the layout leads to: an image, or those images of an index that are in the archive.
    fn target(&self, digest: &Digest, depth: u32) -> Result<Vec<Complete>> {
        self.store.use_blob(self.lease, digest)?;
        match self.store.document(digest) {
            Ok(Document::Manifest(manifest)) => Ok(vec![self.manifest(digest, &manifest)?]),
            Ok(Document::Index(index)) if depth > 0 => self.members(&index, depth - 1),
            Ok(Document::Index(_)) => {
                Err(Error::invalid("invalid archive: an index in an index in an index"))
            }
            Err(store::Error::NoBlob(digest)) => {
                Err(Error::invalid(format!("invalid archive: blob {digest} is missing")))
            }
            Err(error) => Err(Error::invalid(format!("invalid archive: {}", crate::error::chain(&error)))),
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        // Whoever panicked with it was looking at another image.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self, index: &Index, depth: u32) -> Result<Vec<Complete>> {
        let mut images = Vec::new();
        for member in &index.manifests {
            // Indexes in an index may name the same ones again and again: thousands to the third power.
            if !self.seen().insert(member.digest.clone()) {
                continue;
            }
            // An archive needn't have all platforms, and attestations are no images: they are kept as they are.
            let here = self.store.use_blob(self.lease, &member.digest)?.is_some();
            if !here || is_attestation(member) {
                continue;
            }
            let partial = match self.store.document(&member.digest) {
                Ok(Document::Manifest(manifest)) => self.store.blob_size(&manifest.config.digest)?.is_none(),
                _ => false,
            };
            if !partial {
                images.extend(self.target(&member.digest, depth)?);
            }
        }
        Ok(images)
    }

    /// An image whose manifest is a blob.
    fn manifest(&self, digest: &Digest, manifest: &Manifest) -> Result<Complete> {
        self.store.use_blob(self.lease, &manifest.config.digest)?;
        let bytes =
            self.store.read_blob(&manifest.config.digest, CONFIG_MAX).map_err(|error| match error {
                store::Error::NoBlob(digest) => {
                    Error::invalid(format!("invalid archive: blob {digest} is missing"))
                }
                error => Error::from(error),
            })?;
        let config = config(&bytes)?;
        expect_layers(manifest.layers.len(), &config)?;
        let mut parent: Option<ChainId> = None;
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let here = self.store.use_blob(self.lease, &layer.digest)?.is_some();
            let chain = ChainId::on(parent.as_ref(), diff_id);
            let known = self.store.use_layer(self.lease, &chain)?;
            match known {
                Some(known) if here || known.archive_size.is_some() => {}
                _ if !here => {
                    let problem = format!("invalid archive: layer {} is missing", layer.digest);
                    return Err(Error::invalid(problem));
                }
                Some(_) => {}
                None => {
                    let file = self.store.open_blob(&layer.digest)?;
                    self.unpack(file, parent.as_ref(), diff_id)?;
                }
            }
            parent = Some(chain);
        }
        Ok(Complete { manifest: digest.clone(), config: manifest.config.digest.clone() })
    }

    /// An image of `manifest.json`: its files are wherever that says.
    fn item(&self, item: &Item) -> Result<()> {
        let names = tags_of(item)?;
        let bytes = self.read_item(&item.config)?;
        let config = config(&bytes)?;
        if !config.os.is_empty() && !config.os.eq_ignore_ascii_case("linux") {
            return Err(Error::invalid(format!("cannot load {} image on linux", config.os)));
        }
        expect_layers(item.layers.len(), &config)?;
        let config_digest = self.store.put_blob(self.lease, &bytes)?;
        let mut layers = Vec::new();
        let mut parent: Option<ChainId> = None;
        for (path, diff_id) in item.layers.iter().zip(&config.rootfs.diff_ids) {
            let descriptor = self.layer_file(path)?;
            let chain = ChainId::on(parent.as_ref(), diff_id);
            if self.store.use_layer(self.lease, &chain)?.is_none() {
                let file = self.store.open_blob(&descriptor.digest)?;
                self.unpack(file, parent.as_ref(), diff_id)?;
            }
            layers.push(descriptor);
            parent = Some(chain);
        }
        let config = Descriptor::new(media_types::OCI_CONFIG, config_digest.clone(), bytes.len() as u64);
        let manifest = serde_json::to_vec(&Manifest::new(config, layers)).during("write a manifest")?;
        let manifest = self.store.put_blob(self.lease, &manifest)?;
        let image = Complete { manifest: manifest.clone(), config: config_digest };
        self.record(&[image], &manifest, &names)
    }

    /// A file of the archive that `manifest.json` names, small enough for a document.
    fn read_item(&self, path: &str) -> Result<Vec<u8>> {
        if let Some(digest) = blob_of(path)
            && self.store.use_blob(self.lease, &digest)?.is_some()
        {
            return Ok(self.store.read_blob(&digest, CONFIG_MAX)?);
        }
        self.root
            .read_file(path, CONFIG_MAX)
            .map_err(|e| Error::invalid(format!("invalid archive: {path:?}: {e}")))
    }

    /// A layer that `manifest.json` names, as a blob.
    fn layer_file(&self, path: &str) -> Result<Descriptor> {
        let known = match blob_of(path) {
            Some(digest) => self.store.use_blob(self.lease, &digest)?.map(|length| (digest, length)),
            None => None,
        };
        let (digest, length) = match known {
            Some(known) => known,
            None => {
                let missing = |e| Error::invalid(format!("invalid archive: layer {path:?}: {e}"));
                let mut file = self.root.open_file(path).map_err(missing)?;
                let kind = file.metadata().map_err(missing)?;
                if !kind.is_file() {
                    return Err(Error::invalid(format!("invalid archive: layer {path:?} is no file")));
                }
                let mut writer = self.store.ingest(self.lease)?;
                io::copy(&mut file, &mut writer).during(format_args!("keep layer {path:?}"))?;
                writer.commit(None)?
            }
        };
        let mut first = [0; 6];
        let mut file = self.store.open_blob(&digest)?;
        let filled = file.read(&mut first).during("read a layer")?;
        let media_type = match archive::Compression::detect(&first[..filled]) {
            archive::Compression::Gzip => media_types::OCI_LAYER_GZIP,
            archive::Compression::Zstd => media_types::OCI_LAYER_ZSTD,
            _ => media_types::OCI_LAYER,
        };
        Ok(Descriptor::new(media_type, digest, length))
    }

    fn unpack(&self, file: File, parent: Option<&ChainId>, diff_id: &Digest) -> Result<()> {
        let total = file.metadata().during("read a layer")?.len();
        let source = Counted { file, count: 0, next: 0, total, id: diff_id.short(), load: self };
        match self.store.apply_layer(self.lease, parent, source, Some(diff_id)) {
            Ok(_) => Ok(()),
            Err(error) if privileges::for_files(&error).is_some() => Err(error.into()),
            Err(error @ (store::Error::Mismatch { .. } | store::Error::Archive { .. })) => {
                Err(Error::invalid(format!("invalid archive: {}", crate::error::chain(&error))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records images together with the names of what leads to them, of which a killed load leaves all or nothing, and
    /// tells about it.
    fn record(&self, images: &[Complete], target: &Digest, names: &[Reference]) -> Result<()> {
        let mut new = Vec::with_capacity(images.len());
        for (at, image) in images.iter().enumerate() {
            let tags = if at == 0 { names } else { &[] };
            new.push(NewImage { manifest: &image.manifest, parent: None, tags, target: Some(target) });
        }
        let mut put = self.store.put_images(&new)?.into_iter();
        let Some(store::Put { image, moved, .. }) = put.next() else { return Ok(()) };
        for (name, before) in moved {
            let text = format!(
                "The image {} already exists, renaming the old one with ID {before} to empty string\n",
                name.familiar()
            );
            self.report.line(JsonMessage::stream(text))?;
        }
        let id = image.id.to_string();
        for name in names {
            let attributes = BTreeMap::from([("name".to_owned(), name.familiar())]);
            events::emit(self.engine, "image", "load", &id, &attributes);
            self.report.line(JsonMessage::stream(format!("Loaded image: {}\n", name.familiar())))?;
        }
        if names.is_empty() {
            let attributes = BTreeMap::from([("name".to_owned(), id.clone())]);
            events::emit(self.engine, "image", "load", &id, &attributes);
            self.report.line(JsonMessage::stream(format!("Loaded image ID: {id}\n")))?;
        }
        Ok(())
    }
}

/// An image all of which is in the store.
struct Complete {
    manifest: Digest,
    config: Digest,
}

/// A layer's file that tells how far it was read.
struct Counted<'a> {
    file: File,
    count: u64,
    next: u64,
    total: u64,
    id: &'a str,
    load: &'a Load<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.count += read as u64;
        if !self.load.quiet && (self.count >= self.next || read == 0) {
            self.next = self.count + (512 << 10);
            let progress = report::bytes(self.count, self.total);
            self.load.report.hint(JsonMessage::part(self.id, "Loading layer", progress));
        }
        Ok(read)
    }
}

fn config(bytes: &[u8]) -> Result<ImageConfig> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::invalid(format!("invalid archive: image configuration: {e}")))
}

fn expect_layers(layers: usize, config: &ImageConfig) -> Result<()> {
    let diff_ids = config.rootfs.diff_ids.len();
    if layers == diff_ids {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid manifest, layers length mismatch: expected {diff_ids}, got {layers}"
    )))
}

/// The names of a member of the index.
fn name_of(descriptor: &Descriptor) -> Result<Option<Reference>> {
    let text = match (
        descriptor.annotations.get(layout::IMAGE_NAME),
        descriptor.annotations.get(layout::REF_NAME),
    ) {
        (Some(name), _) => name,
        // Alone, a tag names no repository.
        (None, Some(name)) if name.contains(['/', ':']) => name,
        _ => return Ok(None),
    };
    tagged(text).map(Some)
}

fn tags_of(item: &Item) -> Result<Vec<Reference>> {
    item.repo_tags.iter().flatten().map(|tag| tagged(tag)).collect()
}

fn tagged(text: &str) -> Result<Reference> {
    match Reference::parse(text) {
        Ok(reference) if reference.tag.is_some() && reference.digest.is_none() => Ok(reference),
        _ => Err(Error::invalid(format!("invalid tag {text:?}"))),
    }
}

/// The digest of a path that is a blob of the layout.
fn blob_of(path: &str) -> Option<Digest> {
    blob_digest(&Entry::file(Path::new(path), 0, 0))
}
