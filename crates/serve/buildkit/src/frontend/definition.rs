//! LLB definitions of one source, which clients use to name contexts: what a target before gave, a repository, a URL. A result of
//! ours goes out as such a definition too, so that it comes back as a context.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb::{Definition, Input, Op, OpMetadata, SourceOp, op};
use oci::Digest;
use prost::Message as _;
use serde_json::json;
use tonic::Status;

const IMAGE: &str = "docker-image://";
const LOCAL: &str = "local://";
const GIT: &str = "git://";

/// Attributes of an image that its name goes without.
const IMAGE_QUIET: [&str; 2] = ["image.resolvemode", "image.recordtype"];
/// Attributes of a client's directory that make it less than the whole.
const PARTS: [&str; 4] =
    ["local.includepattern", "local.excludepatterns", "local.followpaths", "local.session"];
/// Attributes of repositories that their address goes without.
const GIT_QUIET: [&str; 7] = [
    "git.fullurl",
    "git.authheadersecret",
    "git.authtokensecret",
    "git.knownsshhosts",
    "git.mountsshsock",
    "git.fetchbycommit",
    "git.mtime",
];

/// The source of a definition as the value of a context: `docker-image://…`, `local:…`, an address. None if it says more than that
/// can.
pub fn source(definition: &Definition) -> Result<Option<String>, Status> {
    let mut ops = definition.def.iter().map(|bytes| {
        Op::decode(bytes.as_slice()).map_err(|e| Status::invalid_argument(format!("definition: {e}")))
    });
    // The last one only points at the result.
    let (first, last, more) = (ops.next().transpose()?, ops.next().transpose()?, ops.next());
    Ok(match (first.and_then(|first| first.op), last.map(|last| last.op), more) {
        (Some(op::Op::Source(source)), Some(None), None) => address(&source),
        _ => None,
    })
}

fn address(source: &SourceOp) -> Option<String> {
    let id = source.identifier.as_str();
    if id.starts_with(IMAGE) {
        let is_plain = source.attrs.keys().all(|key| IMAGE_QUIET.contains(&key.as_str()));
        return is_plain.then(|| id.to_owned());
    }
    if let Some(name) = id.strip_prefix(LOCAL) {
        let is_plain = !source.attrs.keys().any(|key| PARTS.contains(&key.as_str()));
        return is_plain.then(|| format!("local:{name}"));
    }
    if id.starts_with("http://") || id.starts_with("https://") {
        return source.attrs.is_empty().then(|| id.to_owned());
    }
    let rest = id.strip_prefix(GIT)?;
    if !source.attrs.keys().all(|key| GIT_QUIET.contains(&key.as_str())) {
        return None;
    }
    let remote = source.attrs.get("git.fullurl").cloned().unwrap_or_else(|| format!("https://{rest}"));
    let remote = remote.split('#').next().unwrap_or_default();
    Some(match rest.split_once('#') {
        Some((_, part)) => format!("{remote}#{part}"),
        None => remote.to_owned(),
    })
}

/// An image of this machine as a definition.
pub fn of_image(manifest: &Digest) -> Definition {
    of_source(SourceOp { identifier: format!("{IMAGE}{manifest}"), attrs: BTreeMap::new() })
}

/// A few files of a client's directory as a definition.
pub fn of_directory(name: &str, session: &str, files: &[&str]) -> Definition {
    let attrs = [
        ("local.session", session.to_owned()),
        ("local.sharedkeyhint", name.to_owned()),
        ("local.followpaths", json!(files).to_string()),
    ];
    let attrs = attrs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    of_source(SourceOp { identifier: format!("{LOCAL}{name}"), attrs })
}

fn of_source(source: SourceOp) -> Definition {
    let op = Op { op: Some(op::Op::Source(source)), ..Op::default() }.encode_to_vec();
    let digest = Digest::sha256(&op).to_string();
    let input = Input { digest: digest.clone(), index: 0 };
    let last = Op { inputs: vec![input], ..Op::default() }.encode_to_vec();
    let metadata = BTreeMap::from([
        (digest, OpMetadata::default()),
        (Digest::sha256(&last).to_string(), OpMetadata::default()),
    ]);
    Definition { def: vec![op, last], metadata, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_as_a_context() {
        let digest = Digest::sha256(b"x");
        assert_eq!(source(&of_image(&digest)).unwrap(), Some(format!("docker-image://{digest}")));
    }

    #[test]
    fn graphs_have_no_address() {
        assert_eq!(source(&Definition::default()).unwrap(), None);
        let mut two = of_image(&Digest::sha256(b"x"));
        two.def.push(two.def[0].clone());
        assert_eq!(source(&two).unwrap(), None);
        two.def = vec![b"\xff\xff".to_vec(), Vec::new()];
        assert_eq!(source(&two).unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn sources_of_which_more_is_said_have_none() {
        let op = |identifier: &str, attrs: &[(&str, &str)]| SourceOp {
            identifier: identifier.to_owned(),
            attrs: attrs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let of = |identifier: &str, attrs: &[(&str, &str)]| address(&op(identifier, attrs));
        let full = [("git.fullurl", "https://host/a.git")];
        assert_eq!(of("git://host/a.git#main:sub", &full).unwrap(), "https://host/a.git#main:sub");
        assert_eq!(of("git://host/a.git", &[]).unwrap(), "https://host/a.git");
        assert_eq!(of("git://host/a.git", &[("git.checksum", "1")]), None);
        assert_eq!(of("oci-layout://x", &[]), None);
        assert_eq!(of("local://x", &[("local.unique", "1")]).unwrap(), "local:x");
        assert_eq!(of("local://x", &[("local.followpaths", "[]")]), None);
        assert_eq!(of("https://h/a.tar", &[("http.checksum", "sha256:0")]), None);
    }
}
