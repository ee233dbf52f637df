//! What is attached to a manifest (distribution-spec, "Listing Referrers"): signatures, lists of packages, anything.

use bytes::Bytes;
use oci::Digest;
use oci::image::{Descriptor, Document, Index, MANIFEST_MAX};
use oci::media_types::OCI_INDEX;

use crate::error::{Error, Problem};
use crate::exchange::{self, Get};
use crate::repository::Repository;

/// The tag under which registries without the end-point have the list.
pub fn referrers_tag(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}

/// The tags under which cosign keeps what belongs to a manifest: signatures, attestations, lists of packages.
pub fn cosign_tags(subject: &Digest) -> [String; 3] {
    ["sig", "att", "sbom"].map(|kind| format!("{}.{kind}", referrers_tag(subject)))
}

/// The manifest that something under one of [`cosign_tags`] belongs to.
pub fn cosign_subject(tag: &str) -> Option<Digest> {
    let (digest, kind) = tag.rsplit_once('.')?;
    if !matches!(kind, "sig" | "att" | "sbom") {
        return None;
    }
    digest.replacen('-', ":", 1).parse().ok()
}

impl Repository {
    /// What a tag of this repository stands for; none if there is no such tag.
    pub async fn tagged(&self, tag: &str) -> Result<Option<(Descriptor, Bytes)>, Error> {
        match self.named(tag).await {
            Err(error)
                if matches!(
                    error.bare(),
                    Error::ManifestUnknown { .. } | Error::RepositoryUnknown { .. }
                ) =>
            {
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    /// What is attached to the manifest. The digests in the answer are the registry's word: only the documents that they name
    /// are proven. Registries that do not know the question keep the list under a tag.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let url = self.url(&format!("referrers/{subject}")).await?;
        let get = Get { accept: Some(OCI_INDEX), ..Get::default() };
        let response = self.session().get(&url, &get).await?;
        if response.status().is_success() {
            let shown = exchange::shown(response.url());
            let body = exchange::body(response, &shown, MANIFEST_MAX).await?;
            let bad = |_| Error::Protocol { request: shown.clone(), problem: Problem::BadDocument };
            let index: Index = serde_json::from_slice(&body).map_err(bad)?;
            return Ok(index.manifests);
        }
        let Some((_, body)) = self.tagged(&referrers_tag(subject)).await? else { return Ok(Vec::new()) };
        match Document::parse(&body) {
            Ok(Document::Index(index)) => Ok(index.manifests),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lead_back_to_what_they_belong_to() {
        let subject = Digest::sha256(b"image");
        for tag in cosign_tags(&subject) {
            assert_eq!(cosign_subject(&tag), Some(subject.clone()), "{tag}");
        }
        let list = referrers_tag(&subject);
        for tag in ["latest", "1.sig", "sha256-12.sig", &list, &format!("{list}.txt")] {
            assert_eq!(cosign_subject(tag), None, "{tag}");
        }
    }
}
