//! Sending content to a registry (distribution-spec, "Pushing blobs", "Pushing manifests").

use crate::error::{Error, Problem};
use crate::exchange::{self, ERROR_LIMIT, Session};
use crate::repository::{Repository, accept};
use crate::retry::Retry;
use bytes::Bytes;
use oci::Digest;
use reqwest::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE,
};
use reqwest::{Body, Method, Response, StatusCode, Url};

/// A blob that is to be sent: where a connection breaks, its bytes are wanted once more.
pub trait Outgoing: Send + Sync {
    /// Its length, if that is known.
    fn length(&self) -> Option<u64>;
    /// Its bytes from this one on.
    fn open(&self, from: u64) -> Body;
    /// Its digest, which is known at the latest when all bytes have been read.
    fn digest(&self) -> Option<Digest>;
    /// Whether it was the blob that failed, and not the connection.
    fn failed(&self) -> bool;
}

/// Where the bytes of a blob go.
pub struct Place(Url);

/// What a registry says to the wish to send a blob.
pub enum Begun {
    /// It has taken it from the other repository.
    Mounted,
    /// It comes here.
    At(Place),
}

impl Repository {
    /// Whether the repository has this blob.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let url = self.url(&format!("blobs/{digest}")).await?;
        let response = self.session().ask(Method::HEAD, &url, HeaderMap::new(), Bytes::new()).await?;
        Ok(response.status().is_success())
    }

    /// Whether the repository has a manifest under this tag or digest.
    pub async fn has_manifest(&self, name: &str) -> Result<bool, Error> {
        let url = self.url(&format!("manifests/{name}")).await?;
        let mut headers = HeaderMap::new();
        // Registries hide what the question does not name.
        headers.extend(HeaderValue::try_from(accept()).ok().map(|kinds| (ACCEPT, kinds)));
        let response = self.session().ask(Method::HEAD, &url, headers, Bytes::new()).await?;
        Ok(response.status().is_success())
    }

    /// Asks for a place to send a blob to, or to take it from another repository of the same registry.
    pub async fn begin_blob(&self, mount: Option<(&Digest, &str)>) -> Result<Begun, Error> {
        let mut url = self.url("blobs/uploads/").await?;
        if let Some((digest, from)) = mount {
            self.session().also(format!("repository:{from}:pull")).await?;
            url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        }
        let response = self.session().ask(Method::POST, &url, HeaderMap::new(), Bytes::new()).await?;
        match response.status() {
            StatusCode::CREATED if mount.is_some() => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => Ok(Begun::At(Place(location(&url, &response)?))),
            _ => Err(self.refused(response).await),
        }
    }

    /// Sends a blob there, as far as that is needed over several connections; its digest.
    pub async fn send_blob(&self, place: Place, blob: &dyn Outgoing) -> Result<Digest, Error> {
        let Place(mut place) = place;
        let (mut from, mut furthest, mut retry) = (0, 0, Retry::new(self.session().patience()));
        loop {
            let mut error = match self.send_from(&mut place, from, blob).await {
                Err(error) if !blob.failed() => error,
                other => return other,
            };
            (place, from) = loop {
                let Some(wait) = retry.after_error(&error, true) else { return Err(error) };
                self.session().wait(&place, wait).await;
                match self.resume(&place).await {
                    Ok(next) => break next,
                    Err(again) => error = again,
                }
            };
            if from > furthest {
                (furthest, retry) = (from, Retry::new(self.session().patience()));
            }
        }
    }

    async fn send_from(&self, place: &mut Url, from: u64, blob: &dyn Outgoing) -> Result<Digest, Error> {
        if blob.length().is_none_or(|length| length > from) {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            if let Some(length) = blob.length() {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length - from));
                if from > 0 {
                    let range = HeaderValue::from_str(&format!("{from}-{}", length - 1));
                    headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
                }
            }
            let response = self.session().stream(Method::PATCH, place, headers, blob.open(from)).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && self.session().answered(place, &response).await? {
                // The token ran out on the way.
                return Err(Error::Protocol {
                    request: exchange::shown(place).by(&Method::PATCH),
                    problem: Problem::ClosedEarly(from),
                });
            }
            if !status.is_success() {
                return Err(self.refused(response).await);
            }
            *place = location(place, &response)?;
        }
        let Some(digest) = blob.digest() else {
            let request = exchange::shown(place).by(&Method::PATCH);
            return Err(Error::Protocol { request, problem: Problem::ClosedEarly(from) });
        };
        let mut end = place.clone();
        end.query_pairs_mut().append_pair("digest", digest.as_str());
        // Whether it has arrived is asked before it is said again.
        let response = self.session().ask_once(&Method::PUT, &end, &HeaderMap::new(), &Bytes::new()).await?;
        match response.status().is_success() {
            true => Ok(digest),
            false => Err(self.refused(response).await),
        }
    }

    /// Where an upload that broke goes on, and with which byte: at a new place if the registry has forgotten it.
    async fn resume(&self, place: &Url) -> Result<(Url, u64), Error> {
        let response = self.session().ask_once(&Method::GET, place, &HeaderMap::new(), &Bytes::new()).await?;
        if response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS {
            return Err(self.refused(response).await);
        }
        let range = exchange::header(response.headers(), RANGE.as_str()).and_then(range_end);
        if let (true, Some(last)) = (response.status().is_success(), range) {
            let next = location(place, &response).unwrap_or_else(|_| place.clone());
            // There is no way to say that nothing has come: so much is sent again.
            return Ok((next, if last == 0 { 0 } else { last + 1 }));
        }
        Ok((self.begin().await?, 0))
    }

    /// A place for a blob that is in no other repository.
    async fn begin(&self) -> Result<Url, Error> {
        match self.begin_blob(None).await? {
            Begun::At(Place(place)) => Ok(place),
            Begun::Mounted => {
                let request = exchange::shown(&self.url("blobs/uploads/").await?).by(&Method::POST);
                Err(Error::Protocol { request, problem: Problem::BadRedirect })
            }
        }
    }

    /// Sends a blob of known digest and length at once, and once more from its beginning where that may help.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        length: u64,
        open: &(dyn Fn() -> Body + Sync),
    ) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let (mut retry, mut answered) = (Retry::new(self.session().patience()), false);
        loop {
            let mut place = self.begin().await?;
            place.query_pairs_mut().append_pair("digest", digest.as_str());
            let outcome = self.session().stream(Method::PUT, &place, headers.clone(), open()).await;
            let Some(response) = self.session().settled(&mut retry, &place, outcome).await? else { continue };
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED
                && !answered
                && self.session().answered(&place, &response).await?
            {
                // The token ran out on the way.
                answered = true;
                continue;
            }
            return if status.is_success() { Ok(()) } else { Err(self.refused(response).await) };
        }
    }

    /// Sends a manifest or an index under a tag or its digest.
    pub async fn push_manifest(&self, name: &str, media_type: &str, bytes: Bytes) -> Result<(), Error> {
        let url = self.url(&format!("manifests/{name}")).await?;
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(media_type).map_err(|_| Error::Protocol {
            request: exchange::shown(&url).by(&Method::PUT),
            problem: Problem::WrongType(media_type.to_owned()),
        })?;
        headers.insert(CONTENT_TYPE, value);
        let response = self.session().ask(Method::PUT, &url, headers, bytes).await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(self.refused(response).await),
        }
    }

    /// Docker's words for a registry that does not take what we send.
    async fn refused(&self, response: Response) -> Error {
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return exchange::limited(response).await;
        }
        let shown = exchange::asked(&response);
        let body = exchange::body(response, &shown, ERROR_LIMIT).await.unwrap_or_default();
        let reason = exchange::reason(&body);
        match (status, exchange::code(&body).as_deref()) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) | (_, Some("DENIED" | "UNAUTHORIZED")) => {
                Error::PushDenied {
                    name: self.reference().familiar_name(),
                    reason: reason.unwrap_or_else(|| "requested access to the resource is denied".to_owned()),
                }
            }
            _ => exchange::unexpected(&shown, status, &body),
        }
    }
}

/// The last byte in `0-9`, with or without a unit.
fn range_end(text: &str) -> Option<u64> {
    text.trim().rsplit('-').next()?.parse().ok()
}

/// Where an upload goes on.
fn location(from: &Url, response: &Response) -> Result<Url, Error> {
    let text = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    crate::redirect::target(from, text)
        .map_err(|problem| Error::Protocol { request: exchange::asked(response), problem })
}

impl Session {
    /// A request with a small body, or none, made again while that may help; one challenge is answered.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        let mut retry = Retry::new(self.patience());
        loop {
            let outcome = self.ask_once(&method, url, &headers, &body).await;
            if let Some(response) = self.settled(&mut retry, url, outcome).await? {
                return Ok(response);
            }
        }
    }

    async fn ask_once(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, Error> {
        let send = || self.stream(method.clone(), url, headers.clone(), body.clone().into());
        let response = send().await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.answered(url, &response).await? {
            return send().await;
        }
        Ok(response)
    }
}
