//! Manifests and indexes: end-3, end-7, end-9.

use std::sync::atomic::Ordering;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderName, Method, StatusCode, header};
use oci::Digest;
use oci::image::{Descriptor, Document, MANIFEST_MAX};
use oci::media_types::{self, OCI_INDEX, OCI_MANIFEST};
use serde_json::json;

use crate::answer::{self, Answer, Result, with};
use crate::blobs::CONTENT_DIGEST;
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::events::{Deed, Object};
use crate::name::{Name, Tag};
use crate::referrers;
use crate::registry::Registry;
use crate::route::Reference;
use crate::storage::{Folder, Key};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Tags that a manifest may get by one request, beside the one in its path.
const TAGS_MAX: usize = 100;

/// A manifest as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

impl Stored {
    fn pack(&self) -> Bytes {
        let mut packed = BytesMut::with_capacity(self.media_type.len() + 1 + self.bytes.len());
        packed.put_slice(self.media_type.as_bytes());
        packed.put_u8(b'\n');
        packed.put_slice(&self.bytes);
        packed.freeze()
    }

    fn unpack(digest: Digest, packed: &Bytes) -> Option<Stored> {
        let end = packed.iter().position(|byte| *byte == b'\n')?;
        let media_type = String::from_utf8(packed[..end].to_vec()).ok()?;
        Some(Stored { digest, media_type, bytes: packed.slice(end + 1..) })
    }
}

impl Registry {
    /// What a tag stands for.
    pub(crate) async fn tagged(&self, name: &Name, tag: &Tag) -> Result<Option<Digest>> {
        let text = self.storage.read(&Key::tag(name, tag)).await?;
        Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()))
    }

    /// The manifest of this digest. What is damaged is not there.
    pub(crate) async fn stored(&self, name: &Name, digest: &Digest) -> Result<Option<Stored>> {
        let Some(packed) = self.storage.read(&Key::manifest(name, digest)).await? else { return Ok(None) };
        let stored = Stored::unpack(digest.clone(), &packed);
        let sound = stored.filter(|stored| digest.matches(&stored.bytes));
        if sound.is_none() {
            tracing::error!(%name, %digest, "manifest is damaged");
        }
        Ok(sound)
    }

    /// The manifest that is meant.
    pub(crate) async fn manifest(&self, name: &Name, reference: &Reference) -> Result<Option<Stored>> {
        let found = self.find_manifest(name, reference).await?;
        if let Some(found) = &found {
            self.asked_for(&Key::manifest(name, &found.digest)).await?;
        }
        Ok(found)
    }

    async fn find_manifest(&self, name: &Name, reference: &Reference) -> Result<Option<Stored>> {
        if let (Some(cache), Reference::Tag(tag)) = (&self.cache, reference) {
            return self.refresh_tag(cache, name, tag).await;
        }
        let digest = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => self.tagged(name, tag).await?,
        };
        let Some(digest) = digest else { return Ok(None) };
        match (self.stored(name, &digest).await?, &self.cache) {
            (None, Some(cache)) => self.fetch_manifest(cache, name, &digest).await,
            (found, _) => Ok(found),
        }
    }

    /// Keeps a manifest, by its digest and under these tags.
    pub(crate) async fn keep_manifest(
        &self,
        name: &Name,
        stored: &Stored,
        subject: Option<(&Digest, &Descriptor)>,
        tags: &[Tag],
    ) -> Result<()> {
        let (key, packed) = (Key::manifest(name, &stored.digest), stored.pack());
        if self.storage.stat(&key).await?.is_none() {
            let mut held = self.quota.reservation(name);
            self.reserve(&mut held, packed.len() as u64).await?;
            self.quota.add(name, packed.len() as u64, true);
        }
        self.storage.write(&key, packed).await?;
        if let Some((subject, descriptor)) = subject {
            let document = serde_json::to_vec(descriptor).map_err(|error| Failure::internal(&error))?;
            self.storage.write(&Key::referrer(name, subject, &stored.digest), document.into()).await?;
        }
        for tag in tags {
            let text = Bytes::from(stored.digest.as_str().to_owned());
            self.storage.write(&Key::tag(name, tag), text).await?;
        }
        Ok(())
    }
}

/// GET and HEAD, PUT, DELETE.
pub(crate) async fn serve(call: Call, name: Name, reference: Reference) -> Result {
    match *call.method() {
        Method::GET | Method::HEAD => get(&call, &name, &reference).await,
        Method::PUT => put(call, name, reference).await,
        Method::DELETE => delete(&call, &name, &reference).await,
        _ => Err(call.unsupported("GET, HEAD, PUT, DELETE")),
    }
}

