//! The client: what is shared between repositories.

use crate::credentials::Credentials;
use crate::error::Error;
use crate::exchange::Session;
use crate::proxy::Proxies;
use crate::repository::Repository;
use crate::settings::Places;
use crate::token::Wants;
use crate::transport::Transport;
use oci::Reference;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub user_agent: String,
    /// Registries that may be spoken to without verified encryption: `host`, `host:port` or subnets.
    pub insecure: Vec<String>,
    /// Addresses of mirrors of Docker Hub, asked before those of the files.
    pub mirrors: Vec<String>,
    /// The environment's; those of the files come before.
    pub proxies: Proxies,
    /// Where the administrator's files lie; none are read without.
    pub places: Places,
    pub patience: Patience,
}

/// How long is waited for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until it is connected.
    pub connect: Duration,
    /// How long a connection may be silent.
    pub silence: Duration,
    /// Until a document has come whole, however little of it comes at a time.
    pub document: Duration,
    /// Before what failed is tried for the second time; doubled each time after.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            document: Duration::from_secs(120),
            // 0.7 seconds in all for a host that was never heard, and 12.7 seconds for one that was.
            pause: Duration::from_millis(100),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            user_agent: format!("dhow/{}", env!("CARGO_PKG_VERSION")),
            insecure: vec![],
            mirrors: vec![],
            proxies: Proxies::default(),
            places: Places::default(),
            patience: Patience::default(),
        }
    }
}

/// Something that whoever waits should know: a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(pub String);

/// Connections to registries. Cheap to clone; making one touches nothing.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    pub fn new(config: Config) -> Client {
        Client { transport: Arc::new(Transport::new(config)) }
    }

    /// Where waiting is told from now on. The last one who asks is told.
    pub fn tell(&self, listener: impl Fn(Notice) + Send + Sync + 'static) {
        self.transport.listen(Box::new(listener));
    }

    /// The repository that `reference` names, seen by the owner of the credentials.
    pub fn repository(&self, reference: &Reference, credentials: Option<Credentials>) -> Repository {
        self.repository_for(reference, credentials, "pull")
    }

    /// The same, to be written to.
    pub fn writable(&self, reference: &Reference, credentials: Option<Credentials>) -> Repository {
        self.repository_for(reference, credentials, "pull,push")
    }

    pub(crate) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    fn repository_for(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
        actions: &str,
    ) -> Repository {
        let session = Session::new(self.transport.clone(), reference, actions, credentials);
        Repository::new(session, reference.clone())
    }

    /// Asks a registry whether the credentials are good; a token to come again with in their place, where the token server
    /// gives one. `server` is a host or, for Docker Hub, the address that Docker clients know it by.
    pub async fn login(&self, server: &str, credentials: Credentials) -> Result<Option<String>, Error> {
        let wants = Wants::for_login();
        let session =
            Session::with_registry(self.transport.clone(), domain(server), wants, Some(credentials));
        session.ping().await
    }

    /// The addresses that a repository is asked for at, in order, as the files have it: mirrors before the registry.
    pub fn addresses(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let routes = self.transport.settings()?.routes(&reference.domain, &reference.path)?;
        Ok(routes.iter().map(|route| format!("{}{}", route.root, route.path)).collect())
    }

    /// Mirrors of Docker Hub as the files have them.
    pub fn mirrors(&self) -> Result<Vec<String>, Error> {
        Ok(self.transport.settings()?.mirrors().iter().map(ToString::to_string).collect())
    }

    /// Who may be spoken to without verified encryption, as the files have it.
    pub fn insecure(&self) -> Result<Vec<String>, Error> {
        Ok(self.transport.settings()?.insecure())
    }
}

/// The host of a server address: `https://index.docker.io/v1/` is Docker Hub's name for itself.
pub(crate) fn domain(server: &str) -> String {
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
