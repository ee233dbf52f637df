//! `--cache-from` and `--cache-to`: caches in directories (OCI layouts), in registries and in buckets.

mod local;
mod s3;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::build::BuildOptions;
use archive::Compression;
use builder::{
    BoxError, CacheForm, CacheOrigin, CacheTaker, CacheTarget, DOCUMENT_MAX, DOCUMENT_TYPE, INLINE_KEY,
    OpenedCache,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use oci::image::{Descriptor, Document, ImageConfig, Index, MANIFEST_MAX, Manifest, is_attestation};
use oci::{Digest, Reference};
use registry::{Blob, Body, Object, Repository};
use store::Store;
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;

use super::contents::Contents;
use super::reach::Reach;
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::{Who, pull};

/// The records of BuildKit's caches: a configuration of their own, or a member of an index of layers.
const BUILDKIT_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// Where an image's configuration holds them.
const BUILDKIT_KEY: &str = "moby.buildkit.cache.v0";
/// Why none of them is of use: the keys of steps are digests that each builder makes in its own way.
const FOREIGN: &str = "it was written by BuildKit, which calls the same steps by other keys than this builder; \
    nothing of it can be used, but the build goes on without. Export a cache with this builder once (--cache-to)";

type Attributes = BTreeMap<String, String>;
type Credentials = BTreeMap<String, Who>;

/// Whose directories local caches are in.
#[derive(Clone, Copy)]
pub(super) enum Directories<'a> {
    /// The client's, which has stores for them.
    Client(&'a Arc<dyn Contents>),
    /// This machine's, if the client may name them.
    Machine(Reach),
}

impl<'a> Directories<'a> {
    pub fn of(client: Option<&'a Arc<dyn Contents>>, reach: Reach) -> Self {
        client.map_or(Directories::Machine(reach), Directories::Client)
    }
}

/// Where caches come from.
pub(super) fn origins(
    engine: &Engine,
    options: &BuildOptions,
    who: &Credentials,
    directories: Directories<'_>,
) -> Result<Vec<CacheOrigin>> {
    // The classic parameter names images, those that are here before those of registries.
    let image = |name: &String| match engine.store().resolve(name, None) {
        Ok(image) => Ok(local_image(engine, name, image)),
        Err(_) => {
            let pairs = [("type".to_owned(), "registry".to_owned()), ("ref".to_owned(), name.clone())];
            origin(engine, &Attributes::from(pairs), who, directories)
        }
    };
    let others =
        options.extras.caches_from.iter().map(|attributes| origin(engine, attributes, who, directories));
    options.cache_from.iter().map(image).chain(others).collect()
}

/// The options of a build as the classic builder means them: it knows no cache but that of the images in `cache_from`, of which those
/// that are absent count for nothing. Where none of them is here, nothing is cached.
pub fn classic(engine: &Engine, options: BuildOptions) -> BuildOptions {
    if options.cache_from.is_empty() {
        return options;
    }
    let (mut none_is_here, mut with_records) = (true, Vec::new());
    for name in &options.cache_from {
        let Ok(image) = engine.store().resolve(name, None) else { continue };
        none_is_here = false;
        let config = engine.store().read_blob(&image.manifest.config.digest, DOCUMENT_MAX);
        if config.is_ok_and(|config| has_records(&config)) {
            with_records.push(name.clone());
        }
    }
    BuildOptions { no_cache: options.no_cache || none_is_here, cache_from: with_records, ..options }
}

/// Whether an image's configuration holds what steps gave.
fn has_records(config: &[u8]) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_slice(config).ok();
    value.is_some_and(|value| [INLINE_KEY, BUILDKIT_KEY].iter().any(|key| value.get(key).is_some()))
}

/// The cache inside of an image that is here; one without has no records.
fn local_image(engine: &Engine, name: &str, image: store::Image) -> CacheOrigin {
    let store = engine.store().clone();
    let open = move || {
        let config = store.read_blob(&image.manifest.config.digest, DOCUMENT_MAX)?;
        let store = store.clone();
        let blob = move |descriptor: &Descriptor| {
            Ok(Box::new(store.open_blob(&descriptor.digest)?) as Box<dyn Read + Send>)
        };
        match has_records(&config) {
            true => Ok(vec![opened(&image.manifest, config, Arc::new(blob))?]),
            false => Ok(Vec::new()),
        }
    };
    CacheOrigin { name: name.to_owned(), image: None, open: Arc::new(open) }
}

