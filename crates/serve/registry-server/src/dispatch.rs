//! From an HTTP request to its end-point and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::{HeaderName, HeaderValue, Method, Request, header};
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::answer::{self, Answer, Result};
use crate::auth;
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::route::{self, Target};
use crate::{blobs, lists, manifests, page, referrers, uploads};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tls: bool,
}

/// Counts a request until it is answered, or its client has left.
struct UnderWay(Arc<Metrics>);

impl UnderWay {
    fn begin(metrics: Arc<Metrics>) -> UnderWay {
        metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        UnderWay(metrics)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one request.
pub(crate) async fn dispatch(registry: Arc<Registry>, peer: Peer, request: Request<Incoming>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", %method, path);
    let (target, begun) = (route::target(&method, &path), Instant::now());
    let kind = target.as_ref().ok().cloned();
    let metrics = registry.metrics.clone();
    let under_way = UnderWay::begin(metrics.clone());
    let result = match target {
        Ok(target) => serve(registry, peer, target, request).instrument(span).await,
        Err(failure) => Err(failure),
    };
    drop(under_way);
    let mut answer = result.unwrap_or_else(|failure| {
        tracing::debug!(%method, path, status = failure.status.as_u16(), message = failure.message, "refused");
        failure.answer()
    });
    metrics.request(kind.as_ref(), method.as_str(), answer.status().as_u16(), begun.elapsed());
    let headers = answer.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

async fn serve(registry: Arc<Registry>, peer: Peer, target: Target, request: Request<Incoming>) -> Result {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let (head, body) = request.into_parts();
    let auth = &registry.auth;
    let caller = auth.caller(&head.headers).await.map_err(|failure| match failure.code {
        Code::Unauthorized => auth.challenge(failure, &head.method, &target, &head.headers, peer.tls),
        _ => failure,
    })?;
    auth.check(&caller, &head.method, &target, &head.headers, peer.tls)?;
    if !reads && target != Target::Token {
        registry.may_change(&head.method)?;
    }
    let call = Call::new(registry, caller, peer.address, head, body);
    if let Some(cache) = &call.registry.cache {
        cache.check(call.header(header::USER_AGENT))?;
    }
    let work = end_point(call, target);
    if reads {
        return work.await;
    }
    // The connection's task is dropped when the client leaves; a task of its own comes to an end.
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(error) => Err(Failure::internal(&error)),
    }
}

async fn end_point(call: Call, target: Target) -> Result {
    match target {
        Target::Base => base(&call),
        Target::Blob(name, digest) => blobs::serve(call, name, digest).await,
        Target::Manifest(name, reference) => manifests::serve(call, name, reference).await,
        Target::Uploads(name) => uploads::serve(call, name, None).await,
        Target::Upload(name, id) => uploads::serve(call, name, Some(id)).await,
        Target::Tags(name) => lists::tags(call, name).await,
        Target::Referrers(name, subject) => referrers::serve(call, name, subject).await,
        Target::Catalog => lists::catalog(call).await,
        Target::Token => auth::endpoint::serve(call).await,
        page @ (Target::Front | Target::Repository(_) | Target::Image(..)) => page::serve(call, page).await,
    }
}

fn base(call: &Call) -> Result {
    match [Method::GET, Method::HEAD].contains(call.method()) {
        true => answer::json(&serde_json::json!({})),
        false => Err(call.unsupported("GET, HEAD")),
    }
}
