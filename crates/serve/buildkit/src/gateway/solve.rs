//! A solve of the gateway, and how its results are named.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    Ref, RefMap, Result as Outcome, SolveRequest, SolveResponse, result,
};
use serde_json::json;
use tonic::Status;

use crate::Host;
use crate::build::{Build, Made};
use crate::fault;
use crate::frontend::{self, Solved, definition_of_image};

pub async fn solve(host: &Host, build: &Build, order: SolveRequest) -> Result<SolveResponse, Status> {
    let graph = order.definition.as_ref().is_some_and(|definition| !definition.def.is_empty());
    if graph {
        return Err(frontend::graph());
    }
    if order.frontend.is_empty() {
        return Ok(answer(Outcome::default()));
    }
    if !order.source_policies.is_empty() {
        return Err(fault::no_policies());
    }
    let mut attributes = build.order.frontend_attrs.clone();
    attributes.extend(order.frontend_opt);
    if !order.cache_imports.is_empty() {
        let imports = order.cache_imports.iter();
        let imports: Vec<_> =
            imports.map(|import| json!({ "Type": import.r#type, "Attrs": import.attrs })).collect();
        attributes.insert("cache-imports".to_owned(), serde_json::Value::from(imports).to_string());
    }
    let mut inputs = build.order.frontend_inputs.clone();
    inputs.extend(order.frontend_inputs);
    match frontend::solve(host, build, &order.frontend, &attributes, inputs).await? {
        Solved::Answer(metadata) => Ok(answer(Outcome { metadata, ..Outcome::default() })),
        Solved::Image(made) => {
            let id = build.put(*made)?;
            let made = build.result(&id)?;
            Ok(answer(outcome(host, &id, &made).await?))
        }
    }
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

/// The id of the result that a client names.
pub fn named(result: &result::Result) -> Option<String> {
    let id = match result {
        result::Result::RefDeprecated(id) => Some(id),
        result::Result::RefsDeprecated(map) => map.refs.values().next(),
        result::Result::Ref(part) => Some(&part.id),
        result::Result::Refs(map) => map.refs.values().next().map(|part| &part.id),
    };
    id.filter(|id| !id.is_empty()).cloned()
}
