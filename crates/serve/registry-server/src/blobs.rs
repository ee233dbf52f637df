//! Blobs of a repository: end-2, end-10.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, StatusCode, header};
use oci::Digest;

use crate::answer::{self, Body, Result, with};
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::events::{Deed, Object};
use crate::name::Name;
use crate::range::{self, Wanted};
use crate::registry::Registry;
use crate::storage::{Content, Flow, Key};
use crate::upstream::Filling;

pub(crate) const CONTENT_DIGEST: http::HeaderName = http::HeaderName::from_static("docker-content-digest");

/// How often a blob of another registry's is looked for: one that is here may be given up before it is opened.
const LOOKS: u32 = 5;

/// A blob that can be sent.
enum Found {
    Here(Content),
    /// From another registry.
    Coming(Arc<Filling>),
}

impl Found {
    fn size(&self) -> u64 {
        match self {
            Found::Here(content) => content.size,
            Found::Coming(filling) => filling.size(),
        }
    }

    fn body(self, range: Range<u64>, flow: &Flow) -> Body {
        match self {
            Found::Here(content) => content.body(range, flow),
            Found::Coming(filling) => filling.body(range),
        }
    }
}

impl Registry {
    /// Whether the repository has the blob, and its size. Relied on from now: a push that skips it finds it later.
    pub(crate) async fn rely_on_blob(&self, name: &Name, digest: &Digest) -> Result<Option<u64>> {
        if !self.storage.touch(&Key::link(name, digest)).await? {
            return Ok(None);
        }
        Ok(self.storage.stat(&Key::blob(digest)).await?.map(|stat| stat.size))
    }

    async fn blob(self: &Arc<Self>, name: &Name, digest: &Digest) -> Result<Option<Found>> {
        let here = match self.storage.stat(&Key::link(name, digest)).await? {
            Some(_) => self.storage.open(&Key::blob(digest)).await?,
            None => None,
        };
        let Some(cache) = self.cache.as_ref().filter(|_| here.is_none()) else {
            self.asked_for(&Key::blob(digest)).await?;
            return Ok(here.map(Found::Here));
        };
        let Some(descriptor) = self.described(cache, name, digest).await? else { return Ok(None) };
        for _ in 0..LOOKS {
            if let Some(filling) = self.fill(name, &descriptor).await? {
                return Ok(Some(Found::Coming(filling)));
            }
            self.adopt_blob(name, digest).await?;
            if let Some(content) = self.storage.open(&Key::blob(digest)).await? {
                return Ok(Some(Found::Here(content)));
            }
        }
        Ok(None)
    }

    /// The size of a blob that is not here, and will be when it is asked for.
    async fn size_elsewhere(&self, name: &Name, digest: &Digest) -> Result<Option<u64>> {
        match &self.cache {
            Some(cache) => Ok(self.described(cache, name, digest).await?.map(|descriptor| descriptor.size)),
            None => Ok(None),
        }
    }

    /// Makes the blob, which is in the storage, one of the repository's.
    pub(crate) async fn link(&self, name: &Name, digest: &Digest, size: u64, new: bool) -> Result<()> {
        self.storage.touch(&Key::blob(digest)).await?;
        let key = Key::link(name, digest);
        if new || self.storage.stat(&key).await?.is_none() {
            self.quota.add(name, size, new);
        }
        Ok(self.storage.write(&key, bytes::Bytes::new()).await?)
    }
}

/// GET and HEAD, DELETE.
pub(crate) async fn serve(call: Call, name: Name, digest: Digest) -> Result {
    match *call.method() {
        Method::HEAD => head(&call, &name, &digest).await,
        Method::GET => get(&call, &name, &digest).await,
        Method::DELETE => delete(&call, &name, &digest).await,
        _ => Err(call.unsupported("GET, HEAD, DELETE")),
    }
}

fn unknown(digest: &Digest) -> Failure {
    Failure::new(Code::BlobUnknown).about(serde_json::json!({ "digest": digest }))
}

fn described(answer: answer::Answer, digest: &Digest) -> answer::Answer {
    let answer = with(answer, header::CONTENT_TYPE, "application/octet-stream");
    let answer = with(answer, CONTENT_DIGEST, digest.as_str());
    let answer = with(answer, header::ETAG, &format!("\"{digest}\""));
    let answer = with(answer, header::ACCEPT_RANGES, "bytes");
    with(answer, header::CACHE_CONTROL, "max-age=31536000")
}

async fn head(call: &Call, name: &Name, digest: &Digest) -> Result {
    let size = match call.registry.rely_on_blob(name, digest).await? {
        None => call.registry.size_elsewhere(name, digest).await?,
        here => here,
    };
    let size = size.ok_or_else(|| unknown(digest))?;
    let mut answer = answer::empty(StatusCode::OK);
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(described(with(answer, header::CONTENT_LENGTH, &size.to_string()), digest))
}

async fn get(call: &Call, name: &Name, digest: &Digest) -> Result {
    let content = call.registry.blob(name, digest).await?.ok_or_else(|| unknown(digest))?;
    if call.header(header::IF_NONE_MATCH).is_some_and(|text| text.contains(digest.as_str())) {
        return Ok(described(answer::empty(StatusCode::NOT_MODIFIED), digest));
    }
    // What it was is what it is: another digest is another blob.
    let same = call.header(header::IF_RANGE).is_none_or(|text| text.contains(digest.as_str()));
    let range = call.header(header::RANGE).filter(|_| same);
    let size = content.size();
    let (range, status) = match range::wanted(range, size) {
        Wanted::All => (0..size, StatusCode::OK),
        Wanted::Part(range) => (range, StatusCode::PARTIAL_CONTENT),
        Wanted::Nothing => {
            let failure = Failure::new(Code::RangeInvalid);
            return Err(failure.header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let length = range.end - range.start;
    call.registry.metrics.sent.fetch_add(length, Ordering::Relaxed);
    call.registry.events.tell(call, Deed::Pull, &Object::blob(name, digest, Some(size)));
    let shown = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    let mut answer = http::Response::new(content.body(range, &call.registry.flow));
    *answer.status_mut() = status;
    let answer = with(answer, header::CONTENT_LENGTH, &length.to_string());
    let answer = match status {
        StatusCode::PARTIAL_CONTENT => with(answer, header::CONTENT_RANGE, &shown),
        _ => answer,
    };
    Ok(described(answer, digest))
}

/// The repository no longer has it; the content goes with the garbage collection.
async fn delete(call: &Call, name: &Name, digest: &Digest) -> Result {
    match call.registry.storage.remove(&Key::link(name, digest)).await? {
        true => {
            call.registry.events.tell(call, Deed::Delete, &Object::blob(name, digest, None));
            Ok(with(answer::empty(StatusCode::ACCEPTED), CONTENT_DIGEST, digest.as_str()))
        }
        false => Err(unknown(digest)),
    }
}
