//! One request on its way to its handler.

use std::io;

use api::version::ApiVersion;
use bytes::Bytes;
use engine::Engine;
use futures_util::{Stream, TryStreamExt as _};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, BodyStream, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;

use crate::answer::Result;
use crate::error::Failure;
use crate::listen::Peer;
use crate::query::Query;

/// The longest JSON body.
pub const JSON_MAX: usize = 16 << 20;

/// A decoded request.
pub struct Call {
    pub engine: Engine,
    pub version: ApiVersion,
    pub peer: Peer,
    /// What stands in the path for `{}`; empty when the route has none.
    pub name: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Incoming,
    /// The connection, when the client asks for it with `Upgrade`.
    pub upgrade: Option<OnUpgrade>,
    pub is_head: bool,
}

impl Call {
    /// The JSON body.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.json_or_none()
            .await?
            .ok_or_else(|| Failure::bad_request("invalid JSON: got EOF while reading request body"))
    }

    /// The JSON body, if there is one.
    pub async fn json_or_none<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let bytes = self.whole(JSON_MAX).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        self.check_json_type()?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Failure::bad_request(format!("invalid JSON: {e}")))
    }

    /// Forms that a web page can post without asking have other types than this.
    fn check_json_type(&self) -> Result<()> {
        let kind = self.header(header::CONTENT_TYPE.as_str());
        let media = kind.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(Failure::bad_request(format!(
            "unsupported Content-Type header ({kind}): must be 'application/json'"
        )))
    }

    async fn whole(&mut self, limit: usize) -> Result<Bytes> {
        let collected = Limited::new(&mut self.body, limit).collect().await.map_err(|e| {
            if e.is::<LengthLimitError>() {
                Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "request body is too large")
            } else {
                Failure::bad_request(format!("read request body: {e}"))
            }
        })?;
        Ok(collected.to_bytes())
    }

    /// True when the client announces a body.
    pub fn has_body(&self) -> bool {
        !self.body.is_end_stream()
    }

    /// The body as it comes.
    pub fn take_body(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        BodyStream::new(self.body)
            .try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())))
            .map_err(io::Error::other)
    }

    /// A header's text; empty when absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The client's credentials for the one registry that the request is about.
    pub fn registry_auth(&self) -> Result<api::auth::AuthConfig> {
        let header = self.header(api::common::REGISTRY_AUTH_HEADER);
        api::auth::decode(header).map_err(|e| Failure::bad_request(format!("X-Registry-Auth: {e}")))
    }
}
