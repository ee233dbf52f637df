//! `docker pull`: resolve → choose the platform → fetch, hash and unpack all layers side by side → one transaction.

mod base;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::JsonMessage;
use api::images::PullOptions;
use bytes::Bytes;
use oci::image::{CONFIG_MAX, Descriptor, Document, ImageConfig, Index, Manifest};
use oci::{ChainId, Digest, Platform, Reference, media_types};
use registry::{Client, Credentials, Repository};
use store::{Batch, Claim, Image, Lease, NewImage};
use tokio::sync::mpsc::Sender;

pub(super) use self::base::find;
pub use self::base::{Resolved, Unfetched};
use super::report::Report;
use super::signatures::{self, Demand};
use super::who::Who;
use super::{attached, download, platform};
use crate::error::{Context as _, Error, Result};
use crate::{Engine, events};

/// A container has one more below them.
const LAYERS_MAX: usize = sys::mount::LAYERS_MAX - 1;

/// Fetches an image, or with neither tag nor digest all tags of a repository; the (last) image. What is no image is kept for
/// whoever saves or pushes it, see [`Pulled`].
pub async fn pull(
    engine: &Engine,
    options: PullOptions,
    who: impl Into<Who>,
    progress: Sender<JsonMessage>,
) -> Result<Pulled> {
    Box::pin(start(engine, options, who.into(), progress)).await
}

/// Which images have to be for the platform that is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// All.
    Exact,
    /// Those that were chosen among several.
    IfChosen,
}

async fn start(
    engine: &Engine,
    options: PullOptions,
    who: Who,
    progress: Sender<JsonMessage>,
) -> Result<Pulled> {
    let reference = reference(&options)?;
    let platform = match options.platform.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e: oci::PlatformError| Error::invalid(e.to_string()))?),
    };
    let pull = Pull {
        engine: engine.clone(),
        client: client(engine, &progress),
        credentials: credentials_of(who),
        platform,
        fit: Fit::Exact,
        attached: options.attached,
        report: Report::new(progress),
    };
    if !reference.is_name_only() {
        return pull.one(&reference).await;
    }
    let tags = pull.repository(&reference).tags().await.map_err(|e| failed(e, &reference))?;
    let mut last = None;
    for tag in tags {
        let reference = reference.with_tag(&tag).map_err(|e| Error::system(e.to_string()))?;
        last = Some(pull.one(&reference).await?);
    }
    last.ok_or_else(|| Error::not_found(format!("no tags in repository {}", reference.familiar_name())))
}

/// The registries, which tell there what they wait for.
fn client(engine: &Engine, progress: &Sender<JsonMessage>) -> Client {
    let (client, notices) = (engine.registries(&[]), progress.clone());
    client.tell(move |notice| {
        // Who does not keep up misses it.
        let _ = notices.try_send(JsonMessage::status(notice.0));
    });
    client
}

/// The reference that a request's two fields mean.
fn reference(options: &PullOptions) -> Result<Reference> {
    let invalid = |e: oci::ReferenceError| Error::invalid(e.to_string());
    let reference = Reference::parse_name(&options.from_image).map_err(invalid)?;
    match options.tag.as_str() {
        "" => Ok(reference),
        tag => match tag.parse::<Digest>() {
            Ok(digest) => Ok(reference.with_digest(digest)),
            Err(_) => reference.with_tag(tag).map_err(invalid),
        },
    }
}

pub(crate) fn credentials_of(who: impl Into<Who>) -> Option<Credentials> {
    who.into().credentials()
}

/// The type of what is no image. What says that it is one is refused for layers that mean nothing here; but for cosign's
/// signatures, which say so, too.
fn artifact_kind<'m>(manifest: &'m Manifest, reference: &Reference) -> Option<&'m str> {
    let says_so = media_types::is_config(&manifest.config.media_type) && manifest.artifact_type.is_none();
    let is_signature = reference.tag.as_deref().and_then(registry::cosign_subject).is_some();
    manifest.artifact_kind().filter(|_| !says_so || is_signature)
}

/// What is called how after a pull: by its digest, which says where it came from, and by the tag that was asked for; but not by
/// one that a digest stands beside: it need not be what the tag means.
fn names(reference: &Reference, target: &Digest) -> Result<Vec<Reference>> {
    let mut names = vec![reference.with_digest(target.clone())];
    if let (Some(tag), None) = (&reference.tag, &reference.digest) {
        names.push(reference.with_tag(tag).map_err(|e| Error::invalid(e.to_string()))?);
    }
    Ok(names)
}

