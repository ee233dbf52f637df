//! How an image was made, as a SLSA v1 predicate (slsa.dev/spec/v1.0/provenance) in the shape that BuildKit gives it.
//!
//! Secrets and ssh agents are named, never their content; values of build arguments only where all is to be told.

use super::steps::{self, Layers, Steps};
use crate::graph::{Graph, ImageUse, MountKind, NetKind, Op, OpKind};
use crate::request::{Image, NamedContext, NetMode, Request};
use crate::source::Materials;
use oci::{Platform, Reference};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What BuildKit's definitions of the predicate's open fields are called.
const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// The client's directory that the Dockerfile is in.
const DOCKERFILE: &str = "dockerfile";

/// What is known of a build besides its graph.
pub(crate) struct Facts<'a> {
    /// The address of the context, if it has one.
    pub remote: Option<&'a str>,
    /// The Dockerfile's name.
    pub dockerfile: &'a str,
    /// Its text.
    pub text: &'a str,
    /// When the build began.
    pub began: &'a str,
    /// A number of its own.
    pub id: &'a str,
    /// What a client's graph reads of the client, by the names of the contexts that these are; none for a Dockerfile.
    pub given: Option<&'a BTreeMap<String, String>>,
}

impl Facts<'_> {
    /// Who made the graph; nobody did of a client's own.
    fn frontend(&self) -> &'static str {
        if self.given.is_some() { "" } else { "dockerfile.v0" }
    }

    /// The directories of the client that are read.
    fn locals(&self) -> BTreeSet<&str> {
        match (self.given, self.remote) {
            (Some(locals), _) => locals.values().map(String::as_str).collect(),
            (None, None) => ["context", DOCKERFILE].into(),
            (None, Some(_)) => BTreeSet::new(),
        }
    }

    /// Has the client's name for a context in the place of ours.
    fn show_local(&self, identifier: &mut Value) {
        let name = identifier.as_str().and_then(|text| text.strip_prefix("local://"));
        if let Some(own) = name.and_then(|name| self.given?.get(name)) {
            *identifier = format!("local://{own}").into();
        }
    }
}

/// The predicate, with all that there is to tell.
pub(crate) fn predicate(
    (facts, materials): (&Facts<'_>, &Materials),
    request: &Request,
    (graph, images, layers): (&Graph, &[Image], &Layers<'_>),
    ended: &str,
) -> Value {
    let mut source = json!({});
    if !facts.dockerfile.is_empty() {
        source["path"] = facts.dockerfile.into();
    }
    if let Some(remote) = facts.remote {
        source["uri"] = oci::address::without_userinfo(remote).into();
        if let Some(digest) = materials.digest(remote) {
            source["digest"] = digest;
        }
    }
    let mut steps = steps::steps(graph, images, layers);
    for step in &mut steps.definition {
        step.pointer_mut("/op/Op/source/identifier").into_iter().for_each(|named| facts.show_local(named));
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "configSource": source, "request": parameters(facts, request, graph) },
            "internalParameters": {
                "builderPlatform": Platform::host().to_string(),
                "buildConfig": { "llbDefinition": steps.definition },
            },
            "resolvedDependencies": dependencies(graph, images, materials),
        },
        "runDetails": {
            "builder": { "id": request.export.slsa.builder_id },
            "metadata": metadata(steps, facts, request, graph, ended),
        },
    })
}

/// The predicate of what a result was put together from, for that result: its layers are the same, and may be compressed now.
pub(crate) fn carried(
    origin: &Value,
    facts: &Facts<'_>,
    request: &Request,
    layers: &Layers<'_>,
    ended: &str,
) -> Value {
    let (mut predicate, slsa) = (origin.clone(), &request.export.slsa);
    let details = &mut predicate["runDetails"];
    details["builder"]["id"] = slsa.builder_id.as_str().into();
    details["metadata"]["invocationId"] = facts.id.into();
    details["metadata"]["finishedOn"] = ended.into();
    details["metadata"]["buildkit_reproducible"] = slsa.reproducible.into();
    let own = layers.values().max_by_key(|layers| layers.len());
    let told = details.pointer_mut("/metadata/buildkit_metadata/layers").and_then(Value::as_object_mut);
    for (stack, own) in told.into_iter().flatten().map(|(_, stack)| &mut stack[0]).zip(std::iter::repeat(own))
    {
        let count = stack.as_array().map_or(0, Vec::len);
        if let Some(own) = own.and_then(|own| own.get(..count)) {
            *stack = json!(own);
        }
    }
    predicate
}

