//! `docker push`: what a registry does not have yet is sent, layers first, manifests and their index last.
//!
//! Layers that were made here are compressed on the way: then the manifest that is sent is another one than the one that
//! is here, and the digest that the registry knows it by is recorded beside it.

use std::collections::{BTreeMap, BTreeSet};

use api::JsonMessage;
use api::auth::AuthConfig;
use api::common::Progress;
use archive::Compression;
use bytes::Bytes;
use oci::image::{Descriptor, Document, Index, Manifest, is_attestation};
use oci::{ChainId, Digest, Reference};
use registry::{Body, Repository};
use store::{Lease, Store};
use tokio::sync::mpsc::Sender;
use tokio_util::io::ReaderStream;

use super::pull::{credentials_of, registry_error};
use super::report::{Report, bytes};
use crate::error::{Context as _, Error, Result};
use crate::{Engine, events};

/// Layers that are sent at once.
const AT_ONCE: usize = 3;

/// How to push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// The name, without a tag: all tags of it.
    pub name: String,
    /// The tag, or the digest of what is to be sent without a tag.
    pub tag: String,
    /// Give it no tag in the registry.
    pub by_digest: bool,
    /// The registry may speak plain HTTP, or have a certificate that nobody has signed.
    pub insecure: bool,
}

/// Sends an image, or all tags of a repository.
pub async fn push(
    engine: &Engine,
    options: PushOptions,
    credentials: AuthConfig,
    progress: Sender<JsonMessage>,
) -> Result<()> {
    let (references, name) = names(engine, &options).await?;
    let insecure: Vec<String> = options.insecure.then(|| name.domain.clone()).into_iter().collect();
    let client = engine.registries(&insecure);
    let notices = progress.clone();
    client.tell(move |notice| {
        // Who does not keep up misses it.
        let _ = notices.try_send(JsonMessage::status(notice.0));
    });
    let report = Report::new(progress);
    let line = format!("The push refers to repository [{}]", name.name());
    report.send(JsonMessage::status(line)).await?;
    for reference in references {
        let repository = client.writable(&reference, credentials_of(credentials.clone()));
        let push = Push { engine, repository: &repository, report: &report, by_digest: options.by_digest };
        push.one(&reference).await?;
    }
    Ok(())
}

/// What is to be sent, and the repository's name.
async fn names(engine: &Engine, options: &PushOptions) -> Result<(Vec<Reference>, Reference)> {
    let invalid = || Error::invalid("invalid reference format");
    let name = Reference::parse_name(&options.name).map_err(|_| invalid())?;
    if !options.tag.is_empty() || !name.is_name_only() {
        let reference = match options.tag.as_str() {
            "" => name.clone(),
            tag => name.with_tag(tag).map_err(|_| invalid())?,
        };
        return Ok((vec![reference], name));
    }
    let wanted = name.clone();
    let tags = engine.blocking(move |engine| Ok(engine.db().read(state::tags::all)?)).await?;
    let all: Vec<_> = tags
        .into_iter()
        .map(|tag| tag.reference)
        .filter(|tag| tag.name() == wanted.name() && tag.digest.is_none())
        .collect();
    match all.is_empty() {
        true => Err(missing(&name)),
        false => Ok((all, name)),
    }
}

fn missing(reference: &Reference) -> Error {
    Error::not_found(format!("An image does not exist locally with the tag: {}", reference.familiar_name()))
}

struct Push<'a> {
    engine: &'a Engine,
    repository: &'a Repository,
    report: &'a Report,
    by_digest: bool,
}

/// A document to send, after all that it names.
struct Parcel {
    media_type: String,
    digest: Digest,
    bytes: Vec<u8>,
}

/// All that a name stands for, ready to be sent.
struct Cargo {
    /// Keeps what was compressed for this push.
    _lease: Lease,
    /// Configurations and layers, with what a person calls them.
    blobs: BTreeMap<Digest, (u64, String)>,
    /// Members before their index.
    parcels: Vec<Parcel>,
    /// What the name stands for here.
    target: Digest,
}

