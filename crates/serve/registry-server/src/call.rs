//! One request as its handler sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Method, header, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::answer::Result;
use crate::auth::Caller;
use crate::error::{Code, Failure};
use crate::query::Query;
use crate::registry::Registry;

/// What is read of a refused body.
const DRAIN_MAX: usize = 64 << 20;
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// A request that may be served.
pub(crate) struct Call {
    pub(crate) registry: Arc<Registry>,
    pub(crate) query: Query,
    pub(crate) caller: Caller,
    /// The other end of the connection.
    pub(crate) peer: Option<SocketAddr>,
    head: request::Parts,
    body: Incoming,
}

impl Call {
    pub(crate) fn new(
        registry: Arc<Registry>,
        caller: Caller,
        peer: Option<SocketAddr>,
        head: request::Parts,
        body: Incoming,
    ) -> Call {
        let query = Query::parse(head.uri.query().unwrap_or_default());
        Call { registry, query, caller, peer, head, body }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    /// A header that is text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All that is said under one name, which may be on several lines.
    pub(crate) fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// Bytes of the body, if the client says that.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok())
    }

    /// The user's name; nobody in particular has none.
    pub(crate) fn user(&self) -> &str {
        self.caller.name()
    }

    /// The next bytes of the body.
    pub(crate) async fn portion(&mut self) -> Result<Option<Bytes>> {
        let patience = self.registry.config.patience;
        loop {
            let frame = tokio::time::timeout(patience, self.body.frame()).await;
            let slow = |_| {
                Failure::says(Code::Unknown, "the body came too slowly")
                    .status(http::StatusCode::REQUEST_TIMEOUT)
            };
            match frame.map_err(slow)? {
                None => return Ok(None),
                Some(Err(error)) => {
                    let failure = Failure::says(Code::Unknown, format!("the body broke off: {error}"));
                    return Err(failure.status(http::StatusCode::BAD_REQUEST));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => {
                        self.registry.metrics.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        return Ok(Some(bytes));
                    }
                    _ => {}
                },
            }
        }
    }

    /// Takes what still comes of the body of a request that is refused, up to a point: many clients read no answer before they
    /// have sent all, and see a broken connection where the answer could have told them why.
    pub(crate) async fn drain(&mut self) {
        let draining = async {
            let mut left = DRAIN_MAX;
            while let Ok(Some(bytes)) = self.portion().await {
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    break;
                }
            }
        };
        // Who takes longer sees the broken connection.
        let _ = tokio::time::timeout(DRAIN_PATIENCE, draining).await;
    }

    /// The whole body, of a document that may have so many bytes.
    pub(crate) async fn document(&mut self, most: u64) -> Result<Bytes> {
        let too_large = || {
            Failure::says(Code::SizeInvalid, format!("the document is larger than {most} bytes"))
                .status(http::StatusCode::PAYLOAD_TOO_LARGE)
        };
        if self.length().is_some_and(|length| length > most) {
            return Err(too_large());
        }
        let mut document = BytesMut::new();
        while let Some(bytes) = self.portion().await? {
            if (document.len() + bytes.len()) as u64 > most {
                return Err(too_large());
            }
            document.extend_from_slice(&bytes);
        }
        Ok(document.freeze())
    }

    /// The refusal of a method that is none of these.
    pub(crate) fn unsupported(&self, methods: &str) -> Failure {
        Failure::new(Code::Unsupported).header(header::ALLOW, methods)
    }
}
