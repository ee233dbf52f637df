//! From a path to what it is about: the end-points of the specification, and the few of our own.
//!
//! A path is split first and decoded after: what a name may not have can't come in by `%2f`.

use http::Method;
use oci::Digest;
use serde_json::json;
use uuid::Uuid;

use crate::answer::Result;
use crate::error::{Code, Failure};
use crate::name::{Name, Tag};

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl Reference {
    /// The tag, if it is one.
    pub(crate) fn tag(&self) -> Option<&Tag> {
        match self {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reference::Tag(tag) => tag.fmt(f),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// end-1
    Base,
    /// end-2, end-10
    Blob(Name, Digest),
    /// end-3, end-7, end-9
    Manifest(Name, Reference),
    /// end-4, end-11
    Uploads(Name),
    /// end-5, end-6, end-13, end-14
    Upload(Name, Uuid),
    /// end-8
    Tags(Name),
    /// end-12
    Referrers(Name, Digest),
    /// Docker's list of repositories.
    Catalog,
    /// Docker's token server.
    Token,
    /// The list of repositories for people.
    Front,
    /// A repository for people.
    Repository(Name),
    /// An image for people.
    Image(Name, Reference),
}

/// What a path is about, and why it can't be about anything.
pub(crate) fn target(method: &Method, path: &str) -> Result<Target> {
    let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [""] => Ok(Target::Front),
        ["token"] => Ok(Target::Token),
        ["v2"] | ["v2", ""] => Ok(Target::Base),
        ["v2", "_catalog"] => Ok(Target::Catalog),
        ["v2", rest @ ..] => below(method, rest),
        ["repository", rest @ ..] => Ok(Target::Repository(name(rest)?)),
        ["image", rest @ .., last] => image(rest, last),
        _ => Err(no_page()),
    }
}

/// The end-points below a repository.
fn below(method: &Method, segments: &[&str]) -> Result<Target> {
    match segments {
        [rest @ .., "tags", "list"] => Ok(Target::Tags(name(rest)?)),
        [rest @ .., "manifests", last] => Ok(Target::Manifest(name(rest)?, reference(method, last)?)),
        [rest @ .., "blobs", "uploads", ""] | [rest @ .., "blobs", "uploads"] => {
            Ok(Target::Uploads(name(rest)?))
        }
        [rest @ .., "blobs", "uploads", id] => {
            let name = name(rest)?;
            let unknown = |_| Failure::new(Code::BlobUploadUnknown);
            Ok(Target::Upload(name, Uuid::try_parse(id).map_err(unknown)?))
        }
        [rest @ .., "blobs", last] => Ok(Target::Blob(name(rest)?, digest(last)?)),
        [rest @ .., "referrers", last] => Ok(Target::Referrers(name(rest)?, digest(last)?)),
        _ => Err(no_page()),
    }
}

/// `team/app:tag` or `team/app@digest`.
fn image(rest: &[&str], last: &str) -> Result<Target> {
    let (end, reference) = match last.split_once('@') {
        Some((end, text)) => (end, Reference::Digest(digest(text)?)),
        None => {
            let (end, tag) = last.split_once(':').ok_or_else(no_page)?;
            (end, Reference::Tag(tag.parse().map_err(|_| no_page())?))
        }
    };
    let segments: Vec<&str> = rest.iter().copied().chain([end]).collect();
    Ok(Target::Image(name(&segments)?, reference))
}

fn name(segments: &[&str]) -> Result<Name> {
    // Joined again, an encoded slash would be a slash.
    let text = segments.join("/");
    let whole = segments.iter().all(|segment| !segment.contains('/'));
    let parsed = text.parse().ok().filter(|_| whole);
    parsed.ok_or_else(|| Failure::new(Code::NameInvalid).about(json!({ "name": shortened(&text) })))
}

/// By what is no tag nothing can be found, and nothing can be kept.
fn reference(method: &Method, text: &str) -> Result<Reference> {
    if text.contains(':') {
        return digest(text).map(Reference::Digest);
    }
    let code = if *method == Method::PUT { Code::TagInvalid } else { Code::ManifestUnknown };
    let failure = |_| Failure::new(code).about(json!({ "tag": shortened(text) }));
    text.parse().map(Reference::Tag).map_err(failure)
}

pub(crate) fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: oci::DigestError| {
        Failure::says(Code::DigestInvalid, error.to_string()).about(json!({ "digest": shortened(text) }))
    })
}

