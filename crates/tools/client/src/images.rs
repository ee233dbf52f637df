//! Images.

use api::auth::{self, AuthConfig};
use api::common::{REGISTRY_AUTH_HEADER, REGISTRY_CONFIG_HEADER};
use api::containers::CommitOptions;
use api::images::{
    ArtifactFile, BaseImage, ContentsOptions, DeleteResponse, HistoryItem, ImageDifference, ImageTree,
    ImportOptions, Inspect, ListOptions, NewArtifact, NewIndex, NewSignature, PruneReport, PullOptions,
    RemoteImage, RemoteOptions, RemoveOptions, SearchResult, Signatures, Summary,
};
use api::{Filters, IdResponse, JsonMessage};
use http::Method;
use oci::image::Descriptor;
use std::collections::BTreeMap;

use crate::Client;
use crate::error::Result;
use crate::query::{Query, path};
use crate::request::{call, get, post};
use crate::stream::{ByteStream, JsonLines, Payload};

/// Lists images.
pub async fn list(client: &Client, options: &ListOptions) -> Result<Vec<Summary>> {
    let query = Query::new()
        .flag("all", options.all)
        .flag("digests", options.digests)
        .flag("shared-size", options.shared_size)
        .flag("manifests", options.manifests)
        .text("filters", &options.filters.to_json());
    get("/images/json").query(query).fetch(client).await
}

/// Everything about one image.
pub async fn inspect(client: &Client, name: &str) -> Result<Inspect> {
    get(path("/images/", name, "/json")).fetch(client).await
}

/// The image's document as the server wrote it, with all fields; `platform` is empty or an OCI document.
pub async fn inspect_raw(client: &Client, name: &str, platform: &str) -> Result<serde_json::Value> {
    let query = Query::new().text("platform", platform);
    get(path("/images/", name, "/json")).query(query).fetch(client).await
}

/// How the image came about, newest first; `platform` is empty or an OCI document.
pub async fn history(client: &Client, name: &str, platform: &str) -> Result<Vec<HistoryItem>> {
    let query = Query::new().text("platform", platform);
    get(path("/images/", name, "/history")).query(query).fetch(client).await
}

/// Gives another name.
pub async fn tag(client: &Client, name: &str, repo: &str, tag: &str) -> Result<()> {
    let query = Query::new().put("repo", repo).text("tag", tag);
    post(path("/images/", name, "/tag")).query(query).done(client).await
}

/// Removes a name, and the image with its last one.
pub async fn remove(client: &Client, name: &str, options: &RemoveOptions) -> Result<Vec<DeleteResponse>> {
    let query = Query::new()
        .flag("force", options.force)
        .flag("noprune", options.no_prune)
        .each("platforms", &options.platforms);
    call(Method::DELETE, path("/images/", name, "")).query(query).fetch(client).await
}

/// Removes what nothing uses.
pub async fn prune(client: &Client, filters: &Filters) -> Result<PruneReport> {
    post("/images/prune").query(Query::new().text("filters", &filters.to_json())).fetch(client).await
}

/// Pulls; the stream's end without an error message is success.
pub async fn pull(
    client: &Client,
    options: &PullOptions,
    credentials: Option<&AuthConfig>,
) -> Result<JsonLines<JsonMessage>> {
    let query = Query::new()
        .put("fromImage", &options.from_image)
        .text("tag", &options.tag)
        .text("platform", &options.platform)
        .flag("dhow-attached", options.attached);
    let call = post("/images/create")
        .query(query)
        .header(REGISTRY_AUTH_HEADER, credentials.map(auth::encode).unwrap_or_default());
    Ok(JsonLines::new(call.send(client).await?.into_body()))
}

/// What is pushed, and how.
#[derive(Debug, Clone, Default)]
pub struct Push {
    /// Empty for all tags of the repository.
    pub tag: String,
    /// Only this platform's image; all that is there without.
    pub platform: String,
    /// `gzip` or `zstd`, or empty (our own servers).
    pub compression: String,
    /// On the format's own scale (our own servers).
    pub level: Option<u32>,
}

/// Pushes.
pub async fn push(
    client: &Client,
    name: &str,
    push: &Push,
    credentials: &AuthConfig,
) -> Result<JsonLines<JsonMessage>> {
    let level = push.level.map(|level| level.to_string()).unwrap_or_default();
    let query = Query::new()
        .text("tag", &push.tag)
        .text("platform", &push.platform)
        .text("dhow-compression", &push.compression)
        .text("dhow-compression-level", &level);
    send_push(client, name, query, credentials).await
}

