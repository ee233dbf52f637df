//! A blob on its way: bytes in order, resumed where a connection broke, verified at the end.

use crate::error::{Error, Problem};
use crate::exchange::{self, Get, Session};
use crate::repository::{Wanted, refusal, url_in};
use bytes::Bytes;
use oci::{Digest, Reference};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256, Sha512};
use std::sync::Arc;
use std::time::Duration;

/// How often in a row a connection may break without bringing a byte.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Content of a known digest and size. What [`Blob::chunk`] hands out is verified only when it has
/// returned `None`; until then it is a stranger's.
pub struct Blob {
    session: Arc<Session>,
    reference: Reference,
    digest: Digest,
    size: u64,
    received: u64,
    response: Option<Response>,
    /// Bytes of the response that we have already: the registry ignored our range.
    skip: u64,
    hash: Hash,
    failures: u32,
    verified: bool,
}

enum Hash {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hash {
    fn of(digest: &Digest) -> Hash {
        match digest.algorithm() {
            "sha512" => Hash::Sha512(Box::default()),
            _ => Hash::Sha256(Sha256::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    fn digest(self) -> Digest {
        match self {
            Hash::Sha256(hash) => Digest::from_sha256(hash.finalize().into()),
            Hash::Sha512(hash) => Digest::from_sha512(hash.finalize().into()),
        }
    }
}

impl Blob {
    pub(crate) fn new(session: Arc<Session>, reference: Reference, digest: Digest, size: u64) -> Blob {
        let hash = Hash::of(&digest);
        Blob {
            session,
            reference,
            digest,
            size,
            received: 0,
            response: None,
            skip: 0,
            hash,
            failures: 0,
            verified: false,
        }
    }

    /// Bytes that the blob has according to its descriptor.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes handed out so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes; `None` once all have come and match the digest.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.verified {
                return Ok(None);
            }
            if self.received == self.size && (self.size > 0 || self.response.is_some()) {
                return self.finish().await;
            }
            match self.read().await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(Some(bytes)) => return self.accept(bytes).map(Some),
                Ok(None) if self.received == self.size => return self.finish().await,
                Ok(None) => {
                    let problem = Problem::ClosedEarly(self.received);
                    let url = self.reference.with_digest(self.digest.clone()).familiar();
                    self.pause(Error::Protocol { url, problem }).await?;
                }
                Err(error @ Error::Transport { .. }) => self.pause(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    fn accept(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        self.received += bytes.len() as u64;
        if self.received > self.size {
            return Err(self.wrong_size());
        }
        self.hash.update(&bytes);
        self.failures = 0;
        Ok(bytes)
    }

    /// Bytes of the open response that are new; `None` at its end.
    async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        if self.response.is_none() {
            self.open().await?;
        }
        let Some(response) = &mut self.response else { return Ok(None) };
        let shown = response.url().origin().ascii_serialization();
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| Error::Transport { url: shown, source: error.without_url() })?;
        Ok(chunk.map(|mut bytes| {
            let known = self.skip.min(bytes.len() as u64);
            self.skip -= known;
            bytes.split_off(known as usize)
        }))
    }

    async fn open(&mut self) -> Result<(), Error> {
        let url = url_in(&self.session, &self.reference, &format!("blobs/{}", self.digest)).await?;
        let response = self.session.get(&url, &Get { accept: None, from: self.received }).await?;
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => {
                let range = exchange::header(response.headers(), CONTENT_RANGE.as_str());
                range.and_then(range_start).unwrap_or(u64::MAX)
            }
            _ => {
                return Err(refusal(response, &self.reference, Wanted::Blob(&self.digest)).await);
            }
        };
        if start != 0 && start != self.received {
            return Err(Error::Protocol { url: url.to_string(), problem: Problem::WrongRange });
        }
        self.skip = self.received - start;
        self.response = Some(response);
        Ok(())
    }

    /// Everything is there. Whether more would come does not matter: what we have has the right length.
    async fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        self.response = None;
        let hash = std::mem::replace(&mut self.hash, Hash::of(&self.digest));
        let found = hash.digest();
        if found != self.digest {
            return Err(Error::WrongDigest { expected: self.digest.clone(), found });
        }
        self.verified = true;
        Ok(None)
    }

    /// Waits before the next connection, or gives up.
    async fn pause(&mut self, error: Error) -> Result<(), Error> {
        self.response = None;
        self.failures += 1;
        if self.failures >= TRIES {
            return Err(Error::Broken {
                digest: self.digest.clone(),
                received: self.received,
                tries: self.failures,
                source: Box::new(error),
            });
        }
        tokio::time::sleep(FIRST_PAUSE * 2u32.pow(self.failures - 1)).await;
        Ok(())
    }

    fn wrong_size(&self) -> Error {
        Error::WrongSize { digest: self.digest.clone(), expected: self.size, found: self.received }
    }
}

/// The first byte in `bytes 5-9/10`.
fn range_start(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}
