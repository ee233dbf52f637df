//! Builds.

use std::collections::BTreeMap;

use api::JsonMessage;
use api::auth::{self, AuthConfig};
use api::build::{
    BuildCheck, BuildDefinition, BuildExtras, BuildLogLine, BuildMistake, BuildOptions, BuildRecord,
    BuildShell, CachePruneOptions, CachePruneReport, EXTRAS_HEADER, EXTRAS_HEADER_MAX, EXTRAS_LENGTH_HEADER,
};
use api::common::REGISTRY_CONFIG_HEADER;
use bytes::Bytes;
use http::Method;
use serde::Serialize;

use crate::Client;
use crate::error::{Error, Result};
use crate::hijack::{Hijacked, hijack_for};
use crate::query::Query;
use crate::request::{Call, call, get, post};
use crate::stream::{JsonLines, Payload};

/// What a context is sent as.
const TAR: &str = "application/x-tar";

/// Builds an image from a context in tar form; with `options.context_dir` or `options.remote` the payload is
/// empty. The last message but one carries [`api::build::BuildResult`] in `aux`; where the result is held, the answer does not end
/// before [`give_back`].
pub async fn build(
    client: &Client,
    options: &BuildOptions,
    context: Payload,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<JsonLines<JsonMessage>> {
    let mut call = with_extras(post("/build").query(query(options)?), &options.extras, context)?;
    if !credentials.is_empty() {
        call = call.header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials));
    }
    Ok(JsonLines::new(call.send(client).await?.into_body()))
}

/// The body, with the extras in a header or, if they are long (a Dockerfile may be among them), before it.
fn with_extras(call: Call, extras: &BuildExtras, body: Payload) -> Result<Call> {
    if *extras == BuildExtras::default() {
        return Ok(call.payload(TAR, body));
    }
    let header = extras.encode();
    if header.len() <= EXTRAS_HEADER_MAX {
        return Ok(call.payload(TAR, body).header(EXTRAS_HEADER, header));
    }
    let text = serde_json::to_vec(extras).map_err(Error::Encode)?;
    let length = text.len().to_string();
    Ok(call.payload(TAR, body.after(text)).header(EXTRAS_LENGTH_HEADER, length))
}

fn query(options: &BuildOptions) -> Result<Query> {
    let query = Query::new()
        .text("dockerfile", &options.dockerfile)
        .each("t", &options.tags)
        .text("extrahosts", &options.extra_hosts.join(","))
        .text("remote", &options.remote)
        .flag("q", options.quiet)
        .flag("nocache", options.no_cache)
        .flag("pull", options.pull)
        .put("rm", if options.rm { "1" } else { "0" })
        .flag("forcerm", options.force_rm)
        .number("memory", options.memory)
        .number("memswap", options.memory_swap)
        .number("cpushares", options.cpu_shares)
        .number("cpuperiod", options.cpu_period)
        .number("cpuquota", options.cpu_quota)
        .text("cpusetcpus", &options.cpuset_cpus)
        .text("cpusetmems", &options.cpuset_mems)
        .text("cgroupparent", &options.cgroup_parent)
        .number("shmsize", options.shm_size)
        .flag("squash", options.squash)
        .text("networkmode", &options.network_mode)
        .text("platform", &options.platform)
        .text("target", &options.target)
        .text("dhow-context", &options.context_dir)
        .text("progress", if options.native_progress { "dhow" } else { "" });
    let query = json(query, "cachefrom", &options.cache_from)?;
    let query = json(query, "ulimits", &options.ulimits)?;
    let query = json(query, "buildargs", &options.build_args)?;
    let query = json(query, "labels", &options.labels)?;
    json(query, "securityopt", &options.security_opt)
}

/// Adds a parameter in JSON that is not empty.
fn json<T: Serialize + Default + PartialEq>(query: Query, name: &str, value: &T) -> Result<Query> {
    if *value == T::default() {
        return Ok(query);
    }
    Ok(query.put(name, &serde_json::to_string(value).map_err(Error::Encode)?))
}

/// The Dockerfile and the ignore file of `options.remote`.
pub async fn definition(client: &Client, options: &BuildOptions) -> Result<BuildDefinition> {
    let call = post("/build/definition").query(query(options)?);
    with_extras(call, &options.extras, Payload::empty())?.fetch(client).await
}

/// The mistake in a Dockerfile that only a builder sees, if there is one (our own servers).
pub async fn check(client: &Client, asked: &BuildCheck) -> Result<Option<BuildMistake>> {
    let found: BuildMistake = post("/build/check").json(asked)?.fetch(client).await?;
    Ok(Some(found).filter(|found| !found.message.is_empty()))
}

/// Removes what the build cache holds.
pub async fn prune(client: &Client, options: &CachePruneOptions) -> Result<CachePruneReport> {
    let query = Query::new()
        .flag("all", options.all)
        .number("reserved-space", options.reserved_space)
        .number("max-used-space", options.max_used_space)
        .number("min-free-space", options.min_free_space)
        .text("filters", &options.filters.to_json());
    post("/build/prune").query(query).fetch(client).await
}

/// A result that this build has held for us is handed out: what goes with it is gone then (our own servers).
pub async fn give_back(client: &Client, build: &str) -> Result<()> {
    post("/build/give-back").query(Query::new().put("build", build)).done(client).await
}

/// What is known of earlier builds, the newest first.
pub async fn history(client: &Client) -> Result<Vec<BuildRecord>> {
    get("/build/history").fetch(client).await
}

/// One build: an id or the beginning of one, `^1` for the one before the newest, nothing for the newest.
pub async fn inspect(client: &Client, name: &str) -> Result<BuildRecord> {
    get("/build/history/json").query(Query::new().text("id", name)).fetch(client).await
}

/// A document that belongs to it.
pub async fn attachment(client: &Client, name: &str, digest: &str) -> Result<Bytes> {
    let query = Query::new().text("id", name).text("digest", digest);
    get("/build/history/attachment").query(query).read(client).await
}

/// What happened in it.
pub async fn logs(client: &Client, name: &str) -> Result<Vec<BuildLogLine>> {
    get("/build/history/logs").query(Query::new().text("id", name)).fetch(client).await
}

/// Forgets a build, or with no name all that have ended.
pub async fn forget(client: &Client, name: &str) -> Result<Vec<String>> {
    call(Method::DELETE, "/build/history").query(Query::new().text("id", name)).fetch(client).await
}

/// Makes ready to look around where a step failed: one document, whose image is there until the answer is dropped, or its last
/// container is gone.
pub async fn shell(client: &Client, id: &str) -> Result<JsonLines<BuildShell>> {
    let call = post("/build/shell").query(Query::new().text("id", id));
    Ok(JsonLines::new(call.send(client).await?.into_body()))
}

/// A connection to the server's BuildKit, which speaks gRPC.
pub async fn grpc(client: &Client) -> Result<Hijacked> {
    hijack_for(post("/grpc"), client, "h2c").await
}
