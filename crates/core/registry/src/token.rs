//! Access tokens (distribution-spec, "Docker Registry v2 authentication via central service").
//!
//! The token server is whoever the registry says. It gets the user's credentials, so it must be reached by
//! HTTPS unless the registry itself is not, and a registry elsewhere cannot point to this machine's own
//! services (CVE-2020-15157).

use crate::credentials::Credentials;
use crate::error::{Error, Problem};
use crate::exchange::{self, ERROR_LIMIT};
use crate::redirect::{is_internal, origin_text};
use crate::transport::Transport;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// A token that the registry accepts for a while.
#[derive(Clone)]
pub(crate) struct Token {
    pub value: String,
    pub expires: Instant,
}

/// What is asked of a token server.
pub(crate) struct Request<'a> {
    /// The registry's own address.
    pub registry: &'a Url,
    pub realm: &'a str,
    pub service: Option<&'a str>,
    pub scope: Option<&'a str>,
    pub credentials: Option<&'a Credentials>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

/// Tokens without a term last this long.
const DEFAULT_TERM: Duration = Duration::from_secs(60);

/// Gets a token.
pub(crate) async fn fetch(transport: &Transport, request: &Request<'_>) -> Result<Token, Error> {
    let realm = realm(request)?;
    let identity =
        request.credentials.map(|who| who.identitytoken.as_str()).filter(|token| !token.is_empty());
    let builder = match identity {
        Some(token) => {
            let form = parameters(request, &[("grant_type", "refresh_token"), ("refresh_token", token)]);
            transport
                .http(&realm)?
                .post(realm.clone())
                .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form)
        }
        None => {
            let mut url = realm.clone();
            let query = [url.query().unwrap_or_default(), &parameters(request, &[])].join("&");
            url.set_query(Some(query.trim_start_matches('&')));
            let builder = transport.http(&realm)?.get(url);
            match request.credentials.and_then(Credentials::basic) {
                Some((name, password)) => builder.basic_auth(name, Some(password)),
                None => builder,
            }
        }
    };
    let shown = realm.to_string();
    let response = builder.send().await.map_err(|error| exchange::transport_error(&realm, error))?;
    let status = response.status();
    let body = exchange::body(response, &shown, ERROR_LIMIT).await?;
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let reason = exchange::reason(&body).unwrap_or("unauthorized: authentication required".into());
        return Err(Error::Unauthorized { url: shown, reason });
    }
    if !status.is_success() {
        return Err(exchange::unexpected(&shown, status, &body));
    }
    let bad = || Error::Protocol { url: shown.clone(), problem: Problem::BadDocument };
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| bad())?;
    let value = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad());
    }
    let term = answer.expires_in.map_or(DEFAULT_TERM, Duration::from_secs).min(Duration::from_secs(3600));
    // Renewed a little early, so that it does not end on the way.
    Ok(Token { value, expires: Instant::now() + term.saturating_sub(Duration::from_secs(10)) })
}

fn realm(request: &Request<'_>) -> Result<Url, Error> {
    let refuse = |problem| Error::Protocol { url: request.registry.to_string(), problem };
    let realm = Url::parse(request.realm).map_err(|_| refuse(Problem::BadChallenge))?;
    if realm.scheme() != "https" && (realm.scheme() != "http" || request.registry.scheme() == "https") {
        return Err(refuse(Problem::InsecureRealm(origin_text(&realm))));
    }
    if is_internal(&realm) && !is_internal(request.registry) {
        return Err(refuse(Problem::InternalTarget(origin_text(&realm))));
    }
    Ok(realm)
}

fn parameters(request: &Request<'_>, more: &[(&str, &str)]) -> String {
    // The encoder of a URL's query is that of a form.
    let mut form = request.registry.clone();
    form.set_query(None);
    {
        let mut pairs = form.query_pairs_mut();
        pairs.extend_pairs(request.service.map(|service| ("service", service)));
        pairs.extend_pairs(request.scope.map(|scope| ("scope", scope)));
        pairs.append_pair("client_id", "dhow").extend_pairs(more);
    }
    form.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(registry: &str, realm: &str) -> Result<Url, Error> {
        let registry = Url::parse(registry).unwrap();
        super::realm(&Request { registry: &registry, realm, service: None, scope: None, credentials: None })
    }

    #[test]
    fn who_gets_credentials() {
        assert!(trusted("https://registry-1.docker.io/v2/", "https://auth.docker.io/token").is_ok());
        assert!(trusted("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/token").is_ok());
        assert!(trusted("http://reg.lan/v2/", "http://auth.lan/token").is_ok());
        let refused = |registry, realm| match trusted(registry, realm) {
            Err(Error::Protocol { problem, .. }) => problem,
            other => panic!("{other:?}"),
        };
        let registry = "https://r.example/v2/";
        assert!(matches!(refused(registry, "http://r.example/token"), Problem::InsecureRealm(_)));
        assert!(matches!(refused(registry, "ftp://r.example/token"), Problem::InsecureRealm(_)));
        assert_eq!(refused(registry, "token"), Problem::BadChallenge);
        for realm in
            ["https://127.0.0.1/", "https://169.254.169.254/", "https://[::1]:8080/", "https://localhost/"]
        {
            assert!(matches!(refused(registry, realm), Problem::InternalTarget(_)), "{realm}");
        }
    }
}
