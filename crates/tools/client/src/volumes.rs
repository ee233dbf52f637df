//! Volumes.

use api::Filters;
use api::volumes::{CreateRequest, ListResponse, PruneReport, Volume};
use http::Method;

use crate::Client;
use crate::error::Result;
use crate::query::{Query, path};
use crate::request::{call, get, post};

/// Lists volumes.
pub async fn list(client: &Client, filters: &Filters) -> Result<ListResponse> {
    get("/volumes").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}

/// Everything about one volume.
pub async fn inspect(client: &Client, name: &str) -> Result<Volume> {
    get(path("/volumes/", name, "")).fetch(client).await
}

/// The volume's document as the server wrote it, with all fields.
pub async fn inspect_raw(client: &Client, name: &str) -> Result<serde_json::Value> {
    get(path("/volumes/", name, "")).fetch(client).await
}

/// Makes a volume; one with this name that is there already is the answer.
pub async fn create(client: &Client, request: &CreateRequest) -> Result<Volume> {
    post("/volumes/create").json(request)?.fetch(client).await
}

/// Removes; with `force` an absent one is fine.
pub async fn remove(client: &Client, name: &str, force: bool) -> Result<()> {
    call(Method::DELETE, path("/volumes/", name, ""))
        .query(Query::new().flag("force", force))
        .done(client)
        .await
}

/// Removes what no container uses.
pub async fn prune(client: &Client, filters: &Filters) -> Result<PruneReport> {
    post("/volumes/prune").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}
