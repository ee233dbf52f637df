//! What registries have, without pulling it, and indexes made of it (`buildx imagetools`).

mod copy;

use std::collections::{BTreeMap, BTreeSet};

use api::auth::AuthConfig;
use api::images::MemberAnnotation;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use oci::image::{ATTESTED, Descriptor, Document, ImageConfig, Index, Manifest, is_attestation};
use oci::{Digest, Platform, Reference, media_types};
use registry::{Client, Repository};
use serde_json::Value;

use self::copy::{AT_ONCE, Way};
use super::platform;
use super::pull::{credentials_of, registry_error};
use super::who::Who;
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
    /// Annotations of its lines.
    pub member_annotations: Vec<MemberAnnotation>,
    /// Only members for these platforms; all without.
    pub platforms: Vec<String>,
    /// A single manifest stays one.
    pub plain: bool,
    /// What is attached to what is copied stays where it is.
    pub without_attached: bool,
    /// Only say what it would be.
    pub dry_run: bool,
    /// The index itself; the sources only say where its members are. Empty where it is to be made of them.
    pub document: String,
    /// Registries may be talked to without encryption.
    pub insecure: bool,
}

/// An index that was made.
pub struct MadeIndex {
    /// What it is.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
    /// Members that a target lacked.
    pub copied: Vec<Digest>,
}

/// How the registries of one command are reached.
pub(super) struct Access<'a> {
    pub engine: &'a Engine,
    pub who: &'a Credentials,
    pub insecure: bool,
}

impl Access<'_> {
    fn client(&self, reference: &Reference) -> Client {
        let insecure: Vec<String> = self.insecure.then(|| reference.domain.clone()).into_iter().collect();
        self.engine.registries(&insecure)
    }

    fn credentials(&self, reference: &Reference) -> Option<registry::Credentials> {
        credentials_of(self.who.get(&reference.domain).cloned().unwrap_or_default())
    }

    pub fn read(&self, reference: &Reference) -> Repository {
        self.client(reference).repository(reference, self.credentials(reference))
    }

    pub fn write(&self, reference: &Reference) -> Repository {
        self.client(reference).writable(reference, self.credentials(reference))
    }
}

pub(super) fn parse(name: &str) -> Result<Reference> {
    Reference::parse(name).map_err(|e| Error::invalid(format!("invalid reference {name:?}: {e}")))
}

/// The registry that a name is in.
pub fn registry_of(name: &str) -> Result<String> {
    Ok(parse(name)?.domain)
}

/// Looks at an image in its registry.
pub async fn look(engine: &Engine, name: &str, who: &Credentials, insecure: bool) -> Result<Remote> {
    look_with(&Access { engine, who, insecure }, name).await
}

async fn look_with(access: &Access<'_>, name: &str) -> Result<Remote> {
    let name = parse(name)?;
    let repository = access.read(&name);
    let (descriptor, bytes) = repository.resolve().await.map_err(registry_error)?;
    let document = Document::parse(&bytes).map_err(|e| Error::invalid(e.to_string()))?;
    let platforms = match &document {
        Document::Index(index) => {
            let images = index.manifests.iter().filter(|member| !is_attestation(member));
            images.filter_map(|member| member.platform.clone()).collect()
        }
        Document::Manifest(manifest) => {
            platform::told(&repository, manifest).await.map_err(registry_error)?.into_iter().collect()
        }
    };
    Ok(Remote { name, descriptor, bytes, platforms })
}

