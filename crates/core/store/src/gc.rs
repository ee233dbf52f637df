//! Garbage collection: what nothing refers to goes.
//!
//! References are tags, images, containers, build cache records and the pins of leases whose process lives. The
//! decision and the removal from sight happen inside one write transaction, so nothing is published or pinned in
//! between; the slow part, deleting the files of layers, comes after it.

use crate::lease::{Lease, bury, is_alive, remove};
use crate::partial::{KEPT, is_partial, remove_unlocked};
use crate::{Error, Layer, Store};
use oci::image::Document;
use oci::{ChainId, Digest};
use state::{Tx, attached, bases, cache, containers, images, leases, signatures, tags};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Layers.
    pub layers: u64,
    /// Bytes of blobs and of the files of layers.
    pub bytes: u64,
}

/// What is referred to.
#[derive(Default)]
pub(crate) struct Live {
    pub blobs: HashSet<Digest>,
    pub chains: HashSet<ChainId>,
    /// Documents all that they name of which is marked.
    documents: HashSet<Digest>,
}

impl Store {
    /// Removes what nothing refers to, and what dead processes left behind. Safe at any time.
    pub fn gc(&self) -> Result<Collected, Error> {
        let mut collected = Collected::default();
        // What is moved away belongs to a process that lives until it is deleted.
        let lease = self.lease("collect garbage")?;
        let trash = self.db().write(|tx| {
            self.bury_leases(tx)?;
            // Containers may have used some as the last lease on them ended.
            images::take_back(tx)?;
            let live = self.live(tx)?;
            self.collect_blobs(&live, &mut collected)?;
            signatures::retain(tx, &live.blobs)?;
            attached::retain(tx, &live.blobs)?;
            bases::retain(tx, &live.blobs)?;
            self.hide_layers(&live, &lease, &mut collected)
        })?;
        for path in trash {
            remove(&path)?;
        }
        for path in self.leftovers()? {
            self.remove_leftover(&path)?;
        }
        self.empty_quarantine(false)?;
        Ok(collected)
    }

    /// Forgets the leases whose process is dead.
    fn bury_leases(&self, tx: &Tx<'_>) -> Result<(), Error> {
        for id in leases::ids(tx)? {
            if !is_alive(&self.leases_dir().join(&id))? {
                leases::remove(tx, &id)?;
            }
        }
        Ok(())
    }

    /// Everything that is referred to. An image whose documents are damaged refers to nothing but them: nobody can
    /// reach its layers through it. Documents that can't be read just now are an error, as nothing may go then.
    pub(crate) fn live(&self, tx: &Tx<'_>) -> Result<Live, Error> {
        let mut live = Live::default();
        for tag in tags::all(tx)? {
            self.mark_document(tag.target, &mut live)?;
        }
        for record in images::all(tx)? {
            live.blobs.extend([record.digest.clone(), record.id.clone()]);
            let image = match self.load(record) {
                Err(
                    Error::NoBlob(_)
                    | Error::DamagedBlob(_)
                    | Error::Document { .. }
                    | Error::TooLarge { .. },
                ) => {
                    continue;
                }
                other => other?,
            };
            live.blobs.extend(image.manifest.layers.into_iter().map(|layer| layer.digest));
            for chain in ChainId::all(&image.config.rootfs.diff_ids) {
                self.mark_chain(chain, &mut live.chains)?;
            }
        }
        let mut tops = containers::layers(tx)?;
        tops.extend(cache::chains(tx)?);
        for target in leases::pinned(tx)? {
            tops.push(ChainId(target.clone()));
            live.blobs.insert(target);
        }
        for top in tops {
            self.mark_chain(top, &mut live.chains)?;
        }
        self.mark_attached(tx, &mut live)?;
        Ok(live)
    }

    /// Marks what is attached to what is referred to, and what is attached to that.
    fn mark_attached(&self, tx: &Tx<'_>, live: &mut Live) -> Result<(), Error> {
        let mut subjects = attached::subjects(tx)?;
        loop {
            let (now, later): (Vec<_>, Vec<_>) =
                subjects.into_iter().partition(|subject| live.blobs.contains(subject));
            if now.is_empty() {
                return Ok(());
            }
            for subject in now {
                for thing in attached::to(tx, &subject)? {
                    self.mark_document(thing.artifact, live)?;
                }
            }
            subjects = later;
        }
    }

