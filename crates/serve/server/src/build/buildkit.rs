//! Connections that are handed over to BuildKit's protocols.

use std::pin::Pin;

use api::JsonMessage;
use api::build::BuildOptions;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::builds::{ContextSource, Reach};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::Upgraded;
use tokio::sync::mpsc;

use super::options::CLIENT;
use crate::answer::{self, Result};
use crate::call::Call;
use crate::error::Failure;
use crate::progress;

/// Statuses that may wait for a slow client before the build waits too.
const BACKLOG: usize = 64;
/// Messages that hold a status, and the one that holds the image's id.
const TRACE: &str = "moby.buildkit.trace";
const IMAGE: &str = "moby.image.id";

/// What connections of both kinds are upgraded to.
const PROTOCOL: &str = "h2c";

/// The client calls.
pub async fn grpc(call: Call) -> Result {
    let (host, peer) = (call.buildkit.clone(), call.peer.of_builds());
    upgrade(call, move |connection| Box::pin(host.serve(connection, peer)))
}

/// The client is called.
pub async fn session(call: Call) -> Result {
    let opening = call
        .buildkit
        .session(&call.headers, call.peer.of_builds())
        .map_err(|refused| Failure::bad_request(refused.to_string()))?;
    upgrade(call, move |connection| Box::pin(opening.run(connection)))
}

/// One build in one request: what it tells is BuildKit's status, in messages of their own kind.
pub async fn build(
    host: buildkit::Host,
    options: BuildOptions,
    context: ContextSource,
    reach: Reach,
    (session, id): (String, String),
) -> Result {
    let context = match context {
        ContextSource::Remote(address) if address == CLIENT => None,
        other => Some(other),
    };
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let encode = |status: Vec<u8>| {
        let aux = Some(STANDARD.encode(status).into());
        vec![JsonMessage { id: TRACE.to_owned(), aux, ..JsonMessage::default() }]
    };
    let work = async move {
        // It is large: who waits for it holds a pointer.
        let order = buildkit::Classic { options, context, reach, session, id };
        let image = Box::pin(host.classic(order, sender)).await?;
        let aux = Some(serde_json::json!({ "ID": image }));
        Ok(vec![JsonMessage { id: IMAGE.to_owned(), aux, ..JsonMessage::default() }])
    };
    let failed = |error: engine::Error| JsonMessage::error(1, error.report());
    progress::answer(receiver, encode, work, failed).await
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

fn upgrade(mut call: Call, work: impl FnOnce(Upgraded) -> Work + Send + 'static) -> Result {
    let wanted = call.header(header::UPGRADE.as_str()).to_owned();
    let Some(upgrade) = call.upgrade.take() else {
        return Err(Failure::bad_request("no upgrade proto in request"));
    };
    if !wanted.eq_ignore_ascii_case(PROTOCOL) {
        return Err(Failure::bad_request(format!("protocol {wanted} not supported")));
    }
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => work(connection).await,
            Err(error) => tracing::debug!(%error, "client left before the connection was handed over"),
        }
    });
    let mut response = Response::new(answer::no_body());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}
