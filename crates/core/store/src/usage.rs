//! How much disk the content takes.

use crate::{Error, Store};
use oci::{ChainId, Digest};
use std::collections::HashMap;

/// Sizes in bytes.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Of all layers' files, each layer once.
    pub layers: u64,
    /// Of all blobs.
    pub blobs: u64,
    /// Of each image (by manifest digest): all its layers' files, and those of them that another image has too.
    pub images: HashMap<Digest, (u64, u64)>,
    /// Of layers that only the build cache refers to, by chain.
    pub cache_only: HashMap<ChainId, u64>,
}

impl Store {
    /// What the content takes now.
    pub fn usage(&self) -> Result<Usage, Error> {
        let mut usage =
            Usage { blobs: self.blobs()?.iter().map(|(_, length)| length).sum(), ..Usage::default() };
        let mut sizes: HashMap<ChainId, u64> = HashMap::new();
        let mut own: HashMap<ChainId, u64> = HashMap::new();
        let mut halves: HashMap<ChainId, ChainId> = HashMap::new();
        for (chain, layer) in self.layers()? {
            if let Ok(layer) = layer {
                usage.layers += layer.own_size();
                own.insert(chain.clone(), layer.own_size());
                halves.extend(layer.over.map(|over| (chain.clone(), over.chain)));
                sizes.insert(chain, layer.size);
            }
        }
        let images: Vec<_> = self.images()?.into_iter().filter_map(|(_, image)| image.ok()).collect();
        let mut users: HashMap<ChainId, u32> = HashMap::new();
        for image in &images {
            for chain in ChainId::all(&image.config.rootfs.diff_ids) {
                let mut lower = halves.get(&chain);
                while let Some(chain) = lower {
                    // An image needs it, though it is none of its layers.
                    lower = halves.get(chain).filter(|_| !users.contains_key(chain));
                    users.entry(chain.clone()).or_default();
                }
                *users.entry(chain).or_default() += 1;
            }
        }
        for image in images {
            let (mut size, mut shared) = (0, 0);
            for chain in ChainId::all(&image.config.rootfs.diff_ids) {
                let layer = sizes.get(&chain).copied().unwrap_or(0);
                size += layer;
                if users.get(&chain).is_some_and(|users| *users > 1) {
                    shared += layer;
                }
            }
            usage.images.insert(image.digest, (size, shared));
        }
        for (chain, size) in own {
            if !users.contains_key(&chain) {
                usage.cache_only.insert(chain, size);
            }
        }
        Ok(usage)
    }
}
