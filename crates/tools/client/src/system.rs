//! The server and its machine.

use api::JsonMessage;
use api::auth::{self, AuthConfig};
use api::common::REGISTRY_CONFIG_HEADER;
use api::events::{EventMessage, EventsOptions};
use api::system::{AuthResponse, Collected, DiskUsage, Info, Ping, Version};
use http::Response;
use hyper::body::Incoming;
use std::collections::BTreeMap;

use crate::Client;
use crate::error::Result;
use crate::query::Query;
use crate::request::{get, post};
use crate::stream::JsonLines;

/// Asks who is there, without a version.
pub async fn ping(client: &Client) -> Result<Ping> {
    let response = get("/_ping").unversioned().send(client).await?;
    let ping = Ping {
        api_version: header(&response, "Api-Version"),
        os_type: header(&response, "Ostype"),
        experimental: header(&response, "Docker-Experimental") == "true",
        builder_version: header(&response, "Builder-Version"),
    };
    Ok(ping)
}

fn header(response: &Response<Incoming>, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Versions of the server and its parts.
pub async fn version(client: &Client) -> Result<Version> {
    get("/version").fetch(client).await
}

/// The machine, what it can do and what it holds.
pub async fn info(client: &Client) -> Result<Info> {
    get("/info").fetch(client).await
}

/// Space in use; no types is all of `container`, `image`, `volume` and `build-cache`.
pub async fn df(client: &Client, types: &[String]) -> Result<DiskUsage> {
    get("/system/df").query(Query::new().each("type", types)).fetch(client).await
}

/// As [`df`] of everything, with what each byte below the root is for. Only Dhow's servers tell that.
pub async fn df_of_disk(client: &Client) -> Result<DiskUsage> {
    get("/system/df").query(Query::new().flag("dhow-disk", true)).fetch(client).await
}

/// Takes away what was used longest ago until the content is within limits: bytes in use and bytes free, and the seconds after
/// which an image with a name is not in use any more. What is left out (or zero bytes) is as the server is set to. Only
/// Dhow's servers have this.
pub async fn collect(client: &Client, max: i64, keep_free: i64, unused: Option<i64>) -> Result<Collected> {
    let unused = unused.map(|seconds| seconds.to_string()).unwrap_or_default();
    let query = Query::new().number("max", max).number("keep-free", keep_free).text("unused", &unused);
    post("/system/collect").query(query).fetch(client).await
}

/// Checks credentials with their registry.
pub async fn auth(client: &Client, credentials: &AuthConfig) -> Result<AuthResponse> {
    post("/auth").json(credentials)?.fetch(client).await
}

/// What happens, from `since` until `until` or for ever.
pub async fn events(client: &Client, options: &EventsOptions) -> Result<JsonLines<EventMessage>> {
    let query = Query::new()
        .text("since", &options.since)
        .text("until", &options.until)
        .text("filters", &options.filters.to_json());
    let response = get("/events").query(query).send(client).await?;
    Ok(JsonLines::new(response.into_body()))
}

/// Compares what is known with disk and kernel; `repair` puts right what can be, `quick` believes the bytes of layers. The
/// last message has the [`Finding`](api::system::Finding)s. Only Dhow's servers have this.
pub async fn check(
    client: &Client,
    repair: bool,
    quick: bool,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<JsonLines<JsonMessage>> {
    let call = post("/system/check")
        .query(Query::new().flag("repair", repair).flag("quick", quick))
        .header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials));
    Ok(JsonLines::new(call.send(client).await?.into_body()))
}
