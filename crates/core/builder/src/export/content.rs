//! The layers of a result as its documents name them: those that are here, packed as they are asked for, or those of a result
//! that is left where it is.

use super::options::Options;
use super::store_error;
use crate::error::Error;
use crate::graph::HistoryItem;
use crate::promise::Left;
use crate::session::Session;
use oci::image::{Descriptor, History};
use oci::{ChainId, Digest};
use std::collections::BTreeMap;
use store::Layer;

/// The layers of a result, the lowest first.
#[derive(Default)]
pub(super) struct Content {
    pub descriptors: Vec<Descriptor>,
    /// The digests of their archives, as they are packed now.
    pub diff_ids: Vec<Digest>,
    /// How many of them are the base image's, the lowest ones.
    pub inherited: usize,
    /// The stacks that they are the top of, as steps gave them.
    pub chains: Vec<ChainId>,
    /// Which layers are called otherwise now that they are packed.
    pub renamed: BTreeMap<Digest, Descriptor>,
}

impl Content {
    /// Of a result whose layers are elsewhere: nothing is packed.
    pub fn left(session: &Session<'_>, left: &Left, inherited: usize) -> Content {
        let options = &session.request.export;
        let named = |found: &Descriptor| Descriptor {
            media_type: options.layer_type(&found.media_type),
            ..found.clone()
        };
        Content {
            descriptors: left.descriptors.iter().map(named).collect(),
            diff_ids: left.diff_ids.clone(),
            inherited,
            chains: ChainId::all(&left.diff_ids),
            renamed: BTreeMap::new(),
        }
    }

    /// Of these layers; `inherited` are the descriptors of those that the base image has.
    pub fn here(
        session: &Session<'_>,
        chain: Option<&ChainId>,
        inherited: &[Descriptor],
        history: &mut Vec<History>,
    ) -> Result<Content, Error> {
        // From here on nothing is made that other builds may wait for.
        session.request.cancel.stops(session.lease);
        let mut layers = layers(session, chain, inherited.len(), history)?;
        let new = layers.iter().skip(inherited.len()).map(|layer| session.env.store.descriptor(layer));
        let mut descriptors: Vec<Descriptor> = inherited.iter().cloned().chain(new).collect();
        let chains = layers.iter().map(|layer| layer.chain_id.clone()).collect();
        let dated = date(session, &mut layers, &mut descriptors)?;
        let packed = pack(session, &session.request.export, descriptors, &layers)?;
        let mut content = Content { chains, inherited: dated.unwrap_or(inherited.len()), ..packed };
        content.rename(session, &layers)?;
        Ok(content)
    }

    /// Has the layers here by the names that their new archives give them; which of the old names are those of others now.
    fn rename(&mut self, session: &Session<'_>, layers: &[Layer]) -> Result<(), Error> {
        let mut parent = None;
        for ((layer, diff_id), descriptor) in layers.iter().zip(&self.diff_ids).zip(&self.descriptors) {
            let store = &session.env.store;
            let own = store.rename(session.lease, layer, parent.as_ref(), diff_id);
            parent = Some(own.map_err(store_error("name a layer"))?.chain_id);
            if *diff_id != layer.diff_id {
                self.renamed.insert(layer.diff_id.clone(), descriptor.clone());
            }
        }
        Ok(())
    }
}

/// The layers of the result, the lowest first. Where they are to be squashed, those above the `inherited` ones become one, and so does
/// what the history says of them.
fn layers(
    session: &Session<'_>,
    chain: Option<&ChainId>,
    inherited: usize,
    history: &mut Vec<History>,
) -> Result<Vec<Layer>, Error> {
    let mut layers = session.env.store.chain(chain).map_err(store_error("find layers of the result"))?;
    layers.reverse();
    let new = layers.get(inherited..).unwrap_or_default();
    if session.request.squash && new.len() > 1 {
        let parent = inherited.checked_sub(1).map(|i| &layers[i].chain_id);
        let squashed = crate::squash::squash(session, parent, new)?;
        layers.truncate(inherited);
        layers.push(squashed);
        let base = session.graph.history.iter().filter(|h| matches!(h, HistoryItem::Base(_))).count();
        crate::squash::history(history, base);
    }
    Ok(layers)
}

/// Makes those layers anew that have files from after the time that stands for now, if they were made before anybody said it; how many
/// stay whatever they have, as the base image's.
fn date(
    session: &Session<'_>,
    layers: &mut [Layer],
    descriptors: &mut [Descriptor],
) -> Result<Option<usize>, Error> {
    let (Some(below), Some(latest)) = (&session.claims.undated, session.latest()) else { return Ok(None) };
    let inherited = layers.iter().zip(below).take_while(|(layer, below)| layer.diff_id == **below).count();
    let mut parent = inherited.checked_sub(1).map(|at| layers[at].chain_id.clone());
    for (layer, descriptor) in layers.iter_mut().zip(descriptors).skip(inherited) {
        let dated = crate::squash::dated(session, parent.as_ref(), layer, latest)?;
        if dated.diff_id != layer.diff_id {
            *descriptor = session.env.store.descriptor(&dated);
        }
        parent = Some(dated.chain_id.clone());
        *layer = dated;
    }
    Ok(Some(inherited))
}

/// The layers as they are asked for: as they came and uncompressed, or compressed.
fn pack(
    session: &Session<'_>,
    options: &Options,
    descriptors: Vec<Descriptor>,
    layers: &[Layer],
) -> Result<Content, Error> {
    // An attestation speaks of a manifest that must not change any more when it is sent somewhere.
    let is_attested = options.is_attested() || !session.claims.statements.is_empty();
    let compression = options.compression.or(is_attested.then_some(archive::Compression::Gzip));
    let (store, lease) = (&session.env.store, session.lease);
    let mut packed = Content::default();
    for (descriptor, layer) in descriptors.into_iter().zip(layers) {
        let is_here = store.blob_size(&descriptor.digest).map_err(store_error("find a layer"))?;
        let made_here = is_here.is_none() || descriptor.digest == layer.diff_id;
        // Its archive is what packing its files gives: no blob is needed that pushes to come would take for the way it goes.
        let as_it_is = compression == Some(archive::Compression::None) && descriptor.digest == layer.diff_id;
        let is_seekable = descriptor.annotations.contains_key(store::TOC_DIGEST);
        let mut diff_id = layer.diff_id.clone();
        let mut descriptor = match compression {
            Some(_) if options.seekable && (made_here || options.force && !is_seekable) => {
                let blob = store.pack_seekable(lease, layer, &descriptor, options.level);
                let (descriptor, whole) = blob.map_err(store_error("compress a layer"))?;
                diff_id = whole;
                descriptor
            }
            Some(_) if as_it_is && !is_attested => descriptor,
            Some(compression) if !options.seekable && (made_here || options.force) => {
                let blob = store.pack_layer(lease, layer, &descriptor, compression, options.level);
                blob.map_err(store_error("compress a layer"))?
            }
            _ => descriptor,
        };
        descriptor.media_type = options.layer_type(&descriptor.media_type);
        packed.descriptors.push(descriptor);
        packed.diff_ids.push(diff_id);
    }
    Ok(packed)
}
