//! How an image was made, as a SLSA v1 predicate (slsa.dev/spec/v1.0/provenance) in the shape that BuildKit gives it.
//!
//! Secrets and ssh agents are named, never their content; values of build arguments only where all is to be told.

use super::options::Provenance;
use super::steps::{Layers, Steps, steps};
use crate::graph::{Graph, ImageUse, MountKind, OpKind};
use crate::request::{Image, Request};
use oci::{Platform, Reference};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What BuildKit's definitions of the predicate's open fields are called.
const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

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
}

/// The predicate.
pub(crate) fn predicate(
    how: Provenance,
    facts: &Facts<'_>,
    request: &Request,
    (graph, images, layers): (&Graph, &[Image], &Layers<'_>),
    ended: &str,
) -> Value {
    let all = how == Provenance::Max;
    let mut source = json!({ "path": facts.dockerfile });
    if let Some(remote) = facts.remote {
        source["uri"] = oci::address::without_userinfo(remote).into();
    }
    let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
    let steps = all.then(|| steps(graph, layers));
    if let Some(steps) = &steps {
        internal["buildConfig"] = json!({ "llbDefinition": steps.definition });
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "configSource": source, "request": parameters(all, facts, request, graph) },
            "internalParameters": internal,
            "resolvedDependencies": dependencies(graph, images, facts),
        },
        "runDetails": {
            "builder": { "id": request.export.slsa.builder_id },
            "metadata": metadata(steps, facts, request, ended),
        },
    })
}

