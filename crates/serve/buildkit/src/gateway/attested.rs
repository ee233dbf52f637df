//! What a client attests of a result that it has put together: files of other results become statements.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    Attestation, AttestationKind, Attestations, InTotoSubject, InTotoSubjectKind,
};
use engine::builds::graph::{Statement, Subject};
use engine::images::View;
use tonic::Status;

use crate::Host;
use crate::build::Build;
use crate::fault;

/// Statements of one result.
const COUNT_MAX: usize = 256;
/// Bytes of all of them.
const BYTES_MAX: u64 = 64 << 20;
/// How a build was done is the builder's to say.
const PROVENANCE: &str = "https://slsa.dev/provenance/";
/// That a list of packages is the one of the result itself, and what that is called.
const CORE: &str = "sbom-core";
/// That a statement is for images alone.
const INLINE_ONLY: &str = "inline-only";

/// What may still be said.
pub struct Budget {
    count: usize,
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { count: COUNT_MAX, bytes: BYTES_MAX }
    }
}

fn bad(message: impl Into<String>) -> Status {
    Status::invalid_argument(format!("attestation: {}", message.into()))
}

/// The statements, the list of the result's own packages first.
pub async fn statements(
    host: &Host,
    build: &Build,
    given: Attestations,
    budget: &mut Budget,
) -> Result<Vec<Statement>, Status> {
    let (mut core, mut others) = (Vec::new(), Vec::new());
    for attestation in given.attestation {
        let files = read(host, build, &attestation, budget).await?;
        for (file, bytes) in files {
            let statement = statement(&attestation, &file, &bytes)?;
            let is_core = attestation.metadata.get(CORE).is_some_and(|name| {
                statement.file.split('.').next().map(str::as_bytes) == Some(name.as_slice())
            });
            if is_core { &mut core } else { &mut others }.push(statement);
        }
    }
    core.append(&mut others);
    Ok(core)
}

/// The file that an attestation is, or those of its bundle.
async fn read(
    host: &Host,
    build: &Build,
    attestation: &Attestation,
    budget: &mut Budget,
) -> Result<Vec<(PathBuf, Vec<u8>)>, Status> {
    let id = attestation.r#ref.as_ref().map_or("", |part| part.id.as_str());
    if id.is_empty() {
        return Err(bad("it has no content"));
    }
    let made = build.result(id)?;
    let manifest = made.image(id).and_then(|image| image.manifest.as_ref());
    let manifest = manifest.ok_or_else(|| Status::not_found(format!("no such ref: {id}")))?;
    let view = View::open(host.engine(), manifest.digest.to_string()).await.map_err(fault::status)?;
    let path = Path::new("/").join(&attestation.path);
    let is_bundle = attestation.kind == AttestationKind::Bundle as i32;
    if !is_bundle && attestation.path.is_empty() {
        return Err(bad("it has no path"));
    }
    let Budget { mut count, mut bytes } = *budget;
    let work = move || {
        let paths = match is_bundle {
            true => view.list(&path).map_err(fault::status)?.into_iter().map(|i| path.join(i.path)).collect(),
            false => vec![path],
        };
        count =
            count.checked_sub(paths.len()).ok_or_else(|| bad(format!("there are more than {COUNT_MAX}")))?;
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let content = view.read(&path, 0, None, bytes).map_err(fault::status)?;
            bytes -= content.len() as u64;
            files.push((path, content));
        }
        Ok::<_, Status>((files, Budget { count, bytes }))
    };
    let read = tokio::task::spawn_blocking(work).await;
    let (files, left) = read.map_err(|e| Status::internal(format!("read an attestation: {e}")))??;
    *budget = left;
    Ok(files)
}

