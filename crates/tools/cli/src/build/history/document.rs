//! A record in the form that Docker's plugin prints it, for programs that read that: its members, and ours beside them.

use std::collections::BTreeMap;
use std::path::Path;

use api::build::{BuildEvent, BuildLogLine, BuildRecord};
use base64::Engine as _;
use serde_json::{Map, Value, json};

/// Lines that a failed step said last.
const LOGS: usize = 16;

/// What of a build's attributes is told by itself in `Config`, and its name there.
const CONFIG: [(&str, &str); 17] = [
    ("force-network-mode", "Network"),
    ("hostname", "Hostname"),
    ("cgroup-parent", "CgroupParent"),
    ("image-resolve-mode", "ImageResolveMode"),
    ("shm-size", "ShmSize"),
    ("ulimit", "Ulimit"),
    ("memory", "Memory"),
    ("memswap", "MemorySwap"),
    ("cpushares", "CPUShares"),
    ("cpuperiod", "CPUPeriod"),
    ("cpuquota", "CPUQuota"),
    ("cpusetcpus", "CPUSetCPUs"),
    ("cpusetmems", "CPUSetMems"),
    ("build-arg:BUILDKIT_CACHE_MOUNT_NS", "CacheMountNS"),
    ("build-arg:BUILDKIT_DOCKERFILE_CHECK", "DockerfileCheckConfig"),
    ("build-arg:SOURCE_DATE_EPOCH", "SourceDateEpoch"),
    ("build-arg:SANDBOX_HOSTNAME", "SandboxHostname"),
];

/// The attributes that nobody has told yet.
struct Attributes(BTreeMap<String, String>);

impl Attributes {
    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// Those of a kind, as names and values.
    fn pairs(&self, prefix: &str) -> Vec<Value> {
        let all = self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
        all.map(|(name, value)| json!({ "Name": name, "Value": value })).collect()
    }
}

/// Puts what is not empty.
fn put(document: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    let value = value.into();
    let is_empty = match &value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) => false,
    };
    if !is_empty {
        document.insert(name.to_owned(), value);
    }
}

/// The document; `logs` are those of a build that failed, `provenance` is one of what was attested.
pub fn document(
    record: &BuildRecord,
    logs: &[BuildLogLine],
    provenance: Option<&Value>,
    here: &Path,
) -> Map<String, Value> {
    let mut attributes = Attributes(record.attributes.clone());
    let mut all = Map::new();
    put(&mut all, "Name", record.name.as_str());
    put(&mut all, "Ref", record.id.as_str());
    place(&mut all, record, &mut attributes, here);
    let platforms = attributes.take("platform").unwrap_or_default();
    let platforms = platforms.split(',').filter(|platform| !platform.is_empty());
    put(&mut all, "Target", attributes.take("target"));
    put(&mut all, "Platform", platforms.collect::<Vec<_>>());
    put(&mut all, "KeepGitDir", is_on(attributes.take("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR").as_deref()));
    put(&mut all, "NamedContexts", attributes.pairs("context:"));
    times(&mut all, record);
    put(&mut all, "Status", status(record));
    put(&mut all, "Error", error(record, logs));
    let steps = record.counts();
    put(&mut all, "NumCompletedSteps", steps.completed);
    put(&mut all, "NumTotalSteps", steps.total);
    put(&mut all, "NumCachedSteps", steps.cached);
    put(&mut all, "BuildArgs", attributes.pairs("build-arg:"));
    put(&mut all, "Labels", attributes.pairs("label:"));
    all.insert("Config".to_owned(), config(&mut attributes).into());
    put(&mut all, "Materials", provenance.map(materials).unwrap_or_default());
    put(&mut all, "Attachments", serde_json::to_value(&record.attachments).unwrap_or_default());
    // Ours.
    put(&mut all, "ID", record.id.as_str());
    put(&mut all, "Tags", record.tags.clone());
    put(&mut all, "Image", record.image.as_str());
    put(&mut all, "Steps", serde_json::to_value(&record.steps).unwrap_or_default());
    all
}

