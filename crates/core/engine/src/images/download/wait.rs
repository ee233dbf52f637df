//! Layers that somebody else is fetching, here or in another process: they are waited for, so that each comes once.
//!
//! What is whole gets its name when the other's whole image is there. Whoever has nothing else left to wait for takes a copy then:
//! the other may have far more to do, or wait for what is whole here, as two do that begin together. It is put off for about as
//! long as the copy takes, so that waiting never costs much more than not to wait; not for as long by everybody, so that
//! the first to be done spares the others theirs. So nobody waits for whom he keeps waiting: what is not whole grows, or is
//! given up as stuck, and what is whole can be copied.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::JsonMessage;
use store::Underway;
use tokio::sync::oneshot;

use super::{EVERY, Work, report};
use crate::error::{Context as _, Result};

/// How long pulls wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// What does not grow for so long is stuck.
    pub stuck: Duration,
    /// For so long at most after a layer is whole, whoever fetched it may be about to give all that it has its names.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { stuck: Duration::from_secs(30), whole: Duration::from_secs(5) }
    }
}

/// Bytes of a copy in a second, more or less.
const COPIED: f64 = 256e6;
/// What is small is put off for so long all the same: images end with small layers.
const PUT_OFF: Duration = Duration::from_millis(100);

/// How many layers of a pull are not waited for: they are fetched or unpacked, or not whole yet.
#[derive(Default)]
pub(super) struct Busy(AtomicUsize);

/// One of them, as long as it is one.
pub(super) struct Share<'a>(&'a Busy);

impl Busy {
    pub fn share(&self) -> Share<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Share(self)
    }

    fn is_nobody(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why nothing is waited for any more.
pub(super) enum Waited {
    /// It is here now, or free to be gone on with.
    Over,
    /// It is whole, and has had no name for so long.
    Whole(Arc<Underway>),
    /// It does not come.
    Stuck,
}

impl Work {
    /// How long a copy of what is whole is put off: from half as long as it takes to twice, by chance.
    fn put_off(&self) -> Duration {
        let copy = Duration::from_secs_f64(self.descriptor.size.min(1 << 40) as f64 / COPIED).max(PUT_OFF);
        let chance = RandomState::new().hash_one(&self.descriptor.digest) % 1000;
        copy.mul_f64(0.5 + 1.5 * chance as f64 / 1000.0).min(self.patience.whole)
    }

    /// Waits for what somebody else fetches, and tells how far that is.
    pub(super) async fn wait(&self, underway: Underway) -> Result<Waited> {
        let underway = Arc::new(underway);
        let (mut share, mut over) = (Some(self.busy.share()), ended(&underway)?);
        let mut ticks = tokio::time::interval(EVERY);
        let (mut seen, mut since, put_off) = (0, Instant::now(), self.put_off());
        loop {
            tokio::select! {
                ended = &mut over => {
                    ended.during("wait for a layer")??;
                    return Ok(Waited::Over);
                }
                gone = self.report.closed() => return Err(gone),
                _ = ticks.tick() => {}
            }
            // Another layer of this image may be the same.
            if self.batch.blob_size(&self.descriptor.digest)?.is_some() {
                return Ok(Waited::Over);
            }
            let length = underway.length()?;
            if length != seen {
                (seen, since) = (length, Instant::now());
                let progress = report::bytes(length.min(self.descriptor.size), self.descriptor.size);
                let id = self.descriptor.digest.short();
                self.report.hint(JsonMessage::part(id, "Downloading", progress));
            }
            if length < self.descriptor.size {
                share.get_or_insert_with(|| self.busy.share());
                if since.elapsed() >= self.patience.stuck {
                    return Ok(Waited::Stuck);
                }
                continue;
            }
            if share.take().is_some() || !self.busy.is_nobody() {
                since = Instant::now();
            } else if since.elapsed() >= put_off {
                return Ok(Waited::Whole(underway));
            }
        }
    }
}

/// Tells when nobody works on it any more. The thread that waits for the lock stays until then, even if nobody listens.
fn ended(underway: &Arc<Underway>) -> Result<oneshot::Receiver<Result<(), store::Error>>> {
    let (sender, receiver) = oneshot::channel();
    let own = underway.clone();
    let wait = move || drop(sender.send(own.wait()));
    std::thread::Builder::new().spawn(wait).during("start a thread")?;
    Ok(receiver)
}