/// Where caches go to.
pub(super) fn targets(
    engine: &Engine,
    options: &BuildOptions,
    who: &Credentials,
    directories: Directories<'_>,
) -> Result<Vec<CacheTarget>> {
    options.extras.caches_to.iter().map(|attributes| target(engine, attributes, who, directories)).collect()
}

fn origin(
    engine: &Engine,
    attributes: &Attributes,
    who: &Credentials,
    directories: Directories<'_>,
) -> Result<CacheOrigin> {
    let kind = kind(attributes)?;
    known(attributes, kind, FROM)?;
    let runtime = Handle::current();
    match kind {
        Kind::Local => {
            let path = needed(attributes, "src")?;
            let (tag, digest) = (attributes.get("tag").cloned(), attributes.get("digest").cloned());
            let path = match directories {
                Directories::Client(contents) => {
                    return Ok(super::contents::origin(contents, path, digest.as_deref()));
                }
                Directories::Machine(reach) => directory(path, reach)?,
            };
            let open = {
                let path = path.clone();
                move || Ok(vec![local::open(&path, tag.as_deref(), digest.as_deref())?])
            };
            Ok(CacheOrigin { name: path.display().to_string(), image: None, open: Arc::new(open) })
        }
        Kind::Registry => {
            let (repository, name) = repository(engine, attributes, who, false)?;
            let image = Reference::parse(needed(attributes, "ref")?).ok();
            let open = move || open_repository(&repository, &runtime);
            Ok(CacheOrigin { name, image, open: Arc::new(open) })
        }
        Kind::S3 => {
            let (place, name) = s3::Place::read(engine, attributes)?;
            Ok(CacheOrigin { name, image: None, open: Arc::new(move || Ok(vec![place.open(&runtime)?])) })
        }
    }
}

fn target(
    engine: &Engine,
    attributes: &Attributes,
    who: &Credentials,
    directories: Directories<'_>,
) -> Result<CacheTarget> {
    let kind = kind(attributes)?;
    known(attributes, kind, TO)?;
    let max = match attributes.get("mode").map_or("min", String::as_str) {
        "min" => false,
        "max" => true,
        other => return Err(Error::invalid(format!("unsupported cache mode {other:?}: min or max"))),
    };
    let (name, send) = taker(engine, kind, attributes, who, directories)?;
    let (compression, level) = compression(attributes, kind)?;
    Ok(CacheTarget {
        name,
        max,
        mounts: flag(attributes, "mounts")?,
        compression,
        level,
        seekable: attributes.get("compression").is_some_and(|word| word == "estargz"),
        form: form(attributes)?,
        force: flag(attributes, "force-compression")?,
        ignore_error: flag(attributes, "ignore-error")?,
        send,
    })
}

/// Where a cache goes to, by name, and what takes it there.
fn taker(
    engine: &Engine,
    kind: Kind,
    attributes: &Attributes,
    who: &Credentials,
    directories: Directories<'_>,
) -> Result<(String, CacheTaker)> {
    let (store, runtime) = (engine.store().clone(), Handle::current());
    match kind {
        Kind::Local => {
            let path = needed(attributes, "dest")?;
            let path = match directories {
                Directories::Client(contents) => {
                    return Ok((path.to_owned(), super::contents::taker(engine, contents, path)));
                }
                Directories::Machine(reach) => directory(path, reach)?,
            };
            let tag = attributes.get("tag").cloned().unwrap_or_else(|| "latest".to_owned());
            let name = path.display().to_string();
            let reset = flag(attributes, "reset")?;
            let send = move |manifest: &Descriptor, blobs: &[Descriptor]| {
                local::write(&path, (&tag, reset), manifest, blobs, |digest| Ok(store.open_blob(digest)?))
            };
            Ok((name, Arc::new(send)))
        }
        Kind::Registry => {
            let (repository, name) = repository(engine, attributes, who, true)?;
            let tag = needed(attributes, "ref")?;
            let tag = Reference::parse(tag).ok().and_then(|r| r.tag).unwrap_or_else(|| "latest".to_owned());
            let send = move |manifest: &Descriptor, blobs: &[Descriptor]| {
                runtime.block_on(push(&store, &repository, &tag, manifest, blobs))
            };
            Ok((name, Arc::new(send)))
        }
        Kind::S3 => {
            let (place, name) = s3::Place::read(engine, attributes)?;
            let send = move |manifest: &Descriptor, blobs: &[Descriptor]| {
                runtime.block_on(place.send(&store, manifest, blobs))
            };
            Ok((name, Arc::new(send)))
        }
    }
}

