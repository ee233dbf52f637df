//! Bodies of answers: nothing, one document, or a stream that ends with its reader.

use std::convert::Infallible;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::error::Failure;

/// Body of every answer. An error aborts the connection, so that the client sees a cut and not an end.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub type Answer = Response<Body>;
pub type Result<T = Answer, E = Failure> = std::result::Result<T, E>;

pub fn no_body() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

fn never(never: Infallible) -> std::io::Error {
    match never {}
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(no_body());
    *response.status_mut() = status;
    response
}

/// One document.
pub fn json(status: StatusCode, document: &impl Serialize) -> Result {
    let mut response = Response::new(Full::new(line(document, "\n")?).map_err(never).boxed_unsync());
    *response.status_mut() = status;
    content_type(&mut response, "application/json");
    Ok(response)
}

/// Plain text with status 200.
pub fn text(text: &'static str) -> Answer {
    whole(text, "text/plain; charset=utf-8")
}

/// Bytes of some kind with status 200.
pub fn whole(bytes: impl Into<Bytes>, kind: &'static str) -> Answer {
    let mut response = Response::new(Full::new(bytes.into()).map_err(never).boxed_unsync());
    content_type(&mut response, kind);
    response
}

/// One document with status 200.
pub fn ok(document: &impl Serialize) -> Result {
    json(StatusCode::OK, document)
}

/// A document and what ends its line.
pub fn line(document: &impl Serialize, end: &str) -> Result<Bytes> {
    let mut out = BytesMut::new().writer();
    serde_json::to_writer(&mut out, document)
        .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("write document: {e}")))?;
    let mut out = out.into_inner();
    out.put_slice(end.as_bytes());
    Ok(out.freeze())
}

/// Portions as they come.
pub fn stream(
    kind: &'static str,
    portions: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Answer {
    let frames = portions.map(|portion| portion.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    content_type(&mut response, kind);
    response
}

/// Portions that another task sends; dropping the answer closes the channel.
pub fn channel<T: Send + 'static>(
    kind: &'static str,
    mut receiver: mpsc::Receiver<T>,
    portion: impl FnMut(T) -> std::io::Result<Bytes> + Send + 'static,
) -> Answer {
    let items = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    stream(kind, items.map(portion))
}

/// Bytes that the engine sends; its failure cuts the answer.
pub fn bytes(kind: &'static str, receiver: mpsc::Receiver<engine::Result<Bytes>>) -> Answer {
    channel(kind, receiver, |portion| portion.map_err(std::io::Error::other))
}

/// One document a line, as other tasks send them.
pub fn documents<T: Serialize + Send + 'static>(receiver: mpsc::Receiver<T>) -> Answer {
    channel("application/json", receiver, |document| {
        line(&document, "\n").map_err(|failure| std::io::Error::other(failure.message))
    })
}

pub fn content_type(response: &mut Answer, kind: &'static str) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
}
