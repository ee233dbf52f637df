//! What registries have, without pulling it, and indexes made of it (`buildx imagetools`).

use std::collections::BTreeMap;

use api::auth::AuthConfig;
use bytes::Bytes;
use oci::image::{Descriptor, Document, ImageConfig, Index, Manifest, is_attestation};
use oci::{Digest, Platform, Reference, media_types};
use registry::{Body, Client, Repository};

use super::pull::{credentials_of, registry_error};
use crate::Engine;
use crate::error::{Context as _, Error, Result};

type Credentials = BTreeMap<String, AuthConfig>;

/// A manifest or an index as its registry has it.
pub struct Remote {
    /// The reference with everything that was left out.
    pub name: Reference,
    /// What it is.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Bytes,
    /// What it can run on.
    pub platforms: Vec<Platform>,
}

/// Which index is to be made.
#[derive(Debug, Clone, Default)]
pub struct NewIndex {
    /// Where it goes to.
    pub targets: Vec<String>,
    /// Images and indexes whose members it gets.
    pub sources: Vec<String>,
    /// It gets the target's members too.
    pub append: bool,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// A single manifest stays one.
    pub plain: bool,
    /// Only say what it would be.
    pub dry_run: bool,
}

fn client(engine: &Engine) -> Client {
    let insecure = engine.config().insecure_registries.clone();
    Client::new(registry::Config { insecure, ..Default::default() })
}

fn parse(name: &str) -> Result<Reference> {
    Reference::parse(name).map_err(|e| Error::invalid(format!("invalid reference {name:?}: {e}")))
}

fn repository(engine: &Engine, reference: &Reference, who: &Credentials, write: bool) -> Repository {
    let auth = credentials_of(who.get(&reference.domain).cloned().unwrap_or_default());
    match write {
        true => client(engine).writable(reference, auth),
        false => client(engine).repository(reference, auth),
    }
}

/// The registry that a name is in.
pub fn registry_of(name: &str) -> Result<String> {
    Ok(parse(name)?.domain)
}

/// Looks at an image in its registry.
pub async fn look(engine: &Engine, name: &str, credentials: &Credentials) -> Result<Remote> {
    let name = parse(name)?;
    let repository = repository(engine, &name, credentials, false);
    let (descriptor, bytes) = repository.resolve().await.map_err(registry_error)?;
    let document = Document::parse(&bytes).map_err(|e| Error::invalid(e.to_string()))?;
    let platforms = match &document {
        Document::Index(index) => {
            let images = index.manifests.iter().filter(|member| !is_attestation(member));
            images.filter_map(|member| member.platform.clone()).collect()
        }
        Document::Manifest(manifest) => platform(&repository, manifest).await?.into_iter().collect(),
    };
    Ok(Remote { name, descriptor, bytes, platforms })
}

/// The platform that an image's configuration names; none for what is no image.
async fn platform(repository: &Repository, manifest: &Manifest) -> Result<Option<Platform>> {
    if !media_types::is_config(&manifest.config.media_type) || manifest.config.size > oci::image::CONFIG_MAX {
        return Ok(None);
    }
    let mut blob = repository.blob(&manifest.config);
    let mut bytes = Vec::new();
    while let Some(chunk) = blob.chunk().await.map_err(registry_error)? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice::<ImageConfig>(&bytes).ok().map(|config| config.platform()))
}

/// A member with the repository that has it.
struct Member {
    descriptor: Descriptor,
    from: Reference,
}

