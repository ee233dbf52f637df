use std::collections::BTreeMap;

use api::containers::{
    Config, CreateRequest, HealthConfig, HostConfig, LogConfig, NameSet, Resources, RestartPolicy,
};

use super::Flags;
use crate::container::exec::environment;
use crate::context::Cli;
use crate::error::{Error, plain_io};
use crate::options::{device, env, mount, network, port, volume};

/// The document that makes the container.
#[derive(Debug)]
pub struct Plan {
    pub request: CreateRequest,
}

impl Plan {
    pub fn auto_remove(&self) -> bool {
        self.request.host_config.as_ref().is_some_and(|host| host.auto_remove)
    }
}

/// Reads flags and the files that they name; `args` is the image and its command.
pub fn plan(cli: &Cli, flags: &Flags, args: &[String], detach: bool) -> Result<Plan, Error> {
    refuse(flags)?;
    let mut config = config(cli, flags, args, detach)?;
    let published = port::publish(&flags.publish)?;
    config.exposed_ports = published.exposed.iter().cloned().chain(port::expose(&flags.expose)?).collect();
    let mut host = host_config(cli, flags)?;
    host.port_bindings = published.bindings;
    let mut anonymous = Vec::new();
    for spec in &flags.volume {
        match volume::parse(spec, &cli.host.directory)? {
            // The same words twice are meant once.
            volume::Volume::Bind(bind) if host.binds.contains(&bind) => {}
            volume::Volume::Bind(bind) => host.binds.push(bind),
            volume::Volume::Anonymous(path) => anonymous.push(path),
        }
    }
    config.volumes = anonymous.into_iter().collect::<NameSet>();
    let shared = network::Shared {
        aliases: flags.network_alias.clone(),
        ipv4: flags.ip.clone().unwrap_or_default(),
        ipv6: flags.ip6.clone().unwrap_or_default(),
        link_local: flags.link_local_ip.clone(),
        mac: flags.mac_address.clone().unwrap_or_default(),
    };
    let (mode, networking) = network::config(flags.network.clone(), shared)?;
    host.network_mode = mode;
    let request = CreateRequest { config, host_config: Some(host), networking_config: Some(networking) };
    Ok(Plan { request })
}

/// What cannot be served is said, not ignored.
fn refuse(flags: &Flags) -> Result<(), Error> {
    let unsupported = |flag: &str, why: &str| Err(Error::new(format!("{flag} is not supported: {why}")));
    if !flags.link.is_empty() {
        return unsupported(
            "--link",
            "connect both containers to a network, where they find each other by name",
        );
    }
    if flags.gpus.is_some() {
        return unsupported("--gpus", "give devices with --device");
    }
    if let Some(isolation) = flags.isolation.as_deref().filter(|kind| !matches!(*kind, "" | "default")) {
        return Err(Error::new(format!(
            "invalid isolation {}: only \"default\" exists on Linux",
            template::quote(isolation)
        )));
    }
    if !flags.storage_opt.is_empty() {
        return unsupported("--storage-opt", "the storage has no options");
    }
    let restarts = flags.restart.as_deref().is_some_and(|policy| !matches!(policy, "" | "no"));
    if flags.rm && restarts {
        return Err(Error::new("conflicting options: cannot specify both --restart and --rm"));
    }
    let swappiness = flags.memory_swappiness.unwrap_or(-1);
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(Error::new(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        )));
    }
    namespaces(flags)
}

/// The namespaces that can be shared.
fn namespaces(flags: &Flags) -> Result<(), Error> {
    for (flag, name, value, allowed) in [
        ("--pid", "PID mode", &flags.pid, &["host", "container:"][..]),
        ("--uts", "UTS mode", &flags.uts, &["host"][..]),
        ("--cgroupns", "CGROUP mode", &flags.cgroupns, &["host", "private"][..]),
        ("--userns", "USER mode", &flags.userns, &["host"][..]),
    ] {
        let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
        let good = allowed.iter().any(|word| match word.strip_suffix(':') {
            Some(prefix) => {
                value.split_once(':').is_some_and(|(kind, name)| kind == prefix && !name.is_empty())
            }
            None => value == *word,
        });
        if !good {
            return Err(Error::new(format!("{flag}: invalid {name}")));
        }
    }
    Ok(())
}

