//! One request to a registry and its answer: authentication, redirects, retries.

use crate::challenge::{self, Challenge};
use crate::credentials::Credentials;
use crate::error::{Error, Problem};
use crate::redirect;
use crate::token::{self, Token};
use crate::transport::Transport;
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

const REDIRECTS: usize = 10;
/// How often a request is made that fails for reasons that may pass.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A registry that wants us to wait longer is out of order for now.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Bytes of an error's or token's document.
pub(crate) const ERROR_LIMIT: u64 = 256 << 10;

/// How we say who we are, once the registry has told how it wants to be told.
#[derive(Clone)]
enum Authorization {
    Basic,
    Bearer(Token),
    /// The user's own token, sent as it is.
    Given(String),
}

/// A conversation with one registry about one scope.
pub(crate) struct Session {
    transport: Arc<Transport>,
    domain: String,
    scope: Option<String>,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<Authorization>>,
}

/// A request that has no side effects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Get<'a> {
    pub accept: Option<&'a str>,
    /// First byte wanted.
    pub from: u64,
}

impl Session {
    pub(crate) fn new(
        transport: Arc<Transport>,
        domain: String,
        scope: Option<String>,
        credentials: Option<Credentials>,
    ) -> Session {
        let given = credentials.as_ref().map(|who| &who.registrytoken).filter(|token| !token.is_empty());
        let authorization = Mutex::new(given.cloned().map(Authorization::Given));
        Session { transport, domain, scope, credentials, authorization }
    }

    /// The root of the registry's API.
    pub(crate) async fn root(&self) -> Result<Url, Error> {
        self.transport.root(&self.domain).await
    }

    /// Succeeds when the registry accepts us.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let root = self.root().await?;
        let response = self.get(&root, &Get::default()).await?;
        let (status, shown) = (response.status(), root.to_string());
        let body = body(response, &shown, ERROR_LIMIT).await?;
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED => {
                let reason = reason(&body).unwrap_or("unauthorized: authentication required".into());
                Err(Error::Unauthorized { url: shown, reason })
            }
            status => Err(unexpected(&shown, status, &body)),
        }
    }

    /// Makes the request again while that may help. The answer's status is the caller's to judge.
    pub(crate) async fn get(&self, url: &Url, get: &Get<'_>) -> Result<Response, Error> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            let wait = match self.get_once(url, get).await {
                Ok(response) => match passing(&response, pause) {
                    Some(wait) => wait,
                    None => return Ok(response),
                },
                // Who did not answer for so long will not answer now.
                Err(Error::Transport { source, url }) if source.is_timeout() => {
                    return Err(Error::Transport { source, url });
                }
                Err(Error::Transport { .. }) => pause,
                Err(error) => return Err(error),
            };
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
        self.get_once(url, get).await
    }

    /// Answers one challenge and follows redirects.
    async fn get_once(&self, url: &Url, get: &Get<'_>) -> Result<Response, Error> {
        let home = self.root().await?;
        let mut current = url.clone();
        let mut answered = false;
        for _ in 0..=REDIRECTS {
            let at_home = redirect::same_origin(&home, &current);
            let used = if at_home { self.current_authorization().await? } else { None };
            let response = self.send(&current, get, used.as_ref()).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && at_home && !answered {
                answered = true;
                if !self.answer(&home, &response, used).await? {
                    return Ok(response);
                }
                continue;
            }
            if !is_redirect(status) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            current = redirect::target(&current, location)
                .map_err(|problem| Error::Protocol { url: url.to_string(), problem })?;
        }
        let problem = Problem::TooManyRedirects(REDIRECTS);
        Err(Error::Protocol { url: url.to_string(), problem })
    }

    async fn send(
        &self,
        url: &Url,
        get: &Get<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Error> {
        let mut builder = self.transport.http(url)?.get(url.clone());
        if let Some(accept) = get.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if get.from > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", get.from));
        }
        let builder = self.authorize(builder, authorization);
        builder.send().await.map_err(|error| transport_error(url, error))
    }

    fn authorize(
        &self,
        builder: reqwest::RequestBuilder,
        authorization: Option<&Authorization>,
    ) -> reqwest::RequestBuilder {
        match authorization {
            None => builder,
            Some(Authorization::Basic) => match self.credentials.as_ref().and_then(Credentials::basic) {
                Some((name, password)) => builder.basic_auth(name, Some(password)),
                None => builder,
            },
            Some(Authorization::Bearer(Token { value, .. }) | Authorization::Given(value)) => {
                builder.header(AUTHORIZATION, secret(value))
            }
        }
    }

    /// One request with whatever body; credentials go to the registry alone. No challenge is answered, for a body comes once.
    pub(crate) async fn stream(
        &self,
        method: reqwest::Method,
        url: &Url,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<Response, Error> {
        let at_home = redirect::same_origin(&self.root().await?, url);
        let used = if at_home { self.current_authorization().await? } else { None };
        let builder = self.transport.uploads(url)?.request(method, url.clone()).headers(headers).body(body);
        let builder = self.authorize(builder, used.as_ref());
        builder.send().await.map_err(|error| transport_error(url, error))
    }

    /// Finds out how to be let in after a refusal; false when there is nothing that was not tried.
    pub(crate) async fn answered(&self, url: &Url, response: &Response) -> Result<bool, Error> {
        let home = self.root().await?;
        if !redirect::same_origin(&home, url) {
            return Ok(false);
        }
        let used = self.current_authorization().await?;
        self.answer(&home, response, used).await
    }

    /// What the last challenge was answered with, unless it has run out.
    async fn current_authorization(&self) -> Result<Option<Authorization>, Error> {
        let known = self.authorization.lock().await;
        Ok(match &*known {
            Some(Authorization::Bearer(token)) if token.expires <= Instant::now() => None,
            other => other.clone(),
        })
    }

    /// Finds out how to be let in. False when there is nothing that was not tried.
    async fn answer(
        &self,
        registry: &Url,
        response: &Response,
        used: Option<Authorization>,
    ) -> Result<bool, Error> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let Some(challenge) = challenge::parse(headers.filter_map(|value| value.to_str().ok())) else {
            let problem = Problem::BadChallenge;
            return Err(Error::Protocol { url: registry.to_string(), problem });
        };
        // Held while the token is fetched: the requests that wait here use the same one.
        let mut known = self.authorization.lock().await;
        if !same_token(known.as_ref(), used.as_ref()) {
            return Ok(true);
        }
        let answer = match challenge {
            _ if matches!(used, Some(Authorization::Given(_) | Authorization::Basic)) => return Ok(false),
            Challenge::Basic if self.credentials.as_ref().and_then(Credentials::basic).is_none() => {
                return Ok(false);
            }
            Challenge::Basic => Authorization::Basic,
            Challenge::Bearer { realm, service } => {
                let request = token::Request {
                    registry,
                    realm: &realm,
                    service: service.as_deref(),
                    scope: self.scope.as_deref(),
                    credentials: self.credentials.as_ref(),
                };
                Authorization::Bearer(token::fetch(&self.transport, &request).await?)
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
        _ => true,
    }
}

fn secret(token: &str) -> HeaderValue {
    // Tokens are checked to be printable when they arrive; a user's own that is not is sent as none.
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// How long to wait before an answer may be another one; `None` when it will not be.
fn passing(response: &Response, pause: Duration) -> Option<Duration> {
    let asked = response.headers().get(RETRY_AFTER);
    let asked = asked.and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
    match response.status().as_u16() {
        // Docker Hub's limit is one of hours, and it says so without a time.
        429 => asked.filter(|wait| *wait <= LONGEST_PAUSE),
        500 | 502 | 503 | 504 => Some(asked.unwrap_or(pause)).filter(|wait| *wait <= LONGEST_PAUSE),
        _ => None,
    }
}

pub(crate) fn transport_error(url: &Url, error: reqwest::Error) -> Error {
    Error::Transport { url: shown(url), source: error.without_url() }
}

/// The address without its query, in which object stores have signatures, and without its password.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    if url.password().is_some() {
        // It fails for addresses that can't have one.
        let _ = url.set_password(Some("xxxxx"));
    }
    url.to_string()
}

