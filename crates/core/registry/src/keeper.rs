//! Somebody else who knows the user's secret, and is asked for no more than a registry wants: a token, as long as tokens are what
//! it takes.

use crate::credentials::Credentials;
use futures_util::future::BoxFuture;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a token is to be for, as the registry's challenge has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWanted {
    /// The address of the token server.
    pub realm: String,
    /// What the registry calls itself to it.
    pub service: String,
    /// `repository:library/nginx:pull`, each.
    pub scopes: Vec<String>,
}

/// A token that somebody has fetched.
#[derive(Clone)]
pub struct TokenGiven {
    pub token: String,
    /// Seconds that it lasts; nobody knows without.
    pub lasts: Option<u64>,
}

/// Fetches a token; or says why there is none.
pub type FetchToken =
    Arc<dyn Fn(TokenWanted) -> BoxFuture<'static, Result<TokenGiven, String>> + Send + Sync>;
/// Tells the secret after all, to a registry that takes no tokens.
pub type TellSecret = Arc<dyn Fn() -> BoxFuture<'static, Option<Credentials>> + Send + Sync>;

/// Who keeps a secret.
#[derive(Clone)]
pub struct Keeper {
    /// Proves who it is: tokens that one keeper fetched are another's with the same proof.
    pub proof: Vec<u8>,
    pub fetch: FetchToken,
    pub tell: TellSecret,
}

impl PartialEq for Keeper {
    fn eq(&self, other: &Keeper) -> bool {
        self.proof == other.proof
    }
}

impl Eq for Keeper {}

impl Hash for Keeper {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.proof.hash(state);
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keeper").finish_non_exhaustive()
    }
}
