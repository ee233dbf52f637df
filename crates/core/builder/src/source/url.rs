//! What servers give for a URL.
//!
//! As BuildKit does, what came is remembered with the server's marks (`ETag`, `Last-Modified`): if the server says that
//! nothing changed, the content is known without being sent. It is asked for again only if a step really needs the bytes.

use super::{Error, io};
use crate::graph::Asking;
use crate::request::{Fetch, FetchRequest, Fetched};
use oci::Digest;
use oci::address::without_userinfo;
use serde::{Deserialize, Serialize};
use state::{Db, cache};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// How URLs are fetched for one build.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The way out; none if this build has none.
    pub fetch: Option<&'a Fetch>,
    /// How servers are asked.
    pub asking: &'a Asking,
    /// Where the marks are kept.
    pub db: &'a Db,
    /// Bytes that may come.
    pub limit: u64,
    /// Whether to stop.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// The content of a URL.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is called.
    pub name: String,
    /// The time that what is written gets, in seconds since 1970.
    pub modified: Option<i64>,
    /// `Last-Modified`, where the server says it, in seconds since 1970.
    pub dated: Option<i64>,
    /// Its digest.
    pub digest: Digest,
}

/// What is known about a URL's content.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its digest.
    pub digest: Digest,
    /// What it is called.
    pub name: String,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
    /// The content, if it came.
    pub loaded: Option<Loaded>,
}

/// The record of a URL.
#[derive(Serialize, Deserialize)]
struct Memory {
    digest: Digest,
    modified: Option<i64>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Source<'_> {
    /// What a URL gives now. With a checksum nobody is asked: the content must have it.
    pub fn look(&self, url: &str, checksum: Option<&Digest>, path: &Path) -> Result<Known, Error> {
        if let Some(digest) = checksum {
            let name = file_name(url);
            return Ok(Known { digest: digest.clone(), name, modified: None, loaded: None });
        }
        let memory = self.remembered(url)?;
        let request = FetchRequest {
            url,
            asking: self.asking,
            etag: memory.as_ref().and_then(|m| m.etag.as_deref()),
            last_modified: memory.as_ref().and_then(|m| m.last_modified.as_deref()),
        };
        let fetched = self.ask(&request)?;
        if let (true, Some(memory)) = (fetched.unchanged, memory) {
            let Memory { digest, modified, .. } = memory;
            return Ok(Known { digest, name: file_name(url), modified, loaded: None });
        }
        let loaded = self.take(url, fetched, path)?;
        let (digest, name, modified) = (loaded.digest.clone(), loaded.name.clone(), loaded.modified);
        Ok(Known { digest, name, modified, loaded: Some(loaded) })
    }

    /// The content, which must have this digest if one is given.
    pub fn load(&self, url: &str, checksum: Option<&Digest>, path: &Path) -> Result<Loaded, Error> {
        let fetched =
            self.ask(&FetchRequest { url, asking: self.asking, etag: None, last_modified: None })?;
        let loaded = self.take(url, fetched, path)?;
        match checksum {
            Some(expected) if *expected != loaded.digest => {
                Err(Error::Checksum { expected: expected.to_string(), found: loaded.digest })
            }
            _ => Ok(loaded),
        }
    }

    fn ask(&self, request: &FetchRequest<'_>) -> Result<Fetched, Error> {
        let failed = |source| Error::Fetch { url: without_userinfo(request.url), source };
        let fetch = self.fetch.ok_or_else(|| failed("this build has no access to the network".into()))?;
        let fetched = fetch(request).map_err(failed)?;
        match fetched.unchanged && request.etag.is_none() && request.last_modified.is_none() {
            true => {
                Err(failed("the server says that it has not changed (304), and was not asked that".into()))
            }
            false => Ok(fetched),
        }
    }

    fn take(&self, url: &str, mut fetched: Fetched, path: &Path) -> Result<Loaded, Error> {
        let broken =
            |source: std::io::Error| Error::Fetch { url: without_userinfo(url), source: source.into() };
        let mut writer = archive::HashingWriter::new(File::create(path).map_err(io("create", path))?);
        let mut buffer = vec![0; 128 << 10];
        let mut left = self.limit;
        loop {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            let count = fetched.body.read(&mut buffer).map_err(broken)?;
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or_else(|| Error::TooLarge {
                url: without_userinfo(url),
                what: format!("it has more than {} bytes", self.limit),
            })?;
            writer.write_all(&buffer[..count]).map_err(io("write", path))?;
        }
        let (_, sum, _) = writer.finish();
        let digest = Digest::from_sha256(sum);
        let name = file_name(url);
        // Without a time of the server's the same content gives the same layer at any time.
        let (dated, modified) = (fetched.modified, Some(fetched.modified.unwrap_or(0)));
        self.remember(
            url,
            &Memory {
                digest: digest.clone(),
                modified,
                etag: fetched.etag,
                last_modified: fetched.last_modified,
            },
        )?;
        Ok(Loaded { path: path.to_owned(), name, modified, dated, digest })
    }

    fn remembered(&self, url: &str) -> Result<Option<Memory>, Error> {
        let entry = self.db.read(|tx| cache::get(tx, &key(url, self.asking)))?;
        Ok(entry.and_then(|entry| serde_json::from_str(&entry.record).ok()))
    }

    fn remember(&self, url: &str, memory: &Memory) -> Result<(), Error> {
        if memory.etag.is_none() && memory.last_modified.is_none() {
            return Ok(());
        }
        let now = jiff::Timestamp::now().to_string();
        let entry = cache::Entry {
            key: key(url, self.asking),
            chain: None,
            scope: format!("url {}", without_userinfo(url)),
            record: serde_json::to_string(memory).unwrap_or_default(),
            created: now.clone(),
            used: now,
            uses: 0,
        };
        // A record that a power failure takes away costs one download.
        Ok(self.db.write_fleeting(|tx| cache::put(tx, &entry))?)
    }
}

/// The key of a URL's record; no step has such a one. Who asks otherwise may be given something else.
fn key(url: &str, asking: &Asking) -> Digest {
    let mut text = format!("url\0{url}");
    for (name, value) in [("accept", &asking.accept), ("agent", &asking.agent), ("secret", &asking.secret)] {
        text.extend(value.iter().map(|value| format!("\0{name}={value}")));
    }
    Digest::sha256(text.as_bytes())
}

/// What a fetched file is called: the end of the URL's path, which `%XX` are taken from, and never a path itself. What a server
/// proposes does not count: it is not the one who says which files an image has.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let after_host = path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, p)| p);
    // A name that is no text stays as the address has it.
    let decoded = String::from_utf8(oci::address::percent_decoded(after_host));
    let decoded = decoded.as_deref().unwrap_or(after_host);
    let name = decoded.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default();
    if matches!(name, "." | "..") { String::new() } else { name.replace('\0', "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_urls_are_no_paths() {
        for (url, want) in [
            ("https://h/a/b.tar.gz", "b.tar.gz"),
            ("https://h/a/b?x=/y", "b"),
            ("https://h/a/dir/", "dir"),
            ("https://h", ""),
            ("https://h/", ""),
            ("https://h/a\\b", "b"),
            ("https://h/..", ""),
            ("https://h/a/sp%20ace", "sp ace"),
            ("https://h/a%2Fb", "b"),
            ("https://h/a%5Cb", "b"),
            ("https://h/%2e%2E", ""),
            ("https://h/a?b%20c", "a"),
            ("https://h/100%", "100%"),
            ("https://h/caf%E9", "caf%E9"),
        ] {
            assert_eq!(file_name(url), want, "{url}");
        }
    }
}
