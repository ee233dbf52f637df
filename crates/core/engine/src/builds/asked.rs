//! What a build was asked, as attributes in BuildKit's words: records tell it so, whoever asked.

use std::collections::BTreeMap;

use api::build::BuildOptions;
use oci::address::without_userinfo;

use super::ContextSource;
use super::history::is_secret;

pub(super) fn attributes(options: &BuildOptions, context: &ContextSource) -> BTreeMap<String, String> {
    let extras = &options.extras;
    let file = extras.dockerfile.as_ref().map_or(&options.dockerfile, |inline| &inline.name);
    let place = match context {
        ContextSource::Remote(address) => ("context", without_userinfo(address)),
        ContextSource::Dir(path) => ("vcs:localdir:context", path.display().to_string()),
        _ => ("context", String::new()),
    };
    let limit = |limit: &api::containers::Ulimit| format!("{}={}:{}", limit.name, limit.soft, limit.hard);
    let number = |number: i64| if number == 0 { String::new() } else { number.to_string() };
    let network = Some(&options.network_mode).filter(|mode| *mode != "default").cloned();
    let fixed = [
        place,
        ("filename", file.clone()),
        ("target", options.target.clone()),
        ("platform", options.platform.clone()),
        ("force-network-mode", network.unwrap_or_default()),
        ("add-hosts", options.extra_hosts.join(",")),
        ("image-resolve-mode", if options.pull { "pull".to_owned() } else { String::new() }),
        ("cgroup-parent", options.cgroup_parent.clone()),
        ("shm-size", number(options.shm_size)),
        ("ulimit", options.ulimits.iter().map(limit).collect::<Vec<_>>().join(",")),
        ("memory", number(options.memory)),
        ("memswap", number(options.memory_swap)),
        ("cpushares", number(options.cpu_shares)),
        ("cpuperiod", number(options.cpu_period)),
        ("cpuquota", number(options.cpu_quota)),
        ("cpusetcpus", options.cpuset_cpus.clone()),
        ("cpusetmems", options.cpuset_mems.clone()),
    ];
    let said = fixed.into_iter().filter(|(_, value)| !value.is_empty());
    let mut all: BTreeMap<String, String> = said.map(|(key, value)| (key.to_owned(), value)).collect();
    if options.no_cache || !extras.no_cache_filter.is_empty() {
        let stages = if options.no_cache { String::new() } else { extras.no_cache_filter.join(",") };
        all.insert("no-cache".to_owned(), stages);
    }
    let arguments = options.build_args.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let mut more = |prefix: &str, name: &str, value: &str| {
        all.insert(format!("{prefix}:{name}"), without_userinfo(value));
    };
    arguments.filter(|(name, _)| !is_secret(name)).for_each(|(name, value)| more("build-arg", name, value));
    options.labels.iter().for_each(|(name, value)| more("label", name, value));
    extras.contexts.iter().for_each(|(name, value)| more("context", name, value));
    let repository = extras.export.vcs.iter().filter(|(name, _)| *name != "localdir:context");
    repository.for_each(|(name, value)| more("vcs", name, value));
    all
}
