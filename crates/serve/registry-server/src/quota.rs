//! How much repositories may hold.
//!
//! A repository holds its blobs and its manifests; the registry holds each blob once. Unfinished uploads count as well. What is
//! used is counted once at the start and kept up to date; before somebody is refused it is counted again, for another process
//! may have collected garbage.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oci::Digest;

use crate::answer::Result;
use crate::error::{Code, Failure};
use crate::name::Name;
use crate::registry::Registry;
use crate::storage::{Algorithm, Folder};

/// How soon may be counted again.
const PAUSE: Duration = Duration::from_secs(10);

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// A repository and those below it; none is the whole registry.
    pub prefix: Option<String>,
    pub bytes: u64,
}

impl Limit {
    fn covers(&self, name: &str) -> bool {
        self.prefix.as_deref().is_none_or(|prefix| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

#[derive(Debug, Default)]
struct Used {
    repositories: HashMap<String, u64>,
    /// By all repositories, each blob once.
    total: u64,
    /// By uploads that are not finished.
    pending: HashMap<String, u64>,
    counted: Option<Instant>,
}

/// What may be used, and what is.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    limits: Arc<[Limit]>,
    used: Arc<Mutex<Used>>,
}

/// Room that somebody has until it is used or given back.
#[derive(Debug)]
pub(crate) struct Reservation {
    quota: Quota,
    name: String,
    bytes: u64,
}

impl Reservation {
    /// Gives back what is more than this.
    pub(crate) fn settle(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.quota.lock().give_back(&self.name, more);
        self.bytes -= more;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.quota.lock().give_back(&self.name, self.bytes);
    }
}

impl Used {
    fn give_back(&mut self, name: &str, bytes: u64) {
        if let Some(pending) = self.pending.get_mut(name) {
            *pending = pending.saturating_sub(bytes);
            if *pending == 0 {
                self.pending.remove(name);
            }
        }
    }

    fn of(&self, limit: &Limit) -> u64 {
        let sum = |all: &HashMap<String, u64>| {
            all.iter().filter(|(name, _)| limit.covers(name)).map(|(_, bytes)| bytes).sum::<u64>()
        };
        let kept = if limit.prefix.is_none() { self.total } else { sum(&self.repositories) };
        kept + sum(&self.pending)
    }
}

impl Quota {
    pub(crate) fn new(limits: &[Limit]) -> Quota {
        Quota { limits: limits.into(), used: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is limited.
    fn is_any(&self) -> bool {
        !self.limits.is_empty()
    }

    pub(crate) fn reservation(&self, name: &Name) -> Reservation {
        Reservation { quota: self.clone(), name: name.as_str().to_owned(), bytes: 0 }
    }

    /// Room that somebody has already, whatever the limits say.
    pub(crate) fn held(&self, name: &str, bytes: u64) -> Reservation {
        let bytes = if self.is_any() { bytes } else { 0 };
        *self.lock().pending.entry(name.to_owned()).or_default() += bytes;
        Reservation { quota: self.clone(), name: name.to_owned(), bytes }
    }

    /// A repository has something more; `new` if the registry has it for the first time.
    pub(crate) fn add(&self, name: &Name, bytes: u64, new: bool) {
        if self.is_any() {
            let mut used = self.lock();
            *used.repositories.entry(name.as_str().to_owned()).or_default() += bytes;
            used.total += if new { bytes } else { 0 };
        }
    }

    /// Takes room, or says which limit is in the way.
    fn take(&self, name: &str, bytes: u64) -> Result<(), (Limit, u64)> {
        let mut used = self.lock();
        for limit in self.limits.iter().filter(|limit| limit.covers(name)) {
            let now = used.of(limit);
            if now.saturating_add(bytes) > limit.bytes {
                return Err((limit.clone(), now));
            }
        }
        *used.pending.entry(name.to_owned()).or_default() += bytes;
        Ok(())
    }
}

impl Registry {
    /// Makes a reservation as large as this, if it is not.
    pub(crate) async fn reserve(&self, held: &mut Reservation, bytes: u64) -> Result<()> {
        let more = bytes.saturating_sub(held.bytes);
        if more == 0 || !self.quota.is_any() {
            return Ok(());
        }
        let mut taken = self.quota.take(&held.name, more);
        if taken.is_err() && self.count_again().await? {
            taken = self.quota.take(&held.name, more);
        }
        match taken {
            Ok(()) => {
                held.bytes += more;
                Ok(())
            }
            Err((limit, used)) => {
                let whose = limit.prefix.as_deref().unwrap_or("the registry");
                let text = format!(
                    "the quota of {whose} is used up: {used} of {} bytes, {more} more were wanted",
                    limit.bytes
                );
                Err(Failure::says(Code::Denied, text))
            }
        }
    }

    /// Counts what is used, unless that was done a moment ago.
    pub(crate) async fn count_again(&self) -> Result<bool> {
        if !self.quota.is_any() {
            return Ok(false);
        }
        {
            let mut used = self.quota.lock();
            if used.counted.is_some_and(|when| when.elapsed() < PAUSE) {
                return Ok(false);
            }
            used.counted = Some(Instant::now());
        }
        self.count_used().await?;
        Ok(true)
    }

    /// Counts what is used.
    pub(crate) async fn count_used(&self) -> Result<()> {
        if !self.quota.is_any() {
            return Ok(());
        }
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for shard in self.storage.shards() {
                for (hex, stat) in self.storage.entries(Folder::Blobs(algorithm, &shard)).await? {
                    let digest = format!("{}:{hex}", algorithm.as_str()).parse();
                    sizes.extend(digest.ok().map(|digest: Digest| (digest, stat.size)));
                }
            }
        }
        let mut total: u64 = sizes.values().sum();
        let mut repositories = HashMap::new();
        for folder in self.storage.names(Folder::Repositories, "", usize::MAX).await? {
            let Some(name) = Name::of_folder(&folder) else { continue };
            let links = self.storage.names(Folder::Links(&name), "", usize::MAX).await?;
            let size = |link: &String| sizes.get(&link.parse::<Digest>().ok()?).copied();
            let blobs: u64 = links.iter().filter_map(size).sum();
            let manifests = self.storage.entries(Folder::Manifests(&name)).await?;
            let manifests: u64 = manifests.iter().map(|(_, stat)| stat.size).sum();
            total += manifests;
            repositories.insert(name.as_str().to_owned(), blobs + manifests);
        }
        let mut used = self.quota.lock();
        (used.repositories, used.total) = (repositories, total);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
        let limit = |prefix: Option<&str>, bytes| Limit { prefix: prefix.map(str::to_owned), bytes };
        let quota = Quota::new(&[limit(None, 100), limit(Some("team"), 50)]);
        let (team, teams): (Name, Name) = ("team/a".parse().unwrap(), "teams".parse().unwrap());
        quota.add(&team, 30, true);
        assert_eq!(quota.take("team/a", 21).unwrap_err().0, limit(Some("team"), 50));
        assert!(quota.take("team/a", 20).is_ok());
        drop(Reservation { quota: quota.clone(), name: "team/a".to_owned(), bytes: 20 });
        assert!(quota.take("team", 20).is_ok());
        assert!(quota.take("teams", 51).is_err(), "50 of 100 are used");
        assert!(quota.take("teams", 50).is_ok());
        quota.add(&teams, 10, false);
        assert_eq!(quota.lock().total, 30);
    }
}