/// Where the context and the Dockerfile are, a directory as it is called from here.
fn place(all: &mut Map<String, Value>, record: &BuildRecord, attributes: &mut Attributes, here: &Path) {
    let file = attributes.take("filename");
    let local = attributes.take("vcs:localdir:context");
    let local = local.filter(|path| path.starts_with('/')).map(|path| {
        let inside = Path::new(&path).strip_prefix(here).map(|inside| inside.display().to_string());
        inside.map_or(path, |inside| if inside.is_empty() { ".".to_owned() } else { inside })
    });
    let remote = attributes.take("context");
    let named = || record.name.split(" (").next().filter(|name| !name.is_empty()).map(str::to_owned);
    put(all, "Context", remote.clone().or(local).or_else(named));
    put(all, "Dockerfile", file.unwrap_or_else(|| "Dockerfile".to_owned()));
    if remote.is_none() {
        put(all, "VCSRepository", attributes.take("vcs:source"));
        put(all, "VCSRevision", attributes.take("vcs:revision"));
    }
}

/// When it was, and how long in nanoseconds.
fn times(all: &mut Map<String, Value>, record: &BuildRecord) {
    put(all, "StartedAt", record.started_at.as_str());
    put(all, "CompletedAt", record.completed_at.as_str());
    if let Some(took) = super::duration(record) {
        put(all, "Duration", i64::try_from(took.as_nanos()).unwrap_or(i64::MAX));
    }
}

fn status(record: &BuildRecord) -> &str {
    match record.status.as_str() {
        "error" | "killed" => "failed",
        other => other,
    }
}

/// Why it failed, with the code that gRPC has for it.
pub fn failure(record: &BuildRecord) -> Option<(i32, &str)> {
    match record.status.as_str() {
        "error" => Some((2, &record.error)),
        "killed" => Some((2, "the process of the build was killed")),
        "canceled" => Some((1, "context canceled")),
        _ => None,
    }
}

/// Why it failed, where, and what was said there last.
fn error(record: &BuildRecord, logs: &[BuildLogLine]) -> Value {
    let Some((code, message)) = failure(record) else { return Value::Null };
    let mut error =
        Map::from_iter([("Code".to_owned(), json!(code)), ("Message".to_owned(), json!(message))]);
    if let Some(step) = record.steps.iter().rfind(|step| step.status == "ERROR") {
        put(&mut error, "Name", step.name.as_str());
        put(&mut error, "Logs", said_last(logs, step.number));
    }
    let sources = base64::engine::general_purpose::STANDARD.encode(&record.excerpt);
    put(&mut error, "Sources", sources);
    error.into()
}

/// The last lines of a step.
fn said_last(logs: &[BuildLogLine], step: u64) -> Vec<String> {
    let mut text = String::new();
    for line in logs {
        if let Some(BuildEvent::StepLog { id, text: said, .. }) = &line.event
            && *id == step
        {
            text.push_str(said);
        }
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LOGS)..].iter().map(ToString::to_string).collect()
}

fn config(attributes: &mut Attributes) -> Map<String, Value> {
    let mut config = Map::new();
    for (key, name) in CONFIG {
        put(&mut config, name, attributes.take(key));
    }
    let hosts = attributes.take("add-hosts").unwrap_or_default();
    put(&mut config, "ExtraHosts", hosts.split(',').filter(|host| !host.is_empty()).collect::<Vec<_>>());
    let argument = attributes.take("build-arg:BUILDKIT_MULTI_PLATFORM");
    let several = attributes.take("multi-platform").or(argument);
    put(&mut config, "MultiPlatform", is_on(several.as_deref()));
    match attributes.take("no-cache").as_deref() {
        Some("") => put(&mut config, "NoCache", true),
        Some(stages) => put(&mut config, "NoCacheFilter", stages.split(',').collect::<Vec<_>>()),
        None => {}
    }
    let told = ["vcs:", "build-arg:", "label:", "context:", "attest:"];
    let is_rest = |key: &str| key != "frontend.caps" && !told.iter().any(|kind| key.starts_with(kind));
    attributes.0.retain(|key, _| is_rest(key));
    put(&mut config, "RestRaw", attributes.pairs(""));
    config
}

