//! Access tokens (distribution-spec, "Docker Registry v2 authentication via central service").
//!
//! The token server is whoever the registry says. It gets the user's credentials, so it must be reached by
//! HTTPS unless the registry itself is not, and a registry elsewhere cannot point to this machine's own
//! services (CVE-2020-15157).

use crate::credentials::Credentials;
use crate::error::{Error, Problem};
use crate::exchange::{self, ERROR_LIMIT};
use crate::keeper::{Keeper, TokenWanted};
use crate::redirect::{authority, is_internal, origin_text};
use crate::settings::Route;
use crate::transport::{Purpose, Transport};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A token that the registry accepts for a while.
#[derive(Clone)]
pub(crate) struct Token {
    pub value: String,
    pub expires: Instant,
    /// What can be exchanged for further ones, when it was asked for.
    pub refresh: Option<String>,
}

/// What tokens are to be for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wants {
    /// `repository:library/nginx:pull`, each.
    scopes: Vec<String>,
    /// A token to come again with is wanted too.
    pub offline: bool,
}

impl Wants {
    pub(crate) fn new(scopes: Vec<String>) -> Wants {
        Wants { scopes, offline: false }
    }

    /// A token for nothing but to show who we are.
    pub(crate) fn for_login() -> Wants {
        Wants { scopes: vec![], offline: true }
    }

    /// Adds a scope; whether it is a new one.
    pub(crate) fn add(&mut self, scope: String) -> bool {
        let is_new = !self.scopes.contains(&scope);
        if is_new {
            self.scopes.push(scope);
        }
        is_new
    }

    /// The same at a place where a repository has another name.
    pub(crate) fn renamed(&self, from: &str, to: &str) -> Wants {
        let (from, to) = (format!("repository:{from}:"), format!("repository:{to}:"));
        let rename = |scope: &String| match scope.strip_prefix(&from) {
            Some(actions) => format!("{to}{actions}"),
            None => scope.clone(),
        };
        Wants { scopes: self.scopes.iter().map(rename).collect(), offline: self.offline }
    }

    /// These, and those of a challenge that are about something else.
    pub(crate) fn with(&self, challenge: &str) -> Vec<String> {
        let mut scopes = self.scopes.clone();
        let subject = |scope: &str| scope.rsplit_once(':').map(|(subject, _)| subject.to_owned());
        for scope in challenge.split_ascii_whitespace().filter(|scope| scope.split(':').count() >= 3) {
            if !scopes.iter().any(|own| subject(own) == subject(scope)) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }
}

/// What is asked of a token server.
pub(crate) struct Request<'a> {
    /// The registry's own address.
    pub registry: &'a Url,
    pub route: &'a Route,
    pub realm: &'a str,
    pub service: Option<&'a str>,
    pub scopes: Vec<String>,
    /// A token to come again with is wanted too.
    pub offline: bool,
    pub credentials: Option<&'a Credentials>,
}

/// Tokens of before, for requests that are the same.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<HashMap<Key, Token>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    registry: Url,
    realm: String,
    service: Option<String>,
    scopes: Vec<String>,
    credentials: Option<Credentials>,
}

impl Key {
    fn of(request: &Request<'_>) -> Key {
        Key {
            registry: request.registry.clone(),
            realm: request.realm.to_owned(),
            service: request.service.map(str::to_owned),
            scopes: request.scopes.clone(),
            credentials: request.credentials.cloned(),
        }
    }
}

impl Tokens {
    /// One that lasts, and that was not refused.
    pub(crate) fn find(&self, request: &Request<'_>, refused: Option<&str>) -> Option<Token> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let token = known.get(&Key::of(request)).filter(|_| !request.offline)?;
        (token.expires > Instant::now() && Some(token.value.as_str()) != refused).then(|| token.clone())
    }

    pub(crate) fn keep(&self, request: &Request<'_>, token: &Token) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(Key::of(request), token.clone());
    }
}

/// Servers write `null` for what they do not have.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<i64>,
}

/// Tokens without a term last this long.
const DEFAULT_TERM: Duration = Duration::from_secs(60);

