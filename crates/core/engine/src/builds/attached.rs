//! Documents that belong to the record of a build: what is attested of its result, the result's own manifests, why it failed, when
//! what was done. Each is a file of the record's directory that is called as its digest, and goes with the record.

use std::collections::BTreeMap;
use std::path::Path;

use api::build::BuildAttachment;
use oci::image::{Descriptor, Document, MANIFEST_MAX};
use oci::{Digest, media_types};

use super::history::{self, Which};
use crate::Engine;
use crate::error::{Context as _, Error, Result};

/// The descriptors of all but those that others name.
const LIST: &str = "attachments.json";

/// Keeps a document in the directory of a record.
pub(super) fn keep(directory: &Path, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
    let digest = Digest::sha256(bytes);
    let path = directory.join(digest.hex());
    std::fs::write(&path, bytes).during(format_args!("write {}", path.display()))?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

/// Keeps what was handed out, with what it names if it is an index: it may be gone from here when somebody asks.
pub(super) fn keep_manifest(engine: &Engine, directory: &Path, result: &Descriptor) -> Result<()> {
    let read = |found: &Descriptor| match std::fs::read(directory.join(found.digest.hex())) {
        // It did not stay, and is here already.
        Ok(bytes) if found.digest.matches(&bytes) => Ok(bytes),
        _ => engine.store().read_blob(&found.digest, MANIFEST_MAX),
    };
    let bytes = read(result)?;
    keep(directory, &result.media_type, &bytes)?;
    if let Ok(Document::Index(index)) = Document::parse(&bytes) {
        for member in &index.manifests {
            keep(directory, &member.media_type, &read(member)?)?;
        }
    }
    Ok(())
}

/// Names documents that are kept there.
pub(super) fn add(directory: &Path, more: Vec<Descriptor>) -> Result<()> {
    if more.is_empty() {
        return Ok(());
    }
    let mut all = list(directory)?;
    all.retain(|known| !more.iter().any(|new| new.digest == known.digest && new.platform == known.platform));
    all.extend(more);
    replace(&directory.join(LIST), &serde_json::to_vec(&all).during("write a list of documents")?)
}

/// Writes a file that others may be reading.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let failed = || format!("write {}", partial.display());
    std::fs::write(&partial, text).during(failed())?;
    std::fs::rename(&partial, path).during(failed())
}

fn list(directory: &Path) -> Result<Vec<Descriptor>> {
    let path = directory.join(LIST);
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.during(format_args!("read {}", path.display()))?,
    };
    serde_json::from_slice(&text).during(format_args!("read {}", path.display()))
}

/// The documents that belong to the record of the build with this id.
pub async fn documents(engine: &Engine, id: String) -> Result<Vec<Descriptor>> {
    engine.blocking(move |engine| list(&history::directory(engine).join(&id))).await
}

/// The annotation that tells what a statement is about.
const PREDICATE: &str = "in-toto.io/predicate-type";
/// The annotation of a manifest that is no image, but holds attestations of one.
const REFERENCE: &str = "vnd.docker.reference.type";

/// What was attested of the result of the build with this id, and the manifests that it gave, by platform. Where there is one platform
/// alone nothing says so.
pub async fn attachments(engine: &Engine, id: String) -> Result<Vec<BuildAttachment>> {
    engine
        .blocking(move |engine| {
            let directory = history::directory(engine).join(&id);
            let all = list(&directory)?;
            let of = |document: &Descriptor| document.platform.as_ref().map(ToString::to_string);
            let statements = || all.iter().filter(|document| document.media_type == history::STATEMENT);
            let has_several = statements().any(|document| of(document) != statements().next().and_then(of));
            let statement = |document: &Descriptor| BuildAttachment {
                digest: document.digest.to_string(),
                platform: of(document).filter(|_| has_several).unwrap_or_default(),
                kind: document.annotations.get(PREDICATE).unwrap_or(&document.media_type).clone(),
            };
            let mut found: Vec<BuildAttachment> = statements().map(statement).collect();
            for document in all.iter().filter(|document| is_image(&document.media_type)) {
                manifests(&directory, document, &mut found);
            }
            found.sort_by(|a, b| (&a.platform, &a.kind).cmp(&(&b.platform, &b.kind)));
            Ok(found)
        })
        .await
}

/// Whether documents of this type stand for images.
fn is_image(media_type: &str) -> bool {
    media_types::is_manifest(media_type) || media_types::is_index(media_type)
}

/// A manifest, and those that it names if it is an index.
fn manifests(directory: &Path, document: &Descriptor, found: &mut Vec<BuildAttachment>) {
    let Ok(bytes) = std::fs::read(directory.join(document.digest.hex())) else { return };
    if !document.annotations.contains_key(REFERENCE) {
        found.push(BuildAttachment {
            digest: document.digest.to_string(),
            platform: document.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
            kind: document.media_type.clone(),
        });
    }
    if let Ok(Document::Index(index)) = Document::parse(&bytes) {
        // What is kept of an index names no further one.
        let members = index.manifests.iter().filter(|member| is_image(&member.media_type));
        members.for_each(|member| manifests(directory, member, found));
    }
}

/// A document that belongs to the record of the build with this id.
pub async fn attachment(engine: &Engine, id: String, digest: Digest) -> Result<Vec<u8>> {
    engine
        .blocking(move |engine| {
            let bytes = std::fs::read(history::directory(engine).join(&id).join(digest.hex())).ok();
            let missing = || Error::not_found(format!("build {id} has no attachment {digest}"));
            bytes.filter(|bytes| digest.matches(bytes)).ok_or_else(missing)
        })
        .await
}

/// Adds a document to the record of the build with this id.
pub async fn attach(engine: &Engine, id: String, media_type: &'static str, bytes: Vec<u8>) -> Result<()> {
    let record = history::inspect(engine, Which::Id(id)).await?;
    engine
        .blocking(move |engine| {
            let directory = history::directory(engine).join(&record.id);
            add(&directory, vec![keep(&directory, media_type, &bytes)?])
        })
        .await
}

/// The documents of all records, each once.
pub async fn all_documents(engine: &Engine) -> Result<Vec<Descriptor>> {
    let ids = history::list(engine).await?.into_iter().map(|record| record.id);
    let mut all = BTreeMap::new();
    for id in ids {
        all.extend(documents(engine, id).await?.into_iter().map(|found| (found.digest.clone(), found)));
    }
    Ok(all.into_values().collect())
}

/// A document that belongs to some record.
pub async fn read(engine: &Engine, digest: Digest) -> Result<Vec<u8>> {
    engine
        .blocking(move |engine| {
            let missing = || Error::not_found(format!("content {digest}: not found"));
            let records = std::fs::read_dir(history::directory(engine)).map_err(|_| missing())?;
            let mut places = records.flatten().map(|record| record.path().join(digest.hex()));
            let found = places.find_map(|path| std::fs::read(path).ok());
            found.filter(|bytes| digest.matches(bytes)).ok_or_else(missing)
        })
        .await
}
