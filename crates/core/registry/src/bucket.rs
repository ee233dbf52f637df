//! Objects of a store that speaks S3: whether they are there, fetching them, sending them.
//!
//! Requests are signed in their query (Signature Version 4), so that no body has to be read before it is sent. S3 limits what
//! one request may send to 5 GiB; what may be larger goes in parts.

mod objects;

use crate::client::Client;
use crate::error::{Cause, Error};
use crate::exchange;
use bytes::Bytes;
pub use objects::{Entry, Listing, Unfinished, Wanted};
use reqwest::header::{CONTENT_LENGTH, LAST_MODIFIED};
use reqwest::{Body, Method, Response, StatusCode, Url};
use rusty_s3::{Credentials, S3Action as _, UrlStyle};
use std::time::Duration;

/// How long a signature is good; a request must only begin within it.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
/// How much of an error document is read.
const DOCUMENT: u64 = 64 << 10;

/// Where a bucket is and who asks.
#[derive(Clone, Default)]
pub struct BucketAddress {
    /// Its name.
    pub name: String,
    /// `eu-central-1`.
    pub region: String,
    /// The store's address; empty is Amazon's for the region.
    pub endpoint: String,
    /// The bucket's name is in the path, and not in the host's name. Always so where the host is an address.
    pub path_style: bool,
    /// Key, secret and, for credentials that expire, token. Without, requests are not signed.
    pub credentials: Option<(String, String, Option<String>)>,
}

/// The secret stays out of logs.
impl std::fmt::Debug for BucketAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketAddress")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// An address that can't be one.
#[derive(Debug, thiserror::Error)]
#[error("bucket {name:?} at {endpoint:?}: {problem}")]
pub struct InvalidBucket {
    name: String,
    endpoint: String,
    problem: String,
}

/// A bucket of an object store.
#[derive(Clone)]
pub struct Bucket {
    client: Client,
    bucket: rusty_s3::Bucket,
    credentials: Option<Credentials>,
}

/// What is said of an object without giving it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// `Last-Modified` as it stands.
    pub modified: Option<String>,
}

/// An object as it comes.
pub struct Object {
    response: Response,
}

impl Client {
    /// The bucket at this address. Touches nothing.
    pub fn bucket(&self, address: &BucketAddress) -> Result<Bucket, InvalidBucket> {
        let endpoint = match address.endpoint.as_str() {
            "" => format!("https://s3.{}.amazonaws.com", address.region),
            other => other.to_owned(),
        };
        let invalid = |problem: String| InvalidBucket {
            name: address.name.clone(),
            endpoint: endpoint.clone(),
            problem,
        };
        let url = Url::parse(&endpoint).map_err(|e| invalid(e.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        let has_no_subdomains = host == "localhost" || !host.contains(|c: char| c.is_ascii_alphabetic());
        let style = match address.path_style || has_no_subdomains || host.starts_with('[') {
            true => UrlStyle::Path,
            false => UrlStyle::VirtualHost,
        };
        let bucket = rusty_s3::Bucket::new(url, style, address.name.clone(), address.region.clone())
            .map_err(|e| invalid(e.to_string()))?;
        let credentials = address.credentials.clone().map(|(key, secret, token)| match token {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        });
        Ok(Bucket { client: self.clone(), bucket, credentials })
    }
}

impl Bucket {
    /// What is said of an object; none if there is none, or the store does not say: who may write need not be allowed to
    /// look, and why not an answer without a body can't tell.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, Error> {
        match self.look(key).await {
            Err(Error::Status { status, .. }) if status == StatusCode::FORBIDDEN.to_string() => Ok(None),
            found => found,
        }
    }

    /// What is said of an object; none if there is none. Who may list a bucket is told so when there is none.
    pub async fn look(&self, key: &str) -> Result<Option<Head>, Error> {
        let url = self.bucket.head_object(self.credentials.as_ref(), key).sign(SIGNED_FOR);
        let request = self.client.transport().http(&url)?.head(url.clone());
        let response = exchange::answer(Method::HEAD, &url, request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = accepted(response).await?;
        let header = |name: &str| exchange::header(response.headers(), name).map(str::to_owned);
        let size = header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Some(Head { size, modified: header(LAST_MODIFIED.as_str()) }))
    }

    /// Fetches an object; none if there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, Error> {
        let url = self.bucket.get_object(self.credentials.as_ref(), key).sign(SIGNED_FOR);
        let request = self.client.transport().http(&url)?.get(url.clone());
        let response = exchange::answer(Method::GET, &url, request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(Object { response: accepted(response).await? }))
    }