/// A registry's error about a whole image as the engine's.
fn failed(error: registry::Error, reference: &Reference) -> Error {
    match error {
        // Docker's words, which clients match on.
        registry::Error::RepositoryUnknown { .. } => Error::not_found(format!(
            "pull access denied for {}, repository does not exist or may require 'docker login'",
            reference.familiar_name()
        )),
        error => registry_error(error),
    }
}

/// A registry's error as the engine's. Docker says "not found" also where access is denied: it can't tell.
pub(super) fn registry_error(error: registry::Error) -> Error {
    crate::registries::failed(&error)
}

/// Why a layer can't be pulled.
fn unsupported(layer: &Descriptor) -> Error {
    let kind = &layer.media_type;
    match kind.contains(".foreign.") || kind.contains(".nondistributable.") {
        true => Error::invalid(format!(
            "layer {} is a foreign one ({kind}), which is not supported: addresses in manifests are not followed",
            layer.digest
        ))
        .with_hint("it is part of an image for Windows, or of one whose owner hands its layers out himself"),
        false => Error::invalid(format!("layers of type {kind:?} are not supported")),
    }
}

/// What a name stands for here and its image for the platform, if nothing of that is missing.
fn known(
    engine: &Engine,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<Option<(Digest, Image)>> {
    let store = engine.store();
    let known = engine.db().read(|tx| -> Result<_> {
        let Some(tag) = state::tags::meant(tx, reference)? else { return Ok(None) };
        // The name by digest says that this came from there, and wasn't made here.
        let came = state::tags::get(tx, &reference.with_digest(tag.target.clone()))?;
        Ok(came.filter(|came| came.target == tag.target).map(|tag| tag.target))
    })?;
    let Some(target) = known else { return Ok(None) };
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    // Damage is what pulling mends.
    let Ok(image) = store.resolve(&reference.to_string(), Some(&wanted)) else { return Ok(None) };
    let chains = ChainId::all(&image.config.rootfs.diff_ids);
    for (layer, chain) in image.manifest.layers.iter().zip(&chains) {
        let Some(here) = store.layer(chain)? else { return Ok(None) };
        let packs = here.archive_size.is_some() && here.diff_id == layer.digest;
        if !packs && store.blob_size(&layer.digest)? != Some(layer.size) {
            return Ok(None);
        }
    }
    Ok(Some((target, image)))
}

struct Pull {
    engine: Engine,
    client: Client,
    credentials: Option<Credentials>,
    platform: Option<Platform>,
    fit: Fit,
    /// With what is attached.
    attached: bool,
    report: Report,
}

/// What came of a pull.
#[derive(Debug, Clone)]
pub enum Pulled {
    Image(Box<Image>),
    /// Something that is no image: its name, and its type.
    Artifact(String, String),
}

impl Pulled {
    /// The image.
    pub fn image(self) -> Result<Image> {
        match self {
            Pulled::Image(image) => Ok(*image),
            Pulled::Artifact(name, kind) => Err(store::Error::Artifact { name, kind }.into()),
        }
    }
}

/// A manifest that was chosen, with where it came from.
struct Chosen {
    digest: Digest,
    manifest: Manifest,
}

impl Pull {
    fn repository(&self, reference: &Reference) -> Repository {
        self.client.repository(reference, self.credentials.clone())
    }

    async fn one(&self, reference: &Reference) -> Result<Pulled> {
        let repository = self.repository(reference);
        let demand = self.demand(reference).await?;
        if let Some((target, image)) = self.unchanged(&repository, reference).await? {
            let signed = self.verify(&repository, demand.as_ref(), &target, &image.digest).await?;
            self.keep_signatures(&image.digest, signed).await?;
            self.begin(reference, &target).await?;
            if self.attached {
                let lease = Arc::new(self.engine.blocking(|engine| Ok(engine.store().lease("pull")?)).await?);
                self.fetch_attached(&lease, &repository, [&target, &image.digest]).await?;
            }
            self.end(reference, &target, false).await?;
            return Ok(Pulled::Image(Box::new(image)));
        }
        let (target, batch, chosen) = self.resolve(&repository, reference).await?;
        self.report.stops(batch.lease());
        let signed = self.verify(&repository, demand.as_ref(), &target, &chosen.digest).await?;
        self.keep_signatures(&chosen.digest, signed).await?;
        if let Some(kind) = artifact_kind(&chosen.manifest, reference) {
            let kind = kind.to_owned();
            self.artifact(&batch, &repository, reference, &target, &chosen).await?;
            return Ok(Pulled::Artifact(reference.familiar(), kind));
        }
        let config = self.config(&batch, &repository, &chosen.manifest, reference).await?;
        if self.fit == Fit::Exact || chosen.digest != target {
            self.check_platform(&config, reference)?;
        }
        self.layers(&batch, &repository, &chosen.manifest, &config).await?;
        let (image, new) = self.record(&batch, reference, &target, (&chosen.digest, Claim::All)).await?;
        if self.attached {
            self.fetch_attached(batch.lease(), &repository, [&target, &chosen.digest]).await?;
        }

        self.end(reference, &target, new).await?;
        Ok(Pulled::Image(Box::new(image)))
    }

    /// What comes of an image waits in it.
    async fn batch(&self, reference: &Reference) -> Result<Arc<Batch>> {
        let purpose = format!("pull {}", reference.familiar());
        let begin = move |engine: &Engine| {
            let store = engine.store();
            Ok(Arc::new(store.batch(&Arc::new(store.lease(&purpose)?))?))
        };
        self.engine.blocking(begin).await
    }

    /// What a name stands for in its registry, and the manifest that it means; their documents wait in the batch.
    async fn resolve(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(Digest, Arc<Batch>, Chosen)> {
        let (target, bytes) = repository.resolve().await.map_err(|e| failed(e, reference))?;
        self.begin(reference, &target.digest).await?;
        let batch = self.batch(reference).await?;
        let chosen = self.choose(&batch, repository, &target, bytes, reference).await?;
        Ok((target.digest, batch, chosen))
    }

    /// Fetches what is attached to what the name stands for and to its image.
    async fn fetch_attached(
        &self,
        lease: &Arc<Lease>,
        repository: &Repository,
        [target, image]: [&Digest; 2],
    ) -> Result<()> {
        let mut met = attached::Met::default();
        for subject in BTreeSet::from([target, image]) {
            attached::fetch(&self.engine, lease, repository, subject, &mut met, attached::DEPTH).await?;
        }
        self.report.send(JsonMessage::status(format!("Attached: {}", met.count()))).await
    }

    /// Keeps what is no image, with its blobs as they are.
    async fn artifact(
        &self,
        batch: &Arc<Batch>,
        repository: &Repository,
        reference: &Reference,
        target: &Digest,
        chosen: &Chosen,
    ) -> Result<()> {
        let blobs = chosen.manifest.layers.iter().chain([&chosen.manifest.config]);
        let mut seen = BTreeSet::new();
        for blob in blobs.filter(|blob| seen.insert(&blob.digest)) {
            let id = blob.digest.short();
            self.report.send(JsonMessage::part(id, "Downloading", Default::default())).await?;
            attached::keep(&self.engine, batch.lease(), repository, blob).await?;
            self.report.send(JsonMessage::part(id, "Download complete", Default::default())).await?;
        }
        let (named, means, own) = (reference.clone(), target.clone(), batch.clone());
        let new = self
            .engine
            .blocking(move |engine| {
                own.publish()?;
                let now = jiff::Timestamp::now().to_string();
                let before = engine.db().write(|tx| {
                    let before = state::tags::get(tx, &named)?.map(|tag| tag.target);
                    for name in names(&named, &means)? {
                        state::tags::put(tx, &name, &means, &now)?;
                    }
                    Ok::<_, Error>(before)
                })?;
                let (id, name) = (named.familiar(), named.familiar_name());
                events::emit(engine, "image", "pull", &id, &BTreeMap::from([("name".to_owned(), name)]));
                Ok(before != Some(means))
            })
            .await?;
        if self.attached {
            self.fetch_attached(batch.lease(), repository, [target, &chosen.digest]).await?;
        }
        self.end(reference, target, new).await
    }

    /// What the policy asks of the image.
    async fn demand(&self, reference: &Reference) -> Result<Option<Demand>> {
        let reference = reference.clone();
        self.engine.blocking(move |engine| Demand::of(engine, &reference)).await
    }

    /// Asks for the signatures of what a name stands for or of its image, if there must be any: a document of them.
    async fn verify(
        &self,
        repository: &Repository,
        demand: Option<&Demand>,
        target: &Digest,
        image: &Digest,
    ) -> Result<Option<String>> {
        let Some(demand) = demand else { return Ok(None) };
        let mut statements = signatures::statements(repository, target).await?;
        if image != target {
            statements.extend(signatures::statements(repository, image).await?);
        }
        demand.check(&[target, image], &statements)?;
        serde_json::to_string(&statements).during("write what is signed").map(Some)
    }

    /// Keeps the signatures of an image, if it has to have any.
    async fn keep_signatures(&self, image: &Digest, signed: Option<String>) -> Result<()> {
        let Some(document) = signed else { return Ok(()) };
        let image = image.clone();
        let keep = move |engine: &Engine| {
            engine.db().write(|tx| Ok::<_, Error>(state::signatures::put(tx, &image, &document)?))
        };
        self.engine.blocking(keep).await
    }

    async fn begin(&self, reference: &Reference, target: &Digest) -> Result<()> {
        let mut message = JsonMessage::status(format!("Pulling from {}", reference.path));
        message.id = reference.tag.clone().unwrap_or_else(|| target.to_string());
        self.report.send(message).await
    }

    async fn end(&self, reference: &Reference, target: &Digest, new: bool) -> Result<()> {
        self.report.send(JsonMessage::status(format!("Digest: {target}"))).await?;
        let outcome = if new { "Downloaded newer image for" } else { "Image is up to date for" };
        self.report.send(JsonMessage::status(format!("Status: {outcome} {}", reference.familiar()))).await
    }

    /// What the name stands for and its image, if the registry says that it is still the same and all of it is here.
    async fn unchanged(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<(Digest, Image)>> {
        let (wanted, platform) = (reference.clone(), self.platform.clone());
        let known = self.engine.blocking(move |engine| known(engine, &wanted, platform.as_ref())).await?;
        let Some((target, image)) = known else { return Ok(None) };
        match repository.digest().await {
            Ok(Some(digest)) if digest == target => {}
            // Whatever it is, asking for the document itself tells it.
            _ => return Ok(None),
        }
        let (id, name, used) = (reference.familiar(), reference.familiar_name(), image.id.clone());
        self.engine
            .blocking(move |engine| {
                engine.store().touch(&used);
                events::emit(engine, "image", "pull", &id, &BTreeMap::from([("name".to_owned(), name)]));
                Ok(())
            })
            .await?;
        Ok(Some((target, image)))
    }

    /// Keeps the documents from the target down to the manifest for the platform.
    async fn choose(
        &self,
        batch: &Arc<Batch>,
        repository: &Repository,
        target: &Descriptor,
        bytes: Bytes,
        reference: &Reference,
    ) -> Result<Chosen> {
        let parse = |bytes: &[u8]| {
            Document::parse(bytes).during(format_args!("read the manifest of {}", reference.familiar()))
        };
        let document = parse(&bytes)?;
        self.keep(batch, &target.digest, bytes).await?;
        let index = match document {
            Document::Manifest(manifest) => {
                return Ok(Chosen { digest: target.digest.clone(), manifest: *manifest });
            }
            Document::Index(index) => index,
        };
        let wanted = self.platform.clone().unwrap_or_else(Platform::host);
        let way = platform::way(repository, &index, &wanted).await.map_err(|e| failed(e, reference))?;
        let mut chosen = None;
        for (digest, bytes) in way.ok_or_else(|| self.no_member(&index, &wanted, &target.digest))? {
            if let Document::Manifest(manifest) = parse(&bytes)? {
                chosen = Some(Chosen { digest: digest.clone(), manifest: *manifest });
            }
            self.keep(batch, &digest, bytes).await?;
        }
        chosen.ok_or_else(|| Error::system(platform::too_deep(reference)))
    }

    /// An index has nothing for the platform: in the words of pulls, or of builds.
    fn no_member(&self, index: &Index, wanted: &Platform, digest: &Digest) -> Error {
        let has = index.manifests.iter().filter(|member| !oci::image::is_attestation(member));
        let has: Vec<Platform> = has.filter_map(|member| member.platform.clone()).collect();
        let error = match self.fit {
            Fit::Exact => format!("no matching manifest for {wanted} in the manifest list entries"),
            Fit::IfChosen => format!("no match for platform in manifest {digest}: not found"),
        };
        Error::not_found(error).with_hint(format!("{wanted} is wanted; there are: {}", platform::list(&has)))
    }

    /// The image's configuration, kept as a blob.
    async fn config(
        &self,
        batch: &Arc<Batch>,
        repository: &Repository,
        manifest: &Manifest,
        reference: &Reference,
    ) -> Result<ImageConfig> {
        let descriptor = &manifest.config;
        if manifest.layers.len() > LAYERS_MAX {
            return Err(Error::invalid(format!(
                "{} has {} layers, and a root file system can have {LAYERS_MAX}",
                reference.familiar(),
                manifest.layers.len()
            )));
        }
        if descriptor.size > CONFIG_MAX {
            return Err(Error::system(format!(
                "the configuration of {} is larger than {CONFIG_MAX} bytes",
                reference.familiar()
            )));
        }
        let (own, digest) = (batch.clone(), descriptor.digest.clone());
        let known = self
            .engine
            .blocking(move |_| match own.use_blob(&digest)? {
                Some(_) => Ok(own.read_blob(&digest, CONFIG_MAX).ok()),
                None => Ok(None),
            })
            .await?;
        let bytes = match known {
            Some(bytes) => Bytes::from(bytes),
            None => {
                let bytes = repository.blob(descriptor).whole().await.map_err(|e| failed(e, reference))?;
                let bytes = Bytes::from(bytes);
                self.keep(batch, &descriptor.digest, bytes.clone()).await?;
                bytes
            }
        };
        let config: ImageConfig = serde_json::from_slice(&bytes)
            .during(format_args!("read the configuration of {}", reference.familiar()))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(store::Error::LayerCount { layers, diff_ids }.into());
        }
        Ok(config)
    }

    fn check_platform(&self, config: &ImageConfig, reference: &Reference) -> Result<()> {
        let own = config.platform();
        match &self.platform {
            Some(wanted) if !wanted.matches(&own) => Err(Error::not_found(format!(
                "image with reference {} was found but its platform ({own}) does not match the specified platform ({wanted})",
                reference.familiar()
            ))),
            _ => Ok(()),
        }
    }

    /// Fetches and unpacks what isn't here.
    async fn layers(
        &self,
        batch: &Arc<Batch>,
        repository: &Repository,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<()> {
        if let Some(layer) = manifest.layers.iter().find(|layer| !media_types::is_layer(&layer.media_type)) {
            return Err(unsupported(layer));
        }
        let fetch = download::Layers { engine: &self.engine, batch, repository, report: &self.report };
        fetch.run(&manifest.layers, &config.rootfs.diff_ids).await
    }

    async fn keep(&self, batch: &Arc<Batch>, digest: &Digest, bytes: Bytes) -> Result<()> {
        let (batch, digest) = (batch.clone(), digest.clone());
        self.engine
            .blocking(move |engine| {
                use std::io::Write as _;
                if batch.use_blob(&digest)?.is_none() {
                    let mut writer = engine.store().ingest(batch.lease())?;
                    writer.write_all(&bytes).during("keep a document")?;
                    batch.add_blob(writer, Some(&digest))?;
                }
                Ok(())
            })
            .await
    }

    /// Makes the image visible; whether anything is new about it.
    async fn record(
        &self,
        batch: &Arc<Batch>,
        reference: &Reference,
        target: &Digest,
        (manifest, claim): (&Digest, Claim),
    ) -> Result<(Image, bool)> {
        let (batch, reference) = (batch.clone(), reference.clone());
        let (target, manifest) = (target.clone(), manifest.clone());
        self.engine
            .blocking(move |engine| {
                let store = engine.store();
                let names = names(&reference, &target)?;
                let known = engine.db().read(|tx| -> Result<bool> {
                    for name in &names {
                        if state::tags::get(tx, name)?.is_none_or(|tag| tag.target != target) {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                })?;
                let (tags, target) = (&names[..], Some(&target));
                let new = NewImage { tags, target, claim, ..NewImage::of(&manifest) };
                batch.publish()?;
                let put = store.put_image(&new)?;
                drop(batch);
                let id = reference.familiar();
                events::emit(
                    engine,
                    "image",
                    "pull",
                    &id,
                    &BTreeMap::from([("name".to_owned(), reference.familiar_name())]),
                );
                Ok((put.image, put.new || !known))
            })
            .await
    }
}
