//! Bodies of answers: nothing, a document, or content as it is read.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use serde::Serialize;

use crate::error::Failure;

/// Body of every answer. An error aborts the connection, so that the client sees a cut and not an end.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Response<Body>;
pub(crate) type Result<T = Answer, E = Failure> = std::result::Result<T, E>;

fn never(never: Infallible) -> std::io::Error {
    match never {}
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(never).boxed_unsync()
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new().map_err(never).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    answer
}

/// One document with status 200.
pub(crate) fn json(document: &impl Serialize) -> Result {
    let bytes = serde_json::to_vec(document).map_err(|error| Failure::internal(&error))?;
    Ok(document_of("application/json; charset=utf-8", bytes.into()))
}

/// A document of this type with status 200.
pub(crate) fn document_of(kind: &str, bytes: Bytes) -> Answer {
    let length = bytes.len();
    let answer = Response::new(full(bytes));
    with(with(answer, header::CONTENT_TYPE, kind), header::CONTENT_LENGTH, &length.to_string())
}

/// With one more header; a text that is not fit for one is left out.
pub(crate) fn with(mut answer: Answer, name: HeaderName, text: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(text) {
        answer.headers_mut().append(name, value);
    }
    answer
}
