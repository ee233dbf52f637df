//! Networks.

use api::Filters;
use api::networks::{ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, Network, PruneReport};
use http::Method;

use crate::Client;
use crate::error::Result;
use crate::query::{Query, path};
use crate::request::{call, get, post};

/// Lists networks.
pub async fn list(client: &Client, filters: &Filters) -> Result<Vec<Network>> {
    get("/networks").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}

/// Everything about one network; `scope` narrows a name that several have.
pub async fn inspect(client: &Client, id: &str, scope: &str, verbose: bool) -> Result<Network> {
    let query = Query::new().text("scope", scope).flag("verbose", verbose);
    get(path("/networks/", id, "")).query(query).fetch(client).await
}

/// The network's document as the server wrote it, with all fields.
pub async fn inspect_raw(client: &Client, id: &str, scope: &str, verbose: bool) -> Result<serde_json::Value> {
    let query = Query::new().text("scope", scope).flag("verbose", verbose);
    get(path("/networks/", id, "")).query(query).fetch(client).await
}

/// Makes a network.
pub async fn create(client: &Client, request: &CreateRequest) -> Result<CreateResponse> {
    post("/networks/create").json(request)?.fetch(client).await
}

/// Removes.
pub async fn remove(client: &Client, id: &str) -> Result<()> {
    call(Method::DELETE, path("/networks/", id, "")).done(client).await
}

/// Puts a container into a network.
pub async fn connect(client: &Client, id: &str, request: &ConnectRequest) -> Result<()> {
    post(path("/networks/", id, "/connect")).json(request)?.done(client).await
}

/// Takes a container out of a network.
pub async fn disconnect(client: &Client, id: &str, request: &DisconnectRequest) -> Result<()> {
    post(path("/networks/", id, "/disconnect")).json(request)?.done(client).await
}

/// Removes what no container is in.
pub async fn prune(client: &Client, filters: &Filters) -> Result<PruneReport> {
    post("/networks/prune").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}