/// The directories of the client that a predicate can only tell the names of, where it says that it lacks some.
pub(crate) fn unnamed(predicate: &Value) -> Option<Vec<String>> {
    let completeness = &predicate["runDetails"]["metadata"]["buildkit_completeness"];
    if completeness["resolvedDependencies"] == true {
        return None;
    }
    let locals = predicate["buildDefinition"]["externalParameters"]["request"]["locals"].as_array();
    let name = |local: &Value| Some(local["name"].as_str()?.to_owned());
    Some(locals.into_iter().flatten().filter_map(name).collect())
}

/// The same without values of arguments, and without what was done.
pub(crate) fn least(mut predicate: Value) -> Value {
    let definition = &mut predicate["buildDefinition"];
    remove(&mut definition["internalParameters"], &["buildConfig"]);
    let is_whole = least_request(&mut definition["externalParameters"]["request"]);
    let metadata = &mut predicate["runDetails"]["metadata"];
    if !is_whole {
        metadata["buildkit_completeness"]["request"] = false.into();
    }
    remove(&mut metadata["buildkit_metadata"], &["source", "layers"]);
    if metadata["buildkit_metadata"].as_object().is_none_or(Map::is_empty) {
        remove(metadata, &["buildkit_metadata"]);
    }
    predicate
}

/// A request, and those that it builds on, without values of arguments; whether there were none.
fn least_request(request: &mut Value) -> bool {
    remove(request, &["secrets", "ssh"]);
    let mut is_whole = true;
    if let Some(arguments) = request.get_mut("args").and_then(Value::as_object_mut) {
        let count = arguments.len();
        arguments.retain(|name, _| !name.starts_with("build-arg:") && !name.starts_with("label:"));
        is_whole = arguments.len() == count;
    }
    let mut others: Vec<&mut Value> = Vec::new();
    if let Some(request) = request.as_object_mut() {
        for (name, value) in request.iter_mut() {
            match name.as_str() {
                "root" => others.push(value),
                "inputs" => others.extend(value.as_object_mut().into_iter().flat_map(|all| all.values_mut())),
                _ => {}
            }
        }
    }
    let wholes = others.into_iter().filter_map(|other| other.get_mut("request")).map(least_request);
    // Each is to be looked at.
    wholes.fold(is_whole, |all, one| all & one)
}

fn remove(document: &mut Value, names: &[&str]) {
    if let Some(fields) = document.as_object_mut() {
        names.iter().for_each(|name| drop(fields.remove(*name)));
    }
}

