//! `docker save`: an OCI layout that is a Docker archive too.
//!
//! Manifests, configurations and layers are written byte for byte as they came; a layer that was made here and has no
//! archive yet is packed on the way, which always gives the same bytes. Names and order depend on the images only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};

use archive::{Entry, Packer};
use bytes::Bytes;
use oci::image::{Descriptor, Document, INDEX_DEPTH_MAX, Index, MANIFEST_MAX};
use oci::{ChainId, Digest, Hasher, Platform, Reference, media_types};
use store::{Image, Layer, Store};
use tokio::sync::mpsc::Receiver;

use super::layout::{self, Item, Repositories};
use super::{artifacts, attached, platform};
use crate::error::{Context as _, Error, Kind, Result};
use crate::{Engine, events, pipe};

/// The archive of these images, of all their platforms that are here or of these. A name without a tag stands for all tags of
/// its repository.
pub async fn save(
    engine: &Engine,
    names: Vec<String>,
    platforms: Vec<String>,
) -> Result<Receiver<Result<Bytes>>> {
    let platforms = platform::named(&platforms)?;
    let plan = engine.blocking(move |engine| planned(engine, &names, &platforms));
    Ok(send(engine, plan.await?))
}

fn planned(engine: &Engine, names: &[String], platforms: &[Platform]) -> Result<Plan> {
    let plan =
        targets(engine, names, platforms).and_then(|found| Plan::make(engine, &found, platforms.to_vec()));
    plan.map_err(|error| match targets(engine, names, platforms) {
        // It was removed before all of it was held on to: that something of it is missing is not what has happened.
        Err(gone) if gone.kind == Kind::NotFound => gone,
        _ => error,
    })
}

/// The archive of an image or an index that needs no name here, under these names.
pub async fn save_as(
    engine: &Engine,
    digest: Digest,
    names: Vec<String>,
    annotations: BTreeMap<String, String>,
) -> Result<Receiver<Result<Bytes>>> {
    let parse = |name: &String| Reference::parse(name).map_err(|e| Error::invalid(e.to_string()));
    let names = names.iter().map(parse).collect::<Result<BTreeSet<_>>>()?;
    let plan = engine.blocking(move |engine| {
        let store = engine.store();
        let member = match store.document(&digest)? {
            Document::Manifest(_) => digest.clone(),
            Document::Index(_) => {
                let members = store.members(&digest)?;
                let best = Platform::host().best(members.images().map(|member| member.platform.as_ref()));
                let member = members.images().nth(best.unwrap_or(0));
                member.ok_or_else(|| Error::invalid(format!("index {digest} has no image")))?.digest.clone()
            }
        };
        let image = store.resolve(&member.to_string(), None)?;
        let target = Target { digest, images: vec![image], names, annotations };
        Plan::make(engine, &[target], Vec::new())
    });
    Ok(send(engine, plan.await?))
}

fn send(engine: &Engine, plan: Plan) -> Receiver<Result<Bytes>> {
    let (writer, receiver) = pipe::writer();
    let store = engine.store().clone();
    tokio::task::spawn_blocking(move || {
        let errors = writer.sender();
        let written = plan.write(&store, writer);
        // Before the receiver sees the end: what it removes next is not in use any more.
        drop(plan);
        if let Err(error) = written {
            errors.blocking_send(Err(error)).ok();
        }
    });
    receiver
}

/// All that goes into an archive, looked up before its first byte is sent.
struct Plan {
    /// Keeps the content until it is written.
    _lease: store::Lease,
    /// Of an index, only members for these; none means all.
    platforms: Vec<Platform>,
    blobs: BTreeMap<Digest, Source>,
    /// The manifests and indexes among them.
    documents: BTreeSet<Digest>,
    index: Vec<u8>,
    manifest: Vec<u8>,
    repositories: Vec<u8>,
}

/// Where the bytes of a blob come from.
enum Source {
    /// A file.
    Blob(u64),
    /// Packing a layer.
    Layer(Layer, u64),
}

/// What the archive gets one entry in the index for.
struct Target {
    digest: Digest,
    /// What `manifest.json` lists: the best for this machine, or one for each platform that was asked for.
    images: Vec<Image>,
    names: BTreeSet<Reference>,
    /// What else is said of it there.
    annotations: BTreeMap<String, String>,
}

