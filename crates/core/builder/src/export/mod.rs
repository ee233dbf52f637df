//! The result as images: configuration, history, manifests, an index if there are several, names.

pub(crate) mod attestation;
mod content;
pub(crate) mod emulation;
mod history;
pub(crate) mod options;
mod provenance;
mod sbom;
pub(crate) mod statement;
mod steps;

use crate::error::Error;
use crate::graph::{Fs, Op, OpKind, Stack};
use crate::request::{BuiltImage, Env, LeftLayer, Request};
use crate::session::{Output, Session};
use content::Content;
use oci::annotation::Level;
use oci::image::{Descriptor, Document, ImageConfig, Index, MANIFEST_MAX, Manifest};
use oci::{ChainId, Digest, Platform, Reference, media_types};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use store::{Lease, NewImage};

pub(crate) use provenance::Facts;

/// By which it tells that a layer has no file from after this time.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// An image whose documents are written and that is not recorded yet.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Its manifest.
    pub manifest: Descriptor,
    /// Digest of its configuration.
    pub image_id: Digest,
    /// Its layers that are not here, if it is to go where they are.
    pub left: Option<Vec<LeftLayer>>,
    /// For which platform.
    pub platform: Platform,
    /// Its attestations, if it has any: the descriptor of their manifest.
    pub attestation: Option<Descriptor>,
    /// What is said of how it was made.
    pub provenance: Option<serde_json::Value>,
    /// The list of packages in it, if it was asked for.
    pub sbom: Option<serde_json::Value>,
    /// What is attested of its files, if that was asked for, by the names of the documents.
    pub statements: Vec<(String, serde_json::Value)>,
}

impl Made {
    /// The same for who has asked for it.
    pub fn built(self) -> BuiltImage {
        BuiltImage {
            image_id: self.image_id,
            manifest: self.manifest,
            platform: self.platform,
            provenance: self.provenance,
            sbom: self.sbom,
            statements: self.statements,
        }
    }
}

fn store_error(attempt: &'static str) -> impl FnOnce(store::Error) -> Error {
    move |e| Error::Store { attempt, source: e.into() }
}

/// Writes configuration and manifest of one platform's image.
pub(crate) fn image(session: &Session<'_>, outputs: &[Output], facts: &Facts<'_>) -> Result<Made, Error> {
    let graph = session.graph;
    let node = session.node(&graph.result);
    let chain = node.and_then(|n| outputs[n].chain.clone());
    let inherited = base_image(session, &graph.result).map_or(&[][..], |image| &image.manifest.layers);
    let mut config = graph.config.clone();
    config.history = history::lines(session, outputs);
    // It is of what the base's last change was.
    config.comment.clear();
    let content = match &session.left {
        Some(left) => Content::left(session, left, inherited.len()),
        None => Content::here(session, chain.as_ref(), inherited, &mut config.history)?,
    };
    let Content { mut descriptors, diff_ids, inherited, chains, renamed } = content;
    config.rootfs.diff_ids = diff_ids;
    if graph.stages.is_empty() {
        // A client says what it likes of layers that it has not made.
        history::complete(&mut config.history, &history::times(session, outputs, &chains));
    }
    config.created = history::created(session, &config);
    let options = &session.request.export;
    if let Some(seconds) = session.latest().filter(|_| !options.docker) {
        for own in descriptors.iter_mut().skip(inherited) {
            own.annotations.insert(REWRITTEN.to_string(), seconds.to_string());
        }
    }
    if is_asked(session) {
        let Platform { os, architecture, variant, .. } = session.platform.clone();
        (config.os, config.architecture, config.variant) = (os, architecture, variant);
    }
    let platform = config.platform();
    let env = session.env;
    let config_type = if options.docker { media_types::DOCKER_CONFIG } else { media_types::OCI_CONFIG };
    let document = document(session, &config, chain.as_ref(), renamed)?;
    let config = write(env, session.lease, config_type, &document)?;
    let image_id = config.digest.clone();
    let mut manifest = Manifest::new(config, descriptors);
    if options.docker {
        manifest.media_type = media_types::DOCKER_MANIFEST.to_string();
    }
    manifest.annotations = options.annotations(Level::Manifest, &platform);
    let media_type = manifest.media_type.clone();
    let mut made = Made {
        manifest: write(env, session.lease, &media_type, &manifest)?,
        image_id,
        left: session.left.as_ref().map(|left| left.layers.clone()),
        platform: platform.clone(),
        attestation: None,
        provenance: None,
        sbom: None,
        statements: Vec::new(),
    };
    made.manifest.annotations = options.annotations(Level::ManifestDescriptor, &platform);
    made.manifest.platform = Some(platform);
    let layers = layers_of_nodes(session, outputs, &chains, &manifest.layers);
    attestation::attest(session, facts, (outputs, chain.as_ref()), &layers, &mut made)?;
    Ok(made)
}

