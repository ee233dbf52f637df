//! What a push consists of: found out before anything is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::JsonMessage;
use archive::Compression;
use oci::image::{
    CONFIG_MAX, Descriptor, Document, INDEX_DEPTH_MAX, ImageConfig, Index, Manifest, is_attestation,
};
use oci::{ChainId, Digest, Reference, media_types};
use store::{Layer, Lease, Members, Store};

use super::left::{Left, neighbour};
use super::{How, is_whole, missing};
use crate::Engine;
use crate::error::{Context as _, Error, Result};
use crate::images::report::Report;
use crate::images::{artifacts, attached};

/// Names whose documents are looked at for repositories that may have a layer.
const HOLDERS: usize = 500;

/// A document to send, after all that it names.
pub(super) struct Parcel {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// A configuration or a layer.
pub(super) struct Item {
    /// What a person calls it; nothing for what is of no interest.
    pub name: String,
    /// What a manifest names it as here.
    pub found: Descriptor,
    /// What it is sent as, if that is known.
    pub sent: Option<Descriptor>,
    pub content: Content,
}

impl Item {
    /// A blob that is sent as it is here, where it stays as long as the lease.
    fn blob(store: &Store, lease: &Lease, found: &Descriptor, name: String) -> Result<Item> {
        let length = store.use_blob(lease, &found.digest)?;
        let size = length.ok_or_else(|| store::Error::NoBlob(found.digest.clone()))?;
        let found = Descriptor { size, ..found.clone() };
        Ok(Item { name, sent: Some(found.clone()), found, content: Content::Blob })
    }
}

/// Where its bytes come from.
pub(super) enum Content {
    /// A file, as it is.
    Blob,
    /// They are compressed on the way.
    Layer(Box<Layer>),
    /// They are not here, and need not be sent: another repository of the registry may have them too.
    Left(Option<String>),
}

/// What is to be sent.
pub(super) struct Sought {
    /// By its name.
    pub reference: Reference,
    /// Or this, under that name.
    pub result: Option<Digest>,
    /// Layers of it that are not here.
    pub left: Left,
}

/// All that a name stands for.
pub(super) struct Cargo {
    /// Keeps it until it is sent.
    pub lease: Lease,
    pub store: Store,
    pub how: How,
    /// By what manifests name them here.
    pub items: BTreeMap<Digest, Item>,
    /// What the name stands for here.
    pub target: Digest,
    tree: Tree,
}

/// The documents.
enum Tree {
    /// With its members, each once.
    Index(Digest, Index, Vec<(Digest, Tree)>),
    Image(Digest, Box<Manifest>),
    /// No image: sent byte for byte.
    Plain(Digest, Box<Manifest>),
}

impl Cargo {
    pub fn load(
        engine: &Engine,
        Sought { reference, result, left }: Sought,
        report: &Report,
        how: How,
    ) -> Result<Cargo> {
        let lease = engine.store().lease("push")?;
        let left = left.into_iter().map(|(digest, from)| {
            let from = from.and_then(|from| neighbour(&reference, &from).map(str::to_owned));
            (digest, from)
        });
        let left = left.collect();
        report.stops(&lease);
        if result.is_none()
            && let Some(artifact) = artifacts::named(engine, &reference.familiar())?
        {
            let mut search =
                Search { engine, lease, how, travelled: true, left, items: BTreeMap::new(), met: 0 };
            let tree = search.plain(&artifact.target)?;
            let Search { lease, how, items, .. } = search;
            let store = engine.store().clone();
            return Ok(Cargo { lease, store, how, items, target: artifact.target, tree });
        }
        let (target, mut travelled) = match result {
            Some(digest) => (digest, false),
            None => target(engine, &reference, report, &how)?,
        };
        travelled |= has_travelled(engine, &target)?;
        let mut search = Search { engine, lease, how, travelled, left, items: BTreeMap::new(), met: 0 };
        let tree = search.grow(&target, INDEX_DEPTH_MAX)?;
        let Search { lease, how, items, .. } = search;
        Ok(Cargo { lease, store: engine.store().clone(), how, items, target, tree })
    }

