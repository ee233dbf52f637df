//! Containers.

use api::containers::{
    ArchivePutOptions, AttachOptions, Change, CreateRequest, CreateResponse, Inspect, ListOptions,
    LogsOptions, PathStat, PruneReport, RemoveOptions, Stats, StatsOptions, StopOptions, Summary,
    TopResponse, UpdateRequest, UpdateResponse, WaitCondition, WaitResponse,
};
use api::{Filters, common};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use crate::Client;
use crate::error::{Error, Result};
use crate::hijack::{Hijacked, hijack};
use crate::query::{Query, path};
use crate::request::{call, get, post, whole};
use crate::stream::{ByteStream, JsonLines, Payload, document};

/// Lists containers.
pub async fn list(client: &Client, options: &ListOptions) -> Result<Vec<Summary>> {
    let query = Query::new()
        .flag("all", options.all)
        .number("limit", options.limit)
        .flag("size", options.size)
        .text("filters", &options.filters.to_json());
    get("/containers/json").query(query).fetch(client).await
}

/// Makes a container; an empty name gets a random one, an empty platform is the server's.
pub async fn create(
    client: &Client,
    name: &str,
    platform: &str,
    request: &CreateRequest,
) -> Result<CreateResponse> {
    let query = Query::new().text("name", name).text("platform", platform);
    post("/containers/create").query(query).json(request)?.fetch(client).await
}

/// Everything about one container; `size` also measures its layers.
pub async fn inspect(client: &Client, id: &str, size: bool) -> Result<Inspect> {
    get(path("/containers/", id, "/json")).query(Query::new().flag("size", size)).fetch(client).await
}

/// The container's document as the server wrote it, with all fields.
pub async fn inspect_raw(client: &Client, id: &str, size: bool) -> Result<serde_json::Value> {
    get(path("/containers/", id, "/json")).query(Query::new().flag("size", size)).fetch(client).await
}

/// Starts; `false` when it already ran.
pub async fn start(client: &Client, id: &str, detach_keys: &str) -> Result<bool> {
    let call = post(path("/containers/", id, "/start")).query(Query::new().text("detachKeys", detach_keys));
    Ok(call.send(client).await?.status() != StatusCode::NOT_MODIFIED)
}

/// Stops; `false` when it did not run.
pub async fn stop(client: &Client, id: &str, options: &StopOptions) -> Result<bool> {
    let call = post(path("/containers/", id, "/stop")).query(stop_query(options));
    Ok(call.send(client).await?.status() != StatusCode::NOT_MODIFIED)
}

/// Stops and starts.
pub async fn restart(client: &Client, id: &str, options: &StopOptions) -> Result<()> {
    post(path("/containers/", id, "/restart")).query(stop_query(options)).done(client).await
}

fn stop_query(options: &StopOptions) -> Query {
    let query = Query::new().text("signal", &options.signal);
    match options.timeout {
        Some(seconds) => query.put("t", &seconds.to_string()),
        None => query,
    }
}

/// Sends a signal; an empty one is KILL.
pub async fn kill(client: &Client, id: &str, signal: &str) -> Result<()> {
    post(path("/containers/", id, "/kill")).query(Query::new().text("signal", signal)).done(client).await
}

/// Removes.
pub async fn remove(client: &Client, id: &str, options: &RemoveOptions) -> Result<()> {
    let query =
        Query::new().flag("force", options.force).flag("v", options.volumes).flag("link", options.link);
    call(Method::DELETE, path("/containers/", id, "")).query(query).done(client).await
}

/// Freezes all processes.
pub async fn pause(client: &Client, id: &str) -> Result<()> {
    post(path("/containers/", id, "/pause")).done(client).await
}

/// Thaws all processes.
pub async fn unpause(client: &Client, id: &str) -> Result<()> {
    post(path("/containers/", id, "/unpause")).done(client).await
}

/// Gives another name.
pub async fn rename(client: &Client, id: &str, name: &str) -> Result<()> {
    post(path("/containers/", id, "/rename")).query(Query::new().put("name", name)).done(client).await
}

/// Changes limits and restart policy.
pub async fn update(client: &Client, id: &str, request: &UpdateRequest) -> Result<UpdateResponse> {
    post(path("/containers/", id, "/update")).json(request)?.fetch(client).await
}

/// A wait that the server has registered: no exit from now on is missed.
pub struct Wait(Response<Incoming>);

impl Wait {
    /// Waits for the exit.
    pub async fn result(self) -> Result<WaitResponse> {
        document(&whole(self.0.into_body(), 1 << 20).await?)
    }
}

/// Registers a wait.
pub async fn wait(client: &Client, id: &str, condition: WaitCondition) -> Result<Wait> {
    let query = Query::new().put("condition", condition.as_str());
    post(path("/containers/", id, "/wait")).query(query).send(client).await.map(Wait)
}