/// Makes an index and sends it to its names, with what they lack; its descriptor and its bytes.
pub async fn create(engine: &Engine, new: &NewIndex, who: &Credentials) -> Result<(Descriptor, Vec<u8>)> {
    let targets = new.targets.iter().map(|name| parse(name)).collect::<Result<Vec<_>>>()?;
    let mut members: Vec<Member> = Vec::new();
    let mut first = None;
    let own = targets.first().filter(|_| new.append).map(Reference::to_string);
    for source in own.iter().chain(&new.sources) {
        let remote = look(engine, source, who).await?;
        let single = first.is_none() && new.annotations.is_empty();
        first = single.then(|| (remote.descriptor.clone(), remote.bytes.clone()));
        add(&mut members, remote)?;
    }
    if members.is_empty() {
        return Err(Error::invalid("an index needs at least one source"));
    }
    // One index alone is copied as it is; so is one manifest, if that is wanted.
    let copied = first.filter(|(descriptor, _)| {
        new.sources.len() + usize::from(new.append) == 1
            && (media_types::is_index(&descriptor.media_type) || new.plain)
    });
    let (descriptor, bytes) = match copied {
        Some((descriptor, bytes)) => (descriptor, bytes.to_vec()),
        None => {
            let mut index = Index::new(members.iter().map(|member| member.descriptor.clone()).collect());
            index.annotations = new.annotations.clone();
            let bytes = serde_json::to_vec_pretty(&index).during("write an index")?;
            (Descriptor::of(media_types::OCI_INDEX, &bytes), bytes)
        }
    };
    if !new.dry_run {
        for target in &targets {
            send(engine, target, &members, &descriptor, &bytes, who).await?;
        }
    }
    Ok((descriptor, bytes))
}

/// Adds a source's members; a later one takes the place of an earlier one for the same platform.
fn add(members: &mut Vec<Member>, remote: Remote) -> Result<()> {
    let new = match Document::parse(&remote.bytes).map_err(|e| Error::invalid(e.to_string()))? {
        Document::Index(index) => index.manifests,
        Document::Manifest(_) => {
            let platform = remote.platforms.first().cloned();
            vec![Descriptor { platform, ..remote.descriptor }]
        }
    };
    for descriptor in new {
        let same = |known: &Member| {
            known.descriptor.digest == descriptor.digest
                || (!is_attestation(&descriptor)
                    && !is_attestation(&known.descriptor)
                    && descriptor.platform.is_some()
                    && known.descriptor.platform == descriptor.platform)
        };
        members.retain(|known| !same(known));
        members.push(Member { descriptor, from: remote.name.clone() });
    }
    Ok(())
}

async fn send(
    engine: &Engine,
    target: &Reference,
    members: &[Member],
    descriptor: &Descriptor,
    bytes: &[u8],
    who: &Credentials,
) -> Result<()> {
    let to = repository(engine, target, who, true);
    for member in members {
        let digest = &member.descriptor.digest;
        if !to.has_manifest(digest.as_str()).await.map_err(registry_error)? {
            let from = repository(engine, &member.from, who, false);
            copy(&from, &member.from, &to, target, &member.descriptor).await?;
        }
    }
    let name = target.tag.clone().unwrap_or_else(|| "latest".to_owned());
    let bytes = Bytes::copy_from_slice(bytes);
    to.push_manifest(&name, &descriptor.media_type, bytes).await.map_err(registry_error)
}

/// Brings a manifest with its blobs from one repository to another.
async fn copy(
    from: &Repository,
    source: &Reference,
    to: &Repository,
    target: &Reference,
    descriptor: &Descriptor,
) -> Result<()> {
    let (found, bytes) = from.member(descriptor).await.map_err(registry_error)?;
    let Document::Manifest(manifest) = Document::parse(&bytes).map_err(|e| Error::invalid(e.to_string()))?
    else {
        return Err(Error::invalid(format!("{} is an index in an index", descriptor.digest)));
    };
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        blob_across(from, source, to, target, blob).await?;
    }
    let name: &Digest = &found.digest;
    to.push_manifest(name.as_str(), &found.media_type, bytes).await.map_err(registry_error)
}

async fn blob_across(
    from: &Repository,
    source: &Reference,
    to: &Repository,
    target: &Reference,
    blob: &Descriptor,
) -> Result<()> {
    if to.has_blob(&blob.digest).await.map_err(registry_error)? {
        return Ok(());
    }
    let neighbours = source.domain == target.domain;
    if neighbours && to.mount_blob(&blob.digest, &source.path).await.map_err(registry_error)? {
        return Ok(());
    }
    let stream = futures_util::stream::try_unfold(from.blob(blob), |mut blob| async move {
        let chunk = blob.chunk().await.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(chunk.map(|chunk| (chunk, blob)))
    });
    to.push_blob(&blob.digest, blob.size, Body::wrap_stream(stream)).await.map_err(registry_error)
}
