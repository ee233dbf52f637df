//! `docker search`.

use api::Filters;
use api::auth::AuthConfig;
use api::images::SearchResult;

use super::pull::credentials_of;
use crate::Engine;
use crate::error::{Error, Result};
use crate::registries::failed;

/// How many are asked for by default, and at most.
const DEFAULT: i64 = 25;
const MOST: i64 = 100;

/// Looks for repositories in a registry; filters are applied to what it finds.
pub async fn search(
    engine: &Engine,
    term: &str,
    limit: Option<i64>,
    filters: &Filters,
    credentials: AuthConfig,
) -> Result<Vec<SearchResult>> {
    let limit = limit.filter(|limit| *limit != 0).unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(Error::invalid(format!("limit {limit} is outside the range of [1, {MOST}]")));
    }
    let invalid = |error: api::filters::Error| Error::invalid(error.to_string());
    filters.accept(&["is-automated", "is-official", "stars"]).map_err(invalid)?;
    let automated = filters.boolean("is-automated").map_err(invalid)?;
    let official = filters.boolean("is-official").map_err(invalid)?;
    let mut stars = 0;
    for value in filters.get("stars") {
        let number = value.parse::<i64>();
        let number = number.map_err(|_| Error::invalid(format!("invalid filter 'stars=[{value}]'")))?;
        stars = stars.max(number);
    }
    let client = engine.registries(&[]);
    let found = client.search(term, limit as usize, credentials_of(credentials)).await;
    let found = found.map_err(|error| failed(&error))?.into_iter().map(|found| SearchResult {
        star_count: found.star_count,
        is_official: found.is_official,
        name: found.name,
        is_automated: found.is_automated,
        description: found.description,
    });
    Ok(found
        .filter(|found| automated.is_none_or(|wanted| found.is_automated == wanted))
        .filter(|found| official.is_none_or(|wanted| found.is_official == wanted))
        .filter(|found| found.star_count >= stars)
        .collect())
}