fn unknown(name: &Name, reference: &Reference) -> Failure {
    let detail = json!({ "name": name.as_str(), "reference": reference.to_string() });
    Failure::new(Code::ManifestUnknown).about(detail)
}

async fn get(call: &Call, name: &Name, reference: &Reference) -> Result {
    let stored = call.registry.manifest(name, reference).await?;
    let stored = stored.ok_or_else(|| unknown(name, reference))?;
    // Whoever asks by a digest knows what it is.
    if matches!(reference, Reference::Tag(_)) && !accepts(call, &stored.media_type) {
        let kind = &stored.media_type;
        return Err(Failure::says(
            Code::ManifestUnknown,
            format!("{reference} is {kind}, which the client does not accept"),
        ));
    }
    if *call.method() == Method::GET {
        let size = stored.bytes.len() as u64;
        call.registry.metrics.sent.fetch_add(size, Ordering::Relaxed);
        let object = Object::manifest(name, &stored.digest, &stored.media_type, Some(size));
        call.registry.events.tell(call, Deed::Pull, &object.tagged(reference.tag()));
    }
    let tag = format!("\"{}\"", stored.digest);
    if call.header(header::IF_NONE_MATCH).is_some_and(|text| text.contains(stored.digest.as_str())) {
        return Ok(with(answer::empty(StatusCode::NOT_MODIFIED), header::ETAG, &tag));
    }
    let answer = answer::document_of(&stored.media_type, stored.bytes);
    let answer = with(answer, header::ETAG, &tag);
    Ok(with(answer, CONTENT_DIGEST, stored.digest.as_str()))
}

/// Whether the client takes documents of this type; it does when it does not say.
fn accepts(call: &Call, media_type: &str) -> bool {
    let mut said = call.headers(header::ACCEPT).flat_map(|line| line.split(',')).peekable();
    said.peek().is_none()
        || said.any(|item| {
            let kind = item.split(';').next().unwrap_or_default().trim();
            kind == media_type || matches!(kind, "*/*" | "application/*" | "")
        })
}

async fn put(mut call: Call, name: Name, reference: Reference) -> Result {
    let registry = call.registry.clone();
    let bytes = call.document(MANIFEST_MAX).await?;
    let digest = match &reference {
        Reference::Digest(digest) if digest.matches(&bytes) => digest.clone(),
        Reference::Digest(_) => return Err(Failure::new(Code::DigestInvalid)),
        Reference::Tag(_) => Digest::sha256(&bytes),
    };
    let tags = tags(&call, &reference)?;
    let document = Document::parse(&bytes).map_err(|error| invalid(crate::error::chain(&error)))?;
    let media_type = media_type(&call, &document)?;
    let _hold = registry.storage.hold().await?;
    let _turn = registry.turns.of(&name).await;
    has_members(&registry, &name, &document).await?;
    let subject = referrers::subject(&document).map(|subject| subject.digest.clone());
    let descriptor = referrers::descriptor(&document, &media_type, &digest, bytes.len() as u64);
    let stored = Stored { digest, media_type, bytes };
    let referred = subject.as_ref().map(|subject| (subject, &descriptor));
    registry.keep_manifest(&name, &stored, referred, &tags).await?;
    let size = stored.bytes.len() as u64;
    let object = Object::manifest(&name, &stored.digest, &stored.media_type, Some(size));
    registry.events.tell(&call, Deed::Push, &object.tagged(tags.first()));
    Ok(kept(&name, &reference, &stored.digest, subject.as_ref(), &tags))
}

fn kept(
    name: &Name,
    reference: &Reference,
    digest: &Digest,
    subject: Option<&Digest>,
    tags: &[Tag],
) -> Answer {
    let answer = answer::empty(StatusCode::CREATED);
    let answer = with(answer, header::LOCATION, &format!("/v2/{name}/manifests/{digest}"));
    let mut answer = with(answer, CONTENT_DIGEST, digest.as_str());
    if let Some(subject) = subject {
        answer = with(answer, SUBJECT, subject.as_str());
    }
    if matches!(reference, Reference::Digest(_)) {
        for tag in tags {
            answer = with(answer, TAG, tag.as_str());
        }
    }
    answer
}

/// The tag of the path, or those of the query (end-7b).
fn tags(call: &Call, reference: &Reference) -> Result<Vec<Tag>> {
    if let Reference::Tag(tag) = reference {
        return Ok(vec![tag.clone()]);
    }
    let mut tags = Vec::new();
    for text in call.query.all("tag") {
        tags.push(text.parse().map_err(|_| Failure::new(Code::TagInvalid))?);
        if tags.len() > TAGS_MAX {
            let failure = Failure::says(Code::TagInvalid, format!("more than {TAGS_MAX} tags"));
            return Err(failure.status(StatusCode::URI_TOO_LONG));
        }
    }
    Ok(tags)
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::says(Code::ManifestInvalid, message)
}

