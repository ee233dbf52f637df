//! A cache that may hold no more than so much, or whose disk is full: what nobody has asked for for longest goes first.
//!
//! Each time something is asked for its time is set ([`Storage::touch`](crate::storage::Storage::touch)). What goes is fetched
//! again by whoever asks for it, and is read to its end by who reads it now.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use oci::Digest;

use super::Cache;
use crate::answer::Result;
use crate::name::Name;
use crate::registry::Registry;
use crate::storage::{Algorithm, Folder, Key};

/// A manifest is asked for before its blobs and is nothing beside them: it counts as asked for so much later.
const LEAD: Duration = Duration::from_secs(60 * 60);
/// What is removed while everybody else waits.
const BATCH: usize = 64;

/// Something that may go.
enum Piece {
    Blob(Digest),
    Manifest(Name, Digest),
}

impl Piece {
    fn key(&self) -> Key {
        match self {
            Piece::Blob(digest) => Key::blob(digest),
            Piece::Manifest(name, digest) => Key::manifest(name, digest),
        }
    }
}

/// A piece, when it was asked for last, and its bytes.
type Held = (SystemTime, u64, Piece);

impl Cache {
    /// Something more is here.
    pub(super) fn grown(&self, bytes: u64) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if self.upstream.most.is_some_and(|most| held > most) {
            self.pressed.notify_one();
        }
    }

    /// Something could not be kept: there was no room.
    pub(super) fn full(&self) {
        self.full.store(true, Ordering::Relaxed);
        self.pressed.notify_one();
    }

    /// What there may be now.
    fn most(&self, held: u64) -> u64 {
        let most = self.upstream.most.unwrap_or(u64::MAX);
        // As much as there is was too much.
        if self.full.swap(false, Ordering::Relaxed) { most.min(held.saturating_sub(1)) } else { most }
    }
}

impl Registry {
    /// Says that somebody asked for it.
    pub(crate) async fn asked_for(&self, key: &Key) -> Result<()> {
        if self.cache.is_some() {
            self.storage.touch(key).await?;
        }
        Ok(())
    }

    /// Makes room whenever there is more than there may be; for ever.
    pub(crate) async fn keep_within(&self) {
        let Some(cache) = &self.cache else { return };
        loop {
            if let Err(failure) = self.evict(cache).await {
                tracing::error!(message = failure.message, "make room in the cache");
            }
            cache.pressed.notified().await;
        }
    }

    /// Removes what was asked for longest ago, until there is a tenth less than there may be: not each new blob is to end in a
    /// look at everything.
    async fn evict(&self, cache: &Cache) -> Result<()> {
        cache.held.store(0, Ordering::Relaxed);
        let mut pieces = self.pieces().await?;
        let mut held: u64 = pieces.iter().map(|(_, bytes, _)| bytes).sum();
        if cache.held.fetch_add(held, Ordering::Relaxed) > 0 {
            // What came meanwhile may be counted or not.
            cache.pressed.notify_one();
        }
        let most = cache.most(held);
        if held <= most {
            return Ok(());
        }
        let enough = most - most / 10;
        pieces.sort_unstable_by_key(|(asked, ..)| *asked);
        for batch in pieces.chunks(BATCH) {
            if held <= enough {
                break;
            }
            let _hold = self.storage.hold_alone().await?;
            for piece in batch {
                if held <= enough {
                    break;
                }
                if self.remove_piece(piece).await? {
                    held = held.saturating_sub(piece.1);
                    cache.held.fetch_sub(piece.1.min(cache.held.load(Ordering::Relaxed)), Ordering::Relaxed);
                    self.metrics.evicted_bytes.fetch_add(piece.1, Ordering::Relaxed);
                    self.metrics.evicted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.count_used().await
    }

    /// Everything that may go.
    async fn pieces(&self) -> Result<Vec<Held>> {
        let mut pieces = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for shard in self.storage.shards() {
                for (hex, stat) in self.storage.entries(Folder::Blobs(algorithm, &shard)).await? {
                    let Ok(digest) = format!("{}:{hex}", algorithm.as_str()).parse() else { continue };
                    pieces.push((stat.modified, stat.size, Piece::Blob(digest)));
                }
            }
        }
        for folder in self.storage.names(Folder::Repositories, "", usize::MAX).await? {
            let Some(name) = Name::of_folder(&folder) else { continue };
            for (digest, stat) in self.storage.entries(Folder::Manifests(&name)).await? {
                let Ok(digest) = digest.parse() else { continue };
                pieces.push((stat.modified + LEAD, stat.size, Piece::Manifest(name.clone(), digest)));
            }
        }
        Ok(pieces)
    }

    /// Removes it, unless somebody asked for it again.
    async fn remove_piece(&self, (asked, _, piece): &Held) -> Result<bool> {
        let Some(stat) = self.storage.stat(&piece.key()).await? else { return Ok(false) };
        match piece {
            Piece::Blob(digest) if stat.modified <= *asked => {
                Ok(self.storage.remove(&Key::blob(digest)).await?)
            }
            Piece::Manifest(name, digest) if stat.modified + LEAD <= *asked => {
                self.remove_manifest(name, digest).await
            }
            _ => Ok(false),
        }
    }
}
