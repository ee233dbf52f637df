use api::system::Version;
use serde_json::{Value, json};
use template::{Options, Template};

use crate::context::Cli;
use crate::error::Error;
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
    // What the client knows is shown even when no server answers.
    let (server, failure) = match server(cli).await {
        Ok(version) => (Some(version), None),
        Err(error) => (None, Some(error)),
    };
    let api =
        server.as_ref().and_then(|server| server.api_version.parse().ok()).unwrap_or(api::version::CURRENT);
    let client = json!({
        "Version": cli.host.version,
        "ApiVersion": api.min(api::version::CURRENT).to_string(),
        "DefaultAPIVersion": api::version::CURRENT.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "Context": "default",
    });
    match template {
        Some(template) => {
            let server = match &server {
                Some(server) => {
                    serde_json::to_value(server).map_err(|error| Error::new(error.to_string()))?
                }
                None => Value::Null,
            };
            let text =
                template.execute(&json!({"Client": client, "Server": server})).map_err(Error::template)?;
            cli.println(&text)?;
        }
        None => cli.print(&text(&client, server.as_ref()))?,
    }
    failure.map_or(Ok(0), Err)
}

async fn server(cli: &Cli) -> Result<Version, Error> {
    Ok(client::system::version(cli.client()?).await?)
}

/// The machine's architecture in Go's words.
fn architecture() -> String {
    oci::Platform::host().architecture
}

fn text(client: &Value, server: Option<&Version>) -> String {
    let field = |name: &str| client[name].as_str().unwrap_or_default();
    let mut out = String::from("Client: Dhow\n");
    for (name, value) in [
        ("Version:", field("Version").to_owned()),
        ("API version:", field("ApiVersion").to_owned()),
        ("OS/Arch:", format!("{}/{}", field("Os"), field("Arch"))),
        ("Context:", field("Context").to_owned()),
    ] {
        out.push_str(&format!(" {name:<19}{value}\n"));
    }
    let Some(server) = server else { return out };
    out.push_str(&format!("\nServer: {}\n", server.platform.name));
    let mut components = server.components.iter();
    if let Some(engine) = components.next() {
        out.push_str(&format!(" {}:\n", engine.name));
        let minimum = &server.min_api_version;
        for (name, value) in [
            ("Version:", server.version.clone()),
            ("API version:", format!("{} (minimum version {minimum})", server.api_version)),
            ("Go version:", server.go_version.clone()),
            ("Git commit:", server.git_commit.clone()),
            ("Built:", server.build_time.clone()),
            ("OS/Arch:", format!("{}/{}", server.os, server.arch)),
            ("Experimental:", server.experimental.to_string()),
        ] {
            if !value.is_empty() {
                out.push_str(&format!("  {name:<18}{value}\n"));
            }
        }
    }
    for component in components {
        out.push_str(&format!(" {}:\n  {:<18}{}\n", component.name, "Version:", component.version));
        if let Some(commit) = component.details.get("GitCommit").filter(|commit| !commit.is_empty()) {
            out.push_str(&format!("  {:<18}{commit}\n", "GitCommit:"));
        }
    }
    out
}
