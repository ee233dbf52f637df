//! `docker push`: what a registry does not have yet is sent, layers first, manifests and their index last.
//!
//! Layers that were made here are compressed on the way, on all processors and without a copy on the disk: then the manifest
//! that is sent is another one than the one that is here, and the digest that the registry knows it by is recorded beside it.
//! What a layer became is remembered: the next push of the same image asks one question, whether the registry has it still.

mod cargo;
mod left;
mod outgoing;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::JsonMessage;
use api::common::Progress;
use archive::Compression;
use bytes::Bytes;
use oci::image::{Descriptor, Document};
use oci::{Digest, Platform, Reference};
use registry::{Begun, Outgoing as _, Repository};
use store::{Members, Store};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::Sender;

pub(super) use self::cargo::holders;
use self::cargo::{Cargo, Content, Item, Parcel, Sought};
pub(crate) use self::left::has_layers;
use self::left::{Left, lost};
use self::outgoing::{File, Packing};
use super::pull::{credentials_of, registry_error};
use super::report::Report;
use super::who::Who;
use super::{attached, platform};
use crate::error::{Error, Result};
use crate::{Engine, events};

/// Blobs that are sent at once.
const AT_ONCE: usize = 4;
/// A blob that is shorter is sent with two requests in place of three.
const SHORT: u64 = 1 << 20;

/// How to push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// The name, without a tag: all tags of it.
    pub name: String,
    /// The tag, or the digest of what is to be sent without a tag.
    pub tag: String,
    /// What is to be sent, if that is not what the name means here.
    pub result: Option<Digest>,
    /// And it stays here: it is noted what the registry knows it by.
    pub stays: bool,
    /// Layers of that which are not here, and names of what has them: the registry has said that it has them too.
    pub left: BTreeMap<Digest, Option<Reference>>,
    /// Give it no tag in the registry.
    pub by_digest: bool,
    /// The registry may speak plain HTTP, or have a certificate that nobody has signed.
    pub insecure: bool,
    /// The image of this platform alone: a document of OCI's or `os/architecture`. All that is here without.
    pub platform: String,
    /// `gzip` or `zstd`: layers that are compressed otherwise or not at all get this. Without it, what is made here gets gzip.
    pub compression: String,
    /// How hard to try, on the format's own scale.
    pub level: Option<u32>,
    /// Layers go as they are: those too that are not compressed, or were made here.
    pub as_is: bool,
}

/// What is done with layers and platforms.
#[derive(Clone)]
struct How {
    platform: Option<Platform>,
    /// If it was asked for.
    compression: Option<Compression>,
    level: Option<u32>,
    as_is: bool,
}

impl How {
    fn new(options: &PushOptions) -> Result<How> {
        let (compression, most) = match options.compression.as_str() {
            "" => (None, 9),
            "gzip" => (Some(Compression::Gzip), 9),
            "zstd" => (Some(Compression::Zstd), 22),
            other => {
                return Err(Error::invalid(format!(
                    "unknown compression {other:?}: gzip and zstd are known"
                )));
            }
        };
        if let Some(level) = options.level.filter(|level| *level > most) {
            return Err(Error::invalid(format!(
                "compression level {level} is too high: {most} is the highest"
            )));
        }
        let platform = platform::one(&options.platform)?;
        Ok(How { platform, compression, level: options.level, as_is: options.as_is })
    }

    /// What layers become that are no archives yet.
    fn compression(&self) -> Compression {
        let made_here = if self.as_is { Compression::None } else { Compression::Gzip };
        self.compression.unwrap_or(made_here)
    }

    /// Names the method in what is remembered.
    fn method(&self) -> String {
        let level = self.level.map_or("default".to_owned(), |level| level.to_string());
        format!("{:?} {level}", self.compression()).to_lowercase()
    }
}

