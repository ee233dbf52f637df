//! Platforms as requests name them, and as images in registries do.

use bytes::Bytes;
use oci::image::{CONFIG_MAX, Descriptor, Document, INDEX_DEPTH_MAX, ImageConfig, Index, Manifest};
use oci::{Digest, Platform, Reference, media_types};
use registry::Repository;

use crate::error::{Error, Result};

/// The platforms that parameters of a request name: Docker's clients send each as a JSON document, people write
/// `os/architecture/variant`, several with commas between.
pub(crate) fn named(texts: &[String]) -> Result<Vec<Platform>> {
    let mut platforms = Vec::new();
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        match text.starts_with('{') {
            true => {
                let platform: Platform = serde_json::from_str(text)
                    .map_err(|e| Error::invalid(format!("invalid platform {text}: {e}")))?;
                platforms.push(platform.normalized());
            }
            false => {
                for part in text.split(',') {
                    let platform = part.trim().parse();
                    platforms.push(platform.map_err(|e: oci::PlatformError| Error::invalid(e.to_string()))?);
                }
            }
        }
    }
    Ok(platforms)
}

/// The only platform of a parameter that may be absent.
pub(crate) fn one(text: &str) -> Result<Option<Platform>> {
    let mut platforms = named(&[text.to_owned()])?;
    match platforms.len() {
        0 | 1 => Ok(platforms.pop()),
        _ => Err(Error::invalid(format!("one platform is enough: {text}"))),
    }
}

/// Whether one of them is this; without any, all are.
pub(crate) fn admits(wanted: &[Platform], platform: &Platform) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted.matches(platform))
}

/// All of them, for a message.
pub(crate) fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Members of indexes that are looked into for one platform.
const LOOKED_INTO: usize = 32;

/// Documents that lead from an index to an image, and their digests; the image's manifest is the last.
pub(super) type Way = Vec<(Digest, Bytes)>;

/// The way in a registry from an index to the image that is best for a platform. Only where no member says that it is for that
/// platform, those without any are looked into; what is chosen may be an index itself. A way that is too long ends with an index.
pub(super) async fn way(
    repository: &Repository,
    index: &Index,
    wanted: &Platform,
) -> Result<Option<Way>, registry::Error> {
    let mut open = steps(index, wanted, &Way::new());
    for _ in 0..LOOKED_INTO {
        let Some((mut way, member)) = open.pop() else { break };
        let (_, bytes) = repository.member(&member).await?;
        let document = Document::parse(&bytes);
        way.push((member.digest.clone(), bytes));
        match document {
            Ok(Document::Index(inner)) if way.len() < INDEX_DEPTH_MAX as usize => {
                open.extend(steps(&inner, wanted, &way));
            }
            Ok(Document::Manifest(manifest)) if member.platform.is_none() => {
                if told(repository, &manifest).await?.is_some_and(|own| wanted.matches(&own)) {
                    return Ok(Some(way));
                }
            }
            Err(_) if member.platform.is_none() => {}
            // What can't be read is told by whoever reads it.
            _ => return Ok(Some(way)),
        }
    }
    Ok(None)
}

/// What is said of an image whose way is too long.
pub(super) fn too_deep(reference: &Reference) -> String {
    let name = reference.familiar();
    format!("the manifest of {name} is an index in an index, more than {INDEX_DEPTH_MAX} of them deep")
}

/// Where to go on from an index, the best last.
fn steps(index: &Index, wanted: &Platform, way: &Way) -> Vec<(Way, Descriptor)> {
    let members: Vec<&Descriptor> = match index.best(wanted) {
        Some(best) => vec![best],
        None => index.without_platform().take(LOOKED_INTO).collect(),
    };
    members.into_iter().rev().map(|member| (way.clone(), member.clone())).collect()
}

/// The platform that an image's configuration names; none for what is no image.
pub(super) async fn told(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Option<Platform>, registry::Error> {
    if !media_types::is_config(&manifest.config.media_type) || manifest.config.size > CONFIG_MAX {
        return Ok(None);
    }
    let bytes = repository.blob(&manifest.config).whole().await?;
    Ok(serde_json::from_slice::<ImageConfig>(&bytes).ok().map(|config| config.platform()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_texts() {
        let texts = ["", "linux/amd64,arm64", r#"{"os":"linux","architecture":"arm","variant":"v6"}"#];
        let texts = texts.map(str::to_owned);
        let platforms = named(&texts).unwrap();
        assert_eq!(list(&platforms), "linux/amd64, linux/arm64, linux/arm/v6");
        assert!(admits(&platforms, &Platform::new("linux", "arm64", Some("v8"))));
        assert!(!admits(&platforms, &Platform::new("linux", "s390x", None)));
        assert!(admits(&[], &Platform::host()));
        for bad in ["{", "linux/*", "{\"os\":1}"] {
            assert!(named(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