impl Plan {
    fn make(engine: &Engine, targets: &[Target], platforms: Vec<Platform>) -> Result<Plan> {
        let store = engine.store();
        let lease = store.lease("save")?;
        let mut plan = Plan {
            _lease: lease,
            platforms,
            blobs: BTreeMap::new(),
            documents: BTreeSet::new(),
            index: Vec::new(),
            manifest: Vec::new(),
            repositories: Vec::new(),
        };
        let mut items = Vec::new();
        let mut repositories = Repositories::new();
        let mut descriptors = Vec::new();
        for target in targets {
            plan.add_document(store, &target.digest, INDEX_DEPTH_MAX)?;
            descriptors.extend(plan.descriptors(store, target)?);
            for image in &target.images {
                items.push(item(image, &target.names));
                list_names(image, &target.names, &mut repositories);
                let id = image.id.to_string();
                events::emit(
                    engine,
                    "image",
                    "save",
                    &id,
                    &BTreeMap::from([("name".to_owned(), id.clone())]),
                );
            }
        }
        descriptors.extend(plan.add_attached(engine)?);
        let json = "write the archive's documents";
        plan.index = serde_json::to_vec(&Index::new(descriptors)).during(json)?;
        plan.manifest = serde_json::to_vec(&items).during(json)?;
        plan.repositories = serde_json::to_vec(&repositories).during(json)?;
        Ok(plan)
    }

    /// Adds a manifest or an index with everything below it that is here.
    fn add_document(&mut self, store: &Store, digest: &Digest, depth: u32) -> Result<()> {
        let document = store.document(digest)?;
        self.add_blob(store, digest)?;
        self.documents.insert(digest.clone());
        match document {
            Document::Manifest(manifest) => {
                self.add_blob(store, &manifest.config.digest)?;
                let image = store.resolve(&digest.to_string(), None);
                let chains = match &image {
                    Ok(image) => ChainId::all(&image.config.rootfs.diff_ids).into_iter().map(Some).collect(),
                    // No image, such as an attestation: only what is a file can be saved.
                    Err(_) => vec![None; manifest.layers.len()],
                };
                for (layer, chain) in manifest.layers.iter().zip(chains) {
                    self.add_layer(store, layer, chain.as_ref())?;
                }
            }
            Document::Index(index) if depth > 0 => {
                for member in &index.manifests {
                    // Indexes may name the same ones again and again.
                    if !self.documents.contains(&member.digest)
                        && store.blob_size(&member.digest)?.is_some()
                        && self.is_wanted(member)
                        && self.is_whole(store, &member.digest)?
                    {
                        self.add_document(store, &member.digest, depth - 1)?;
                    }
                }
            }
            Document::Index(_) => {}
        }
        Ok(())
    }

    /// Adds what is attached to what is in the archive; its lines in the index.
    fn add_attached(&mut self, engine: &Engine) -> Result<Vec<Descriptor>> {
        let store = engine.store();
        let documents: Vec<Digest> = self.documents.iter().cloned().collect();
        let mut lines: Vec<Descriptor> = Vec::new();
        for (_, thing) in attached::of(engine, &documents)? {
            let known = self.documents.contains(&thing.artifact);
            // Its own name in the layout is what tells what it is attached to.
            if known && thing.tag.is_none() {
                continue;
            }
            self.add_document(store, &thing.artifact, INDEX_DEPTH_MAX)?;
            let bytes = store.read_blob(&thing.artifact, MANIFEST_MAX)?;
            let mut line = attached::line(&thing.artifact, &bytes, &store.document(&thing.artifact)?);
            line.annotations = BTreeMap::new();
            line.annotations.extend(thing.tag.map(|tag| (layout::REF_NAME.to_owned(), tag)));
            lines.push(line);
        }
        Ok(lines)
    }

    /// Whether a member of an index is for a platform that is wanted. Attestations are for none; of an index its own members tell.
    fn is_wanted(&self, member: &Descriptor) -> bool {
        match &member.platform {
            _ if media_types::is_index(&member.media_type) => true,
            Some(platform) => platform::admits(&self.platforms, platform),
            None => self.platforms.is_empty(),
        }
    }

