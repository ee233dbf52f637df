//! Processes that join a running container.

use api::IdResponse;
use api::exec::{CreateRequest, Inspect, StartRequest};

use crate::Client;
use crate::error::Result;
use crate::hijack::{Hijacked, hijack};
use crate::query::{Query, path};
use crate::request::{get, post};

/// Makes an exec in a container; the answer's id is the exec's.
pub async fn create(client: &Client, container: &str, request: &CreateRequest) -> Result<IdResponse> {
    post(path("/containers/", container, "/exec")).json(request)?.fetch(client).await
}

/// Starts and attaches.
pub async fn start(client: &Client, id: &str, request: &StartRequest) -> Result<Hijacked> {
    hijack(post(path("/exec/", id, "/start")).json(request)?, client).await
}

/// Starts in the background.
pub async fn start_detached(client: &Client, id: &str, request: &StartRequest) -> Result<()> {
    let request = StartRequest { detach: true, ..request.clone() };
    post(path("/exec/", id, "/start")).json(&request)?.done(client).await
}

/// Sets the size of the terminal.
pub async fn resize(client: &Client, id: &str, height: u32, width: u32) -> Result<()> {
    let query = Query::new().put("h", &height.to_string()).put("w", &width.to_string());
    post(path("/exec/", id, "/resize")).query(query).done(client).await
}

/// Everything about one exec; the exit code is there.
pub async fn inspect(client: &Client, id: &str) -> Result<Inspect> {
    get(path("/exec/", id, "/json")).fetch(client).await
}
