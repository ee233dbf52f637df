//! The file behind a web server's address.

use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::checksum_request::ChecksumAlgo;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    ChecksumRequest, ChecksumResponse, ResolveSourceHttpResponse, ResolveSourceMetaRequest,
};
use bollard_buildkit_proto::pb::SourceOp;
use engine::builds::{CHECKSUM, FileFacts, Reader, file_facts};
use ring::digest::{Context, SHA256, SHA384, SHA512};
use tonic::Status;

use super::Sources;
use crate::fault;
use crate::llb::asking;

/// The longest end that a client may have added to what is hashed.
const SUFFIX_MAX: usize = 4 << 10;

impl Sources {
    pub(super) async fn file_meta(
        &self,
        wanted: &ResolveSourceMetaRequest,
        source: &SourceOp,
    ) -> Result<ResolveSourceHttpResponse, Status> {
        let url = source.identifier.as_str();
        let request = wanted.http.as_ref().and_then(|http| http.checksum_request.as_ref());
        let hash = request.map(Hash::new).transpose()?;
        let attribute = |key: &str| source.attrs.get(key).filter(|value| !value.is_empty()).cloned();
        let (expected, name) = (attribute(CHECKSUM), attribute("http.filename"));
        if let (Some(checksum), None) = (&expected, &hash) {
            let filename = name.unwrap_or_else(|| last(url).to_owned());
            let checksum = checksum.clone();
            return Ok(ResolveSourceHttpResponse {
                checksum,
                filename,
                ..ResolveSourceHttpResponse::default()
            });
        }
        let reader = hash.as_ref().map(Hash::reader);
        let facts =
            file_facts(self.host.engine(), url.to_owned(), asking(source)?, self.secrets().await?, reader)
                .await;
        let FileFacts { digest, name: called, modified } = facts.map_err(fault::status)?;
        let checksum = digest.to_string();
        if let Some(expected) = expected.filter(|expected| *expected != checksum) {
            let message = format!("digest mismatch for {url}: {checksum} (expected: {expected})");
            return Err(Status::failed_precondition(message));
        }
        let last_modified = modified.filter(|seconds| *seconds > 0);
        Ok(ResolveSourceHttpResponse {
            checksum,
            filename: name.unwrap_or(called),
            last_modified: last_modified.map(|seconds| Timestamp { seconds, nanos: 0 }),
            checksum_response: hash.map(Hash::answer),
        })
    }
}

/// The name in an address.
fn last(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split_once("://").and_then(|(_, rest)| rest.rsplit_once('/')).map_or("", |(_, name)| name)
}

/// A hash that a client wants of a file, with something added at its end.
struct Hash {
    name: &'static str,
    context: Arc<Mutex<Context>>,
    suffix: Vec<u8>,
}

impl Hash {
    fn new(wanted: &ChecksumRequest) -> Result<Hash, Status> {
        let (name, algorithm) = match ChecksumAlgo::try_from(wanted.algo) {
            Ok(ChecksumAlgo::Sha256) => ("sha256", &SHA256),
            Ok(ChecksumAlgo::Sha384) => ("sha384", &SHA384),
            Ok(ChecksumAlgo::Sha512) => ("sha512", &SHA512),
            Err(unknown) => {
                return Err(Status::invalid_argument(format!(
                    "unsupported checksum algorithm {}",
                    unknown.0
                )));
            }
        };
        if wanted.suffix.len() > SUFFIX_MAX {
            let message = format!("http checksum request suffix exceeds max size {SUFFIX_MAX}");
            return Err(Status::invalid_argument(message));
        }
        let context = Arc::new(Mutex::new(Context::new(algorithm)));
        Ok(Hash { name, context, suffix: wanted.suffix.clone() })
    }

    fn reader(&self) -> Reader {
        let context = self.context.clone();
        Box::new(move |bytes| context.lock().unwrap_or_else(PoisonError::into_inner).update(bytes))
    }

    fn answer(self) -> ChecksumResponse {
        let mut context = self.context.lock().unwrap_or_else(PoisonError::into_inner).clone();
        context.update(&self.suffix);
        let sum: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        ChecksumResponse { digest: format!("{}:{sum}", self.name), suffix: self.suffix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_end_as_the_client_wants() {
        let wanted = |algo, suffix: &[u8]| ChecksumRequest { algo, suffix: suffix.to_vec() };
        let hash = Hash::new(&wanted(ChecksumAlgo::Sha256.into(), b"c")).unwrap();
        let mut reader = hash.reader();
        reader(b"a");
        reader(b"b");
        let answer = hash.answer();
        assert_eq!(answer.digest, oci::Digest::sha256(b"abc").to_string());
        assert_eq!(answer.suffix, b"c");
        assert!(Hash::new(&wanted(9, b"")).is_err());
        assert!(Hash::new(&wanted(0, &[0; SUFFIX_MAX + 1])).is_err());
        let long = Hash::new(&wanted(ChecksumAlgo::Sha512.into(), b"")).unwrap().answer();
        assert_eq!(long.digest.len(), "sha512:".len() + 128);
    }

    #[test]
    fn names() {
        assert_eq!(last("https://h/a/b.tar?x=/y"), "b.tar");
        assert_eq!(last("https://h"), "");
    }
}
