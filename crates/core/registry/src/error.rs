//! What goes wrong with a registry, with Docker's texts where clients match on them.

use oci::Digest;
use oci::image::DocumentError;

/// What an error means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    /// The registry knows who we are and says no, or does not say whether there is something.
    Denied,
    /// The credentials are wrong or missing.
    Unauthorized,
    RateLimited,
    /// Not reached, or reached and unwell: trying again later may help.
    Unavailable,
    /// The registry does not keep to the protocol, or its content is not what was asked for.
    Protocol,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("manifest for {reference} not found: {reason}")]
    ManifestUnknown { reference: String, reason: String },
    #[error("repository {name} not found: {reason}")]
    RepositoryUnknown { name: String, reason: String },
    #[error("blob {digest} not found: {reason}")]
    BlobUnknown { digest: Digest, reason: String },
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login': {reason}"
    )]
    Denied { name: String, reason: String },
    #[error("push access denied for {name}: {reason}")]
    PushDenied { name: String, reason: String },
    #[error("Get {url:?}: {reason}")]
    Unauthorized { url: String, reason: String },
    #[error("{reason}")]
    RateLimited { reason: String },
    #[error("Get {url:?}: received unexpected HTTP status: {status}{reason}")]
    Status { url: String, status: String, reason: String },
    #[error("Get {url:?}")]
    Transport {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The library found no root certificates, for example.
    #[error("set up TLS")]
    Tls(#[source] reqwest::Error),
    #[error("Get {url:?}: {problem}")]
    Protocol { url: String, problem: Problem },
    #[error("invalid manifest of {reference}")]
    Manifest {
        reference: String,
        #[source]
        source: DocumentError,
    },
    #[error("content of {expected} does not match its digest: it is {found}")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("content of {digest} has {found} bytes instead of {expected}")]
    WrongSize { digest: Digest, expected: u64, found: u64 },
    #[error("connection for {digest} broke {tries} times without progress after {received} bytes")]
    Broken {
        digest: Digest,
        received: u64,
        tries: u32,
        #[source]
        source: Box<Error>,
    },
}

/// How an answer breaks the rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("connection closed after {0} bytes")]
    ClosedEarly(u64),
    #[error("answer is longer than {0} bytes")]
    TooLong(u64),
    #[error("answer is not valid JSON for this request")]
    BadDocument,
    #[error("authentication scheme is not supported")]
    BadChallenge,
    #[error("token server {0:?} is not trusted: it is not reached by https")]
    InsecureRealm(String),
    #[error("redirect without a valid location")]
    BadRedirect,
    #[error("redirect from https to {0:?} refused")]
    Downgrade(String),
    #[error("redirect to {0:?} refused: it is an address of this machine or its network link")]
    InternalTarget(String),
    #[error("stopped after {0} redirects")]
    TooManyRedirects(usize),
    #[error("content type {0:?} does not fit the document")]
    WrongType(String),
    #[error("range answer does not start where it was asked to")]
    WrongRange,
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::ManifestUnknown { .. } | Error::RepositoryUnknown { .. } | Error::BlobUnknown { .. } => {
                Kind::NotFound
            }
            Error::Denied { .. } | Error::PushDenied { .. } => Kind::Denied,
            Error::Unauthorized { .. } => Kind::Unauthorized,
            Error::RateLimited { .. } => Kind::RateLimited,
            Error::Transport { .. } | Error::Tls(_) | Error::Broken { .. } => Kind::Unavailable,
            Error::Status { status, .. } if status.starts_with('5') => Kind::Unavailable,
            Error::Protocol { problem: Problem::ClosedEarly(_), .. } => Kind::Unavailable,
            Error::Status { .. }
            | Error::Protocol { .. }
            | Error::Manifest { .. }
            | Error::WrongDigest { .. }
            | Error::WrongSize { .. } => Kind::Protocol,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Tls(_) => Some("install the ca-certificates package"),
            Error::PushDenied { .. } => Some("log in with `dhow login`, to an account that may write there"),
            Error::RateLimited { .. } => Some("log in to raise the limit, or try again later"),
            _ => None,
        }
    }
}
