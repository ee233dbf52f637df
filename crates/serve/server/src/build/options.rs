//! The query parameters of a build.

use std::path::Path;

use api::build::{BuildExtras, BuildOptions, EXTRAS_HEADER, EXTRAS_LENGTH_HEADER};
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::answer::Result;
use crate::call::Call;
use crate::error::Failure;

/// Reads the parameters, and refuses what this server or this peer may not do.
pub async fn options(call: &mut Call) -> Result<BuildOptions> {
    refuse(call)?;
    let extras = extras(call).await?;
    let call = &*call;
    let query = &call.query;
    let number = |name| Ok::<i64, Failure>(query.number(name)?.unwrap_or(0));
    let options = BuildOptions {
        dockerfile: query.text("dockerfile").to_owned(),
        tags: query.all("t").into_iter().filter(|tag| !tag.is_empty()).collect(),
        extra_hosts: extra_hosts(call),
        remote: query.text("remote").to_owned(),
        quiet: query.flag("q"),
        no_cache: query.flag("nocache"),
        cache_from: json(call, "cachefrom")?,
        pull: query.flag("pull"),
        rm: query.flag_or("rm", true),
        force_rm: query.flag("forcerm"),
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: query.text("cpusetcpus").to_owned(),
        cpuset_mems: query.text("cpusetmems").to_owned(),
        cgroup_parent: query.text("cgroupparent").to_owned(),
        ulimits: json(call, "ulimits")?,
        shm_size: number("shmsize")?,
        build_args: json(call, "buildargs")?,
        labels: json(call, "labels")?,
        squash: query.flag("squash"),
        network_mode: query.text("networkmode").to_owned(),
        platform: query.text("platform").to_owned(),
        target: query.text("target").to_owned(),
        security_opt: security_opt(call),
        context_dir: query.text("dhow-context").to_owned(),
        native_progress: query.text("progress") == "dhow",
        extras,
    };
    check(call, &options)?;
    // What is wrong is said while the body is still the caller's to read to its end.
    engine::builds::check(&options)?;
    Ok(options)
}

/// The command line sends each by itself, others a list: a build is refused for one of them, however it is written.
fn security_opt(call: &Call) -> Vec<String> {
    let all = call.query.all("securityopt");
    all.into_iter().filter(|text| !matches!(text.as_str(), "" | "null" | "[]")).collect()
}

/// The context of a build whose files a session has.
pub const CLIENT: &str = "client-session";

/// Whether the client wants BuildKit's builder, and its words.
pub fn is_buildkits(call: &Call) -> bool {
    call.query.text("version") == "2"
}

fn check(call: &Call, options: &BuildOptions) -> Result<()> {
    let held_by_client = options.remote == CLIENT && is_buildkits(call);
    if options.remote == "upload-request" {
        return Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "a context in a request of its own is not supported: send it as the body of the build",
        ));
    }
    if !options.remote.is_empty() && !held_by_client && !engine::builds::is_remote(&options.remote) {
        return Err(Failure::bad_request(format!(
            "remote context {:?} is neither the address of a git repository nor a URL",
            options.remote
        )));
    }
    let named = || options.extras.contexts.values().map(String::as_str);
    // The engine looks at caches and repositories by itself.
    let layouts = named().filter_map(|source| source.strip_prefix("oci-layout://"));
    let directories = named().filter(|source| source.starts_with('/'));
    let agents = options.extras.ssh.values().map(String::as_str);
    for dir in directories
        .chain(layouts)
        .chain(agents)
        .chain(Some(options.context_dir.as_str()).filter(|dir| !dir.is_empty()))
    {
        call.peer.reach().files()?;
        if !Path::new(dir).is_absolute() {
            return Err(Failure::bad_request(format!("build context {dir:?} is not an absolute path")));
        }
    }
    Ok(())
}

/// Repeated in newer API versions, joined by commas in older ones.
fn extra_hosts(call: &Call) -> Vec<String> {
    let values = call.query.all("extrahosts");
    values
        .iter()
        .flat_map(|value| value.split(','))
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Parameters whose values mean something elsewhere only.
fn refuse(call: &Call) -> Result<()> {
    let value = |name| Some(call.query.text(name)).filter(|text| !text.is_empty());
    let version = value("version").unwrap_or("1");
    let problem = match (version, value("isolation")) {
        ("1" | "2", None | Some("default")) => None,
        ("1" | "2", Some(other)) => Some(format!("unsupported isolation: {other:?}")),
        (other, _) => Some(format!("invalid version {other:?} of the builder: 1 or 2")),
    };
    let outputs = value("outputs").filter(|text| version == "1" && !matches!(*text, "[]" | "null"));
    let problem = problem
        .or_else(|| outputs.map(|_| "outputs are for version 2 of the builder".to_owned()))
        .or_else(|| value("credentialspec").map(|_| "credentialspec is Windows' alone".to_owned()));
    match problem {
        Some(problem) => Err(Failure::bad_request(problem)),
        None => Ok(()),
    }
}

/// A parameter that is a JSON document.
fn json<T: DeserializeOwned + Default>(call: &Call, name: &str) -> Result<T> {
    match call.query.text(name) {
        "" => Ok(T::default()),
        text => {
            let document: Option<T> = serde_json::from_str(text)
                .map_err(|e| Failure::bad_request(format!("error reading {}: {e}", called(name))))?;
            Ok(document.unwrap_or_default())
        }
    }
}

/// What Docker calls a parameter in messages.
fn called(name: &str) -> &str {
    if name == "buildargs" { "build args" } else { name }
}

/// In a header, or at the beginning of the body where they are long.
async fn extras(call: &mut Call) -> Result<BuildExtras> {
    let length = call.header(EXTRAS_LENGTH_HEADER);
    if length.is_empty() {
        return BuildExtras::decode(call.header(EXTRAS_HEADER))
            .map_err(|e| Failure::bad_request(format!("{EXTRAS_HEADER}: {e}")));
    }
    let bad = |e: &dyn std::fmt::Display| Failure::bad_request(format!("{EXTRAS_LENGTH_HEADER}: {e}"));
    let length = length.parse().map_err(|e: std::num::ParseIntError| bad(&e))?;
    serde_json::from_slice(&call.first(length).await?).map_err(|e| bad(&e))
}