/// What was asked of the build.
fn parameters(facts: &Facts<'_>, request: &Request, graph: &Graph) -> Value {
    let shown = |(name, value): (&String, &String)| (name.clone(), oci::address::without_userinfo(value));
    let mut arguments: BTreeMap<_, _> = request.export.slsa.parameters.iter().map(shown).collect();
    if let Some(target) = &request.target {
        arguments.insert("target".to_string(), target.clone());
    }
    for (name, context) in &request.named_contexts {
        arguments.entry(format!("context:{name}")).or_insert_with(|| address(name, context));
    }
    if request.no_cache || !request.no_cache_filter.is_empty() {
        arguments.entry("no-cache".to_string()).or_insert_with(|| request.no_cache_filter.join(","));
    }
    let given = request.build_args.iter().filter(|(name, _)| !is_secret(name));
    arguments.extend(given.map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    arguments.extend(request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    let mut parameters = json!({ "frontend": facts.frontend(), "args": arguments });
    for (name, value) in &request.export.slsa.request {
        parameters[name] = value.clone();
    }
    let mut locals = facts.locals();
    let own = request.named_contexts.iter().filter(|(_, context)| !is_fetched(context));
    locals.extend(own.map(|(name, _)| name.as_str()));
    if !locals.is_empty() {
        parameters["locals"] = locals.iter().map(|name| json!({ "name": name })).collect();
    }
    let (secrets, ssh) = asked_for(graph);
    for (name, asked) in [("secrets", secrets), ("ssh", ssh)] {
        let one = |(id, required): (&String, &bool)| json!({ "id": id, "optional": !required });
        if !asked.is_empty() {
            parameters[name] = asked.iter().map(one).collect();
        }
    }
    parameters
}

/// A context with a name as clients write it.
fn address(name: &str, context: &NamedContext) -> String {
    match context {
        NamedContext::Dir(_) | NamedContext::Client => format!("local:{name}"),
        NamedContext::Image(reference) => format!("docker-image://{reference}"),
        NamedContext::Remote(address) => oci::address::without_userinfo(address),
    }
}

/// Whether the dependencies say what was in a context.
fn is_fetched(context: &NamedContext) -> bool {
    matches!(context, NamedContext::Image(_) | NamedContext::Remote(_))
}

/// When it ran, what is promised of it, and what the steps were.
fn metadata(steps: Steps, facts: &Facts<'_>, request: &Request, graph: &Graph, ended: &str) -> Value {
    let slsa = &request.export.slsa;
    let is_complete = facts.locals().is_empty() && request.named_contexts.values().all(is_fetched);
    let mut info =
        json!({ "filename": facts.dockerfile, "language": "Dockerfile", "data": base64(facts.text) });
    if facts.locals().contains(DOCKERFILE) {
        info["llbDefinition"] = steps::of_directory(DOCKERFILE, facts.dockerfile);
    }
    let infos = if facts.text.is_empty() { json!([]) } else { json!([info]) };
    let mut metadata = json!({
        "invocationId": facts.id,
        "startedOn": facts.began,
        "finishedOn": ended,
        "buildkit_hermetic": is_complete && !uses_network(request, graph),
        "buildkit_completeness": {
            "request": !facts.frontend().is_empty(),
            "resolvedDependencies": is_complete,
        },
        "buildkit_reproducible": slsa.reproducible,
        "buildkit_metadata": {
            "source": { "locations": steps.locations, "infos": infos },
            "layers": steps.layers,
        },
    });
    if !slsa.vcs.is_empty() {
        let shown = |(key, value): (&String, &String)| (key.clone(), oci::address::without_userinfo(value));
        metadata["buildkit_metadata"]["vcs"] = json!(slsa.vcs.iter().map(shown).collect::<BTreeMap<_, _>>());
    }
    metadata
}

fn uses_network(request: &Request, graph: &Graph) -> bool {
    let uses = |op: &Op| match &op.kind {
        OpKind::Run(run) => match run.network {
            Some(kind) => kind != NetKind::None,
            None => request.network != NetMode::None,
        },
        _ => false,
    };
    graph.ops.iter().any(uses)
}

/// What BuildKit calls its builds in version 0.2 of the predicate, and its own part there.
const OLD_BUILD_TYPE: &str = "https://mobyproject.org/buildkit@v1";
const OLD_HERMETIC: &str = "https://mobyproject.org/buildkit@v1#hermetic";
const OLD_METADATA: &str = "https://mobyproject.org/buildkit@v1#metadata";

/// The same in the fields of version 0.2 (slsa.dev/spec/v0.2/provenance).
pub(crate) fn old(predicate: &Value) -> Value {
    let (definition, details) = (&predicate["buildDefinition"], &predicate["runDetails"]);
    let (external, metadata) = (&definition["externalParameters"], &details["metadata"]);
    let mut source = json!({ "entryPoint": external["configSource"]["path"] });
    for field in ["uri", "digest"] {
        if let Some(known) = external["configSource"].get(field) {
            source[field] = known.clone();
        }
    }
    let mut old = json!({
        "builder": details["builder"],
        "buildType": OLD_BUILD_TYPE,
        "materials": definition["resolvedDependencies"],
        "invocation": {
            "configSource": source,
            "parameters": external["request"],
            "environment": { "platform": definition["internalParameters"]["builderPlatform"] },
        },
        "metadata": {
            "buildInvocationID": metadata["invocationId"],
            "buildStartedOn": metadata["startedOn"],
            "buildFinishedOn": metadata["finishedOn"],
            "completeness": {
                "parameters": metadata["buildkit_completeness"]["request"],
                "environment": true,
                "materials": metadata["buildkit_completeness"]["resolvedDependencies"],
            },
            "reproducible": metadata["buildkit_reproducible"],
        },
    });
    if let Some(config) = definition["internalParameters"].get("buildConfig") {
        old["buildConfig"] = config.clone();
    }
    if metadata["buildkit_hermetic"] == true {
        old["metadata"][OLD_HERMETIC] = true.into();
    }
    if let Some(own) = metadata.get("buildkit_metadata") {
        old["metadata"][OLD_METADATA] = own.clone();
    }
    old
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Proxies' addresses hold passwords.
pub(super) fn is_secret(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("_proxy")
}

/// The secrets and the agents that steps ask for by their ids, and which of them they cannot do without.
fn asked_for(graph: &Graph) -> (BTreeMap<String, bool>, BTreeMap<String, bool>) {
    let (mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new());
    for op in &graph.ops {
        let OpKind::Run(run) = &op.kind else { continue };
        for mount in &run.mounts {
            match &mount.kind {
                MountKind::Secret { id, required, .. } => *secrets.entry(id.clone()).or_default() |= required,
                MountKind::Ssh { id, required, .. } => *ssh.entry(id.clone()).or_default() |= required,
                _ => {}
            }
        }
    }
    (secrets, ssh)
}

/// The base images, and what contexts and steps took from elsewhere.
fn dependencies(graph: &Graph, images: &[Image], materials: &Materials) -> Vec<Value> {
    let image = |(used, image): (&ImageUse, &Image)| {
        let reference = Reference::parse(&used.reference).ok()?;
        Some(json!({
            "uri": super::statement::url(&reference, &used.platform),
            "digest": { image.root.algorithm(): image.root.hex() },
        }))
    };
    let mut all: Vec<Value> = graph.images.iter().zip(images).filter_map(image).collect();
    all.extend(materials.documents());
    all.sort_by_key(|value| value["uri"].as_str().map(str::to_string));
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::super::options::Slsa;
    use super::*;
    use crate::graph::Fs;
    use crate::source::GitUrl;
    use oci::image::ImageConfig;

    #[test]
    fn what_is_told_and_what_is_not() {
        let mut request = Request::default();
        request.build_args.insert("VERSION".into(), "7".into());
        request.build_args.insert("HTTPS_PROXY".into(), "http://me:hidden@proxy".into());
        request.secrets.insert("token".into(), b"hidden".to_vec());
        let graph = Graph {
            images: Vec::new(),
            ops: Vec::new(),
            result: Fs::Scratch,
            config: ImageConfig::new(&Platform::host()),
            history: Vec::new(),
            scan: Default::default(),
            stages: Default::default(),
        };
        request.named_contexts.insert("dir".into(), NamedContext::Dir("/srv".into()));
        request.no_cache_filter = vec!["a".into(), "b".into()];
        let address = "https://me:hidden@h/a.git#main";
        let facts = Facts {
            remote: Some(address),
            dockerfile: "Dockerfile",
            text: "FROM scratch",
            began: "2024-01-01T00:00:00Z",
            id: "x",
            given: None,
        };
        let mut materials = Materials::default();
        materials.commit(&GitUrl::parse(address).unwrap(), &"1".repeat(40));
        let told = |request: &Request| {
            predicate((&facts, &materials), request, (&graph, &[], &Layers::new()), "2024-01-01T00:00:01Z")
        };
        let max = told(&request);
        let min = least(max.clone());
        for text in [min.to_string(), max.to_string()] {
            assert!(!text.contains("hidden"), "{text}");
        }
        let arguments = |value: &Value| value["buildDefinition"]["externalParameters"]["request"].clone();
        assert_eq!(arguments(&max)["args"]["build-arg:VERSION"], "7");
        assert!(arguments(&max).get("secrets").is_none(), "no step asks for it");
        assert_eq!(arguments(&min)["args"], json!({ "context:dir": "local:dir", "no-cache": "a,b" }));
        assert_eq!(arguments(&min)["locals"], json!([{ "name": "dir" }]));
        let commit = json!({ "sha1": "1".repeat(40) });
        let definition = &max["buildDefinition"];
        assert_eq!(definition["externalParameters"]["configSource"]["digest"], commit);
        assert_eq!(definition["resolvedDependencies"][0]["digest"], commit);
        assert_eq!(max["buildDefinition"]["resolvedDependencies"][0]["uri"], "https://h/a.git#main");
        let vcs = BTreeMap::from([("source".to_string(), "https://me:hidden@h/a.git".to_string())]);
        let parameters = BTreeMap::from([("context:x".to_string(), "https://me:hidden@h/x".to_string())]);
        let builder_id = "https://me".into();
        request.export.slsa =
            Slsa { old: true, builder_id, reproducible: true, vcs, parameters, ..Slsa::default() };
        let old = old(&told(&request));
        assert_eq!(old["invocation"]["parameters"]["args"]["context:x"], "https://h/x");
        assert_eq!(old["builder"]["id"], "https://me");
        assert_eq!(old["invocation"]["configSource"]["entryPoint"], "Dockerfile");
        assert_eq!(old["invocation"]["configSource"]["digest"], commit);
        assert_eq!(old["invocation"]["parameters"]["args"]["build-arg:VERSION"], "7");
        assert_eq!(old["materials"][0]["uri"], "https://h/a.git#main");
        assert_eq!(old["metadata"]["reproducible"], true);
        assert!(old["metadata"].get(OLD_HERMETIC).is_none(), "a directory is known to nobody else");
        assert_eq!(old["metadata"][OLD_METADATA]["vcs"]["source"], "https://h/a.git");
        assert_eq!(old["metadata"][OLD_METADATA]["source"]["infos"][0]["filename"], "Dockerfile");
        assert!(!old.to_string().contains("hidden") && old["buildConfig"]["llbDefinition"].is_array());
        request.named_contexts.clear();
        assert_eq!(super::old(&told(&request))["metadata"][OLD_HERMETIC], true);
    }

    #[test]
    fn what_is_put_together_tells_where_its_parts_are_from() {
        let text = "FROM scratch";
        let (dockerfile, began, id) = ("", "2024-01-01T00:00:00Z", "own");
        let facts = Facts { remote: None, dockerfile, text, began, id, given: None };
        let input = json!({ "request": { "args": { "label:a": "1", "target": "u" } } });
        let origin = json!({
            "buildDefinition": { "externalParameters": { "request": {
                "args": { "build-arg:A": "1", "target": "t" },
                "inputs": { "base": input },
            } } },
            "runDetails": {
                "builder": { "id": "" },
                "metadata": {
                    "invocationId": "other",
                    "buildkit_completeness": { "request": true },
                    "buildkit_metadata": { "layers": { "step0:0": [["plain"]] }, "vcs": { "source": "s" } },
                },
            },
        });
        let packed = [oci::image::Descriptor::new("gzip", oci::Digest::sha256(b"x"), 1)];
        let layers = Layers::from([(0, &packed[..])]);
        let whole = carried(&origin, &facts, &Request::default(), &layers, "2024-01-01T00:00:01Z");
        let metadata = &whole["runDetails"]["metadata"];
        assert_eq!(metadata["invocationId"], "own");
        assert_eq!(metadata["buildkit_metadata"]["layers"]["step0:0"], json!([packed]));
        let few = least(whole);
        let request = &few["buildDefinition"]["externalParameters"]["request"];
        assert_eq!(request["args"], json!({ "target": "t" }));
        assert_eq!(request["inputs"]["base"]["request"]["args"], json!({ "target": "u" }));
        let metadata = &few["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_completeness"]["request"], false);
        assert_eq!(metadata["buildkit_metadata"], json!({ "vcs": { "source": "s" } }));
    }
}
