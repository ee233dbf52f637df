//! All images with their names: what lists, removals and prunes start from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use oci::image::ImageConfig;
use oci::{ChainId, Digest, Platform};
use state::tags::Tag;
use state::{Tx, images, tags};
use store::Store;

use crate::error::Result;

/// One image: an id with all that is known under it.
pub(crate) struct Item {
    pub id: Digest,
    /// Its manifests: more than one if the same configuration came under several.
    pub records: Vec<images::Image>,
    /// Its documents; none if they are damaged, which must not hide the image.
    pub image: Option<store::Image>,
    /// Names with a tag.
    pub tags: Vec<Tag>,
    /// Names with a digest.
    pub digests: Vec<Tag>,
    /// Names that mean an index that has this image for another platform than the one it is chosen for.
    pub through: Vec<Tag>,
    /// How many images were made from it here.
    pub children: usize,
}

/// All images, oldest first.
pub(crate) struct Catalog {
    pub items: Vec<Item>,
}

impl Item {
    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().chain(&self.digests)
    }

    /// Whether no name leads to it.
    pub fn is_nameless(&self) -> bool {
        self.names().next().is_none() && !self.is_member()
    }

    /// Whether it is there only for who is being handed it.
    pub fn is_lent(&self) -> bool {
        self.is_nameless() && self.records.iter().all(|record| record.lent)
    }

    /// Whether a name means an index that has this image for another platform.
    pub fn is_member(&self) -> bool {
        !self.through.is_empty()
    }

    /// Names with a tag by which it can be asked for, be it with a platform.
    pub fn all_tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().chain(self.through.iter().filter(|tag| tag.reference.digest.is_none()))
    }

    /// The same with a digest.
    pub fn all_digests(&self) -> impl Iterator<Item = &Tag> {
        self.digests.iter().chain(self.through.iter().filter(|tag| tag.reference.digest.is_some()))
    }

    pub fn config(&self) -> Option<&ImageConfig> {
        self.image.as_ref().map(|image| &image.config)
    }

    /// When it was made, or came here if it doesn't say.
    pub fn created(&self) -> Option<jiff::Timestamp> {
        let made = self.config().and_then(|config| config.created.as_ref()?.parse().ok());
        made.or_else(|| self.records.first()?.added.parse().ok())
    }

    pub fn parent(&self) -> Option<&Digest> {
        self.records.iter().find_map(|record| record.parent.as_ref())
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        self.config().map(|config| config.config.labels.clone()).unwrap_or_default()
    }

    pub fn chains(&self) -> Vec<ChainId> {
        self.config().map(|config| ChainId::all(&config.rootfs.diff_ids)).unwrap_or_default()
    }
}

impl Catalog {
    /// Reads everything inside one transaction.
    pub fn read(store: &Store, tx: &Tx<'_>) -> Result<Catalog> {
        let mut catalog = Catalog { items: Vec::new() };
        let mut by_id: HashMap<Digest, usize> = HashMap::new();
        let mut by_manifest: HashMap<Digest, usize> = HashMap::new();
        for record in images::all(tx)? {
            let index = *by_id.entry(record.id.clone()).or_insert_with(|| {
                catalog.items.push(Item {
                    id: record.id.clone(),
                    records: Vec::new(),
                    image: None,
                    tags: Vec::new(),
                    digests: Vec::new(),
                    through: Vec::new(),
                    children: 0,
                });
                catalog.items.len() - 1
            });
            by_manifest.insert(record.digest.clone(), index);
            let item = &mut catalog.items[index];
            if item.image.is_none() {
                item.image = store.load(record.clone()).ok();
            }
            item.records.push(record);
        }
        let parents: Vec<Digest> = catalog.items.iter().filter_map(|item| item.parent().cloned()).collect();
        for parent in parents {
            if let Some(index) = by_id.get(&parent) {
                catalog.items[*index].children += 1;
            }
        }
        for tag in tags::all(tx)? {
            catalog.add(store, tag, &by_manifest);
        }
        Ok(catalog)
    }

    /// Gives a name to the image that it means here.
    fn add(&mut self, store: &Store, tag: Tag, by_manifest: &HashMap<Digest, usize>) {
        let chosen = match by_manifest.get(&tag.target) {
            Some(index) => Some(*index),
            None => {
                let mut members = members(store, &tag.target, by_manifest);
                for (platform, index) in members.iter_mut().filter(|(platform, _)| platform.is_none()) {
                    *platform = self.items[*index].config().map(ImageConfig::platform);
                }
                let best =
                    Platform::host().best(members.iter().map(|(platform, _)| platform.as_ref())).unwrap_or(0);
                let chosen = members.get(best).map(|(_, index)| *index);
                for (_, member) in members.iter().filter(|(_, member)| Some(*member) != chosen) {
                    let through = &mut self.items[*member].through;
                    // An image may be in an index twice.
                    if through.last() != Some(&tag) {
                        through.push(tag.clone());
                    }
                }
                chosen
            }
        };
        if let Some(index) = chosen {
            let item = &mut self.items[index];
            match tag.reference.digest {
                None => item.tags.push(tag),
                Some(_) => item.digests.push(tag),
            }
        }
    }

    pub fn get(&self, id: &Digest) -> Option<&Item> {
        self.items.iter().find(|item| item.id == *id)
    }

    /// The layers that only this image has.
    pub fn own_chains(&self, item: &Item) -> BTreeSet<ChainId> {
        let mut own: BTreeSet<ChainId> = item.chains().into_iter().collect();
        for other in self.items.iter().filter(|other| other.id != item.id) {
            for chain in other.chains() {
                own.remove(&chain);
            }
        }
        own
    }
}

/// The images that an index has here.
fn members(
    store: &Store,
    target: &Digest,
    by_manifest: &HashMap<Digest, usize>,
) -> Vec<(Option<Platform>, usize)> {
    let members = store.members(target).unwrap_or_default();
    members.images().filter_map(|m| Some((m.platform.clone(), *by_manifest.get(&m.digest)?))).collect()
}