/// Sends an image, or all tags of a repository; what the registry knows the last of it by.
pub async fn push(
    engine: &Engine,
    options: PushOptions,
    who: impl Into<Who>,
    progress: Sender<JsonMessage>,
) -> Result<Option<Descriptor>> {
    let (how, who) = (How::new(&options)?, credentials_of(who));
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
    let mut sent = None;
    for reference in references {
        let repository = client.writable(&reference, who.clone());
        let push = Push {
            engine,
            repository: &repository,
            report: &report,
            how: how.clone(),
            by_digest: options.by_digest,
            result: options.result.clone(),
            is_noted: options.stays || options.result.is_none(),
            left: &options.left,
            holders: OnceCell::new(),
        };
        sent = push.one(&reference).await?;
    }
    Ok(sent)
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
    how: How,
    by_digest: bool,
    /// What is sent under a name, whatever that means here.
    result: Option<Digest>,
    /// It is noted what the registry knows it by.
    is_noted: bool,
    /// Layers of that which are not here.
    left: &'a Left,
    /// Repositories of the same registry that have layers of images that are here, by what the layers are named here.
    holders: OnceCell<HashMap<Digest, String>>,
}

impl Push<'_> {
    async fn one(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        let (wanted, report, how) = (reference.clone(), self.report.clone(), self.how.clone());
        let sought = Sought { reference: wanted, result: self.result.clone(), left: self.left.clone() };
        let load = move |engine: &Engine| Cargo::load(engine, sought, &report, how);
        let cargo = self.engine.blocking(load).await?;
        let cargo = Arc::new(cargo);
        let tag = reference.tag.clone().filter(|_| !self.by_digest);
        for item in cargo.items.values() {
            self.tell(&item.name, "Preparing").await?;
        }
        let mut parcels = self.parcels(&cargo, cargo.known()).await?;
        match self.is_there(tag.as_deref(), parcels.last()).await? {
            true => {
                for item in cargo.items.values() {
                    self.tell(&item.name, "Layer already exists").await?;
                }
            }
            false => {
                let sent = self.items(&cargo, reference).await?;
                parcels = self.parcels(&cargo, Some(sent)).await?;
                self.documents(&parcels, tag.as_deref()).await?;
            }
        }
        self.attached(&cargo, &parcels).await?;
        let Some(top) = parcels.pop() else { return Ok(None) };
        if self.is_noted {
            self.record(reference, &top.digest, &cargo.target).await?;
        }
        let shown = tag.clone().unwrap_or_else(|| reference.familiar_name());
        let size = top.bytes.len();
        let line = format!("{shown}: digest: {} size: {size}", top.digest);
        self.report.send(JsonMessage::status(line)).await?;
        let name = tag.unwrap_or_else(|| top.digest.to_string());
        let aux = serde_json::json!({ "Tag": name, "Digest": top.digest, "Size": size, "MediaType": top.media_type });
        self.report.send(JsonMessage::aux(aux)).await?;
        Ok(Some(Descriptor::new(&top.media_type, top.digest, size as u64)))
    }

    /// The documents, if it is known what all layers are sent as; else none.
    async fn parcels(
        &self,
        cargo: &Arc<Cargo>,
        sent: Option<BTreeMap<Digest, Descriptor>>,
    ) -> Result<Vec<Parcel>> {
        let (Some(sent), cargo) = (sent, cargo.clone()) else { return Ok(Vec::new()) };
        self.engine.blocking(move |engine| cargo.parcels(engine.store(), &sent)).await
    }

    /// Whether the registry has just this under the name. It has all that it names then.
    async fn is_there(&self, tag: Option<&str>, top: Option<&Parcel>) -> Result<bool> {
        let Some(top) = top else { return Ok(false) };
        match tag {
            // Whatever else it says, it says it to the next request as well.
            Some(_) => {
                Ok(self.repository.digest().await.is_ok_and(|found| found.as_ref() == Some(&top.digest)))
            }
            None => self.repository.has_manifest(top.digest.as_str()).await.map_err(registry_error),
        }
    }

    async fn documents(&self, parcels: &[Parcel], tag: Option<&str>) -> Result<()> {
        let Some((top, members)) = parcels.split_last() else { return Ok(()) };
        for member in members {
            self.parcel(member, member.digest.as_str()).await?;
        }
        self.parcel(top, tag.unwrap_or(top.digest.as_str())).await
    }

    async fn parcel(&self, parcel: &Parcel, name: &str) -> Result<()> {
        let bytes = Bytes::from(parcel.bytes.clone());
        self.repository.push_manifest(name, &parcel.media_type, bytes).await.map_err(registry_error)
    }

    /// Sends what is attached here to what was sent.
    async fn attached(&self, cargo: &Arc<Cargo>, parcels: &[Parcel]) -> Result<()> {
        let sent: Vec<Digest> = parcels.iter().map(|parcel| parcel.digest.clone()).collect();
        let own = cargo.clone();
        for thing in self.engine.blocking(move |engine| own.attached(engine, &sent)).await? {
            let name = thing.tag.as_deref().unwrap_or(thing.parcel.digest.as_str());
            // Under the tag there may be more by now, such as signatures by others.
            if !self.repository.has_manifest(name).await.map_err(registry_error)? {
                for blob in &thing.blobs {
                    if !self.repository.has_blob(&blob.found.digest).await.map_err(registry_error)? {
                        self.blob(blob, None).await?;
                    }
                }
                self.parcel(&thing.parcel, name).await?;
                self.tell(thing.parcel.digest.short(), "Attached").await?;
            }
            if thing.tag.is_none() {
                attached::list_referrer(self.repository, &thing.subject, &thing.line).await?;
            }
        }
        Ok(())
    }

    /// Sends configurations and layers; what each became, by what it is named here.
    async fn items(&self, cargo: &Arc<Cargo>, reference: &Reference) -> Result<BTreeMap<Digest, Descriptor>> {
        use futures_util::future::BoxFuture;
        use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
        let mut sends: Vec<BoxFuture<'_, Result<(Digest, Descriptor)>>> = Vec::new();
        for (digest, item) in &cargo.items {
            let send = async move { Ok((digest.clone(), self.item(cargo, item, reference).await?)) };
            sends.push(send.boxed());
        }
        futures_util::stream::iter(sends).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn item(&self, cargo: &Arc<Cargo>, item: &Item, reference: &Reference) -> Result<Descriptor> {
        let mut place = None;
        if let Some(sent) = &item.sent {
            if self.repository.has_blob(&sent.digest).await.map_err(registry_error)? {
                self.tell(&item.name, "Layer already exists").await?;
                return Ok(sent.clone());
            }
            let holder = match &item.content {
                Content::Left(from) => from.clone(),
                _ => self.holder(reference, &sent.digest).await?,
            };
            if let Some(from) = holder {
                let begun = self.repository.begin_blob(Some((&sent.digest, &from))).await;
                match begun.map_err(registry_error)? {
                    Begun::Mounted => {
                        self.tell(&item.name, &format!("Mounted from {from}")).await?;
                        return Ok(sent.clone());
                    }
                    Begun::At(at) => place = Some(at),
                }
            }
        }
        let sent = match &item.content {
            Content::Blob => self.blob(item, place).await?,
            Content::Left(_) => return Err(lost(&item.found.digest)),
            Content::Layer(layer) => {
                let packing = Packing::new(cargo, item, layer.clone(), self.report);
                let place = self.place(place).await?;
                let sent = self.repository.send_blob(place, &packing).await;
                let (digest, length) = packing.outcome(sent)?;
                let sent = cargo.packed(item, digest, length);
                self.remember(&item.found.digest, &sent).await?;
                sent
            }
        };
        self.tell(&item.name, "Pushed").await?;
        Ok(sent)
    }

    async fn blob(&self, item: &Item, place: Option<registry::Place>) -> Result<Descriptor> {
        let digest = item.found.digest.clone();
        let file = self.engine.blocking(move |engine| Ok(engine.store().open_blob(&digest)?)).await?;
        let length = item.found.size;
        let file = File::new(file, item, self.report);
        match place {
            None if length < SHORT => {
                let sent = self.repository.push_blob(&item.found.digest, length, &|| file.open(0)).await;
                sent.map_err(registry_error)?;
            }
            place => {
                let place = self.place(place).await?;
                self.repository.send_blob(place, &file).await.map_err(registry_error)?;
            }
        }
        Ok(item.found.clone())
    }

    async fn place(&self, place: Option<registry::Place>) -> Result<registry::Place> {
        if let Some(place) = place {
            return Ok(place);
        }
        match self.repository.begin_blob(None).await.map_err(registry_error)? {
            Begun::At(place) => Ok(place),
            Begun::Mounted => Err(Error::system("the registry mounts what nobody asked it to")),
        }
    }

    /// Another repository of the same registry that should have this blob.
    async fn holder(&self, reference: &Reference, digest: &Digest) -> Result<Option<String>> {
        let (own, wanted) = (reference.clone(), digest.clone());
        let holders = self.holders.get_or_try_init(|| async {
            self.engine.blocking(move |engine| cargo::holders(engine, &own)).await
        });
        let holders = holders.await?;
        if holders.is_empty() {
            return Ok(None);
        }
        let sources = self
            .engine
            .blocking(move |engine| Ok(engine.db().read(|tx| state::packed::sources(tx, &wanted))?))
            .await?;
        Ok(sources.iter().chain([digest]).find_map(|name| holders.get(name)).cloned())
    }

    async fn remember(&self, source: &Digest, sent: &Descriptor) -> Result<()> {
        let (source, method) = (source.clone(), self.how.method());
        let packed = state::packed::Packed { digest: sent.digest.clone(), size: sent.size };
        self.engine
            .blocking(move |engine| {
                Ok(engine.db().write_fleeting(|tx| state::packed::put(tx, &source, &method, &packed))?)
            })
            .await
    }

    /// Says something of a layer; what has no name for people is left out.
    async fn tell(&self, name: &str, status: &str) -> Result<()> {
        match name {
            "" => Ok(()),
            name => self.report.send(JsonMessage::part(name, status, Progress::default())).await,
        }
    }

    /// Notes the digest that the registry has for what the name stands for here.
    async fn record(&self, reference: &Reference, digest: &Digest, target: &Digest) -> Result<()> {
        let (name, target) = (reference.with_digest(digest.clone()), target.clone());
        let shown = reference.familiar();
        self.engine
            .blocking(move |engine| {
                let known = engine.db().read(|tx| state::tags::get(tx, &name))?;
                if known.is_none_or(|tag| tag.target != target) {
                    engine.db().write(|tx| note(tx, &name, &target))?;
                }
                let attributes = BTreeMap::from([("name".to_owned(), shown.clone())]);
                events::emit(engine, "image", "push", &shown, &attributes);
                Ok(())
            })
            .await
    }
}

