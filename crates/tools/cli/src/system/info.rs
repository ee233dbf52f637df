use api::system::Info;
use serde_json::{Value, json};
use template::{Options, Template};

use crate::context::Cli;
use crate::error::Error;
use crate::format::units::bytes_size;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, or "json"
    #[arg(short, long)]
    format: Option<String>,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let template = match args.format.as_deref().filter(|format| !format.is_empty()) {
        None => None,
        Some("json") => Some("{{json .}}"),
        Some(text) => Some(text),
    };
    let template = template
        .map(|text| Template::parse_with(text, Options::default()))
        .transpose()
        .map_err(|error| Error::with_code(format!("template parsing error: {error}"), 64))?;
    let info = client::system::info(cli.client()?).await?;
    match template {
        Some(template) => {
            let mut document = serde_json::to_value(&info).map_err(|error| Error::new(error.to_string()))?;
            document["ClientInfo"] = client(cli);
            cli.println(&template.execute(&document).map_err(Error::template)?)?;
        }
        None => {
            cli.print(&text(cli.host.version, &info))?;
            for warning in &info.warnings {
                cli.complain(warning);
            }
        }
    }
    Ok(0)
}

fn client(cli: &Cli) -> Value {
    json!({"Debug": cli.globals.debug, "Context": "default", "Plugins": [], "Version": cli.host.version, "Warnings": null})
}

/// Lines of `name: value`; those without a value are left out.
struct Lines(String);

impl Lines {
    fn add(&mut self, indent: usize, name: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        if !value.is_empty() {
            self.0.push_str(&format!("{}{name}: {value}\n", " ".repeat(indent)));
        }
    }

    fn title(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }
}

fn text(version: &str, info: &Info) -> String {
    let mut lines = Lines(format!("Client: Dhow\n Version:    {version}\n Context:    default\n\nServer:\n"));
    objects(&mut lines, info);
    execution(&mut lines, info);
    machine(&mut lines, info);
    lines.0
}

fn objects(lines: &mut Lines, info: &Info) {
    lines.add(1, "Containers", info.containers);
    lines.add(2, "Running", info.containers_running);
    lines.add(2, "Paused", info.containers_paused);
    lines.add(2, "Stopped", info.containers_stopped);
    lines.add(1, "Images", info.images);
    lines.add(1, "Server Version", &info.server_version);
    lines.add(1, "Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        lines.add(2, name, value);
    }
}

fn execution(lines: &mut Lines, info: &Info) {
    lines.add(1, "Logging Driver", &info.logging_driver);
    lines.add(1, "Cgroup Driver", &info.cgroup_driver);
    lines.add(1, "Cgroup Version", &info.cgroup_version);
    lines.title(" Plugins:");
    lines.add(2, "Volume", info.plugins.volume.join(" "));
    lines.add(2, "Network", info.plugins.network.join(" "));
    lines.add(2, "Log", info.plugins.log.join(" "));
    if !info.cdi_spec_dirs.is_empty() {
        lines.title(" CDI spec directories:");
    }
    for directory in &info.cdi_spec_dirs {
        lines.title(&format!("  {directory}"));
    }
    if !info.discovered_devices.is_empty() {
        lines.title(" Discovered Devices:");
    }
    for device in &info.discovered_devices {
        lines.add(2, &device.source, &device.id);
    }
    lines.add(1, "Swarm", &info.swarm.local_node_state);
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    lines.add(1, "Runtimes", runtimes.join(" "));
    lines.add(1, "Default Runtime", &info.default_runtime);
    lines.add(1, "Init Binary", &info.init_binary);
    if !info.security_options.is_empty() {
        lines.title(" Security Options:");
    }
    for option in &info.security_options {
        // `name=seccomp,profile=builtin`
        for (index, field) in option.split(',').enumerate() {
            let (name, value) = field.split_once('=').unwrap_or(("name", field));
            match index {
                0 => lines.title(&format!("  {value}")),
                _ if name == "profile" => lines.add(3, "Profile", value),
                _ => lines.add(3, name, value),
            }
        }
    }
}

fn machine(lines: &mut Lines, info: &Info) {
    lines.add(1, "Kernel Version", &info.kernel_version);
    lines.add(1, "Operating System", &info.operating_system);
    lines.add(1, "OSType", &info.os_type);
    lines.add(1, "Architecture", &info.architecture);
    lines.add(1, "CPUs", info.n_cpu);
    lines.add(1, "Total Memory", bytes_size(info.mem_total as f64));
    lines.add(1, "Name", &info.name);
    lines.add(1, "ID", &info.id);
    lines.add(1, "Docker Root Dir", &info.docker_root_dir);
    lines.add(1, "Debug Mode", info.debug);
    lines.add(1, "HTTP Proxy", &info.http_proxy);
    lines.add(1, "HTTPS Proxy", &info.https_proxy);
    lines.add(1, "No Proxy", &info.no_proxy);
    lines.add(1, "Experimental", info.experimental_build);
    lines.title(" Insecure Registries:");
    let insecure = info.registry_config.index_configs.iter().filter(|(_, index)| !index.secure);
    for name in insecure.map(|(name, _)| name).chain(&info.registry_config.insecure_registry_cidrs) {
        lines.title(&format!("  {name}"));
    }
    if !info.registry_config.mirrors.is_empty() {
        lines.title(" Registry Mirrors:");
        info.registry_config.mirrors.iter().for_each(|mirror| lines.title(&format!("  {mirror}")));
    }
    lines.add(1, "Live Restore Enabled", info.live_restore_enabled);
}
