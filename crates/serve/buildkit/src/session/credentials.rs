//! Who a client is to registries: `moby.filesync.v1.Auth`.

use api::auth::AuthConfig;
use bollard_buildkit_proto::moby::filesync::v1::CredentialsRequest;
use bollard_buildkit_proto::moby::filesync::v1::auth_client::AuthClient;
use tonic::{Code, Status};

use super::{Session, soon};
use crate::line::Line;

/// Docker's registry, by the name in references and by that of its server, which clients know it by.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

impl Session {
    /// Who the client is to the registry of this domain; nobody in particular, if it does not say.
    pub async fn credentials(&self, domain: &str) -> Result<AuthConfig, Status> {
        let host = if domain == HUB.0 { HUB.1 } else { domain };
        let mut client = AuthClient::with_origin(self.line(), Line::origin());
        let request = CredentialsRequest { host: host.to_owned() };
        let answer = match soon(&format!("credentials for {host}"), client.credentials(request)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(AuthConfig::default()),
            Err(status) => return Err(status),
        };
        let (username, secret) = (answer.username, answer.secret);
        // A secret of nobody is a token that says who it is for.
        let (password, identitytoken) =
            if username.is_empty() { (String::new(), secret) } else { (secret, String::new()) };
        let serveraddress = domain.to_owned();
        Ok(AuthConfig { username, password, identitytoken, serveraddress, ..AuthConfig::default() })
    }
}