fn config(cli: &Cli, flags: &Flags, args: &[String], detach: bool) -> Result<Config, Error> {
    let streams = flags.attached();
    let mut labels = BTreeMap::new();
    for path in &flags.label_file {
        labels.extend(
            env::label_file(&cli.read(path)?).map_err(|error| Error::new(format!("{path}: {error}")))?,
        );
    }
    labels.extend(env::map(&flags.label));
    let (image, command) = args.split_first().ok_or_else(|| Error::new("an image is required"))?;
    let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
    let attach = !detach;
    Ok(Config {
        hostname: text(&flags.hostname),
        domainname: text(&flags.domainname),
        user: text(&flags.user),
        attach_stdin: attach && streams.stdin,
        attach_stdout: attach && streams.stdout,
        attach_stderr: attach && streams.stderr,
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: attach && flags.interactive && streams.stdin,
        env: with_proxies(cli, environment(cli, &flags.env_file, &flags.env)?)?,
        cmd: match command.is_empty() {
            true => Default::default(),
            false => command.to_vec().into(),
        },
        healthcheck: health(flags)?,
        image: image.clone(),
        working_dir: text(&flags.workdir),
        // An empty entry point is one empty word: the server takes the image's away.
        entrypoint: match &flags.entrypoint {
            None => Default::default(),
            Some(program) => vec![program.clone()].into(),
        },
        mac_address: text(&flags.mac_address),
        labels,
        stop_signal: text(&flags.stop_signal),
        stop_timeout: flags.stop_timeout,
        ..Config::default()
    })
}

/// The variables, and those of the proxies that containers on this server are told.
fn with_proxies(cli: &Cli, mut variables: Vec<String>) -> Result<Vec<String>, Error> {
    let is_set = |name: &str| variables.iter().any(|line| line.split('=').next() == Some(name));
    let proxies = crate::settings::proxies(cli, is_set)?;
    variables.extend(proxies.into_iter().map(|(name, value)| format!("{name}={value}")));
    Ok(variables)
}

fn health(flags: &Flags) -> Result<Option<HealthConfig>, Error> {
    let any = flags.health_cmd.is_some()
        || flags.health_interval.is_some()
        || flags.health_timeout.is_some()
        || flags.health_retries.is_some()
        || flags.health_start_period.is_some()
        || flags.health_start_interval.is_some();
    if flags.no_healthcheck {
        return match any {
            true => Err(Error::new("--no-healthcheck conflicts with --health-* options")),
            false => Ok(Some(HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() })),
        };
    }
    if !any {
        return Ok(None);
    }
    let test = match flags.health_cmd.as_deref().filter(|command| !command.is_empty()) {
        Some(command) => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        None => Vec::new(),
    };
    let time = |flag: &str, value: Option<i64>| match value {
        Some(nanos) if nanos < 0 => Err(Error::new(format!("{flag} cannot be negative"))),
        value => Ok(value.unwrap_or_default()),
    };
    Ok(Some(HealthConfig {
        test,
        interval: time("--health-interval", flags.health_interval)?,
        timeout: time("--health-timeout", flags.health_timeout)?,
        start_period: time("--health-start-period", flags.health_start_period)?,
        start_interval: time("--health-start-interval", flags.health_start_interval)?,
        retries: time("--health-retries", flags.health_retries)?,
    }))
}

