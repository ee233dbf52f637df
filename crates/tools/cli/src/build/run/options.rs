//! What a command line asks of the server, and what of it nobody serves.

use std::collections::BTreeMap;
use std::path::Path;

use api::build::{BuildExtras, BuildOptions, ExportOptions};
use oci::Reference;

use super::super::attest::Attestations;
use super::super::output::{self, Kind, Output, Wishes};
use super::super::screen::Shown;
use super::super::source::is_remote;
use super::super::{caches, secrets};
use super::Args;
use crate::bake::real;
use crate::context::Cli;
use crate::error::Error;
use crate::flags::integer;
use crate::format::units::{ram_in_bytes, swap_bytes};
use crate::options::env;
use crate::options::mount::csv;
use crate::options::volume::absolute;

/// The time that stands for now in what is built.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// A file of rules for what builds may take from elsewhere.
const SOURCE_POLICY: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";
/// What lets an output remove files of the user's.
const LOCAL_DELETE: &str = "buildx.local.delete";

/// What cannot be served is said, not ignored.
pub(super) fn refuse(cli: &Cli, args: &Args) -> Result<(), Error> {
    if let Some(word) = args.isolation.as_deref().filter(|word| !matches!(*word, "" | "default")) {
        return Err(Error::new(format!(
            "unsupported isolation: {}: it is Windows' alone",
            template::quote(word)
        )));
    }
    for policy in &args.policy {
        let none = |field: &&String| matches!(field.as_str(), "disabled=true" | "reset=true");
        if let Some(field) = csv(policy)?.iter().find(|field| !none(field)) {
            return Err(Error::new(format!(
                "--policy {}: policies in Rego are not supported, only \"disabled=true\"",
                template::quote(field)
            )));
        }
    }
    if let Some(text) = args.build_arg.iter().find(|text| text.is_empty() || text.starts_with('=')) {
        return Err(Error::new(format!("invalid key-value pair {}: empty key", template::quote(text))));
    }
    let is_allowed = entitlements(&args.allow).iter().any(|word| word == LOCAL_DELETE);
    let outputs = args.output.iter().filter_map(|text| Output::parse(text).ok());
    for deletes in outputs.filter(|output| output.delete) {
        let home = cli.variable("HOME").unwrap_or_else(|| "/root".to_owned());
        let dest = deletes.dest.as_deref().unwrap_or_default();
        check_deletion(dest, &cli.host.directory, Path::new(&home), is_allowed)?;
    }
    args.plugin.check(cli)
}

/// Whether a variable of the environment is set and true.
pub(super) fn env_flag(cli: &Cli, name: &str) -> bool {
    cli.variable(name).is_some_and(|text| crate::flags::boolean(&text).unwrap_or(false))
}

/// `--resource memory=2g,cpu-quota=50000`: the same as the flags of these names.
fn limits(args: &Args, options: &mut BuildOptions) -> Result<(), Error> {
    for text in &args.resource {
        for field in csv(text)? {
            let wrong =
                |reason: &str| Error::new(format!("invalid resource {}: {reason}", template::quote(&field)));
            let (key, value) = field.split_once('=').ok_or_else(|| wrong("expected key=value"))?;
            let number = |read: fn(&str) -> Result<i64, String>| read(value).map_err(|reason| wrong(&reason));
            match key.trim() {
                "memory" => options.memory = number(ram_in_bytes)?,
                "memory-swap" => options.memory_swap = number(swap_bytes)?,
                "cpu-shares" => options.cpu_shares = number(integer)?,
                "cpu-period" => options.cpu_period = number(integer)?,
                "cpu-quota" => options.cpu_quota = number(integer)?,
                "cpuset-cpus" => value.clone_into(&mut options.cpuset_cpus),
                "cpuset-mems" => value.clone_into(&mut options.cpuset_mems),
                _ => {
                    return Err(wrong(
                        "there are memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus and cpuset-mems",
                    ));
                }
            }
        }
    }
    Ok(())
}

/// What may be done beyond what is on by itself. Words with commas between them are several, but for a device's own
/// attributes.
pub fn entitlements(given: &[String]) -> Vec<String> {
    let words = given.iter().flat_map(|text| match text.starts_with("device=") {
        true => vec![text.clone()],
        false => text.split(',').map(|word| word.trim().to_owned()).collect(),
    });
    words.filter(|word| !word.is_empty()).collect()
}

/// The platforms to build for; `local` is this machine's.
fn platforms(cli: &Cli, args: &Args) -> String {
    let given = match args.platform.is_empty() {
        true => cli.variable("DOCKER_DEFAULT_PLATFORM").unwrap_or_default(),
        false => args.platform.join(","),
    };
    let one =
        |word: &str| if word.trim() == "local" { oci::Platform::host().to_string() } else { word.to_owned() };
    given.split(',').map(one).collect::<Vec<_>>().join(",")
}