    /// What a manifest names an item as that was compressed.
    pub fn packed(&self, item: &Item, digest: Digest, length: u64) -> Descriptor {
        packed(&self.how, item, digest, length)
    }

    /// What all items are sent as, if that is known of all.
    pub fn known(&self) -> Option<BTreeMap<Digest, Descriptor>> {
        self.items.iter().map(|(digest, item)| Some((digest.clone(), item.sent.clone()?))).collect()
    }

    /// The documents that name what was sent, members before their index, the one that all hang on last.
    pub fn parcels(&self, store: &Store, sent: &BTreeMap<Digest, Descriptor>) -> Result<Vec<Parcel>> {
        let mut parcels = Vec::new();
        write(store, &self.tree, sent, &mut parcels)?;
        Ok(parcels)
    }
}

/// What a name stands for here that can be sent, and whether a registry has it so.
fn target(engine: &Engine, reference: &Reference, report: &Report, how: &How) -> Result<(Digest, bool)> {
    let store = engine.store();
    let (record, tag) = match store.find(&reference.familiar(), how.platform.as_ref()) {
        Err(store::Error::NoImage(_)) => return Err(missing(reference)),
        other => other?,
    };
    store.touch(&record.id);
    let travelled = match &tag {
        Some(tag) => has_travelled(engine, &tag.target)?,
        None => false,
    };
    let target = match (&how.platform, tag) {
        (Some(platform), _) => {
            let image = store.load(record)?;
            if !platform.matches(&image.config.platform()) {
                let (name, platform) = (reference.familiar(), Box::new(platform.clone()));
                return Err(store::Error::Platform { name, platform }.into());
            }
            image.digest
        }
        (None, Some(tag)) => match store.document(&tag.target)? {
            Document::Index(index) => {
                let members = store.members(&tag.target)?;
                if is_whole(store, &members)? {
                    return Ok((tag.target, travelled));
                }
                let only = only_one(store, reference, &members)?.unwrap_or(record.digest);
                report.line(pushed_instead(store, (&tag.target, index), &members, &only)?)?;
                only
            }
            Document::Manifest(_) => tag.target,
        },
        (None, None) => record.digest,
    };
    Ok((target, travelled))
}

/// The one image of an index that is here. Of several that are not all of them, which are meant is for people to say.
fn only_one(store: &Store, reference: &Reference, members: &Members) -> Result<Option<Digest>> {
    let (here, lacking): (Vec<_>, Vec<_>) =
        members.images().partition(|member| store.resolve(&member.digest.to_string(), None).is_ok());
    if here.len() <= 1 {
        return Ok(here.first().map(|member| member.digest.clone()));
    }
    let name = |member: &&Descriptor| match &member.platform {
        Some(platform) => platform.to_string(),
        None => member.digest.to_string(),
    };
    let lacking: Vec<String> = lacking.iter().map(name).collect();
    let what = format!("missing content: {} of {} is not here", lacking.join(", "), reference.familiar());
    Err(Error::not_found(what).with_hint(
        "`push --platform` sends one platform alone, `pull --platform` gets those that are missing",
    ))
}

/// What Docker's client tells people when one manifest is sent for an index.
fn pushed_instead(
    store: &Store,
    (target, index): (&Digest, Index),
    members: &Members,
    only: &Digest,
) -> Result<JsonMessage> {
    let length = store.blob_size(target)?.unwrap_or_default();
    let media_type = Document::Index(index).media_type().to_owned();
    let selected = members.leaves.iter().find(|member| member.digest == *only);
    Ok(JsonMessage::aux(serde_json::json!({
        "manifestPushedInsteadOfIndex": true,
        "originalIndex": Descriptor::new(&media_type, target.clone(), length),
        "selectedManifest": selected,
    })))
}

/// Whether a registry has this document as it is: what it names is then sent as it came.
fn has_travelled(engine: &Engine, digest: &Digest) -> Result<bool> {
    let tags = engine.db().read(|tx| state::tags::of(tx, digest))?;
    Ok(tags.iter().any(|tag| tag.reference.digest.as_ref() == Some(digest)))
}

fn packed(how: &How, item: &Item, digest: Digest, length: u64) -> Descriptor {
    let compression = how.compression();
    let mut packed = store::packed(&item.found, compression, digest, length);
    // Docker's documents know no zstd, whatever some write into them: such a manifest becomes one of OCI's.
    if item.found.media_type == media_types::DOCKER_LAYER {
        match compression {
            Compression::Gzip => packed.media_type = media_types::DOCKER_LAYER_GZIP.to_owned(),
            Compression::None => packed.media_type = media_types::DOCKER_LAYER.to_owned(),
            _ => {}
        }
    }
    packed
}

/// Going through the documents.
struct Search<'e> {
    engine: &'e Engine,
    lease: Lease,
    how: How,
    travelled: bool,
    /// Layers that are not here, and other repositories of the registry that have them.
    left: BTreeMap<Digest, Option<String>>,
    items: BTreeMap<Digest, Item>,
    /// How many documents were met.
    met: usize,
}

