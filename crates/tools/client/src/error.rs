//! How a request can fail.

use http::StatusCode;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server answers there. The text is Docker's.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Connect {
        host: String,
        #[source]
        source: std::io::Error,
    },
    /// The server answered with an error.
    #[error("{message}")]
    Api { status: StatusCode, message: String, hint: Option<String> },
    /// A progress stream ended with an error; `code` is a build step's exit code or zero.
    #[error("{message}")]
    Progress { code: i64, message: String },
    /// Nothing was sent. The text is Docker's.
    #[error("invalid {0} name or ID: value is empty")]
    NoName(&'static str),
    #[error("send request to the server")]
    Http(#[source] hyper::Error),
    #[error("make request {path:?}")]
    Request {
        path: String,
        #[source]
        source: http::Error,
    },
    #[error("read answer of the server")]
    Read(#[source] std::io::Error),
    #[error("read document {0:.200}")]
    Document(String, #[source] serde_json::Error),
    #[error("write document")]
    Encode(#[source] serde_json::Error),
    #[error("server does not hand over the connection: status {0}")]
    NoUpgrade(StatusCode),
    #[error("answer has no valid header {0}")]
    Header(&'static str),
    #[error("answer of the server is too long")]
    TooLong,
    #[error("unable to parse docker host {0:?}")]
    Host(String),
    #[error("{0}: TLS connections are not supported")]
    Tls(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The status, when the server answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// True when the server says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// True when the server says that a state or a name is in the way.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(StatusCode::CONFLICT)
    }

    /// True for errors that the server reported, which Docker prints behind "Error response from daemon: ".
    pub fn is_from_server(&self) -> bool {
        matches!(self, Self::Api { .. })
    }

    /// What the user could do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Api { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }
}
