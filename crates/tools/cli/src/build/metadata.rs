//! `--metadata-file` and `--iidfile`, with buildx's keys.

use api::build::{BuildDetails, BuiltImage};
use serde_json::{Map, Value, json};

use super::deliver::Pushed;

/// What a build tells programs.
pub fn document(
    id: &str,
    names: &[String],
    details: Option<&BuildDetails>,
    pushed: Option<&Pushed>,
) -> Value {
    let mut all = Map::new();
    let Some(details) = details else {
        all.insert("containerimage.config.digest".into(), id.into());
        if !names.is_empty() {
            all.insert("image.name".into(), names.join(",").into());
        }
        return all.into();
    };
    if !details.id.is_empty() {
        all.insert(
            "buildx.build.ref".into(),
            format!("{0}/{0}/{1}", crate::buildx::builders::NAME, details.id).into(),
        );
    }
    match details.images.as_slice() {
        [only] => provenance(&mut all, "buildx.build.provenance".into(), only),
        several => {
            for image in several {
                provenance(&mut all, format!("buildx.build.provenance/{}", image.platform), image);
            }
        }
    }
    if let [only] = details.images.as_slice() {
        all.insert("containerimage.config.digest".into(), only.id.clone().into());
    }
    if let Some(target) = &details.target {
        let mut descriptor = json!(target);
        if let Some(pushed) = pushed.filter(|pushed| !pushed.digest.is_empty()) {
            descriptor["digest"] = pushed.digest.clone().into();
            descriptor["size"] = pushed.size.into();
            descriptor["mediaType"] = pushed.media_type.clone().into();
        }
        all.insert("containerimage.digest".into(), descriptor["digest"].clone());
        all.insert("containerimage.descriptor".into(), descriptor);
    }
    if !names.is_empty() {
        all.insert("image.name".into(), names.join(",").into());
    }
    all.into()
}

fn provenance(all: &mut Map<String, Value>, key: String, image: &BuiltImage) {
    if let Some(predicate) = &image.provenance {
        all.insert(key, predicate.clone());
    }
}

/// The id of one image, the digest of the index of several.
pub fn id(id: &str, details: Option<&BuildDetails>) -> String {
    match details {
        Some(details) if details.images.len() > 1 => {
            details.target.as_ref().map_or_else(|| id.to_owned(), |target| target.digest.to_string())
        }
        _ => id.to_owned(),
    }
}
