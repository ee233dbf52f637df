//! HTTP connections: one library client for each way of trusting a host.

use crate::client::{Config, Notice, Patience};
use crate::error::Error;
use crate::names::Names;
use crate::redirect;
use crate::settings::{Route, Settings, Tls};
use crate::token::{self, Token, Tokens};
use crate::{exchange, tls};
use reqwest::Url;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Fetch,
    /// While we send something large, nothing comes back for as long as it takes.
    Send,
}

type Listener = Box<dyn Fn(Notice) + Send + Sync>;

pub(crate) struct Transport {
    config: Config,
    /// Read when it is first needed.
    settings: OnceLock<Settings>,
    names: Names,
    /// Made when they are first needed: reading the root certificates takes time, and a machine without any can still use
    /// its local registry.
    clients: Mutex<HashMap<(Tls, Purpose), reqwest::Client>>,
    /// Hosts whose scheme had to be found out.
    roots: Mutex<HashMap<Url, Url>>,
    tokens: Tokens,
    listener: Mutex<Option<Arc<Listener>>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("config", &self.config).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    pub(crate) fn new(config: Config) -> Transport {
        Transport {
            config,
            settings: OnceLock::new(),
            names: Names::default(),
            clients: Mutex::default(),
            roots: Mutex::default(),
            tokens: Tokens::default(),
            listener: Mutex::default(),
        }
    }

    pub(crate) fn listen(&self, listener: Listener) {
        *lock(&self.listener) = Some(Arc::new(listener));
    }

    pub(crate) fn tell(&self, notice: Notice) {
        let listener = lock(&self.listener).clone();
        if let Some(listener) = listener {
            listener(notice);
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        self.config.patience
    }

    pub(crate) fn settings(&self) -> Result<&Settings, Error> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = Settings::read(&self.config)?;
        settings.notices().iter().for_each(|notice| self.tell(Notice(notice.clone())));
        Ok(self.settings.get_or_init(|| settings))
    }

    /// The library client for a request to `url`, which the user has named.
    pub(crate) fn http(&self, url: &Url) -> Result<reqwest::Client, Error> {
        self.client(self.settings()?.tls(url)?, Purpose::Fetch)
    }

    /// The library client for sending something large to `url`.
    pub(crate) fn uploads(&self, url: &Url) -> Result<reqwest::Client, Error> {
        self.client(self.settings()?.tls(url)?, Purpose::Send)
    }

    /// The library client for a request to where `from` has led.
    pub(crate) fn led(&self, from: &Url, url: &Url) -> Result<reqwest::Client, Error> {
        self.names.guard(from, url);
        self.http(url)
    }

    /// The library client for a request on behalf of a registry: to itself, or to where it sends us.
    pub(crate) fn towards(
        &self,
        home: &Url,
        route: &Route,
        url: &Url,
        purpose: Purpose,
    ) -> Result<reqwest::Client, Error> {
        if redirect::authority(home) == redirect::authority(url) {
            let unverified = route.tls.unverified || url.scheme() == "http";
            return self.client(Tls { unverified, ..route.tls.clone() }, purpose);
        }
        self.names.guard(home, url);
        let mut tls = self.settings()?.tls(url)?;
        // A registry's own authority signs for its token server and its object store too; our certificate is for the
        // registry alone.
        tls.authorities.extend(route.tls.authorities.iter().cloned());
        self.client(tls, purpose)
    }

    /// A token, from before if there is one that was not refused.
    pub(crate) async fn token(
        &self,
        request: &token::Request<'_>,
        refused: Option<&str>,
    ) -> Result<Token, Error> {
        if let Some(token) = self.tokens.find(request, refused) {
            return Ok(token);
        }
        let token = token::fetch(self, request).await?;
        self.tokens.keep(request, &token);
        Ok(token)
    }

    fn client(&self, tls: Tls, purpose: Purpose) -> Result<reqwest::Client, Error> {
        let key = (tls, purpose);
        if let Some(client) = lock(&self.clients).get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key.0, purpose)?;
        lock(&self.clients).insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, tls: &Tls, purpose: Purpose) -> Result<reqwest::Client, Error> {
        let patience = &self.config.patience;
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.config.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .dns_resolver(self.names.clone())
            .connect_timeout(tls.dial.unwrap_or(patience.connect))
            .tls_backend_preconfigured(tls::config(tls)?);
        if purpose == Purpose::Fetch {
            builder = builder.read_timeout(patience.silence);
        }
        // The library would read the environment in its own way.
        builder = builder.no_proxy();
        if !tls.local {
            let proxies = self.settings()?.proxies().clone();
            builder = builder.proxy(reqwest::Proxy::custom(move |url| proxies.proxy_for(url)));
        }
        builder.build().map_err(|error| Error::Tls(error.into()))
    }

    /// The root of an insecure host's API, with the scheme that it speaks.
    pub(crate) async fn secure_or_plain(&self, route: &Route) -> Result<Url, Error> {
        let secure = &route.root;
        if let Some(root) = lock(&self.roots).get(secure) {
            return Ok(root.clone());
        }
        let client = self.client(route.tls.clone(), Purpose::Fetch)?;
        let mut root = secure.clone();
        let speaks = client.get(secure.clone()).timeout(self.config.patience.document).send().await.is_ok();
        if !speaks && root.set_scheme("http").is_err() {
            return Err(Error::Protocol {
                request: exchange::shown(secure),
                problem: crate::error::Problem::BadRedirect,
            });
        }
        lock(&self.roots).insert(secure.clone(), root.clone());
        Ok(root)
    }
}