/// So many documents are no image any more, but indexes that name each other again and again.
const DOCUMENTS_MAX: usize = 20_000;

impl Search<'_> {
    fn grow(&mut self, digest: &Digest, depth: u32) -> Result<Tree> {
        self.met += 1;
        if self.met > DOCUMENTS_MAX {
            return Err(Error::invalid(format!(
                "the indexes in {digest} name more than {DOCUMENTS_MAX} manifests"
            )));
        }
        match self.engine.store().document(digest)? {
            Document::Manifest(manifest) => {
                self.image(&manifest)?;
                Ok(Tree::Image(digest.clone(), manifest))
            }
            Document::Index(index) => {
                let mut members = Vec::new();
                let mut seen = BTreeSet::new();
                for member in index.manifests.iter().filter(|member| seen.insert(member.digest.clone())) {
                    let tree = match is_attestation(member) {
                        true => self.plain(&member.digest)?,
                        false if depth > 0 => self.grow(&member.digest, depth - 1)?,
                        false => {
                            return Err(Error::system(format!("{digest} is an index in too many others")));
                        }
                    };
                    members.push((member.digest.clone(), tree));
                }
                Ok(Tree::Index(digest.clone(), index, members))
            }
        }
    }

    /// A manifest that is no image.
    fn plain(&mut self, digest: &Digest) -> Result<Tree> {
        let Document::Manifest(manifest) = self.engine.store().document(digest)? else {
            return Err(Error::system(format!("{digest} is no manifest")));
        };
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            self.blob(blob, String::new())?;
        }
        Ok(Tree::Plain(digest.clone(), manifest))
    }

    fn image(&mut self, manifest: &Manifest) -> Result<()> {
        let config = self.engine.store().read_blob(&manifest.config.digest, CONFIG_MAX)?;
        let config: ImageConfig = serde_json::from_slice(&config)
            .during(format_args!("read the configuration {}", manifest.config.digest))?;
        let chains = ChainId::all(&config.rootfs.diff_ids);
        let names = config.rootfs.diff_ids.iter().map(|id| id.short().to_owned());
        for ((descriptor, chain), name) in manifest.layers.iter().zip(&chains).zip(names) {
            if self.items.contains_key(&descriptor.digest) {
                continue;
            }
            if let Some(from) = self.left.get(&descriptor.digest) {
                let (found, content) = (descriptor.clone(), Content::Left(from.clone()));
                let item = Item { name, sent: Some(found.clone()), found, content };
                self.items.insert(descriptor.digest.clone(), item);
                continue;
            }
            let here = self.engine.store().use_blob(&self.lease, &descriptor.digest)?.is_some();
            if here && self.stays(descriptor) {
                self.blob(descriptor, name)?;
                continue;
            }
            let layer = self.engine.store().use_layer(&self.lease, chain)?;
            let layer = layer.ok_or_else(|| store::Error::NoLayer(chain.clone()))?;
            let method = self.how.method();
            let known = self.engine.db().read(|tx| state::packed::get(tx, &descriptor.digest, &method))?;
            let docker = manifest.media_type == media_types::DOCKER_MANIFEST;
            let mut item = Item {
                name,
                found: descriptor.clone(),
                sent: None,
                content: Content::Layer(Box::new(layer)),
            };
            if docker {
                item.found.media_type = media_types::DOCKER_LAYER.to_owned();
            }
            item.sent = known.map(|known| packed(&self.how, &item, known.digest, known.size));
            self.items.insert(descriptor.digest.clone(), item);
        }
        self.blob(&manifest.config, String::new())
    }

    /// Whether an archive that is here is sent as it is.
    fn stays(&self, descriptor: &Descriptor) -> bool {
        let is = match descriptor.media_type.as_str() {
            media_types::OCI_LAYER_GZIP | media_types::DOCKER_LAYER_GZIP => Compression::Gzip,
            media_types::OCI_LAYER_ZSTD | media_types::DOCKER_LAYER_ZSTD => Compression::Zstd,
            media_types::OCI_LAYER | media_types::DOCKER_LAYER => Compression::None,
            _ => return true,
        };
        match self.how.compression {
            Some(wanted) => is == wanted,
            None => is != Compression::None || self.travelled || self.how.as_is,
        }
    }

    fn blob(&mut self, found: &Descriptor, name: String) -> Result<()> {
        let item = Item::blob(self.engine.store(), &self.lease, found, name)?;
        self.items.entry(found.digest.clone()).or_insert(item);
        Ok(())
    }
}

