//! A file of any web server, by its address: no registry; credentials only where the caller has some for it.

use crate::client::Client;
use crate::error::{Cause, Error, Problem};
use crate::exchange;
use crate::redirect;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_ENCODING, ETAG, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, USER_AGENT,
};
use reqwest::{Method, Response, StatusCode, Url};

const REDIRECTS: usize = 10;
/// How much of an error page is read.
const PAGE: u64 = 64 << 10;

/// How a file is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// `ETag` of an earlier answer: the server may say that the file is the same.
    pub etag: Option<&'a str>,
    /// `Last-Modified` of an earlier answer.
    pub last_modified: Option<&'a str>,
    /// `Authorization`, for the address itself: where that leads elsewhere, it stays behind, and so does what is no text of a header.
    pub authorization: Option<&'a str>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `User-Agent`, if not our own.
    pub agent: Option<&'a str>,
}

/// What a server answered.
pub struct Download {
    response: Response,
}

impl Client {
    /// Asks for a file.
    pub async fn download(&self, address: &str, wish: Wish<'_>) -> Result<Download, Error> {
        let parsed = Url::parse(address);
        // What is no address may have a password anywhere.
        let shown = parsed.as_ref().map(exchange::shown).unwrap_or_default();
        let bad = |problem| Error::Protocol { request: shown.clone(), problem };
        let mut url = parsed.map_err(|_| bad(Problem::BadRedirect))?;
        let start = url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.transport().led(&start, &url)?.get(url.clone());
            let headers = [
                (IF_NONE_MATCH, wish.etag),
                (IF_MODIFIED_SINCE, wish.last_modified),
                (ACCEPT, wish.accept),
                (USER_AGENT, wish.agent),
            ];
            for (name, value) in headers {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let authorization = wish.authorization.filter(|_| redirect::same_origin(&start, &url));
            if let Some(mut value) = authorization.and_then(|text| HeaderValue::from_str(text).ok()) {
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let response = exchange::answer(Method::GET, &url, request).await?;
            let status = response.status();
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                return Ok(Download { response });
            }
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let shown = exchange::shown(&url);
                let body = exchange::body(response, &shown, PAGE).await.unwrap_or_default();
                return Err(exchange::unexpected(&shown, status, &body));
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = redirect::target(&url, location).map_err(bad)?;
        }
        Err(bad(Problem::TooManyRedirects(REDIRECTS)))
    }
}

impl Download {
    /// The server says that the file is the one that the marks belong to; it has no bytes.
    pub fn unchanged(&self) -> bool {
        self.response.status() == StatusCode::NOT_MODIFIED
    }

    /// `ETag`.
    pub fn etag(&self) -> Option<&str> {
        exchange::header(self.response.headers(), ETAG.as_str())
    }

    /// `Last-Modified`.
    pub fn last_modified(&self) -> Option<&str> {
        exchange::header(self.response.headers(), LAST_MODIFIED.as_str())
    }

    /// Whether the file was compressed with gzip for the way alone.
    pub fn is_gzipped(&self) -> bool {
        let coding = exchange::header(self.response.headers(), CONTENT_ENCODING.as_str());
        coding.is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"))
    }

    /// The name that the server gives the file.
    pub fn file_name(&self) -> Option<String> {
        let header = exchange::header(self.response.headers(), CONTENT_DISPOSITION.as_str())?;
        let value = header.split(';').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            key.eq_ignore_ascii_case("filename").then_some(value.trim())
        })?;
        let name = value.trim_matches('"');
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let shown = exchange::shown(self.response.url());
        let broken = |source: reqwest::Error| Error::Transport { request: shown, source: Cause::new(source) };
        self.response.chunk().await.map_err(broken)
    }
}
