//! What the result shall look like: compression, media types, annotations, attestations.

use archive::Compression;
use oci::annotation::{Annotation, Level};
use oci::{Platform, media_types};
use std::collections::BTreeMap;

/// How images are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Layers made here are compressed so; without, they stay archives that are packed when somebody wants them.
    pub compression: Option<Compression>,
    /// The compression's own scale.
    pub level: Option<u32>,
    /// gzip is written as eStargz.
    pub seekable: bool,
    /// Layers of base images are compressed anew too.
    pub force: bool,
    /// Docker's media types instead of OCI's.
    pub docker: bool,
    /// Attestations are artifacts with a subject, and no images.
    pub artifact: bool,
    /// An index also of one image.
    pub index: bool,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// An attestation of how the images were made.
    pub provenance: Option<Provenance>,
    /// The same for whoever builds, attached to nothing.
    pub told_provenance: Option<Provenance>,
    /// How either is written.
    pub slsa: Slsa,
    /// What it is called among files; there is none without.
    pub provenance_file: Option<String>,
    /// An attestation of what is in them.
    pub sbom: bool,
    /// What is attested is told of the files too, for outputs that are files.
    pub file_statements: bool,
    /// What attestations call the images besides the names that these get.
    pub names: Vec<oci::Reference>,
    /// The image whose program lists the packages; ours does without.
    pub generator: Option<String>,
    /// What that program is told besides.
    pub generator_args: BTreeMap<String, String>,
    /// The configuration tells which records its layers belong to.
    pub inline_cache: bool,
    /// The result is given its names with its digest too.
    pub canonical_names: bool,
    /// The name of a result that has none, which gets its digest too.
    pub dangling_name: Option<oci::Reference>,
}

/// How the origin of an image is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slsa {
    /// As version 0.2 of the predicate.
    pub old: bool,
    /// Who has built.
    pub builder_id: String,
    /// All that the build needs is named.
    pub reproducible: bool,
    /// What it cannot name must not be used.
    pub complete: bool,
    /// What was asked besides: the frontend's own attributes.
    pub parameters: BTreeMap<String, String>,
    /// What the request was besides: where its inputs are from (`inputs`), and what it was a part of (`root`).
    pub request: BTreeMap<String, serde_json::Value>,
    /// The repository that the context lies in: `source`, `revision`, `localdir:context`.
    pub vcs: BTreeMap<String, String>,
}

/// How much is told of how an image was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// No values of build arguments.
    Min,
    /// These too, and the steps.
    Max,
}

impl Options {
    /// The annotations of a document.
    pub(crate) fn annotations(&self, level: Level, platform: &Platform) -> BTreeMap<String, String> {
        let fits = |a: &&Annotation| {
            a.level == level && a.platform.as_ref().is_none_or(|own| *own == platform.normalized())
        };
        self.annotations.iter().filter(fits).map(|a| (a.key.clone(), a.value.clone())).collect()
    }

    /// Whether an index is asked for, or there is something that only an index can say. What the descriptor of a manifest says stands
    /// where the image is handed out, as with BuildKit.
    pub(crate) fn wants_index(&self) -> bool {
        let is_of_index = |level| matches!(level, Level::Index | Level::IndexDescriptor);
        self.index || self.annotations.iter().any(|a| is_of_index(a.level))
    }

    /// Whether attestations are made.
    pub(crate) fn is_attested(&self) -> bool {
        self.sbom || self.provenance.is_some()
    }

    /// The media type that a layer gets.
    pub(crate) fn layer_type(&self, found: &str) -> String {
        let names = [
            (media_types::OCI_LAYER, media_types::DOCKER_LAYER),
            (media_types::OCI_LAYER_GZIP, media_types::DOCKER_LAYER_GZIP),
            (media_types::OCI_LAYER_ZSTD, media_types::DOCKER_LAYER_ZSTD),
        ];
        let known = names.iter().find(|(oci, docker)| found == *oci || found == *docker);
        known.map_or(found, |(oci, docker)| if self.docker { docker } else { oci }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_of_their_documents() {
        let read = |text| Annotation::parse(text, Level::Manifest).unwrap();
        let options = Options { annotations: read("index,manifest[linux/amd64]:k=v"), ..Options::default() };
        let arm = "linux/arm64".parse().unwrap();
        assert!(options.wants_index() && options.annotations(Level::Manifest, &arm).is_empty());
        let of_descriptor = read("manifest-descriptor:k=v");
        assert!(!Options { annotations: of_descriptor, ..Options::default() }.wants_index());
    }
}
