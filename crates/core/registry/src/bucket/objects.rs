//! What a store of many objects needs beside fetching and sending: lists, parts, removal, and objects of any length.

use std::ops::Range;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::header::{CONTENT_LENGTH, ETAG, RANGE};
use reqwest::{Body, Method, Response, StatusCode, Url};
use rusty_s3::S3Action as _;
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};

use super::{Bucket, DOCUMENT, Object, SIGNED_FOR, accepted};
use crate::error::{Error, Problem};
use crate::exchange;

/// Entries of a page, as S3 has them.
const PAGE: usize = 1000;
/// Bytes of a page's document.
const LIST: u64 = 4 << 20;
/// What one request may send, but for objects that need larger parts.
const PART: u64 = 16 << 20;
/// Parts of an object, as S3 has them.
const PARTS: u64 = 10_000;
/// Parts that are sent at once.
const LANES: usize = 4;

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// RFC 3339.
    pub modified: String,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects, in the order of their keys.
    pub entries: Vec<Entry>,
    /// What keys begin with, up to the slash after the prefix.
    pub folders: Vec<String>,
    /// Asks for the next page.
    pub next: Option<String>,
}

/// An object that is sent in parts and not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub key: String,
    /// The store's name for this upload.
    pub id: String,
}

/// What of a bucket is listed.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'w> {
    /// What keys begin with.
    pub prefix: &'w str,
    /// Keys that go on with a slash after the prefix are given as folders.
    pub folders: bool,
    /// The key that the list begins behind.
    pub after: &'w str,
    /// Of the page before.
    pub next: Option<&'w str>,
}

impl Bucket {
    /// One page of a list.
    pub async fn list(&self, wanted: &Wanted<'_>) -> Result<Listing, Error> {
        let mut action = self.bucket.list_objects_v2(self.credentials.as_ref());
        action.with_prefix(wanted.prefix);
        action.with_max_keys(PAGE);
        if wanted.folders {
            action.with_delimiter("/");
        }
        match wanted.next {
            Some(next) => action.with_continuation_token(next),
            None if !wanted.after.is_empty() => action.with_start_after(wanted.after),
            None => {}
        }
        let url = action.sign(SIGNED_FOR);
        let request = self.client.transport().http(&url)?.get(url.clone());
        let response = exchange::answer(Method::GET, &url, request).await?;
        let text = text(&url, accepted(response).await?, LIST).await?;
        let page = ListObjectsV2::parse_response(&text).map_err(|_| bad_document(&url))?;
        let entry = |object: rusty_s3::actions::list_objects_v2::ListObjectsContent| Entry {
            key: object.key,
            size: object.size.unwrap_or(0),
            modified: object.last_modified.unwrap_or_default(),
        };
        Ok(Listing {
            entries: page.contents.into_iter().map(entry).collect(),
            folders: page.common_prefixes.into_iter().map(|folder| folder.prefix).collect(),
            next: page.next_continuation_token,
        })
    }

