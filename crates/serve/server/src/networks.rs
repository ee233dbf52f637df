//! Networks.

use api::networks::{ConnectRequest, CreateRequest, DisconnectRequest};
use engine::networks;
use http::StatusCode;

use crate::answer::{self, Result};
use crate::call::Call;

pub async fn list(call: Call) -> Result {
    answer::ok(&networks::list(&call.engine, call.query.filters()?).await?)
}

pub async fn inspect(call: Call) -> Result {
    answer::ok(&networks::inspect(&call.engine, &call.name, call.query.text("scope")).await?)
}

pub async fn create(mut call: Call) -> Result {
    let request: CreateRequest = call.json().await?;
    answer::json(StatusCode::CREATED, &networks::create(&call.engine, request).await?)
}

pub async fn remove(call: Call) -> Result {
    networks::remove(&call.engine, &call.name).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

pub async fn connect(mut call: Call) -> Result {
    let request: ConnectRequest = call.json().await?;
    networks::connect(&call.engine, &call.name, request).await?;
    Ok(answer::empty(StatusCode::OK))
}

pub async fn disconnect(mut call: Call) -> Result {
    let request: DisconnectRequest = call.json().await?;
    networks::disconnect(&call.engine, &call.name, request).await?;
    Ok(answer::empty(StatusCode::OK))
}

pub async fn prune(call: Call) -> Result {
    answer::ok(&networks::prune(&call.engine, call.query.filters()?).await?)
}
