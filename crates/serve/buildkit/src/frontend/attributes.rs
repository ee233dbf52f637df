//! The attributes of `dockerfile.v0`, and the rest of an order, as the engine's options.

use std::collections::{BTreeMap, HashMap};

use api::build::{BuildOptions, ExportOptions};
use api::containers::Ulimit;
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::{AttrConstraint, Policy, Rule};
use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, Exporter, SolveRequest};
use serde_json::json;
use tonic::Status;

use super::csv::fields;
use super::exporters::{export, exporters, flag, names};

pub type Attributes = HashMap<String, String>;

/// Where a frontend is told of caches that it may take from.
pub const IMPORTS: &str = "cache-imports";

fn bad(message: String) -> Status {
    Status::invalid_argument(message)
}

/// What a build is to do, but for its context.
pub fn options(attributes: &Attributes, order: &SolveRequest) -> Result<BuildOptions, Status> {
    let text = |key: &str| attributes.get(key).cloned().unwrap_or_default();
    let no_cache = attributes.get("no-cache");
    let mut options = BuildOptions {
        target: text("target"),
        platform: text("platform"),
        no_cache: no_cache.is_some_and(String::is_empty),
        pull: pull(&text("image-resolve-mode"))?,
        network_mode: network(&text("force-network-mode"))?,
        extra_hosts: hosts(&text("add-hosts"))?,
        shm_size: number(attributes, "shm-size")?,
        ulimits: ulimits(&text("ulimit"))?,
        cgroup_parent: text("cgroup-parent"),
        memory: number(attributes, "memory")?,
        memory_swap: number(attributes, "memswap")?,
        cpu_shares: number(attributes, "cpushares")?,
        cpu_period: number(attributes, "cpuperiod")?,
        cpu_quota: number(attributes, "cpuquota")?,
        cpuset_cpus: text("cpusetcpus"),
        cpuset_mems: text("cpusetmems"),
        build_args: prefixed(attributes, "build-arg:").map(|(name, value)| (name, Some(value))).collect(),
        labels: prefixed(attributes, "label:").collect(),
        native_progress: true,
        ..BuildOptions::default()
    };
    if let Some(hostname) = attributes.get("hostname").filter(|name| !name.is_empty()) {
        let name = "BUILDKIT_SANDBOX_HOSTNAME".to_owned();
        options.build_args.entry(name).or_insert_with(|| Some(hostname.clone()));
    }
    let stages = no_cache.filter(|stages| !stages.is_empty());
    options.extras.no_cache_filter =
        stages.map(|stages| stages.split(',').map(str::to_owned).collect()).unwrap_or_default();
    options.extras.allow.clone_from(&order.entitlements);
    options.extras.source_policies = policies(order.source_policy.as_ref());
    options.extras.caches_from = caches_from(attributes, order.cache.as_ref())?;
    let exporters = exporters(order);
    options.extras.export = export(&exporters)?;
    caches_to(order.cache.as_ref(), &mut options)?;
    options.extras.rewrite_timestamp = exporters.iter().any(|e| flag(e, "rewrite-timestamp"));
    attestations(attributes, &exporters, &mut options.extras.export)?;
    let told = attributes.iter().filter(|(key, _)| is_parameter(key));
    options.extras.export.parameters = told.map(|(key, value)| (key.clone(), value.clone())).collect();
    options.extras.export.vcs = prefixed(attributes, "vcs:").filter(|(_, value)| !value.is_empty()).collect();
    Ok(options)
}

/// Bytes of an attribute that is remembered.
const SHOWN_MAX: usize = 16 << 10;

/// What of the attributes may be remembered: proxies' addresses hold passwords, and where caches are may hold keys.
pub fn shown(attributes: &Attributes) -> BTreeMap<String, String> {
    let is_meant = |key: &str| key != IMPORTS && !key.to_ascii_lowercase().ends_with("_proxy");
    let all = attributes.iter().filter(|(key, value)| is_meant(key) && value.len() <= SHOWN_MAX);
    all.map(|(key, value)| (key.clone(), oci::address::without_userinfo(value))).collect()
}

/// Whether the provenance tells an attribute as it is: what is told elsewhere, or is about this machine or this time alone, is not.
fn is_parameter(key: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "context",
        "filename",
        "target",
        "platform",
        "source",
        "cgroup-parent",
        "image-resolve-mode",
        IMPORTS,
        "cmdline",
    ];
    const KINDS: [&str; 5] = ["attest:", "build-arg:", "label:", "vcs:", "local-sessionid:"];
    !OTHERS.contains(&key) && !KINDS.iter().any(|kind| key.starts_with(kind))
}