/// An image for a platform (this machine's, if none is said) in its registry: the repository, its manifest, and its
/// configuration with the digest of that.
pub(super) async fn image(
    engine: &Engine,
    name: &str,
    platform: Option<&Platform>,
    who: &BTreeMap<String, impl Into<Who> + Clone>,
) -> Result<(Repository, Manifest, (Digest, ImageConfig))> {
    let name = parse(name)?;
    let who: Who = who.get(&name.domain).cloned().map(Into::into).unwrap_or_default();
    let repository = engine.registries(&[]).repository(&name, who.credentials());
    let (_, bytes) = repository.resolve().await.map_err(registry_error)?;
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let parse = |bytes: &[u8]| Document::parse(bytes).map_err(|e| Error::invalid(e.to_string()));
    let mut document = parse(&bytes)?;
    if let Document::Index(index) = &document {
        let way = platform::way(&repository, index, &wanted).await.map_err(registry_error)?;
        let (_, last) = way.and_then(|way| way.into_iter().last()).ok_or_else(|| {
            Error::not_found(format!("no matching manifest for {wanted} in the manifest list entries"))
        })?;
        document = parse(&last)?;
    }
    let Document::Manifest(manifest) = document else {
        return Err(Error::invalid(platform::too_deep(&name)));
    };
    let config = small(&repository, &manifest.config).await?;
    let config = serde_json::from_slice(&config)
        .map_err(|e| Error::invalid(format!("{} is no image: {e}", name.familiar())))?;
    let id = manifest.config.digest.clone();
    Ok((repository, *manifest, (id, config)))
}

/// Indexes that are read in another one.
const INDEXES_MAX: usize = 32;

/// The members of an index of a registry, and in the place of indexes among them theirs.
async fn flat(repository: &Repository, index: Index) -> Result<Vec<Descriptor>> {
    let (mut flat, mut seen, mut indexes) = (Vec::new(), BTreeSet::new(), 0);
    let mut open = index.manifests;
    open.reverse();
    while let Some(member) = open.pop() {
        if !seen.insert(member.digest.clone()) {
            continue;
        }
        if !media_types::is_index(&member.media_type) {
            flat.push(member);
            continue;
        }
        indexes += 1;
        if indexes > INDEXES_MAX {
            return Err(Error::invalid(format!("there are more than {INDEXES_MAX} indexes in the index")));
        }
        let (_, bytes) = repository.member(&member).await.map_err(registry_error)?;
        if let Document::Index(inner) = Document::parse(&bytes).map_err(|e| Error::invalid(e.to_string()))? {
            open.extend(inner.manifests.into_iter().rev());
        }
    }
    Ok(flat)
}

/// A member with the repository that has it.
struct Member {
    descriptor: Descriptor,
    from: Reference,
}

/// Configurations by platform.
pub type Images = BTreeMap<String, Value>;
/// In-toto statements by platform.
pub type Attestations = BTreeMap<String, Vec<Value>>;

/// The configurations of an image, or of all those of an index, and what is attested of them.
pub async fn details(
    engine: &Engine,
    remote: &Remote,
    who: &Credentials,
    insecure: bool,
) -> Result<(Images, Attestations)> {
    let repository = Access { engine, who, insecure }.read(&remote.name);
    let (mut images, mut attestations) = (Images::new(), Attestations::new());
    let parse = |bytes: &[u8]| Document::parse(bytes).map_err(|e| Error::invalid(e.to_string()));
    let members = match parse(&remote.bytes)? {
        Document::Manifest(manifest) => {
            add_config(&repository, &manifest, None, &mut images).await?;
            return Ok((images, attestations));
        }
        Document::Index(index) => flat(&repository, index).await?,
    };
    let mut names = BTreeMap::new();
    for member in members.iter().filter(|member| !is_attestation(member)) {
        let (_, bytes) = repository.member(member).await.map_err(registry_error)?;
        let Document::Manifest(manifest) = parse(&bytes)? else { continue };
        if let Some(name) = add_config(&repository, &manifest, member.platform.as_ref(), &mut images).await? {
            names.insert(member.digest.to_string(), name);
        }
    }
    for member in members.iter().filter(|member| is_attestation(member)) {
        let of = member.annotations.get(ATTESTED).and_then(|digest| names.get(digest));
        let Some(platform) = of else { continue };
        let (_, bytes) = repository.member(member).await.map_err(registry_error)?;
        let Document::Manifest(manifest) = parse(&bytes)? else { continue };
        for layer in manifest.layers.iter().filter(|layer| layer.media_type.ends_with(STATEMENT)) {
            let statement = small(&repository, layer).await?;
            let statement = serde_json::from_slice(&statement);
            let statement =
                statement.map_err(|e| Error::invalid(format!("attestation {}: {e}", layer.digest)))?;
            attestations.entry(platform.clone()).or_default().push(statement);
        }
    }
    Ok((images, attestations))
}

