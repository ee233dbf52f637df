//! Images: documents, records and names.
//!
//! An image is a manifest whose documents and layers are here. Its id is the digest of its configuration. A tag names a
//! manifest or an index; an index means the member that fits the platform.

use crate::{Error, Layer, Lease, Listed, Store, now};
use oci::image::{CONFIG_MAX, Descriptor, Document, ImageConfig, Index, MANIFEST_MAX, Manifest};
use oci::{ChainId, Digest, Platform, Reference, media_types};
use state::{Tx, archives, images, tags};

/// An image with its documents.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the configuration.
    pub id: Digest,
    /// Id of the image that it was made from here.
    pub parent: Option<Digest>,
    /// When it came here, RFC 3339.
    pub added: String,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

impl Image {
    /// Its layers' chain; none for an image without layers.
    pub fn chain(&self) -> Option<ChainId> {
        ChainId::of(&self.config.rootfs.diff_ids)
    }
}

/// An image to record.
pub struct NewImage<'a> {
    /// Digest of its manifest, which has to be here with all that it names.
    pub manifest: &'a Digest,
    /// Id of the image that it was made from here.
    pub parent: Option<&'a Digest>,
    /// Names for it.
    pub tags: &'a [Reference],
    /// What the names shall mean if that isn't the manifest: an index that has it.
    pub target: Option<&'a Digest>,
    /// Which of the names it gets that mean something else here.
    pub claim: Claim,
    /// It is there only as long as leases pin its manifest, unless somebody keeps it.
    pub lent: bool,
}

impl<'a> NewImage<'a> {
    /// One that is kept, without a name.
    pub fn of(manifest: &'a Digest) -> NewImage<'a> {
        NewImage { manifest, parent: None, tags: &[], target: None, claim: Claim::All, lent: false }
    }
}

/// Which names an image gets that mean something else by the time when it is recorded. Names by digest are always given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// All: somebody has asked for just that.
    All,
    /// Those whose meaning has come from their repository, and not from here.
    Renewed,
    /// None.
    Free,
}

impl Claim {
    /// Whether a name goes to `target`.
    fn takes(self, tx: &Tx<'_>, name: &Reference, target: &Digest) -> Result<bool, state::Error> {
        let taken = tags::get(tx, name)?.map(|tag| tag.target).filter(|taken| taken != target);
        let (Some(taken), None) = (taken, &name.digest) else { return Ok(true) };
        match self {
            Claim::All => Ok(true),
            // The name by digest says that it came from there.
            Claim::Renewed => {
                Ok(tags::get(tx, &name.with_digest(taken.clone()))?.is_some_and(|came| came.target == taken))
            }
            Claim::Free => Ok(false),
        }
    }
}

/// What recording an image did.
#[derive(Clone, Debug)]
pub struct Put {
    /// The image.
    pub image: Image,
    /// Whether it wasn't here before.
    pub new: bool,
    /// Names that meant something else before, with what that was.
    pub moved: Vec<(Reference, Digest)>,
}

impl Store {
    /// Records an image whose content is here, in one transaction: from then on it is complete and found.
    pub fn put_image(&self, new: &NewImage<'_>) -> Result<Put, Error> {
        let mut put = self.put_images(std::slice::from_ref(new))?;
        // One goes in, one comes out.
        Ok(put.remove(0))
    }