    /// Whether a member of an index has all that it names here.
    fn is_whole(&self, store: &Store, digest: &Digest) -> Result<bool> {
        let Ok(Document::Manifest(manifest)) = store.document(digest) else { return Ok(true) };
        let is_image = store.resolve(&digest.to_string(), None).is_ok();
        let layers = manifest.layers.iter().map(|layer| &layer.digest);
        for needed in layers.filter(|_| !is_image).chain([&manifest.config.digest]) {
            if store.blob_size(needed)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn add_blob(&mut self, store: &Store, digest: &Digest) -> Result<()> {
        let length =
            store.use_blob(&self._lease, digest)?.ok_or_else(|| store::Error::NoBlob(digest.clone()))?;
        self.blobs.insert(digest.clone(), Source::Blob(length));
        Ok(())
    }

    fn add_layer(&mut self, store: &Store, descriptor: &Descriptor, chain: Option<&ChainId>) -> Result<()> {
        if store.use_blob(&self._lease, &descriptor.digest)?.is_some() {
            return self.add_blob(store, &descriptor.digest);
        }
        let layer = match chain {
            Some(chain) => store.use_layer(&self._lease, chain)?,
            None => None,
        };
        match layer {
            Some(layer) if layer.diff_id == descriptor.digest && layer.archive_size.is_some() => {
                let length = layer.archive_size.unwrap_or_default();
                self.blobs.insert(descriptor.digest.clone(), Source::Layer(layer, length));
                Ok(())
            }
            _ => Err(Error::from(store::Error::NoBlob(descriptor.digest.clone()))
                .with_hint("pull or load the image again")),
        }
    }

    /// The entries of the index for a target: one for each name.
    fn descriptors(&self, store: &Store, target: &Target) -> Result<Vec<Descriptor>> {
        let media_type = store.document(&target.digest)?.media_type().to_owned();
        let length = store.blob_size(&target.digest)?.unwrap_or_default();
        let mut plain = Descriptor::new(&media_type, target.digest.clone(), length);
        plain.annotations.clone_from(&target.annotations);
        if !media_types::is_index(&media_type) {
            plain.platform = target.images.first().map(|image| image.config.platform());
        }
        if target.names.is_empty() {
            return Ok(vec![plain]);
        }
        let named = target.names.iter().map(|name| {
            let mut descriptor = plain.clone();
            descriptor.annotations.insert(layout::IMAGE_NAME.to_owned(), name.to_string());
            descriptor.annotations.insert(layout::REF_NAME.to_owned(), name.tag.clone().unwrap_or_default());
            descriptor
        });
        Ok(named.collect())
    }

    fn write(&self, store: &Store, writer: pipe::Writer) -> Result<()> {
        let failed = "write the archive";
        let mut packer = Packer::new(writer);
        packer.append(&Entry::directory("blobs/", 0o755)).during(failed)?;
        packer.append(&Entry::directory("blobs/sha256/", 0o755)).during(failed)?;
        for (digest, source) in &self.blobs {
            match source {
                Source::Blob(length) => {
                    let mut blob = Verified { file: store.open_blob(digest)?, hasher: Hasher::of(digest) };
                    let entry = Entry::file(layout::blob(digest), 0o644, *length);
                    packer.append_file(&entry, &mut blob).during(failed)?;
                    blob.expect(digest)?;
                }
                Source::Layer(layer, length) => {
                    let entry = Entry::file(layout::blob(digest), 0o644, *length);
                    pack_layer(store, layer, &mut packer, &entry)?;
                }
            }
        }
        for (name, bytes) in [
            (layout::INDEX, &self.index[..]),
            (layout::MANIFEST, &self.manifest),
            (layout::OCI_LAYOUT, layout::OCI_LAYOUT_CONTENT.as_bytes()),
            (layout::REPOSITORIES, &self.repositories),
        ] {
            packer.append_bytes(&Entry::file(name, 0o644, 0), bytes).during(failed)?;
        }
        let mut writer = packer.finish().during(failed)?;
        writer.flush().during(failed)
    }
}

/// A blob that is hashed while it is read.
struct Verified {
    file: File,
    hasher: Hasher,
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl Verified {
    /// An archive with a blob that is another's would be refused by everybody, and maybe too late.
    fn expect(self, digest: &Digest) -> Result<()> {
        let found = self.hasher.digest();
        match found == *digest {
            true => Ok(()),
            false => {
                Err(Error::system(format!("blob {digest} is damaged: its content has the digest {found}"))
                    .with_hint("`dhow system check --repair` fetches it again"))
            }
        }
    }
}

/// Packs a layer into the archive, on a second thread as packing writes and the archive reads.
fn pack_layer(store: &Store, layer: &Layer, packer: &mut Packer<pipe::Writer>, entry: &Entry) -> Result<()> {
    let (reader, writer) = io::pipe().during("make a pipe")?;
    std::thread::scope(|scope| {
        let packing =
            scope.spawn(move || store.layer_tar(layer, io::BufWriter::with_capacity(1 << 20, writer)));
        let written = packer.append_file(entry, reader).during("write the archive");
        match packing.join() {
            // The reader's reason comes first: a client that went away breaks the pipe for both.
            Ok(packed) => written.and(packed.map_err(Error::from)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What these names mean, each target once, in the order of the names.
fn targets(engine: &Engine, names: &[String], platforms: &[Platform]) -> Result<Vec<Target>> {
    let store = engine.store();
    let mut targets: Vec<Target> = Vec::new();
    for name in names {
        for (digest, images, reference) in meanings(engine, name, platforms)? {
            match targets.iter_mut().find(|target| target.digest == digest) {
                Some(target) => target.names.extend(reference),
                None => {
                    let names = reference.into_iter().collect();
                    targets.push(Target { digest, images, names, annotations: BTreeMap::new() });
                }
            }
        }
    }
    if targets.is_empty() {
        return Err(Error::invalid("no image to save"));
    }
    for target in &targets {
        // A tag may be broken; better now than in the middle of the archive.
        store.document(&target.digest)?;
    }
    Ok(targets)
}

type Meaning = (Digest, Vec<Image>, Option<Reference>);

fn meanings(engine: &Engine, name: &str, platforms: &[Platform]) -> Result<Vec<Meaning>> {
    let store = engine.store();
    if let Ok(reference) = Reference::parse_name(name)
        && reference.is_name_only()
    {
        let repository = reference.name();
        let tags = engine.db().read(state::tags::all)?;
        let tags: Vec<_> = tags
            .into_iter()
            .filter(|tag| tag.reference.name() == repository && tag.reference.digest.is_none())
            .collect();
        if !tags.is_empty() {
            return tags
                .into_iter()
                .map(|tag| {
                    Ok((
                        tag.target,
                        images(store, &tag.reference.familiar(), platforms)?,
                        Some(tag.reference),
                    ))
                })
                .collect();
        }
    }
    if let Some(tag) = artifacts::named(engine, name)? {
        let reference = Some(tag.reference).filter(|reference| reference.digest.is_none());
        return Ok(vec![(tag.target, Vec::new(), reference)]);
    }
    let (record, tag) = store.find(name, None)?;
    let target = tag.as_ref().map_or_else(|| record.digest.clone(), |tag| tag.target.clone());
    let reference = tag.map(|tag| tag.reference).filter(|reference| reference.digest.is_none());
    Ok(vec![(target, images(store, name, platforms)?, reference)])
}

/// The images that a name means: for each platform that is asked for there has to be one.
fn images(store: &Store, name: &str, platforms: &[Platform]) -> Result<Vec<Image>> {
    if platforms.is_empty() {
        return match store.resolve(name, None) {
            Err(store::Error::Artifact { .. }) => Ok(Vec::new()),
            image => Ok(vec![image?]),
        };
    }
    let mut images: Vec<Image> = Vec::new();
    for platform in platforms {
        let image = store.resolve(name, Some(platform))?;
        if images.iter().all(|known| known.digest != image.digest) {
            images.push(image);
        }
    }
    Ok(images)
}

fn item(image: &Image, names: &BTreeSet<Reference>) -> Item {
    Item {
        config: layout::blob(&image.id),
        repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
        layers: image.manifest.layers.iter().map(|layer| layout::blob(&layer.digest)).collect(),
    }
}

fn list_names(image: &Image, names: &BTreeSet<Reference>, repositories: &mut Repositories) {
    let Some(top) = image.manifest.layers.last() else { return };
    for name in names {
        let tag = name.tag.clone().unwrap_or_default();
        repositories.entry(name.familiar_name()).or_default().insert(tag, top.digest.hex().to_owned());
    }
}