/// What the media types of in-toto statements end with.
const STATEMENT: &str = "in-toto+json";
/// Bytes of a configuration or an attestation: lists of packages are long.
const DOCUMENT_MAX: u64 = 64 << 20;

/// Reads an image's configuration; the name of its platform, unless it is no image.
async fn add_config(
    repository: &Repository,
    manifest: &Manifest,
    platform: Option<&Platform>,
    images: &mut Images,
) -> Result<Option<String>> {
    if !media_types::is_config(&manifest.config.media_type) {
        return Ok(None);
    }
    let invalid = |e: serde_json::Error| Error::invalid(format!("image configuration: {e}"));
    let bytes = small(repository, &manifest.config).await?;
    let config: ImageConfig = serde_json::from_slice(&bytes).map_err(invalid)?;
    let name = platform.cloned().unwrap_or_else(|| config.platform()).to_string();
    images.insert(name.clone(), serde_json::from_slice(&bytes).map_err(invalid)?);
    Ok(Some(name))
}

/// A blob that is a document.
pub(super) async fn small(repository: &Repository, descriptor: &Descriptor) -> Result<Vec<u8>> {
    if descriptor.size > DOCUMENT_MAX {
        return Err(Error::invalid(format!("{} has {} bytes", descriptor.digest, descriptor.size)));
    }
    repository.blob(descriptor).whole().await.map_err(registry_error)
}

/// A source of an index: a name, a digest in the repository of the targets, or a descriptor there.
fn source(text: &str, targets: &[Reference]) -> Result<(String, Option<Descriptor>)> {
    let text = text.trim();
    let of_targets = |digest: &Digest| {
        let mut repositories: Vec<String> = targets.iter().map(Reference::name).collect();
        repositories.dedup();
        match repositories.as_slice() {
            [one] => Ok(format!("{one}@{digest}")),
            _ => Err(Error::invalid(format!(
                "source {digest} needs --tag with the one repository that has it"
            ))),
        }
    };
    if text.starts_with('{') {
        let descriptor: Descriptor =
            serde_json::from_str(text).map_err(|e| Error::invalid(format!("descriptor of a source: {e}")))?;
        return Ok((of_targets(&descriptor.digest)?, Some(descriptor)));
    }
    match text.parse::<Digest>() {
        Ok(digest) => Ok((of_targets(&digest)?, None)),
        Err(_) => Ok((text.to_owned(), None)),
    }
}

/// Makes an index and sends it to its names, with what they lack.
pub async fn create(engine: &Engine, new: &NewIndex, who: &Credentials) -> Result<MadeIndex> {
    let access = Access { engine, who, insecure: new.insecure };
    let targets = new.targets.iter().map(|name| parse(name)).collect::<Result<Vec<_>>>()?;
    let (members, descriptor, bytes) = match new.document.as_str() {
        "" => join(&access, new, &targets).await?,
        document => written(document, &new.sources)?,
    };
    let mut copied = Vec::new();
    if !new.dry_run {
        for target in &targets {
            copied.extend(send(&access, target, &members, &descriptor, &bytes, !new.without_attached).await?);
        }
    }
    Ok(MadeIndex { descriptor, bytes, copied })
}

/// An index that the client has written, with the places of its members.
fn written(document: &str, sources: &[String]) -> Result<(Vec<Member>, Descriptor, Vec<u8>)> {
    let invalid = |e: &dyn std::fmt::Display| Error::invalid(format!("index: {e}"));
    let Document::Index(index) = Document::parse(document.as_bytes()).map_err(|e| invalid(&e))? else {
        return Err(invalid(&"it is a manifest"));
    };
    let sources = sources.iter().map(|name| parse(name)).collect::<Result<Vec<_>>>()?;
    let members = index.manifests.into_iter().map(|descriptor| {
        let from = sources.iter().find(|source| source.digest.as_ref() == Some(&descriptor.digest));
        let from = from.ok_or_else(|| invalid(&format!("no source has its member {}", descriptor.digest)))?;
        Ok(Member { from: from.clone(), descriptor })
    });
    let members = members.collect::<Result<Vec<_>>>()?;
    let media_type = match index.media_type.as_str() {
        media_types::DOCKER_INDEX => media_types::DOCKER_INDEX,
        _ => media_types::OCI_INDEX,
    };
    Ok((members, Descriptor::of(media_type, document.as_bytes()), document.as_bytes().to_vec()))
}

