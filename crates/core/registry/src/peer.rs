//! One host that may be asked for a repository, and how it lets us in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Instant;

use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, Url};
use tokio::sync::{Mutex, OnceCell};

use crate::challenge::{self, Challenge};
use crate::credentials::Credentials;
use crate::error::{Error, Problem};
use crate::settings::{Plain, Route};
use crate::token::{self, Token};
use crate::transport::Transport;

/// How we say who we are, once the host has told how it wants to be told.
#[derive(Clone)]
pub(crate) enum Authorization {
    /// Name and password.
    Basic(String, String),
    Bearer(Token),
    /// The user's own token, sent as it is.
    Given(String),
}

pub(crate) struct Peer {
    pub route: Route,
    /// For the registry alone; a mirror gets none.
    pub credentials: Option<Credentials>,
    /// The root of its API with the scheme that it speaks.
    root: OnceCell<Url>,
    authorization: Mutex<Option<Authorization>>,
    /// What the last token was asked for with.
    asked: StdMutex<Option<Asked>>,
    lost: AtomicBool,
}

/// Of a challenge.
#[derive(Clone)]
struct Asked {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Peer {
    pub(crate) fn new(route: Route, credentials: Option<&Credentials>) -> Peer {
        let credentials = credentials.filter(|_| route.is_registry).cloned();
        let given = credentials.as_ref().map(|who| &who.registrytoken).filter(|token| !token.is_empty());
        let authorization = Mutex::new(given.cloned().map(Authorization::Given));
        Peer {
            route,
            credentials,
            root: OnceCell::new(),
            authorization,
            asked: StdMutex::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// The root of its API. A host that may be insecure is asked by HTTPS first and without encryption when that does not work,
    /// as Docker does.
    pub(crate) async fn root(&self, transport: &Transport) -> Result<&Url, Error> {
        let find = async || {
            let secure = self.route.root.clone();
            if self.route.plain != Plain::Allowed || secure.scheme() != "https" {
                return Ok(secure);
            }
            transport.secure_or_plain(&self.route).await
        };
        self.root.get_or_try_init(find).await
    }

    /// Whether it has failed, so that others are asked from now on.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// False if it was lost already.
    pub(crate) fn lose(&self) -> bool {
        !self.lost.swap(true, Ordering::Relaxed)
    }

    /// What the last challenge was answered with. A token that has run out is renewed first: what is sent next may be too
    /// large to be sent twice.
    pub(crate) async fn current(
        &self,
        transport: &Transport,
        wants: &token::Wants,
    ) -> Result<Option<Authorization>, Error> {
        let mut known = self.authorization.lock().await;
        if let Some(Authorization::Bearer(token)) = &*known
            && token.expires <= Instant::now()
        {
            let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            *known = match asked {
                Some(asked) => Some(Authorization::Bearer(self.token(transport, &asked, None, wants).await?)),
                None => None,
            };
        }
        Ok(known.clone())
    }

    async fn token(
        &self,
        transport: &Transport,
        asked: &Asked,
        refused: Option<&str>,
        wants: &token::Wants,
    ) -> Result<Token, Error> {
        let request = token::Request {
            registry: self.root(transport).await?,
            route: &self.route,
            realm: &asked.realm,
            service: asked.service.as_deref(),
            scopes: wants.with(asked.scope.as_deref().unwrap_or_default()),
            offline: wants.offline,
            credentials: self.credentials.as_ref(),
        };
        transport.token(&request, refused).await
    }

    /// Has the token be for all that is wanted by now. Others wait meanwhile, for what they send may come once only; if there
    /// is no such token, the one that there is does for the rest.
    pub(crate) async fn widen(&self, transport: &Transport, wants: &token::Wants) {
        let mut known = self.authorization.lock().await;
        if !matches!(&*known, Some(Authorization::Bearer(_))) {
            return;
        }
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(asked) = asked
            && let Ok(token) = self.token(transport, &asked, None, wants).await
        {
            *known = Some(Authorization::Bearer(token));
        }
    }

    pub(crate) fn authorize(
        &self,
        builder: RequestBuilder,
        authorization: Option<&Authorization>,
    ) -> RequestBuilder {
        match authorization {
            None => builder,
            Some(Authorization::Basic(name, password)) => builder.basic_auth(name, Some(password)),
            Some(Authorization::Bearer(Token { value, .. }) | Authorization::Given(value)) => {
                builder.header(AUTHORIZATION, secret(value))
            }
        }
    }

    /// Finds out how to be let in. False when there is nothing that was not tried.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        response: &Response,
        used: Option<Authorization>,
        wants: &token::Wants,
    ) -> Result<bool, Error> {
        let registry = self.root(transport).await?;
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let Some(challenge) = challenge::parse(headers.filter_map(|value| value.to_str().ok())) else {
            let problem = Problem::BadChallenge;
            return Err(Error::Protocol { request: crate::exchange::shown(registry), problem });
        };
        // Held while the token is fetched: the requests that wait here use the same one.
        let mut known = self.authorization.lock().await;
        if !same_token(known.as_ref(), used.as_ref()) {
            return Ok(true);
        }
        let answer = match challenge {
            _ if matches!(used, Some(Authorization::Given(_) | Authorization::Basic(..))) => {
                return Ok(false);
            }
            Challenge::Basic => {
                let Some(who) = &self.credentials else { return Ok(false) };
                let Some((name, password)) = who.told().await else { return Ok(false) };
                Authorization::Basic(name, password)
            }
            Challenge::Bearer { realm, service, scope } => {
                let refused = match &used {
                    Some(Authorization::Bearer(token)) => Some(token.value.as_str()),
                    _ => None,
                };
                let asked = Asked { realm, service, scope };
                let token = self.token(transport, &asked, refused, wants).await?;
                *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
                Authorization::Bearer(token)
            }
        };
        *known = Some(answer);
        Ok(true)
    }
}

/// Whether nobody renewed the token since we used it.
fn same_token(known: Option<&Authorization>, used: Option<&Authorization>) -> bool {
    match (known, used) {
        (Some(Authorization::Bearer(known)), Some(Authorization::Bearer(used))) => known.value == used.value,
        (Some(Authorization::Bearer(known)), None) => known.expires <= Instant::now(),
        (Some(Authorization::Basic(..)), None) => false,
        _ => true,
    }
}

fn secret(token: &str) -> HeaderValue {
    // Tokens are checked to be printable when they arrive; a user's own that is not is sent as none.
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
