//! Solving a graph: what it reads of the client comes, the engine builds. And putting results together to images, which is a graph
//! with nothing to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard_buildkit_proto::pb::{Definition, op};
use engine::builds::ContextSource;
use engine::builds::graph::{Claims, Fs, Given, GivenGraph, Graph, HistoryItem, ImageUse};
use oci::image::ImageConfig;
use oci::{Digest, Platform};
use tonic::Status;

use super::bad;
use super::blame::Blame;
use super::lower::{Lowered, lower};
use super::nested::expand;
use super::read::{Vertex, read};
use super::source::LAYOUT;
use crate::Host;
use crate::build::{Build, Made};
use crate::frontend::attributes::{self, Attributes, IMPORTS};
use crate::frontend::{Asked, exporters, layout, order, receive, upload};
use crate::policy;
use crate::sources::Sources;

/// Solves a definition. A `part` is no image yet: it has no name, and is not handed out.
pub async fn solve(
    host: &Host,
    build: &Build,
    definition: &Definition,
    attributes: &Attributes,
    is_part: bool,
) -> Result<Made, Status> {
    let graph = expand(host, build, read(definition)?, attributes).await?;
    run(host, build, graph, attributes, is_part).await
}

/// The same of a graph without builds in it.
pub(super) async fn run(
    host: &Host,
    build: &Build,
    graph: super::read::Graph,
    attributes: &Attributes,
    is_part: bool,
) -> Result<Made, Status> {
    let given = allowed(host, build, graph).await?;
    let lowered = lower(&given)?;
    // As Dockerfiles are that a client works on: it comes anew each time, and is in no result.
    let is_source = |vertex: &Vertex| matches!(vertex.op, op::Op::Source(_));
    let is_read = is_part && given.vertices.iter().all(is_source) && !lowered.graph.ops.is_empty();
    let Lowered { mut graph, platform, locals, pull, layouts, checksums, made, image_vertices } = lowered;
    let mut carried = if is_part { Attributes::new() } else { carried(build) };
    carried.extend(attributes.get_key_value(IMPORTS).map(|(key, value)| (key.clone(), value.clone())));
    let mut options = attributes::options(&carried, &build.order)?;
    options.no_cache = attributes.get("no-cache").is_some_and(String::is_empty);
    options.pull = pull;
    if is_read {
        options.extras.caches_to.clear();
    }
    if is_part {
        options.extras.export = Default::default();
    } else {
        options.tags = names(build)?;
        if let Some(said) = exporters::config(&build.order, &platform) {
            (graph.config, graph.history) = described(Some(&said), None, &platform)?;
        }
    }
    for (id, op) in layouts {
        let used = graph.images.iter_mut().filter(|image| image.reference == id);
        for image in used {
            image.reference = layout(host, build, &op, &image.platform).await?;
        }
    }
    for (number, checksum) in checksums {
        let image = &mut graph.images[number];
        image.reference = Box::pin(checked(host, build, image, &checksum, pull)).await?;
    }
    let mut held = Vec::new();
    let shown = locals.iter().map(|local| (local.context.clone(), local.name.clone())).collect();
    for local in locals {
        let files = match local.is_upload {
            true => Box::pin(upload(host, build, &local.name)).await?,
            false => Arc::new(Box::pin(receive(host, build, &local)).await?),
        };
        let path = files.path().to_str();
        let path = path.ok_or_else(|| Status::internal(format!("{:?} is no UTF-8", files.path())))?;
        options.extras.contexts.insert(local.context, path.to_owned());
        held.push(files);
    }
    let names = graph.images.iter().map(|image| image.reference.clone());
    let images = names.zip(image_vertices).collect();
    let blame = Blame { vertices: given.vertices, made, images };
    let graphs = vec![GivenGraph { platform, graph, claims: Claims::default() }];
    let given = Given { graphs, name: String::new(), text: String::new(), locals: shown };
    let source = ContextSource::Graph(Box::new(given));
    let asked = Asked { record: build.record(), blame: Some(&blame), is_read, ..Asked::default() };
    let made = order(host, build, options, source, asked).await;
    // Removing many files takes a while.
    tokio::task::spawn_blocking(move || drop(held));
    made
}

