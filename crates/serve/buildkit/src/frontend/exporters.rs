//! The exporters of a solve, and what their attributes say of the image.

use std::collections::{BTreeMap, HashMap};

use api::build::ExportOptions;
use bollard_buildkit_proto::moby::buildkit::v1::{Exporter, SolveRequest};
use oci::Platform;
use tonic::Status;

fn bad(message: String) -> Status {
    Status::invalid_argument(message)
}

/// The exporters of a solve, in the form of now or of older clients.
pub fn exporters(order: &SolveRequest) -> Vec<Exporter> {
    if !order.exporters.is_empty() || order.exporter_deprecated.is_empty() {
        return order.exporters.clone();
    }
    let (r#type, attrs) = (order.exporter_deprecated.clone(), order.exporter_attrs_deprecated.clone());
    vec![Exporter { r#type, attrs }]
}

/// Whether the image stays here under its names.
pub fn keeps(exporter: &Exporter) -> bool {
    let stays = !exporter.attrs.contains_key("store") || flag(exporter, "store");
    matches!(exporter.r#type.as_str(), "moby" | "image") && stays
}

/// Whether images are written, and not only their files.
pub fn writes_images(order: &SolveRequest) -> bool {
    exporters(order).iter().any(|exporter| !matches!(exporter.r#type.as_str(), "local" | "tar" | "cacheonly"))
}

/// The flags of exporters, and whether one that is named without a value is set.
const FLAGS: [(&str, bool); 15] = [
    ("push", true),
    ("push-by-digest", true),
    ("registry.insecure", true),
    ("unpack", true),
    ("store", true),
    ("danglingemptyonly", true),
    ("name-canonical", true),
    ("force-compression", true),
    ("oci-mediatypes", false),
    ("oci-artifact", false),
    ("attestation-inline", false),
    ("prefer-nondist-layers", false),
    ("rewrite-timestamp", false),
    ("platform-split", false),
    ("prefer-image-digest", false),
];

/// As Go reads a boolean.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What a flag of an exporter says, where it is one and has a value that is one.
fn said(key: &str, value: &str) -> Option<Option<bool>> {
    let (_, is_bare) = FLAGS.iter().find(|(flag, _)| *flag == key)?;
    Some(if value.is_empty() && *is_bare { Some(true) } else { boolean(value) })
}

/// A flag of an exporter.
pub fn flag(exporter: &Exporter, key: &str) -> bool {
    exporter.attrs.get(key).and_then(|value| said(key, value)).flatten().unwrap_or(false)
}

/// The name that stands for the one that the frontend gives.
const GIVEN: &str = "*";

/// Whether the image gets the name that the frontend gives.
pub fn asks_name(exporter: &Exporter) -> bool {
    exporter.attrs.get("name").is_some_and(|names| names == GIVEN)
}

/// The names that an exporter itself gives to the image.
pub fn names(exporter: &Exporter) -> Vec<String> {
    match asks_name(exporter) {
        true => Vec::new(),
        false => exporter.attrs.get("name").map(|names| listed(names)).unwrap_or_default(),
    }
}

/// Names with commas between.
pub fn listed(names: &str) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What says how the one image is written.
const OF_IMAGE: [&str; 9] = [
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "oci-artifact",
    "compatibility-version",
    "dangling-name-prefix",
    "name-canonical",
    CONFIG,
];

/// The image's configuration; `/` and a platform behind it for one of several.
pub const CONFIG: &str = "containerimage.config";

/// The time that a frontend says for its results; `/` and a platform's name behind it for one of several.
const EPOCH: &str = "source.date.epoch";

/// The time that stands for now in images that a frontend has put together, in seconds since 1970, if it says one. There is one for all
/// of an index: of those that it says for its platforms the latest.
pub fn epoch(metadata: &HashMap<String, Vec<u8>>) -> Result<Option<i64>, Status> {
    let is_meant =
        |key: &str| key.strip_prefix(EPOCH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut latest = None;
    for (_, value) in metadata.iter().filter(|(key, value)| is_meant(key) && !value.is_empty()) {
        let text = String::from_utf8_lossy(value);
        let wrong = |_| bad(format!("invalid SOURCE_DATE_EPOCH from frontend: {text:?}"));
        latest = latest.max(Some(text.parse::<i64>().map_err(wrong)?));
    }
    Ok(latest)
}

/// The configuration that the exporters of a build want the image for a platform to have, whatever else is said of it.
pub fn config(order: &SolveRequest, platform: &Platform) -> Option<Vec<u8>> {
    let own = format!("{CONFIG}/{platform}");
    let exporters = exporters(order);
    let mut said = exporters.iter().filter_map(|e| e.attrs.get(&own).or_else(|| e.attrs.get(CONFIG)));
    said.next().map(|config| config.clone().into_bytes())
}

/// Whether the exporters that say something of the image say the same.
fn agree(exporters: &[Exporter]) -> Result<(), Status> {
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in exporters.iter().flat_map(|exporter| &exporter.attrs) {
        if !OF_IMAGE.contains(&key.as_str()) && annotation(key, value).is_none() {
            continue;
        }
        let value = said(key, value).flatten().map_or_else(|| value.clone(), |set| set.to_string());
        if known.insert(key, value.clone()).is_some_and(|other| other != value) {
            return Err(bad(format!("the exporters ask for different values of {key}")));
        }
    }
    Ok(())
}

/// How images are written: what the exporters agree on, for one image is made for all.
pub(super) fn export(exporters: &[Exporter]) -> Result<ExportOptions, Status> {
    agree(exporters)?;
    let mut options = ExportOptions::default();
    for exporter in exporters {
        for (key, value) in &exporter.attrs {
            if said(key, value) == Some(None) {
                return Err(bad(format!("non-bool value specified for {key}: {value:?}")));
            }
            match key.as_str() {
                "compression" => options.compression.clone_from(value),
                "compression-level" => {
                    let level =
                        value.parse().map_err(|_| bad(format!("invalid compression-level {value}")))?;
                    options.compression_level = Some(level);
                }
                "force-compression" => options.force_compression = flag(exporter, key),
                "oci-mediatypes" => options.oci_media_types = Some(flag(exporter, key)),
                "oci-artifact" => options.oci_artifact = Some(flag(exporter, key)),
                "compatibility-version" => {
                    let wrong = |_| bad(format!("invalid compatibility-version {value}"));
                    options.compatibility_version = value.parse().map_err(wrong)?;
                    // Layouts have had OCI's types at all times.
                    let is_layout =
                        exporter.r#type == "oci" && !exporter.attrs.contains_key("oci-mediatypes");
                    options.oci_media_types = options.oci_media_types.or(is_layout.then_some(true));
                }
                "dangling-name-prefix" => options.dangling_prefix.clone_from(value),
                "name-canonical" => options.canonical_names = flag(exporter, key),
                key => options.annotations.extend(annotation(key, value)),
            }
        }
    }
    options.annotations.sort();
    let is_archive = |exporter: &Exporter| matches!(exporter.r#type.as_str(), "oci" | "docker");
    if options.compression.is_empty() && exporters.iter().any(is_archive) {
        // In the store they stay as they are.
        options.compression = "gzip".to_owned();
    }
    let mut epochs = exporters.iter().map(|exporter| exporter.attrs.get("source-date-epoch"));
    options.source_date_epoch = epochs.next().flatten().cloned();
    if epochs.any(|epoch| epoch != options.source_date_epoch.as_ref()) {
        return Err(bad("the exporters ask for different values of source-date-epoch".to_owned()));
    }
    Ok(options)
}

/// What a frontend says of the image in the same words, before what the exporters say.
pub fn annotated<'a>(metadata: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>) -> Vec<String> {
    let said = |(key, value): (&String, &Vec<u8>)| annotation(key, &String::from_utf8_lossy(value));
    let mut said: Vec<_> = metadata.into_iter().filter_map(said).collect();
    said.sort();
    said
}

/// `annotation.key`, `annotation-index.key`, `annotation-manifest[linux/amd64].key`.
fn annotation(key: &str, value: &str) -> Option<String> {
    let (level, name) = key.strip_prefix("annotation")?.split_once('.')?;
    let level = match level.strip_prefix('-') {
        Some(level) => level.to_owned(),
        None => format!("manifest{level}"),
    };
    Some(format!("{level}:{name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontends_may_say_the_time() {
        let said = |all: &[(&str, &str)]| {
            let bytes = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
            epoch(&all.iter().map(bytes).collect())
        };
        assert_eq!(said(&[("source.date.epoch", "7")]).unwrap(), Some(7));
        let several = [("source.date.epoch/linux/amd64", "7"), ("source.date.epoch/linux/arm64", "9")];
        assert_eq!(said(&several).unwrap(), Some(9));
        assert_eq!(said(&[("source.date.epoch", ""), ("source.date.epochs", "x")]).unwrap(), None);
        assert!(said(&[("source.date.epoch", "x")]).unwrap_err().message().ends_with("from frontend: \"x\""));
    }

    #[test]
    fn exporters_agree_on_the_image() {
        let exporter = |attrs: &[(&str, &str)]| Exporter {
            r#type: "oci".to_owned(),
            attrs: attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let both = |key, one, other| export(&[exporter(&[(key, one)]), exporter(&[(key, other)])]);
        for (key, one, other) in [
            ("compression", "gzip", "zstd"),
            ("compression-level", "1", "9"),
            ("oci-mediatypes", "true", "false"),
            ("dangling-name-prefix", "a", "b"),
            ("annotation.x", "a", "b"),
        ] {
            let error = both(key, one, other).unwrap_err();
            assert!(error.message().ends_with(&format!("different values of {key}")), "{error}");
            assert!(both(key, one, one).is_ok());
        }
        assert_eq!(both("oci-mediatypes", "1", "true").unwrap().oci_media_types, Some(true));
    }

    #[test]
    fn exporters_may_say_the_configuration() {
        let exporter = |attrs: &[(&str, &str)]| Exporter {
            r#type: "oci".to_owned(),
            attrs: attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let exporters =
            vec![exporter(&[]), exporter(&[(CONFIG, "all"), ("containerimage.config/linux/arm64", "arm")])];
        let order = SolveRequest { exporters, ..SolveRequest::default() };
        let said = |platform: &str| config(&order, &platform.parse().unwrap());
        assert_eq!(
            (said("linux/amd64"), said("linux/arm64")),
            (Some(b"all".to_vec()), Some(b"arm".to_vec()))
        );
        assert_eq!(config(&SolveRequest::default(), &Platform::host()), None);
    }

    #[test]
    fn flags_are_booleans() {
        let exporter = |key: &str, value: &str| Exporter {
            r#type: "image".to_owned(),
            attrs: HashMap::from([(key.to_owned(), value.to_owned())]),
        };
        let error = |key, value| export(&[exporter(key, value)]).err().map(|e| e.message().to_owned());
        for (key, _) in FLAGS {
            let message = format!("non-bool value specified for {key}: \"bogus\"");
            assert_eq!(error(key, "bogus"), Some(message));
            assert_eq!((error(key, "T"), error(key, "0")), (None, None));
        }
        assert!(error("oci-mediatypes", "").is_some() && error("push", "").is_none());
        assert!(flag(&exporter("push", ""), "push") && !flag(&exporter("push", "F"), "push"));
        assert!(keeps(&exporter("store", "")) && keeps(&exporter("name", "a")));
        assert!(!keeps(&exporter("store", "False")));
    }

    #[test]
    fn layers_of_archives_are_compressed() {
        let compression = |kinds: &[&str], wish: Option<&str>| {
            let attrs = wish.map(|wish| ("compression".to_owned(), wish.to_owned())).into_iter().collect();
            let exporter =
                |kind: &&str| Exporter { r#type: (*kind).to_owned(), attrs: HashMap::clone(&attrs) };
            export(&kinds.iter().map(exporter).collect::<Vec<_>>()).unwrap().compression
        };
        assert_eq!(compression(&["image"], None), "");
        assert_eq!(compression(&["local", "oci"], None), "gzip");
        assert_eq!(compression(&["docker"], None), "gzip");
        assert_eq!(compression(&["oci"], Some("uncompressed")), "uncompressed");
    }

    #[test]
    fn annotations_name_their_level() {
        assert_eq!(annotation("annotation.a.b", "c").unwrap(), "manifest:a.b=c");
        assert_eq!(annotation("annotation-index.a", "c").unwrap(), "index:a=c");
        assert_eq!(
            annotation("annotation-manifest[linux/amd64].a", "c").unwrap(),
            "manifest[linux/amd64]:a=c"
        );
        assert_eq!(annotation("name", "c"), None);
    }
}