/// Adds a document after those that it names; what names it.
fn write(
    store: &Store,
    tree: &Tree,
    sent: &BTreeMap<Digest, Descriptor>,
    parcels: &mut Vec<Parcel>,
) -> Result<Descriptor> {
    let unchanged = |digest: &Digest| store.read_blob(digest, oci::image::MANIFEST_MAX);
    let (media_type, bytes) = match tree {
        Tree::Plain(digest, manifest) => (manifest.media_type.clone(), unchanged(digest)?),
        Tree::Image(digest, manifest) => {
            let layers: Vec<_> =
                manifest.layers.iter().map(|layer| renamed(layer, sent.get(&layer.digest))).collect();
            match layers == manifest.layers {
                true => (Document::Manifest(manifest.clone()).media_type().to_owned(), unchanged(digest)?),
                false => {
                    let manifest = fitting(Manifest { layers, ..(**manifest).clone() });
                    let bytes = serde_json::to_vec(&manifest).during("write a manifest")?;
                    (Document::Manifest(Box::new(manifest)).media_type().to_owned(), bytes)
                }
            }
        }
        Tree::Index(digest, index, trees) => {
            let mut now = BTreeMap::new();
            for (digest, tree) in trees {
                now.insert(digest.clone(), write(store, tree, sent, parcels)?);
            }
            let mut index = index.clone();
            let members = renamed_members(&index, &now);
            let same = members == index.manifests;
            if members.iter().any(|member| member.media_type == media_types::OCI_MANIFEST) && !same {
                index.media_type = media_types::OCI_INDEX.to_owned();
            }
            index.manifests = members;
            let bytes = match same {
                true => unchanged(digest)?,
                false => serde_json::to_vec(&index).during("write an index")?,
            };
            (Document::Index(index).media_type().to_owned(), bytes)
        }
    };
    let descriptor = Descriptor::of(&media_type, &bytes);
    parcels.push(Parcel { media_type, digest: descriptor.digest.clone(), bytes });
    Ok(descriptor)
}