/// An index of all members of all sources.
async fn join(
    access: &Access<'_>,
    new: &NewIndex,
    targets: &[Reference],
) -> Result<(Vec<Member>, Descriptor, Vec<u8>)> {
    let platforms = new.platforms.iter().map(|text| {
        text.parse::<Platform>()
            .map(|platform| platform.normalized())
            .map_err(|e| Error::invalid(e.to_string()))
    });
    let platforms = platforms.collect::<Result<Vec<_>>>()?;
    let mut members: Vec<Member> = Vec::new();
    let mut first = None;
    let alone = new.sources.len() + usize::from(new.append) == 1;
    let mut annotations = new.annotations.clone();
    let own = targets.first().filter(|_| new.append).map(Reference::to_string);
    for text in own.iter().chain(&new.sources) {
        let (name, described) = source(text, targets)?;
        let mut remote = look_with(access, &name).await?;
        let nothing_more = |own: &Descriptor| own.platform.is_none() && own.annotations.is_empty();
        let plain = described.as_ref().is_none_or(nothing_more)
            && new.annotations.is_empty()
            && new.member_annotations.is_empty();
        let single = first.is_none() && plain;
        // What is left of one index goes on to be described as the whole was, as with buildx.
        if let (true, true, Ok(Document::Index(index))) = (alone, plain, Document::parse(&remote.bytes)) {
            annotations = index.annotations;
        }
        first = single.then(|| (remote.descriptor.clone(), remote.bytes.clone()));
        if let Some(described) = described {
            remote.descriptor.annotations.extend(described.annotations);
            remote.platforms = described.platform.map_or(remote.platforms, |platform| vec![platform]);
        }
        add(&mut members, remote)?;
    }
    let is_whole = keep(&mut members, &platforms)?;
    if members.is_empty() {
        return Err(Error::invalid("an index needs at least one source"));
    }
    // One index alone is copied as it is, if all of it stays; so is one manifest, if that is wanted.
    let copied = first.filter(|(descriptor, _)| {
        alone && is_whole && (media_types::is_index(&descriptor.media_type) || new.plain)
    });
    let (descriptor, bytes) = match copied {
        Some((descriptor, bytes)) => (descriptor, bytes.to_vec()),
        None => {
            members.iter_mut().for_each(|member| annotate(&mut member.descriptor, &new.member_annotations));
            let mut index = Index::new(members.iter().map(|member| member.descriptor.clone()).collect());
            index.annotations = annotations;
            // A list of Docker's has no annotations.
            let docker = |member: &Member| member.descriptor.media_type == media_types::DOCKER_MANIFEST;
            let is_noted = !index.annotations.is_empty() || !new.member_annotations.is_empty();
            if !is_noted && members.iter().all(docker) {
                index.media_type = media_types::DOCKER_INDEX.to_owned();
            }
            let bytes = serde_json::to_vec_pretty(&index).during("write an index")?;
            (Descriptor::of(&index.media_type, &bytes), bytes)
        }
    };
    Ok((members, descriptor, bytes))
}