fn host_config(cli: &Cli, flags: &Flags) -> Result<HostConfig, Error> {
    let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
    Ok(HostConfig {
        log_config: LogConfig { typ: text(&flags.log_driver), config: log_options(flags)? },
        restart_policy: restart_policy(flags.restart.as_deref().unwrap_or("no"))?,
        auto_remove: flags.rm,
        volume_driver: text(&flags.volume_driver),
        volumes_from: flags.volumes_from.clone(),
        annotations: env::map(&flags.annotation),
        cap_add: optional(&flags.cap_add),
        cap_drop: optional(&flags.cap_drop),
        cgroupns_mode: text(&flags.cgroupns),
        dns: flags.dns.clone(),
        dns_options: flags.dns_option.clone(),
        dns_search: flags.dns_search.clone(),
        extra_hosts: flags.add_host.clone(),
        group_add: flags.group_add.clone(),
        ipc_mode: text(&flags.ipc),
        oom_score_adj: flags.oom_score_adj.unwrap_or_default(),
        pid_mode: text(&flags.pid),
        privileged: flags.privileged,
        publish_all_ports: flags.publish_all,
        readonly_rootfs: flags.read_only,
        security_opt: security(cli, &flags.security_opt)?,
        tmpfs: flags.tmpfs.iter().map(|spec| mount::tmpfs(spec)).collect(),
        uts_mode: text(&flags.uts),
        userns_mode: text(&flags.userns),
        shm_size: flags.shm_size.unwrap_or_default(),
        sysctls: env::map(&flags.sysctl),
        runtime: text(&flags.runtime),
        isolation: text(&flags.isolation),
        console_size: match crate::stream::terminal::size() {
            Some((rows, columns)) if flags.tty => [rows.into(), columns.into()],
            _ => [0, 0],
        },
        resources: resources(flags),
        mounts: flags.mount.clone(),
        init: flags.init,
        ..HostConfig::default()
    })
}

fn resources(flags: &Flags) -> Resources {
    Resources {
        cgroup_parent: flags.cgroup_parent.clone().unwrap_or_default(),
        blkio_weight_device: flags.blkio_weight_device.clone(),
        blkio_device_read_bps: flags.device_read_bps.clone(),
        blkio_device_write_bps: flags.device_write_bps.clone(),
        blkio_device_read_iops: flags.device_read_iops.clone(),
        blkio_device_write_iops: flags.device_write_iops.clone(),
        devices: device::nodes(&flags.device),
        device_requests: device::request(&flags.device).into_iter().collect(),
        device_cgroup_rules: flags.device_cgroup_rule.clone(),
        memory_swappiness: flags.memory_swappiness.filter(|value| *value != -1),
        oom_kill_disable: Some(flags.oom_kill_disable),
        ulimits: flags.ulimit.clone(),
        ..flags.limits.resources()
    }
}

fn optional(list: &[String]) -> api::containers::StrSlice {
    if list.is_empty() { Default::default() } else { list.to_vec().into() }
}