/// The manifest in Docker's form if that has names for its layers, or else in OCI's.
fn fitting(mut manifest: Manifest) -> Manifest {
    let foreign = |layer: &Descriptor| layer.media_type == media_types::OCI_LAYER_ZSTD;
    if manifest.media_type == media_types::DOCKER_MANIFEST && manifest.layers.iter().any(foreign) {
        manifest.media_type = media_types::OCI_MANIFEST.to_owned();
        manifest.config.media_type = media_types::OCI_CONFIG.to_owned();
        manifest.layers = manifest.layers.into_iter().map(store::oci_layer).collect();
    }
    manifest
}

/// A layer's line in a manifest: as it was, unless it is sent as something else.
fn renamed(layer: &Descriptor, sent: Option<&Descriptor>) -> Descriptor {
    match sent {
        Some(sent) if sent.digest != layer.digest => sent.clone(),
        _ => layer.clone(),
    }
}

/// An index's lines with what their members became; attestations follow the manifests that they speak of.
fn renamed_members(index: &Index, now: &BTreeMap<Digest, Descriptor>) -> Vec<Descriptor> {
    let mut members = index.manifests.clone();
    for member in &mut members {
        if let Some(sent) = now.get(&member.digest) {
            (member.digest, member.size) = (sent.digest.clone(), sent.size);
            member.media_type.clone_from(&sent.media_type);
        }
        if let Some(subject) = member.annotations.get_mut(oci::image::ATTESTED)
            && let Some(sent) = subject.parse().ok().and_then(|digest: Digest| now.get(&digest))
        {
            *subject = sent.digest.to_string();
        }
    }
    members
}

/// Something that is attached to what is sent.
pub(super) struct Attachment {
    pub subject: Digest,
    /// What it is found under, where it doesn't name its subject itself.
    pub tag: Option<String>,
    /// Its line in a list of referrers.
    pub line: Descriptor,
    pub parcel: Parcel,
    pub blobs: Vec<Item>,
}

impl Cargo {
    /// What is attached here to documents that are sent as they are.
    pub fn attached(&self, engine: &Engine, sent: &[Digest]) -> Result<Vec<Attachment>> {
        let mut all = Vec::new();
        for (subject, thing) in attached::of(engine, sent)? {
            self.store.use_blob(&self.lease, &thing.artifact)?;
            let bytes = self.store.read_blob(&thing.artifact, oci::image::MANIFEST_MAX)?;
            let document = self.store.document(&thing.artifact)?;
            let line = attached::line(&thing.artifact, &bytes, &document);
            let Document::Manifest(manifest) = document else { continue };
            let mut blobs: BTreeMap<Digest, Item> = BTreeMap::new();
            for found in manifest.layers.iter().chain([&manifest.config]) {
                let item = Item::blob(&self.store, &self.lease, found, String::new())?;
                blobs.insert(found.digest.clone(), item);
            }
            let media_type = line.media_type.clone();
            let parcel = Parcel { media_type, digest: thing.artifact, bytes };
            let blobs = blobs.into_values().collect();
            all.push(Attachment { subject, tag: thing.tag, line, parcel, blobs });
        }
        Ok(all)
    }
}

/// Which other repositories of a name's registry have the layers of images that are here: images that came from there or
/// were sent there.
pub(in crate::images) fn holders(engine: &Engine, own: &Reference) -> Result<HashMap<Digest, String>> {
    let tags = engine.db().read(state::tags::all)?;
    let elsewhere = tags.into_iter().filter(|tag| {
        let name = &tag.reference;
        name.digest.is_some() && name.domain == own.domain && name.path != own.path
    });
    let mut holders = HashMap::new();
    for tag in elsewhere.take(HOLDERS) {
        let members = engine.store().members(&tag.target)?.leaves.into_iter().map(|leaf| leaf.digest);
        for digest in members.chain([tag.target]) {
            // What is damaged helps nobody.
            let Ok(Document::Manifest(manifest)) = engine.store().document(&digest) else { continue };
            let blobs = manifest.layers.into_iter().map(|layer| layer.digest);
            for blob in blobs.chain([manifest.config.digest]) {
                holders.entry(blob).or_insert_with(|| tag.reference.path.clone());
            }
        }
    }
    Ok(holders)
}
