//! One repository of a registry: its manifests and tags.

use crate::blob::{Blob, LANES, Place};
use crate::error::{Error, Problem, RequestLine};
use crate::exchange::{self, ERROR_LIMIT, Get, Session, Source};
use crate::near;
use bytes::Bytes;
use oci::image::{Descriptor, Document, MANIFEST_MAX};
use oci::media_types::{self, DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use oci::{Digest, Reference};
use reqwest::header::{CONTENT_TYPE, LINK};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The documents that we know.
pub(crate) fn accept() -> String {
    [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST].join(", ")
}

/// What is asked for in a repository.
#[derive(Clone)]
pub struct Repository {
    session: Arc<Session>,
    reference: Reference,
    /// Connections for blobs.
    lanes: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// What a reference without tag and digest means.
const DEFAULT_TAG: &str = "latest";

/// How long an error waits for tags that may have been meant.
const SUGGESTION_PATIENCE: Duration = Duration::from_secs(5);
/// Pages of a tag list that are read, and tags a page.
const TAG_PAGES: usize = 20;
const TAGS_A_PAGE: usize = 1000;

impl Repository {
    pub(crate) fn new(session: Session, reference: Reference) -> Repository {
        Repository { session: Arc::new(session), reference, lanes: Arc::new(Semaphore::new(LANES)) }
    }

    /// What the reference stands for: the manifest or index by its digest or, without one, by its tag.
    pub async fn resolve(&self) -> Result<(Descriptor, Bytes), Error> {
        match (&self.reference.digest, &self.reference.tag) {
            (Some(digest), _) => self.manifest(digest).await,
            (None, tag) => {
                let tag = tag.as_deref().unwrap_or(DEFAULT_TAG);
                match self.fetch(tag, None).await {
                    Err(error) => Err(self.suggest(error, tag).await),
                    found => found,
                }
            }
        }
    }

    /// Adds the tags that may have been meant to an error that says that there is no such tag.
    async fn suggest(&self, error: Error, tag: &str) -> Error {
        if !matches!(error.bare(), Error::ManifestUnknown { .. }) {
            return error;
        }
        match tokio::time::timeout(SUGGESTION_PATIENCE, self.tag_pages(1)).await {
            Ok(Ok(tags)) => error.with_near(near::tags(tag, &tags)),
            _ => error,
        }
    }

    /// The digest of what the reference stands for, by the smallest question that there is. None where the registry says
    /// nothing, whatever its reason: [`Repository::resolve`] finds that out.
    pub async fn digest(&self) -> Result<Option<Digest>, Error> {
        let digest = self.reference.digest.as_ref().map(Digest::as_str);
        let name = digest.or(self.reference.tag.as_deref()).unwrap_or(DEFAULT_TAG);
        let url = self.url(&format!("manifests/{name}")).await?;
        let accept = accept();
        let get = Get { accept: Some(&accept), head: true, ..Get::default() };
        let response = self.session.get(&url, &get).await?;
        let announced = exchange::header(response.headers(), "docker-content-digest");
        let announced = announced.filter(|_| response.status().is_success());
        Ok(announced.and_then(|digest| digest.parse().ok()))
    }

    /// The length of a blob; none if the repository has no such, or does not say it.
    pub async fn blob_length(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let url = self.url(&format!("blobs/{digest}")).await?;
        let response = self.session.get(&url, &Get { head: true, ..Get::default() }).await?;
        let length = exchange::header(response.headers(), "content-length");
        Ok(length.filter(|_| response.status().is_success()).and_then(|length| length.parse().ok()))
    }

    /// The manifest or index with this digest.
    pub async fn manifest(&self, digest: &Digest) -> Result<(Descriptor, Bytes), Error> {
        self.fetch(digest.as_str(), Some(digest)).await
    }

    /// The manifest or index that an index names: also its size and its kind must be what the index says, or two readers
    /// of one index could see different images (CVE-2021-41190).
    pub async fn member(&self, descriptor: &Descriptor) -> Result<(Descriptor, Bytes), Error> {
        let (found, bytes) = self.manifest(&descriptor.digest).await?;
        if found.size != descriptor.size {
            let (digest, expected) = (found.digest, descriptor.size);
            return Err(Error::WrongSize { digest, expected, found: found.size });
        }
        let named = &descriptor.media_type;
        let fits = match media_types::is_index(&found.media_type) {
            true => media_types::is_index(named),
            false => media_types::is_manifest(named),
        };
        if !fits && !named.is_empty() {
            let request = RequestLine::get(self.reference.with_digest(found.digest).familiar());
            return Err(Error::Protocol { request, problem: Problem::WrongType(named.clone()) });
        }
        Ok((found, bytes))
    }

    /// What a tag or a digest stands for.
    pub(crate) async fn named(&self, name: &str) -> Result<(Descriptor, Bytes), Error> {
        self.fetch(name, None).await
    }

    /// The content that a descriptor names. Nothing is requested before its first bytes are wanted.
    pub fn blob(&self, descriptor: &Descriptor) -> Blob {
        Blob::new(Place {
            session: self.session.clone(),
            reference: self.reference.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            lanes: self.lanes.clone(),
            waits: None,
        })
    }

    /// Whether mirrors were asked, none of which is asked from now on: what came of one is not what it was said to be.
    pub fn give_up_mirrors(&self, problem: &str) -> bool {
        self.session.give_up_mirrors(problem)
    }

    /// The repository's tags, in the registry's order; the first some thousand when there are more.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        self.tag_pages(TAG_PAGES).await.map_err(|error| self.session.explain(error))
    }

    async fn tag_pages(&self, pages: usize) -> Result<Vec<String>, Error> {
        let mut url = self.url("tags/list").await?;
        url.set_query(Some(&format!("n={TAGS_A_PAGE}")));
        let mut found = Vec::new();
        for _ in 0..pages {
            let response = self.session.get(&url, &Get::default()).await?;
            let next = exchange::header(response.headers(), LINK.as_str()).and_then(exchange::next_page);
            let next =
                next.and_then(|link| url.join(&link).ok()).filter(|next| next.origin() == url.origin());
            let body = self.success(response, Wanted::Tags).await?;
            let bad = |_| Error::Protocol { request: exchange::shown(&url), problem: Problem::BadDocument };
            let page: Tags = serde_json::from_slice(&body).map_err(bad)?;
            found.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(found)
    }

    async fn fetch(&self, name: &str, expected: Option<&Digest>) -> Result<(Descriptor, Bytes), Error> {
        loop {
            let mut source = None;
            match self.fetch_once(name, expected, &mut source).await {
                // There are others.
                Err(error) if self.session.blame(source, &error) => {}
                fetched => return fetched.map_err(|error| self.session.explain(error)),
            }
        }
    }

    async fn fetch_once(
        &self,
        name: &str,
        expected: Option<&Digest>,
        source: &mut Option<Source>,
    ) -> Result<(Descriptor, Bytes), Error> {
        let url = self.url(&format!("manifests/{name}")).await?;
        let accept = accept();
        let get = Get { accept: Some(&accept), ..Get::default() };
        let response = self.session.get(&url, &get).await?;
        *source = exchange::source(&response);
        let content_type = exchange::header(response.headers(), CONTENT_TYPE.as_str());
        let content_type =
            content_type.and_then(|text| text.split(';').next()).map(|text| text.trim().to_owned());
        let announced = exchange::header(response.headers(), "docker-content-digest")
            .and_then(|digest| digest.parse::<Digest>().ok());
        let body = self.success(response, Wanted::Manifest).await?;
        // What a tag stands for is what the registry says it is: both must agree.
        let found = expected.or(announced.as_ref());
        if let Some(expected) = found.filter(|digest| !digest.matches(&body)) {
            return Err(Error::WrongDigest { expected: expected.clone(), found: Digest::sha256(&body) });
        }
        let digest = found.cloned().unwrap_or_else(|| Digest::sha256(&body));
        let document = Document::parse(&body)
            .map_err(|source| Error::Manifest { reference: self.reference.familiar(), source })?;
        let media_type = fitting_type(&document, content_type.as_deref())
            .map_err(|problem| Error::Protocol { request: exchange::shown(&url), problem })?;
        Ok((Descriptor::new(&media_type, digest, body.len() as u64), body))
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(crate) async fn url(&self, rest: &str) -> Result<Url, Error> {
        url_in(&self.session, &self.reference, rest).await
    }

    async fn success(&self, response: Response, wanted: Wanted<'_>) -> Result<Bytes, Error> {
        if response.status().is_success() {
            let shown = exchange::shown(response.url());
            return exchange::body(response, &shown, MANIFEST_MAX).await;
        }
        Err(refusal(response, &self.reference, wanted).await)
    }
}

/// What a request was about, for the words of a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    Manifest,
    Blob(&'a Digest),
    Tags,
}

impl Wanted<'_> {
    fn unknown(self, reference: &Reference, reason: String) -> Error {
        match self {
            Wanted::Manifest => {
                Error::ManifestUnknown { reference: reference.familiar(), reason, near: vec![] }
            }
            Wanted::Blob(digest) => {
                // Registries whose message is their code's words say nothing more.
                let reason = match reason.split_once(": ") {
                    Some((code, message)) if code == message => code.to_owned(),
                    _ => reason,
                };
                Error::BlobUnknown { digest: digest.clone(), reason }
            }
            Wanted::Tags => Error::RepositoryUnknown { name: reference.familiar_name(), reason },
        }
    }
}

/// An address below the repository.
pub(crate) async fn url_in(session: &Session, reference: &Reference, rest: &str) -> Result<Url, Error> {
    let root = session.root().await?;
    // A file of the administrator's may say that the registry has it by another name.
    let path = match session.path().await? {
        "" => &reference.path,
        path => path,
    };
    let path = format!("{path}/{rest}");
    root.join(&path).map_err(|_| Error::Protocol {
        request: RequestLine::get(format!("{root}{path}")),
        problem: Problem::BadRedirect,
    })
}

/// What an answer means that is no success, with Docker's words.
pub(crate) async fn refusal(response: Response, reference: &Reference, wanted: Wanted<'_>) -> Error {
    let (status, shown) = (response.status(), exchange::shown(response.url()));
    let body = match exchange::body(response, &shown, ERROR_LIMIT).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    let reason = exchange::reason(&body);
    let name = || reference.familiar_name();
    match (status, exchange::code(&body).as_deref()) {
        (StatusCode::NOT_FOUND, Some("NAME_UNKNOWN")) => {
            Error::RepositoryUnknown { name: name(), reason: reason.unwrap_or_default() }
        }
        (StatusCode::NOT_FOUND, _) => wanted.unknown(reference, reason.unwrap_or("not found".into())),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            let reason = reason.unwrap_or("denied: requested access to the resource is denied".into());
            Error::Denied { name: name(), reason }
        }
        _ => exchange::unexpected(&shown, status, &body),
    }
}

/// The document's type. Header and document must not contradict each other (CVE-2021-41190); a header that
/// knows nothing of manifests is no contradiction.
fn fitting_type(document: &Document, header: Option<&str>) -> Result<String, Problem> {
    let own = document.media_type();
    let is_index = matches!(document, Document::Index(_));
    let Some(header) = header else { return Ok(own.to_owned()) };
    if !media_types::is_index(header) && !media_types::is_manifest(header) {
        return Ok(own.to_owned());
    }
    if media_types::is_index(header) != is_index {
        return Err(Problem::WrongType(header.to_owned()));
    }
    let silent = match document {
        Document::Manifest(manifest) => manifest.media_type.is_empty(),
        Document::Index(index) => index.media_type.is_empty(),
    };
    match silent {
        true => Ok(header.to_owned()),
        false if own == header => Ok(own.to_owned()),
        false => Err(Problem::WrongType(header.to_owned())),
    }
}
