//! What images, their archives and the build cache may take of the disk, and taking away what was used longest ago.
//!
//! Without being asked, what can be had again goes: records of the build cache, images without a name, pulls that were given up,
//! what is in quarantine. An image that has a name goes only where somebody has said how long it may be unused; one that has none
//! may be all that somebody has just got of a build (`docker run $(docker build -q .)`), and stays for some minutes. What a
//! container was made from, what an operation under way holds, and volumes are never touched.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use api::system::Collected;
use builder::{CacheEntry, Prune};
use jiff::Timestamp;
use state::containers;

use crate::error::{Context as _, Kind, Result};
use crate::images::catalog::{Catalog, Item};
use crate::images::remove_unused;
use crate::{Engine, builds};

/// What the content may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Storage {
    /// Bytes of layers' files, blobs and the build cache's directories.
    pub max: Option<u64>,
    /// Bytes of the file system that stay free.
    pub keep_free: Option<u64>,
    /// Images that have a name and no container, and were not used for so long, may go, too.
    pub unused: Option<Duration>,
}

/// How long images that have no name stay at least once they were made or used, unless [`Storage::unused`] is less or somebody
/// asks for the room.
const RECENT: Duration = Duration::from_secs(600);

impl Storage {
    fn is_limited(&self) -> bool {
        self.max.is_some() || self.keep_free.is_some()
    }
}

/// Brings the content within these limits, what was used longest ago first.
pub async fn collect(engine: &Engine, limits: Storage) -> Result<Collected> {
    engine.blocking(move |engine| Collection { engine, limits, recent: Duration::ZERO }.run()).await
}

/// The same within the limits of this engine's settings, after something has come. What goes wrong is for the next operation
/// to tell.
pub async fn keep_within_limits(engine: &Engine) {
    let work = |engine: &Engine| {
        look_after(engine);
        Ok(())
    };
    let _ = engine.blocking(work).await;
}

/// [`keep_within_limits`] on this thread.
pub(crate) fn look_after(engine: &Engine) {
    let limits = engine.config().storage;
    if !limits.is_limited() {
        return;
    }
    if let Err(error) = (Collection { engine, limits, recent: RECENT }).run() {
        tracing::warn!(%error, "keep the content within its limits");
    }
}

struct Collection<'e> {
    engine: &'e Engine,
    limits: Storage,
    /// How long what has no name stays, see [`RECENT`].
    recent: Duration,
}

/// Something that may go.
enum Candidate<'c> {
    Cache(&'c CacheEntry),
    Image(&'c Item),
}

impl Collection<'_> {
    fn run(&self) -> Result<Collected> {
        let mut done = Collected::default();
        let before = self.used()?;
        if self.excess()? > 0 {
            // What belongs to nothing goes first, and costs nobody anything.
            let store = self.engine.store();
            store.forget_partials(Duration::ZERO);
            store.empty_quarantine(true)?;
            store.gc()?;
            while self.excess()? > 0 && self.round(&mut done)? {}
        }
        done.used = self.used()?;
        done.space_reclaimed = before.saturating_sub(done.used);
        done.lacking = self.excess()?;
        Ok(done)
    }

    /// Bytes that are in use, as [`Storage::max`] counts.
    fn used(&self) -> Result<u64> {
        let usage = self.engine.store().usage()?;
        let directories = builds::directories(self.engine)?;
        Ok(usage.layers + usage.blobs + directories.iter().map(|entry| entry.size).sum::<u64>())
    }

    /// Bytes too much.
    fn excess(&self) -> Result<u64> {
        let mut excess = 0;
        if let Some(keep) = self.limits.keep_free {
            let root = &self.engine.config().root;
            let status =
                rustix::fs::statvfs(root).during(format_args!("look at the space of {}", root.display()))?;
            excess = keep.saturating_sub(status.f_bavail.saturating_mul(status.f_frsize));
        }
        if let Some(max) = self.limits.max {
            excess = excess.max(self.used()?.saturating_sub(max));
        }
        Ok(excess)
    }

    /// Takes as much away as the excess may need, what was used longest ago first; whether anything went.
    fn round(&self, done: &mut Collected) -> Result<bool> {
        let excess = self.excess()?;
        let store = self.engine.store();
        let entries = builds::entries(self.engine)?;
        let catalog = self.engine.db().read(|tx| Catalog::read(store, tx))?;
        let mut candidates: Vec<(Timestamp, Candidate<'_>)> = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.in_use && !entry.shared) {
            candidates.push((entry.used.parse().unwrap_or(Timestamp::UNIX_EPOCH), Candidate::Cache(entry)));
        }
        for item in &catalog.items {
            if let Some(used) = self.may_go(item)? {
                candidates.push((used, Candidate::Image(item)));
            }
        }
        candidates.sort_by_key(|(used, _)| *used);
        let usage = store.usage()?;
        let (mut freed, mut any, mut shared) = (0, false, None);
        for (_, candidate) in candidates {
            if freed >= excess {
                break;
            }
            match candidate {
                Candidate::Cache(entry) => {
                    let only = Some(BTreeSet::from([entry.id.clone()]));
                    let gone = builds::forget(self.engine, &Prune { only, ..Prune::default() })?;
                    if gone > 0 {
                        (any, freed) = (true, freed + entry.size);
                        done.caches_deleted += 1;
                    }
                }
                Candidate::Image(item) => {
                    let size = item.records.first().and_then(|record| usage.images.get(&record.digest));
                    // What it shares with others stays.
                    let own = size.map_or(0, |(size, shared)| size - shared);
                    if own == 0 && !item.chains().is_empty() {
                        shared = shared.or(Some(item));
                    } else if self.remove(item, done)? {
                        (any, freed) = (true, freed + own);
                    }
                }
            }
        }
        // One that has nothing of its own makes no room, but for others that have the same.
        if let (false, Some(item)) = (any, shared) {
            any = self.remove(item, done)?;
        }
        store.gc()?;
        Ok(any)
    }

    /// When an image was used last, if it may go.
    fn may_go(&self, item: &Item) -> Result<Option<Timestamp>> {
        // What has children goes after them; what an index has goes with its name.
        if item.children > 0 || (item.is_member() && item.names().next().is_none()) {
            return Ok(None);
        }
        if !self.engine.db().read(|tx| containers::of_image(tx, &item.id))?.is_empty() {
            return Ok(None);
        }
        let unused = match item.tags.is_empty() {
            true => Some(self.limits.unused.map_or(self.recent, |unused| unused.min(self.recent))),
            false => self.limits.unused,
        };
        let used = self.engine.store().last_use(&item.id).unwrap_or(SystemTime::UNIX_EPOCH);
        let is_long = |unused| used.elapsed().is_ok_and(|age| age >= unused);
        Ok(unused.is_some_and(is_long).then(|| Timestamp::try_from(used).unwrap_or(Timestamp::UNIX_EPOCH)))
    }

    fn remove(&self, item: &Item, done: &mut Collected) -> Result<bool> {
        let mut names: Vec<String> = item.names().map(|tag| tag.reference.familiar()).collect();
        if names.is_empty() {
            names.push(item.id.to_string());
        }
        let mut any = false;
        for name in names {
            match remove_unused(self.engine, &name) {
                Ok((removed, _)) => {
                    any = true;
                    done.images_deleted.extend(removed);
                }
                // Somebody uses it, or has removed it with an earlier name.
                Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }
}