/// A directory of this machine.
fn directory(path: &str, reach: Reach) -> Result<PathBuf> {
    reach.files()?;
    match Path::new(path).is_absolute() {
        true => Ok(PathBuf::from(path)),
        false => Err(Error::invalid(format!("local cache: {path:?} is not an absolute path"))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Registry,
    S3,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Local => "local",
            Kind::Registry => "registry",
            Kind::S3 => "s3",
        }
    }
}

/// What may be said of caches that are read, by kind; those of buckets have more of their own.
const FROM: [&[&str]; 3] = [&["src", "tag", "digest"], &["ref", INSECURE], &[]];
/// What may be said of caches that are written.
const TO: [&[&str]; 3] = [&["dest", "tag", "reset"], &["ref", INSECURE], &[]];
/// What may be said of all that are written, and means nothing where they are read: one line for both is usual.
const TO_ALL: &[&str] = &[
    "mode",
    "mounts",
    "ignore-error",
    "oci-mediatypes",
    "image-manifest",
    "compression",
    "compression-level",
    "force-compression",
];
/// The registry may speak plain HTTP, or have a certificate that nobody has signed.
const INSECURE: &str = "registry.insecure";

/// How layers are compressed.
fn compression(attributes: &Attributes, kind: Kind) -> Result<(Compression, Option<u32>)> {
    let wrong = |name: &str, value: &str, words: &str| {
        Error::invalid(format!("{} cache: {name}={value} is not supported: {words}", kind.word()))
    };
    let compression = match attributes.get("compression").map_or("gzip", String::as_str) {
        "gzip" | "estargz" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        "uncompressed" => Compression::None,
        other => return Err(wrong("compression", other, "use uncompressed, gzip, estargz or zstd")),
    };
    let level = attributes.get("compression-level").map(|text| {
        super::export::level(compression, text.parse().ok())
            .ok_or_else(|| wrong("compression-level", text, "gzip has 0 to 9, zstd 0 to 22"))
    });
    Ok((compression, level.transpose()?))
}

/// `image-manifest=false` is an index of layers, which is a list with Docker's media types (`oci-mediatypes=false`).
fn form(attributes: &Attributes) -> Result<CacheForm> {
    let is_off = |name: &str| Ok::<_, Error>(attributes.contains_key(name) && !flag(attributes, name)?);
    match (is_off("oci-mediatypes")?, is_off("image-manifest")?) {
        (true, false) if attributes.contains_key("image-manifest") => Err(Error::invalid(
            "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format",
        )),
        (true, _) => Ok(CacheForm::List),
        (false, true) => Ok(CacheForm::Index),
        (false, false) => Ok(CacheForm::Manifest),
    }
}

fn kind(attributes: &Attributes) -> Result<Kind> {
    match attributes.get("type").map_or("", String::as_str) {
        "local" => Ok(Kind::Local),
        "registry" => Ok(Kind::Registry),
        "s3" => Ok(Kind::S3),
        other => {
            let kinds = "there are local, registry, s3 and inline";
            Err(Error::invalid(format!("cache type {other:?} is not supported: {kinds}")))
        }
    }
}

/// Whether an attribute is set to be true.
fn flag(attributes: &Attributes, name: &str) -> Result<bool> {
    match attributes.get(name).map(String::as_str) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(Error::invalid(format!("{name}={other} is neither true nor false"))),
    }
}

fn known(attributes: &Attributes, kind: Kind, names: [&[&str]; 3]) -> Result<()> {
    let [local, registry, _] = names;
    let own = match kind {
        Kind::Local => local,
        Kind::Registry => registry,
        Kind::S3 => s3::ATTRIBUTES,
    };
    let all = |name: &&String| own.iter().chain(TO_ALL).any(|known| known == name) || *name == "type";
    match attributes.keys().find(|name| !all(name)) {
        Some(name) => Err(Error::invalid(format!("{} cache has no attribute {name:?}", kind.word()))),
        None => Ok(()),
    }
}

