//! What the solves of one build have used of the cache. A client may solve in many steps, and each would send a cache to the same
//! place: the last one has to have what all of them used.

use super::Promise;
use crate::request::Image;
use oci::image::Descriptor;
use oci::{ChainId, Digest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the solves of a build so far have used.
#[derive(Debug, Default)]
pub struct Earlier(Mutex<Sum>);

/// What was used of the cache, and what there may be to tell about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sum {
    /// Keys of all records that were hit or made.
    pub keys: BTreeSet<Digest>,
    /// What was taken from elsewhere without its layers, by its key.
    pub promises: BTreeMap<Digest, Promise>,
    /// Directories of the cache mounts that steps name.
    pub mounts: BTreeSet<String>,
    /// The layers of the results.
    pub results: BTreeSet<ChainId>,
    /// The archives that layers of base images came as.
    pub known: BTreeMap<Digest, Descriptor>,
}

impl Earlier {
    /// Who holds it sends what it has before another solve adds to it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sum {
    /// Notes how the layers of base images came.
    pub fn bases<'i>(&mut self, images: impl Iterator<Item = &'i Image>) {
        let layers = |image: &'i Image| image.config.rootfs.diff_ids.iter().zip(&image.manifest.layers);
        self.known.extend(images.flat_map(layers).map(|(id, found)| (id.clone(), found.clone())));
    }
}