/// As Go reads truths.
fn is_on(text: Option<&str>) -> bool {
    matches!(text, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// What a provenance says that the result was made from.
fn materials(provenance: &Value) -> Vec<Value> {
    let new = provenance["buildDefinition"]["resolvedDependencies"].as_array();
    let Some(all) = new.or_else(|| provenance["materials"].as_array()) else { return Vec::new() };
    let material = |one: &Value| {
        let digests = one["digest"].as_object().into_iter().flatten();
        let digests = digests.filter_map(|(kind, digest)| Some(format!("{kind}:{}", digest.as_str()?)));
        json!({ "URI": one["uri"], "Digests": digests.collect::<Vec<_>>() })
    };
    all.iter().map(material).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::build::{BuildAttachment, BuildStepRecord};

    #[test]
    fn members_are_those_of_the_plugin() {
        let attributes = [
            ("filename", "D"),
            ("target", "t"),
            ("platform", "linux/amd64,linux/arm64"),
            ("build-arg:V", "1"),
            ("build-arg:SOURCE_DATE_EPOCH", "0"),
            ("label:l", "m"),
            ("context:c", "docker-image://x"),
            ("vcs:localdir:context", "/w/app"),
            ("vcs:revision", "abc"),
            ("no-cache", "a,b"),
            ("add-hosts", "h=1.2.3.4"),
            ("odd", "1"),
        ];
        let record = BuildRecord {
            id: "abc".into(),
            name: "/w/app (D)".into(),
            status: "error".into(),
            started_at: "2026-01-01T00:00:00Z".into(),
            completed_at: "2026-01-01T00:00:01.5Z".into(),
            error: "failed".into(),
            excerpt: "x".into(),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            steps: vec![
                BuildStepRecord { status: "CACHED".into(), ..BuildStepRecord::default() },
                BuildStepRecord {
                    number: 2,
                    name: "RUN x".into(),
                    status: "ERROR".into(),
                    ..Default::default()
                },
            ],
            attachments: vec![BuildAttachment {
                digest: "sha256:1".into(),
                kind: "k".into(),
                ..Default::default()
            }],
            ..BuildRecord::default()
        };
        let provenance = json!({ "buildDefinition": { "resolvedDependencies": [{ "uri": "u", "digest": { "sha256": "2" } }] } });
        let mut document = Value::from(document(&record, &[], Some(&provenance), Path::new("/w")));
        document["Steps"].take();
        let pair = |name: &str, value: &str| json!([{ "Name": name, "Value": value }]);
        let wanted = json!({
            "Name": "/w/app (D)", "Ref": "abc", "Context": "app", "Dockerfile": "D", "VCSRevision": "abc", "Target": "t",
            "Platform": ["linux/amd64", "linux/arm64"], "NamedContexts": pair("c", "docker-image://x"),
            "StartedAt": "2026-01-01T00:00:00Z", "CompletedAt": "2026-01-01T00:00:01.5Z", "Duration": 1_500_000_000_i64,
            "Status": "failed", "Error": { "Code": 2, "Message": "failed", "Name": "RUN x", "Sources": "eA==" },
            "NumCompletedSteps": 2, "NumTotalSteps": 2, "NumCachedSteps": 1,
            "BuildArgs": [{ "Name": "SOURCE_DATE_EPOCH", "Value": "0" }, { "Name": "V", "Value": "1" }],
            "Labels": pair("l", "m"),
            "Config": {
                "ExtraHosts": ["h=1.2.3.4"], "NoCacheFilter": ["a", "b"], "SourceDateEpoch": "0",
                "RestRaw": pair("odd", "1"),
            },
            "Materials": [{ "URI": "u", "Digests": ["sha256:2"] }],
            "Attachments": [{ "Digest": "sha256:1", "Type": "k" }],
            "ID": "abc", "Steps": null,
        });
        assert_eq!(document, wanted);
    }
}