/// The name of an image, which must have this digest.
async fn checked(
    host: &Host,
    build: &Build,
    image: &ImageUse,
    checksum: &Digest,
    pull: bool,
) -> Result<String, Status> {
    let (name, sources) = (&image.reference, Sources::new(host, build));
    let find = async |mode| sources.image(name, &image.platform, mode).await.map(|found| found.root);
    let mut root = find(if pull { "pull" } else { "" }).await?;
    let mut why = String::new();
    if root != *checksum && !pull {
        // The one that is here may be of before.
        match find("pull").await {
            Ok(found) => root = found,
            Err(status) => why = format!(", and no other one is to be had: {}", status.message()),
        }
    }
    if root != *checksum {
        return Err(Status::failed_precondition(format!(
            "image digest {root} for {name} does not match expected checksum {checksum}{why}"
        )));
    }
    Ok(match pull && !name.contains('@') {
        // It is asked about once more.
        true => format!("{name}@{checksum}"),
        false => name.clone(),
    })
}

/// The graph with what the policies of the build leave in the place of its sources. Images of the client's stores are asked about when
/// they are loaded.
async fn allowed(
    host: &Host,
    build: &Build,
    mut graph: super::read::Graph,
) -> Result<super::read::Graph, Status> {
    let asked = |vertex: &mut Vertex| match &mut vertex.op {
        op::Op::Source(source) if !source.identifier.starts_with(LAYOUT) => {
            let platform = source.identifier.starts_with("docker-image://").then(|| vertex.platform.clone());
            Some((std::mem::take(source), platform))
        }
        _ => None,
    };
    let sources = graph.vertices.iter_mut().filter_map(asked).collect();
    let mut allowed = policy::all_allowed(host, build, sources).await?.into_iter();
    for vertex in &mut graph.vertices {
        if let op::Op::Source(source) = &mut vertex.op
            && !source.identifier.starts_with(LAYOUT)
        {
            *source = allowed.next().ok_or_else(|| Status::internal("a source was lost"))?;
            build.commits.pin(source);
        }
    }
    Ok(graph)
}

/// The names that the exporters of a build give.
fn names(build: &Build) -> Result<Vec<String>, Status> {
    let exporters = exporters::exporters(&build.order);
    let names = exporters.iter().filter(|e| exporters::keeps(e)).map(|e| build.names(e));
    Ok(names.collect::<Result<Vec<_>, _>>()?.concat())
}

