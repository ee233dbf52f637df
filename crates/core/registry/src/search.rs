//! Looking for repositories: Docker Hub's search (version 1 of the registry's API, which Docker still uses), and for registries
//! that have none the names in their catalog.

use crate::client::{Client, domain};
use crate::credentials::Credentials;
use crate::error::{Error, Problem, RequestLine};
use crate::exchange::{self, ERROR_LIMIT, Get, Session};
use crate::token::Wants;
use oci::image::MANIFEST_MAX;
use reqwest::header::LINK;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

const INDEX: &str = "https://index.docker.io/v1/search";
const HUB: &str = "docker.io";
/// Pages of a catalog that are read, and names a page.
const PAGES: usize = 20;
const A_PAGE: usize = 1000;

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    pub name: String,
    pub description: String,
    pub star_count: i64,
    pub is_official: bool,
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Option<Vec<Found>>,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// The registry that is searched, and what for: `reg.lan:5000/app` is `app` in a registry, `team/app` is all of it in the Hub.
pub(crate) fn split(term: &str) -> (String, &str) {
    match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (domain(first), rest),
        _ => (HUB.to_owned(), term),
    }
}

impl Client {
    /// The registry that a search asks.
    pub fn searched(term: &str) -> String {
        split(term).0
    }

    /// At most `limit` repositories.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        credentials: Option<Credentials>,
    ) -> Result<Vec<Found>, Error> {
        let (domain, words) = split(term);
        let words = words.strip_prefix("library/").filter(|_| domain == HUB).unwrap_or(words);
        let wants = Wants::new(vec!["registry:catalog:*".to_owned()]);
        let session =
            Session::with_registry(self.transport().clone(), domain.clone(), wants, credentials.clone());
        let mut url = match domain == HUB {
            true => Url::parse(INDEX),
            false => session.root().await?.join("../v1/search"),
        }
        .map_err(|_| Error::Protocol {
            request: RequestLine::get(domain.clone()),
            problem: Problem::BadRedirect,
        })?;
        url.query_pairs_mut().append_pair("q", words).append_pair("n", &limit.to_string());
        let response = match domain == HUB {
            true => {
                let mut request = self.transport().http(&url)?.get(url.clone());
                if let Some((name, password)) = credentials.as_ref().and_then(Credentials::basic) {
                    request = request.basic_auth(name, Some(password));
                }
                let request = request.timeout(self.transport().patience().document);
                exchange::answer(Method::GET, &url, request).await?
            }
            false => session.get(&url, &Get::default()).await?,
        };
        let (status, shown) = (response.status(), exchange::shown(&url));
        if status.is_success() {
            let body = exchange::body(response, &shown, MANIFEST_MAX).await?;
            let bad = |_| Error::Protocol { request: shown.clone(), problem: Problem::BadDocument };
            let answer: Answer = serde_json::from_slice(&body).map_err(bad)?;
            return Ok(answer.results.unwrap_or_default().into_iter().take(limit).map(clean).collect());
        }
        if domain != HUB && matches!(status.as_u16(), 400..=405 | 501) {
            return catalog(&session, &domain, words, limit).await;
        }
        let body = exchange::body(response, &shown, ERROR_LIMIT).await?;
        Err(exchange::unexpected(&shown, status, &body))
    }
}

/// A stranger's words, for a terminal.
fn clean(found: Found) -> Found {
    Found {
        name: exchange::printable(&found.name),
        description: exchange::printable(&found.description),
        ..found
    }
}

/// The names of a registry's catalog with these words in them.
async fn catalog(session: &Session, domain: &str, words: &str, limit: usize) -> Result<Vec<Found>, Error> {
    let mut url = session.root().await?;
    url.set_path(&format!("{}_catalog", url.path()));
    url.set_query(Some(&format!("n={A_PAGE}")));
    let mut found = Vec::new();
    for _ in 0..PAGES {
        let response = session.get(&url, &Get::default()).await?;
        let (status, shown) = (response.status(), exchange::shown(&url));
        let next = exchange::header(response.headers(), LINK.as_str()).and_then(exchange::next_page);
        let next = next.and_then(|link| url.join(&link).ok()).filter(|next| next.origin() == url.origin());
        let body = exchange::body(response, &shown, MANIFEST_MAX).await?;
        if !status.is_success() {
            let reason = exchange::reason(&body).unwrap_or_else(|| status.to_string());
            return Err(match status {
                StatusCode::UNAUTHORIZED => Error::Unauthorized { request: shown, reason },
                _ => Error::NoSearch { host: domain.to_owned(), reason },
            });
        }
        let bad = |_| Error::Protocol { request: shown.clone(), problem: Problem::BadDocument };
        let page: Catalog = serde_json::from_slice(&body).map_err(bad)?;
        let names = page.repositories.unwrap_or_default().into_iter().filter(|name| name.contains(words));
        found.extend(names.map(|name| clean(Found { name: format!("{domain}/{name}"), ..Found::default() })));
        match next {
            Some(next) if found.len() < limit => url = next,
            _ => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn who_is_searched() {
        assert_eq!(split("redis"), ("docker.io".to_owned(), "redis"));
        assert_eq!(split("team/redis"), ("docker.io".to_owned(), "team/redis"));
        assert_eq!(split("docker.io/redis"), ("docker.io".to_owned(), "redis"));
        assert_eq!(split("localhost/redis"), ("localhost".to_owned(), "redis"));
        assert_eq!(split("reg.lan:5000/team/redis"), ("reg.lan:5000".to_owned(), "team/redis"));
    }
}
