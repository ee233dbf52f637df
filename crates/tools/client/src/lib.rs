//! A typed client of the Docker Engine API over any byte stream: a unix socket, TCP, a command's standard
//! streams over ssh, or one half of a socket pair in the same process.
//!
//! One module a noun with one function an operation, the same names as in the engine. A [`Client`] makes one
//! connection a request, but to a server in the same process, where one that has served goes on to the next. This crate must not print, read the environment, or know what a server does.

pub mod connect;
pub mod containers;
pub mod error;
pub mod exec;
pub mod hijack;
pub mod images;
pub mod networks;
pub mod stream;
pub mod system;
pub mod volumes;

pub mod builds;

mod query;
mod request;

pub use connect::{Connector, Stream};
pub use error::{Error, Result};
pub use hijack::Hijacked;
pub use stream::{ByteStream, JsonLines, Payload};

use std::sync::{Arc, Mutex, PoisonError};

use api::version::{ApiVersion, CURRENT};
use tokio::sync::OnceCell;

/// A client of one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    version: Arc<OnceCell<ApiVersion>>,
    /// A connection that waits for its next request.
    idle: Arc<Mutex<Option<request::Sender>>>,
}

impl Client {
    /// A client that agrees on a version with the server at its first request.
    pub fn new(connector: Connector) -> Self {
        let version = connector.is_in_process().then_some(CURRENT);
        Self { connector, version: Arc::new(OnceCell::new_with(version)), idle: Arc::default() }
    }

    /// A client that speaks this version without asking.
    pub fn with_version(connector: Connector, version: ApiVersion) -> Self {
        Self { version: Arc::new(OnceCell::new_with(Some(version))), ..Self::new(connector) }
    }

    /// The version in use: the newest that both ends speak.
    pub async fn version(&self) -> Result<ApiVersion> {
        self.version.get_or_try_init(|| Box::pin(negotiate(self))).await.copied()
    }

    /// Takes the connection that waits, if there is one.
    fn take_idle(&self) -> Option<request::Sender> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps a connection whose answer was read to its end.
    fn keep(&self, sender: request::Sender) {
        if self.connector.is_in_process() {
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }
    }
}

/// A server that names no version in its answer speaks the first one that had this negotiation, 1.24.
async fn negotiate(client: &Client) -> Result<ApiVersion> {
    let ping = system::ping(client).await?;
    Ok(ping.api_version.parse().unwrap_or(api::version::MINIMUM).min(CURRENT))
}