    /// Removes an object; that there is none is no error.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let url = self.bucket.delete_object(self.credentials.as_ref(), key).sign(SIGNED_FOR);
        self.discard(url).await
    }

    async fn discard(&self, url: Url) -> Result<(), Error> {
        let request = self.client.transport().http(&url)?.delete(url.clone());
        let response = exchange::answer(Method::DELETE, &url, request).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        accepted(response).await.map(drop)
    }

    /// Fetches these bytes of an object; none if there is none.
    pub async fn get_part(&self, key: &str, range: Range<u64>) -> Result<Option<Object>, Error> {
        let url = self.bucket.get_object(self.credentials.as_ref(), key).sign(SIGNED_FOR);
        let request = self.client.transport().http(&url)?.get(url.clone());
        let request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let response = exchange::answer(Method::GET, &url, request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            // A store that knows no ranges would give something else than what was asked for.
            StatusCode::OK if range.start > 0 => {
                Err(Error::Protocol { request: exchange::shown(&url), problem: Problem::WrongRange })
            }
            _ => Ok(Some(Object { response: accepted(response).await? })),
        }
    }

    /// Whether an object of this length goes in parts.
    pub fn goes_in_parts(length: u64) -> bool {
        length > PART
    }

    /// Begins to send an object in parts. The store keeps what comes until it is complete or aborted.
    pub async fn begin(&self, key: &str) -> Result<Unfinished, Error> {
        let url = self.bucket.create_multipart_upload(self.credentials.as_ref(), key).sign(SIGNED_FOR);
        let request = self.client.transport().http(&url)?.post(url.clone());
        let response = exchange::answer(Method::POST, &url, request).await?;
        let text = text(&url, accepted(response).await?, DOCUMENT).await?;
        let created = CreateMultipartUpload::parse_response(&text).map_err(|_| bad_document(&url))?;
        Ok(Unfinished { key: key.to_owned(), id: created.upload_id().to_owned() })
    }

    /// Lets the store forget the parts that have come; that there are none is no error.
    pub async fn abort(&self, begun: &Unfinished) -> Result<(), Error> {
        let credentials = self.credentials.as_ref();
        let url = self.bucket.abort_multipart_upload(credentials, &begun.key, &begun.id).sign(SIGNED_FOR);
        self.discard(url).await
    }

    /// Sends an object in parts, side by side, and completes it. `body` gives the bytes of a range.
    pub async fn send_parts(
        &self,
        begun: &Unfinished,
        length: u64,
        body: impl Fn(Range<u64>) -> Body,
    ) -> Result<(), Error> {
        let Unfinished { key, id } = begun;
        let size = PART.max(length.div_ceil(PARTS));
        let parts = (0..length.div_ceil(size)).map(|number| {
            let range = number * size..length.min((number + 1) * size);
            self.send_part(key, id, number as u16 + 1, range.end - range.start, body(range))
        });
        let tags: Vec<String> = stream::iter(parts).buffered(LANES).try_collect().await?;
        let credentials = self.credentials.as_ref();
        let tags = tags.iter().map(String::as_str);
        let action = self.bucket.complete_multipart_upload(credentials, key, id, tags);
        let url = action.sign(SIGNED_FOR);
        let request = self.client.transport().uploads(&url)?.post(url.clone()).body(action.body());
        let response = exchange::answer(Method::POST, &url, request).await?;
        // What fails while it is put together is told with a status of success.
        let text = text(&url, accepted(response).await?, DOCUMENT).await?;
        match super::element(&text, "Code") {
            Some(code) => Err(Error::Status {
                request: exchange::shown(&url).by(&Method::POST),
                status: StatusCode::OK.to_string(),
                reason: format!(": {code}"),
            }),
            None => Ok(()),
        }
    }

    async fn send_part(
        &self,
        key: &str,
        id: &str,
        number: u16,
        length: u64,
        body: Body,
    ) -> Result<String, Error> {
        let action = self.bucket.upload_part(self.credentials.as_ref(), key, number, id);
        let url = action.sign(SIGNED_FOR);
        let request = self.client.transport().uploads(&url)?.put(url.clone());
        let request = request.header(CONTENT_LENGTH, length).body(body);
        let response = accepted(exchange::answer(Method::PUT, &url, request).await?).await?;
        let tag = exchange::header(response.headers(), ETAG.as_str());
        tag.map(str::to_owned).ok_or_else(|| bad_document(&url))
    }
}

async fn text(url: &Url, response: Response, limit: u64) -> Result<String, Error> {
    let body = exchange::body(response, &exchange::shown(url), limit).await?;
    String::from_utf8(body.into()).map_err(|_| bad_document(url))
}

fn bad_document(url: &Url) -> Error {
    Error::Protocol { request: exchange::shown(url), problem: Problem::BadDocument }
}
