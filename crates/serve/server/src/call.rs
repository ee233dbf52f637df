//! One request on its way to its handler.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use api::version::ApiVersion;
use bytes::{Bytes, BytesMut};
use engine::Engine;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, BodyStream, LengthLimitError, Limited};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::answer::Result;
use crate::error::Failure;
use crate::listen::Peer;
use crate::query::Query;

/// The longest JSON body.
pub const JSON_MAX: usize = 16 << 20;

/// A decoded request.
pub struct Call {
    pub engine: Engine,
    pub buildkit: buildkit::Host,
    pub version: ApiVersion,
    pub peer: Peer,
    /// How long a document may take to come.
    pub patience: Duration,
    /// What stands in the path for `{}`; empty when the route has none.
    pub name: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Incoming,
    /// What was read of the body by whoever wanted no more than its beginning.
    pub read: Bytes,
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
        api::lenient::from_slice(&bytes)
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
        let too_large = || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "request body is too large");
        // Announced, it needn't come: who announces a gigabyte may send it a byte an hour.
        if self.body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let collecting = Limited::new(&mut self.body, limit).collect();
        let late = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the request body did not come in time");
        let collected =
            tokio::time::timeout(self.patience, collecting).await.map_err(late)?.map_err(|e| {
                if e.is::<LengthLimitError>() {
                    too_large()
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

    /// The first bytes of the body, all of which have to be there.
    pub async fn first(&mut self, count: usize) -> Result<Bytes> {
        if count > JSON_MAX {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the beginning of the body is too large",
            ));
        }
        let mut bytes = BytesMut::from(std::mem::take(&mut self.read));
        let late = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the request body did not come in time");
        let body = &mut self.body;
        let reading = async {
            while bytes.len() < count {
                let Some(frame) = body.frame().await else {
                    return Err(Failure::bad_request("the request body ends before it is complete"));
                };
                let frame = frame.map_err(|e| Failure::bad_request(format!("read request body: {e}")))?;
                bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            Ok(())
        };
        tokio::time::timeout(self.patience, reading).await.map_err(late)??;
        let first = bytes.split_to(count);
        self.read = bytes.freeze();
        Ok(first.freeze())
    }

    /// The body as it comes, without what was read.
    pub fn take_body(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let read = Some(self.read).filter(|bytes| !bytes.is_empty()).map(Ok);
        let rest = Upload { body: Some(BodyStream::new(self.body)), runtime: Handle::current() }
            .try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())))
            .map_err(io::Error::other);
        futures_util::stream::iter(read).chain(rest)
    }

    /// A header's text; empty when absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The client's credentials for the one registry that the request is about. What can't be read is none, as with Docker:
    /// there are clients that send the word `null`.
    pub fn registry_auth(&self) -> api::auth::AuthConfig {
        api::auth::decode(self.header(api::common::REGISTRY_AUTH_HEADER)).unwrap_or_default()
    }
}

/// How long what nobody wants of a body is read.
const DRAIN: Duration = Duration::from_secs(10);

/// A body that is read to its end even when nobody wants the rest: Docker's client writes all of it before it reads the
/// answer, and would report a broken pipe in place of what went wrong.
struct Upload {
    body: Option<BodyStream<Incoming>>,
    runtime: Handle,
}

impl Stream for Upload {
    type Item = std::result::Result<Frame<Bytes>, hyper::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_next(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut body) = self.body.take() {
            self.runtime.spawn(async move {
                let rest = async { while let Some(Ok(_)) = body.next().await {} };
                // After this long the client may well see a broken pipe.
                let _ = tokio::time::timeout(DRAIN, rest).await;
            });
        }
    }
}
