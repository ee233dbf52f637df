//! From the engine's errors to gRPC's statuses, with the place in the Dockerfile as BuildKit's clients show it.

use bollard_buildkit_proto::google;
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::PolicyAction;
use bollard_buildkit_proto::pb::{Definition, SourceInfo};
use engine::{Error, Kind};
use prost::Message as _;
use serde_json::json;
use tonic::{Code, Status};

/// The type of a detail that tells a place.
const SOURCE: &str = "github.com/moby/buildkit/errdefs.Source+json";

/// The type of a detail that tells which step failed.
const STEP: &str = "github.com/moby/buildkit/errdefs.Vertex+json";

/// Lines of the place that are told.
const LINES_MAX: usize = 1000;

/// The type of a detail that tells which question is not answered.
const SUBREQUEST: &str = "github.com/moby/buildkit/errdefs.Subrequest+json";

/// The type of a detail that tells why a source was denied.
const DECISION: &str = "github.com/moby/buildkit/policysession.DecisionResponse+json";

/// The Dockerfile that a build reads: clients show its lines.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    pub name: String,
    pub text: String,
    /// Where it is from, if that is a directory of the client.
    pub definition: Option<Definition>,
}

impl Recipe {
    /// The same for clients.
    pub fn info(&self) -> SourceInfo {
        SourceInfo {
            filename: self.name.clone(),
            data: self.text.clone().into_bytes(),
            definition: self.definition.clone(),
            language: "Dockerfile".to_owned(),
        }
    }
}

/// A text as a part of a document.
pub fn information(info: &SourceInfo) -> serde_json::Value {
    let mut document = json!({
        "filename": info.filename,
        "data": base64(&info.data),
        "language": info.language,
    });
    if let Some(definition) = &info.definition {
        let operations: Vec<_> = definition.def.iter().map(|bytes| base64(bytes)).collect();
        document["definition"] = json!({ "def": operations });
    }
    document
}

pub fn code(kind: Kind) -> Code {
    match kind {
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::AlreadyExists,
        Kind::InvalidParameter | Kind::NotModified => Code::InvalidArgument,
        Kind::Unauthorized => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Unavailable => Code::Unavailable,
        Kind::NotImplemented => Code::Unimplemented,
        Kind::Cancelled => Code::Cancelled,
        Kind::System => Code::Unknown,
    }
}

/// A place, as a document.
pub fn source(source: &serde_json::Value) -> google::protobuf::Any {
    google::protobuf::Any { type_url: SOURCE.to_owned(), value: source.to_string().into_bytes() }
}

/// The step that failed, by what it is called in what is told of the build.
pub fn step(digest: &str) -> google::protobuf::Any {
    let value = json!({ "digest": digest }).to_string().into_bytes();
    google::protobuf::Any { type_url: STEP.to_owned(), value }
}

/// What a client is told that sends source policies with a single question.
pub fn no_policies() -> Status {
    Status::unimplemented("source policies of single requests are not supported: send them with the build")
}

/// A question that nobody answers here: clients ask another then.
pub fn no_answer(request: &str) -> Status {
    let value = json!({ "name": request }).to_string().into_bytes();
    let detail = google::protobuf::Any { type_url: SUBREQUEST.to_owned(), value };
    detailed(Code::Unimplemented, format!("unsupported request {request}"), vec![detail])
}

/// An error that has no place.
pub fn status(error: Error) -> Status {
    Status::new(code(error.kind), with_hint(error.report(), error.hint.as_deref()))
}

fn with_hint(message: String, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{message}\nhint: {hint}"),
        None => message,
    }
}

/// An error of a build: its place becomes a detail, of which the client shows the lines itself.
pub fn of_build(error: Error, recipe: &Recipe, mut details: Vec<google::protobuf::Any>) -> Status {
    let code = code(error.kind);
    let place = error.build.as_ref().and_then(|failure| failure.place.as_ref());
    let Some(place) = place.filter(|_| !recipe.text.is_empty()) else {
        return detailed(code, with_hint(error.report(), error.hint.as_deref()), details);
    };
    details.push(source(&json!({
        "info": information(&recipe.info()),
        "ranges": place.span.ranges(LINES_MAX),
    })));
    detailed(code, with_hint(error.message, error.hint.as_deref()), details)
}

fn detailed(code: Code, message: String, details: Vec<google::protobuf::Any>) -> Status {
    if details.is_empty() {
        return Status::new(code, message);
    }
    let full = google::rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, full.encode_to_vec().into())
}

/// The error of a build whose client's policy has denied a source: its reasons become a detail that clients show.
pub fn denied(status: Status, reasons: &[String]) -> Status {
    if reasons.is_empty() {
        return status;
    }
    let messages: Vec<_> = reasons.iter().map(|reason| json!({ "message": reason })).collect();
    let decision = json!({ "action": PolicyAction::Deny as i32, "denyMessages": messages });
    let mut full = google::rpc::Status::decode(status.details()).unwrap_or_default();
    full.code = status.code() as i32;
    full.message = status.message().to_owned();
    let value = decision.to_string().into_bytes();
    full.details.push(google::protobuf::Any { type_url: DECISION.to_owned(), value });
    Status::with_details(status.code(), status.message(), full.encode_to_vec().into())
}

/// A status as a message, with its details.
pub fn document(status: &Status) -> google::rpc::Status {
    let (code, message) = (status.code() as i32, status.message().to_owned());
    match google::rpc::Status::decode(status.details()) {
        Ok(full) if !status.details().is_empty() => full,
        _ => google::rpc::Status { code, message, details: Vec::new() },
    }
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dockerfile::LineIndex;
    use engine::Failure;
    use engine::builds::Place;

    use super::*;

    #[test]
    fn a_place_becomes_a_detail() {
        let text = "FROM a\nRUN false \\\n  && true\n";
        let definition = Some(Definition { def: vec![b"op".to_vec()], ..Definition::default() });
        let recipe = Recipe { name: "Dockerfile".to_owned(), text: text.to_owned(), definition };
        let span = LineIndex::new(text).span(7, 27);
        let place = Place { file: recipe.name.clone(), span, excerpt: "lines".to_owned() };
        let failure = Failure { place: Some(place), ..Failure::default() };
        let error = Error { build: Some(Arc::new(failure)), ..Error::system("process failed") };
        let status = of_build(error, &recipe, Vec::new());
        assert_eq!(status.message(), "process failed");
        let full = google::rpc::Status::decode(status.details()).unwrap();
        assert_eq!(full.message, "process failed");
        let source: serde_json::Value = serde_json::from_slice(&full.details[0].value).unwrap();
        let line = |line: u32| json!({ "start": { "line": line }, "end": { "line": line } });
        assert_eq!(source["ranges"], json!([line(2), line(3)]));
        assert_eq!(source["info"]["filename"], "Dockerfile");
        assert_eq!(source["info"]["definition"]["def"][0], base64(b"op"));
    }

    #[test]
    fn a_question_without_an_answer_is_named() {
        let status = no_answer("frontend.x");
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unimplemented, "unsupported request frontend.x")
        );
        let full = google::rpc::Status::decode(status.details()).unwrap();
        assert_eq!(
            (full.details[0].type_url.as_str(), &full.details[0].value[..]),
            (SUBREQUEST, &br#"{"name":"frontend.x"}"#[..])
        );
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let status = of_build(Error::not_found("no such image: x"), &Recipe::default(), Vec::new());
        assert_eq!((status.code(), status.message()), (Code::NotFound, "no such image: x"));
    }
}
