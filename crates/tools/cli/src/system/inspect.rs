use serde_json::Value;
use template::{Options, Template};

use crate::context::Cli;
use crate::error::{Error, joined};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print by a Go template, or "json"
    #[arg(short, long)]
    format: Option<String>,
    /// Also measure the files of containers
    #[arg(short, long)]
    size: bool,
    /// Only objects of this kind: container, image, network or volume
    #[arg(long = "type")]
    kind: Option<String>,
    args: Vec<String>,
}

/// Kinds of objects that have a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Container,
    /// Of one for several platforms this one's, an OCI document; empty is what this machine runs best.
    Image {
        platform: String,
    },
    Network,
    NetworkVerbose,
    Volume,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let image = Kind::Image { platform: String::new() };
    let kinds: &[Kind] = match args.kind.as_deref() {
        None => &[Kind::Container, image, Kind::Network, Kind::Volume],
        Some("container") => &[Kind::Container],
        Some("image") => &[image],
        Some("network") => &[Kind::Network],
        Some("volume") => &[Kind::Volume],
        Some("") => {
            return Err(Error::new(
                "type is empty: must be one of \"container\", \"image\", \"network\", \"volume\"",
            ));
        }
        Some(other) => {
            return Err(Error::new(format!(
                "unknown type: {}: must be one of \"container\", \"image\", \"network\", \"volume\"",
                template::quote(other)
            )));
        }
    };
    show(cli, kinds, &args.args, args.format.as_deref(), args.size).await
}

/// Prints the documents of these objects, of the first kind that has one of the name. What is missing is said at
/// the end and keeps nothing else back.
pub async fn show(cli: &Cli, kinds: &[Kind], names: &[String], format: Option<&str>, size: bool) -> Outcome {
    let options = Options { zero: Some(zero), null: Some(null), ..Options::default() };
    let template = match format.filter(|format| !format.is_empty()) {
        None => None,
        Some("json") => None,
        Some(text) => Some(
            Template::parse_with(text, options)
                .map_err(|error| Error::with_code(format!("template parsing error: {error}"), 64))?,
        ),
    };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match document(cli, kinds, name, size).await {
            Ok(document) => found.push(document),
            Err(error) => errors.push(error),
        }
    }
    match template {
        Some(template) => {
            for document in &found {
                match template.execute(document) {
                    Ok(text) => cli.println(&text)?,
                    Err(error) => errors.push(Error::template(error)),
                }
            }
            if found.is_empty() && !errors.is_empty() {
                cli.println("")?;
            }
        }
        None if format == Some("json") => cli.println(&Value::Array(found).to_string())?,
        None => cli.println(&pretty(&Value::Array(found))?)?,
    }
    joined(errors).map_or(Ok(0), Err)
}

async fn document(cli: &Cli, kinds: &[Kind], name: &str, size: bool) -> Result<Value, Error> {
    let client = cli.client()?;
    if name.trim().is_empty() {
        // An address without a name would be that of the list.
        let what = match kinds.first() {
            Some(Kind::Image { .. }) => "image",
            Some(Kind::Network | Kind::NetworkVerbose) => "network",
            Some(Kind::Volume) => "volume",
            Some(Kind::Container) | None => "container",
        };
        return Err(Error::new(format!("invalid {what} name or ID: value is empty")));
    }
    for kind in kinds {
        let answer = match kind {
            Kind::Container => client::containers::inspect_raw(client, name, size).await,
            Kind::Image { platform } => client::images::inspect_raw(client, name, platform).await,
            Kind::Network => client::networks::inspect_raw(client, name, "", false).await,
            Kind::NetworkVerbose => client::networks::inspect_raw(client, name, "", true).await,
            Kind::Volume => client::volumes::inspect_raw(client, name).await,
        };
        match answer {
            Err(error) if error.is_not_found() && kinds.len() > 1 => {}
            answer => return Ok(answer?),
        }
    }
    Err(Error { not_found: true, ..Error::new(format!("Error: No such object: {name}")) })
}

/// Fields that documents leave out when they are empty, and what Go would print for them.
fn zero(field: &str) -> Option<Value> {
    Some(match field {
        "Health" | "Healthcheck" | "Config" | "Mounts" | "UsageData" | "Status" | "Annotations" | "Tmpfs"
        | "StorageOpt" | "Sysctls" | "Init" | "Shell" | "OnBuild" | "ExposedPorts" | "SizeRw"
        | "SizeRootFs" | "StopTimeout" | "Cmd" | "Entrypoint" | "Env" | "Volumes" | "Labels" => Value::Null,
        "StopSignal" | "Runtime" | "Variant" | "OsVersion" | "Created" | "Name" | "Driver" | "CreatedAt"
        | "Propagation" | "Comment" | "Author" | "MacAddress" | "User" | "WorkingDir" | "Hostname"
        | "Domainname" | "Container" => Value::from(""),
        "ArgsEscaped" | "NetworkDisabled" => Value::from(false),
        _ => return None,
    })
}

/// What Go prints of fields without a value: lists and maps are empty ones, pointers are nil.
fn null(field: &str) -> Option<&'static str> {
    Some(match field {
        "Cmd" | "Entrypoint" | "Env" | "OnBuild" | "Shell" | "ExecIDs" | "Binds" | "CapAdd" | "CapDrop"
        | "Dns" | "DnsOptions" | "DnsSearch" | "ExtraHosts" | "GroupAdd" | "Links" | "SecurityOpt"
        | "VolumesFrom" | "Devices" | "DeviceRequests" | "DeviceCgroupRules" | "Ulimits" | "MaskedPaths"
        | "ReadonlyPaths" | "Args" | "Mounts" | "RepoTags" | "RepoDigests" | "Aliases" | "DNSNames"
        | "BlkioWeightDevice" => "[]",
        "Labels" | "Volumes" | "ExposedPorts" | "PortBindings" | "Ports" | "Sysctls" | "Tmpfs"
        | "StorageOpt" | "Annotations" | "Options" | "DriverOpts" => "map[]",
        "Health" | "Healthcheck" | "Init" | "StopTimeout" | "PidsLimit" | "MemorySwappiness"
        | "OomKillDisable" | "SizeRw" | "SizeRootFs" | "IPAMConfig" | "UsageData" => "<nil>",
        _ => return None,
    })
}

/// JSON as Docker indents it.
pub fn pretty(value: &Value) -> Result<String, Error> {
    use serde::Serialize as _;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    value.serialize(&mut serializer).map_err(|error| Error::new(error.to_string()))?;
    String::from_utf8(out).map(template::printable_json).map_err(|error| Error::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_as_docker_does() {
        let value = serde_json::json!([{"Id": "a", "Args": [], "State": {"Pid": 1}}]);
        assert_eq!(
            pretty(&value).unwrap(),
            "[\n    {\n        \"Id\": \"a\",\n        \"Args\": [],\n        \"State\": {\n            \"Pid\": 1\n        }\n    }\n]"
        );
    }

    #[test]
    fn left_out_fields_are_empty_and_unknown_ones_errors() {
        let run = |text: &str| {
            let options = Options { zero: Some(zero), null: Some(null), ..Options::default() };
            Template::parse_with(text, options).unwrap().execute(&serde_json::json!({"State": {"Pid": 1}}))
        };
        assert_eq!(run("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}").unwrap(), "none");
        assert!(run("{{.State.Helth}}").is_err());
        assert_eq!(
            run("{{.State.Cmd}}{{json .State.Cmd}} {{.State.Labels}} {{.State.Health}} {{.State.Config}}")
                .unwrap(),
            "[]null map[] <nil> <no value>"
        );
    }
}