/// The policies of an order as documents.
pub fn policies(given: Option<&Policy>) -> Vec<serde_json::Value> {
    let constraint = |c: &AttrConstraint| json!({ "key": c.key, "value": c.value, "condition": c.condition });
    let rule = |rule: &Rule| {
        let selector = rule.selector.clone().unwrap_or_default();
        let constraints: Vec<_> = selector.constraints.iter().map(constraint).collect();
        let updates = rule.updates.as_ref().map(|u| json!({ "identifier": u.identifier, "attrs": u.attrs }));
        json!({
            "action": rule.action,
            "selector": {
                "identifier": selector.identifier,
                "match_type": selector.match_type,
                "constraints": constraints,
            },
            "updates": updates,
        })
    };
    let policies = given.filter(|policy| !policy.rules.is_empty());
    let document = |policy: &Policy| json!({ "rules": policy.rules.iter().map(rule).collect::<Vec<_>>() });
    policies.map(document).into_iter().collect()
}

fn prefixed(attributes: &Attributes, prefix: &'static str) -> impl Iterator<Item = (String, String)> {
    attributes
        .iter()
        .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
}

fn number(attributes: &Attributes, key: &str) -> Result<i64, Status> {
    match attributes.get(key).map_or("", String::as_str) {
        "" => Ok(0),
        text => text.parse().map_err(|_| bad(format!("invalid {key} value: {text}"))),
    }
}

fn pull(mode: &str) -> Result<bool, Status> {
    match mode {
        "" | "default" | "local" => Ok(false),
        "pull" => Ok(true),
        other => Err(bad(format!("invalid image-resolve-mode: {other}"))),
    }
}

fn network(mode: &str) -> Result<String, Status> {
    match mode {
        "" | "sandbox" => Ok(String::new()),
        "none" | "host" => Ok(mode.to_owned()),
        other => Err(bad(format!("invalid netmode {other}"))),
    }
}

/// `name=address` as the classic parameter has it, `name:address`.
fn hosts(text: &str) -> Result<Vec<String>, Status> {
    let host = |field: &String| match field.split_once('=') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Ok(format!("{name}:{address}")),
        _ => Err(bad(format!("invalid key-value pair {field}"))),
    };
    fields(text)?.iter().map(host).collect()
}

/// `name=soft[:hard]`.
fn ulimits(text: &str) -> Result<Vec<Ulimit>, Status> {
    let limit = |field: &String| {
        let wrong = || bad(format!("invalid ulimit argument: {field}"));
        let (name, values) = field.split_once('=').ok_or_else(wrong)?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let parse = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        Ok(Ulimit { name: name.to_owned(), soft: parse(soft)?, hard: parse(hard)? })
    };
    fields(text)?.iter().map(limit).collect()
}

/// The caches that results come from: those of the solve, and those that the frontend is told of.
fn caches_from(
    attributes: &Attributes,
    order: Option<&CacheOptions>,
) -> Result<Vec<BTreeMap<String, String>>, Status> {
    let mut all = Vec::new();
    for entry in order.iter().flat_map(|cache| &cache.imports) {
        all.push((entry.r#type.clone(), entry.attrs.clone().into_iter().collect::<BTreeMap<_, _>>()));
    }
    if let Some(text) = attributes.get(IMPORTS).filter(|text| !text.is_empty()) {
        #[derive(serde::Deserialize)]
        struct Import {
            #[serde(rename = "Type", alias = "type")]
            kind: String,
            #[serde(rename = "Attrs", alias = "attrs", default)]
            attributes: BTreeMap<String, String>,
        }
        let imports: Vec<Import> = serde_json::from_str(text)
            .map_err(|e| bad(format!("failed to unmarshal cache-imports ({text:?}): {e}")))?;
        all.extend(imports.into_iter().map(|import| (import.kind, import.attributes)));
    }
    let images = attributes.get("cache-from").into_iter().flat_map(|text| text.split(','));
    let image = |name: &str| ("registry".to_owned(), BTreeMap::from([("ref".to_owned(), name.to_owned())]));
    all.extend(images.filter(|name| !name.is_empty()).map(image));
    // Clients say the same to the solve and to the frontend.
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|import| seen.insert(import.clone()));
    all.into_iter().map(|(kind, attributes)| cache(&kind, attributes)).collect()
}

fn caches_to(order: Option<&CacheOptions>, options: &mut BuildOptions) -> Result<(), Status> {
    for entry in order.iter().flat_map(|cache| &cache.exports) {
        match entry.r#type.as_str() {
            "inline" => options.extras.export.inline_cache = true,
            kind => {
                let attributes = entry.attrs.clone().into_iter().collect();
                options.extras.caches_to.push(cache(kind, attributes)?);
            }
        }
    }
    Ok(())
}