impl Push<'_> {
    async fn one(&self, reference: &Reference) -> Result<()> {
        let wanted = reference.clone();
        let report = self.report.clone();
        let cargo = self.engine.blocking(move |engine| Cargo::load(engine.store(), &wanted, &report)).await?;
        self.blobs(&cargo).await?;
        let Some((top, members)) = cargo.parcels.split_last() else { return Ok(()) };
        for member in members {
            self.parcel(member, member.digest.as_str()).await?;
        }
        let tag = reference.tag.clone().filter(|_| !self.by_digest);
        let name = tag.clone().unwrap_or_else(|| top.digest.to_string());
        self.parcel(top, &name).await?;
        self.record(reference, &top.digest, &cargo.target).await?;
        let shown = tag.unwrap_or_else(|| reference.familiar_name());
        let size = top.bytes.len();
        self.report
            .send(JsonMessage::status(format!("{shown}: digest: {} size: {size}", top.digest)))
            .await?;
        let aux = serde_json::json!({ "Tag": name, "Digest": top.digest, "Size": size, "MediaType": top.media_type });
        self.report.send(JsonMessage::aux(aux)).await
    }

    async fn parcel(&self, parcel: &Parcel, name: &str) -> Result<()> {
        let bytes = Bytes::from(parcel.bytes.clone());
        self.repository.push_manifest(name, &parcel.media_type, bytes).await.map_err(registry_error)
    }

    async fn blobs(&self, cargo: &Cargo) -> Result<()> {
        use futures_util::future::BoxFuture;
        use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
        for (_, name) in cargo.blobs.values().filter(|(_, name)| !name.is_empty()) {
            self.report.send(JsonMessage::part(name, "Preparing", Progress::default())).await?;
        }
        let mut sends: Vec<BoxFuture<'_, Result<()>>> = Vec::with_capacity(cargo.blobs.len());
        for (digest, (length, name)) in &cargo.blobs {
            sends.push(self.blob(digest, *length, name).boxed());
        }
        futures_util::stream::iter(sends).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    async fn blob(&self, digest: &Digest, length: u64, name: &str) -> Result<()> {
        let tell = |status: &'static str| async move {
            match name {
                "" => Ok(()),
                name => self.report.send(JsonMessage::part(name, status, Progress::default())).await,
            }
        };
        if self.repository.has_blob(digest).await.map_err(registry_error)? {
            return tell("Layer already exists").await;
        }
        let wanted = digest.clone();
        let file = self.engine.blocking(move |engine| Ok(engine.store().open_blob(&wanted)?)).await?;
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10);
        let (report, id) = (self.report.clone(), name.to_owned());
        let mut sent = 0;
        let counted = futures_util::StreamExt::map(stream, move |chunk: std::io::Result<Bytes>| {
            sent += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if !id.is_empty() {
                report.hint(JsonMessage::part(&id, "Pushing", bytes(sent, length)));
            }
            chunk
        });
        let body = Body::wrap_stream(counted);
        self.repository.push_blob(digest, length, body).await.map_err(registry_error)?;
        tell("Pushed").await
    }

    /// Notes the digest that the registry has for what the name stands for here.
    async fn record(&self, reference: &Reference, digest: &Digest, target: &Digest) -> Result<()> {
        let (name, target) = (reference.with_digest(digest.clone()), target.clone());
        let shown = reference.familiar();
        self.engine
            .blocking(move |engine| {
                let now = jiff::Timestamp::now().to_string();
                engine.db().write(|tx| state::tags::put(tx, &name, &target, &now).map(drop))?;
                let attributes = BTreeMap::from([("name".to_owned(), shown.clone())]);
                events::emit(engine, "image", "push", &shown, &attributes);
                Ok(())
            })
            .await
    }
}

impl Cargo {
    fn load(store: &Store, reference: &Reference, report: &Report) -> Result<Cargo> {
        let lease = store.lease("push")?;
        report.stops(&lease);
        let found = store.find(&reference.familiar(), None);
        let (record, tag) = match found {
            Err(store::Error::NoImage(_)) => return Err(missing(reference)),
            other => other?,
        };
        let target = tag.map_or_else(|| record.digest.clone(), |tag| tag.target);
        let mut cargo =
            Cargo { _lease: lease, blobs: BTreeMap::new(), parcels: Vec::new(), target: target.clone() };
        match store.document(&target)? {
            Document::Index(index) if is_whole(store, &index)? => cargo.index(store, &target, index)?,
            // Not all platforms are here: what is here is what can be sent.
            Document::Index(_) => cargo.image(store, &record.digest).map(drop)?,
            Document::Manifest(_) => cargo.image(store, &target).map(drop)?,
        }
        Ok(cargo)
    }