    /// Marks what a name points to with all that it names: an index also has members that are no images, such as
    /// attestations, and those go with it.
    fn mark_document(&self, digest: Digest, live: &mut Live) -> Result<(), Error> {
        let mut open = vec![digest];
        while let Some(digest) = open.pop() {
            if !live.documents.insert(digest.clone()) {
                continue;
            }
            let document = match self.document(&digest) {
                Err(Error::NoBlob(_)) => continue,
                Err(Error::DamagedBlob(_) | Error::Document { .. } | Error::TooLarge { .. }) => None,
                other => Some(other?),
            };
            live.blobs.insert(digest);
            match document {
                Some(Document::Manifest(manifest)) => {
                    live.blobs.insert(manifest.config.digest);
                    live.blobs.extend(manifest.layers.into_iter().map(|layer| layer.digest));
                }
                Some(Document::Index(index)) => {
                    open.extend(index.manifests.into_iter().map(|member| member.digest));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Marks a layer, all below it and what they lie over; what isn't here (any more) can't be collected either.
    fn mark_chain(&self, top: ChainId, chains: &mut HashSet<ChainId>) -> Result<(), Error> {
        let mut next = vec![top];
        while let Some(chain) = next.pop() {
            if chains.contains(&chain) {
                continue;
            }
            match self.layer(&chain) {
                Ok(layer) => {
                    let names = |layer: Layer| [layer.parent, layer.over.map(|over| over.chain)];
                    next.extend(layer.into_iter().flat_map(names).flatten());
                }
                Err(Error::DamagedLayer { .. }) => {}
                Err(error) => return Err(error),
            }
            chains.insert(chain);
        }
        Ok(())
    }

    fn collect_blobs(&self, live: &Live, collected: &mut Collected) -> Result<(), Error> {
        for (digest, length) in self.blobs()? {
            if !live.blobs.contains(&digest) {
                let path = self.blob_path(&digest);
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                collected.blobs += 1;
                collected.bytes += length;
            }
        }
        Ok(())
    }

    /// Renames the layers that nothing refers to out of sight.
    fn hide_layers(
        &self,
        live: &Live,
        lease: &Lease,
        collected: &mut Collected,
    ) -> Result<Vec<PathBuf>, Error> {
        let mut trash = Vec::new();
        for (chain, layer) in self.layers()? {
            if live.chains.contains(&chain) {
                continue;
            }
            let target = lease.scratch();
            let directory = self.layer_dir(&chain);
            std::fs::rename(&directory, &target).map_err(Error::io("move away", &directory))?;
            collected.layers += 1;
            collected.bytes += layer.map(|layer| layer.own_size()).unwrap_or(0);
            trash.push(target);
        }
        Ok(trash)
    }

    /// Removes the manifest of an image that is not here any more from under an index that names it still. What it names goes
    /// with the next collection.
    pub fn forget_member(&self, digest: &Digest) -> Result<(), Error> {
        self.db().write(|tx| {
            let used = leases::pinned(tx)?.contains(digest) || !tags::of(tx, digest)?.is_empty();
            match used || images::get(tx, digest)?.is_some() {
                true => Ok(()),
                false => remove(&self.blob_path(digest)),
            }
        })
    }

    /// What lies below `ingest` and `leases` and belongs to no living process.
    pub(crate) fn leftovers(&self) -> Result<Vec<PathBuf>, Error> {
        let mut leftovers = Vec::new();
        let ingest = self.ingest_dir();
        leftovers.extend(self.partials_since(KEPT)?.into_iter().map(|(path, ..)| path));
        for name in names(&ingest)? {
            if is_partial(&name) {
                continue;
            }
            let lease = name.split('-').next().unwrap_or_default();
            if !is_alive(&self.leases_dir().join(lease))? {
                leftovers.push(ingest.join(name));
            }
        }
        let known: HashSet<String> = self.db().read(leases::ids)?.into_iter().collect();
        for name in names(&self.leases_dir())? {
            // A lease that is being made has its file before its row; then the file is locked.
            let path = self.leases_dir().join(&name);
            if !known.contains(&name) && !is_alive(&path)? {
                leftovers.push(path);
            }
        }
        Ok(leftovers)
    }

    /// The files of leases that still hold on to something although their process is dead.
    pub(crate) fn dead_leases(&self) -> Result<Vec<PathBuf>, Error> {
        let mut dead = Vec::new();
        for id in self.db().read(leases::ids)? {
            let path = self.leases_dir().join(id);
            if !is_alive(&path)? {
                dead.push(path);
            }
        }
        Ok(dead)
    }

    /// Removes what [`Store::leftovers`] found.
    pub(crate) fn remove_leftover(&self, path: &Path) -> Result<(), Error> {
        let is_partial = path.file_name().is_some_and(|name| is_partial(&name.to_string_lossy()));
        match () {
            () if path.starts_with(self.leases_dir()) => bury(path),
            () if is_partial => remove_unlocked(path),
            () => remove(path),
        }
    }

    /// Whether a tag's target still has an image behind it, or is an artifact all of which is here.
    pub(crate) fn target_is_sound(&self, tx: &Tx<'_>, target: &Digest) -> Result<bool, Error> {
        if images::get(tx, target)?.is_some() {
            return Ok(true);
        }
        let index = match self.document(target) {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(manifest)) if manifest.artifact_kind().is_some() => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    if self.blob_size(&blob.digest)?.is_none() {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            // Not looked at is not damaged.
            Err(error @ (Error::Io { .. } | Error::State(_))) => return Err(error),
            _ => return Ok(false),
        };
        for member in self.members_of(target, index)?.leaves {
            if images::get(tx, &member.digest)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let failed = || Error::io("list", directory);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed())? {
        names.push(entry.map_err(failed())?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
