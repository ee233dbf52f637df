//! The client: what is shared between repositories.

use crate::credentials::Credentials;
use crate::error::Error;
use crate::exchange::Session;
use crate::repository::Repository;
use crate::transport::Transport;
use oci::Reference;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub user_agent: String,
    /// Registries that may be spoken to without verified encryption: `host`, `host:port` or subnets.
    pub insecure: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        let user_agent = format!("dhow/{}", env!("CARGO_PKG_VERSION"));
        Config { user_agent, insecure: vec![] }
    }
}

/// Connections to registries. Cheap to clone; making one touches nothing.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    pub fn new(config: Config) -> Client {
        Client { transport: Arc::new(Transport::new(config)) }
    }

    /// The repository that `reference` names, seen by the owner of the credentials.
    pub fn repository(&self, reference: &Reference, credentials: Option<Credentials>) -> Repository {
        self.repository_for(reference, credentials, "pull")
    }

    /// The same, to be written to.
    pub fn writable(&self, reference: &Reference, credentials: Option<Credentials>) -> Repository {
        self.repository_for(reference, credentials, "pull,push")
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    fn repository_for(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
        actions: &str,
    ) -> Repository {
        let scope = format!("repository:{}:{actions}", reference.path);
        let session =
            Session::new(self.transport.clone(), reference.domain.clone(), Some(scope), credentials);
        Repository::new(session, reference.clone())
    }

    /// Asks a registry whether the credentials are good. `server` is a host or, for Docker Hub, the address
    /// that Docker clients know it by.
    pub async fn login(&self, server: &str, credentials: Credentials) -> Result<(), Error> {
        let session = Session::new(self.transport.clone(), domain(server), None, Some(credentials));
        session.ping().await
    }
}

/// The host of a server address: `https://index.docker.io/v1/` is Docker Hub's name for itself.
fn domain(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn server_addresses() {
        for server in ["", "https://index.docker.io/v1/", "index.docker.io", "docker.io"] {
            assert_eq!(domain(server), "docker.io", "{server}");
        }
        assert_eq!(domain("http://localhost:5000/v2/"), "localhost:5000");
        assert_eq!(domain("ghcr.io"), "ghcr.io");
    }
}