/// How the result of a build is pushed (our own servers).
#[derive(Debug, Clone, Copy, Default)]
pub struct PushResult<'a> {
    /// Its digest, whatever its name means on the server.
    pub image: Option<&'a str>,
    /// It stays on the server.
    pub stays: bool,
    /// It gets no tag there.
    pub by_digest: bool,
    /// Plain HTTP will do, and a certificate that nobody has signed.
    pub insecure: bool,
    /// Its layers go as they are there, also those that are not compressed.
    pub as_is: bool,
}

/// Pushes what a name stands for, or what is to be sent under it.
pub async fn push_result(
    client: &Client,
    name: &str,
    tag: &str,
    how: PushResult<'_>,
    credentials: &AuthConfig,
) -> Result<JsonLines<JsonMessage>> {
    let query = Query::new().text("tag", tag).text("dhow-image", how.image.unwrap_or_default());
    let query = query.flag("dhow-by-digest", how.by_digest).flag("dhow-insecure", how.insecure);
    let query = query.flag("dhow-as-is", how.as_is).flag("dhow-stays", how.stays);
    send_push(client, name, query, credentials).await
}

async fn send_push(
    client: &Client,
    name: &str,
    query: Query,
    credentials: &AuthConfig,
) -> Result<JsonLines<JsonMessage>> {
    let call = post(path("/images/", name, "/push"))
        .query(query)
        .header(REGISTRY_AUTH_HEADER, auth::encode(credentials));
    Ok(JsonLines::new(call.send(client).await?.into_body()))
}

/// An image or an index by its digest as an archive, under these names, with the annotations that it has besides (our own servers).
pub async fn archive(client: &Client, target: &Descriptor, names: &[String]) -> Result<ByteStream> {
    let notes: Vec<String> = target.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let query = Query::new().each("dhow-name", names).each("dhow-annotation", &notes);
    let call = get(path("/images/", target.digest.as_str(), "/get")).query(query.flag("dhow-nameless", true));
    Ok(ByteStream::new(call.send(client).await?.into_body()))
}

/// An image or an index as its registry has it, with configurations and attestations if those are wanted (our own
/// servers).
pub async fn remote(
    client: &Client,
    name: &str,
    options: &RemoteOptions,
    credentials: &AuthConfig,
) -> Result<RemoteImage> {
    get(path("/distribution/", name, "/raw"))
        .query(Query::new().flag("dhow-details", options.details).flag("dhow-insecure", options.insecure))
        .header(REGISTRY_AUTH_HEADER, auth::encode(credentials))
        .fetch(client)
        .await
}

/// What a build for a platform would be based on; nothing is pulled (our own servers).
pub async fn base(
    client: &Client,
    name: &str,
    platform: &oci::Platform,
    credentials: &AuthConfig,
) -> Result<BaseImage> {
    get(path("/distribution/", name, "/base"))
        .query(Query::new().put("platform", &platform.to_string()))
        .header(REGISTRY_AUTH_HEADER, auth::encode(credentials))
        .fetch(client)
        .await
}

/// Makes an index in a registry (our own servers).
pub async fn create_index(
    client: &Client,
    new: &NewIndex,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<RemoteImage> {
    post("/distribution")
        .header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials))
        .json(new)?
        .fetch(client)
        .await
}

/// An image's layers with their files (our own servers).
pub async fn tree(
    client: &Client,
    name: &str,
    options: &ContentsOptions,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<ImageTree> {
    get(path("/images/", name, "/layers"))
        .query(contents(options))
        .header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials))
        .fetch(client)
        .await
}

/// What two images have otherwise (our own servers).
pub async fn difference(
    client: &Client,
    before: &str,
    after: &str,
    options: &ContentsOptions,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<ImageDifference> {
    get(path("/images/", before, "/difference"))
        .query(contents(options).put("to", after))
        .header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials))
        .fetch(client)
        .await
}

fn contents(options: &ContentsOptions) -> Query {
    Query::new()
        .put("platform", &options.platform)
        .flag("remote", options.remote)
        .flag("files", options.files)
}

/// What is signed of an image in its registry (our own servers).
pub async fn signatures(
    client: &Client,
    name: &str,
    insecure: bool,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<Signatures> {
    get(path("/distribution/", name, "/signatures"))
        .query(Query::new().flag("insecure", insecure))
        .header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials))
        .fetch(client)
        .await
}