    /// Sends an object of this length.
    pub async fn put(&self, key: &str, length: u64, body: Body) -> Result<(), Error> {
        let url = self.bucket.put_object(self.credentials.as_ref(), key).sign(SIGNED_FOR);
        let request = self.client.transport().uploads(&url)?.put(url.clone());
        let request = request.header(CONTENT_LENGTH, length).body(body);
        let response = exchange::answer(Method::PUT, &url, request).await?;
        accepted(response).await.map(drop)
    }
}

impl Object {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let shown = exchange::asked(&self.response);
        let broken = |source: reqwest::Error| Error::Transport { request: shown, source: Cause::new(source) };
        self.response.chunk().await.map_err(broken)
    }

    /// All of it, which must not be longer than `limit`.
    pub async fn bytes(self, limit: u64) -> Result<Bytes, Error> {
        let shown = exchange::asked(&self.response);
        exchange::body(self.response, &shown, limit).await
    }
}

/// The answer, if the store did what was asked.
async fn accepted(response: Response) -> Result<Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let shown = exchange::asked(&response);
    let body = exchange::body(response, &shown, DOCUMENT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let reason = match (element(&text, "Code"), element(&text, "Message")) {
        (Some(code), Some(message)) => format!(": {code}: {message}"),
        (Some(code), None) => format!(": {code}"),
        _ => String::new(),
    };
    Err(Error::Status { request: shown, status: status.to_string(), reason })
}

/// The text of the first element of this name: errors are one flat document.
fn element<'t>(document: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.is_empty() && !text.contains('<')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Config;

    fn url_of(endpoint: &str, path_style: bool) -> String {
        let address = BucketAddress {
            name: "cache".into(),
            region: "eu-central-1".into(),
            endpoint: endpoint.into(),
            path_style,
            credentials: None,
        };
        let bucket = Client::new(Config::default()).bucket(&address).unwrap();
        bucket.bucket.object_url("blobs/a b").to_string()
    }

    #[test]
    fn the_bucket_is_in_the_host_or_in_the_path() {
        assert_eq!(url_of("", false), "https://cache.s3.eu-central-1.amazonaws.com/blobs/a%20b");
        assert_eq!(url_of("", true), "https://s3.eu-central-1.amazonaws.com/cache/blobs/a%20b");
        assert_eq!(url_of("http://minio.lan:9000", false), "http://cache.minio.lan:9000/blobs/a%20b");
        for host in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"] {
            assert_eq!(url_of(host, false), format!("{host}/cache/blobs/a%20b"));
        }
    }

    #[test]
    fn addresses_that_are_none() {
        for endpoint in ["ftp://x", "nonsense", "http://"] {
            let address =
                BucketAddress { name: "b".into(), endpoint: endpoint.into(), ..BucketAddress::default() };
            let error = Client::new(Config::default()).bucket(&address).err().expect(endpoint).to_string();
            assert!(error.contains(endpoint), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Some(("key".to_owned(), "very-secret".to_owned(), None));
        let shown = format!("{:?}", BucketAddress { credentials, ..BucketAddress::default() });
        assert!(!shown.contains("very-secret"), "{shown}");
    }

    #[test]
    fn why_a_store_refuses() {
        let document = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>It is not there</Message></Error>";
        assert_eq!(element(document, "Code"), Some("NoSuchBucket"));
        assert_eq!(element(document, "Message"), Some("It is not there"));
        assert_eq!(element("no xml", "Code"), None);
        assert_eq!(element("<Code><b></Code>", "Code"), None);
    }
}