fn needed<'a>(attributes: &'a Attributes, name: &str) -> Result<&'a str> {
    let value = attributes.get(name).filter(|value| !value.is_empty());
    value.map(String::as_str).ok_or_else(|| Error::invalid(format!("a cache of this type needs {name}=")))
}

fn repository(
    engine: &Engine,
    attributes: &Attributes,
    who: &Credentials,
    write: bool,
) -> Result<(Repository, String)> {
    let reference =
        Reference::parse(needed(attributes, "ref")?).map_err(|e| Error::invalid(e.to_string()))?;
    let mut insecure = Vec::new();
    if flag(attributes, INSECURE)? {
        insecure.push(reference.domain.clone());
    }
    let auth = pull::credentials_of(who.get(&reference.domain).cloned().unwrap_or_default());
    let client = engine.registries(&insecure);
    let repository = match write {
        true => client.writable(&reference, auth),
        false => client.repository(&reference, auth),
    };
    Ok((repository, reference.familiar()))
}

/// Whether an index is one of layers and records, and no choice of images.
fn is_list(index: &Index) -> bool {
    index.manifests.last().is_some_and(|last| last.media_type == DOCUMENT_TYPE)
}

/// Whether an index is a cache of BuildKit.
fn is_foreign(index: &Index) -> bool {
    index.manifests.iter().any(|member| member.media_type == BUILDKIT_TYPE)
}

/// The manifest of a cache.
pub(super) fn manifest(document: Document) -> Result<Manifest, BoxError> {
    match document {
        Document::Manifest(manifest) => Ok(*manifest),
        Document::Index(index) if is_foreign(&index) => Err(FOREIGN.into()),
        // An index of layers whose last member the records are.
        Document::Index(mut index) if is_list(&index) => {
            let config = index.manifests.pop().ok_or("it names no records")?;
            Ok(Manifest::new(config, index.manifests))
        }
        Document::Index(_) => Err("it is an index and no cache".into()),
    }
}

/// A cache of its own, or one in an image's configuration.
pub(super) fn opened(
    manifest: &Manifest,
    config: Vec<u8>,
    blob: builder::Blobs,
) -> Result<OpenedCache, BoxError> {
    if manifest.config.media_type == DOCUMENT_TYPE {
        return Ok(OpenedCache { document: config, layers: Vec::new(), blob });
    }
    if manifest.config.media_type == BUILDKIT_TYPE {
        return Err(FOREIGN.into());
    }
    let value: serde_json::Value = serde_json::from_slice(&config)?;
    let without = match value.get(BUILDKIT_KEY) {
        Some(_) => FOREIGN,
        None => "it is an image that was built without an inline cache",
    };
    let inline = value.get(INLINE_KEY).ok_or(without)?;
    let document = serde_json::to_vec(inline)?;
    let config: ImageConfig = serde_json::from_value(value)?;
    let layers = config.rootfs.diff_ids.into_iter().zip(manifest.layers.iter().cloned()).collect();
    Ok(OpenedCache { document, layers, blob })
}

/// Opens the cache of a repository: of an image for several platforms that of each, for a build may be for all of them.
fn open_repository(repository: &Repository, runtime: &Handle) -> Result<Vec<OpenedCache>, BoxError> {
    let found = runtime.block_on(async {
        let mut found = Vec::new();
        match Document::parse(&repository.resolve().await?.1)? {
            Document::Index(index) if !is_list(&index) && !is_foreign(&index) => {
                let is_image = |member: &&Descriptor| !is_attestation(member) && member.platform.is_some();
                for member in index.manifests.iter().filter(is_image) {
                    let document = Document::parse(&repository.member(member).await?.1)?;
                    found.push(with_config(repository, manifest(document)?).await?);
                }
                match found.is_empty() {
                    true => Err("it is an index and no cache".into()),
                    false => Ok(found),
                }
            }
            document => {
                found.push(with_config(repository, manifest(document)?).await?);
                Ok::<_, BoxError>(found)
            }
        }
    })?;
    let (repository, runtime) = (repository.clone(), runtime.clone());
    let blob: builder::Blobs = Arc::new(move |descriptor: &Descriptor| {
        let stream = Stream::new(Source::Blob(Box::new(repository.blob(descriptor))), runtime.clone());
        Ok(Box::new(stream) as Box<dyn Read + Send>)
    });
    let opened = found.into_iter().map(|(manifest, config)| opened(&manifest, config, blob.clone()));
    // One that has none takes nothing from the others.
    let (opened, failed): (Vec<_>, Vec<_>) = opened.partition(Result::is_ok);
    match failed.into_iter().next().filter(|_| opened.is_empty()) {
        Some(Err(error)) => Err(error),
        _ => opened.into_iter().collect(),
    }
}