/// Gets a token.
pub(crate) async fn fetch(transport: &Transport, request: &Request<'_>) -> Result<Token, Error> {
    let realm = realm(transport, request)?;
    if let Some(keeper) = request.credentials.and_then(|who| who.keeper.as_ref()) {
        return kept(keeper, request, &realm).await;
    }
    let client = transport.towards(request.registry, request.route, &realm, Purpose::Fetch)?;
    let identity =
        request.credentials.map(|who| who.identitytoken.as_str()).filter(|token| !token.is_empty());
    let (method, builder) = match identity {
        Some(token) => {
            // One text here, and one parameter each in the other form.
            let scopes: Vec<String> = match request.scopes.is_empty() {
                true => vec![],
                false => vec![request.scopes.join(" ")],
            };
            let more = [("grant_type", "refresh_token"), ("refresh_token", token)];
            let form = parameters(request, &scopes, &more);
            let builder = client.post(realm.clone()).body(form);
            (Method::POST, builder.header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
        }
        None => {
            let basic = request.credentials.and_then(Credentials::basic);
            let mut more = Vec::new();
            if let Some((name, _)) = &basic {
                more.push(("account", name.as_str()));
            }
            if request.offline {
                more.push(("offline_token", "true"));
            }
            let mut url = realm.clone();
            let query =
                [url.query().unwrap_or_default(), &parameters(request, &request.scopes, &more)].join("&");
            url.set_query(Some(query.trim_start_matches('&')));
            let builder = client.get(url);
            let builder = match basic {
                Some((name, password)) => builder.basic_auth(name, Some(password)),
                None => builder,
            };
            (Method::GET, builder)
        }
    };
    let builder = builder.timeout(transport.patience().document);
    let response = exchange::answer(method, &realm, builder).await?;
    let shown = exchange::asked(&response);
    let status = response.status();
    let body = exchange::body(response, &shown, ERROR_LIMIT).await?;
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let reason = exchange::reason(&body).unwrap_or("unauthorized: authentication required".into());
        return Err(Error::Unauthorized { request: shown, reason });
    }
    if !status.is_success() {
        return Err(exchange::unexpected(&shown, status, &body));
    }
    parse(&body).ok_or(Error::Protocol { request: shown, problem: Problem::BadDocument })
}

/// A token that somebody else fetches.
async fn kept(keeper: &Keeper, request: &Request<'_>, realm: &Url) -> Result<Token, Error> {
    let wanted = TokenWanted {
        realm: request.realm.to_owned(),
        service: request.service.unwrap_or_default().to_owned(),
        scopes: request.scopes.clone(),
    };
    let given = (keeper.fetch)(wanted).await;
    let given = given.map_err(|reason| Error::Unauthorized { request: exchange::shown(realm), reason })?;
    let problem = Problem::BadDocument;
    token(given.token, given.lasts, None)
        .ok_or_else(|| Error::Protocol { request: exchange::shown(realm), problem })
}

fn parse(body: &[u8]) -> Option<Token> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    // One that ended before it was given is one whose clock differs.
    let lasts = answer.expires_in.and_then(|seconds| u64::try_from(seconds).ok());
    token(some(answer.token).or(some(answer.access_token))?, lasts, some(answer.refresh_token))
}

fn token(value: String, lasts: Option<u64>, refresh: Option<String>) -> Option<Token> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let term = lasts.map_or(DEFAULT_TERM, Duration::from_secs).min(Duration::from_secs(3600));
    // Renewed a little early, so that it does not end on the way.
    let expires = Instant::now() + term.saturating_sub(Duration::from_secs(10));
    Some(Token { value, expires, refresh })
}

