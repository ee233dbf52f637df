//! Fetching again what was found damaged, from where its image came.
//!
//! A pull leaves a name by digest behind, which says in which repository the image was seen. Pulling that again gives the very same
//! content, and fetches no more than what is missing.

use std::collections::{BTreeMap, BTreeSet};

use api::auth::AuthConfig;
use api::images::PullOptions;
use api::system::Finding;
use oci::{Digest, Reference};

use crate::error::Result;
use crate::{Engine, images};

/// Makes these images, named by their manifests, whole again. Only those that came from a registry can be.
pub(crate) async fn refetch(
    engine: &Engine,
    broken: BTreeSet<Digest>,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for manifest in broken {
        let asked = manifest.clone();
        let (id, sources) = engine.blocking(move |engine| sources(engine, &asked)).await?;
        let mut failed = None;
        for (source, platform) in sources {
            let name = source.familiar_name();
            let options = PullOptions { from_image: source.to_string(), platform, ..PullOptions::default() };
            let who = images::registry_of(&source.to_string())?;
            let who = credentials.get(&who).cloned().unwrap_or_default();
            let pulled = images::unheard(|progress| images::pull(engine, options, who, progress));
            let (message, repaired) = match pulled.await {
                Ok(_) => (format!("what it lacked was fetched again from {name}"), true),
                Err(error) => {
                    (format!("what it lacks could not be fetched again from {name}: {error}"), false)
                }
            };
            failed = Some(Finding { kind: "image".to_owned(), object: id.clone(), message, repaired });
            if repaired {
                break;
            }
        }
        findings.extend(failed);
    }
    Ok(findings)
}

pub(crate) type Sources = (String, Vec<(Reference, String)>);

/// The id of the image with this manifest, where it was seen, and for which platform to ask there.
pub(crate) fn sources(engine: &Engine, manifest: &Digest) -> Result<Sources> {
    let store = engine.store();
    let (record, tags) = engine
        .db()
        .read(|tx| Ok::<_, state::Error>((state::images::get(tx, manifest)?, state::tags::all(tx)?)))?;
    let mut sources = Vec::new();
    for tag in tags.into_iter().filter(|tag| tag.reference.digest.is_some()) {
        if tag.target == *manifest {
            sources.push((tag.reference, String::new()));
            continue;
        }
        let members = store.members(&tag.target)?;
        if let Some(member) = members.leaves.iter().find(|member| member.digest == *manifest) {
            let platform = member.platform.as_ref().map(ToString::to_string).unwrap_or_default();
            sources.push((tag.reference, platform));
        }
    }
    let id = record.map_or_else(|| manifest.to_string(), |record| record.id.to_string());
    Ok((id, sources))
}