fn log_options(flags: &Flags) -> Result<BTreeMap<String, String>, Error> {
    if flags.log_driver.as_deref() == Some("none") && !flags.log_opt.is_empty() {
        return Err(Error::new("invalid logging opts for driver none"));
    }
    Ok(env::map(&flags.log_opt))
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`.
pub fn restart_policy(text: &str) -> Result<RestartPolicy, Error> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    let invalid = |why: &str| Err(Error::new(format!("invalid restart policy format: {why}")));
    if name.is_empty() && text.contains(':') {
        return invalid("no policy provided before colon");
    }
    let maximum_retry_count = match count {
        "" => 0,
        count => match count.parse() {
            Ok(count) => count,
            Err(_) => return invalid("maximum retry count must be an integer"),
        },
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

/// A seccomp profile is a file of the client's: its content is sent.
fn security(cli: &Cli, options: &[String]) -> Result<Vec<String>, Error> {
    options
        .iter()
        .map(|option| {
            let (name, value) =
                option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option.as_str(), ""));
            if value.is_empty() && name != "no-new-privileges" {
                return Err(Error::new(format!("Invalid --security-opt: {}", template::quote(option))));
            }
            if name != "seccomp" || matches!(value, "unconfined" | "builtin") {
                return Ok(option.clone());
            }
            let profile = std::fs::read(cli.host.directory.join(value)).map_err(|error| {
                Error::new(format!(
                    "opening seccomp profile ({value}) failed: open {value}: {}",
                    plain_io(&error)
                ))
            })?;
            let profile: serde_json::Value = serde_json::from_slice(&profile).map_err(|error| {
                Error::new(format!("compacting json for seccomp profile ({value}) failed: {error}"))
            })?;
            Ok(format!("seccomp={profile}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};
    use serde_json::{Value, json};

    use super::*;
    use crate::context::Host;
    use crate::flags::{self, Arity, Parsed, Shape};
    use crate::globals::Globals;

    #[derive(clap::Args)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
        #[arg(trailing_var_arg = true)]
        args: Vec<String>,
    }

    fn parsed(line: &[&str]) -> Result<Line, String> {
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let command = Line::augment_args(clap::Command::new("run"));
        let shape = Shape { path: "docker run".to_owned(), usage: "", arity: Arity::AtLeast(1) };
        match flags::parse(command, &shape, &words).map_err(|error| error.message)? {
            Parsed::Matches(matches) => Ok(Line::from_arg_matches(&matches).unwrap()),
            Parsed::Help => panic!("{line:?}"),
        }
    }

    fn document_of(line: &Line) -> Result<Value, String> {
        let host = Host {
            program: "docker".to_owned(),
            version: "0",
            variables: [("HOME".to_owned(), "/root".to_owned())].into(),
            directory: "/work".into(),
            config_dir: "/nowhere".into(),
            connect: Box::new(|_| Err(Error::new("no server here"))),
            debug: || (),
        };
        let cli = Cli::new(host, Globals::default(), "docker run".to_owned());
        let plan = plan(&cli, &line.flags, &line.args, false).map_err(|error| error.message)?;
        Ok(serde_json::to_value(plan.request).unwrap())
    }

    /// The document of a command line, as the server reads it.
    fn document(line: &[&str]) -> Result<Value, String> {
        document_of(&parsed(line).unwrap())
    }

    #[test]
    fn documents() {
        let cases: &[(&[&str], &str, Value)] = &[
            (&["alpine"], "/Image", json!("alpine")),
            (&["alpine"], "/Cmd", json!(null)),
            (&["alpine", "echo", "a b"], "/Cmd", json!(["echo", "a b"])),
            (&["alpine"], "/HostConfig/NetworkMode", json!("default")),
            (&["alpine"], "/HostConfig/RestartPolicy/Name", json!("no")),
            (&["--entrypoint", "", "alpine"], "/Entrypoint", json!([""])),
            (
                &["-e", "A=1", "-e", "HOME", "-e", "NOPE", "alpine"],
                "/Env",
                json!(["A=1", "HOME=/root", "NOPE"]),
            ),
            (&["-i", "alpine"], "/StdinOnce", json!(true)),
            (&["-i", "-a", "stdout", "alpine"], "/AttachStdin", json!(false)),
            (&["-p", "8080:80", "alpine"], "/ExposedPorts", json!({"80/tcp": {}})),
            (
                &["-p", "127.0.0.1:8080:80", "alpine"],
                "/HostConfig/PortBindings/80~1tcp",
                json!([{"HostIp": "127.0.0.1", "HostPort": "8080"}]),
            ),
            (&["-v", "./a:/b", "-v", "/anon", "alpine"], "/HostConfig/Binds", json!(["/work/a:/b"])),
            (&["-v", "./a:/b", "-v", "/anon", "alpine"], "/Volumes", json!({"/anon": {}})),
            (&["--tmpfs", "/tmp:size=1m", "alpine"], "/HostConfig/Tmpfs", json!({"/tmp": "size=1m"})),
            (&["-m", "512m", "alpine"], "/HostConfig/Memory", json!(536870912)),
            (&["--cpus", "1.5", "alpine"], "/HostConfig/NanoCpus", json!(1500000000)),
            (&["--memory-swap", "-1", "alpine"], "/HostConfig/MemorySwap", json!(-1)),
            (
                &["--restart", "on-failure:3", "alpine"],
                "/HostConfig/RestartPolicy/MaximumRetryCount",
                json!(3),
            ),
            (
                &["--add-host", "a:10.0.0.1", "--add-host", "b=[::1]", "alpine"],
                "/HostConfig/ExtraHosts",
                json!(["a:10.0.0.1", "b:::1"]),
            ),
            (
                &["--health-cmd", "true", "--health-interval", "5s", "alpine"],
                "/Healthcheck",
                json!({"Test": ["CMD-SHELL", "true"], "Interval": 5000000000_i64}),
            ),
            (&["--no-healthcheck", "alpine"], "/Healthcheck/Test", json!(["NONE"])),
            (&["--init", "alpine"], "/HostConfig/Init", json!(true)),
            (
                &["--network", "front", "--network-alias", "db", "alpine"],
                "/NetworkingConfig/EndpointsConfig/front/Aliases",
                json!(["db"]),
            ),
            (
                &["--cap-drop=ALL", "--cap-add=NET_BIND_SERVICE", "alpine"],
                "/HostConfig/CapDrop",
                json!(["ALL"]),
            ),
            (
                &["--ulimit", "nofile=1:2", "alpine"],
                "/HostConfig/Ulimits/0",
                json!({"Name": "nofile", "Hard": 2, "Soft": 1}),
            ),
            (
                &["--security-opt", "no-new-privileges", "alpine"],
                "/HostConfig/SecurityOpt",
                json!(["no-new-privileges"]),
            ),
            (&["-l", "a=b", "-l", "c", "alpine"], "/Labels", json!({"a": "b", "c": ""})),
            (&["--stop-timeout", "3", "alpine"], "/StopTimeout", json!(3)),
        ];
        for (line, pointer, want) in cases {
            let document = document(line).unwrap();
            assert_eq!(document.pointer(pointer), Some(want), "{line:?} {pointer}");
        }
    }

    /// Any text as the value of any flag: it arrives as it is, or the command line is refused.
    #[test]
    fn values_of_any_text() {
        let mut random = fastrand::Rng::with_seed(7);
        let pieces = [
            "\u{1b}[2J",
            "\0",
            "\n",
            "/",
            "..",
            ":",
            "=",
            ",",
            "-",
            "a",
            "9",
            "é",
            "💥",
            "\u{202e}",
            "%s",
            "{{",
        ];
        let mut text = || {
            let count = random.usize(..6);
            let piece = |_| match random.u8(..8) {
                0 => random.char(..).to_string(),
                1 => "9".repeat(random.usize(..5000)),
                _ => pieces[random.usize(..pieces.len())].to_owned(),
            };
            (0..count).map(piece).collect::<String>()
        };
        let command = Line::augment_args(clap::Command::new("run"));
        // These name files, which are read.
        let files = ["env-file", "label-file", "cidfile"];
        let flags: Vec<String> = command
            .get_arguments()
            .filter(|flag| flag.get_action().takes_values())
            .filter_map(|flag| flag.get_long().filter(|name| !files.contains(name)).map(str::to_owned))
            .collect();
        assert!(flags.len() > 50, "{flags:?}");
        for _ in 0..20 {
            for flag in &flags {
                let value = text();
                let word = format!("--{flag}={value}");
                let Ok(document) = parsed(&[&word, "image"]).and_then(|line| document_of(&line)) else {
                    continue;
                };
                match flag.as_str() {
                    "name" => {}
                    "hostname" => assert_eq!(document["Hostname"], value),
                    "user" => assert_eq!(document["User"], value),
                    "label" => {
                        let (name, content) = value.split_once('=').unwrap_or((&value, ""));
                        assert_eq!(document["Labels"][name], content);
                    }
                    "env" if value.contains('=') => assert_eq!(document["Env"], json!([value])),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn refusals() {
        let cases: &[(&[&str], &str)] = &[
            (
                &["--restart", "always", "--rm", "a"],
                "conflicting options: cannot specify both --restart and --rm",
            ),
            (
                &["--restart", "on-failure:x", "a"],
                "invalid restart policy format: maximum retry count must be an integer",
            ),
            (&["--pid", "container:", "a"], "--pid: invalid PID mode"),
            (&["--uts", "x", "a"], "--uts: invalid UTS mode"),
            (
                &["--health-cmd", "x", "--no-healthcheck", "a"],
                "--no-healthcheck conflicts with --health-* options",
            ),
            (
                &["--memory-swappiness", "101", "a"],
                "invalid value: 101. Valid memory swappiness range is 0-100",
            ),
            (
                &["--link", "a", "a"],
                "--link is not supported: connect both containers to a network, where they find each other by name",
            ),
            (&["--gpus", "all", "a"], "--gpus is not supported: give devices with --device"),
            (&["--env-file", "/no/such/file", "a"], "open /no/such/file: no such file or directory"),
            (&["-p", "abc:80", "a"], "invalid hostPort: abc"),
        ];
        for (line, want) in cases {
            assert_eq!(document(line).unwrap_err(), *want, "{line:?}");
        }
    }
}