/// What was asked of the build.
fn parameters(all: bool, facts: &Facts<'_>, request: &Request, graph: &Graph) -> Value {
    let mut arguments = BTreeMap::new();
    if let Some(target) = &request.target {
        arguments.insert("target".to_string(), target.clone());
    }
    if all {
        let given = request.build_args.iter().filter(|(name, _)| !is_secret(name));
        arguments.extend(given.map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
        arguments.extend(request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    }
    let mut parameters = json!({ "frontend": "dockerfile.v0", "args": arguments });
    if facts.remote.is_none() {
        parameters["locals"] = json!([{ "name": "context" }, { "name": "dockerfile" }]);
    }
    let (secrets, ssh) = asked_for(graph);
    for (name, asked) in [("secrets", secrets), ("ssh", ssh)] {
        let one = |(id, required): (&String, &bool)| json!({ "id": id, "optional": !required });
        if all && !asked.is_empty() {
            parameters[name] = asked.iter().map(one).collect();
        }
    }
    parameters
}

/// When it ran, what is promised of it, and what the steps were if that is told.
fn metadata(steps: Option<Steps>, facts: &Facts<'_>, request: &Request, ended: &str) -> Value {
    let (all, slsa) = (steps.is_some(), &request.export.slsa);
    let mut metadata = json!({
        "invocationId": facts.id,
        "startedOn": facts.began,
        "finishedOn": ended,
        "buildkit_hermetic": false,
        "buildkit_completeness": { "request": all, "resolvedDependencies": false },
        "buildkit_reproducible": slsa.reproducible,
    });
    if let Some(steps) = steps {
        let info =
            json!({ "filename": facts.dockerfile, "language": "Dockerfile", "data": base64(facts.text) });
        metadata["buildkit_metadata"] = json!({
            "source": { "locations": steps.locations, "infos": [info] },
            "layers": steps.layers,
        });
    }
    if !slsa.vcs.is_empty() {
        let shown = |(key, value): (&String, &String)| (key.clone(), oci::address::without_userinfo(value));
        metadata["buildkit_metadata"]["vcs"] = json!(slsa.vcs.iter().map(shown).collect::<BTreeMap<_, _>>());
    }
    metadata
}

/// What BuildKit calls its builds in version 0.2 of the predicate, and its own part there.
const OLD_BUILD_TYPE: &str = "https://mobyproject.org/buildkit@v1";
const OLD_METADATA: &str = "https://mobyproject.org/buildkit@v1#metadata";

/// The same in the fields of version 0.2 (slsa.dev/spec/v0.2/provenance).
pub(crate) fn old(predicate: &Value) -> Value {
    let (definition, details) = (&predicate["buildDefinition"], &predicate["runDetails"]);
    let (external, metadata) = (&definition["externalParameters"], &details["metadata"]);
    let mut source = json!({ "entryPoint": external["configSource"]["path"] });
    if let Some(uri) = external["configSource"].get("uri") {
        source["uri"] = uri.clone();
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
fn is_secret(name: &str) -> bool {
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

/// The base images, and the context if it came from elsewhere.
fn dependencies(graph: &Graph, images: &[Image], facts: &Facts<'_>) -> Vec<Value> {
    let image = |(used, image): (&ImageUse, &Image)| {
        let reference = Reference::parse(&used.reference).ok()?;
        let name = reference.familiar_name();
        let version = reference.tag.clone().map(|tag| format!("@{tag}")).unwrap_or_default();
        let platform = used.platform.to_string().replace('/', "%2F");
        Some(json!({
            "uri": format!("pkg:docker/{name}{version}?platform={platform}"),
            "digest": { image.digest.algorithm(): image.digest.hex() },
        }))
    };
    let mut all: Vec<Value> = graph.images.iter().zip(images).filter_map(image).collect();
    all.extend(facts.remote.map(|remote| json!({ "uri": oci::address::without_userinfo(remote) })));
    all.sort_by_key(|value| value["uri"].as_str().map(str::to_string));
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::super::options::Slsa;
    use super::*;
    use crate::graph::Fs;
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
        let facts = Facts {
            remote: Some("https://me:hidden@h/a.git#main"),
            dockerfile: "Dockerfile",
            text: "FROM scratch",
            began: "2024-01-01T00:00:00Z",
            id: "x",
        };
        let told =
            |how| predicate(how, &facts, &request, (&graph, &[], &Layers::new()), "2024-01-01T00:00:01Z");
        let (min, max) = (told(Provenance::Min), told(Provenance::Max));
        for text in [min.to_string(), max.to_string()] {
            assert!(!text.contains("hidden"), "{text}");
        }
        let arguments = |value: &Value| value["buildDefinition"]["externalParameters"]["request"].clone();
        assert_eq!(arguments(&max)["args"]["build-arg:VERSION"], "7");
        assert!(arguments(&max).get("secrets").is_none(), "no step asks for it");
        assert!(arguments(&min)["args"].as_object().unwrap().is_empty());
        assert_eq!(max["buildDefinition"]["resolvedDependencies"][0]["uri"], "https://h/a.git#main");
        let vcs = BTreeMap::from([("source".to_string(), "https://me:hidden@h/a.git".to_string())]);
        request.export.slsa = Slsa { old: true, builder_id: "https://me".into(), reproducible: true, vcs };
        let old = old(&predicate(
            Provenance::Max,
            &facts,
            &request,
            (&graph, &[], &Layers::new()),
            "2024-01-01T00:00:01Z",
        ));
        assert_eq!(old["builder"]["id"], "https://me");
        assert_eq!(old["invocation"]["configSource"]["entryPoint"], "Dockerfile");
        assert_eq!(old["invocation"]["parameters"]["args"]["build-arg:VERSION"], "7");
        assert_eq!(old["materials"][0]["uri"], "https://h/a.git#main");
        assert_eq!(old["metadata"]["reproducible"], true);
        assert_eq!(old["metadata"][OLD_METADATA]["vcs"]["source"], "https://h/a.git");
        assert_eq!(old["metadata"][OLD_METADATA]["source"]["infos"][0]["filename"], "Dockerfile");
        assert!(!old.to_string().contains("hidden") && old["buildConfig"]["llbDefinition"].is_array());
    }
}