    /// As [`Store::put_image`] for several, all or none of which are there afterwards.
    pub fn put_images(&self, new: &[NewImage<'_>]) -> Result<Vec<Put>, Error> {
        let images = new.iter().map(|new| self.whole(new)).collect::<Result<Vec<_>, _>>()?;
        let mut compared = Vec::new();
        for image in &images {
            compared.extend(self.compare_archives(image)?);
        }
        let put = self.db().write(|tx| {
            let mut put = Vec::with_capacity(new.len());
            archives::put(tx, &compared)?;
            for (new, image) in new.iter().zip(&images) {
                let target = new.target.unwrap_or(new.manifest);
                self.require(image, target)?;
                let record = images::Image {
                    digest: image.digest.clone(),
                    id: image.id.clone(),
                    parent: image.parent.clone(),
                    added: image.added.clone(),
                    lent: new.lent,
                };
                let is_new = images::put(tx, &record)?;
                let mut moved = Vec::new();
                for tag in new.tags {
                    if !new.claim.takes(tx, tag, target)? {
                        continue;
                    }
                    if let Some(before) = tags::put(tx, tag, target, &record.added)? {
                        moved.push((tag.clone(), before));
                    }
                }
                put.push((is_new, moved));
            }
            Ok::<_, Error>(put)
        })?;
        self.forget_archives(&compared);
        images.iter().for_each(|image| self.touch(&image.id));
        let mut done = Vec::with_capacity(images.len());
        for (mut image, (is_new, moved)) in images.into_iter().zip(put) {
            if !is_new && let Some(record) = self.db().read(|tx| images::get(tx, &image.digest))? {
                (image.parent, image.added) = (record.parent, record.added);
            }
            done.push(Put { image, new: is_new, moved });
        }
        Ok(done)
    }

    /// The image to be, if it fits together.
    fn whole(&self, new: &NewImage<'_>) -> Result<Image, Error> {
        let record = images::Image {
            digest: new.manifest.clone(),
            id: new.manifest.clone(),
            parent: new.parent.cloned(),
            added: now(),
            lent: new.lent,
        };
        let image = self.load(record)?;
        if let Some(field) = image.config.config.field_with_nul() {
            return Err(Error::Nul { field });
        }
        let (layers, diff_ids) = (image.manifest.layers.len(), image.config.rootfs.diff_ids.len());
        if layers == diff_ids { Ok(image) } else { Err(Error::LayerCount { layers, diff_ids }) }
    }

    /// Makes an image of a configuration of ours and its layers (lowest first; [`Store::descriptor`] gives those of
    /// layers made here, a base image's manifest the others) and records it.
    pub fn make_image(
        &self,
        lease: &Lease,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
        parent: Option<&Digest>,
        tags: &[Reference],
    ) -> Result<Put, Error> {
        let manifest = self.put_documents(lease, config, layers)?;
        self.put_image(&NewImage { parent, tags, ..NewImage::of(&manifest) })
    }

    /// The same without a name, for as long as the lease lasts, or others that pin its manifest.
    pub fn lend_image(
        &self,
        lease: &Lease,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
    ) -> Result<Put, Error> {
        let manifest = self.put_documents(lease, config, layers)?;
        self.put_image(&NewImage { lent: true, ..NewImage::of(&manifest) })
    }

    /// Writes a configuration and its manifest, whose digest comes back.
    fn put_documents(
        &self,
        lease: &Lease,
        config: &ImageConfig,
        layers: Vec<Descriptor>,
    ) -> Result<Digest, Error> {
        let config = to_bytes("configuration", config)?;
        let config_digest = self.put_blob(lease, &config)?;
        let config = Descriptor::new(media_types::OCI_CONFIG, config_digest, config.len() as u64);
        let layers = layers.into_iter().map(oci_layer).collect();
        self.put_blob(lease, &to_bytes("manifest", &Manifest::new(config, layers))?)
    }

    /// The descriptor of a layer as an image made here names it: its uncompressed archive.
    pub fn descriptor(&self, layer: &Layer) -> Descriptor {
        Descriptor::new(
            media_types::OCI_LAYER,
            layer.diff_id.clone(),
            layer.archive_size.unwrap_or(layer.size),
        )
    }

    /// The image that a name means: `name[:tag][@digest]`, an id (whole or the beginning of one, with `sha256:` or
    /// without), for this platform or, without one, whatever is here that this machine runs best.
    pub fn resolve(&self, name: &str, platform: Option<&Platform>) -> Result<Image, Error> {
        self.resolve_root(name, platform).map(|(_, image)| image)
    }

    /// The same, and the digest that the name itself stands for: of an index, or of the image's manifest.
    pub fn resolve_root(&self, name: &str, platform: Option<&Platform>) -> Result<(Digest, Image), Error> {
        let (record, tag) = self.find(name, platform)?;
        let image = self.load(record)?;
        match platform {
            Some(platform) if !platform.matches(&image.config.platform()) => {
                Err(Error::Platform { name: name.to_owned(), platform: Box::new(platform.clone()) })
            }
            _ => Ok((tag.map_or_else(|| image.digest.clone(), |tag| tag.target), image)),
        }
    }

    /// The record that a name means, and what the name itself stands for: the digest of the index or manifest
    /// that a tag points to, none for an id.
    pub fn find(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<(images::Image, Option<state::tags::Tag>), Error> {
        self.db().read(|tx| self.find_in(tx, name, platform))
    }

    /// [`Store::find`] inside a transaction.
    pub fn find_in(
        &self,
        tx: &Tx<'_>,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<(images::Image, Option<state::tags::Tag>), Error> {
        if let Some(id) = Digest::of_id(name) {
            // Clients also name an image by the digest of its manifest, which lists show.
            let record = images::by_id(tx, &id)?.into_iter().next().or(images::get(tx, &id)?);
            return record.map(|record| (record, None)).ok_or_else(|| Error::NoImage(name.to_owned()));
        }
        let reference = Reference::parse(name);
        if let Ok(reference) = &reference
            && let Some(tag) = tags::meant(tx, reference)?
        {
            let record = self.member(tx, &tag.target, platform, name)?;
            return Ok((record, Some(tag)));
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        let hexadecimal = prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !prefix.is_empty() && prefix.len() <= 64 && hexadecimal {
            match &images::ids_with_prefix(tx, prefix)?[..] {
                [] => {}
                [id] => {
                    let record = images::by_id(tx, id)?.into_iter().next();
                    return record
                        .map(|record| (record, None))
                        .ok_or_else(|| Error::NoImage(name.to_owned()));
                }
                _ => return Err(Error::Ambiguous(name.to_owned())),
            }
        }
        Err(Error::NoImage(reference?.familiar()))
    }

    /// The image that a tag's target means.
    fn member(
        &self,
        tx: &Tx<'_>,
        target: &Digest,
        platform: Option<&Platform>,
        name: &str,
    ) -> Result<images::Image, Error> {
        if let Some(record) = images::get(tx, target)? {
            return Ok(record);
        }
        if let Document::Manifest(manifest) = self.document(target)? {
            return Err(match manifest.artifact_kind() {
                Some(kind) => Error::Artifact { name: name.to_owned(), kind: kind.to_owned() },
                None => Error::NoImage(name.to_owned()),
            });
        }
        let mut here = self.images_of(tx, target)?;
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let best = wanted.best(here.iter().map(|(platform, _)| platform.as_ref()));
        // Without a wish, one that can't run here is better than none: people look at them.
        let chosen = best.or((platform.is_none() && !here.is_empty()).then_some(0));
        match chosen {
            Some(chosen) => Ok(here.swap_remove(chosen).1),
            None => Err(Error::Platform { name: name.to_owned(), platform: Box::new(wanted) }),
        }
    }

    /// An index that is here.
    pub fn index(&self, digest: &Digest) -> Result<Index, Error> {
        match self.document(digest)? {
            Document::Index(index) => Ok(index),
            Document::Manifest(_) => Err(Error::Document {
                what: "index",
                digest: digest.clone(),
                source: "it is a manifest".into(),
            }),
        }
    }

    /// A manifest or an index that is here.
    pub fn document(&self, digest: &Digest) -> Result<Document, Error> {
        parsed(digest, &self.read_blob(digest, MANIFEST_MAX)?)
    }

    /// Reads a record's documents. The record's id is taken from the manifest.
    pub fn load(&self, record: images::Image) -> Result<Image, Error> {
        let manifest = match self.document(&record.digest)? {
            Document::Manifest(manifest) => *manifest,
            Document::Index(_) => {
                return Err(Error::Document {
                    what: "manifest",
                    digest: record.digest,
                    source: "it is an index".into(),
                });
            }
        };
        let id = manifest.config.digest.clone();
        let bytes = self.read_blob(&id, CONFIG_MAX)?;
        let config = serde_json::from_slice(&bytes).map_err(|source| Error::Document {
            what: "image configuration",
            digest: id.clone(),
            source: Box::new(source),
        })?;
        Ok(Image { digest: record.digest, id, parent: record.parent, added: record.added, manifest, config })
    }

    /// All images, oldest first; those whose documents can't be read with the reason.
    pub fn images(&self) -> Result<Vec<Listed<images::Image, Image>>, Error> {
        let records = self.db().read(images::all)?;
        Ok(records.into_iter().map(|record| (record.clone(), self.load(record))).collect())
    }

    /// Bytes of an image's files, all layers together.
    pub fn image_size(&self, image: &Image) -> Result<u64, Error> {
        Ok(self.chain(image.chain().as_ref())?.iter().map(|layer| layer.size).sum())
    }

    /// Whether all that an image consists of is here.
    fn require(&self, image: &Image, target: &Digest) -> Result<(), Error> {
        for digest in [target, &image.digest, &image.id] {
            self.blob_size(digest)?.ok_or_else(|| Error::NoBlob(digest.clone()))?;
        }
        for chain in ChainId::all(&image.config.rootfs.diff_ids) {
            if self.layer(&chain)?.is_none() {
                return Err(Error::NoLayer(chain));
            }
        }
        Ok(())
    }
}

/// A manifest or an index of these bytes.
pub(crate) fn parsed(digest: &Digest, bytes: &[u8]) -> Result<Document, Error> {
    Document::parse(bytes).map_err(|source| Error::Document {
        what: "manifest",
        digest: digest.clone(),
        source: Box::new(source),
    })
}

/// The same layer under OCI's media type, as a manifest of OCI's has it.
pub fn oci_layer(mut layer: Descriptor) -> Descriptor {
    let name = match layer.media_type.as_str() {
        media_types::DOCKER_LAYER => media_types::OCI_LAYER,
        media_types::DOCKER_LAYER_GZIP => media_types::OCI_LAYER_GZIP,
        media_types::DOCKER_LAYER_ZSTD => media_types::OCI_LAYER_ZSTD,
        _ => return layer,
    };
    layer.media_type = name.to_owned();
    layer
}

fn to_bytes(what: &'static str, document: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|source| Error::Document {
        what,
        digest: Digest::sha256(b""),
        source: Box::new(source),
    })
}