/// What the attributes of a build say of the image, whoever makes it: the time that stands for now, what is attested.
fn carried(build: &Build) -> Attributes {
    let of_attestations =
        |key: &str| key.starts_with("attest:") || key.starts_with("build-arg:BUILDKIT_ATTEST_");
    let is_meant = |key: &str| key == "build-arg:SOURCE_DATE_EPOCH" || of_attestations(key);
    let all = build.order.frontend_attrs.iter().filter(|(key, _)| is_meant(key));
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The argument that says which time stands for now.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// One platform's file system of a result that a client puts together.
pub struct Piece {
    /// The manifest that has it, and the platform that this was made for; nothing for an empty one.
    pub image: Option<(String, Platform)>,
    pub platform: Platform,
    /// The configuration that the client wants it to have, and that of the image that it is based on.
    pub config: Option<Vec<u8>>,
    pub base: Option<Vec<u8>>,
    /// It was made as a part: nothing that is to be done with all layers of an image was done with its own.
    pub is_part: bool,
    /// What the client says of it.
    pub claims: Claims,
}

/// What a definition without operations is: an image without files.
pub async fn nothing(host: &Host, build: &Build) -> Result<Made, Status> {
    let platform = Platform::host();
    let config = exporters::config(&build.order, &platform);
    let piece =
        Piece { image: None, platform, config, base: None, is_part: false, claims: Claims::default() };
    assemble(host, build, vec![piece], &HashMap::new(), false).await
}

/// Makes images of what was solved; a map of results is one of several platforms even if it has only one.
pub async fn assemble(
    host: &Host,
    build: &Build,
    pieces: Vec<Piece>,
    metadata: &HashMap<String, Vec<u8>>,
    is_map: bool,
) -> Result<Made, Status> {
    let split = is_map || pieces.len() > 1;
    let graphs = pieces.into_iter().map(graph).collect::<Result<Vec<_>, _>>()?;
    let mut options = attributes::options(&carried(build), &build.order)?;
    // It was sent when it was made.
    options.extras.caches_to.clear();
    options.tags = names(build)?;
    let own = options.build_args.get(EPOCH).cloned().flatten();
    let is_time = own.is_some_and(|own| own.is_empty() || own.parse::<i64>().is_ok());
    if let (Some(epoch), false) = (exporters::epoch(metadata)?, is_time) {
        options.build_args.insert(EPOCH.to_owned(), Some(epoch.to_string()));
    }
    options.extras.export.index = is_map;
    // Of what both say, the exporters' counts.
    let own = std::mem::take(&mut options.extras.export.annotations);
    options.extras.export.annotations = exporters::annotated(metadata).into_iter().chain(own).collect();
    let given = Given { graphs, name: String::new(), text: String::new(), locals: BTreeMap::new() };
    let source = ContextSource::Graph(Box::new(given));
    order(host, build, options, source, Asked { record: build.record(), split, ..Asked::default() }).await
}

/// Refuses what cannot be an image's configuration. Where nobody has said for which platform it is, it may say that itself, and then all
/// of it.
pub fn check(config: &[u8], has_platform: bool) -> Result<(), Status> {
    let wrong = |e| bad(format!("the configuration of the image: {e}"));
    let said = configuration(config).map_err(wrong)?;
    let refused = Status::invalid_argument;
    let said = said.ok_or_else(|| refused("invalid null image config for export"))?;
    match !has_platform && said.os.is_empty() != said.architecture.is_empty() {
        true => Err(refused("invalid image config: os and architecture must be specified together")),
        false => Ok(()),
    }
}

/// What a client says of an image, whose layers it leaves to whoever writes it.
fn configuration(bytes: &[u8]) -> serde_json::Result<Option<ImageConfig>> {
    let document: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(bytes)?;
    let Some(mut document) = document else { return Ok(None) };
    document.insert("rootfs".to_owned(), serde_json::json!({ "type": "layers", "diff_ids": [] }));
    serde_json::from_value(document.into())
}

/// The configuration and the history that a client says, or those of an image of which nothing is said. What is of the image that it is
/// based on keeps its times.
fn described(
    said: Option<&[u8]>,
    base: Option<&[u8]>,
    platform: &Platform,
) -> Result<(ImageConfig, Vec<HistoryItem>), Status> {
    let wrong = |e| bad(format!("the configuration of the image: {e}"));
    let config = said.map(configuration).transpose().map_err(wrong)?.flatten();
    let mut config = config.unwrap_or_else(|| ImageConfig::new(platform));
    if config.os.is_empty() || config.architecture.is_empty() {
        let known = ImageConfig::new(platform);
        (config.os, config.architecture, config.variant) = (known.os, known.architecture, known.variant);
    }
    let below = base.and_then(|base| configuration(base).ok().flatten()).unwrap_or_default().history;
    let lines = std::mem::take(&mut config.history);
    let inherited = lines.iter().zip(&below).take_while(|(line, below)| line == below).count();
    let item = |(at, line)| if at < inherited { HistoryItem::Base(line) } else { HistoryItem::Said(line) };
    Ok((config, lines.into_iter().enumerate().map(item).collect()))
}

/// The layers of an image by their digests, if its configuration says them.
fn layers(config: Option<&[u8]>) -> Vec<Digest> {
    let config = config.and_then(|config| serde_json::from_slice::<ImageConfig>(config).ok());
    config.map(|config| config.rootfs.diff_ids).unwrap_or_default()
}

fn graph(piece: Piece) -> Result<GivenGraph, Status> {
    let (config, history) = described(piece.config.as_deref(), piece.base.as_deref(), &piece.platform)?;
    let mut claims = piece.claims;
    claims.undated = piece.is_part.then(|| layers(piece.base.as_deref()));
    let used = piece.image.map(|(reference, platform)| ImageUse {
        reference,
        platform,
        name: "[internal] result".to_owned(),
        stage: String::new(),
        span: Default::default(),
    });
    let result = if used.is_some() { Fs::Image(0) } else { Fs::Scratch };
    let (scan, stages) = (Default::default(), Default::default());
    let images = used.into_iter().collect();
    let graph = Graph { images, ops: Vec::new(), result, config, history, scan, stages };
    Ok(GivenGraph { platform: piece.platform, graph, claims })
}
