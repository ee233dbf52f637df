//! Taking records from elsewhere.

use super::{Blobs, CacheOrigin, Document, Entry, Opened, Promise};
use crate::error::{BoxError, chain};
use crate::event::Stream;
use crate::progress::Progress;
use crate::request::{Env, LeftLayer};
use crate::turn;
use oci::image::Descriptor;
use oci::{ChainId, Digest, Reference};
use rustix::fs::FlockOperation;
use state::cache;
use std::collections::hash_map::Entry::Vacant;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use store::Lease;
use sys::root::Root;

/// The archive of a layer without files: its end mark.
const EMPTY: [u8; 1024] = [0; 1024];

/// What a record is called and says, for those who explain.
pub(crate) struct Told {
    pub scope: String,
    pub record: String,
}

/// Records that may be hit.
#[derive(Default)]
pub(crate) struct Imports {
    entries: HashMap<Digest, (usize, Entry)>,
    /// Keys of the entries that one run of a step has given, which may be known by the layers that it read and by their content.
    runs: HashMap<Run, Vec<Digest>>,
    promises: HashMap<Digest, Promise>,
    origins: Vec<Origin>,
    /// What could not be had: it is tried once.
    failed: Mutex<HashSet<Digest>>,
}

/// A run of a step: the number of its origin, what a person calls it, when it was.
type Run = (usize, String, String);

struct Origin {
    image: Option<Reference>,
    layers: BTreeMap<Digest, Descriptor>,
    blob: Blobs,
}

/// Opens what is there to import from. A cache that is not there is no reason not to build.
pub(crate) fn open(env: &Env, lease: &Lease, origins: &[CacheOrigin], progress: &Progress<'_>) -> Imports {
    let mut imports = Imports::default();
    for origin in origins {
        let step = progress.step(&format!("importing cache manifest from {}", origin.name), "", "");
        match imports.add(env, lease, origin) {
            Ok(0) => {
                step.log(Stream::Stderr, format!("{} holds no cache of a build\n", origin.name));
                step.done();
            }
            Ok(_) => step.done(),
            Err(error) => {
                step.log(
                    Stream::Stderr,
                    format!("cache of {} not imported: {}\n", origin.name, chain(&*error)),
                );
                step.done();
            }
        }
    }
    imports
}

impl Imports {
    /// Whether there is nothing to hit.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is something that is not here.
    pub fn has_any(&self) -> bool {
        !self.promises.is_empty() || !self.entries.is_empty()
    }

