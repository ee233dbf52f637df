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

fn text(version: &str, info: &Info) -> String {
    let mut out = format!("Client: Dhow\n Version:    {version}\n Context:    default\n\nServer:\n");
    let mut line = |indent: usize, name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{}{name}: {value}\n", " ".repeat(indent)));
        }
    };
    line(1, "Containers", &info.containers.to_string());
    line(2, "Running", &info.containers_running.to_string());
    line(2, "Paused", &info.containers_paused.to_string());
    line(2, "Stopped", &info.containers_stopped.to_string());
    line(1, "Images", &info.images.to_string());
    line(1, "Server Version", &info.server_version);
    line(1, "Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        line(2, name, value);
    }
    line(1, "Logging Driver", &info.logging_driver);
    line(1, "Cgroup Driver", &info.cgroup_driver);
    line(1, "Cgroup Version", &info.cgroup_version);
    out.push_str(" Plugins:\n");
    for (name, plugins) in
        [("Volume", &info.plugins.volume), ("Network", &info.plugins.network), ("Log", &info.plugins.log)]
    {
        out.push_str(&format!("  {name}: {}\n", plugins.join(" ")));
    }
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    let mut line = |indent: usize, name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{}{name}: {value}\n", " ".repeat(indent)));
        }
    };
    line(1, "Swarm", &info.swarm.local_node_state);
    line(1, "Runtimes", &runtimes.join(" "));
    line(1, "Default Runtime", &info.default_runtime);
    line(1, "Init Binary", &info.init_binary);
    if !info.security_options.is_empty() {
        out.push_str(" Security Options:\n");
        for option in &info.security_options {
            let mut fields = option.split(',').map(|field| field.split_once('=').unwrap_or(("", field)));
            if let Some((_, name)) = fields.next() {
                out.push_str(&format!("  {name}\n"));
            }
            for (name, value) in fields {
                out.push_str(&format!("   {}: {value}\n", if name == "profile" { "Profile" } else { name }));
            }
        }
    }
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!(" {name}: {value}\n"));
        }
    };
    line("Kernel Version", &info.kernel_version);
    line("Operating System", &info.operating_system);
    line("OSType", &info.os_type);
    line("Architecture", &info.architecture);
    line("CPUs", &info.n_cpu.to_string());
    line("Total Memory", &bytes_size(info.mem_total as f64));
    line("Name", &info.name);
    line("ID", &info.id);
    line("Docker Root Dir", &info.docker_root_dir);
    line("Debug Mode", &info.debug.to_string());
    line("HTTP Proxy", &info.http_proxy);
    line("HTTPS Proxy", &info.https_proxy);
    line("No Proxy", &info.no_proxy);
    line("Experimental", &info.experimental_build.to_string());
    out.push_str(" Insecure Registries:\n");
    for (name, index) in &info.registry_config.index_configs {
        if !index.secure {
            out.push_str(&format!("  {name}\n"));
        }
    }
    for range in &info.registry_config.insecure_registry_cidrs {
        out.push_str(&format!("  {range}\n"));
    }
    out.push_str(&format!(" Live Restore Enabled: {}\n", info.live_restore_enabled));
    out
}
