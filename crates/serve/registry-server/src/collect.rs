//! Garbage collection, while everything goes on.
//!
//! Garbage are blobs of a repository that none of its manifests names, content that no repository has, repositories with nothing
//! in them and, if wanted, manifests that no tag leads to. A push under way relies on blobs before there is a manifest: each time
//! somebody relies on one its time is set, and what was relied on within the grace stays. What is found is looked at once more,
//! with everybody else kept away, right before it goes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use oci::Digest;
use oci::image::Document;

use crate::answer::Result;
use crate::manifests::names_a_blob;
use crate::name::{Name, Tag};
use crate::referrers;
use crate::registry::Registry;
use crate::storage::{Algorithm, Folder, Key, Stat};

/// What is removed while everybody else waits.
const BATCH: usize = 64;

/// What is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// What was relied on so recently stays.
    pub grace: Duration,
    /// Also manifests that no tag leads to.
    pub untagged: bool,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub manifests: u64,
    /// Blobs that a repository no longer has.
    pub links: u64,
    /// Content.
    pub blobs: u64,
    /// Of that content.
    pub bytes: u64,
    pub repositories: u64,
}

/// A collection that did not come to its end; why is in the log.
#[derive(Debug, thiserror::Error)]
#[error("collect garbage: {0}")]
pub struct NotCollected(String);

/// What a run knows.
struct Run<'r> {
    registry: &'r Registry,
    /// What was relied on later stays.
    horizon: SystemTime,
    untagged: bool,
    /// The beginnings of digests that repositories have. Two with the same are one more that stays.
    linked: HashSet<u64>,
    collected: Collected,
}

impl Registry {
    /// Removes what is garbage, one run at a time; none where it can't be told yet what is.
    pub async fn collect(&self, wanted: Collection) -> Result<Option<Collected>, NotCollected> {
        let _alone = self.collecting.lock().await;
        let collected =
            self.collect_garbage(wanted).await.map_err(|failure| NotCollected(failure.message))?;
        if let Some(collected) = &collected {
            self.metrics.collection(collected);
        }
        Ok(collected)
    }

    async fn collect_garbage(&self, wanted: Collection) -> Result<Option<Collected>> {
        if !self.storage.remembers(wanted.grace) {
            return Ok(None);
        }
        let horizon = SystemTime::now().checked_sub(wanted.grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut run = Run {
            registry: self,
            horizon,
            untagged: wanted.untagged,
            linked: HashSet::new(),
            collected: Collected::default(),
        };
        for folder in self.storage.names(Folder::Repositories, "", usize::MAX).await? {
            if let Some(name) = Name::of_folder(&folder) {
                run.repository(&name).await?;
            }
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for shard in self.storage.shards() {
                run.content(algorithm, &shard).await?;
            }
        }
        self.count_used().await?;
        Ok(Some(run.collected))
    }
}

impl Run<'_> {
    fn is_old(&self, stat: &Stat) -> bool {
        stat.modified < self.horizon
    }

    async fn repository(&mut self, name: &Name) -> Result<()> {
        let storage = &self.registry.storage;
        let mut manifests = BTreeMap::new();
        for (digest, stat) in storage.entries(Folder::Manifests(name)).await? {
            let Ok(digest) = digest.parse::<Digest>() else { continue };
            let stored = self.registry.stored(name, &digest).await?;
            let document = stored.and_then(|stored| Document::parse(&stored.bytes).ok());
            manifests.insert(digest, (stat, document));
        }
        if self.untagged {
            self.untagged(name, &mut manifests).await?;
        }
        let named: BTreeSet<&Digest> =
            manifests.values().filter_map(|(_, document)| document.as_ref()).flat_map(blobs).collect();
        let (mut garbage, mut kept) = (Vec::new(), manifests.len());
        for (link, stat) in storage.entries(Folder::Links(name)).await? {
            let Ok(digest) = link.parse::<Digest>() else { continue };
            match self.is_old(&stat) && !named.contains(&digest) {
                true => garbage.push(digest),
                false => {
                    kept += 1;
                    self.linked.insert(beginning(&digest));
                }
            }
        }
        // A manifest that can't be read may name anything.
        if manifests.values().any(|(_, document)| document.is_none()) {
            self.linked.extend(garbage.iter().map(beginning));
            return Ok(());
        }
        kept += self.unlink(name, &garbage).await?;
        if kept == 0 && storage.remove_repository(name).await? {
            self.collected.repositories += 1;
        }
        Ok(())
    }

