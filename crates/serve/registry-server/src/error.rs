//! What a client is told when something is not done (distribution-spec, "Error Codes").

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::storage;

/// The codes of the specification and, after them, those of Docker's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// code-1
    BlobUnknown,
    /// code-2
    BlobUploadInvalid,
    /// code-3
    BlobUploadUnknown,
    /// code-4
    DigestInvalid,
    /// code-5
    ManifestBlobUnknown,
    /// code-6
    ManifestInvalid,
    /// code-7
    ManifestUnknown,
    /// code-8
    NameInvalid,
    /// code-9
    NameUnknown,
    /// code-10
    SizeInvalid,
    /// code-11
    Unauthorized,
    /// code-12
    Denied,
    /// code-13
    Unsupported,
    /// code-14
    TooManyRequests,
    PaginationNumberInvalid,
    RangeInvalid,
    TagInvalid,
    Unavailable,
    Unknown,
}

impl Code {
    /// Its name, the status that goes with it, and what is said where nothing better is known.
    fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Code::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND, "blob unknown to registry"),
            Code::BlobUploadInvalid => {
                ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST, "blob upload invalid")
            }
            Code::BlobUploadUnknown => {
                ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND, "blob upload unknown to registry")
            }
            Code::DigestInvalid => {
                ("DIGEST_INVALID", StatusCode::BAD_REQUEST, "provided digest did not match uploaded content")
            }
            Code::ManifestBlobUnknown => (
                "MANIFEST_BLOB_UNKNOWN",
                StatusCode::BAD_REQUEST,
                "manifest references a manifest or blob unknown to registry",
            ),
            Code::ManifestInvalid => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST, "manifest invalid"),
            Code::ManifestUnknown => {
                ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND, "manifest unknown to registry")
            }
            Code::NameInvalid => ("NAME_INVALID", StatusCode::BAD_REQUEST, "invalid repository name"),
            Code::NameUnknown => {
                ("NAME_UNKNOWN", StatusCode::NOT_FOUND, "repository name not known to registry")
            }
            Code::SizeInvalid => {
                ("SIZE_INVALID", StatusCode::BAD_REQUEST, "provided length did not match content length")
            }
            Code::Unauthorized => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED, "authentication required"),
            Code::Denied => ("DENIED", StatusCode::FORBIDDEN, "requested access to the resource is denied"),
            Code::Unsupported => {
                ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED, "the operation is unsupported")
            }
            Code::TooManyRequests => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS, "too many requests"),
            Code::PaginationNumberInvalid => {
                ("PAGINATION_NUMBER_INVALID", StatusCode::BAD_REQUEST, "invalid number of results requested")
            }
            Code::RangeInvalid => {
                ("RANGE_INVALID", StatusCode::RANGE_NOT_SATISFIABLE, "invalid content range")
            }
            Code::TagInvalid => ("TAG_INVALID", StatusCode::BAD_REQUEST, "manifest tag is invalid"),
            Code::Unavailable => ("UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE, "service unavailable"),
            Code::Unknown => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        }
    }
}

/// Why a request is not served.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    detail: Option<Box<Value>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// The failure with its usual status and words.
    pub(crate) fn new(code: Code) -> Failure {
        let (_, status, message) = code.facts();
        Failure { code, status, message: message.to_owned(), detail: None, headers: Vec::new() }
    }

    /// The failure in better words.
    pub(crate) fn says(code: Code, message: impl Into<String>) -> Failure {
        Failure { message: message.into(), ..Failure::new(code) }
    }

    /// With what it is about.
    pub(crate) fn about(mut self, detail: Value) -> Failure {
        self.detail = Some(Box::new(detail));
        self
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Failure {
        self.status = status;
        self
    }

    /// With one more header; a text that is not fit for one is left out.
    pub(crate) fn header(mut self, name: HeaderName, text: &str) -> Failure {
        if let Ok(value) = HeaderValue::from_str(text) {
            self.headers.push((name, value));
        }
        self
    }

    /// Whether there was no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.status == StatusCode::INSUFFICIENT_STORAGE
    }

    /// Something that is the server's own fault: why is for its log.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Failure {
        tracing::error!(error = %chain(error), "request failed");
        Failure::new(Code::Unknown)
    }

    pub(crate) fn answer(self) -> Answer {
        let (name, ..) = self.code.facts();
        let mut item = json!({ "code": name, "message": self.message });
        if let Some(detail) = self.detail {
            item["detail"] = *detail;
        }
        let document = json!({ "errors": [item] }).to_string();
        let mut answer = Response::new(answer::full(Bytes::from(document)));
        *answer.status_mut() = self.status;
        answer
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        for (name, value) in self.headers {
            answer.headers_mut().append(name, value);
        }
        answer
    }
}

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Failure {
        match error.is_full() {
            true => {
                tracing::error!(error = %chain(&error), "the storage is full");
                Failure::says(Code::Unavailable, "the registry's storage is full")
                    .status(StatusCode::INSUFFICIENT_STORAGE)
            }
            false => Failure::internal(&error),
        }
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
