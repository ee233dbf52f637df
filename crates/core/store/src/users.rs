//! Which images need which content: for whoever has to say what damage means, or what may go.

use crate::{Error, Image, Members, Store};
use oci::image::Document;
use oci::{ChainId, Digest};
use state::tags;
use std::collections::HashMap;

/// The images behind blobs and layers, by their manifests.
pub(crate) struct Users {
    blobs: HashMap<Digest, Vec<Digest>>,
    layers: HashMap<ChainId, Vec<Digest>>,
    /// The archive that a layer came in.
    archives: HashMap<ChainId, Digest>,
    /// What manifests say of blobs' lengths.
    lengths: HashMap<Digest, u64>,
    /// What people call an image.
    names: HashMap<Digest, Vec<String>>,
}

impl Store {
    /// Who uses what now.
    pub(crate) fn users(&self) -> Result<Users, Error> {
        let mut users = Users {
            blobs: HashMap::new(),
            layers: HashMap::new(),
            archives: HashMap::new(),
            lengths: HashMap::new(),
            names: HashMap::new(),
        };
        for (record, image) in self.images()? {
            users.blobs.entry(record.digest.clone()).or_default().push(record.digest.clone());
            users.blobs.entry(record.id.clone()).or_default().push(record.digest.clone());
            users.names.insert(record.digest, vec![record.id.short().to_owned()]);
            if let Ok(image) = image {
                users.add(&image);
            }
        }
        let mut named: HashMap<Digest, Vec<String>> = HashMap::new();
        for tag in self.db().read(tags::all)? {
            let (indexes, members) = match self.document(&tag.target) {
                Ok(Document::Index(index)) => {
                    let Members { indexes, leaves } = self.members_of(&tag.target, index)?;
                    (indexes, leaves.into_iter().map(|leaf| leaf.digest).collect())
                }
                // Of what can't be read nobody knows whose it is, but that it has a name.
                Err(_) if !users.names.contains_key(&tag.target) => {
                    users.names.insert(tag.target.clone(), Vec::new());
                    (vec![tag.target.clone()], vec![tag.target.clone()])
                }
                _ => (vec![tag.target.clone()], vec![tag.target.clone()]),
            };
            for member in members.iter().filter(|member| users.names.contains_key(*member)) {
                for index in &indexes {
                    let of_index = users.blobs.entry(index.clone()).or_default();
                    if !of_index.contains(member) {
                        of_index.push(member.clone());
                    }
                }
                // A digest says no more than the id.
                if tag.reference.digest.is_none() {
                    named.entry(member.clone()).or_default().push(tag.reference.familiar());
                }
            }
        }
        users.names.extend(named);
        Ok(users)
    }
}

impl Users {
    fn add(&mut self, image: &Image) {
        self.lengths.insert(image.manifest.config.digest.clone(), image.manifest.config.size);
        let chains = ChainId::all(&image.config.rootfs.diff_ids);
        for (chain, layer) in chains.into_iter().zip(&image.manifest.layers) {
            self.blobs.entry(layer.digest.clone()).or_default().push(image.digest.clone());
            self.lengths.insert(layer.digest.clone(), layer.size);
            self.layers.entry(chain.clone()).or_default().push(image.digest.clone());
            self.archives.insert(chain, layer.digest.clone());
        }
    }

    pub fn of_blob(&self, digest: &Digest) -> &[Digest] {
        self.blobs.get(digest).map_or(&[], Vec::as_slice)
    }

    pub fn of_layer(&self, chain: &ChainId) -> &[Digest] {
        self.layers.get(chain).map_or(&[], Vec::as_slice)
    }

    pub fn archive(&self, chain: &ChainId) -> Option<&Digest> {
        self.archives.get(chain)
    }

    pub fn length(&self, digest: &Digest) -> Option<u64> {
        self.lengths.get(digest).copied()
    }

    /// A problem, with the images that it is one for.
    pub fn told(&self, problem: String, images: &[Digest]) -> String {
        let mut names: Vec<&str> =
            images.iter().filter_map(|image| self.names.get(image)).flatten().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        match names.len() {
            0 => problem,
            1 => format!("{problem}; image {} needs it", names[0]),
            _ => format!("{problem}; images {} need it", names.join(", ")),
        }
    }
}