/// The token server, if it may be told who we are: by HTTPS, unless the registry itself is not reached so and it is the same
/// machine, or one that the administrator says may be spoken to in clear.
fn realm(transport: &Transport, request: &Request<'_>) -> Result<Url, Error> {
    let home = request.registry;
    let refuse = |problem| Error::Protocol { request: exchange::shown(home), problem };
    let realm = Url::parse(request.realm).map_err(|_| refuse(Problem::BadChallenge))?;
    let host = realm.host_str().unwrap_or_default();
    let plain_is_meant = home.scheme() == "http"
        && (home.host_str() == Some(host) || transport.settings()?.is_insecure(host, realm.port()));
    if realm.scheme() != "https" && !(realm.scheme() == "http" && plain_is_meant) {
        return Err(refuse(Problem::InsecureRealm(origin_text(&realm))));
    }
    if is_internal(&realm) && !is_internal(home) && authority(&realm) != authority(home) {
        return Err(refuse(Problem::InternalTarget(origin_text(&realm))));
    }
    Ok(realm)
}

fn parameters(request: &Request<'_>, scopes: &[String], more: &[(&str, &str)]) -> String {
    // The encoder of a URL's query is that of a form.
    let mut form = request.registry.clone();
    form.set_query(None);
    {
        let mut pairs = form.query_pairs_mut();
        pairs.extend_pairs(request.service.map(|service| ("service", service)));
        pairs.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        pairs.append_pair("client_id", "dhow").extend_pairs(more);
    }
    form.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(registry: &str, realm: &str) -> Result<Url, Error> {
        let insecure = vec!["open.lan".to_owned()];
        let transport = Transport::new(crate::Config { insecure, ..crate::Config::default() });
        let registry = Url::parse(registry).unwrap();
        let domain = authority(&registry);
        let routes = transport.settings().unwrap().routes(&domain, "app").unwrap();
        let request = Request {
            registry: &registry,
            route: &routes[0],
            realm,
            service: None,
            scopes: vec![],
            offline: false,
            credentials: None,
        };
        super::realm(&transport, &request)
    }

    #[test]
    fn answers_of_token_servers() {
        let value = |text: &str| parse(text.as_bytes()).map(|token| token.value);
        let full = r#"{"token":"t","access_token":null,"refresh_token":null,"expires_in":null}"#;
        assert_eq!(value(full).as_deref(), Some("t"));
        assert_eq!(value(r#"{"token":"","access_token":"a","expires_in":-5}"#).as_deref(), Some("a"));
        for none in [r#"{"token":null}"#, r#"{"token":"two lines\n"}"#, "[]"] {
            assert_eq!(value(none), None, "{none}");
        }
    }

    #[test]
    fn who_gets_credentials() {
        assert!(trusted("https://registry-1.docker.io/v2/", "https://auth.docker.io/token").is_ok());
        assert!(trusted("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/token").is_ok());
        assert!(trusted("http://reg.lan/v2/", "http://reg.lan:5001/token").is_ok());
        assert!(trusted("http://reg.lan/v2/", "http://open.lan/token").is_ok());
        let refused = |registry, realm| match trusted(registry, realm) {
            Err(Error::Protocol { problem, .. }) => problem,
            other => panic!("{other:?}"),
        };
        let registry = "https://r.example/v2/";
        assert!(matches!(refused(registry, "http://r.example/token"), Problem::InsecureRealm(_)));
        assert!(matches!(refused(registry, "http://open.lan/token"), Problem::InsecureRealm(_)));
        let plain = "http://reg.lan/v2/";
        assert!(matches!(refused(plain, "http://auth.lan/token"), Problem::InsecureRealm(_)));
        assert!(matches!(refused(registry, "ftp://r.example/token"), Problem::InsecureRealm(_)));
        assert_eq!(refused(registry, "token"), Problem::BadChallenge);
        for realm in
            ["https://127.0.0.1/", "https://169.254.169.254/", "https://[::1]:8080/", "https://localhost/"]
        {
            assert!(matches!(refused(registry, realm), Problem::InternalTarget(_)), "{realm}");
        }
    }

    #[test]
    fn scopes_of_challenges() {
        let mut wants = Wants::new(vec!["repository:app:pull".into()]);
        assert_eq!(wants.with("repository:app:pull,push x"), ["repository:app:pull"]);
        assert_eq!(wants.with("registry:catalog:*"), ["repository:app:pull", "registry:catalog:*"]);
        assert!(wants.add("repository:other:pull".into()) && !wants.add("repository:other:pull".into()));
    }
}
