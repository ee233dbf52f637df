//! Volumes.

use api::volumes::CreateRequest;
use engine::volumes;
use http::StatusCode;

use crate::answer::{self, Result};
use crate::call::Call;

pub async fn list(call: Call) -> Result {
    answer::ok(&volumes::list(&call.engine, call.query.filters()?).await?)
}

pub async fn inspect(call: Call) -> Result {
    answer::ok(&volumes::inspect(&call.engine, &call.name).await?)
}

pub async fn create(mut call: Call) -> Result {
    let request: CreateRequest = call.json().await?;
    answer::json(StatusCode::CREATED, &volumes::create(&call.engine, request).await?)
}

pub async fn remove(call: Call) -> Result {
    volumes::remove(&call.engine, &call.name, call.query.flag("force")).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn prune(call: Call) -> Result {
    let mut filters = call.query.filters()?;
    // Before API 1.42 a prune took named volumes too.
    if !call.version.at_least(42) && !filters.contains("all") {
        filters.add("all", "true");
    }
    answer::ok(&volumes::prune(&call.engine, filters).await?)
}
