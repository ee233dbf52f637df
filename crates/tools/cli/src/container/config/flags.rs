use api::containers::{ThrottleDevice, Ulimit, WeightDevice};
use api::mounts::Mount;

use super::Limits;
use crate::flags::integer;
use crate::format::units::ram_in_bytes;
use crate::options::device::{self, Device};
use crate::options::{env, network, ulimit};

/// The flags of `run` and `create` that describe the container.
#[derive(clap::Args)]
pub struct Flags {
    #[command(flatten)]
    pub limits: Limits,
    /// Add a line to /etc/hosts, as name:address or name=address
    #[arg(long, value_parser = extra_host)]
    pub add_host: Vec<String>,
    /// Add an annotation for the runtime
    #[arg(long, value_name = "map")]
    pub annotation: Vec<String>,
    /// Connect to stdin, stdout or stderr only
    #[arg(short, long, value_parser = stream)]
    pub attach: Vec<String>,
    /// Share of input and output on one device, as path:weight
    #[arg(long, value_parser = device::weight)]
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Add a Linux capability
    #[arg(long)]
    pub cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long)]
    pub cap_drop: Vec<String>,
    /// Control group to put the container below
    #[arg(long)]
    pub cgroup_parent: Option<String>,
    /// Control group namespace: "host" or "private"
    #[arg(long)]
    pub cgroupns: Option<String>,
    /// Add a device of this machine, as host[:container][:rwm], or as vendor/class=name
    #[arg(long, value_parser = device::device)]
    pub device: Vec<Device>,
    /// Allow a class of devices, such as 'c 1:3 mr'
    #[arg(long, value_parser = device::cgroup_rule)]
    pub device_cgroup_rule: Vec<String>,
    /// Most bytes a second to read from a device, as path:rate
    #[arg(long, value_parser = device::bps)]
    pub device_read_bps: Vec<ThrottleDevice>,
    /// Most reads a second from a device, as path:rate
    #[arg(long, value_parser = device::iops)]
    pub device_read_iops: Vec<ThrottleDevice>,
    /// Most bytes a second to write to a device, as path:rate
    #[arg(long, value_parser = device::bps)]
    pub device_write_bps: Vec<ThrottleDevice>,
    /// Most writes a second to a device, as path:rate
    #[arg(long, value_parser = device::iops)]
    pub device_write_iops: Vec<ThrottleDevice>,
    /// Accepted for old scripts; images are not signed
    #[arg(long, default_value_t = true, hide = true)]
    pub disable_content_trust: bool,
    /// Name server to use
    #[arg(long, value_parser = address)]
    pub dns: Vec<String>,
    /// Option of the resolver
    #[arg(long, alias = "dns-opt")]
    pub dns_option: Vec<String>,
    /// Domain to search names in
    #[arg(long)]
    pub dns_search: Vec<String>,
    /// NIS domain name
    #[arg(long)]
    pub domainname: Option<String>,
    /// Program to run instead of the image's entry point; empty runs the command alone
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// Set an environment variable; a name alone hands on your own
    #[arg(short, long, value_parser = variable)]
    pub env: Vec<String>,
    /// Set the environment variables in a file
    #[arg(long)]
    pub env_file: Vec<String>,
    /// Declare a port or range of ports, as port[-port][/protocol]
    #[arg(long)]
    pub expose: Vec<String>,
    /// Give graphics processors to the container
    #[arg(long, value_name = "gpu-request")]
    pub gpus: Option<String>,
    /// Add a group to the user's
    #[arg(long)]
    pub group_add: Vec<String>,
    /// Command that tells whether the container is healthy
    #[arg(long)]
    pub health_cmd: Option<String>,
    /// Time between two health checks
    #[arg(long, value_name = "duration", value_parser = duration)]
    pub health_interval: Option<i64>,
    /// Failures in a row until the container is unhealthy
    #[arg(long, value_name = "int", value_parser = integer)]
    pub health_retries: Option<i64>,
    /// Time between two health checks while the container starts
    #[arg(long, value_name = "duration", value_parser = duration)]
    pub health_start_interval: Option<i64>,
    /// Time to start, in which failures do not count
    #[arg(long, value_name = "duration", value_parser = duration)]
    pub health_start_period: Option<i64>,
    /// Longest time that a health check may take
    #[arg(long, value_name = "duration", value_parser = duration)]
    pub health_timeout: Option<i64>,
    /// Host name of the container
    #[arg(short = 'h', long)]
    pub hostname: Option<String>,
    /// Run a small init that hands signals on and reaps orphans
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::flags::boolean)]
    pub init: Option<bool>,
    /// Send standard input
    #[arg(short, long)]
    pub interactive: bool,
    /// IPv4 address
    #[arg(long)]
    pub ip: Option<String>,
    /// IPv6 address
    #[arg(long)]
    pub ip6: Option<String>,
    /// IPC namespace: "private", "shareable", "host", "none" or "container:NAME"
    #[arg(long)]
    pub ipc: Option<String>,
    /// Kind of isolation; only "default" exists
    #[arg(long)]
    pub isolation: Option<String>,
    /// Set a label
    #[arg(short, long, value_parser = env::label)]
    pub label: Vec<String>,
    /// Set the labels in a file
    #[arg(long)]
    pub label_file: Vec<String>,
    /// Not supported: containers find each other by name on a network of their own
    #[arg(long)]
    pub link: Vec<String>,
    /// Link-local address
    #[arg(long)]
    pub link_local_ip: Vec<String>,
    /// Where output goes to: "json-file", "local" or "none"
    #[arg(long)]
    pub log_driver: Option<String>,
    /// Option of the log driver, such as max-size=10m
    #[arg(long)]
    pub log_opt: Vec<String>,
    /// Ethernet address
    #[arg(long)]
    pub mac_address: Option<String>,
    /// How readily memory is swapped out, 0 to 100
    #[arg(long, value_name = "int", value_parser = integer)]
    pub memory_swappiness: Option<i64>,
    /// Mount a file system, as type=bind,source=…,target=…
    #[arg(long, value_name = "mount", value_parser = mount)]
    pub mount: Vec<Mount>,
    /// Connect to a network; may be repeated
    #[arg(long, alias = "net", value_name = "network", value_parser = network::parse)]
    pub network: Vec<network::Attachment>,
    /// Another name of the container on its network
    #[arg(long, alias = "net-alias")]
    pub network_alias: Vec<String>,
    /// Do not check the container's health
    #[arg(long)]
    pub no_healthcheck: bool,
    /// Never kill for lack of memory
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Tendency to be killed for lack of memory, -1000 to 1000
    #[arg(long, value_name = "int", value_parser = integer)]
    pub oom_score_adj: Option<i64>,
    /// Process namespace: "host" or "container:NAME"
    #[arg(long)]
    pub pid: Option<String>,
    /// Lift the confinement
    #[arg(long)]
    pub privileged: bool,
    /// Publish a port, as [address:][host:]container[/protocol]
    #[arg(short, long)]
    pub publish: Vec<String>,
    /// Publish all declared ports at random ones
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Make the container's root read-only
    #[arg(long)]
    pub read_only: bool,
    /// When to start again: "no", "on-failure[:n]", "always" or "unless-stopped"
    #[arg(long)]
    pub restart: Option<String>,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// Runtime to use
    #[arg(long)]
    pub runtime: Option<String>,
    /// Security option, such as no-new-privileges or seccomp=profile.json
    #[arg(long)]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = ram_in_bytes)]
    pub shm_size: Option<i64>,
    /// Signal that stops the container
    #[arg(long)]
    pub stop_signal: Option<String>,
    /// Seconds that a stop waits before it kills
    #[arg(long, value_name = "int", value_parser = integer)]
    pub stop_timeout: Option<i64>,
    /// Option of the storage driver
    #[arg(long)]
    pub storage_opt: Vec<String>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "map")]
    pub sysctl: Vec<String>,
    /// Mount an empty file system in memory, as path[:options]
    #[arg(long)]
    pub tmpfs: Vec<String>,
    /// Give the container a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Set a resource limit, as name=soft[:hard]
    #[arg(long, value_name = "ulimit", value_parser = ulimit::parse)]
    pub ulimit: Vec<Ulimit>,
    /// User name or id, and group: <name|uid>[:<group|gid>]
    #[arg(short, long)]
    pub user: Option<String>,
    /// User namespace: "host"
    #[arg(long)]
    pub userns: Option<String>,
    /// UTS namespace: "host"
    #[arg(long)]
    pub uts: Option<String>,
    /// Mount a directory or volume, as [source:]target[:options]
    #[arg(short, long)]
    pub volume: Vec<String>,
    /// Driver of the volumes that are made
    #[arg(long)]
    pub volume_driver: Option<String>,
    /// Mount what another container mounts
    #[arg(long)]
    pub volumes_from: Vec<String>,
    /// Directory to run in
    #[arg(short, long)]
    pub workdir: Option<String>,
}

