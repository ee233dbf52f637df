//! Manifests that are about another one: end-12.

use http::{HeaderName, Method, header};
use oci::Digest;
use oci::image::{Descriptor, Document, Index};
use oci::media_types::OCI_INDEX;

use crate::answer::{self, Result, with};
use crate::call::Call;
use crate::error::Failure;
use crate::name::Name;
use crate::storage::{Folder, Key};

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Entries of a page, and bytes after which it ends.
const PAGE_MAX: usize = 1000;
const PAGE_BYTES: usize = 2 << 20;

/// What a manifest is about.
pub(crate) fn subject(document: &Document) -> Option<&Descriptor> {
    match document {
        Document::Manifest(manifest) => manifest.subject.as_deref(),
        Document::Index(index) => index.subject.as_deref(),
    }
}

/// How the list shows a manifest: with its annotations and its type, which is its configuration's where it has none.
pub(crate) fn descriptor(document: &Document, media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    let mut descriptor = Descriptor::new(media_type, digest.clone(), size);
    let (kind, annotations) = match document {
        Document::Manifest(manifest) => {
            let config = Some(manifest.config.media_type.clone()).filter(|kind| !kind.is_empty());
            (manifest.artifact_type.clone().filter(|kind| !kind.is_empty()).or(config), &manifest.annotations)
        }
        Document::Index(index) => (index.artifact_type.clone(), &index.annotations),
    };
    descriptor.artifact_type = kind.filter(|kind| !kind.is_empty());
    descriptor.annotations.clone_from(annotations);
    descriptor
}

/// The list, which is empty and not absent when nobody knows the subject.
pub(crate) async fn serve(call: Call, name: Name, subject: Digest) -> Result {
    if ![Method::GET, Method::HEAD].contains(call.method()) {
        return Err(call.unsupported("GET, HEAD"));
    }
    let wanted = call.query.get("artifactType").filter(|kind| !kind.is_empty());
    if let Some(cache) = &call.registry.cache
        && let Some(mut found) = call.registry.upstream_referrers(cache, &name, &subject).await?
    {
        found.retain(|one| wanted.is_none_or(|kind| one.artifact_type.as_deref() == Some(kind)));
        return listed(found, wanted.is_some());
    }
    let after = call.query.get("last").unwrap_or_default();
    let count = call.query.count(PAGE_MAX)?;
    let folder = Folder::Referrers(&name, &subject);
    // One more tells whether there is another page.
    let digests = call.registry.storage.names(folder, after, count + 1).await?;
    let (mut found, mut bytes, mut last) = (Vec::new(), 0, None);
    for digest in digests.iter().take(count).filter_map(|digest| digest.parse().ok()) {
        if bytes > PAGE_BYTES {
            break;
        }
        last = Some(digest);
        let Some(digest) = &last else { break };
        let Some(document) = call.registry.storage.read(&Key::referrer(&name, &subject, digest)).await?
        else {
            continue;
        };
        let Ok(descriptor) = serde_json::from_slice::<Descriptor>(&document) else { continue };
        if wanted.is_none_or(|kind| descriptor.artifact_type.as_deref() == Some(kind)) {
            bytes += document.len();
            found.push(descriptor);
        }
    }
    let next = last.filter(|last| digests.last().is_some_and(|end| end != last.as_str()));
    let mut answer = listed(found, wanted.is_some())?;
    if let Some(next) = next {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(wanted.map(|kind| ("artifactType", kind)));
        query.append_pair("n", &count.to_string()).append_pair("last", next.as_str());
        let link = format!("</v2/{name}/referrers/{subject}?{}>; rel=\"next\"", query.finish());
        answer = with(answer, header::LINK, &link);
    }
    Ok(answer)
}

fn listed(found: Vec<Descriptor>, filtered: bool) -> Result {
    let document = serde_json::to_vec(&Index::new(found)).map_err(|error| Failure::internal(&error))?;
    let answer = answer::document_of(OCI_INDEX, document.into());
    Ok(if filtered { with(answer, FILTERS, "artifactType") } else { answer })
}