/// What one file says.
fn statement(attestation: &Attestation, path: &Path, bytes: &[u8]) -> Result<Statement, Status> {
    let wrong = |why: String| bad(format!("{}: {why}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| wrong("it has no name that is text".to_owned()))?;
    let wanted = attestation.in_toto_predicate_type.as_str();
    let mut statement = match AttestationKind::try_from(attestation.kind) {
        Ok(AttestationKind::Bundle) => Statement::read(name, bytes).map_err(wrong)?,
        Ok(AttestationKind::InToto) => {
            let predicate = match bytes.is_empty() {
                true => serde_json::Value::Null,
                false => serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?,
            };
            let subjects = attestation.in_toto_subjects.iter().map(subject).collect::<Result<_, _>>()?;
            Statement { file: name.to_owned(), kind: wanted.to_owned(), predicate, subjects }
        }
        Err(_) => return Err(bad(format!("unknown kind {}", attestation.kind))),
    };
    if statement.kind.starts_with(PROVENANCE) {
        return Err(wrong("only the builder says how something was built".to_owned()));
    }
    if !wanted.is_empty() && statement.kind != wanted {
        return Err(wrong(format!("its predicate type {} is not {wanted}", statement.kind)));
    }
    if attestation.metadata.get(INLINE_ONLY).is_some_and(|value| value == b"true") {
        statement.file.clear();
    }
    Ok(statement)
}

fn subject(subject: &InTotoSubject) -> Result<Subject, Status> {
    match InTotoSubjectKind::try_from(subject.kind) {
        Ok(InTotoSubjectKind::Self_) => Ok(Subject::Result(subject.name.clone())),
        Ok(InTotoSubjectKind::Raw) => {
            let pair = |digest: &String| {
                let pair = digest.split_once(':').ok_or_else(|| bad(format!("{digest:?} is no digest")));
                pair.map(|(algorithm, hex)| (algorithm.to_owned(), hex.to_owned()))
            };
            let digests = subject.digest.iter().map(pair).collect::<Result<BTreeMap<_, _>, _>>()?;
            Ok(Subject::Other { name: subject.name.clone(), digests })
        }
        Err(_) => Err(bad(format!("unknown kind {} of a subject", subject.kind))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Attestation {
        Attestation { kind: AttestationKind::Bundle as i32, ..Attestation::default() }
    }

    #[test]
    fn what_is_no_statement_is_refused() {
        let why = |attestation: &Attestation, path: &str, bytes: &str| {
            statement(attestation, Path::new(path), bytes.as_bytes()).unwrap_err().message().to_owned()
        };
        let kind = |text: &str| format!("{{\"predicateType\": {text:?}}}");
        assert!(
            why(&bundle(), "/b/s.json", &kind("https://slsa.dev/provenance/v1")).contains("only the builder")
        );
        assert!(why(&bundle(), "/b/s.json", "[]").starts_with("attestation: /b/s.json: "));
        assert!(why(&bundle(), "/b/..", &kind("k")).contains("no name"));
        let mut other = Attestation { in_toto_predicate_type: "other".to_owned(), ..bundle() };
        assert!(why(&other, "/b/s.json", &kind("k")).contains("k is not other"));
        other.kind = 9;
        assert!(why(&other, "/b/s.json", &kind("k")).contains("unknown kind 9"));
        let raw = InTotoSubject {
            kind: InTotoSubjectKind::Raw as i32,
            digest: vec!["x".to_owned()],
            ..Default::default()
        };
        let of = Attestation { in_toto_subjects: vec![raw], ..Attestation::default() };
        assert!(why(&of, "/a", "{}").contains("\"x\" is no digest"));
    }

    #[test]
    fn statements_for_images_alone_are_no_files() {
        let metadata = [(INLINE_ONLY.to_owned(), b"true".to_vec())].into();
        let alone =
            Attestation { metadata, in_toto_predicate_type: "k".to_owned(), ..Attestation::default() };
        let read = statement(&alone, Path::new("/a.json"), b"").unwrap();
        assert_eq!((read.file.as_str(), read.kind.as_str(), read.predicate.is_null()), ("", "k", true));
    }
}