/// The type of the document, which it, its header and its shape agree on (CVE-2021-41190).
fn media_type(call: &Call, document: &Document) -> Result<String> {
    let header =
        call.header(header::CONTENT_TYPE).map(|text| text.split(';').next().unwrap_or_default().trim());
    let (own, is_index) = match document {
        Document::Manifest(manifest) => (manifest.media_type.as_str(), false),
        Document::Index(index) => (index.media_type.as_str(), true),
    };
    let found = match (header.unwrap_or_default(), own) {
        ("", "") if is_index => OCI_INDEX,
        ("", "") => OCI_MANIFEST,
        ("", own) => own,
        (header, "") => header,
        (header, own) if header == own => own,
        (header, own) => {
            return Err(invalid(format!("the manifest says that it is {own}, and its header says {header}")));
        }
    };
    let fits = if is_index { media_types::is_index(found) } else { media_types::is_manifest(found) };
    match fits {
        true => Ok(found.to_owned()),
        false => Err(invalid(format!("{} is no type that this manifest can have", found.escape_default()))),
    }
}

/// What a manifest names must be there, and as large as it says. What it says to get elsewhere need not.
async fn has_members(registry: &Registry, name: &Name, document: &Document) -> Result<()> {
    let lacks =
        |what: &Descriptor| Failure::new(Code::ManifestBlobUnknown).about(json!({ "digest": what.digest }));
    let mut seen = std::collections::BTreeSet::new();
    match document {
        Document::Manifest(manifest) => {
            let members = std::iter::once(&manifest.config).chain(&manifest.layers);
            for member in members.filter(|member| member.urls.is_empty()) {
                if !seen.insert(&member.digest) {
                    continue;
                }
                let size = registry.rely_on_blob(name, &member.digest).await?.ok_or_else(|| lacks(member))?;
                if size != member.size {
                    let detail = json!({ "digest": member.digest, "size": size, "said": member.size });
                    return Err(Failure::new(Code::SizeInvalid).about(detail));
                }
            }
        }
        Document::Index(index) => {
            for member in index.manifests.iter().filter(|member| member.urls.is_empty()) {
                // An index of blobs is how BuildKit's caches were once written.
                let known = !seen.insert(&member.digest)
                    || registry.storage.stat(&Key::manifest(name, &member.digest)).await?.is_some()
                    || names_a_blob(member)
                        && registry.rely_on_blob(name, &member.digest).await? == Some(member.size);
                if !known {
                    return Err(lacks(member));
                }
            }
        }
    }
    Ok(())
}

/// Whether what an index names is no manifest.
pub fn names_a_blob(member: &Descriptor) -> bool {
    !media_types::is_manifest(&member.media_type) && !media_types::is_index(&member.media_type)
}

/// A tag alone, or a manifest with the tags that stand for it.
async fn delete(call: &Call, name: &Name, reference: &Reference) -> Result {
    let registry = &call.registry;
    let removed = match reference {
        Reference::Tag(tag) => {
            let _turn = registry.turns.of(name).await;
            registry.storage.remove(&Key::tag(name, tag)).await?
        }
        Reference::Digest(digest) => registry.remove_manifest(name, digest).await?,
    };
    match removed {
        true => {
            let object = match reference {
                Reference::Tag(tag) => Object::tag(name, tag),
                Reference::Digest(digest) => Object::manifest(name, digest, "", None),
            };
            registry.events.tell(call, Deed::Delete, &object);
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
        false => Err(unknown(name, reference)),
    }
}

impl Registry {
    /// Tags first: at no moment one stands for nothing.
    pub(crate) async fn remove_manifest(&self, name: &Name, digest: &Digest) -> Result<bool> {
        let key = Key::manifest(name, digest);
        // A tag that is given to another manifest meanwhile must not go with this one.
        let _turn = self.turns.of(name).await;
        let Some(packed) = self.storage.read(&key).await? else { return Ok(false) };
        for tag in self.storage.names(Folder::Tags(name), "", usize::MAX).await? {
            let Ok(tag) = tag.parse::<Tag>() else { continue };
            if self.tagged(name, &tag).await?.as_ref() == Some(digest) {
                self.storage.remove(&Key::tag(name, &tag)).await?;
            }
        }
        let stored = Stored::unpack(digest.clone(), &packed);
        let document = stored.and_then(|stored| Document::parse(&stored.bytes).ok());
        if let Some(subject) = document.as_ref().and_then(referrers::subject) {
            self.storage.remove(&Key::referrer(name, &subject.digest, digest)).await?;
        }
        Ok(self.storage.remove(&key).await?)
    }
}