    /// Removes manifests that no tag leads to, over indexes and by what they are about.
    async fn untagged(
        &mut self,
        name: &Name,
        manifests: &mut BTreeMap<Digest, (Stat, Option<Document>)>,
    ) -> Result<()> {
        let mut reached = BTreeSet::new();
        for tag in self.registry.storage.names(Folder::Tags(name), "", usize::MAX).await? {
            let Ok(tag) = tag.parse::<Tag>() else { continue };
            reached.extend(self.registry.tagged(name, &tag).await?);
        }
        loop {
            let before = reached.len();
            for (digest, (stat, document)) in manifests.iter() {
                let Some(document) = document else { continue };
                let about =
                    referrers::subject(document).is_some_and(|subject| reached.contains(&subject.digest));
                // What is new may be a part of something that is still to come, and so are its parts.
                if about || !self.is_old(stat) {
                    reached.insert(digest.clone());
                }
                if let (Document::Index(index), true) = (document, reached.contains(digest)) {
                    reached.extend(index.manifests.iter().map(|member| member.digest.clone()));
                }
            }
            if reached.len() == before {
                break;
            }
        }
        let garbage: Vec<Digest> =
            manifests.keys().filter(|digest| !reached.contains(digest)).cloned().collect();
        for digest in garbage {
            let _hold = self.registry.storage.hold_alone().await?;
            let stat = self.registry.storage.stat(&Key::manifest(name, &digest)).await?;
            if stat.is_some_and(|stat| self.is_old(&stat)) && !self.is_tagged(name, &digest).await? {
                self.registry.remove_manifest(name, &digest).await?;
                manifests.remove(&digest);
                self.collected.manifests += 1;
            }
        }
        Ok(())
    }

    async fn is_tagged(&self, name: &Name, digest: &Digest) -> Result<bool> {
        for tag in self.registry.storage.names(Folder::Tags(name), "", usize::MAX).await? {
            let Ok(tag) = tag.parse::<Tag>() else { continue };
            if self.registry.tagged(name, &tag).await?.as_ref() == Some(digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes blobs from a repository, unless somebody relies on them again; says how many stay.
    async fn unlink(&mut self, name: &Name, garbage: &[Digest]) -> Result<usize> {
        let mut kept = 0;
        for batch in garbage.chunks(BATCH) {
            let _hold = self.registry.storage.hold_alone().await?;
            for digest in batch {
                let key = Key::link(name, digest);
                match self.registry.storage.stat(&key).await? {
                    Some(stat) if self.is_old(&stat) => {
                        self.registry.storage.remove(&key).await?;
                        self.collected.links += 1;
                    }
                    Some(_) => {
                        self.linked.insert(beginning(digest));
                        kept += 1;
                    }
                    None => {}
                }
            }
        }
        Ok(kept)
    }

    /// Removes content that no repository has.
    async fn content(&mut self, algorithm: Algorithm, shard: &str) -> Result<()> {
        let entries = self.registry.storage.entries(Folder::Blobs(algorithm, shard)).await?;
        let digest = |hex: &str| format!("{}:{hex}", algorithm.as_str()).parse::<Digest>().ok();
        let garbage: Vec<Digest> = entries
            .iter()
            .filter(|(_, stat)| self.is_old(stat))
            .filter_map(|(hex, _)| digest(hex))
            .filter(|digest| !self.linked.contains(&beginning(digest)))
            .collect();
        for batch in garbage.chunks(BATCH) {
            let _hold = self.registry.storage.hold_alone().await?;
            for digest in batch {
                let key = Key::blob(digest);
                let stat = self.registry.storage.stat(&key).await?;
                let Some(stat) = stat.filter(|stat| self.is_old(stat)) else { continue };
                if self.registry.storage.remove(&key).await? {
                    self.collected.blobs += 1;
                    self.collected.bytes += stat.size;
                }
            }
        }
        Ok(())
    }
}

/// The blobs that a manifest names.
fn blobs(document: &Document) -> Vec<&Digest> {
    match document {
        Document::Manifest(manifest) => {
            std::iter::once(&manifest.config).chain(&manifest.layers).map(|blob| &blob.digest).collect()
        }
        Document::Index(index) => {
            index.manifests.iter().filter(|member| names_a_blob(member)).map(|blob| &blob.digest).collect()
        }
    }
}

fn beginning(digest: &Digest) -> u64 {
    // A digest has more digits than that.
    u64::from_str_radix(&digest.hex()[..16], 16).unwrap_or_default()
}