/// Gives what was sent the name by its digest; unless it has been removed meanwhile.
fn note(tx: &state::Tx<'_>, name: &Reference, target: &Digest) -> Result<()> {
    if state::images::get(tx, target)?.is_some() || !state::tags::of(tx, target)?.is_empty() {
        state::tags::put(tx, name, target, &jiff::Timestamp::now().to_string())?;
    }
    Ok(())
}

/// Whether all that an index names is here.
fn is_whole(store: &Store, members: &Members) -> Result<bool> {
    for member in &members.leaves {
        let Ok(Document::Manifest(manifest)) = store.document(&member.digest) else { return Ok(false) };
        if store.blob_size(&manifest.config.digest)?.is_none() {
            return Ok(false);
        }
        let is_image = !oci::image::is_attestation(member);
        if is_image && store.resolve(&member.digest.to_string(), None).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_meanwhile_gets_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let db = state::Db::open(dir.path().join("state.db")).unwrap();
        let target = Digest::sha256(b"image");
        let name = Reference::parse("a.example/b").unwrap().with_digest(Digest::sha256(b"sent"));
        let names = || db.read(state::tags::all).unwrap().len();
        db.write(|tx| note(tx, &name, &target)).unwrap();
        assert_eq!(names(), 0);
        let added = "2026-01-01T00:00:00Z".to_owned();
        let image = state::images::Image {
            digest: target.clone(),
            id: target.clone(),
            parent: None,
            added,
            lent: false,
        };
        db.write(|tx| state::images::put(tx, &image)).unwrap();
        db.write(|tx| note(tx, &name, &target)).unwrap();
        assert_eq!(names(), 1);
    }
}