/// Puts a signature beside an image in its registry (our own servers).
pub async fn sign(
    client: &Client,
    new: &NewSignature,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<oci::Digest> {
    let call = post("/distribution/sign").header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials));
    call.json(new)?.fetch(client).await
}

/// Attaches files to an image in its registry (our own servers).
pub async fn attach(
    client: &Client,
    new: &NewArtifact,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<oci::image::Descriptor> {
    let call = post("/distribution/attach").header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials));
    call.json(new)?.fetch(client).await
}

/// What is attached to an image in its registry, of one type or of all (our own servers).
pub async fn attached(
    client: &Client,
    name: &str,
    kind: &str,
    insecure: bool,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<Vec<oci::image::Descriptor>> {
    get(path("/distribution/", name, "/attached"))
        .query(Query::new().put("type", kind).flag("insecure", insecure))
        .header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials))
        .fetch(client)
        .await
}

/// The files of an artifact in its registry (our own servers).
pub async fn attached_files(
    client: &Client,
    name: &str,
    insecure: bool,
    credentials: &BTreeMap<String, AuthConfig>,
) -> Result<Vec<ArtifactFile>> {
    get(path("/distribution/", name, "/files"))
        .query(Query::new().flag("insecure", insecure))
        .header(REGISTRY_CONFIG_HEADER, auth::encode_all(credentials))
        .fetch(client)
        .await
}

/// The files of images as one tar, each below its directory (our own servers). With a time all of them have that.
pub async fn files(client: &Client, images: &[(String, String)], time: Option<i64>) -> Result<ByteStream> {
    let query = Query::new().text("time", &time.map(|seconds| seconds.to_string()).unwrap_or_default());
    let query =
        images.iter().fold(query, |query, (image, at)| query.put("image", image).put("directory", at));
    Ok(ByteStream::new(get("/images/files").query(query).send(client).await?.into_body()))
}

/// Makes an image of one layer from a tar.
pub async fn import(
    client: &Client,
    options: &ImportOptions,
    tar: Payload,
) -> Result<JsonLines<JsonMessage>> {
    let query = Query::new()
        .put("fromSrc", &options.from_src)
        .text("repo", &options.repo)
        .text("tag", &options.tag)
        .text("message", &options.message)
        .each("changes", &options.changes)
        .text("platform", &options.platform);
    let call = post("/images/create").query(query).payload("application/x-tar", tar);
    Ok(JsonLines::new(call.send(client).await?.into_body()))
}

/// Loads what [`save`] wrote, or of that these platforms, each an OCI document.
pub async fn load(
    client: &Client,
    tar: Payload,
    quiet: bool,
    platforms: &[String],
) -> Result<JsonLines<JsonMessage>> {
    let query = Query::new().put("quiet", if quiet { "1" } else { "0" }).each("platform", platforms);
    let call = post("/images/load").query(query).payload("application/x-tar", tar);
    Ok(JsonLines::new(call.send(client).await?.into_body()))
}

/// Images as one tar, or of them these platforms, each an OCI document.
pub async fn save(client: &Client, names: &[String], platforms: &[String]) -> Result<ByteStream> {
    let query = Query::new().each("names", names).each("platform", platforms);
    Ok(ByteStream::new(get("/images/get").query(query).send(client).await?.into_body()))
}

/// Makes an image of a container.
pub async fn commit(client: &Client, options: &CommitOptions) -> Result<IdResponse> {
    let query = Query::new()
        .put("container", &options.container)
        .text("repo", &options.repo)
        .text("tag", &options.tag)
        .text("comment", &options.comment)
        .text("author", &options.author)
        .put("pause", if options.pause { "1" } else { "0" })
        .each("changes", &options.changes);
    post("/commit").query(query).json(&options.config)?.fetch(client).await
}

/// Searches the default registry.
pub async fn search(
    client: &Client,
    term: &str,
    limit: i64,
    filters: &Filters,
    credentials: Option<&AuthConfig>,
) -> Result<Vec<SearchResult>> {
    let query = Query::new().put("term", term).number("limit", limit).text("filters", &filters.to_json());
    let mut call = get("/images/search").query(query);
    if let Some(credentials) = credentials {
        call = call.header(REGISTRY_AUTH_HEADER, auth::encode(credentials));
    }
    call.fetch(client).await
}
