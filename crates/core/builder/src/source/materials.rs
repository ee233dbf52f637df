//! What a build took from elsewhere, for those who want to know what a result is made of.

use super::GitUrl;
use super::git::SHA256;
use oci::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Repositories and files of web servers: by their addresses, in which nothing lets anybody in, what they were. The names are those of
/// SLSA's digest sets (slsa.dev/spec/v1.0/provenance#ResourceDescriptor).
#[derive(Debug, Clone, Default)]
pub(crate) struct Materials(BTreeMap<String, (&'static str, String)>);

impl Materials {
    /// Notes the commit of a repository.
    pub fn commit(&mut self, url: &GitUrl, id: &str) {
        let algorithm = if id.len() == SHA256 { "sha256" } else { "sha1" };
        self.0.insert(repository(url), (algorithm, id.to_owned()));
    }

    /// Notes a file.
    pub fn file(&mut self, url: &str, digest: &Digest) {
        self.0.insert(oci::address::without_userinfo(url), ("sha256", digest.hex().to_string()));
    }

    /// The digest of what came from this address, as it was written.
    pub fn digest(&self, address: &str) -> Option<Value> {
        let address = match super::git_url::is_git(address) {
            true => repository(&GitUrl::parse(address).ok()?),
            false => oci::address::without_userinfo(address),
        };
        self.0.get(&address).map(|(algorithm, hex)| json!({ *algorithm: hex }))
    }

    /// All, as documents of the predicate's dependencies.
    pub fn documents(&self) -> impl Iterator<Item = Value> {
        self.0.iter().map(|(uri, (algorithm, hex))| json!({ "uri": uri, "digest": { *algorithm: hex } }))
    }
}

/// A repository with the ref that was asked for: whichever directory of it is read, the commit is the same.
fn repository(url: &GitUrl) -> String {
    let reference = url.reference.as_ref().map(|reference| format!("#{}", reference.whole()));
    format!("{}{}", url.shown(), reference.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_ref_and_nothing_secret() {
        let mut all = Materials::default();
        let address = "https://me:hidden@h/a.git#main:sub";
        all.commit(&GitUrl::parse(address).unwrap(), &"1".repeat(40));
        all.file("https://me:hidden@h/f", &Digest::sha256(b""));
        assert_eq!(all.digest(address), Some(json!({ "sha1": "1".repeat(40) })));
        assert_eq!(all.digest("https://h/f"), Some(json!({ "sha256": Digest::sha256(b"").hex() })));
        assert_eq!(all.digest("https://h/other"), None);
        let uris: Vec<Value> = all.documents().map(|document| document["uri"].clone()).collect();
        assert_eq!(uris, ["https://h/a.git#main", "https://h/f"]);
    }
}
