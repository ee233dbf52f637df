//! LLB definitions of one source, which clients use to name contexts: what a target before gave, a repository, a URL. A result of
//! ours goes out as such a definition too, so that it comes back as a context.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb::{Definition, Input, Op, OpMetadata, SourceOp, op};
use oci::Digest;
use prost::Message as _;
use tonic::Status;

const IMAGE: &str = "docker-image://";
const LOCAL: &str = "local://";
const GIT: &str = "git://";

/// The source of a definition as the value of a context: `docker-image://…`, `local:…`, an address.
pub fn source(definition: &Definition) -> Result<String, Status> {
    let mut ops = definition.def.iter().map(|bytes| {
        Op::decode(bytes.as_slice()).map_err(|e| Status::invalid_argument(format!("definition: {e}")))
    });
    // The last one only points at the result.
    let (first, last, more) = (ops.next().transpose()?, ops.next().transpose()?, ops.next());
    match (first.and_then(|first| first.op), last.map(|last| last.op), more) {
        (Some(op::Op::Source(source)), Some(None), None) => address(&source),
        _ => Err(graph()),
    }
}

fn graph() -> Status {
    Status::unimplemented(
        "a build context that is a graph is not supported: solve it first, and give the result",
    )
}

fn address(source: &SourceOp) -> Result<String, Status> {
    let id = source.identifier.as_str();
    if id.starts_with(IMAGE) {
        return Ok(id.to_owned());
    }
    if let Some(name) = id.strip_prefix(LOCAL) {
        return Ok(format!("local:{name}"));
    }
    if id.starts_with("http://") || id.starts_with("https://") {
        return Ok(id.to_owned());
    }
    let Some(rest) = id.strip_prefix(GIT) else {
        return Err(Status::unimplemented(format!("source {id} is not supported as a build context")));
    };
    let demanding =
        |key: &&String| key.starts_with("git.sig.") || *key == "git.checksum" || *key == "git.bundle";
    if let Some(key) = source.attrs.keys().find(demanding) {
        return Err(Status::unimplemented(format!("attribute {key} of a repository is not supported")));
    }
    let remote = source.attrs.get("git.fullurl").cloned().unwrap_or_else(|| format!("https://{rest}"));
    let remote = remote.split('#').next().unwrap_or_default();
    Ok(match rest.split_once('#') {
        Some((_, part)) => format!("{remote}#{part}"),
        None => remote.to_owned(),
    })
}

/// An image of this machine as a definition.
pub fn of_image(manifest: &Digest) -> Definition {
    let identifier = format!("{IMAGE}{manifest}");
    let source = SourceOp { identifier, attrs: BTreeMap::new() };
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
        assert_eq!(source(&of_image(&digest)).unwrap(), format!("docker-image://{digest}"));
    }

    #[test]
    fn graphs_are_refused_by_name() {
        assert_eq!(source(&Definition::default()).unwrap_err().code(), tonic::Code::Unimplemented);
        let mut two = of_image(&Digest::sha256(b"x"));
        two.def.push(two.def[0].clone());
        assert!(source(&two).unwrap_err().message().contains("solve it first"));
        two.def = vec![b"\xff\xff".to_vec(), Vec::new()];
        assert_eq!(source(&two).unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn repositories_keep_their_address() {
        let op = |identifier: &str, attrs: &[(&str, &str)]| SourceOp {
            identifier: identifier.to_owned(),
            attrs: attrs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let full = [("git.fullurl", "https://host/a.git")];
        assert_eq!(address(&op("git://host/a.git#main:sub", &full)).unwrap(), "https://host/a.git#main:sub");
        assert_eq!(address(&op("git://host/a.git", &[])).unwrap(), "https://host/a.git");
        assert!(address(&op("git://host/a.git", &[("git.checksum", "1")])).is_err());
        assert!(address(&op("oci-layout://x", &[])).is_err());
    }
}
