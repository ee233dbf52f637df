//! Sending records away.

use super::{CacheTarget, DOCUMENT_TYPE, Document, Entry, Form, MOUNT_TYPE, Promise, Sum};
use crate::error::{BoxError, Error};
use crate::event::Stream;
use crate::export::options::Options;
use crate::key::Record;
use crate::progress::Progress;
use crate::request::Env;
use crate::stack;
use archive::Compression;
use oci::image::{Descriptor, Index, Manifest};
use oci::{ChainId, Digest, media_types};
use state::cache;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use store::Lease;
use sys::root::Root;

/// What a build used of the cache, and what it may have to tell about.
pub(crate) struct Used<'a> {
    pub env: &'a Env,
    pub lease: &'a Lease,
    pub sum: &'a Sum,
}

/// Sends the records of a build to one target.
pub(crate) fn send(used: &Used<'_>, target: &CacheTarget, progress: &Progress<'_>) -> Result<(), Error> {
    let step = progress.step(&format!("exporting cache to {}", target.name), "", "");
    let sent = manifest(used, target).and_then(|(manifest, blobs)| (target.send)(&manifest, &blobs));
    match sent {
        Ok(()) => {
            step.done();
            Ok(())
        }
        Err(source) => {
            let error = Error::Cache { name: target.name.clone(), source };
            if target.ignore_error {
                step.log(Stream::Stderr, format!("not exported: {}\n", error.chain()));
                step.done();
                return Ok(());
            }
            step.failed(error.chain());
            Err(error)
        }
    }
}

/// The records whose layers are the result's, for the inside of its configuration. `renamed` are those that the image has by
/// other digests.
pub(crate) fn inline(
    env: &Env,
    keys: &BTreeSet<Digest>,
    promises: Vec<Promise>,
    result: Option<&ChainId>,
    renamed: BTreeMap<Digest, Descriptor>,
) -> Result<Document, Error> {
    let wanted = prefixes(env, result.into_iter())?;
    Ok(Document { layers: renamed, ..records(env, keys, promises, Some(&wanted))? })
}

fn manifest(used: &Used<'_>, target: &CacheTarget) -> Result<(Descriptor, Vec<Descriptor>), BoxError> {
    let wanted = match target.max {
        true => None,
        false => Some(prefixes(used.env, used.sum.results.iter())?),
    };
    let promises = used.sum.promises.values().cloned().collect();
    let mut document = records(used.env, &used.sum.keys, promises, wanted.as_ref())?;
    for entry in &document.entries {
        let chains = ChainId::all(&entry.layers);
        for (diff_id, chain) in entry.layers.iter().zip(&chains) {
            if !document.layers.contains_key(diff_id) {
                document.layers.insert(diff_id.clone(), layer(used, target, diff_id, chain)?);
            }
        }
    }
    if target.mounts {
        for name in &used.sum.mounts {
            if let Some(descriptor) = mount(used, name)? {
                document.mounts.insert(name.clone(), descriptor);
            }
        }
    }
    let bytes = serde_json::to_vec(&document)?;
    let config = blob(used, DOCUMENT_TYPE, &bytes)?;
    let blobs: Vec<Descriptor> = document.layers.into_values().chain(document.mounts.into_values()).collect();
    let all: Vec<Descriptor> = blobs.iter().cloned().chain([config.clone()]).collect();
    let (media_type, bytes) = match target.form {
        Form::Manifest => (media_types::OCI_MANIFEST, serde_json::to_vec(&Manifest::new(config, blobs))?),
        Form::Index => (media_types::OCI_INDEX, serde_json::to_vec(&Index::new(all.clone()))?),
        Form::List => {
            let members = all.iter().cloned().map(dockers).collect();
            let list = Index { media_type: media_types::DOCKER_INDEX.to_owned(), ..Index::new(members) };
            (media_types::DOCKER_INDEX, serde_json::to_vec(&list)?)
        }
    };
    Ok((blob(used, media_type, &bytes)?, all))
}

/// The same layer by Docker's name.
fn dockers(layer: Descriptor) -> Descriptor {
    let docker = Options { docker: true, ..Options::default() };
    Descriptor { media_type: docker.layer_type(&layer.media_type), ..layer }
}

fn blob(used: &Used<'_>, media_type: &str, bytes: &[u8]) -> Result<Descriptor, BoxError> {
    let digest = used.env.store.put_blob(used.lease, bytes)?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

/// The stacks below these, with themselves.
fn prefixes<'c>(env: &Env, chains: impl Iterator<Item = &'c ChainId>) -> Result<BTreeSet<ChainId>, Error> {
    let mut all = BTreeSet::new();
    for chain in chains {
        let layers = env.store.chain(Some(chain));
        let layers =
            layers.map_err(|e| Error::Store { attempt: "find layers of the result", source: e.into() })?;
        // Layers that depend on nothing below are recorded as such.
        all.extend(layers.iter().map(|layer| ChainId::on(None, &layer.diff_id)));
        all.extend(layers.into_iter().map(|layer| layer.chain_id));
    }
    Ok(all)
}

