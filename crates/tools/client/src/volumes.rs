//! Volumes.

use api::Filters;
use api::volumes::{CreateRequest, ListResponse, PruneReport, Volume};
use http::Method;

use crate::Client;
use crate::error::Result;
use crate::query::{Query, path};
use crate::request::{call, get, post};

pub async fn list(client: &Client, filters: &Filters) -> Result<ListResponse> {
    get("/volumes").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}

pub async fn inspect(client: &Client, name: &str) -> Result<Volume> {
    get(path("/volumes/", name, "")).fetch(client).await
}

/// The volume's document as the server wrote it, with all fields.
pub async fn inspect_raw(client: &Client, name: &str) -> Result<serde_json::Value> {
    get(path("/volumes/", name, "")).fetch(client).await
}

pub async fn create(client: &Client, request: &CreateRequest) -> Result<Volume> {
    post("/volumes/create").json(request)?.fetch(client).await
}

pub async fn remove(client: &Client, name: &str, force: bool) -> Result<()> {
    call(Method::DELETE, path("/volumes/", name, ""))
        .query(Query::new().flag("force", force))
        .done(client)
        .await
}

pub async fn prune(client: &Client, filters: &Filters) -> Result<PruneReport> {
    post("/volumes/prune").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}
