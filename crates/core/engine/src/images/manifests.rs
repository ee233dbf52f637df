//! What the names of an image stand for, manifest by manifest: `docker image ls --tree` (the API's `manifests=1`).
//!
//! An index is shown with all its members, also those that are not here. Sizes are of what is here: blobs, and unpacked
//! layers. What two manifests have in common counts for each of them, and once for the whole.

use std::collections::{BTreeSet, HashMap, HashSet};

use api::images::{
    AttestationProperties, ImageProperties, ManifestSize, ManifestSummary, Summary, UnpackedSize,
};
use oci::image::{ATTESTED, Descriptor, Document, ImageConfig, Manifest, is_attestation};
use oci::{ChainId, Digest, media_types};
use store::{Members, Store};

use super::artifacts::Artifact;
use super::catalog::Item;

/// Adds the manifests to a line of the list; its size is that of everything then.
pub(super) fn add(
    store: &Store,
    item: &Item,
    layers: &HashMap<ChainId, u64>,
    containers: &HashMap<Digest, Vec<String>>,
    line: &mut Summary,
) {
    let mut tree = Tree { store, layers, containers, manifests: Vec::new(), seen: HashSet::new(), total: 0 };
    let mut targets: BTreeSet<&Digest> = item.names().map(|name| &name.target).collect();
    if targets.is_empty() {
        targets = item.records.iter().map(|record| &record.digest).collect();
    }
    for target in targets {
        let Some(descriptor) = tree.descriptor(target) else { continue };
        line.descriptor.get_or_insert_with(|| descriptor.clone());
        tree.add(descriptor);
    }
    line.size = tree.total;
    line.manifests = Some(tree.manifests);
}

/// The one manifest of what is no image.
pub(super) fn of_artifact(artifact: &Artifact) -> ManifestSummary {
    let size = i64::try_from(artifact.size).unwrap_or(i64::MAX);
    let media_type = Document::Manifest(Box::new(artifact.manifest.clone())).media_type().to_owned();
    let mut descriptor = Descriptor::new(&media_type, artifact.digest.clone(), artifact.length);
    descriptor.artifact_type = artifact.manifest.artifact_kind().map(str::to_owned);
    ManifestSummary {
        id: artifact.digest.to_string(),
        available: true,
        size: ManifestSize { content: size, total: size },
        kind: "unknown".to_owned(),
        descriptor: Some(descriptor),
        ..ManifestSummary::default()
    }
}

struct Tree<'a> {
    store: &'a Store,
    layers: &'a HashMap<ChainId, u64>,
    containers: &'a HashMap<Digest, Vec<String>>,
    manifests: Vec<ManifestSummary>,
    /// What is in the total already.
    seen: HashSet<Digest>,
    total: i64,
}

impl Tree<'_> {
    fn descriptor(&self, digest: &Digest) -> Option<Descriptor> {
        let size = self.store.blob_size(digest).ok()??;
        let document = self.store.document(digest).ok()?;
        Some(Descriptor::new(document.media_type(), digest.clone(), size))
    }

    /// Adds a manifest, or those of an index. What is damaged shows as not available.
    fn add(&mut self, descriptor: Descriptor) {
        match self.store.document(&descriptor.digest) {
            Ok(Document::Index(_)) => {
                let Members { indexes, leaves } = self.store.members(&descriptor.digest).unwrap_or_default();
                for index in &indexes {
                    self.blob(index);
                }
                for member in leaves {
                    // An index that is not here is none that could be shown with its manifests.
                    if !media_types::is_index(&member.media_type) {
                        self.add_manifest(member, None);
                    }
                }
            }
            Ok(Document::Manifest(manifest)) => self.add_manifest(descriptor, Some(*manifest)),
            Err(_) => self.add_manifest(descriptor, None),
        }
    }

    fn add_manifest(&mut self, descriptor: Descriptor, manifest: Option<Manifest>) {
        if self.manifests.iter().any(|known| known.id == descriptor.digest.as_str()) {
            return;
        }
        let manifest = manifest.or_else(|| match self.store.document(&descriptor.digest) {
            Ok(Document::Manifest(manifest)) => Some(*manifest),
            _ => None,
        });
        let mut content = 0;
        let mut missing = manifest.is_none();
        if let Some(manifest) = &manifest {
            content += self.count(&descriptor.digest, descriptor.size);
            missing |= self.blob(&manifest.config.digest).map(|size| content += size).is_none();
        }
        let config = manifest.as_ref().and_then(|manifest| self.config(manifest));
        let chains = config.as_ref().map(|config| ChainId::all(&config.rootfs.diff_ids)).unwrap_or_default();
        let (mut unpacked, mut chains) = (0, chains.into_iter());
        for layer in manifest.iter().flat_map(|manifest| &manifest.layers) {
            let chain = chains.next();
            let files = chain.as_ref().and_then(|chain| self.layers.get(chain)).copied();
            if let (Some(chain), Some(bytes)) = (chain, files) {
                unpacked += self.count(&chain.0, bytes);
            }
            let archive = self.blob(&layer.digest);
            content += archive.unwrap_or(0);
            missing |= files.is_none() && archive.is_none();
        }
        let platform = descriptor.platform.clone().or(config.as_ref().map(ImageConfig::platform));
        let attests = descriptor.annotations.get(ATTESTED).filter(|_| is_attestation(&descriptor)).cloned();
        let is_image = attests.is_none() && platform.is_some();
        let of = manifest.as_ref().and_then(|manifest| self.containers.get(&manifest.config.digest));
        self.manifests.push(ManifestSummary {
            id: descriptor.digest.to_string(),
            available: !missing,
            size: ManifestSize { content, total: content + unpacked },
            kind: match (&attests, is_image) {
                (Some(_), _) => "attestation",
                (None, true) => "image",
                (None, false) => "unknown",
            }
            .to_owned(),
            image_data: is_image.then(|| ImageProperties {
                platform,
                size: UnpackedSize { unpacked },
                containers: of.cloned().unwrap_or_default(),
            }),
            attestation_data: attests.map(|subject| AttestationProperties { subject }),
            descriptor: Some(descriptor),
        });
    }

    fn config(&self, manifest: &Manifest) -> Option<ImageConfig> {
        if !media_types::is_config(&manifest.config.media_type) {
            return None;
        }
        let bytes = self.store.read_blob(&manifest.config.digest, oci::image::CONFIG_MAX).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The length of a blob that is here.
    fn blob(&mut self, digest: &Digest) -> Option<i64> {
        let size = self.store.blob_size(digest).ok()??;
        Some(self.count(digest, size))
    }

    fn count(&mut self, digest: &Digest, bytes: u64) -> i64 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.seen.insert(digest.clone()) {
            self.total += bytes;
        }
        bytes
    }
}
