//! Layers of a result that is only sent to registries, which have them: nobody here needs them.

use super::{Guess, Source};
use crate::graph::Fs;
use crate::request::{Image, LeftLayer};
use crate::session::Session;
use oci::image::Descriptor;
use oci::{Digest, media_types};

/// The layers of a result that is only sent to registries which have those that are not here: they stay where they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Left {
    /// Of all layers, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// The same as a manifest names them.
    pub descriptors: Vec<Descriptor>,
    /// Those that are not here.
    pub layers: Vec<LeftLayer>,
}

/// The layers of the result, if it is only sent away and whoever it goes to has those that are elsewhere.
pub(super) fn left(session: &Session<'_>, guesses: &[Guess], result: usize) -> Option<Left> {
    let outlet = session.outlet().filter(|_| guesses[result].is_elsewhere())?;
    let left = left_at(session, guesses, result)?;
    // What is not compressed yet is on its way out.
    let is_packed = |layer: &Descriptor| {
        use media_types::{DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};
        let packed = [OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD];
        packed.contains(&layer.media_type.as_str())
    };
    let is_there = || outlet.names.iter().all(|name| (outlet.has)(name, &left.layers));
    (left.descriptors.iter().all(is_packed) && !session.stopped() && is_there()).then_some(left)
}

/// The layers of a node that is elsewhere, or of an image.
fn left_at(session: &Session<'_>, guesses: &[Guess], node: usize) -> Option<Left> {
    let Some(op) = node.checked_sub(session.graph.images.len()) else {
        return left_image(&session.images[node]);
    };
    let (op, Guess::Elsewhere(_, Source::Cache(record, _))) = (&session.graph.ops[op], &guesses[node]) else {
        return None;
    };
    let below = |fs: &Fs| match session.node(fs) {
        Some(node) => left_at(session, guesses, node),
        None => Some(Left::default()),
    };
    let own = session.imports.layers(&record.key())?;
    // A layer that is on nothing is told without what is below.
    let (mut left, own) = match op.is_linked() {
        true => (below(&op.base)?, &own[..]),
        false => {
            let mut image = &op.base;
            while let Fs::Op(below) = image {
                image = &session.graph.ops[*below].base;
            }
            let left = below(image)?;
            let is_below = own.len() >= left.diff_ids.len();
            let same = left.diff_ids.iter().zip(&own).all(|(below, (own, _))| below == *own);
            let above = own.get(left.diff_ids.len()..).filter(|_| is_below && same)?;
            (left, above)
        }
    };
    for (diff_id, layer) in own {
        let descriptor = as_written(session, &layer.descriptor)?;
        left.diff_ids.push((*diff_id).clone());
        left.descriptors.push(descriptor.clone());
        left.layers.push(LeftLayer { descriptor, from: layer.from.clone() });
    }
    Some(left)
}

/// The layers of an image; its registry has those that are not here.
fn left_image(image: &Image) -> Option<Left> {
    let descriptors = image.manifest.layers.clone();
    let diff_ids = image.config.rootfs.diff_ids.clone();
    let mut layers = Vec::new();
    if let Some(of) = &image.layers {
        let layer = |found: &Descriptor| LeftLayer { descriptor: found.clone(), from: of.from().cloned() };
        layers.extend(descriptors.iter().map(layer));
    }
    (descriptors.len() == diff_ids.len()).then_some(Left { diff_ids, descriptors, layers })
}

/// A layer of a cache as a manifest names it, if it is what the result's layers are asked to be.
fn as_written(session: &Session<'_>, found: &Descriptor) -> Option<Descriptor> {
    use archive::Compression::{Gzip, Zstd};
    let options = &session.request.export;
    let wanted: &[&str] = match options.compression.unwrap_or(Gzip) {
        Gzip => &[media_types::OCI_LAYER_GZIP, media_types::DOCKER_LAYER_GZIP],
        Zstd => &[media_types::OCI_LAYER_ZSTD, media_types::DOCKER_LAYER_ZSTD],
        _ => &[],
    };
    // The archive of an eStargz has a table behind what the layer is called by.
    let is_plain = !found.annotations.contains_key(store::TOC_DIGEST) && !options.seekable;
    let is_wanted = is_plain && options.level.is_none() && wanted.contains(&found.media_type.as_str());
    is_wanted.then(|| Descriptor::new(&found.media_type, found.digest.clone(), found.size))
}