fn variable(text: &str) -> Result<String, String> {
    env::variable(text, &|_| None).map(|_| text.to_owned())
}

fn stream(text: &str) -> Result<String, String> {
    match text.to_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(text.to_lowercase()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    match text.trim().parse::<std::net::IpAddr>() {
        Ok(_) => Ok(text.trim().to_owned()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// `name:address` or `name=address`; IPv6 addresses may be in brackets.
pub fn extra_host(text: &str) -> Result<String, String> {
    let invalid = || format!("bad format for add-host: {}", template::quote(text));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(invalid)?;
    if name.is_empty() || address.is_empty() {
        return Err(invalid());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {}", template::quote(address)));
    }
    Ok(format!("{name}:{bare}"))
}

fn duration(text: &str) -> Result<i64, String> {
    api::duration::parse(text).map_err(|error| error.to_string())
}

/// Relative sources are resolved where the flag is read: the working directory is the process's own.
fn mount(text: &str) -> Result<Mount, String> {
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    crate::options::mount::parse(text, &directory)
}

/// The streams that a user is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl Flags {
    /// True when `-a` was given.
    pub fn attaches(&self) -> bool {
        !self.attach.is_empty()
    }

    pub fn tty(&self) -> bool {
        self.tty
    }

    /// All streams unless `-a` names some; standard input only with `-i`.
    pub fn attached(&self) -> Streams {
        if self.attach.is_empty() {
            return Streams { stdin: self.interactive, stdout: true, stderr: true };
        }
        let has = |name: &str| self.attach.iter().any(|stream| stream == name);
        Streams { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr") }
    }
}
