//! Who a client is to a registry.

use std::sync::Arc;

use api::auth::AuthConfig;
use futures_util::future::BoxFuture;
use registry::{Credentials, FetchToken, Keeper};

/// What a client says of itself, or that it answers for itself.
#[derive(Debug, Clone)]
pub enum Who {
    Said(AuthConfig),
    /// It keeps its secret, and fetches the tokens that a registry wants.
    Kept(Keeper),
}

impl Who {
    /// A client that keeps its secret: `proof` is what it alone can show, `tell` is asked where no token will do.
    pub fn keeping(
        proof: Vec<u8>,
        fetch: FetchToken,
        tell: impl Fn() -> BoxFuture<'static, Option<AuthConfig>> + Send + Sync + 'static,
    ) -> Who {
        let tell = Arc::new(tell);
        let tell = move || -> BoxFuture<'static, Option<Credentials>> {
            let tell = tell.clone();
            Box::pin(async move { tell().await.and_then(|said| Who::Said(said).credentials()) })
        };
        Who::Kept(Keeper { proof, fetch, tell: Arc::new(tell) })
    }

    /// None of nobody.
    pub(crate) fn credentials(self) -> Option<Credentials> {
        let credentials = match self {
            Who::Kept(keeper) => Credentials { keeper: Some(keeper), ..Credentials::default() },
            Who::Said(said) => Credentials {
                username: said.username,
                password: said.password,
                auth: said.auth,
                identitytoken: said.identitytoken,
                registrytoken: said.registrytoken,
                serveraddress: said.serveraddress,
                keeper: None,
            },
        };
        credentials.is_somebody().then_some(credentials)
    }
}

impl Default for Who {
    fn default() -> Who {
        Who::Said(AuthConfig::default())
    }
}

impl From<AuthConfig> for Who {
    fn from(said: AuthConfig) -> Who {
        Who::Said(said)
    }
}