fn no_page() -> Failure {
    Failure::says(Code::Unsupported, "there is nothing under this path").status(http::StatusCode::NOT_FOUND)
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Without its percent signs; what does not decode to UTF-8 has a character that no name has.
fn decode(text: &str) -> String {
    String::from_utf8_lossy(&oci::address::percent_decoded(text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn found(path: &str) -> Target {
        target(&Method::GET, path).unwrap_or_else(|failure| panic!("{path}: {failure:?}"))
    }

    fn refused(method: Method, path: &str) -> Code {
        target(&method, path).expect_err(path).code
    }

    #[test]
    fn every_end_point() {
        let name: Name = "a/b".parse().unwrap();
        let digest: Digest = DIGEST.parse().unwrap();
        assert_eq!(found("/v2/"), Target::Base);
        assert_eq!(found("/v2"), Target::Base);
        assert_eq!(found("/v2/_catalog"), Target::Catalog);
        assert_eq!(found("/v2/a/b/tags/list"), Target::Tags(name.clone()));
        assert_eq!(found(&format!("/v2/a/b/blobs/{DIGEST}")), Target::Blob(name.clone(), digest.clone()));
        let encoded = DIGEST.replace(':', "%3A");
        assert_eq!(found(&format!("/v2/a/b/blobs/{encoded}")), Target::Blob(name.clone(), digest.clone()));
        let tagged = Target::Manifest(name.clone(), Reference::Tag("v1".parse().unwrap()));
        assert_eq!(found("/v2/a/b/manifests/v1"), tagged);
        let by_digest = Target::Manifest(name.clone(), Reference::Digest(digest.clone()));
        assert_eq!(found(&format!("/v2/a/b/manifests/{DIGEST}")), by_digest);
        assert_eq!(found(&format!("/v2/a/b/referrers/{DIGEST}")), Target::Referrers(name.clone(), digest));
        assert_eq!(found("/v2/a/b/blobs/uploads/"), Target::Uploads(name.clone()));
        assert_eq!(found("/v2/a/b/blobs/uploads"), Target::Uploads(name.clone()));
        let id = "8d7c7f0e-1f37-4d0c-9d9d-3c4f9b9a2d11";
        assert_eq!(found(&format!("/v2/a/b/blobs/uploads/{id}")), Target::Upload(name, id.parse().unwrap()));
        let inner = Target::Uploads("blobs/uploads".parse().unwrap());
        assert_eq!(found("/v2/blobs/uploads/blobs/uploads/"), inner);
        assert_eq!(found("/repository/a/b"), Target::Repository("a/b".parse().unwrap()));
        let image = Target::Image("a/b".parse().unwrap(), Reference::Tag("v1".parse().unwrap()));
        assert_eq!(found("/image/a/b:v1"), image);
    }

    #[test]
    fn what_is_no_end_point() {
        for path in
            ["/v2/..%2f..%2fetc/tags/list", "/v2/a%2fb/tags/list", "/v2/../tags/list", "/v2//tags/list"]
        {
            assert_eq!(refused(Method::GET, path), Code::NameInvalid, "{path}");
        }
        for path in ["/v2/a/blobs/sha256:..%2f..%2fx", "/v2/a/blobs/md5:00", "/v2/a/manifests/sha256:zz"] {
            assert_eq!(refused(Method::GET, path), Code::DigestInvalid, "{path}");
        }
        assert_eq!(refused(Method::GET, "/v2/a/manifests/.INVALID"), Code::ManifestUnknown);
        assert_eq!(refused(Method::PUT, "/v2/a/manifests/.INVALID"), Code::TagInvalid);
        assert_eq!(refused(Method::PUT, "/v2/a/blobs/uploads/..%2f..%2fx"), Code::BlobUploadUnknown);
        for path in ["/v2/a/b", "/v1/_ping", "/etc/passwd", "//", "/v2/a/unknown/x", "*"] {
            assert_eq!(refused(Method::GET, path), Code::Unsupported, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_brings_it_down(path in "[/a-z0-9:%+@._-]{0,80}|\\PC{0,40}") {
            let _ = target(&Method::GET, &path);
            let _ = target(&Method::PUT, &format!("/v2/{path}"));
        }
    }
}
