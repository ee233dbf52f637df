//! Who a client is to registries: `moby.filesync.v1.Auth`.
//!
//! A client may keep its password and fetch tokens itself. It shows a public key that depends on its password and our salt
//! (`GetTokenAuthority`), and that the key is its own by a signature (`VerifyTokenAuthority`): so tokens that one session has
//! fetched serve another one of the same user, and nobody else's. `FetchToken` then does what the registry's challenge says.
//! Only a client that does not do this, or a registry that takes no tokens, has it say its password (`Credentials`).

use std::sync::{Arc, OnceLock};

use api::auth::AuthConfig;
use bollard_buildkit_proto::moby::filesync::v1::auth_client::AuthClient;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, FetchTokenRequest, GetTokenAuthorityRequest, VerifyTokenAuthorityRequest,
};
use engine::images::{TokenGiven, TokenWanted, Who};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, UnparsedPublicKey};
use tonic::{Code, Status};

use super::{Session, soon};
use crate::line::Line;

/// Docker's registry, by the name in references and by that of its server, which clients know it by.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// What a client must serve to keep its secret.
const KEEPING: [&str; 3] = [
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.filesync.v1.Auth/FetchToken",
];
/// How we call ourselves to token servers.
const CLIENT: &str = "dhow";
const NONCE: usize = 32;
const SIGNATURE: usize = 64;

impl Session {
    /// Who the client is to the registry of this domain; nobody in particular, if it does not say.
    pub async fn credentials(&self, domain: &str) -> Result<Who, Status> {
        let host = if domain == HUB.0 { HUB.1 } else { domain };
        match self.authority(host).await? {
            Some(proof) => Ok(self.keeping(domain.to_owned(), host.to_owned(), proof)),
            None => self.said(domain, host).await.map(Who::from),
        }
    }

    fn auth(&self) -> AuthClient<Line> {
        AuthClient::with_origin(self.line(), Line::origin())
    }

    /// The client's key to this host, proven to be its own; none of a client that rather says its secret.
    async fn authority(&self, host: &str) -> Result<Option<Vec<u8>>, Status> {
        if !KEEPING.iter().all(|method| self.serves(method)) {
            return Ok(None);
        }
        let salt = salt()?.to_vec();
        let what = format!("who fetches tokens for {host}");
        let request = GetTokenAuthorityRequest { host: host.to_owned(), salt: salt.clone() };
        let key = match soon(&what, self.auth().get_token_authority(request)).await {
            Ok(answer) => answer.into_inner().public_key,
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unimplemented) => {
                return Ok(None);
            }
            Err(status) => return Err(status),
        };
        let payload = random()?.to_vec();
        let request = VerifyTokenAuthorityRequest { host: host.to_owned(), payload: payload.clone(), salt };
        let signed = soon(&what, self.auth().verify_token_authority(request)).await?.into_inner().signed;
        match is_signed(&key, &payload, &signed) {
            true => Ok(Some([host.as_bytes(), &key].concat())),
            false => Err(Status::permission_denied(format!(
                "the client's key for tokens of {host} is not its own: it has not signed what it was given"
            ))),
        }
    }

    fn keeping(&self, domain: String, host: String, proof: Vec<u8>) -> Who {
        let (session, server) = (self.clone(), host.clone());
        let fetch = move |wanted: TokenWanted| {
            let (session, host) = (session.clone(), server.clone());
            let fetched = async move { session.token(host, wanted).await };
            Box::pin(async move { fetched.await.map_err(|status| status.message().to_owned()) }) as _
        };
        let session = self.clone();
        let tell = move || {
            let (session, domain, host) = (session.clone(), domain.clone(), host.clone());
            Box::pin(async move { session.said(&domain, &host).await.ok() }) as _
        };
        Who::keeping(proof, Arc::new(fetch), tell)
    }

    async fn token(&self, host: String, wanted: TokenWanted) -> Result<TokenGiven, Status> {
        let what = format!("a token for {host}");
        let TokenWanted { realm, service, scopes } = wanted;
        let request = FetchTokenRequest { client_id: CLIENT.to_owned(), host, realm, service, scopes };
        let answer = soon(&what, self.auth().fetch_token(request)).await?.into_inner();
        let lasts = u64::try_from(answer.expires_in).ok().filter(|seconds| *seconds > 0);
        Ok(TokenGiven { token: answer.token, lasts })
    }

    /// What the client says of itself.
    async fn said(&self, domain: &str, host: &str) -> Result<AuthConfig, Status> {
        let request = CredentialsRequest { host: host.to_owned() };
        let answer = match soon(&format!("credentials for {host}"), self.auth().credentials(request)).await {
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

/// A signed message is the signature with the message behind it.
fn is_signed(key: &[u8], payload: &[u8], signed: &[u8]) -> bool {
    signed.split_at_checked(SIGNATURE).is_some_and(|(signature, message)| {
        message == payload && UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
    })
}

fn random() -> Result<[u8; NONCE], Status> {
    let mut bytes = [0; NONCE];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| Status::internal("no random numbers"))
}

/// The same as long as this process lives: by it a client's key is the same in all its sessions.
fn salt() -> Result<&'static [u8; NONCE], Status> {
    static SALT: OnceLock<[u8; NONCE]> = OnceLock::new();
    let fresh = random()?;
    Ok(SALT.get_or_init(|| fresh))
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    #[test]
    fn only_the_keys_owner_signs() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let (key, payload) = (pair.public_key().as_ref(), random().unwrap());
        let signed = [pair.sign(&payload).as_ref(), &payload].concat();
        assert!(is_signed(key, &payload, &signed));
        assert!(!is_signed(key, &random().unwrap(), &signed), "another message");
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        assert!(!is_signed(other.public_key().as_ref(), &payload, &signed), "another key");
        for broken in [&signed[..63], &signed[..64], &[], &payload[..]] {
            assert!(!is_signed(key, &payload, broken));
        }
        assert!(!is_signed(&key[..31], &payload, &signed));
        assert_eq!(salt().unwrap(), salt().unwrap());
    }
}
