//! What goes wrong with a registry, with Docker's texts where clients match on them.

use oci::Digest;
use oci::image::DocumentError;
use reqwest::Method;

use crate::settings::InvalidSettings;

/// Where settings of registries lie that are Dhow's own.
const CERTS: &str = "/etc/dhow/certs.d";
/// Go's words for a certificate that nobody known has signed.
pub(crate) const UNKNOWN_AUTHORITY: &str = "x509: certificate signed by unknown authority";

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
    /// A file with settings can't be used, or says that the registry must not be.
    Settings,
}

/// What was asked for where, in Go's words: `Put "https://registry.example/v2/app/manifests/1"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestLine {
    method: Method,
    target: String,
}

impl RequestLine {
    pub(crate) fn get(target: impl Into<String>) -> RequestLine {
        RequestLine { method: Method::GET, target: target.into() }
    }

    /// The same by another method.
    pub(crate) fn by(self, method: &Method) -> RequestLine {
        RequestLine { method: method.clone(), ..self }
    }
}

impl std::fmt::Display for RequestLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, rest) = self.method.as_str().split_at(1);
        write!(f, "{first}{} {:?}", rest.to_lowercase(), self.target)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("manifest for {reference} not found: {reason}")]
    ManifestUnknown {
        reference: String,
        reason: String,
        /// Tags that may have been meant.
        near: Vec<String>,
    },
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
    #[error("{request}: {reason}")]
    Unauthorized { request: RequestLine, reason: String },
    #[error("{reason}")]
    RateLimited {
        reason: String,
        /// What the registry says of its limit.
        limit: Option<String>,
        /// When it wants us to come back.
        wait: Option<std::time::Duration>,
    },
    #[error("{request}: received unexpected HTTP status: {status}{reason}")]
    Status { request: RequestLine, status: String, reason: String },
    #[error("{request}")]
    Transport {
        request: RequestLine,
        #[source]
        source: Cause,
    },
    /// There are no root certificates, for example.
    #[error("set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// With Go's words, which people search for.
    #[error("{request}: tls: failed to verify certificate: {problem}")]
    Certificate { request: RequestLine, host: String, problem: String },
    #[error("{request}: http: server gave HTTP response to HTTPS client")]
    PlainHttp { request: RequestLine, host: String },
    #[error("settings of registries")]
    Settings(#[from] InvalidSettings),
    #[error("{name} is blocked in {}", file.display())]
    Blocked { name: String, file: std::path::PathBuf },
    #[error("no host may be asked for {name}: hosts.toml gives none the capability")]
    NoHost { name: String },
    #[error("{source}; mirrors were asked before: {}", tried.join("; "))]
    Mirrors {
        /// Each with its reason, in order.
        tried: Vec<String>,
        source: Box<Error>,
    },
    #[error("{host} can't be searched: {reason}")]
    NoSearch { host: String, reason: String },
    #[error("{request}: {problem}")]
    Protocol { request: RequestLine, problem: Problem },
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

/// Why there was no answer, or no whole one: what the system or the peer did, in Go's words, which people search for.
#[derive(Debug)]
pub struct Cause {
    error: reqwest::Error,
    /// The host that was being connected to.
    dialled: Option<String>,
}

impl Cause {
    pub(crate) fn new(error: reqwest::Error) -> Cause {
        let dialled = error.url().filter(|_| error.is_connect()).map(crate::redirect::authority);
        Cause { error: error.without_url(), dialled }
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.error.is_timeout()
    }
}

impl std::error::Error for Cause {}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The innermost says what has happened, those around it where.
        let mut innermost: &dyn std::error::Error = &self.error;
        while let Some(inside) = innermost.source() {
            innermost = inside;
        }
        match &self.dialled {
            // It says itself for which name.
            Some(_) if innermost.is::<crate::names::Unresolved>() => f.write_str("dial tcp: ")?,
            Some(host) => write!(f, "dial tcp {host}: ")?,
            None => {}
        }
        match innermost.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            _ if self.is_timeout() => f.write_str("i/o timeout"),
            Some(std::io::ErrorKind::ConnectionRefused) => f.write_str("connect: connection refused"),
            Some(std::io::ErrorKind::ConnectionReset) => f.write_str("connection reset by peer"),
            Some(std::io::ErrorKind::BrokenPipe) => f.write_str("broken pipe"),
            Some(std::io::ErrorKind::NetworkUnreachable) => f.write_str("connect: network is unreachable"),
            Some(std::io::ErrorKind::HostUnreachable) => f.write_str("connect: no route to host"),
            Some(std::io::ErrorKind::UnexpectedEof) => f.write_str("unexpected EOF"),
            _ => write!(f, "{innermost}"),
        }
    }
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
    #[error("only {0} bytes came in {1} seconds")]
    TooSlow(u64, u64),
    #[error("server does not give parts of what it has")]
    NoRanges,
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
            Error::Transport { .. }
            | Error::Tls(_)
            | Error::Certificate { .. }
            | Error::PlainHttp { .. }
            | Error::Broken { .. } => Kind::Unavailable,
            Error::Settings(_) | Error::Blocked { .. } | Error::NoHost { .. } => Kind::Settings,
            Error::Mirrors { source, .. } => source.kind(),
            Error::NoSearch { .. } => Kind::NotFound,
            Error::Status { status, .. } if status.starts_with('5') => Kind::Unavailable,
            Error::Protocol { problem: Problem::ClosedEarly(_) | Problem::TooSlow(..), .. } => {
                Kind::Unavailable
            }
            Error::Status { .. }
            | Error::Protocol { .. }
            | Error::Manifest { .. }
            | Error::WrongDigest { .. }
            | Error::WrongSize { .. } => Kind::Protocol,
        }
    }

    /// Whether a host took too long to say anything.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Error::Transport { source, .. } if source.is_timeout())
    }

    /// Without what is said of mirrors.
    pub fn bare(&self) -> &Error {
        match self {
            Error::Mirrors { source, .. } => source.bare(),
            error => error,
        }
    }

    /// The same with tags that may have been meant.
    pub(crate) fn with_near(self, found: Vec<String>) -> Error {
        match self {
            Error::ManifestUnknown { reference, reason, .. } => {
                Error::ManifestUnknown { reference, reason, near: found }
            }
            Error::Mirrors { tried, source } => {
                Error::Mirrors { tried, source: Box::new(source.with_near(found)) }
            }
            error => error,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Tls(_) => "install the ca-certificates package".to_owned(),
            Error::PushDenied { .. } => {
                "log in with `dhow login`, to an account that may write there".to_owned()
            }
            Error::Manifest { source: DocumentError::Schema(1), .. } => {
                "schema 1 is what Docker wrote before 1.10, and nobody reads it any more: whoever owns the image has to push \
                 it again"
                    .to_owned()
            }
            Error::RateLimited { limit: None, .. } => {
                "log in to raise the limit, or try again later".to_owned()
            }
            Error::RateLimited { limit: Some(limit), .. } => {
                format!("{limit}; log in to raise the limit, or try again later")
            }
            Error::ManifestUnknown { near, reference, .. } if !near.is_empty() => {
                let tag = reference.rsplit(':').next().unwrap_or_default();
                format!("no tag {tag}; near: {}", near.join(", "))
            }
            Error::Certificate { host, problem, .. } if problem == UNKNOWN_AUTHORITY => {
                format!("put the certificate of the registry's authority into {CERTS}/{host}/ca.crt")
            }
            Error::PlainHttp { host, .. } => format!(
                "the registry speaks no TLS: if that is meant so, write server = \"http://{host}\" into {CERTS}/{host}/hosts.toml"
            ),
            Error::Mirrors { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}
