//! What a create request may say. Errors are Docker's; nothing is looked up on the machine but its facts in
//! [`Machine`]. Options that this engine does not serve are errors here, never silence.

use api::containers::{Config, HealthConfig, HostConfig, Resources, RestartPolicy};
use api::networks::EndpointSettings;

use super::{devices, ports, signal};
use crate::error::{Error, Result};
use crate::spec::capabilities;

/// Facts about the machine that limits are checked against.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Processors that can be given.
    pub cpus: u32,
}

const LINUX_MIN_MEMORY: i64 = 6 << 20;
/// The shortest time of a health check, in nanoseconds.
pub const MIN_HEALTH: i64 = 1_000_000;

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::invalid(message))
}

/// Checks options that exclude each other, before the image is merged in: what an image exposes asks for nothing.
pub fn check_request(config: &Config, host: &HostConfig) -> Result<()> {
    check_modes(config, host)
}

/// Checks both halves of a merged request.
pub fn check(config: &Config, host: &HostConfig, machine: Machine) -> Result<()> {
    check_config(config)?;
    check_host(host)?;
    check_resources(&host.resources, machine)?;
    check_restart(&host.restart_policy, host.auto_remove)?;
    ports::exposed(&config.exposed_ports)?;
    ports::requests(&host.port_bindings, &config.exposed_ports, host.publish_all_ports, false)?;
    capabilities::set(host.cap_add.as_slice(), host.cap_drop.as_slice(), host.privileged, &[])?;
    Ok(())
}

fn check_config(config: &Config) -> Result<()> {
    if config.entrypoint.is_empty() && config.cmd.is_empty() {
        return fail("no command specified");
    }
    check_nul(config)?;
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return fail(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        ));
    }
    for line in &config.env {
        if line.is_empty() || line.starts_with('=') || line.contains('\0') {
            return fail(format!("invalid environment variable: {line}"));
        }
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    let name_is_bad = |n: &str| n.len() > 64 || n.bytes().any(|b| b.is_ascii_control() || b == b' ');
    for (what, name) in [("hostname", &config.hostname), ("domainname", &config.domainname)] {
        if name_is_bad(name) {
            return fail(format!("invalid {what} format: {name}"));
        }
    }
    if let Some((name, value)) = config.labels.iter().find(|(n, v)| n.contains('\0') || v.contains('\0')) {
        return fail(format!("invalid label: {name:?}={value:?} contains a NUL byte"));
    }
    config.healthcheck.as_ref().map_or(Ok(()), check_health)
}

/// For the kernel a text ends at a NUL byte: it would see another one than who checked it.
fn check_nul(config: &Config) -> Result<()> {
    let health = config.healthcheck.iter().flat_map(|health| &health.test).map(|word| ("health check", word));
    let command = config.entrypoint.as_slice().iter().chain(config.cmd.as_slice());
    let texts = [("user", &config.user), ("working directory", &config.working_dir)];
    let all = command.map(|word| ("command", word)).chain(health).chain(texts);
    let all = all.chain(config.volumes.iter().map(|path| ("mount path", path)));
    match all.into_iter().find(|(_, text)| text.contains('\0')) {
        Some((what, text)) => fail(format!("invalid {what}: {text:?} contains a NUL byte")),
        None => Ok(()),
    }
}

