//! What provenance says of a request besides its own attributes: which requests gave its inputs, and the client's own of which it is a
//! part.

use std::collections::{BTreeMap, HashMap};

use bollard_buildkit_proto::pb::Definition;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::attributes::shown;
use super::definition;
use crate::Host;
use crate::build::Build;

/// Attributes that are about one machine, or about what is attested.
const QUIET: [&str; 3] = ["cgroup-parent", "image-resolve-mode", "platform"];

/// `inputs` and `root` of a request with these inputs, as far as there are any.
pub fn request(
    host: &Host,
    build: &Build,
    inputs: &HashMap<String, Definition>,
) -> Result<BTreeMap<String, Value>, Status> {
    let whole = &build.order;
    let is_part = build.is_conversation();
    // The client's own inputs are in reach of each of its requests.
    let own =
        inputs.iter().filter(|(name, given)| !is_part || whole.frontend_inputs.get(*name) != Some(*given));
    let mut all = BTreeMap::new();
    let own = origins(host, own)?;
    if !own.is_empty() {
        all.insert("inputs".to_owned(), own.into());
    }
    if !is_part {
        return Ok(all);
    }
    let is_meant = |key: &str| !QUIET.contains(&key) && !key.starts_with("attest:");
    let arguments: BTreeMap<_, _> =
        shown(&whole.frontend_attrs).into_iter().filter(|(key, _)| is_meant(key)).collect();
    let inputs = origins(host, whole.frontend_inputs.iter())?;
    if !arguments.is_empty() || !inputs.is_empty() {
        let mut request = json!({ "args": arguments });
        if !inputs.is_empty() {
            request["inputs"] = inputs.into();
        }
        all.insert("root".to_owned(), json!({ "configSource": {}, "request": request }));
    }
    Ok(all)
}

/// The requests whose results the inputs are.
fn origins<'a>(
    host: &Host,
    inputs: impl Iterator<Item = (&'a String, &'a Definition)>,
) -> Result<Map<String, Value>, Status> {
    let mut all = Map::new();
    for (name, given) in inputs {
        let Some(address) = definition::source(given)? else { continue };
        let Some(origin) = address.strip_prefix("docker-image://").and_then(|digest| host.origin(digest))
        else {
            continue;
        };
        let mut asked = origin["buildDefinition"]["externalParameters"].clone();
        // What it was a part of is what all of a client's requests are.
        if let Some(request) = asked["request"].as_object_mut() {
            request.remove("root");
        }
        all.insert(name.clone(), asked);
    }
    Ok(all)
}
