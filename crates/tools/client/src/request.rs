//! One request, on a connection of its own or on one that waits.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Client;
use crate::error::{Error, Result};
use crate::query::Query;
use crate::stream::{Payload, document};

/// The longest document that we read whole.
const DOCUMENT_MAX: usize = 256 << 20;
/// The longest error that we read.
const ERROR_MAX: usize = 1 << 20;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// The way to send requests on a connection.
pub(crate) type Sender = SendRequest<Body>;

/// A request under construction.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Query,
    headers: Vec<(&'static str, String)>,
    payload: Payload,
    versioned: bool,
}

pub(crate) fn call(method: Method, path: impl Into<String>) -> Call {
    Call {
        method,
        path: path.into(),
        query: Query::new(),
        headers: Vec::new(),
        payload: Payload::empty(),
        versioned: true,
    }
}

pub(crate) fn get(path: impl Into<String>) -> Call {
    call(Method::GET, path)
}

pub(crate) fn post(path: impl Into<String>) -> Call {
    call(Method::POST, path)
}

impl Call {
    pub(crate) fn query(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A JSON body.
    pub(crate) fn json(self, body: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(body).map_err(Error::Encode)?;
        Ok(self.payload("application/json", Payload::bytes(json)))
    }

    pub(crate) fn payload(mut self, content_type: &str, payload: Payload) -> Self {
        self.payload = payload;
        self.header("Content-Type", content_type)
    }

    /// The path without a version before it, which every server understands.
    pub(crate) fn unversioned(mut self) -> Self {
        self.versioned = false;
        self
    }

    /// Sends, and reads the head of the answer; statuses of 400 and more are errors.
    pub(crate) async fn send(self, client: &Client) -> Result<Response<Incoming>> {
        Ok(self.exchange(client).await?.0)
    }

    async fn exchange(self, client: &Client) -> Result<(Response<Incoming>, Sender)> {
        let request = self.into_request(client).await?;
        let mut sender = match client.take_idle() {
            Some(sender) => sender,
            None => connect(client).await?,
        };
        // One that waited may have been closed.
        if sender.ready().await.is_err() {
            sender = connect(client).await?;
        }
        let response = sender.send_request(request).await.map_err(Error::Http)?;
        if response.status().as_u16() < 400 { Ok((response, sender)) } else { Err(failure(response).await) }
    }

    async fn into_request(self, client: &Client) -> Result<Request<Body>> {
        if let Some(noun) = nameless(&self.path) {
            return Err(Error::NoName(noun));
        }
        let mut target = match self.versioned {
            true => format!("/v{}{}", client.version().await?, self.path),
            false => self.path,
        };
        let query = self.query.into_string();
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
        let mut builder = Request::builder()
            .method(self.method)
            .uri(&target)
            .header("Host", "api.moby.localhost")
            .header("User-Agent", concat!("dhow/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder.body(self.payload.0).map_err(|source| Error::Request { path: target, source })
    }

    /// Sends and reads the document that comes back.
    pub(crate) async fn fetch<T: DeserializeOwned>(self, client: &Client) -> Result<T> {
        document(&self.read(client).await?)
    }

    /// Sends and forgets the answer's body.
    pub(crate) async fn done(self, client: &Client) -> Result<()> {
        self.read(client).await.map(drop)
    }

    /// Sends and reads the bytes that come back.
    pub(crate) async fn read(self, client: &Client) -> Result<Bytes> {
        let (response, sender) = self.exchange(client).await?;
        let body = whole(response.into_body(), DOCUMENT_MAX).await?;
        client.keep(sender);
        Ok(body)
    }
}

async fn connect(client: &Client) -> Result<Sender> {
    let stream = client.connector.dial().await?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
    // The connection's errors come out through the request; the task ends with the answer's body.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// The noun of a path that lacks the name behind it: it would mean another request.
fn nameless(path: &str) -> Option<&'static str> {
    let (noun, rest) = path.strip_prefix('/')?.split_once('/')?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    match noun {
        "containers" => Some("container"),
        "images" => Some("image"),
        "networks" => Some("network"),
        "volumes" => Some("volume"),
        "exec" => Some("exec"),
        _ => None,
    }
}

pub(crate) async fn whole(body: Incoming, limit: usize) -> Result<Bytes> {
    let collected = Limited::new(body, limit).collect().await.map_err(|e| {
        if e.is::<LengthLimitError>() { Error::TooLong } else { Error::Read(std::io::Error::other(e)) }
    })?;
    Ok(collected.to_bytes())
}

/// The error that an answer holds.
pub(crate) async fn failure(response: Response<Incoming>) -> Error {
    let status = response.status();
    let body = match whole(response.into_body(), ERROR_MAX).await {
        Ok(body) => body,
        Err(e) => return e,
    };
    let (message, hint) = match serde_json::from_slice::<api::ErrorResponse>(&body) {
        Ok(error) if !error.message.is_empty() => (error.message, error.hint),
        _ => (plain(status, &body), None),
    };
    Error::Api { status, message: message.trim_end().to_owned(), hint }
}

fn plain(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.trim() {
        "" => format!("request returned {status}"),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::nameless;

    #[test]
    fn names_are_not_empty() {
        assert_eq!(nameless("/containers//json"), Some("container"));
        assert_eq!(nameless("/containers/"), Some("container"));
        assert_eq!(nameless("/networks/"), Some("network"));
        assert_eq!(nameless("/containers/json"), None);
        assert_eq!(nameless("/images/a//b/json"), None);
        assert_eq!(nameless("/_ping"), None);
    }
}
