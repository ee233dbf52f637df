//! `docker load`: OCI layouts and Docker's archives, compressed or not, with any number of images.
//!
//! The archive is a stranger's: its blobs are kept only under their own digest, its other files are unpacked below a
//! scratch directory and opened by the confined resolver, so no path in its documents leads anywhere else. It is read once,
//! and no part of it is written twice: see [`spool`] and [`early`].

mod early;
mod spool;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::JsonMessage;
use archive::Entry;
use bytes::Bytes;
use futures_util::Stream;
use oci::image::{
    CONFIG_MAX, Descriptor, Document, INDEX_DEPTH_MAX, ImageConfig, Index, Manifest, is_attestation,
};
use oci::{ChainId, Digest, Platform, Reference, media_types};
use state::attached::Attached;
use store::{Batch, NewImage, Store};
use tokio::sync::mpsc::Sender;

use super::layout::{self, Item};
use super::platform;
use super::report::Report;
use crate::error::{Context as _, Error, Result};
use crate::{Engine, events, pipe};
use early::Early;
use spool::{Found, Spool};

/// Loads all images of an archive, or those for these platforms. One line an image tells its name or id.
pub async fn load(
    engine: &Engine,
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    quiet: bool,
    platforms: Vec<String>,
    progress: Sender<JsonMessage>,
) -> Result<()> {
    let platforms = platform::named(&platforms)?;
    let reader = pipe::reader(body);
    let report = Report::new(progress);
    engine
        .blocking(move |engine| {
            let store = engine.store();
            let loaded = {
                let batch = store.batch(&Arc::new(store.lease("load")?))?;
                report.stops(batch.lease());
                load_from(engine, &batch, &report, quiet, &platforms, reader)
            };
            if loaded.is_err() {
                // What it brought belongs to nothing now. That there was no image is the better reason.
                let _ = store.gc();
            }
            loaded
        })
        .await
}

fn load_from(
    engine: &Engine,
    batch: &Batch,
    report: &Report,
    quiet: bool,
    platforms: &[Platform],
    reader: impl Read + Send,
) -> Result<()> {
    let store = engine.store();
    let mut spool = Spool::make(batch.lease())?;
    let told = (!quiet).then_some(report);
    Early::with(store, batch, told, |early| {
        // For one platform of many, most layers are not wanted.
        spool.fill(store, batch, early, platforms.is_empty(), reader)?;
        let load = Load { engine, store, batch, spool, early, report, platforms, seen: Mutex::default() };
        load.run()
    })
}

struct Load<'l, 'a> {
    engine: &'a Engine,
    store: &'a Store,
    batch: &'a Batch,
    spool: Spool,
    early: &'l Early<'a>,
    report: &'a Report,
    /// The ones that are wanted; none means all.
    platforms: &'a [Platform],
    /// Members of indexes that were looked at for the name under way.
    seen: Mutex<BTreeSet<Digest>>,
}

