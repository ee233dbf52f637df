//! What the API says about the result of a build, as the builder wants it.

use api::build::{BuildDetails, BuildOptions, BuiltImage};
use archive::Compression;
use builder::{Annotation, Built, Export, Provenance};

use crate::error::{Error, Result};

/// How images are to be written.
pub(super) fn options(build: &BuildOptions) -> Result<Export> {
    let options = &build.extras.export;
    let inline = build.build_args.get("BUILDKIT_INLINE_CACHE").and_then(Option::as_deref);
    let compression = match options.compression.as_str() {
        "" => None,
        "uncompressed" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        other => {
            return Err(Error::invalid(format!("unsupported layer compression type {other:?}"))
                .with_hint("use uncompressed, gzip or zstd"));
        }
    };
    let mut annotations = Vec::new();
    for text in &options.annotations {
        annotations.extend(Annotation::parse(text).map_err(Error::invalid)?);
    }
    let provenance = match options.provenance.as_str() {
        "" => None,
        "min" => Some(Provenance::Min),
        "max" => Some(Provenance::Max),
        other => return Err(Error::invalid(format!("invalid mode {other:?} of a provenance: min or max"))),
    };
    Ok(Export {
        compression,
        level: options.compression_level,
        force: options.force_compression,
        docker: options.docker_media_types,
        annotations,
        provenance,
        sbom: options.sbom,
        generator: Some(options.sbom_generator.clone()).filter(|image| options.sbom && !image.is_empty()),
        inline_cache: options.inline_cache || matches!(inline, Some("1" | "true")),
    })
}

/// What became of a build, for its client.
pub fn details(built: &Built) -> BuildDetails {
    let image = |image: &builder::BuiltImage| BuiltImage {
        id: image.image_id.to_string(),
        manifest: Some(image.manifest.clone()),
        platform: image.platform.to_string(),
        new: image.is_new,
        provenance: image.provenance.clone(),
    };
    BuildDetails { target: Some(built.target.clone()), images: built.images.iter().map(image).collect() }
}
