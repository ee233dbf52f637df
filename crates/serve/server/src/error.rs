//! The one place where failures become answers.

use engine::{Error, Kind};
use http::{Response, StatusCode};

use crate::answer::{self, Answer};

/// A request that failed: a status and a message for `{"message": …}`.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: StatusCode,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The answer for paths that nothing serves, and for methods that a path does not have.
    pub fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    /// The answer. A 304 has no body.
    pub fn answer(self) -> Answer {
        if self.status == StatusCode::NOT_MODIFIED {
            return answer::empty(self.status);
        }
        let body = api::ErrorResponse { message: self.message, hint: self.hint };
        answer::json(self.status, &body).unwrap_or_else(|_| {
            let mut response = Response::new(answer::no_body());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

/// A closed set on both sides: Docker's error kinds and their statuses.
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::InvalidParameter => StatusCode::BAD_REQUEST,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::System | Kind::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { status: status(error.kind), message: error.report(), hint: error.hint }
    }
}
