//! What a name leads to: an image, or the members of an index, and of the indexes in it. Nobody else goes down.
//!
//! Documents name each other by digest, so no index is in itself; but one may be in others again and again. Each is read once,
//! whatever the documents say: what there is to do is bounded by what is here.

use std::collections::HashSet;

use oci::image::{Descriptor, Document, Index, is_attestation};
use oci::{Digest, Platform, media_types};
use state::{Tx, images};

use crate::{Error, Store};

/// What an index leads to, each once. What people choose from comes in the order in which it is chosen: of each index first the
/// members that say their platform.
#[derive(Debug, Default)]
pub struct Members {
    /// The index itself, and those in it that can be read.
    pub indexes: Vec<Digest>,
    /// All that is no index: images, attestations, what is not here.
    pub leaves: Vec<Descriptor>,
}

impl Members {
    /// What may be an image.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.leaves.iter().filter(|leaf| !is_attestation(leaf))
    }

    /// Whether this manifest or index is among them.
    pub fn has(&self, digest: &Digest) -> bool {
        self.indexes.contains(digest) || self.leaves.iter().any(|leaf| leaf.digest == *digest)
    }
}

impl Store {
    /// What the index with this digest leads to; what isn't one leads to nothing.
    pub fn members(&self, target: &Digest) -> Result<Members, Error> {
        match self.readable_index(target)? {
            Some(index) => self.members_of(target, index),
            None => Ok(Members::default()),
        }
    }

    /// What this index leads to.
    pub(crate) fn members_of(&self, target: &Digest, index: Index) -> Result<Members, Error> {
        let mut members = Members { indexes: vec![target.clone()], leaves: Vec::new() };
        let mut seen = HashSet::from([target.clone()]);
        let mut open = in_turn(index);
        while let Some(next) = open.pop() {
            if !seen.insert(next.digest.clone()) {
                continue;
            }
            let inner = match media_types::is_index(&next.media_type) {
                true => self.readable_index(&next.digest)?,
                false => None,
            };
            match inner {
                Some(index) => {
                    members.indexes.push(next.digest);
                    open.extend(in_turn(index));
                }
                None => members.leaves.push(next),
            }
        }
        Ok(members)
    }

    /// An index, unless it is damaged or not here.
    fn readable_index(&self, digest: &Digest) -> Result<Option<Index>, Error> {
        match self.document(digest) {
            Ok(Document::Index(index)) => Ok(Some(index)),
            Ok(Document::Manifest(_)) => Ok(None),
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The images here that a manifest or an index means, with their platforms, as they are chosen.
    pub fn images_of(
        &self,
        tx: &Tx<'_>,
        target: &Digest,
    ) -> Result<Vec<(Option<Platform>, images::Image)>, Error> {
        // What has none beside it has it in its configuration.
        let own = |record: &images::Image| Some(self.load(record.clone()).ok()?.config.platform());
        if let Some(record) = images::get(tx, target)? {
            return Ok(vec![(own(&record), record)]);
        }
        let mut here = Vec::new();
        for member in self.members(target)?.images() {
            if let Some(record) = images::get(tx, &member.digest)? {
                here.push((member.platform.clone().or_else(|| own(&record)), record));
            }
        }
        Ok(here)
    }
}

/// The members of an index, the one to look at first last.
fn in_turn(index: Index) -> Vec<Descriptor> {
    let mut members = index.manifests;
    members.sort_by_key(|member| member.platform.is_none());
    members.reverse();
    members
}