/// A manifest of a repository with its configuration.
async fn with_config(repository: &Repository, manifest: Manifest) -> Result<(Manifest, Vec<u8>), BoxError> {
    let config = &manifest.config;
    if config.size > DOCUMENT_MAX {
        return Err(format!("its configuration has {} bytes", config.size).into());
    }
    let bytes = repository.blob(config).whole().await?;
    Ok((manifest, bytes))
}

/// Where bytes come from.
enum Source {
    Blob(Box<Blob>),
    Object(Object),
}

/// What comes over the network, as a stream of the threads of a build.
struct Stream {
    source: Source,
    runtime: Handle,
    chunk: Bytes,
}

impl Stream {
    fn new(source: Source, runtime: Handle) -> Self {
        Self { source, runtime, chunk: Bytes::new() }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let source = &mut self.source;
            let chunk = self.runtime.block_on(async {
                match source {
                    Source::Blob(blob) => blob.chunk().await,
                    Source::Object(object) => object.chunk().await,
                }
            });
            match chunk.map_err(io::Error::other)? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let taken = self.chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.chunk.split_to(taken));
        Ok(taken)
    }
}

async fn push(
    store: &Store,
    repository: &Repository,
    tag: &str,
    manifest: &Descriptor,
    blobs: &[Descriptor],
) -> Result<(), BoxError> {
    for descriptor in blobs {
        let digest: &Digest = &descriptor.digest;
        if !repository.has_blob(digest).await? {
            let open = || {
                let file = store.open_blob(digest).map_err(std::io::Error::other);
                let bytes =
                    file.map(|file| ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10));
                Body::wrap_stream(futures_util::stream::once(std::future::ready(bytes)).try_flatten())
            };
            repository.push_blob(digest, descriptor.size, &open).await?;
        }
    }
    let bytes = store.read_blob(&manifest.digest, MANIFEST_MAX)?;
    Ok(repository.push_manifest(tag, &manifest.media_type, bytes.into()).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why<T>(opened: Result<T, BoxError>) -> String {
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn described(media_type: &str) -> serde_json::Value {
        json!({ "mediaType": media_type, "digest": Digest::sha256(b"x").to_string(), "size": 1 })
    }

    #[test]
    fn caches_of_buildkit_say_why_they_are_of_no_use() {
        const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
        let parse = |document: serde_json::Value| Document::parse(document.to_string().as_bytes()).unwrap();
        let index = |members: &[&str]| {
            let members: Vec<_> = members.iter().map(|kind| described(kind)).collect();
            json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": members })
        };
        assert_eq!(why(manifest(parse(index(&[LAYER, BUILDKIT_TYPE])))), FOREIGN);
        assert_eq!(why(manifest(parse(index(&[LAYER])))), "it is an index and no cache");
        let image = |config: &str| {
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let (config, layers) = (described(config), [described(LAYER)]);
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers })
        };
        let open = |kind: &str, config: serde_json::Value| {
            let manifest = manifest(parse(image(kind))).unwrap();
            opened(&manifest, config.to_string().into_bytes(), Arc::new(|_| unreachable!()))
        };
        assert_eq!(why(open(BUILDKIT_TYPE, json!({ "layers": [], "records": [] }))), FOREIGN);
        let plain = "application/vnd.oci.image.config.v1+json";
        assert_eq!(why(open(plain, json!({ "moby.buildkit.cache.v0": "e30=" }))), FOREIGN);
        assert!(why(open(plain, json!({}))).contains("without an inline cache"));
    }
}