    /// Adds an index with its members; attestations follow the manifests that they speak of.
    fn index(&mut self, store: &Store, digest: &Digest, index: Index) -> Result<()> {
        let mut changed: BTreeMap<String, String> = BTreeMap::new();
        let mut members = index.manifests.clone();
        let mut seen = BTreeSet::new();
        for member in &mut members {
            if !seen.insert(member.digest.clone()) {
                continue;
            }
            let sent = match is_attestation(member) {
                true => self.plain(store, &member.digest)?,
                false => self.image(store, &member.digest)?,
            };
            changed.insert(member.digest.to_string(), sent.digest.to_string());
            (member.digest, member.size) = (sent.digest, sent.size);
        }
        for member in &mut members {
            if let Some(subject) = member.annotations.get_mut("vnd.docker.reference.digest")
                && let Some(now) = changed.get(subject)
            {
                subject.clone_from(now);
            }
        }
        let bytes = match members == index.manifests {
            true => store.read_blob(digest, oci::image::MANIFEST_MAX)?,
            false => {
                serde_json::to_vec(&Index { manifests: members, ..index.clone() }).during("write an index")?
            }
        };
        self.parcels.push(Parcel {
            media_type: Document::Index(index).media_type().to_owned(),
            digest: Digest::sha256(&bytes),
            bytes,
        });
        Ok(())
    }

    /// Adds a manifest that is no image, byte for byte.
    fn plain(&mut self, store: &Store, digest: &Digest) -> Result<Descriptor> {
        let bytes = store.read_blob(digest, oci::image::MANIFEST_MAX)?;
        let Document::Manifest(manifest) = store.document(digest)? else {
            return Err(Error::system(format!("{digest} is no manifest")));
        };
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            self.keep(store, &blob.digest, String::new())?;
        }
        Ok(self.manifest(manifest.media_type.clone(), bytes))
    }

    /// Adds an image; layers that have no archive get a compressed one.
    fn image(&mut self, store: &Store, digest: &Digest) -> Result<Descriptor> {
        let image = store.resolve(&digest.to_string(), None)?;
        let mut layers = Vec::with_capacity(image.manifest.layers.len());
        let chains = ChainId::all(&image.config.rootfs.diff_ids);
        for (descriptor, chain) in image.manifest.layers.iter().zip(&chains) {
            let sent = match store.use_blob(&self._lease, &descriptor.digest)? {
                Some(_) => descriptor.clone(),
                None => {
                    let layer = store
                        .use_layer(&self._lease, chain)?
                        .ok_or_else(|| store::Error::NoLayer(chain.clone()))?;
                    store.pack_layer(&self._lease, &layer, descriptor, Compression::Gzip, None)?
                }
            };
            let name = image.config.rootfs.diff_ids[layers.len()].short().to_owned();
            self.keep(store, &sent.digest, name)?;
            layers.push(sent);
        }
        self.keep(store, &image.manifest.config.digest, String::new())?;
        let media_type = Document::Manifest(Box::new(image.manifest.clone())).media_type().to_owned();
        let bytes = match layers == image.manifest.layers {
            true => store.read_blob(digest, oci::image::MANIFEST_MAX)?,
            false => serde_json::to_vec(&Manifest { layers, ..image.manifest }).during("write a manifest")?,
        };
        Ok(self.manifest(media_type, bytes))
    }

    fn keep(&mut self, store: &Store, digest: &Digest, name: String) -> Result<()> {
        let length =
            store.use_blob(&self._lease, digest)?.ok_or_else(|| store::Error::NoBlob(digest.clone()))?;
        self.blobs.entry(digest.clone()).or_insert((length, name));
        Ok(())
    }

    fn manifest(&mut self, media_type: String, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(&media_type, &bytes);
        self.parcels.push(Parcel { media_type, digest: descriptor.digest.clone(), bytes });
        descriptor
    }
}

/// Whether all that an index names is here.
fn is_whole(store: &Store, index: &Index) -> Result<bool> {
    for member in &index.manifests {
        let Ok(Document::Manifest(manifest)) = store.document(&member.digest) else { return Ok(false) };
        if store.blob_size(&manifest.config.digest)?.is_none() {
            return Ok(false);
        }
        if !is_attestation(member) && store.resolve(&member.digest.to_string(), None).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}
