//! A blob on its way: bytes in order, a large one over several connections, resumed where a connection broke, verified at the
//! end.
//!
//! A large blob is asked for in stretches. While other blobs leave connections free, the next stretches come beside the first and
//! wait in memory for their turn; a registry that knows no ranges gives all of it over one connection.

use crate::error::{Cause, Error, Problem, RequestLine};
use crate::exchange::{self, Get, Session};
use crate::repository::{Wanted, refusal, url_in};
use bytes::Bytes;
use oci::{Digest, Hasher, Reference};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// How often in a row a connection may break without bringing a byte.
const TRIES: u32 = 6;
/// Before the second try; the third waits longer.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const SECOND_PAUSE: Duration = Duration::from_millis(200);
/// A wait that people notice.
const NOTICED: Duration = Duration::from_millis(400);
/// Connections for all blobs of a repository together.
pub(crate) const LANES: usize = 6;
/// Bytes that are asked for at once where there are several connections: as much may wait in memory for each.
const STRETCH: u64 = 8 << 20;
/// Bytes that must come in the time for which a connection may be silent.
const SLOWEST: u64 = 1 << 10;
/// A blob that has less left comes over one connection.
const LARGE: u64 = 4 * STRETCH;
/// Stretches of one blob that are under way.
const STRETCHES: usize = 4;

/// Content of a known digest and size. What [`Blob::chunk`] hands out is verified only when it has
/// returned `None`; until then it is a stranger's.
pub struct Blob {
    place: Arc<Place>,
    received: u64,
    source: Source,
    /// None where whoever reads verifies it.
    hash: Option<Hasher>,
    /// Whether the registry may know ranges.
    ranges: bool,
    verified: bool,
}

/// Where a blob is.
pub(crate) struct Place {
    pub session: Arc<Session>,
    pub reference: Reference,
    pub digest: Digest,
    pub size: u64,
    /// Connections that may be made.
    pub lanes: Arc<Semaphore>,
    /// Whom to tell of a wait that people notice.
    pub waits: Option<Box<dyn Fn(Duration) + Send + Sync>>,
}

enum Source {
    Closed,
    /// One connection for all that is left.
    One(Stretch),
    Several {
        /// In order.
        under_way: VecDeque<UnderWay>,
        /// The first byte that nobody has asked for.
        next: u64,
    },
}

impl Blob {
    pub(crate) fn new(place: Place) -> Blob {
        let hash = Some(Hasher::of(&place.digest));
        let (place, source) = (Arc::new(place), Source::Closed);
        Blob { place, received: 0, source, hash, ranges: true, verified: false }
    }

    /// The rest of a blob whose first bytes are here. Whoever has those verifies the whole; only its length is looked at here.
    pub fn rest(self, from: u64) -> Blob {
        Blob { received: from.min(self.place.size), hash: None, ..self }
    }

    /// Tells of the waits before a broken connection is made anew that are long enough for people to notice.
    pub fn tell_waits(mut self, tell: impl Fn(Duration) + Send + Sync + 'static) -> Blob {
        // Nobody shares it before its first byte was asked for.
        if let Some(place) = Arc::get_mut(&mut self.place) {
            place.waits = Some(Box::new(tell));
        }
        self
    }

    /// Bytes that the blob has according to its descriptor.
    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// Bytes handed out so far, and those that were here before.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// All bytes, which match the digest. For documents: how many there may be is for the caller to have seen.
    pub async fn whole(mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The next bytes; `None` once all have come and match the digest.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.verified {
            return Ok(None);
        }
        match self.next().await {
            Ok(Some(bytes)) => {
                self.received += bytes.len() as u64;
                if let Some(hash) = &mut self.hash {
                    hash.update(&bytes);
                }
                Ok(Some(bytes))
            }
            Ok(None) => self.finish(),
            Err(error) => {
                self.source = Source::Closed;
                Err(self.place.session.explain(error))
            }
        }
    }