/// The whole body, which must not be longer than `limit`.
pub(crate) async fn body(mut response: Response, shown: &str, limit: u64) -> Result<Bytes, Error> {
    let too_long = || Error::Protocol { url: shown.to_owned(), problem: Problem::TooLong(limit) };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let broken =
        |source: reqwest::Error| Error::Transport { url: shown.to_owned(), source: source.without_url() };
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// The registry's error document.
#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorItem>,
    /// Token servers say it in their own way.
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The registry's reason as Docker shows it, e.g. `manifest unknown: manifest unknown`.
pub(crate) fn reason(body: &[u8]) -> Option<String> {
    let document: Errors = serde_json::from_slice(body).ok()?;
    let Some(first) = document.errors.first() else {
        return Some(printable(&document.details)).filter(|details| !details.is_empty());
    };
    let code = printable(&first.code).to_lowercase().replace('_', " ");
    let message = printable(&first.message);
    Some(if message.is_empty() { code } else { format!("{code}: {message}") })
}

/// The code of the registry's first error.
pub(crate) fn code(body: &[u8]) -> Option<String> {
    let document: Errors = serde_json::from_slice(body).ok()?;
    document.errors.into_iter().next().map(|first| first.code)
}

/// Text of a stranger's for a terminal: one line, no control characters, not endless.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(500).collect()
}

/// An answer that nothing was known to do with.
pub(crate) fn unexpected(shown: &str, status: StatusCode, body: &[u8]) -> Error {
    let reason = reason(body);
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Error::RateLimited { reason: reason.unwrap_or("toomanyrequests: too many requests".into()) };
    }
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Error::Status { url: shown.to_owned(), status: status.to_string(), reason }
}

/// A header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
