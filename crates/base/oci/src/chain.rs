//! Chain ids: the name of a stack of layers (OCI image-spec, config.md, "Layer ChainID").

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The digest that names a layer together with all the layers below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The chain of one layer with `parent` (none: the lowest) below it.
    pub fn on(parent: Option<&ChainId>, diff_id: &Digest) -> ChainId {
        match parent {
            None => ChainId(diff_id.clone()),
            Some(parent) => ChainId(Digest::sha256(format!("{} {}", parent.0, diff_id).as_bytes())),
        }
    }

    /// The chain of these layers, lowest first; none for no layers.
    pub fn of(diff_ids: &[Digest]) -> Option<ChainId> {
        diff_ids.iter().fold(None, |parent, diff_id| Some(ChainId::on(parent.as_ref(), diff_id)))
    }

    /// The chains of every prefix of these layers, lowest first.
    pub fn all(diff_ids: &[Digest]) -> Vec<ChainId> {
        let mut chains: Vec<ChainId> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            chains.push(ChainId::on(chains.last(), diff_id));
        }
        chains
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_from_the_lowest_layer() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(std::slice::from_ref(&a)), Some(ChainId(a.clone())));
        let both = ChainId(Digest::sha256(format!("{a} {b}").as_bytes()));
        assert_eq!(ChainId::of(&[a.clone(), b.clone()]), Some(both.clone()));
        assert_eq!(ChainId::all(&[a.clone(), b]), vec![ChainId(a), both]);
    }
}
