//! A solve of the gateway, and how its results are named.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    Ref, RefMap, Result as Outcome, SolveRequest, SolveResponse, result,
};
use engine::builds::graph::Claims;
use oci::Platform;
use serde_json::json;
use tonic::Status;

use super::attested;
use crate::Host;
use crate::build::{Build, Made};
use crate::fault;
use crate::frontend::attributes::IMPORTS;
use crate::frontend::exporters;
use crate::frontend::{self, Solved, definition_of_image};
use crate::left;
use crate::llb::{self, Piece};

/// Images that are one result.
const PLATFORMS_MAX: usize = 256;

/// Solves. A process that fails is told of when its result is looked at, unless that is to be at once: by then a client that wants
/// to look around there has a name for it.
pub async fn solve(host: &Host, build: &Build, order: SolveRequest) -> Result<SolveResponse, Status> {
    let is_put_off = !order.evaluate;
    // What is built on a result that failed fails in the same way.
    let def = order.definition.clone().filter(|definition| is_put_off && !definition.def.is_empty());
    match Box::pin(solved(host, build, order)).await {
        Err(status) if is_put_off && left::is_in(&status) => {
            let part = Ref { id: build.put_failed(status)?, def };
            Ok(answer(Outcome { result: Some(result::Result::Ref(part)), ..Outcome::default() }))
        }
        solved => solved,
    }
}