pub(super) fn options(
    cli: &Cli,
    args: &Args,
    shown: Shown,
    outputs: &[Output],
) -> Result<BuildOptions, Error> {
    for tag in &args.tag {
        Reference::parse(tag)
            .map_err(|error| Error::new(format!("invalid tag {}: {error}", template::quote(tag))))?;
    }
    let build_args = args.build_arg.iter().map(|text| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.clone(), cli.variable(text)),
    });
    let mut build_args: BTreeMap<String, Option<String>> = build_args.collect();
    if let Some(epoch) = cli.variable(EPOCH).filter(|text| !text.is_empty()) {
        build_args.entry(EPOCH.to_owned()).or_insert(Some(epoch));
    }
    let proxies = crate::settings::proxies(cli, |name| build_args.contains_key(name))?;
    build_args.extend(proxies.into_iter().map(|(name, value)| (name, Some(value))));
    let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
    let number = |flag: Option<i64>| flag.unwrap_or_default();
    let mut options = BuildOptions {
        extra_hosts: args.add_host.clone(),
        quiet: matches!(shown, Shown::Quiet | Shown::None),
        no_cache: args.no_cache,
        pull: args.pull,
        rm: args.rm,
        force_rm: args.force_rm,
        memory: number(args.memory),
        memory_swap: number(args.memory_swap),
        cpu_shares: number(args.cpu_shares),
        cpu_period: number(args.cpu_period),
        cpu_quota: number(args.cpu_quota),
        cpuset_cpus: text(&args.cpuset_cpus),
        cpuset_mems: text(&args.cpuset_mems),
        cgroup_parent: text(&args.cgroup_parent),
        ulimits: args.ulimit.clone(),
        shm_size: number(args.shm_size),
        build_args,
        labels: env::map(&args.label),
        squash: args.squash,
        network_mode: text(&args.network),
        platform: platforms(cli, args),
        target: text(&args.target),
        security_opt: args.security_opt.clone(),
        native_progress: shown != Shown::Classic,
        extras: extras(cli, args, outputs)?,
        ..BuildOptions::default()
    };
    limits(args, &mut options)?;
    Ok(options)
}

/// Whether all that is in a directory may go but for the result. What lies below the working directory may; of anything else nobody
/// knows what it is for, and what the working directory or the home lies in is never meant.
fn check_deletion(dest: &str, here: &Path, home: &Path, is_allowed: bool) -> Result<(), Error> {
    let refused = |why: String| {
        Err(Error::new(format!("local output mode=delete for destination {} {why}", template::quote(dest))))
    };
    let (dest, here, home) = (real(&here.join(dest), true), real(here, true), real(home, true));
    if dest.parent().is_none() || here != dest && here.starts_with(&dest) {
        return refused(format!("would delete all around the working directory {}", here.display()));
    }
    if home.starts_with(&dest) {
        return refused("would delete the home directory".to_owned());
    }
    match is_allowed || here != dest && dest.starts_with(&here) {
        true => Ok(()),
        false => refused(format!("requires --allow={LOCAL_DELETE}")),
    }
}

/// The contexts besides the main one.
pub(super) fn contexts(cli: &Cli, args: &Args) -> Result<BTreeMap<String, String>, Error> {
    let mut contexts = BTreeMap::new();
    for spec in &args.build_context {
        let (name, source) = spec
            .split_once('=')
            .ok_or_else(|| Error::new(format!("invalid context value: {spec}, expected key=value")))?;
        // Bake files may have names that nothing asks for.
        if args.group.is_empty() {
            Reference::parse(name)
                .map_err(|error| Error::new(format!("invalid context name {name}: {error}")))?;
        }
        let full = |path: &str| absolute(path, &cli.host.directory).display().to_string();
        let source = match source.strip_prefix("oci-layout://") {
            Some(layout) => format!("oci-layout://{}", full(layout)),
            None if source.is_empty() => {
                return Err(Error::new(format!(
                    "build context {name}: it has no source, write {name}=directory"
                )));
            }
            None if source.contains("://") || is_remote(source) => source.to_owned(),
            None => full(source),
        };
        contexts.insert(name.to_owned(), source);
    }
    Ok(contexts)
}

/// The policy in the file that a variable names, as with buildx.
fn source_policies(cli: &Cli) -> Result<Vec<serde_json::Value>, Error> {
    let Some(name) = cli.variable(SOURCE_POLICY).filter(|name| !name.is_empty()) else {
        return Ok(Vec::new());
    };
    let path = cli.host.directory.join(&name);
    let text = std::fs::read(&path).map_err(|error| Error::file("open", &path, &error))?;
    let policy = serde_json::from_slice(&text);
    policy.map(|policy| vec![policy]).map_err(|error| Error::new(format!("source policy {name}: {error}")))
}