    /// What the record of this key gave, whose layers can be brought as far as is known.
    pub fn offer(&self, key: &Digest) -> Option<Promise> {
        let (_, entry) = self.entries.get(key)?;
        let chain = ChainId::of(&entry.layers)?;
        let is_failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).contains(key);
        (!is_failed).then(|| Promise { key: key.clone(), chain, created: entry.created.clone() })
    }

    /// The layers that the record of this key gave, the lowest first, by the digests of their uncompressed archives.
    pub fn layers(&self, key: &Digest) -> Option<Vec<(&Digest, LeftLayer)>> {
        let (number, entry) = self.entries.get(key)?;
        let origin = &self.origins[*number];
        let layer = |diff_id| {
            let descriptor = origin.layers.get(diff_id)?.clone();
            Some((diff_id, LeftLayer { descriptor, from: origin.image.clone() }))
        };
        entry.layers.iter().map(layer).collect()
    }

    /// Notes that this cannot be had.
    pub fn give_up(&self, key: &Digest) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    }

    /// What the step of this key gave elsewhere, where its layers did not come along.
    pub fn promise(&self, key: &Digest) -> Option<&Promise> {
        self.promises.get(key)
    }

    /// The same of what the run that is promised by one key gave by others.
    pub fn twins(&self, promise: &Promise) -> Vec<Promise> {
        let is_twin = |other: &&Promise| other.chain == promise.chain && other.created == promise.created;
        let promised = self.promises.values().filter(is_twin).cloned();
        let entry = self.entries.get(&promise.key);
        let offered = entry.into_iter().flat_map(|(number, entry)| self.same_run(*number, entry));
        promised.chain(offered.map(|twin| Promise { key: twin.key.clone(), ..promise.clone() })).collect()
    }

    /// The entries that the same run of the step gave, with this one.
    fn same_run<'i>(&'i self, number: usize, entry: &'i Entry) -> impl Iterator<Item = &'i Entry> {
        let keys = self.runs.get(&(number, entry.scope.clone(), entry.created.clone()));
        let entries = keys.into_iter().flatten().filter_map(|key| Some(&self.entries.get(key)?.1));
        entries.filter(|other| other.layers == entry.layers)
    }

    fn add(&mut self, env: &Env, lease: &Lease, origin: &CacheOrigin) -> Result<usize, BoxError> {
        let opened = (origin.open)()?;
        opened.into_iter().map(|opened| self.add_opened(env, lease, origin, opened)).sum()
    }

    fn add_opened(
        &mut self,
        env: &Env,
        lease: &Lease,
        origin: &CacheOrigin,
        opened: Opened,
    ) -> Result<usize, BoxError> {
        let document: Document = serde_json::from_slice(&opened.document)?;
        let (number, count) = (self.origins.len(), document.entries.len() + document.promises.len());
        for (name, descriptor) in &document.mounts {
            mount(env, lease, name, descriptor, &opened.blob)?;
        }
        let mut layers = document.layers;
        layers.extend(opened.layers);
        self.origins.push(Origin { image: origin.image.clone(), layers, blob: opened.blob });
        for entry in document.entries {
            let run = (number, entry.scope.clone(), entry.created.clone());
            if let Vacant(place) = self.entries.entry(entry.key.clone()) {
                self.runs.entry(run).or_default().push(entry.key.clone());
                place.insert((number, entry));
            }
        }
        for promise in document.promises {
            self.promises.entry(promise.key.clone()).or_insert(promise);
        }
        Ok(count)
    }

    /// The record of this key, with its layers brought here and itself kept; none if there is none, or it cannot be had. What it
    /// is called and says, which did not travel, is `told` by the step that asks.
    pub fn find(
        &self,
        env: &Env,
        lease: &Lease,
        key: &Digest,
        told: impl FnOnce() -> Told,
    ) -> Result<Option<cache::Entry>, BoxError> {
        let Some((number, entry)) = self.entries.get(key) else { return Ok(None) };
        if self.failed.lock().unwrap_or_else(PoisonError::into_inner).contains(key) {
            return Ok(None);
        }
        let found = self.bring(env, lease, (*number, entry), &told());
        if found.is_err() {
            self.give_up(key);
        }
        found
    }

    fn bring(
        &self,
        env: &Env,
        lease: &Lease,
        (number, entry): (usize, &Entry),
        told: &Told,
    ) -> Result<Option<cache::Entry>, BoxError> {
        let origin = &self.origins[number];
        let mut parent: Option<ChainId> = None;
        for diff_id in &entry.layers {
            let chain = ChainId::on(parent.as_ref(), diff_id);
            if env.store.use_layer(lease, &chain)?.is_none() {
                let descriptor = origin.layers.get(diff_id);
                let archive: Box<dyn Read + Send> = match descriptor {
                    Some(descriptor) => (origin.blob)(descriptor)?,
                    // What a process left in its mounts is only known together with what it gave itself, which is nothing as a rule, and
                    // no layer of the image that the cache is in.
                    None if *diff_id == Digest::sha256(&EMPTY) => Box::new(&EMPTY[..]),
                    None => return Ok(None),
                };
                let unpacked = env.store.unpack_files(lease, archive)?;
                // Packing it here must give the archive that it came as: there is no other. eStargz has a table behind it.
                let seekable =
                    descriptor.is_some_and(|found| found.annotations.contains_key(store::TOC_DIGEST));
                let (found, packed) = (unpacked.diff_id.clone(), env.store.repack(lease, unpacked)?);
                if found != *diff_id && !seekable || packed.diff_id != *diff_id {
                    return Ok(None);
                }
                env.store.publish(lease, parent.as_ref(), packed)?;
            }
            parent = Some(chain);
        }
        let now = jiff::Timestamp::now().to_string();
        let kept = |entry: &Entry| cache::Entry {
            key: entry.key.clone(),
            chain: parent.clone(),
            scope: told.scope.clone(),
            record: told.record.clone(),
            created: entry.created.clone(),
            used: now.clone(),
            uses: 0,
        };
        env.db.write_fleeting(|tx| {
            self.same_run(number, entry).try_for_each(|entry| {
                cache::put(tx, &kept(entry))?;
                entry.shape.iter().try_for_each(|shape| cache::put_shape(tx, shape, &entry.key))
            })
        })?;
        Ok(Some(kept(entry)))
    }
}

/// Fills a cache mount that is not here yet.
fn mount(
    env: &Env,
    lease: &Lease,
    name: &str,
    descriptor: &Descriptor,
    blob: &Blobs,
) -> Result<(), BoxError> {
    if name.len() != 64 || !name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("{name:?} is no cache mount").into());
    }
    let base = &env.cache_mounts;
    let private = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(base)?;
    let target = base.join(name);
    // Who uses it has made it, and who wants to waits for what comes.
    let alone = FlockOperation::NonBlockingLockExclusive;
    let Some(_held) = turn::lock(base, &turn::lock_of(base, name), alone)? else { return Ok(()) };
    if target.exists() {
        return Ok(());
    }
    let scratch = lease.scratch();
    private(&scratch)?;
    let stream = archive::decompress(blob(descriptor)?)?;
    let options =
        archive::Options { devices: false, limits: env.store.limits(), ..archive::Options::plain() };
    archive::unpack(lease.guard(stream), &Root::open(&scratch)?, &options)?;
    Ok(std::fs::rename(&scratch, &target)?)
}