/// One cache, which must be where this server can reach it.
fn cache(kind: &str, mut attributes: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Status> {
    match kind {
        "registry" | "s3" | "local" => {
            attributes.insert("type".to_owned(), kind.to_owned());
            Ok(attributes)
        }
        other => Err(Status::unimplemented(format!(
            "unknown cache type {other:?}: use registry, local, s3 or inline"
        ))),
    }
}

/// `attest:provenance` and `attest:sbom`, or the same as build arguments.
fn attestations(
    attributes: &Attributes,
    exporters: &[Exporter],
    options: &mut ExportOptions,
) -> Result<(), Status> {
    let asked = prefixed(attributes, "build-arg:BUILDKIT_ATTEST_").chain(prefixed(attributes, "attest:"));
    let asked: BTreeMap<_, _> = asked.map(|(kind, text)| (kind.to_lowercase(), text)).collect();
    for (kind, text) in asked {
        let fields = fields(&text)?;
        let pair = |field: &String| {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            (key.to_owned(), value.to_owned())
        };
        let mut fields: BTreeMap<String, String> =
            fields.iter().filter(|field| !field.is_empty()).map(pair).collect();
        let is_off = fields.remove("disabled").is_some_and(|value| value == "true");
        if is_off || fields.contains_key("false") {
            continue;
        }
        match kind.as_str() {
            "provenance" => provenance(&fields, exporters, options)?,
            "sbom" => {
                options.sbom = true;
                let generator = fields.remove("generator").unwrap_or_default();
                options.sbom_generator = oci_generator(&generator);
                fields.remove("true");
                options.sbom_arguments = fields;
            }
            other => return Err(bad(format!("unknown attestation type {other:?}"))),
        }
    }
    options.file_statements = exporters.iter().any(|e| matches!(e.r#type.as_str(), "local" | "tar"));
    options.names = exporters.iter().flat_map(names).collect();
    Ok(())
}

/// How a provenance is made. What clients ask for by themselves (`inline-only=true`) is attached where an image is handed out; the
/// image of this machine goes without, as before, and so do files.
fn provenance(
    fields: &BTreeMap<String, String>,
    exporters: &[Exporter],
    options: &mut ExportOptions,
) -> Result<(), Status> {
    let text = |key: &str| fields.get(key).cloned().unwrap_or_default();
    let is_set = |key: &str| matches!(text(key).as_str(), "true" | "1");
    let leaves = |e: &Exporter| {
        let inline = flag(e, "push") || flag(e, "attestation-inline");
        inline || matches!(e.r#type.as_str(), "oci" | "docker")
    };
    if is_set("capture-usage") {
        return Err(Status::unimplemented("provenance: capture-usage: this server does not measure steps"));
    }
    let mode = match text("mode").as_str() {
        "" | "max" | "full" => "max",
        "min" => "min",
        other => return Err(bad(format!("invalid mode {other:?}"))),
    };
    if is_set("inline-only") && !exporters.iter().any(leaves) {
        return Ok(());
    }
    options.provenance = mode.to_owned();
    options.provenance_version = text("version");
    options.builder_id = text("builder-id");
    options.reproducible = is_set("reproducible");
    options.complete_materials = is_set("complete-materials");
    options.provenance_file = match (is_set("inline-only"), text("filename")) {
        (true, _) => String::new(),
        (false, name) if name.contains('/') => {
            return Err(bad(format!("filename {name:?} is no name of a file")));
        }
        (false, name) if name.is_empty() => "provenance.json".to_owned(),
        (false, name) => name,
    };
    Ok(())
}

/// The image of a generator; empty for BuildKit's own, whose work the builder does itself.
fn oci_generator(image: &str) -> String {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let ours = name.split([':', '@']).next() == Some("docker/buildkit-syft-scanner");
    if ours { String::new() } else { image.to_owned() }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::moby::buildkit::v1::CacheOptionsEntry;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<BuildOptions, String> {
        let attributes = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        options(&attributes, &SolveRequest::default()).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn attributes_become_options() {
        let options = read(&[
            ("build-arg:A", "1"),
            ("label:l", "x=y"),
            ("no-cache", "a,b"),
            ("add-hosts", "db=10.0.0.2,\"web=10.0.0.3\""),
            ("ulimit", "nofile=10:20,core=0"),
            ("shm-size", "1024"),
            ("image-resolve-mode", "pull"),
            ("force-network-mode", "none"),
            ("cache-imports", r#"[{"Type":"registry","Attrs":{"ref":"r/x"}}]"#),
            ("vcs:source", "https://example.com/a.git"),
        ])
        .unwrap();
        assert_eq!(options.build_args["A"].as_deref(), Some("1"));
        assert_eq!(options.labels["l"], "x=y");
        assert!(!options.no_cache && options.pull);
        assert_eq!(options.extras.no_cache_filter, ["a", "b"]);
        assert_eq!(options.extra_hosts, ["db:10.0.0.2", "web:10.0.0.3"]);
        assert_eq!((options.ulimits[0].soft, options.ulimits[0].hard, options.ulimits[1].hard), (10, 20, 0));
        assert_eq!((options.shm_size, options.network_mode.as_str()), (1024, "none"));
        assert_eq!(options.extras.caches_from[0]["ref"], "r/x");
        assert_eq!(options.extras.export.vcs["source"], "https://example.com/a.git");
        assert!(read(&[("no-cache", "")]).unwrap().no_cache);
    }

    #[test]
    fn an_inline_cache_goes_with_the_image() {
        let inline = CacheOptionsEntry { r#type: "inline".to_owned(), ..CacheOptionsEntry::default() };
        let order = SolveRequest {
            cache: Some(CacheOptions { exports: vec![inline], ..CacheOptions::default() }),
            exporters: vec![Exporter { r#type: "image".to_owned(), ..Exporter::default() }],
            ..SolveRequest::default()
        };
        assert!(options(&HashMap::new(), &order).unwrap().extras.export.inline_cache);
        assert!(!options(&HashMap::new(), &SolveRequest::default()).unwrap().extras.export.inline_cache);
    }

    /// Clients leave caches out, without a word, of which they are not told that they are kept.
    #[test]
    fn kinds_of_caches_are_told() {
        for kind in ["s3", "gha", "azblob"] {
            let is_kept = super::cache(kind, BTreeMap::new()).is_ok();
            assert_eq!(crate::gateway::offers(&format!("cache.{kind}")), is_kept, "{kind}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_said() {
        assert!(read(&[("force-network-mode", "mynet")]).unwrap_err().contains("invalid netmode mynet"));
        assert!(read(&[("shm-size", "much")]).unwrap_err().contains("invalid shm-size"));
        assert!(read(&[("cache-imports", r#"[{"Type":"gha"}]"#)]).unwrap_err().contains("\"gha\""));
        assert!(read(&[("attest:x", "")]).unwrap_err().contains("unknown attestation"));
    }

    #[test]
    fn attestations_that_nobody_asked_for_stay_inline() {
        let provenance = |kind: &str, text: &str| {
            let exporters = vec![Exporter { r#type: kind.to_owned(), ..Exporter::default() }];
            let order = SolveRequest { exporters, ..SolveRequest::default() };
            let attributes = HashMap::from([("attest:provenance".to_owned(), text.to_owned())]);
            options(&attributes, &order).unwrap().extras.export.provenance
        };
        assert_eq!(provenance("moby", "mode=min,inline-only=true"), "");
        assert_eq!(provenance("oci", "mode=min,inline-only=true"), "min");
        assert_eq!([provenance("moby", "mode=max"), provenance("moby", "")], ["max", "max"]);
        assert_eq!(provenance("moby", "disabled=true"), "");
        let how = "mode=max,version=v0.2,builder-id=me,reproducible=true";
        let export = read(&[("attest:provenance", how)]).unwrap().extras.export;
        assert_eq!((export.provenance_version.as_str(), export.builder_id.as_str()), ("v0.2", "me"));
        assert!(export.reproducible && export.provenance_file == "provenance.json");
        assert!(read(&[("attest:provenance", "mode=most")]).unwrap_err().contains("invalid mode \"most\""));
        assert!(read(&[("attest:provenance", "mode=most,inline-only=true")]).is_err());
        assert!(read(&[("attest:provenance", "capture-usage=true")]).unwrap_err().contains("capture-usage"));
        let complete = read(&[("attest:provenance", "complete-materials=true")]).unwrap();
        assert!(complete.extras.export.complete_materials && !export.complete_materials);
        assert!(read(&[("attest:provenance", "filename=../x")]).unwrap_err().contains("no name of a file"));
        assert_eq!(
            read(&[("build-arg:BUILDKIT_ATTEST_PROVENANCE", "mode=min")]).unwrap().extras.export.provenance,
            "min"
        );
    }

    #[test]
    fn generators_are_told_what_their_callers_say() {
        let export =
            read(&[("attest:sbom", "generator=me/scan:1,ARG1=foo,\"ARG2=a,b\"")]).unwrap().extras.export;
        assert_eq!((export.sbom, export.sbom_generator.as_str()), (true, "me/scan:1"));
        let arguments: Vec<_> = export.sbom_arguments.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(arguments, [("ARG1", "foo"), ("ARG2", "a,b")]);
        assert!(!read(&[("attest:sbom", "disabled=true")]).unwrap().extras.export.sbom);
    }
}
