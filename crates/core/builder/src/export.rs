//! The result as an image: configuration, history, manifest, names.

use crate::error::Error;
use crate::graph::{Fs, HistoryItem};
use crate::session::{Output, Session};
use crate::step::epoch;
use oci::image::{Descriptor, History, ImageConfig};

/// What BuildKit writes as the comment of every step.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Writes the image and gives it its names, in one transaction.
pub(crate) fn export(session: &Session<'_>, outputs: &[Output]) -> Result<store::Put, Error> {
    let graph = session.graph;
    let node = session.node(&graph.result);
    let chain = node.and_then(|n| outputs[n].chain.clone());
    let base = base_image(session, &graph.result);
    let store = |attempt| move |e: store::Error| Error::Store { attempt, source: e.into() };
    let mut layers = session.env.store.chain(chain.as_ref()).map_err(store("find layers of the result"))?;
    layers.reverse();
    let inherited = base.map_or(&[][..], |image| &image.manifest.layers);
    let mut descriptors: Vec<Descriptor> = inherited.to_vec();
    let new = &layers[inherited.len().min(layers.len())..];
    let mut config = graph.config.clone();
    config.history = history(session, outputs);
    if session.request.squash && new.len() > 1 {
        let parent = inherited.len().checked_sub(1).map(|i| &layers[i].chain_id);
        let squashed = crate::squash::squash(session, parent, new, chain.as_ref())?;
        descriptors.push(session.env.store.descriptor(&squashed));
        config.rootfs.diff_ids = layers[..inherited.len()].iter().map(|l| l.diff_id.clone()).collect();
        config.rootfs.diff_ids.push(squashed.diff_id);
        let base = graph.history.iter().filter(|h| matches!(h, HistoryItem::Base(_))).count();
        crate::squash::history(&mut config.history, base);
    } else {
        descriptors.extend(new.iter().map(|layer| session.env.store.descriptor(layer)));
        config.rootfs.diff_ids = layers.iter().map(|l| l.diff_id.clone()).collect();
    }
    config.created = created(session, &config);
    let tags = &session.request.tags;
    session
        .env
        .store
        .make_image(session.lease, &config, descriptors, None, tags)
        .map_err(store("write image"))
}

/// The base image of a file system.
fn base_image<'s>(session: &'s Session<'_>, fs: &Fs) -> Option<&'s crate::Image> {
    let mut fs = fs;
    loop {
        match fs {
            Fs::Scratch => return None,
            Fs::Image(i) => return session.images.get(*i),
            Fs::Op(i) => fs = &session.graph.ops[*i].base,
        }
    }
}

/// Every line with its time: an operation's is that of its layer, a describing instruction's that of the line before, so
/// that a build in which nothing changed gives the same image.
fn history(session: &Session<'_>, outputs: &[Output]) -> Vec<History> {
    let fixed = session.request.source_date_epoch.map(epoch);
    let images = session.graph.images.len();
    let mut last = fixed.clone().or_else(|| session.graph.config.created.clone());
    let mut lines = Vec::with_capacity(session.graph.history.len());
    for item in &session.graph.history {
        match item {
            HistoryItem::Base(line) => {
                last = fixed.clone().or_else(|| line.created.clone()).or(last);
                lines.push(line.clone());
            }
            HistoryItem::New { created_by, op, author } => {
                let output = op.map(|op| &outputs[images + op]);
                last = fixed.clone().or_else(|| output.map(|o| o.created.clone())).or(last);
                lines.push(History {
                    created: last.clone(),
                    created_by: created_by.clone(),
                    author: author.clone(),
                    comment: COMMENT.into(),
                    empty_layer: !output.is_some_and(|o| o.layer),
                });
            }
        }
    }
    lines
}

fn created(session: &Session<'_>, config: &ImageConfig) -> Option<String> {
    match session.request.source_date_epoch {
        Some(seconds) => Some(epoch(seconds)),
        None => {
            let last = config.history.last().and_then(|h| h.created.clone());
            last.or_else(|| config.created.clone()).or_else(|| Some(crate::step::now(session)))
        }
    }
}
