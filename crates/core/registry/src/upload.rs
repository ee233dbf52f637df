//! Sending content to a registry (distribution-spec, "Pushing blobs", "Pushing manifests").

use crate::error::{Error, Problem};
use crate::exchange::{self, ERROR_LIMIT, Session};
use crate::repository::Repository;
use bytes::Bytes;
use oci::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};

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
        let response = self.session().ask(Method::HEAD, &url, HeaderMap::new(), Bytes::new()).await?;
        Ok(response.status().is_success())
    }

    /// Lets the repository take a blob from another one of the same registry; whether that worked.
    pub async fn mount_blob(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        let mut url = self.url("blobs/uploads/").await?;
        url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        let response = self.session().ask(Method::POST, &url, HeaderMap::new(), Bytes::new()).await?;
        Ok(response.status() == StatusCode::CREATED)
    }

    /// Sends a blob of known digest and length.
    pub async fn push_blob(&self, digest: &Digest, length: u64, body: Body) -> Result<(), Error> {
        let start = self.url("blobs/uploads/").await?;
        let response = self.session().ask(Method::POST, &start, HeaderMap::new(), Bytes::new()).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.refused(response).await);
        }
        let mut place = location(&start, &response)?;
        place.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let response = self.session().stream(Method::PUT, &place, headers, body).await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(self.refused(response).await),
        }
    }

    /// Sends a manifest or an index under a tag or its digest.
    pub async fn push_manifest(&self, name: &str, media_type: &str, bytes: Bytes) -> Result<(), Error> {
        let url = self.url(&format!("manifests/{name}")).await?;
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(media_type).map_err(|_| Error::Protocol {
            url: url.to_string(),
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
        let shown = exchange::shown(response.url());
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

/// Where an upload goes on.
fn location(from: &Url, response: &Response) -> Result<Url, Error> {
    let text = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    crate::redirect::target(from, text)
        .map_err(|problem| Error::Protocol { url: exchange::shown(from), problem })
}

impl Session {
    /// A request with a small body, or none; one challenge is answered.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        let response = self.stream(method.clone(), url, headers.clone(), body.clone().into()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.answered(url, &response).await? {
            return self.stream(method, url, headers, body.into()).await;
        }
        Ok(response)
    }
}