impl Load<'_, '_> {
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
        let mut any = false;
        for item in &items {
            any |= self.item(item)?;
        }
        self.expect_any(any)
    }

    /// With platforms asked for, an archive that has none of them is not what was meant.
    fn expect_any(&self, any: bool) -> Result<()> {
        if any || self.platforms.is_empty() {
            return Ok(());
        }
        Err(Error::not_found(format!("the archive has no image for {}", platform::list(self.platforms))))
    }

    /// A document of the archive, none if it has none of that name.
    fn document(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.bytes(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::invalid(format!("invalid archive: {path}: {error}"))),
        }
    }

    /// A file of the archive, small enough for a document.
    fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.spool.open(path)? {
            Found::Blob(digest) => {
                return self.batch.read_blob(&digest, CONFIG_MAX).map_err(io::Error::other);
            }
            Found::File(file) => file.take(CONFIG_MAX + 1).read_to_end(&mut bytes)?,
        };
        match bytes.len() as u64 > CONFIG_MAX {
            true => Err(io::Error::other(format!("it has more than {CONFIG_MAX} bytes"))),
            false => Ok(bytes),
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
        let (things, images): (Vec<_>, Vec<_>) =
            index.manifests.iter().partition(|descriptor| self.is_artifact(descriptor));
        for descriptor in images {
            match targets.iter_mut().find(|(digest, _)| **digest == descriptor.digest) {
                Some((_, names)) => names.extend(name_of(descriptor)?),
                None => targets.push((&descriptor.digest, name_of(descriptor)?.into_iter().collect())),
            }
        }
        let mut any = false;
        for (digest, mut names) in targets {
            self.seen().clear();
            let images = self.target(digest, INDEX_DEPTH_MAX)?;
            if images.is_empty() && !self.platforms.is_empty() {
                continue;
            }
            any = true;
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
        let (kept, nobodys) = self.things(things)?;
        match nobodys {
            // Beside others, what belongs to none of them is left out.
            Some(digest) if !any && !kept => Err(Error::invalid(format!(
                "invalid archive: {digest} is no image, has no name, and is attached to nothing in it"
            ))),
            _ => self.expect_any(any || kept),
        }
    }

    /// Whether a line of the layout is no image.
    fn is_artifact(&self, descriptor: &Descriptor) -> bool {
        let document = self.batch.document(&descriptor.digest);
        matches!(document, Ok(Document::Manifest(manifest)) if manifest.artifact_kind().is_some())
    }

    /// Keeps what is no image: with what it is attached to, or under its name. Whether anything was kept, and something that
    /// was not.
    fn things(&self, mut rest: Vec<&Descriptor>) -> Result<(bool, Option<Digest>)> {
        let all = rest.len();
        loop {
            let before = rest.len();
            let mut later = Vec::new();
            for thing in rest {
                if !self.thing(thing)? {
                    later.push(thing);
                }
            }
            rest = later;
            // What something is attached to may have come after it.
            if rest.is_empty() || rest.len() == before {
                return Ok((rest.len() < all, rest.first().map(|thing| thing.digest.clone())));
            }
        }
    }

    fn thing(&self, thing: &Descriptor) -> Result<bool> {
        let Ok(Document::Manifest(manifest)) = self.batch.document(&thing.digest) else { return Ok(false) };
        self.batch.use_blob(&thing.digest)?;
        for part in manifest.layers.iter().chain([&manifest.config]) {
            if self.batch.use_blob(&part.digest)?.is_none() {
                return Err(Error::invalid(format!("invalid archive: blob {} is missing", part.digest)));
            }
            self.expect_size(part)?;
        }
        self.batch.publish()?;
        if let Some((subject, tag)) = self.attachment(thing, &manifest)? {
            let thing = Attached { artifact: thing.digest.clone(), tag };
            self.engine.db().write(|tx| state::attached::put(tx, &subject, &thing))?;
            return Ok(true);
        }
        let Some(name) = name_of(thing)? else { return Ok(false) };
        let now = jiff::Timestamp::now().to_string();
        self.engine.db().write(|tx| state::tags::put(tx, &name, &thing.digest, &now).map(drop))?;
        let attributes = BTreeMap::from([("name".to_owned(), name.familiar())]);
        events::emit(self.engine, "image", "load", thing.digest.as_str(), &attributes);
        self.report.line(JsonMessage::stream(format!("Loaded image: {}\n", name.familiar())))?;
        Ok(true)
    }

    /// What something is attached to, if that is here: it says so itself, or its name in the layout does.
    fn attachment(
        &self,
        thing: &Descriptor,
        manifest: &Manifest,
    ) -> Result<Option<(Digest, Option<String>)>> {
        let tag = thing.annotations.get(layout::REF_NAME);
        let by_tag = tag.and_then(|tag| Some((registry::cosign_subject(tag)?, Some(tag.clone()))));
        let by_subject = manifest.subject.as_ref().map(|subject| (subject.digest.clone(), None));
        for (subject, tag) in by_subject.into_iter().chain(by_tag) {
            if self.batch.use_blob(&subject)?.is_some() {
                return Ok(Some((subject, tag)));
            }
        }
        Ok(None)
    }

    /// What a digest of the layout leads to: an image, or those images of an index that are in the archive.
    fn target(&self, digest: &Digest, depth: u32) -> Result<Vec<Complete>> {
        self.batch.use_blob(digest)?;
        match self.batch.document(digest) {
            Ok(Document::Manifest(manifest)) => Ok(self.manifest(digest, &manifest)?.into_iter().collect()),
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
            let here = self.batch.use_blob(&member.digest)?.is_some();
            if !here || is_attestation(member) {
                continue;
            }
            let partial = match self.batch.document(&member.digest) {
                // Whoever looks for images goes by what indexes say of their members.
                Ok(Document::Index(_)) if !media_types::is_index(&member.media_type) => {
                    let (digest, named) = (&member.digest, &member.media_type);
                    return Err(Error::invalid(format!(
                        "invalid archive: {digest} is an index, and is named as {named:?}"
                    )));
                }
                Ok(Document::Manifest(manifest)) => self.batch.blob_size(&manifest.config.digest)?.is_none(),
                _ => false,
            };
            if !partial {
                images.extend(self.target(&member.digest, depth)?);
            }
        }
        Ok(images)
    }

    /// An image whose manifest is a blob, if it is for a platform that is wanted.
    fn manifest(&self, digest: &Digest, manifest: &Manifest) -> Result<Option<Complete>> {
        self.batch.use_blob(&manifest.config.digest)?;
        let bytes =
            self.batch.read_blob(&manifest.config.digest, CONFIG_MAX).map_err(|error| match error {
                store::Error::NoBlob(digest) => {
                    Error::invalid(format!("invalid archive: blob {digest} is missing"))
                }
                error => Error::from(error),
            })?;
        let config = config(&bytes)?;
        if !platform::admits(self.platforms, &config.platform()) {
            return Ok(None);
        }
        expect_layers(manifest.layers.len(), &config)?;
        for part in manifest.layers.iter().chain([&manifest.config]) {
            self.expect_size(part)?;
        }
        let layers: Vec<&Digest> = manifest.layers.iter().map(|layer| &layer.digest).collect();
        self.layers(&layers, &config.rootfs.diff_ids)?;
        Ok(Some(Complete { manifest: digest.clone(), config: manifest.config.digest.clone() }))
    }

    /// What a manifest says of a blob's length is passed on when the image is: it has to be true.
    fn expect_size(&self, part: &Descriptor) -> Result<()> {
        match self.batch.blob_size(&part.digest)? {
            Some(length) if length != part.size => Err(Error::invalid(format!(
                "invalid archive: blob {} has {length} bytes, expected {}",
                part.digest, part.size
            ))),
            _ => Ok(()),
        }
    }

    /// Sees to it that all layers, lowest first, are here under their chain ids.
    fn layers(&self, layers: &[&Digest], diff_ids: &[Digest]) -> Result<()> {
        let mut lacking = Vec::new();
        for ((layer, diff_id), chain) in layers.iter().zip(diff_ids).zip(ChainId::all(diff_ids)) {
            let here = self.batch.use_blob(layer)?.is_some();
            match self.batch.use_layer(&chain)? {
                Some(known) if here || (known.archive_size.is_some() && *diff_id == **layer) => {}
                _ if !here => {
                    return Err(Error::invalid(format!("invalid archive: layer {layer} is missing")));
                }
                Some(_) => {}
                None => lacking.push((chain, *layer)),
            }
        }
        self.early.want(lacking.iter().map(|(_, layer)| *layer));
        let mut parent: Option<ChainId> = None;
        for (diff_id, chain) in diff_ids.iter().zip(ChainId::all(diff_ids)) {
            if let Some((_, layer)) = lacking.iter().find(|(lacking, _)| *lacking == chain)
                // An image may have the same layers twice, each on the other.
                && self.batch.use_layer(&chain)?.is_none()
            {
                let unpacked = self.early.take(layer)?;
                unpacked.expect(Some(diff_id)).map_err(|error| {
                    Error::invalid(format!("invalid archive: {}", crate::error::chain(&error)))
                })?;
                self.store.note_archive(layer, diff_id);
                self.batch.add_layer(parent.as_ref(), unpacked)?;
            }
            parent = Some(chain);
        }
        Ok(())
    }

    /// An image of `manifest.json`, whose files are wherever that says; whether it is for a platform that is wanted.
    fn item(&self, item: &Item) -> Result<bool> {
        let names = tags_of(item)?;
        let bytes = self.read_item(&item.config)?;
        let config = config(&bytes)?;
        if !config.os.is_empty() && !config.os.eq_ignore_ascii_case("linux") {
            return Err(Error::invalid(format!("cannot load {} image on linux", config.os)));
        }
        if !platform::admits(self.platforms, &config.platform()) {
            return Ok(false);
        }
        expect_layers(item.layers.len(), &config)?;
        let config_digest = self.batch.put_blob(&bytes)?;
        let layers = item.layers.iter().map(|path| self.layer_file(path)).collect::<Result<Vec<_>>>()?;
        let digests: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
        self.layers(&digests, &config.rootfs.diff_ids)?;
        let config = Descriptor::new(media_types::OCI_CONFIG, config_digest.clone(), bytes.len() as u64);
        let manifest = serde_json::to_vec(&Manifest::new(config, layers)).during("write a manifest")?;
        let manifest = self.batch.put_blob(&manifest)?;
        let image = Complete { manifest: manifest.clone(), config: config_digest };
        self.record(&[image], &manifest, &names)?;
        Ok(true)
    }

    /// A file of the archive that `manifest.json` names, small enough for a document.
    fn read_item(&self, path: &str) -> Result<Vec<u8>> {
        if let Some(digest) = blob_of(path)
            && self.batch.use_blob(&digest)?.is_some()
        {
            return Ok(self.batch.read_blob(&digest, CONFIG_MAX)?);
        }
        self.bytes(path).map_err(|e| Error::invalid(format!("invalid archive: {path:?}: {e}")))
    }

    /// A layer that `manifest.json` names, as a blob.
    fn layer_file(&self, path: &str) -> Result<Descriptor> {
        let missing = |e| Error::invalid(format!("invalid archive: layer {path:?}: {e}"));
        let known = match blob_of(path) {
            Some(digest) => self.batch.use_blob(&digest)?.map(|_| digest),
            None => None,
        };
        let digest = match known {
            Some(known) => known,
            None => match self.spool.open(path).map_err(missing)? {
                Found::Blob(digest) => digest,
                Found::File(file) => self.keep(file, path)?,
            },
        };
        let file = self.batch.open_blob(&digest)?;
        let length = file.metadata().during("read a layer")?.len();
        let mut first = Vec::new();
        file.take(6).read_to_end(&mut first).during("read a layer")?;
        let media_type = match archive::Compression::detect(&first) {
            archive::Compression::Gzip => media_types::OCI_LAYER_GZIP,
            archive::Compression::Zstd => media_types::OCI_LAYER_ZSTD,
            _ => media_types::OCI_LAYER,
        };
        Ok(Descriptor::new(media_type, digest, length))
    }

    fn keep(&self, mut file: File, path: &str) -> Result<Digest> {
        let mut writer = self.store.ingest(self.batch.lease())?;
        io::copy(&mut file, &mut writer).during(format_args!("keep layer {path:?}"))?;
        Ok(self.batch.add_blob(writer, None)?.0)
    }

    /// Records images together with the names of what leads to them, of which a killed load leaves all or nothing, and
    /// tells about it.
    fn record(&self, images: &[Complete], target: &Digest, names: &[Reference]) -> Result<()> {
        let mut new = Vec::with_capacity(images.len());
        for (at, image) in images.iter().enumerate() {
            let tags = if at == 0 { names } else { &[] };
            new.push(NewImage { tags, target: Some(target), ..NewImage::of(&image.manifest) });
        }
        self.batch.publish()?;
        let mut put = self.store.put_images(&new)?.into_iter();
        let Some(store::Put { image, moved, .. }) = put.next() else { return Ok(()) };
        for (name, before) in moved {
            // What an index stood for has no id of its own.
            let id = self.store.find(&before.to_string(), None).map_or(before, |(record, _)| record.id);
            if id == image.id {
                // In another archive it is the same image.
                continue;
            }
            let text = format!(
                "The image {} already exists, renaming the old one with ID {id} to empty string\n",
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
    spool::blob_digest(&Entry::file(Path::new(path), 0, 0))
}
