//! The server and its machine.

use api::JsonMessage;
use api::auth::AuthConfig;
use api::common::REGISTRY_CONFIG_HEADER;
use api::events::EventsOptions;
use engine::system;
use http::{HeaderValue, header};
use tokio::sync::mpsc;

use crate::answer::{self, Result};
use crate::call::Call;
use crate::error::Failure;
use crate::progress;

/// Messages that may wait for a slow client.
const BACKLOG: usize = 64;

/// `Builder-Version: 2` makes docker's command line build through `/session` and `/grpc`, where it has buildx.
pub async fn ping(call: Call) -> Result {
    let mut answer = answer::text(if call.is_head { "" } else { "OK" });
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Builder-Version", HeaderValue::from_static("2"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    Ok(answer)
}

pub async fn version(call: Call) -> Result {
    answer::ok(&system::version(&call.engine).await?)
}

pub async fn info(call: Call) -> Result {
    answer::ok(&system::info(&call.engine).await?)
}

pub async fn events(call: Call) -> Result {
    let options = EventsOptions {
        since: call.query.text("since").to_owned(),
        until: call.query.text("until").to_owned(),
        filters: call.query.filters()?,
    };
    Ok(answer::documents(system::events(&call.engine, options).await?))
}

pub async fn df(call: Call) -> Result {
    answer::ok(&system::df(&call.engine, &call.query.all("type"), call.query.flag("dhow-disk")).await?)
}

/// Takes away what was used longest ago, until the content is within the limits; ours, not Docker's.
pub async fn collect(call: Call) -> Result {
    let set = call.engine.config().storage;
    let unused = call.query.number("unused")?.map(std::time::Duration::from_secs);
    let limits = system::Storage {
        max: call.query.number("max")?.or(set.max),
        keep_free: call.query.number("keep-free")?.or(set.keep_free),
        unused: unused.or(set.unused),
    };
    answer::ok(&system::collect(&call.engine, limits).await?)
}

/// What is on disk and in the kernel against what is known; ours, not Docker's.
pub async fn check(call: Call) -> Result {
    let options = system::CheckOptions { repair: call.query.flag("repair"), quick: call.query.flag("quick") };
    let bad = |e: api::auth::Error| Failure::bad_request(format!("X-Registry-Config: {e}"));
    let who = api::auth::decode_all(call.header(REGISTRY_CONFIG_HEADER)).map_err(bad)?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let engine = call.engine.clone();
    let work = async move {
        let findings = system::check(&engine, options, &who, sender).await?;
        let aux = serde_json::to_value(findings).map_err(|e| engine::Error::system(e.to_string()))?;
        Ok(vec![JsonMessage { aux: Some(aux), ..JsonMessage::default() }])
    };
    let failed = |error: engine::Error| JsonMessage::error(0, error.message);
    progress::answer(receiver, |message| vec![message], work, failed).await
}

pub async fn auth(mut call: Call) -> Result {
    let credentials: AuthConfig = call.json().await?;
    answer::ok(&system::auth(&call.engine, credentials).await?)
}