/// Drops members for other platforms than these, with what is attested of them. Whether there were none.
fn keep(members: &mut Vec<Member>, platforms: &[Platform]) -> Result<bool> {
    if platforms.is_empty() {
        return Ok(true);
    }
    let own = |member: &Member| member.descriptor.platform.as_ref().map(Platform::normalized);
    if let Some(missing) =
        platforms.iter().find(|wanted| !members.iter().any(|m| own(m).as_ref() == Some(wanted)))
    {
        return Err(Error::invalid(format!("no source has an image for {missing}")));
    }
    let kept: Vec<String> = members
        .iter()
        .filter(|member| own(member).is_some_and(|platform| platforms.contains(&platform)))
        .map(|member| member.descriptor.digest.to_string())
        .collect();
    let before = members.len();
    members.retain(|member| {
        let about =
            member.descriptor.annotations.get(ATTESTED).filter(|_| is_attestation(&member.descriptor));
        kept.contains(about.unwrap_or(&member.descriptor.digest.to_string()))
    });
    Ok(members.len() == before)
}

fn annotate(descriptor: &mut Descriptor, notes: &[MemberAnnotation]) {
    if is_attestation(descriptor) {
        return;
    }
    let own = descriptor.platform.as_ref().map(|platform| platform.normalized().to_string());
    let fits =
        |note: &&MemberAnnotation| note.platform.is_empty() || own.as_deref() == Some(note.platform.as_str());
    let notes = notes.iter().filter(fits).map(|note| (note.key.clone(), note.value.clone()));
    descriptor.annotations.extend(notes);
}

/// Adds a source's members. One that is there already has what is said of it last, and is in its place.
fn add(members: &mut Vec<Member>, remote: Remote) -> Result<()> {
    let new = match Document::parse(&remote.bytes).map_err(|e| Error::invalid(e.to_string()))? {
        Document::Index(index) => index.manifests,
        Document::Manifest(_) => {
            let platform = remote.platforms.first().cloned();
            vec![Descriptor { platform, ..remote.descriptor }]
        }
    };
    for descriptor in new {
        let from = remote.name.clone();
        match members.iter_mut().find(|known| known.descriptor.digest == descriptor.digest) {
            Some(known) => {
                let mut annotations = std::mem::take(&mut known.descriptor.annotations);
                annotations.extend(descriptor.annotations.clone());
                let platform = descriptor.platform.clone().or_else(|| known.descriptor.platform.take());
                *known = Member { descriptor: Descriptor { annotations, platform, ..descriptor }, from };
            }
            None => members.push(Member { descriptor, from }),
        }
    }
    Ok(())
}

/// Sends an index to one of its names; the members that were brought there before, and what is attached if that is wanted.
async fn send(
    access: &Access<'_>,
    target: &Reference,
    members: &[Member],
    descriptor: &Descriptor,
    bytes: &[u8],
    attached: bool,
) -> Result<Vec<Digest>> {
    let to = access.write(target);
    let mut copied = Vec::new();
    let mut ways: BTreeMap<String, Way<'_>> = BTreeMap::new();
    for member in members {
        let way = ways.entry(member.from.name()).or_insert_with(|| Way::new(access, &member.from, target));
        let digest = &member.descriptor.digest;
        if !to.has_manifest(digest.as_str()).await.map_err(registry_error)? {
            way.manifest(&member.descriptor, None).await?;
            copied.push(digest.clone());
        }
    }
    let name = target.tag.clone().unwrap_or_else(|| "latest".to_owned());
    let bytes = Bytes::copy_from_slice(bytes);
    to.push_manifest(&name, &descriptor.media_type, bytes).await.map_err(registry_error)?;
    if attached {
        let images = members.iter().filter(|member| !is_attestation(&member.descriptor));
        let mut subjects: BTreeSet<(String, Digest)> =
            images.map(|member| (member.from.name(), member.descriptor.digest.clone())).collect();
        // What is attached to an index that was copied as it is.
        subjects.extend(ways.keys().map(|source| (source.clone(), descriptor.digest.clone())));
        let bring = subjects
            .iter()
            .filter_map(|(source, subject)| Some(ways.get(source)?.attached(subject).boxed()))
            .collect::<Vec<_>>();
        let brought: Vec<Vec<Digest>> =
            futures_util::stream::iter(bring).buffer_unordered(AT_ONCE).try_collect().await?;
        copied.extend(brought.into_iter().flatten());
    }
    Ok(copied)
}