/// The records, those of other layers than the wanted ones as promises.
fn records(
    env: &Env,
    keys: &BTreeSet<Digest>,
    promises: Vec<Promise>,
    wanted: Option<&BTreeSet<ChainId>>,
) -> Result<Document, Error> {
    let (mut entries, mut promises) = (Vec::new(), promises);
    // A run is known by what it read and by the layers that this was in: whichever was hit, both go, so that what comes of a cache is
    // the same cache.
    let mut all = keys.clone();
    for key in keys {
        all.extend(env.db.read(|tx| cache::same_run(tx, key))?);
    }
    for key in &all {
        let Some(entry) = env.db.read(|tx| cache::get(tx, key))? else { continue };
        // What a run left in its mounts is only known together with what it gave itself.
        let mounts = env.db.read(|tx| stack::records(tx, key))?;
        let is_wanted = |chain: &ChainId| wanted.is_none_or(|wanted| wanted.contains(chain));
        let mut results = mounts.iter().filter_map(|mount| mount.chain.as_ref());
        if let Some(chain) = &entry.chain
            && !is_wanted(chain)
            && !results.any(is_wanted)
        {
            promises.push(Promise { key: entry.key, chain: chain.clone(), created: entry.created });
            continue;
        }
        // What was collected meanwhile is not sent.
        for entry in [entry].into_iter().chain(mounts) {
            entries.extend(sent(env, entry));
        }
    }
    // Several solves may have told of the same step; and the same steps give the same document.
    promises.sort_by(|a, b| a.key.cmp(&b.key));
    promises.dedup_by(|a, b| a.key == b.key);
    // What was promised may have come since.
    let known: BTreeSet<&Digest> = entries.iter().map(|entry: &Entry| &entry.key).collect();
    promises.retain(|promise| !known.contains(&promise.key));
    Ok(Document { entries, promises, ..Document::default() })
}

/// A record that can be sent, if its layers are here.
fn sent(env: &Env, entry: cache::Entry) -> Option<Entry> {
    let mut layers = env.store.chain(entry.chain.as_ref()).ok()?;
    layers.reverse();
    Some(Entry {
        key: entry.key,
        layers: layers.into_iter().map(|layer| layer.diff_id).collect(),
        scope: Digest::sha256(entry.scope.as_bytes()).to_string(),
        shape: serde_json::from_str::<Record>(&entry.record).ok().map(|record| record.shape()),
        created: entry.created,
    })
}

fn layer(
    used: &Used<'_>,
    target: &CacheTarget,
    diff_id: &Digest,
    chain: &ChainId,
) -> Result<Descriptor, BoxError> {
    let (store, known) = (&used.env.store, &used.sum.known);
    if let Some(descriptor) = known.get(diff_id).filter(|_| !target.force)
        && store.use_blob(used.lease, &descriptor.digest)?.is_some()
    {
        return Ok(descriptor.clone());
    }
    let layer = store.use_layer(used.lease, chain)?.ok_or_else(|| store::Error::NoLayer(chain.clone()))?;
    // What came from a registry is there as it came: its files do not give the same archive.
    let found = known.get(diff_id).cloned().unwrap_or_else(|| store.descriptor(&layer));
    match target.seekable {
        // Who imports it packs the layer anew: that the archive is another one is of no matter.
        true => Ok(store.pack_seekable(used.lease, &layer, &found, target.level)?.0),
        false => Ok(store.pack_layer(used.lease, &layer, &found, target.compression, target.level)?),
    }
}

fn mount(used: &Used<'_>, name: &str) -> Result<Option<Descriptor>, BoxError> {
    let Ok(root) = Root::open(used.env.cache_mounts.join(name)) else { return Ok(None) };
    let writer = used.env.store.ingest(used.lease)?;
    let mut compressor = archive::compress(Compression::Gzip, None, writer)?;
    let mut packer = archive::Packer::new(used.lease.watch(&mut compressor));
    let tree = archive::Tree { root: &root, path: Path::new(""), name: Path::new("."), layer: false };
    archive::pack_tree(&mut packer, tree)?;
    packer.finish()?;
    let mut writer = compressor.finish()?;
    writer.flush()?;
    let (digest, length) = writer.commit(None)?;
    Ok(Some(Descriptor::new(MOUNT_TYPE, digest, length)))
}