fn check_health(health: &HealthConfig) -> Result<()> {
    for (value, name) in [
        (health.interval, "Interval"),
        (health.timeout, "Timeout"),
        (health.start_period, "StartPeriod"),
        (health.start_interval, "StartInterval"),
    ] {
        if value != 0 && value < MIN_HEALTH {
            return fail(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    if health.retries < 0 {
        return fail("Retries in Healthcheck cannot be negative");
    }
    match health.test.first().map(String::as_str) {
        None | Some("NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => fail(format!("unknown type {other:?} in healthcheck (try 'CMD')")),
    }
}

fn check_host(host: &HostConfig) -> Result<()> {
    if host.shm_size < 0 {
        return fail("SHM size can not be less than 0");
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return fail(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ));
    }
    if !host.storage_opt.is_empty() {
        return fail("--storage-opt is not supported: writable layers have no size limit");
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return fail(format!("invalid user namespace mode: {}", host.userns_mode));
    }
    if !matches!(host.runtime.as_str(), "" | "runc" | "dhow" | "io.containerd.runc.v2") {
        return fail(format!("unknown or invalid runtime name: {}", host.runtime));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return fail(format!("invalid isolation '{}' on linux", host.isolation));
    }
    for request in &host.resources.device_requests {
        if request.driver == devices::CDI {
            devices::check(request)?;
            continue;
        }
        let wanted = format!(
            "[{}]",
            request.capabilities.iter().map(|c| format!("[{}]", c.join(" "))).collect::<Vec<_>>().join(" ")
        );
        return fail(format!(
            "could not select device driver {:?} with capabilities: {wanted}",
            request.driver
        ));
    }
    for options in host.tmpfs.values() {
        check_tmpfs(options)?;
    }
    check_lines(host)?;
    check_log(host)
}

/// What becomes part of a line of a file: another line there would be somebody else's word.
fn check_lines(host: &HostConfig) -> Result<()> {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    if let Some(option) = host.dns_options.iter().find(|option| option.contains(blank)) {
        return fail(format!("invalid DNS option {option:?}: it has blanks or control characters"));
    }
    if let Some(domain) = host.dns_search.iter().find(|domain| domain.contains(blank)) {
        return fail(format!("{domain:?} is not a valid domain"));
    }
    // Addresses are looked at here already, so that a container that can't start is not created.
    super::etc::extra_hosts(&host.extra_hosts, Some(std::net::Ipv4Addr::UNSPECIFIED.into()))?;
    if let Some(server) = host.dns.iter().find(|server| server.parse::<std::net::IpAddr>().is_err()) {
        return fail(format!("bad nameserver address {server}: invalid IP address"));
    }
    for (name, value) in &host.sysctls {
        let line = |text: &str| text.contains(|c: char| c.is_control() && c != '\t');
        if line(name) || line(value.trim_end_matches('\n')) {
            return fail(format!("invalid sysctl {name:?}: {value:?} is more than one line"));
        }
    }
    let links = host.links.iter().map(|link| ("link", link));
    let groups = host.group_add.iter().map(|group| ("group", group));
    match links.chain(groups).find(|(_, text)| text.contains(|c: char| c.is_control())) {
        Some((what, text)) => fail(format!("invalid {what} {text:?}: it has control characters")),
        None => Ok(()),
    }
}

/// Names that an endpoint asks for: they go into files that monitors read, and into `/etc/hosts`.
pub fn check_endpoint(network: &str, settings: &EndpointSettings) -> Result<()> {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    let aliases = settings.aliases.iter().filter(|alias| alias.is_empty() || alias.contains(blank));
    let links = settings.links.iter().filter(|link| link.contains(blank));
    match aliases.map(|alias| ("alias", alias)).chain(links.map(|link| ("link", link))).next() {
        Some((what, name)) => fail(format!(
            "invalid config for network {network}: invalid endpoint settings:\ninvalid {what} {name:?}"
        )),
        None => Ok(()),
    }
}

/// The options of `--tmpfs`: flags of mounts, and what tmpfs takes.
fn check_tmpfs(options: &str) -> Result<()> {
    const FLAGS: &str = "defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime \
        noatime diratime nodiratime bind rbind unbindable runbindable private rprivate shared rshared slave rslave \
        relatime norelatime strictatime nostrictatime";
    const VALUES: [&str; 7] = ["mode", "uid", "gid", "size", "nr_blocks", "nr_inodes", "mpol"];
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let known = match option.split_once('=') {
            Some((key, _)) => VALUES.contains(&key),
            None => FLAGS.split_whitespace().any(|flag| flag == option),
        };
        if !known {
            return fail(format!("invalid tmpfs option [{option:?}]"));
        }
    }
    Ok(())
}

fn check_log(host: &HostConfig) -> Result<()> {
    let known: &[&str] = match host.log_config.typ.as_str() {
        "" | "json-file" => &[
            "max-size",
            "max-file",
            "labels",
            "labels-regex",
            "env",
            "env-regex",
            "tag",
            "mode",
            "max-buffer-size",
            "compress",
        ],
        "none" => return Ok(()),
        other => return fail(format!("logger: no log driver named '{other}' is registered")),
    };
    for name in host.log_config.config.keys() {
        if !known.contains(&name.as_str()) {
            return fail(format!("unknown log opt '{name}' for json-file log driver"));
        }
    }
    super::logging::log_config(host, &Config::default()).map(|_| ())
}

fn check_modes(config: &Config, host: &HostConfig) -> Result<()> {
    let mode = host.network_mode.as_str();
    if mode.strip_prefix("container:").is_some() {
        if mode == "container:" {
            return fail("Invalid network mode: invalid container format container:<name|id>");
        }
        if !config.hostname.is_empty() {
            return fail("conflicting options: hostname and the network mode");
        }
        if !host.links.is_empty() {
            return fail(
                "conflicting options: container type network can't be used with links. This would result in undefined behavior",
            );
        }
        if !host.dns.is_empty() {
            return fail("conflicting options: dns and the network mode");
        }
        if !host.extra_hosts.is_empty() {
            return fail("conflicting options: custom host-to-IP mapping and the network mode");
        }
        if !host.port_bindings.is_empty() || host.publish_all_ports {
            return fail("conflicting options: port publishing and the container type network mode");
        }
        if !config.exposed_ports.is_empty() {
            return fail("conflicting options: port exposing and the container type network mode");
        }
    }
    if mode == "host" && !host.links.is_empty() {
        return fail(
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
        );
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return fail("conflicting options: hostname and the UTS mode");
    }
    check_namespace("PID", &host.pid_mode, &["", "host"])?;
    check_namespace("IPC", &host.ipc_mode, &["", "private", "shareable", "host", "none"])?;
    check_plain("UTS", &host.uts_mode, &["", "host"])?;
    check_plain("cgroup namespace", &host.cgroupns_mode, &["", "host", "private"])?;
    if mode == "host"
        && let Some(name) = host.sysctls.keys().find(|k| k.starts_with("net."))
    {
        return fail(format!("sysctl '{name}' not allowed in host network namespace"));
    }
    Ok(())
}

fn check_namespace(what: &str, mode: &str, plain: &[&str]) -> Result<()> {
    match mode.strip_prefix("container:") {
        Some("") => fail(format!("invalid {what} mode: {mode}")),
        Some(_) => Ok(()),
        None => check_plain(what, mode, plain),
    }
}

fn check_plain(what: &str, mode: &str, allowed: &[&str]) -> Result<()> {
    if allowed.contains(&mode) { Ok(()) } else { fail(format!("invalid {what} mode: {mode}")) }
}

/// Checks limits; also those of an update.
pub fn check_resources(r: &Resources, machine: Machine) -> Result<()> {
    check_memory(r)?;
    check_cpu(r, machine)?;
    check_cgroup_parent(&r.cgroup_parent)?;
    if r.blkio_weight > 0 && !(10..=1000).contains(&r.blkio_weight) {
        return fail("Range of blkio weight is from 10 to 1000");
    }
    for limit in &r.ulimits {
        if limit.hard != -1 && (limit.soft > limit.hard || limit.soft == -1) {
            return fail(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            ));
        }
        if !api::containers::ULIMITS.contains(&limit.name.as_str()) {
            return fail(format!("invalid ulimit type: {}", limit.name));
        }
    }
    Ok(())
}

/// Where a group cannot be made, or would be another one than the path says.
fn check_cgroup_parent(parent: &str) -> Result<()> {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(char::is_control);
    let path = parent.trim_matches('/');
    if !path.is_empty() && path.split('/').any(bad) {
        return fail(format!("invalid cgroup parent {parent:?}: it is no path without \".\" and \"..\""));
    }
    Ok(())
}

fn check_memory(r: &Resources) -> Result<()> {
    if r.memory != 0 && r.memory < LINUX_MIN_MEMORY {
        return fail("Minimum memory limit allowed is 6MB");
    }
    if r.memory > 0 && r.memory_swap > 0 && r.memory_swap < r.memory {
        return fail("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if r.memory == 0 && r.memory_swap > 0 {
        return fail("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(swappiness) = r.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return fail(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if r.memory_reservation != 0 && r.memory_reservation < LINUX_MIN_MEMORY {
        return fail("Minimum memory reservation allowed is 6MB");
    }
    if r.memory > 0 && r.memory_reservation > 0 && r.memory < r.memory_reservation {
        return fail("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn check_cpu(r: &Resources, machine: Machine) -> Result<()> {
    if r.nano_cpus > 0 && r.cpu_period > 0 {
        return fail("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if r.nano_cpus > 0 && r.cpu_quota > 0 {
        return fail("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if r.nano_cpus < 0 || r.nano_cpus > i64::from(machine.cpus) * 1_000_000_000 {
        return fail(format!(
            "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
            machine.cpus
        ));
    }
    if r.cpu_shares < 0 {
        return fail(format!("invalid CPU shares ({}): value must be a positive integer", r.cpu_shares));
    }
    if r.cpu_period != 0 && !(1000..=1_000_000).contains(&r.cpu_period) {
        return fail("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if r.cpu_quota > 0 && r.cpu_quota < 1000 {
        return fail("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if !is_cpu_list(&r.cpuset_cpus) {
        return fail(format!("Invalid value {} for cpuset cpus", r.cpuset_cpus));
    }
    if !is_cpu_list(&r.cpuset_mems) {
        return fail(format!("Invalid value {} for cpuset mems", r.cpuset_mems));
    }
    if cpu_numbers(&r.cpuset_cpus).any(|cpu| cpu >= machine.cpus) {
        let (last, asked) = (machine.cpus.saturating_sub(1), &r.cpuset_cpus);
        return fail(format!("Requested CPUs are not available - requested {asked}, available: 0-{last}"));
    }
    Ok(())
}

fn is_cpu_list(text: &str) -> bool {
    text.is_empty()
        || text.split(',').all(|part| {
            let number = |t: &str| !t.is_empty() && t.len() <= 6 && t.bytes().all(|b| b.is_ascii_digit());
            part.split_once('-').map_or_else(|| number(part), |(a, b)| number(a) && number(b))
        })
}

fn cpu_numbers(text: &str) -> impl Iterator<Item = u32> {
    text.split([',', '-']).filter_map(|n| n.parse().ok())
}

/// Checks a restart policy; also that of an update.
pub fn check_restart(policy: &RestartPolicy, auto_remove: bool) -> Result<()> {
    if policy.maximum_retry_count < 0 {
        return fail("invalid restart policy: maximum retry count cannot be negative");
    }
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if policy.maximum_retry_count != 0 => {
            fail("invalid restart policy: maximum retry count can only be used with 'on-failure'")
        }
        "" | "no" => Ok(()),
        "always" | "unless-stopped" | "on-failure" if auto_remove => {
            fail("can't create 'AutoRemove' container with restart policy")
        }
        "always" | "unless-stopped" | "on-failure" => Ok(()),
        other => fail(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::containers::{StrSlice, Ulimit};

    const MACHINE: Machine = Machine { cpus: 2 };

    fn resources(change: impl FnOnce(&mut Resources)) -> String {
        let mut r = Resources::default();
        change(&mut r);
        check_resources(&r, MACHINE).map_or_else(|e| e.message, |()| "ok".into())
    }

    #[test]
    fn a_command_is_made_of_texts_that_the_kernel_takes() {
        let told = |word: &str| {
            let config =
                Config { cmd: StrSlice(Some(vec!["echo".to_owned(), word.to_owned()])), ..Config::default() };
            check_config(&config).map_err(|error| error.message)
        };
        assert_eq!(told("fine"), Ok(()));
        assert_eq!(told("cut\0off"), Err("invalid command: \"cut\\0off\" contains a NUL byte".to_owned()));
    }

    #[test]
    fn limits() {
        assert_eq!(resources(|r| r.memory = 512 << 20), "ok");
        assert_eq!(resources(|r| r.memory = 4), "Minimum memory limit allowed is 6MB");
        assert_eq!(
            resources(|r| (r.memory, r.memory_swap) = (64 << 20, 32 << 20)),
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        );
        assert_eq!(resources(|r| r.nano_cpus = 1_500_000_000), "ok");
        assert_eq!(
            resources(|r| r.nano_cpus = 3_000_000_000),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
        );
        assert_eq!(
            resources(|r| r.cpuset_cpus = "0-2".into()),
            "Requested CPUs are not available - requested 0-2, available: 0-1"
        );
        assert_eq!(resources(|r| r.cpuset_cpus = "x".into()), "Invalid value x for cpuset cpus");
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        assert_eq!(resources(|r| r.ulimits = vec![ulimit("nofile", 1024, -1)]), "ok");
        assert_eq!(
            resources(|r| r.ulimits = vec![ulimit("nofile", 20, 10)]),
            "ulimit soft limit must be less than or equal to hard limit: 20 > 10"
        );
        assert_eq!(resources(|r| r.ulimits = vec![ulimit("x", 1, 1)]), "invalid ulimit type: x");
    }

    #[test]
    fn the_parent_of_the_control_group_is_a_plain_path() {
        let told = |parent: &str| resources(|r| r.cgroup_parent = parent.to_owned());
        for fine in ["", "/", "/tenants/one/", "a.slice"] {
            assert_eq!(told(fine), "ok", "{fine}");
        }
        for bad in ["..", "a/../b", "a//b", "a/./b", "a\0b"] {
            assert!(told(bad).starts_with("invalid cgroup parent"), "{bad}");
        }
    }

    #[test]
    fn what_an_image_exposes_is_no_conflict_but_what_is_asked_for_is() {
        let host = HostConfig { network_mode: "container:x".into(), ..HostConfig::default() };
        assert!(check_request(&Config::default(), &host).is_ok());
        let exposing =
            Config { exposed_ports: ["80/tcp".to_owned()].into_iter().collect(), ..Config::default() };
        assert_eq!(
            check_request(&exposing, &host).unwrap_err().message,
            "conflicting options: port exposing and the container type network mode"
        );
    }

    #[test]
    fn what_becomes_a_line_of_a_file_is_one() {
        let told = |change: &dyn Fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            check_host(&host).map_or_else(|e| e.message, |()| "ok".into())
        };
        let one = |text: &str| vec![text.to_owned()];
        assert_eq!(told(&|h| (h.dns_options, h.dns_search) = (one("ndots:2"), one("."))), "ok");
        assert!(told(&|h| h.dns_options = one("a\nnameserver 6.6.6.6")).starts_with("invalid DNS option"));
        assert!(told(&|h| h.dns_options = one("a\0")).starts_with("invalid DNS option"));
        assert_eq!(told(&|h| h.dns_search = one("a\nb")), "\"a\\nb\" is not a valid domain");
        assert_eq!(
            told(&|h| h.dns = one("1.1.1.1\n")),
            "bad nameserver address 1.1.1.1\n: invalid IP address"
        );
        assert_eq!(told(&|h| h.extra_hosts = one("a:1.2.3.4")), "ok");
        assert!(told(&|h| h.extra_hosts = one("a\nb:1.2.3.4")).starts_with("bad format for add-host"));
        assert_eq!(
            told(&|h| h.extra_hosts = one("a:1.2.3.4\nb")),
            r#"invalid IP address in add-host: "1.2.3.4\nb""#
        );
        assert!(told(&|h| h.links = one("a\n:b")).starts_with("invalid link"));
        assert!(told(&|h| h.group_add = one("a\0")).starts_with("invalid group"));
        let sysctl = |h: &mut HostConfig, value: &str| drop(h.sysctls.insert("net.a".into(), value.into()));
        assert_eq!(told(&|h| sysctl(h, "1\t2\n")), "ok");
        assert!(told(&|h| sysctl(h, "1\n2")).starts_with("invalid sysctl"));
        let endpoint = |alias: &str| EndpointSettings { aliases: one(alias), ..EndpointSettings::default() };
        assert!(check_endpoint("n", &endpoint("db")).is_ok());
        for bad in ["", "a b", "a\nb", "a\0"] {
            assert!(check_endpoint("n", &endpoint(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn options_of_tmpfs() {
        assert!(check_tmpfs("").is_ok());
        assert!(check_tmpfs("rw,noexec,nosuid,size=65536k,mode=1777,uid=5").is_ok());
        assert_eq!(check_tmpfs("ro,bogus").unwrap_err().message, "invalid tmpfs option [\"bogus\"]");
        assert!(check_tmpfs("color=red").is_err());
    }

    #[test]
    fn restart_policies() {
        let policy = |name: &str, count| RestartPolicy { name: name.into(), maximum_retry_count: count };
        assert!(check_restart(&policy("on-failure", 5), false).is_ok());
        assert!(check_restart(&policy("", 0), true).is_ok());
        assert_eq!(
            check_restart(&policy("always", 0), true).unwrap_err().message,
            "can't create 'AutoRemove' container with restart policy"
        );
        assert!(check_restart(&policy("always", 3), false).is_err());
        assert!(check_restart(&policy("sometimes", 0), false).is_err());
    }

    #[test]
    fn requests() {
        let config = Config { cmd: vec!["sh".to_owned()].into(), ..Config::default() };
        let text = |c: &Config, h: &HostConfig| {
            let checked = check_request(c, h).and_then(|()| check(c, h, MACHINE));
            checked.map_or_else(|e| e.message, |()| "ok".into())
        };
        let host = HostConfig::default();
        assert_eq!(text(&config, &host), "ok");
        assert_eq!(text(&Config::default(), &host), "no command specified");
        let relative = Config { working_dir: "x".into(), ..config.clone() };
        assert_eq!(
            text(&relative, &host),
            "the working directory 'x' is invalid, it needs to be an absolute path"
        );
        let mut syslog = host.clone();
        syslog.log_config.typ = "syslog".into();
        assert_eq!(text(&config, &syslog), "logger: no log driver named 'syslog' is registered");
        let named = Config { hostname: "h".into(), ..config.clone() };
        let joined = HostConfig { network_mode: "container:x".into(), ..host.clone() };
        assert_eq!(text(&named, &joined), "conflicting options: hostname and the network mode");
        let pid = HostConfig { pid_mode: "other".into(), ..host };
        assert_eq!(text(&config, &pid), "invalid PID mode: other");
    }
}
