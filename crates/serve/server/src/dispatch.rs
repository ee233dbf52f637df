//! From an HTTP request to a row of the table and back: version, browser checks, headers of every answer.

use std::time::Duration;

use api::version::{self, ApiVersion};
use engine::Engine;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use tracing::Instrument as _;

use crate::answer::{self, Answer, Result};
use crate::call::Call;
use crate::error::Failure;
use crate::listen::{Access, Peer};
use crate::query::{Query, decode};
use crate::routes;

/// Answers one request, whose document must have come after `patience`.
pub async fn dispatch(
    engine: Engine,
    buildkit: buildkit::Host,
    access: Access,
    patience: Duration,
    request: Request<Incoming>,
) -> Answer {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", %method, path);
    let result = serve(engine.clone(), buildkit, &access, patience, request).instrument(span).await;
    let mut answer = result.unwrap_or_else(|failure| {
        tracing::debug!(%method, path, status = failure.status.as_u16(), message = failure.message, "request failed");
        failure.answer()
    });
    common_headers(answer.headers_mut(), &engine.config().version);
    answer
}

async fn serve(
    engine: Engine,
    buildkit: buildkit::Host,
    access: &Access,
    patience: Duration,
    mut request: Request<Incoming>,
) -> Result {
    access.check(request.headers())?;
    let path = request.uri().path().to_owned();
    let (version, path) = split_version(&path)?;
    if request.method() == Method::OPTIONS {
        return Ok(answer::empty(StatusCode::OK));
    }
    let (route, name) = routes::find(request.method(), path).ok_or_else(Failure::no_page)?;
    let version = version.check().map_err(|e| Failure::bad_request(e.to_string()))?;
    let upgrade = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    let name = decode(name, false)?;
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let peer: Peer = access.peer;
    let call = Call {
        engine,
        buildkit,
        version,
        peer,
        patience,
        name,
        query,
        headers: head.headers,
        body,
        read: bytes::Bytes::new(),
        upgrade,
        is_head,
    };
    let work = (route.handler)(call);
    if !route.settles {
        return work.await;
    }
    // The connection's task is dropped when the client leaves; a task of its own is not.
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(e) => {
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("request did not finish: {e}")))
        }
    }
}

/// `/v1.41/info` is version and `/info`; a path without a version is of the newest.
fn split_version(path: &str) -> Result<(ApiVersion, &str)> {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let (number, _) = rest.split_once('/')?;
        let numeric = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        numeric.then(|| (number, &rest[number.len()..]))
    });
    match versioned {
        None => Ok((version::CURRENT, path)),
        Some((number, rest)) => {
            let version = number.parse().map_err(|e: version::Error| Failure::bad_request(e.to_string()))?;
            Ok((version, rest))
        }
    }
}

fn common_headers(headers: &mut HeaderMap, product: &str) {
    let server = format!("Dhow/{product} (linux)");
    headers.insert("Api-Version", header_value(&version::CURRENT.to_string()));
    headers.insert("Docker-Experimental", HeaderValue::from_static("true"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(header::SERVER, header_value(&server));
}

/// A value that is not fit for a header becomes empty.
pub fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_paths() {
        let split = |path| split_version(path).map_err(|failure| failure.message);
        assert_eq!(split("/v1.41/info"), Ok((ApiVersion::new(1, 41), "/info")));
        assert_eq!(split("/info"), Ok((version::CURRENT, "/info")));
        assert_eq!(split("/volumes/x"), Ok((version::CURRENT, "/volumes/x")));
        assert_eq!(split("/version"), Ok((version::CURRENT, "/version")));
        assert_eq!(split("/v1.41"), Ok((version::CURRENT, "/v1.41")));
        assert!(split("/v1.2.3/info").is_err());
    }
}