/// The layers up to each node that the result is on top of.
fn layers_of_nodes<'m>(
    session: &Session<'_>,
    outputs: &[Output],
    chains: &[ChainId],
    descriptors: &'m [Descriptor],
) -> steps::Layers<'m> {
    let depth = |chain: &ChainId| chains.iter().position(|own| own == chain);
    let images = session.graph.images.len();
    let made = outputs.iter().enumerate().filter(|(node, output)| *node < images || output.layer);
    let found = made.filter_map(|(node, output)| Some((node, depth(output.chain.as_ref()?)?)));
    found.filter_map(|(node, depth)| Some((node, descriptors.get(..=depth)?))).collect()
}

/// Whether somebody has said which platform the image is for: it is for that one then, whatever it is based on.
fn is_asked(session: &Session<'_>) -> bool {
    !session.request.platforms.is_empty() && !session.graph.stages.is_empty()
}

/// The configuration, with the cache in it if that is asked for.
fn document(
    session: &Session<'_>,
    config: &ImageConfig,
    chain: Option<&ChainId>,
    renamed: BTreeMap<Digest, Descriptor>,
) -> Result<serde_json::Value, Error> {
    let failed = |e: serde_json::Error| Error::Store { attempt: "write a document", source: e.into() };
    let mut document = serde_json::to_value(config).map_err(failed)?;
    if session.request.export.inline_cache {
        let mut keys = session.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut promises = session.promises();
        {
            let earlier = session.env.earlier.lock();
            keys.extend(earlier.keys.iter().cloned());
            promises.extend(earlier.promises.values().cloned());
        }
        let cache = crate::transfer::inline(session.env, &keys, promises, chain, renamed)?;
        document[crate::transfer::INLINE_KEY] = serde_json::to_value(cache).map_err(failed)?;
    }
    Ok(document)
}

/// What names stand for: the manifest, or the index of several.
pub(crate) fn target(
    env: &Env,
    lease: &Lease,
    request: &Request,
    made: &[Made],
) -> Result<Descriptor, Error> {
    if let [only] = made
        && only.attestation.is_none()
        && !request.export.wants_index()
    {
        return Ok(only.manifest.clone());
    }
    let members = made.iter().map(|m| m.manifest.clone());
    let notes = made.iter().filter_map(|m| m.attestation.clone());
    let mut index = Index::new(members.chain(notes).collect());
    if request.export.docker {
        index.media_type = media_types::DOCKER_INDEX.to_string();
    }
    index.annotations = request.export.annotations(Level::Index, &Platform::host());
    let media_type = index.media_type.clone();
    let mut target = write(env, lease, &media_type, &index)?;
    target.annotations = request.export.annotations(Level::IndexDescriptor, &Platform::host());
    Ok(target)
}

