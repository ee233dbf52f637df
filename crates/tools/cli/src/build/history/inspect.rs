use std::fmt::Write as _;

use api::build::BuildRecord;
use serde_json::{Map, Value, json};
use template::{Options, Template};

use super::{attachment, document};
use crate::context::Cli;
use crate::error::Error;
use crate::system::inspect::pretty;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// "pretty", "json" or a Go template
    #[arg(long, default_value = "pretty")]
    format: String,
    /// Of "attachment": for which platform it is
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// Of "attachment": what it is ("provenance", "sbom", "index", "manifest" or a media type)
    #[arg(long = "type", value_name = "type", default_value = "", hide_default_value = true)]
    kind: String,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let name = args.args.first().map_or("", String::as_str);
    if name == "attachment" {
        let wanted = attachment::Wanted { kind: &args.kind, platform: &args.platform };
        return attachment::print(cli, &args.args[1..], &wanted).await;
    }
    if let Some(more) = args.args.get(1) {
        return Err(Error::new(format!("history inspect shows one build: {more} is one too many")));
    }
    let record = client::builds::inspect(cli.client()?, name).await?;
    match args.format.as_str() {
        "pretty" => cli.print(&text(&record))?,
        format => {
            let document = Value::from(whole(cli, &record).await?);
            cli.println(&match format {
                "json" => pretty(&document)?,
                text => {
                    let options = Options { zero: Some(zero), ..Options::default() };
                    let template = Template::parse_with(text, options).map_err(Error::template)?;
                    template.execute(&document).map_err(Error::template)?
                }
            })?;
        }
    }
    Ok(0)
}

/// The record with what its documents say.
async fn whole(cli: &Cli, record: &BuildRecord) -> Result<Map<String, Value>, Error> {
    let client = cli.client()?;
    let logs = match record.error.is_empty() {
        true => Vec::new(),
        false => client::builds::logs(client, &record.id).await?,
    };
    let provenance = record.attachments.iter().find(|document| attachment::is_provenance(&document.kind));
    let provenance = match provenance {
        None => None,
        Some(document) => {
            let bytes = client::builds::attachment(client, &record.id, &document.digest).await?;
            serde_json::from_slice(&bytes).ok()
        }
    };
    Ok(document::document(record, &logs, provenance.as_ref(), &cli.host.directory))
}

/// What a record leaves out because there is none.
fn zero(field: &str) -> Option<Value> {
    Some(match field {
        "CompletedAt" | "Context" | "Dockerfile" | "Image" | "Name" | "StartedAt" | "Target"
        | "VCSRepository" | "VCSRevision" => json!(""),
        "CPUPeriod"
        | "CPUQuota"
        | "CPUSetCPUs"
        | "CPUSetMems"
        | "CPUShares"
        | "CacheMountNS"
        | "CgroupParent"
        | "DockerfileCheckConfig"
        | "Hostname"
        | "ImageResolveMode"
        | "Memory"
        | "MemorySwap"
        | "Network"
        | "SandboxHostname"
        | "ShmSize"
        | "SourceDateEpoch"
        | "Ulimit" => json!(""),
        "Attachments" | "BuildArgs" | "Errors" | "ExtraHosts" | "Labels" | "Materials" | "NamedContexts"
        | "NoCacheFilter" | "Platform" | "RestRaw" | "Steps" | "Tags" => json!([]),
        "KeepGitDir" | "MultiPlatform" | "NoCache" => json!(false),
        "Error" => Value::Null,
        _ => return None,
    })
}

fn text(record: &BuildRecord) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{:15} {value}", format!("{name}:"));
        }
    };
    line("Build", &record.id);
    line("Name", &record.name);
    line("Status", &record.status);
    line("Started", &record.started_at);
    line("Duration", &super::took(record));
    line("Tags", &record.tags.join(", "));
    line("Target", &record.target);
    line("Platform", &record.platform);
    line("Image", &record.image);
    if record.no_cache {
        line("Cache", "switched off");
    }
    for (name, value) in &record.build_args {
        line("Build argument", &format!("{name}={value}"));
    }
    for (name, value) in &record.labels {
        line("Label", &format!("{name}={value}"));
    }
    text.push_str("\nSteps:\n");
    text.push_str(&steps(record));
    if !record.error.is_empty() {
        let _ = write!(text, "\nError:\n{}{}\n", record.excerpt, record.error);
    }
    text
}

/// Every step with how it stands and why.
pub fn steps(record: &BuildRecord) -> String {
    let mut text = String::new();
    for step in &record.steps {
        let (word, took) = match step.status.as_str() {
            "DONE" if step.instruction.is_empty() => ("DONE", super::seconds(step.millis as i64)),
            "DONE" => ("MISS", super::seconds(step.millis as i64)),
            "" => ("STOPPED", String::new()),
            other => (other, String::new()),
        };
        let name = step.name.lines().next().unwrap_or_default();
        let _ = writeln!(text, "  {word:8} {took:>7} {name}");
        for reason in &step.reasons {
            let _ = writeln!(text, "  {:16}   {reason}", "");
        }
        if word == "MISS" && step.reasons.is_empty() {
            let _ = writeln!(text, "  {:16}   it has not run here before", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::build::BuildStepRecord;

    #[test]
    fn each_step_says_why() {
        let step = |name: &str, instruction: &str, status: &str, reasons: &[&str]| BuildStepRecord {
            name: name.into(),
            instruction: instruction.into(),
            status: status.into(),
            reasons: reasons.iter().map(ToString::to_string).collect(),
            millis: 1234,
            ..BuildStepRecord::default()
        };
        let record = BuildRecord {
            steps: vec![
                step("[internal] load .dockerignore", "", "DONE", &[]),
                step("[1/3] FROM base", "FROM base", "CACHED", &[]),
                step("[2/3] COPY . .", "COPY . .", "DONE", &["file /a changed"]),
                step("[3/3] RUN make", "RUN make", "DONE", &[]),
                step("[test]", "", "SKIPPED", &["nothing that is built needs this stage"]),
            ],
            ..BuildRecord::default()
        };
        let wanted = "  DONE        1.2s [internal] load .dockerignore
  CACHED           [1/3] FROM base
  MISS        1.2s [2/3] COPY . .
                     file /a changed
  MISS        1.2s [3/3] RUN make
                     it has not run here before
  SKIPPED          [test]
                     nothing that is built needs this stage
";
        assert_eq!(steps(&record), wanted);
    }
}