/// Joins the streams of the main process.
pub async fn attach(client: &Client, id: &str, options: &AttachOptions) -> Result<Hijacked> {
    let query = Query::new()
        .flag("stream", options.stream)
        .flag("stdin", options.stdin)
        .flag("stdout", options.stdout)
        .flag("stderr", options.stderr)
        .flag("logs", options.logs)
        .text("detachKeys", &options.detach_keys);
    hijack(post(path("/containers/", id, "/attach")).query(query), client).await
}

/// The log: [`api::stdcopy`] frames, or plain bytes when the container has a terminal.
pub async fn logs(client: &Client, id: &str, options: &LogsOptions) -> Result<ByteStream> {
    let query = Query::new()
        .flag("follow", options.follow)
        .flag("stdout", options.stdout)
        .flag("stderr", options.stderr)
        .text("since", &options.since)
        .text("until", &options.until)
        .flag("timestamps", options.timestamps)
        .flag("details", options.details)
        .text("tail", &options.tail);
    let response = get(path("/containers/", id, "/logs")).query(query).send(client).await?;
    Ok(ByteStream::new(response.into_body()))
}

/// Processes, as `ps` with these arguments shows them.
pub async fn top(client: &Client, id: &str, ps_args: &str) -> Result<TopResponse> {
    get(path("/containers/", id, "/top")).query(Query::new().text("ps_args", ps_args)).fetch(client).await
}

/// Resource usage: one sample, or one a second.
pub async fn stats(client: &Client, id: &str, options: &StatsOptions) -> Result<JsonLines<Stats>> {
    let query =
        Query::new().put("stream", if options.stream { "1" } else { "0" }).flag("one-shot", options.one_shot);
    let response = get(path("/containers/", id, "/stats")).query(query).send(client).await?;
    Ok(JsonLines::new(response.into_body()))
}

/// Paths that differ from the image.
pub async fn changes(client: &Client, id: &str) -> Result<Vec<Change>> {
    let changes: Option<Vec<Change>> = get(path("/containers/", id, "/changes")).fetch(client).await?;
    Ok(changes.unwrap_or_default())
}

/// Sets the size of the terminal.
pub async fn resize(client: &Client, id: &str, height: u32, width: u32) -> Result<()> {
    let query = Query::new().put("h", &height.to_string()).put("w", &width.to_string());
    post(path("/containers/", id, "/resize")).query(query).done(client).await
}

/// The file system as a tar.
pub async fn export(client: &Client, id: &str) -> Result<ByteStream> {
    let response = get(path("/containers/", id, "/export")).send(client).await?;
    Ok(ByteStream::new(response.into_body()))
}

/// A path as a tar, with its stat record.
pub async fn archive_get(client: &Client, id: &str, inside: &str) -> Result<(PathStat, ByteStream)> {
    let query = Query::new().put("path", inside);
    let response = get(path("/containers/", id, "/archive")).query(query).send(client).await?;
    Ok((path_stat(&response)?, ByteStream::new(response.into_body())))
}

/// The stat record of a path.
pub async fn archive_head(client: &Client, id: &str, inside: &str) -> Result<PathStat> {
    let query = Query::new().put("path", inside);
    let call = call(Method::HEAD, path("/containers/", id, "/archive")).query(query);
    match call.send(client).await {
        // An answer to this method has no body: to the other one it says what is wrong.
        Err(Error::Api { status, .. }) if status.is_server_error() => {
            archive_get(client, id, inside).await.map(|(stat, _)| stat)
        }
        answer => path_stat(&answer?),
    }
}

fn path_stat(response: &Response<Incoming>) -> Result<PathStat> {
    let header = response.headers().get(common::PATH_STAT_HEADER).and_then(|v| v.to_str().ok());
    let missing = || Error::Header(common::PATH_STAT_HEADER);
    PathStat::decode(header.ok_or_else(missing)?).map_err(|_| missing())
}

/// Unpacks a tar into a directory.
pub async fn archive_put(client: &Client, id: &str, options: &ArchivePutOptions, tar: Payload) -> Result<()> {
    let query = Query::new()
        .put("path", &options.path)
        .put("noOverwriteDirNonDir", if options.no_overwrite_dir_non_dir { "true" } else { "false" })
        .flag("copyUIDGID", options.copy_uid_gid);
    call(Method::PUT, path("/containers/", id, "/archive"))
        .query(query)
        .payload("application/x-tar", tar)
        .done(client)
        .await
}

/// Removes what does not run.
pub async fn prune(client: &Client, filters: &Filters) -> Result<PruneReport> {
    post("/containers/prune").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}