    /// The next bytes in order; `None` at the end. Whether more would come then does not matter.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.received == self.place.size && self.place.size > 0 {
                return Ok(None);
            }
            match &mut self.source {
                Source::Closed => self.source = self.start().await?,
                Source::One(stretch) => return stretch.chunk().await,
                Source::Several { under_way, next } => {
                    ask_ahead(&self.place, under_way, next).await;
                    let Some(front) = under_way.front_mut() else { return Ok(None) };
                    match front.chunks.recv().await {
                        Some(Err(Error::Protocol { problem: Problem::NoRanges, .. })) => {
                            self.ranges = false;
                            self.source = Source::Closed;
                        }
                        Some(chunk) => return chunk.map(Some),
                        None => drop(under_way.pop_front()),
                    }
                }
            }
        }
    }

    /// Asks for the first bytes, and finds out whether the registry gives parts.
    async fn start(&self) -> Result<Source, Error> {
        let (from, size) = (self.received, self.place.size);
        let large = self.ranges && size - from >= LARGE;
        let end = if large { from + STRETCH } else { size };
        let lane = self.place.lanes.clone().acquire_owned().await.ok();
        let mut first = Stretch::new(self.place.clone(), from, end, lane);
        first.first = true;
        first.ready().await?;
        Ok(match first.end == size {
            true => Source::One(first),
            false => {
                let next = first.end;
                Source::Several { under_way: VecDeque::from([first.set_out()]), next }
            }
        })
    }

    fn finish(&mut self) -> Result<Option<Bytes>, Error> {
        self.source = Source::Closed;
        if let Some(hash) = self.hash.take() {
            let found = hash.digest();
            if found != self.place.digest {
                self.hash = Some(Hasher::of(&self.place.digest));
                return Err(Error::WrongDigest { expected: self.place.digest.clone(), found });
            }
        }
        self.verified = true;
        Ok(None)
    }
}

/// Asks for the next stretches where connections are free; at least for one.
async fn ask_ahead(place: &Arc<Place>, under_way: &mut VecDeque<UnderWay>, next: &mut u64) {
    while *next < place.size && under_way.len() < STRETCHES {
        let lanes = place.lanes.clone();
        let lane = match under_way.is_empty() {
            true => lanes.acquire_owned().await.ok(),
            false => match lanes.try_acquire_owned() {
                Ok(lane) => Some(lane),
                Err(_) => return,
            },
        };
        let end = (*next + STRETCH).min(place.size);
        under_way.push_back(Stretch::new(place.clone(), *next, end, lane).set_out());
        *next = end;
    }
}

/// A stretch that comes by itself.
struct UnderWay {
    /// Not more than the stretch is long.
    chunks: mpsc::UnboundedReceiver<Result<Bytes, Error>>,
    task: JoinHandle<()>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Bytes of a blob from one place up to another.
struct Stretch {
    place: Arc<Place>,
    at: u64,
    end: u64,
    response: Option<Response>,
    /// Bytes of the response that we have already: the registry ignored our range.
    skip: u64,
    failures: u32,
    /// Since when bytes are counted, and how many have come since.
    pace: (Instant, u64),
    /// The blob's first one: if the registry gives all for a part, this takes all.
    first: bool,
    _lane: Option<OwnedSemaphorePermit>,
}

impl Stretch {
    fn new(place: Arc<Place>, at: u64, end: u64, lane: Option<OwnedSemaphorePermit>) -> Stretch {
        let pace = (Instant::now(), 0);
        Stretch { place, at, end, response: None, skip: 0, failures: 0, pace, first: false, _lane: lane }
    }