/// Records the images and gives them their names, in one transaction; which of them were not there before.
pub(crate) fn record(
    env: &Env,
    request: &Request,
    made: &[Made],
    target: &Descriptor,
) -> Result<Vec<bool>, Error> {
    let named = made.len().saturating_sub(1);
    let tags = names(request, &target.digest);
    let lent = tags.is_empty() && env.held.as_ref().is_some_and(|held| held.lent);
    let records: Vec<NewImage<'_>> = made
        .iter()
        .enumerate()
        .map(|(i, m)| NewImage {
            tags: if i == named { &tags } else { &[] },
            target: Some(&target.digest),
            lent,
            ..NewImage::of(&m.manifest.digest)
        })
        .collect();
    if let Some(held) = &env.held {
        // Before anybody can find them.
        held.lease.pin_all(&whole(env, made, target)?).map_err(store_error("hold the result"))?;
    }
    let images = env.store.put_images(&records).map_err(store_error("write image"))?;
    Ok(images.into_iter().map(|put| put.new).collect())
}

/// What a result consists of, but for what its images name: these keep that themselves, as long as they are here.
fn whole(env: &Env, made: &[Made], target: &Descriptor) -> Result<Vec<Digest>, Error> {
    let mut whole = vec![target.digest.clone()];
    for one in made {
        whole.push(one.manifest.digest.clone());
        let Some(attestation) = &one.attestation else { continue };
        whole.push(attestation.digest.clone());
        let document = env.store.document(&attestation.digest).map_err(store_error("read an attestation"))?;
        if let Document::Manifest(manifest) = document {
            whole.push(manifest.config.digest);
            whole.extend(manifest.layers.into_iter().map(|layer| layer.digest));
        }
    }
    Ok(whole)
}

/// The manifests of a result with their index, by their digests.
pub(crate) fn documents(
    env: &Env,
    made: &[Made],
    target: &Descriptor,
) -> Result<BTreeMap<Digest, Vec<u8>>, Error> {
    let members = made.iter().flat_map(|m| [Some(&m.manifest), m.attestation.as_ref()]).flatten();
    let read = |found: &Descriptor| {
        let bytes = env.store.read_blob(&found.digest, MANIFEST_MAX);
        Ok((found.digest.clone(), bytes.map_err(store_error("read a document"))?))
    };
    members.chain([target]).map(read).collect()
}

/// The names of a result.
pub(crate) fn names(request: &Request, digest: &Digest) -> Vec<Reference> {
    let canonical = |name: &Reference| name.with_digest(digest.clone());
    let mut names = request.tags.clone();
    match (names.is_empty(), request.export.canonical_names) {
        (true, _) => names.extend(request.export.dangling_name.as_ref().map(canonical)),
        (false, true) => names.extend(request.tags.iter().map(canonical)),
        (false, false) => {}
    }
    names
}

/// Writes a document; its descriptor.
fn write(env: &Env, lease: &Lease, media_type: &str, document: &impl Serialize) -> Result<Descriptor, Error> {
    let bytes = serde_json::to_vec(document)
        .map_err(|e| Error::Store { attempt: "write a document", source: e.into() })?;
    let digest: Digest = env.store.put_blob(lease, &bytes).map_err(store_error("write a document"))?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

/// The base image of a file system.
fn base_image<'s>(session: &'s Session<'_>, fs: &Fs) -> Option<&'s crate::Image> {
    let mut fs = fs;
    loop {
        match fs {
            Fs::Scratch => return None,
            Fs::Image(i) => return session.images.get(*i),
            Fs::Op(i) => match &session.graph.ops[*i] {
                // Their layers are not those of what they work on.
                Op { kind: OpKind::Stack(Stack::Mount(_) | Stack::Diff(_)), .. } => return None,
                op => fs = &op.base,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_digests() {
        let name = |text: &str| Reference::parse(text).unwrap();
        let digest = Digest::sha256(b"x");
        let told = |request: &Request| -> Vec<String> {
            names(request, &digest).iter().map(Reference::familiar).collect()
        };
        let mut request = Request { tags: vec![name("a:1")], ..Request::default() };
        assert_eq!(told(&request), ["a:1"]);
        request.export.dangling_name = Some(name("later"));
        request.export.canonical_names = true;
        assert_eq!(told(&request), ["a:1".to_string(), format!("a@{digest}")]);
        request.tags.clear();
        request.export.canonical_names = false;
        assert_eq!(told(&request), [format!("later@{digest}")]);
        request.export.dangling_name = None;
        assert!(told(&request).is_empty());
    }
}
