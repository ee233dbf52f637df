//! `docker login`.

use api::auth::AuthConfig;
use api::system::AuthResponse;

use crate::Engine;
use crate::error::{Error, Kind, Result};
use crate::images::pull::credentials_of;
use crate::registries::failed;

/// Checks credentials with their registry. Nothing is kept: clients keep their own.
pub async fn auth(engine: &Engine, credentials: AuthConfig) -> Result<AuthResponse> {
    let server = match credentials.serveraddress.as_str() {
        "" => "https://index.docker.io/v1/".to_owned(),
        server => server.to_owned(),
    };
    let asked = credentials_of(credentials)
        .ok_or_else(|| Error::new(Kind::Unauthorized, "unauthorized: neither a name nor a token is given"))?;
    let token = engine.registries(&[]).login(&server, asked).await.map_err(|error| {
        let own = failed(&error);
        match error.kind() {
            registry::Kind::Denied => Error { kind: Kind::Unauthorized, ..own },
            registry::Kind::Unavailable => Error { kind: Kind::Unavailable, ..own },
            _ => own,
        }
    })?;
    Ok(AuthResponse { identity_token: token.unwrap_or_default(), status: "Login Succeeded".to_owned() })
}
