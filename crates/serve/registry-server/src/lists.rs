//! Lists of tags (end-8) and of repositories.

use http::{Method, header};
use serde_json::json;

use crate::answer::{self, Answer, Result, with};
use crate::call::Call;
use crate::error::{Code, Failure};
use crate::name::Name;
use crate::storage::Folder;

/// Entries of a page, however many are asked for (CVE-2023-2253).
const TAGS_MAX: usize = 10_000;
const REPOSITORIES_MAX: usize = 1000;

/// The tags of a repository, in order.
pub(crate) async fn tags(call: Call, name: Name) -> Result {
    only_reads(&call)?;
    let count = call.query.count(TAGS_MAX)?;
    let after = call.query.get("last").unwrap_or_default();
    let elsewhere = match &call.registry.cache {
        Some(cache) => call.registry.upstream_tags(cache, &name).await?,
        None => None,
    };
    let mut tags = match elsewhere {
        Some(tags) => tags.into_iter().filter(|tag| tag.as_str() > after).take(count + 1).collect(),
        None if call.registry.storage.has(&name).await? => {
            call.registry.storage.names(Folder::Tags(&name), after, count + 1).await?
        }
        None => return Err(Failure::new(Code::NameUnknown).about(json!({ "name": name.as_str() }))),
    };
    let more = tags.len() > count;
    tags.truncate(count);
    let answer = answer::json(&json!({ "name": name.as_str(), "tags": tags }))?;
    Ok(paged(answer, &format!("/v2/{name}/tags/list"), count, tags.last().filter(|_| more)))
}

/// The repositories, in the order of their folders.
pub(crate) async fn catalog(call: Call) -> Result {
    only_reads(&call)?;
    let count = call.query.count(REPOSITORIES_MAX)?;
    let after = call.query.get("last").and_then(|name| name.parse().ok());
    let (names, more) = call.registry.repositories(&call.caller, after.as_ref(), count).await?;
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let answer = answer::json(&json!({ "repositories": names }))?;
    Ok(paged(answer, "/v2/_catalog", count, names.last().filter(|_| more)))
}

fn only_reads(call: &Call) -> Result<()> {
    match [Method::GET, Method::HEAD].contains(call.method()) {
        true => Ok(()),
        false => Err(call.unsupported("GET, HEAD")),
    }
}

fn paged(answer: Answer, path: &str, count: usize, last: Option<&impl AsRef<str>>) -> Answer {
    let Some(last) = last else { return answer };
    let last: String = form_urlencoded::byte_serialize(last.as_ref().as_bytes()).collect();
    with(answer, header::LINK, &format!("<{path}?n={count}&last={last}>; rel=\"next\""))
}
