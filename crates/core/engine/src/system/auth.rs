//! `docker login`.

use api::auth::AuthConfig;
use api::system::AuthResponse;
use registry::{Client, Config, Credentials};

use crate::Engine;
use crate::error::{Error, Kind, Result, chain};

/// Checks credentials with their registry. Nothing is kept: clients keep their own.
pub async fn auth(engine: &Engine, credentials: AuthConfig) -> Result<AuthResponse> {
    let client =
        Client::new(Config { insecure: engine.config().insecure_registries.clone(), ..Config::default() });
    let server = match credentials.serveraddress.as_str() {
        "" => "https://index.docker.io/v1/".to_owned(),
        server => server.to_owned(),
    };
    let asked = Credentials {
        username: credentials.username,
        password: credentials.password,
        auth: credentials.auth,
        identitytoken: credentials.identitytoken,
        registrytoken: credentials.registrytoken,
        serveraddress: server.clone(),
    };
    client.login(&server, asked).await.map_err(|e| {
        let kind = match e.kind() {
            registry::Kind::Unauthorized | registry::Kind::Denied => Kind::Unauthorized,
            registry::Kind::NotFound => Kind::NotFound,
            registry::Kind::RateLimited | registry::Kind::Unavailable => Kind::Unavailable,
            registry::Kind::Protocol => Kind::System,
        };
        Error::new(kind, format!("login attempt to {server} failed: {}", chain(&e)))
    })?;
    Ok(AuthResponse { identity_token: String::new(), status: "Login Succeeded".to_owned() })
}