async fn solved(host: &Host, build: &Build, mut order: SolveRequest) -> Result<SolveResponse, Status> {
    if !order.source_policies.is_empty() {
        return Err(fault::no_policies());
    }
    if !order.cache_imports.is_empty() {
        let imports = order.cache_imports.iter();
        let imports: Vec<_> =
            imports.map(|import| json!({ "Type": import.r#type, "Attrs": import.attrs })).collect();
        order.frontend_opt.insert(IMPORTS.to_owned(), serde_json::Value::from(imports).to_string());
    }
    if order.frontend.is_empty() {
        let Some(definition) = order.definition.filter(|definition| !definition.def.is_empty()) else {
            return Ok(answer(Outcome::default()));
        };
        let made = llb::solve(host, build, &definition, &order.frontend_opt, true).await?;
        return Ok(answer(part(build, made)?));
    }
    let mut attributes = build.order.frontend_attrs.clone();
    attributes.extend(order.frontend_opt);
    let mut inputs = build.order.frontend_inputs.clone();
    inputs.extend(order.frontend_inputs);
    match Box::pin(frontend::solve(host, build, &order.frontend, &attributes, inputs)).await? {
        Solved::Answer(metadata) => Ok(answer(Outcome { metadata, ..Outcome::default() })),
        Solved::Image(made) => {
            let id = build.put(*made)?;
            let made = build.result(&id)?;
            Ok(answer(outcome(host, &id, &made).await?))
        }
    }
}

/// A file system that is no image yet.
fn part(build: &Build, made: Made) -> Result<Outcome, Status> {
    let manifest = made.details.images.first().and_then(|image| image.manifest.clone());
    let manifest = manifest.ok_or_else(|| Status::internal("the build gave no file system"))?;
    let id = build.put(made.part())?;
    let part = Ref { id, def: Some(definition_of_image(&manifest.digest)) };
    Ok(Outcome { result: Some(result::Result::Ref(part)), ..Outcome::default() })
}

fn answer(outcome: Outcome) -> SolveResponse {
    SolveResponse { r#ref: String::new(), result: Some(outcome) }
}

/// What a solve gave: one image, or one for each platform.
async fn outcome(host: &Host, id: &str, made: &Made) -> Result<Outcome, Status> {
    let mut metadata = HashMap::new();
    let mut refs = HashMap::new();
    let mut platforms = Vec::new();
    let images = &made.details.images;
    for image in images {
        let Some(manifest) = &image.manifest else { continue };
        let found = engine::images::config(host.engine(), manifest.digest.as_str(), None).await;
        let config = found.map_err(fault::status)?;
        let key = match images.len() {
            1 => "containerimage.config".to_owned(),
            _ => format!("containerimage.config/{}", image.platform),
        };
        metadata.insert(key, config.bytes);
        let platform = config.config.platform();
        platforms.push(json!({
            "ID": image.platform,
            "Platform": {
                "architecture": platform.architecture,
                "os": platform.os,
                "variant": platform.variant.unwrap_or_default(),
            },
        }));
        let name = if images.len() == 1 { id.to_owned() } else { format!("{id}/{}", image.platform) };
        let part = Ref { id: name, def: Some(definition_of_image(&manifest.digest)) };
        refs.insert(image.platform.clone(), part);
    }
    metadata.insert("refs.platforms".to_owned(), json!({ "Platforms": platforms }).to_string().into_bytes());
    let result = match images.len() {
        1 => refs.into_values().next().map(result::Result::Ref),
        _ => Some(result::Result::Refs(RefMap { refs })),
    };
    Ok(Outcome { metadata, result, ..Outcome::default() })
}

/// What a client says that a build gave.
pub async fn returned(host: &Host, build: &Build, outcome: Outcome) -> Result<Option<Arc<Made>>, Status> {
    let Outcome { metadata, result, mut attestations } = outcome;
    build.say(&metadata);
    let is_map = matches!(result, Some(result::Result::Refs(_) | result::Result::RefsDeprecated(_)));
    let named = result.map(named).unwrap_or_default();
    let places = match platforms(&metadata)? {
        Some(platforms) => platforms.into_iter().map(|(key, platform)| (key, Some(platform))).collect(),
        None if named.is_empty() => vec![(String::new(), None)],
        None => named.iter().map(|(key, _)| (key.clone(), None)).collect::<Vec<_>>(),
    };
    // Of nothing an image is made where one is wanted; answers to questions are no images.
    let is_answer = metadata.keys().any(|key| key.starts_with("result."));
    let is_image = !is_answer && !exporters::exporters(&build.order).is_empty();
    if named.iter().all(|(_, id)| id.is_empty()) && !is_image {
        return Ok(None);
    }
    let mut budget = attested::Budget::default();
    let mut whole = None;
    let mut pieces = Vec::with_capacity(places.len());
    let mut is_whole = exporters::annotated(&metadata).is_empty() && attestations.is_empty();
    // Frontends name it afterwards.
    is_whole &= !exporters::exporters(&build.order).iter().any(exporters::asks_name);
    is_whole &= exporters::epoch(&metadata)?.is_none();
    let writes_images = exporters::writes_images(&build.order);
    for (key, platform) in places {
        let id = named.iter().find(|(name, _)| *name == key || name.is_empty()).map_or("", |(_, id)| id);
        let config = |platform: &Platform| {
            exporters::config(&build.order, platform).or_else(|| document(&metadata, exporters::CONFIG, &key))
        };
        if let Some(said) = document(&metadata, exporters::CONFIG, &key).filter(|_| writes_images) {
            llb::check(&said, platform.is_some())?;
        }
        let base = document(&metadata, "containerimage.base.config", &key);
        let said = attestations.remove(&key).unwrap_or_default();
        let statements = attested::statements(host, build, said, &mut budget).await?;
        let mut claims = Claims { statements, ..Claims::default() };
        if id.is_empty() {
            is_whole = false;
            let platform = platform.unwrap_or_else(Platform::host);
            let config = config(&platform);
            pieces.push(Piece { image: None, platform, config, base, is_part: false, claims });
            continue;
        }
        let made = build.result(id)?;
        claims.origin = made.origin(id).cloned();
        let image = made.image(id).ok_or_else(|| Status::not_found(format!("no such ref: {id}")))?;
        let manifest =
            image.manifest.as_ref().map(|manifest| manifest.digest.to_string()).unwrap_or_default();
        let wrong = |e: oci::PlatformError| Status::internal(format!("platform of a result: {e}"));
        let own = image.platform.parse::<Platform>().map_err(wrong)?;
        let platform = platform.unwrap_or_else(|| own.clone());
        is_whole &= !made.is_part() && platform.to_string() == own.to_string();
        is_whole &= whole.as_ref().is_none_or(|first| Arc::ptr_eq(first, &made));
        is_whole &= exporters::config(&build.order, &platform).is_none();
        let config = config(&platform);
        let is_part = made.is_part();
        pieces.push(Piece { image: Some((manifest, own)), platform, config, base, is_part, claims });
        whole.get_or_insert(made);
    }
    is_whole &= whole.as_ref().is_some_and(|made| made.details.images.len() == pieces.len());
    is_whole &= !is_map || whole.as_ref().is_some_and(|made| made.split || made.details.images.len() > 1);
    if is_whole {
        return Ok(whole);
    }
    Ok(Some(Arc::new(llb::assemble(host, build, pieces, &metadata, is_map).await?)))
}

/// A document about one of the results, or about all.
fn document(metadata: &HashMap<String, Vec<u8>>, name: &str, key: &str) -> Option<Vec<u8>> {
    metadata.get(&format!("{name}/{key}")).or_else(|| metadata.get(name)).cloned()
}

/// The platforms of the results by the names that the client has for them, where it says them.
fn platforms(metadata: &HashMap<String, Vec<u8>>) -> Result<Option<Vec<(String, Platform)>>, Status> {
    #[derive(serde::Deserialize)]
    struct All {
        #[serde(rename = "Platforms")]
        platforms: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(rename = "ID")]
        id: String,
        #[serde(rename = "Platform")]
        platform: Platform,
    }
    let Some(text) = metadata.get("refs.platforms") else { return Ok(None) };
    let wrong = |e: serde_json::Error| Status::invalid_argument(format!("refs.platforms: {e}"));
    let all: Option<All> = serde_json::from_slice(text).map_err(wrong)?;
    let all: Vec<_> =
        all.into_iter().flat_map(|all| all.platforms).map(|one| (one.id, one.platform)).collect();
    let refuse = |message: String| Err(Status::invalid_argument(message));
    if all.is_empty() {
        return refuse("invalid empty platforms index for exporter".to_owned());
    }
    if all.len() > PLATFORMS_MAX {
        return refuse(format!("refs.platforms: {} platforms, at most {PLATFORMS_MAX}", all.len()));
    }
    for (id, platform) in &all {
        if id.is_empty() {
            return refuse("invalid empty platform key for exporter".to_owned());
        }
        if platform.os.is_empty() || platform.architecture.is_empty() {
            return refuse(format!("invalid platform value {platform} of {id} for exporter"));
        }
    }
    Ok(Some(all))
}

/// The ids of the results, by platform where there are several.
fn named(result: result::Result) -> Vec<(String, String)> {
    let one = |id: String| vec![(String::new(), id)];
    let mut named: Vec<(String, String)> = match result {
        result::Result::RefDeprecated(id) => one(id),
        result::Result::Ref(part) => one(part.id),
        result::Result::RefsDeprecated(map) => map.refs.into_iter().collect(),
        result::Result::Refs(map) => map.refs.into_iter().map(|(key, part)| (key, part.id)).collect(),
    };
    named.sort();
    named
}