    /// Lets it come whether somebody waits for it or not.
    fn set_out(mut self) -> UnderWay {
        let (sender, chunks) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let chunk = self.chunk().await.transpose();
                let Some(chunk) = chunk else { return };
                let last = chunk.is_err();
                if sender.send(chunk).is_err() || last {
                    return;
                }
            }
        });
        UnderWay { chunks, task }
    }

    /// The next bytes; `None` at the end of the stretch.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.at == self.end && self.place.size > 0 {
                return Ok(None);
            }
            self.ready().await?;
            match self.read().await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(Some(bytes)) => match self.accept(bytes) {
                    Err(error) if self.is_mirrors(&error) => {}
                    accepted => return accepted.map(Some),
                },
                Ok(None) if self.at == self.end => return Ok(None),
                Ok(None) => {
                    let problem = Problem::ClosedEarly(self.at);
                    self.pause(Error::Protocol { request: self.shown(), problem }).await?;
                }
                Err(error) => self.pause(error).await?,
            }
        }
    }

    fn accept(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        let at = self.at + bytes.len() as u64;
        if at > self.place.size {
            let (digest, expected) = (self.place.digest.clone(), self.place.size);
            return Err(Error::WrongSize { digest, expected, found: at });
        }
        if at > self.end {
            return Err(Error::Protocol { request: self.shown(), problem: Problem::WrongRange });
        }
        self.failures = 0;
        self.keep_pace(bytes.len() as u64)?;
        self.at = at;
        Ok(bytes)
    }

    /// Whether it is the fault of a mirror, which is not asked again then; the next one goes on where this one stopped.
    fn is_mirrors(&mut self, error: &Error) -> bool {
        let source = self.response.as_ref().and_then(exchange::source);
        let blamed = self.place.session.blame(source, error);
        if blamed {
            self.response = None;
            self.pace = (Instant::now(), 0);
        }
        blamed
    }

    /// Refuses a server that sends just enough not to be called silent.
    fn keep_pace(&mut self, more: u64) -> Result<(), Error> {
        let (since, come) = self.pace;
        let window = self.place.session.patience().silence;
        if since.elapsed() < window {
            self.pace.1 += more;
            return Ok(());
        }
        self.pace = (Instant::now(), 0);
        match come + more < SLOWEST {
            true => {
                let problem = Problem::TooSlow(come + more, window.as_secs());
                Err(Error::Protocol { request: self.shown(), problem })
            }
            false => Ok(()),
        }
    }

    /// Bytes of the open response that are new; `None` at its end.
    async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let shown = RequestLine::get(response.url().origin().ascii_serialization());
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| Error::Transport { request: shown, source: Cause::new(error) })?;
        Ok(chunk.map(|mut bytes| {
            let known = self.skip.min(bytes.len() as u64);
            self.skip -= known;
            bytes.split_off(known as usize)
        }))
    }

    /// Sees to it that there is a response.
    async fn ready(&mut self) -> Result<(), Error> {
        while self.response.is_none() {
            match self.open().await {
                Err(error @ Error::Transport { .. }) => self.pause(error).await?,
                other => other?,
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Error> {
        let Place { session, reference, digest, size, .. } = &*self.place;
        let url = url_in(session, reference, &format!("blobs/{digest}")).await?;
        let until = (self.end < *size).then_some(self.end);
        let response = session.get(&url, &Get { from: self.at, until, ..Get::default() }).await?;
        let start = match response.status() {
            StatusCode::OK if until.is_none() => 0,
            StatusCode::OK if self.first => {
                self.end = *size;
                0
            }
            StatusCode::OK => {
                return Err(Error::Protocol { request: exchange::shown(&url), problem: Problem::NoRanges });
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = exchange::header(response.headers(), CONTENT_RANGE.as_str());
                range.and_then(range_start).unwrap_or(u64::MAX)
            }
            _ => return Err(refusal(response, reference, Wanted::Blob(digest)).await),
        };
        if start != 0 && start != self.at {
            let error = Error::Protocol { request: exchange::shown(&url), problem: Problem::WrongRange };
            // Without an answer the next one is asked.
            return if session.blame(exchange::source(&response), &error) { Ok(()) } else { Err(error) };
        }
        self.skip = self.at - start;
        self.response = Some(response);
        Ok(())
    }

    /// Waits before the next connection, or gives up.
    async fn pause(&mut self, error: Error) -> Result<(), Error> {
        if self.is_mirrors(&error) {
            return Ok(());
        }
        self.response = None;
        self.failures += 1;
        if self.failures >= TRIES {
            return Err(Error::Broken {
                digest: self.place.digest.clone(),
                received: self.at,
                tries: self.failures,
                source: Box::new(error),
            });
        }
        let pause = match self.failures {
            1 => FIRST_PAUSE,
            failures => SECOND_PAUSE * 2u32.pow(failures - 2),
        };
        if let Some(tell) = self.place.waits.as_ref().filter(|_| pause >= NOTICED) {
            tell(pause);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn shown(&self) -> RequestLine {
        RequestLine::get(self.place.reference.with_digest(self.place.digest.clone()).familiar())
    }
}

/// The first byte in `bytes 5-9/10`.
fn range_start(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}