fn extras(cli: &Cli, args: &Args, outputs: &[Output]) -> Result<BuildExtras, Error> {
    let secrets =
        args.secret.iter().map(|spec| secrets::read(cli, spec)).collect::<Result<BTreeMap<_, _>, _>>()?;
    let contexts = contexts(cli, args)?;
    let wishes = output::wishes(outputs)?;
    Ok(BuildExtras {
        secrets,
        contexts,
        no_cache_filter: args.no_cache_filter.clone(),
        allow: entitlements(&args.allow).into_iter().filter(|word| word != LOCAL_DELETE).collect(),
        source_policies: source_policies(cli)?,
        rewrite_timestamp: wishes.rewrite_timestamp,
        export: export(cli, args, outputs, wishes)?,
        caches_from: caches::from(cli, &args.cache_from)?,
        caches_to: caches::to(cli, &args.cache_to)?,
        jobs: args.jobs.unwrap_or_default(),
        verify: args.verify,
        group: args.group.clone(),
        ..BuildExtras::default()
    })
}

/// What the result shall look like.
fn export(cli: &Cli, args: &Args, outputs: &[Output], wishes: Wishes) -> Result<ExportOptions, Error> {
    let attestations = Attestations::read(args.provenance.as_deref(), args.sbom.as_deref(), &args.attest)?;
    let how = attestations.provenance.clone().unwrap_or_default();
    let leaves = |output: &Output| {
        output.push || output.inline || matches!(output.kind, Kind::Oci | Kind::Docker) && !output.keeps()
    };
    let attached = attestations.provenance.is_some() && (!how.inline_only || outputs.iter().any(leaves));
    let provenance_file = match how.inline_only {
        // What is attached to images alone lies among no files.
        true => String::new(),
        false => how.filename,
    };
    Ok(ExportOptions {
        compression: wishes.compression.unwrap_or_else(|| compression(outputs).to_owned()),
        compression_level: wishes.level,
        force_compression: wishes.force,
        oci_media_types: wishes.oci,
        oci_artifact: wishes.artifact,
        compatibility_version: wishes.compatibility,
        source_date_epoch: wishes.epoch,
        annotations: wishes.annotations.into_iter().chain(args.annotation.iter().cloned()).collect(),
        index: false,
        provenance: if attached { how.mode.to_owned() } else { String::new() },
        told_provenance: told_provenance(cli, args),
        provenance_version: how.version.to_owned(),
        builder_id: how.builder_id,
        reproducible: how.reproducible,
        complete_materials: how.complete,
        request: Default::default(),
        sbom: attestations.sbom,
        sbom_generator: attestations.generator,
        sbom_arguments: attestations.arguments,
        file_statements: outputs.iter().any(|output| matches!(output.kind, Kind::Local | Kind::Tar)),
        provenance_file,
        names: Vec::new(),
        registries: None,
        cache_only: outputs.iter().all(|output| output.kind == Kind::CacheOnly),
        inline_cache: args.cache_to.iter().any(|text| caches::is_inline(text)),
        canonical_names: wishes.canonical_names,
        dangling_prefix: wishes.dangling_prefix,
        parameters: BTreeMap::new(),
        vcs: BTreeMap::new(),
    })
}

/// How new layers are compressed where nobody says: an archive's as BuildKit's are. In the store they stay as they are.
fn compression(outputs: &[Output]) -> &'static str {
    let leaves = |output: &Output| matches!(output.kind, Kind::Oci | Kind::Docker) && !output.keeps();
    if outputs.iter().any(leaves) { "gzip" } else { "" }
}

/// How much of the provenance a file of metadata gets, whatever is attached (`BUILDX_METADATA_PROVENANCE`; as with buildx,
/// words that it does not know change nothing).
fn told_provenance(cli: &Cli, args: &Args) -> String {
    let wanted = cli.variable("BUILDX_METADATA_PROVENANCE").unwrap_or_default();
    match wanted.as_str() {
        _ if args.metadata_file.is_none() && !args.told => "",
        "disabled" => "",
        other if crate::flags::boolean(other) == Ok(false) => "",
        "max" => "max",
        _ => "min",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_is_not_deleted() {
        let root = tempfile::tempdir().unwrap();
        let (here, home) = (root.path().join("work/here"), root.path().join("home/me"));
        for directory in [&here, &home] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::os::unix::fs::symlink("../..", here.join("up")).unwrap();
        let check =
            |dest: &str, is_allowed| check_deletion(dest, &here, &home, is_allowed).map_err(|e| e.message);
        for dest in ["out", "./out/", "out/../other"] {
            assert_eq!(check(dest, false), Ok(()), "{dest}");
        }
        for dest in [".", "../beside", "up/work/beside"] {
            assert!(
                check(dest, false).unwrap_err().contains("requires --allow=buildx.local.delete"),
                "{dest}"
            );
            assert_eq!(check(dest, true), Ok(()), "{dest}");
        }
        for dest in ["/", "..", "up", "up/work", "../../home", "up/home/me"] {
            let refused = check(dest, true).unwrap_err();
            assert!(refused.contains("would delete"), "{refused}");
        }
    }
}
