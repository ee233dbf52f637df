//! What the API says about the result of a build, as the builder wants it.

use api::build::{BuildDetails, BuildOptions, BuiltImage, ExportOptions, FileStatement, SentImage};
use archive::Compression;
use builder::{Built, Export, Provenance, Slsa};
use oci::Reference;
use oci::annotation::{Annotation, Level};
use oci::image::Descriptor;

use crate::error::{Error, Result};

/// The argument by which one image is written as one of several platforms, or several are refused.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

fn index(build: &BuildOptions) -> Result<bool> {
    let text = build.build_args.get(MULTI_PLATFORM).and_then(Option::as_deref).unwrap_or_default();
    match text {
        "" => Ok(build.extras.export.index),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" if !build.platform.contains(',') => Ok(false),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => {
            Err(Error::invalid("returning multiple target platforms is not allowed"))
        }
        other => Err(Error::invalid(format!("invalid boolean value {other:?} of {MULTI_PLATFORM}"))),
    }
}

/// How layers are compressed, with a level that there is.
fn compression(options: &ExportOptions) -> Result<Option<Compression>> {
    let compression = match options.compression.as_str() {
        "" => None,
        "uncompressed" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "estargz" if options.oci_media_types == Some(false) => {
            return Err(Error::invalid(
                "exporter option \"compression=estargz\" conflicts with \"oci-mediatypes=false\"",
            ));
        }
        // It is gzip to those who do not know it.
        "estargz" => Some(Compression::Gzip),
        other => {
            return Err(Error::invalid(format!("unsupported layer compression type {other:?}"))
                .with_hint("use uncompressed, gzip, estargz or zstd"));
        }
    };
    match options.compression_level {
        Some(wanted) if level(compression.unwrap_or(Compression::Gzip), Some(wanted)).is_none() => {
            Err(Error::invalid(format!(
                "compression-level {wanted} is not supported: gzip has 0 to 9, zstd 0 to 22"
            )))
        }
        _ => Ok(compression),
    }
}

/// Whether documents have Docker's media types, and whether attestations are artifacts.
fn formats(options: &ExportOptions) -> Result<(bool, bool)> {
    let is_attested = options.sbom || !options.provenance.is_empty();
    let docker = match (options.compatibility_version, options.oci_media_types) {
        (0 | 20 | 30, Some(oci)) => !oci,
        // Docker's types have no attestations.
        (20, None) => !is_attested,
        (0 | 30, None) => false,
        (other, _) => {
            return Err(Error::invalid(format!(
                "unsupported compatibility-version {other} (supported: [20 30])"
            )));
        }
    };
    if docker && options.oci_artifact == Some(true) {
        let reason = "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"";
        return Err(Error::invalid(reason));
    }
    let artifact = options.oci_artifact.unwrap_or(!docker && options.compatibility_version != 20);
    Ok((docker, artifact))
}

fn names(names: &[String]) -> Result<Vec<Reference>> {
    let name = |text: &String| {
        Reference::parse(text).map_err(|e| Error::invalid(format!("invalid name {text:?}: {e}")))
    };
    names.iter().map(name).collect()
}

/// The time that stands for now, whatever else says so.
pub(super) fn epoch(options: &ExportOptions) -> Result<Option<Option<i64>>> {
    let wrong = |text: &str| Error::invalid(format!("invalid source-date-epoch: {text}"));
    Ok(match options.source_date_epoch.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(text) => Some(Some(text.parse().map_err(|_| wrong(text))?)),
    })
}

/// What the result is called that has no name.
fn dangling_name(options: &ExportOptions) -> Result<Option<Reference>> {
    match options.dangling_prefix.as_str() {
        "" => Ok(None),
        prefix => Reference::parse_name(prefix).map(Some).map_err(|e| {
            Error::invalid(format!("image exporter: dangling-name-prefix: invalid name {prefix:?}: {e}"))
        }),
    }
}

/// How images are to be written.
pub(super) fn options(build: &BuildOptions) -> Result<Export> {
    let options = &build.extras.export;
    let inline = build.build_args.get("BUILDKIT_INLINE_CACHE").and_then(Option::as_deref);
    let compression = compression(options)?;
    let (docker, artifact) = formats(options)?;
    let mut annotations = Vec::new();
    for text in &options.annotations {
        annotations.extend(Annotation::parse(text, Level::Manifest).map_err(Error::invalid)?);
    }
    let provenance = match options.provenance.as_str() {
        "" => None,
        "min" => Some(Provenance::Min),
        "max" => Some(Provenance::Max),
        other => return Err(Error::invalid(format!("invalid mode {other:?} of a provenance: min or max"))),
    };
    let told = match options.told_provenance.as_str() {
        "" => None,
        "max" => Some(Provenance::Max),
        _ => Some(Provenance::Min),
    };
    let old = match options.provenance_version.as_str() {
        "" | "v1" => false,
        "v0.2" => true,
        other => {
            return Err(Error::invalid(format!("invalid version {other:?} of a provenance: v1 or v0.2")));
        }
    };
    Ok(Export {
        compression,
        level: options.compression_level,
        seekable: options.compression == "estargz",
        force: options.force_compression,
        docker,
        artifact,
        index: index(build)?,
        annotations,
        provenance,
        told_provenance: told,
        slsa: Slsa {
            old,
            builder_id: options.builder_id.clone(),
            reproducible: options.reproducible,
            complete: options.complete_materials,
            parameters: options.parameters.clone(),
            request: options.request.clone(),
            vcs: options.vcs.clone(),
        },
        canonical_names: options.canonical_names,
        dangling_name: dangling_name(options)?,
        provenance_file: Some(options.provenance_file.clone()).filter(|name| !name.is_empty()),
        sbom: options.sbom,
        file_statements: options.file_statements,
        names: names(&options.names)?,
        generator_args: options.sbom_arguments.clone(),
        generator: Some(options.sbom_generator.clone()).filter(|image| options.sbom && !image.is_empty()),
        inline_cache: options.inline_cache || matches!(inline, Some("1" | "true")),
    })
}

/// The level, if this compression has it.
pub(super) fn level(compression: Compression, level: Option<u32>) -> Option<u32> {
    let most = match compression {
        Compression::Zstd => 22,
        _ => 9,
    };
    level.filter(|level| *level <= most)
}

/// What became of a build, for its client.
pub fn details(built: &Built) -> BuildDetails {
    let statement = |(name, statement): &(String, serde_json::Value)| FileStatement {
        name: name.clone(),
        statement: statement.clone(),
    };
    let image = |image: &builder::BuiltImage| BuiltImage {
        id: image.image_id.to_string(),
        manifest: Some(image.manifest.clone()),
        platform: image.platform.to_string(),
        provenance: image.provenance.clone(),
        sbom: image.sbom.clone(),
        statements: image.statements.iter().map(statement).collect(),
    };
    let sent = |(name, descriptor): &(Reference, Descriptor)| SentImage {
        name: name.to_string(),
        descriptor: Some(descriptor.clone()),
    };
    let result = built.result.as_ref();
    BuildDetails {
        id: String::new(),
        target: result.map(|result| result.target.clone()),
        images: result.map_or(&[][..], |result| &result.images).iter().map(image).collect(),
        source_date_epoch: built.source_date_epoch,
        sent: result.map_or(&[][..], |result| &result.sent).iter().map(sent).collect(),
    }
}
