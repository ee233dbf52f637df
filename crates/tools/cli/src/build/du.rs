use std::fmt::Write as _;

use api::build::CacheRecord;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::buildx::Plugin;
use crate::context::Cli;
use crate::error::Error;
use crate::format::time::ago;
use crate::format::units::human_size_with;
use crate::options::filter;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    plugin: Plugin,
    /// Only what matches, such as "type=regular", "shared=true" or "id=..."
    #[arg(long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// "table", "pretty", "json" or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Accepted: nobody is asked for long
    #[arg(long, hide = true)]
    timeout: Option<String>,
    /// Tell all about each record, as --format=pretty
    #[arg(long)]
    verbose: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    args.plugin.check(cli)?;
    let format = match (args.format.as_deref(), args.verbose) {
        (None | Some(""), true) => "pretty",
        (None | Some(""), false) => "table",
        (Some(_), true) => return Err(Error::new("--format and --verbose cannot be used together")),
        (Some(format), false) => format,
    };
    let usage = client::system::df(cli.client()?, &["build-cache".to_owned()]).await?;
    let mut records = usage.build_cache.unwrap_or_default();
    let filter = api::CacheFilter::read(&filter::parse(&args.filter));
    let filter = filter.map_err(|error| Error::new(error.to_string()))?;
    records.retain(|record| filter.admits(record));
    let kept = records;
    let now = Timestamp::now();
    match format {
        "json" => {
            for record in &kept {
                cli.println(&told(record, now).to_string())?;
            }
            return Ok(0);
        }
        "pretty" => cli.print(&whole(&kept, now))?,
        "table" => cli.print(&table(&kept, now))?,
        template => {
            let template = template::Template::parse_with(template, template::Options::default());
            let template =
                template.map_err(|error| Error::new(format!("template parsing error: {error}")))?;
            for record in &kept {
                cli.println(&template.execute(&told(record, now)).map_err(Error::template)?)?;
            }
            return Ok(0);
        }
    }
    cli.print(&sums(&kept))?;
    Ok(0)
}

/// A record as programs and templates get it.
fn told(record: &CacheRecord, now: Timestamp) -> Value {
    json!({
        "ID": record.id,
        "Parents": Some(&record.parents).filter(|parents| !parents.is_empty()),
        "CreatedAt": created(record),
        "Mutable": is_mount(record),
        "Reclaimable": !record.in_use,
        "Shared": record.shared,
        "Size": size(record.size),
        "Description": record.description,
        "UsageCount": record.usage_count,
        "LastUsedAt": used(record, now),
        "Type": record.typ,
    })
}

/// When it was made, as Go prints a time.
fn created(record: &CacheRecord) -> String {
    let at = api::time::parse(&record.created_at);
    at.map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string())
}

/// How long it has not been used.
fn used(record: &CacheRecord, now: Timestamp) -> String {
    let at = record.last_used_at.as_deref().and_then(api::time::parse);
    at.map_or_else(String::new, |at| ago(now, at))
}

fn is_mount(record: &CacheRecord) -> bool {
    record.typ == "exec.cachemount"
}

fn size(bytes: i64) -> String {
    human_size_with(bytes as f64, 4)
}

fn table(records: &[CacheRecord], now: Timestamp) -> String {
    let mut text = format!("{:26} {:12} {:10} LAST ACCESSED\n", "ID", "RECLAIMABLE", "SIZE");
    for record in records {
        let used = used(record, now);
        let _ = writeln!(text, "{:26} {:12} {:10} {used}", record.id, !record.in_use, size(record.size));
    }
    text
}

pub fn whole(records: &[CacheRecord], now: Timestamp) -> String {
    let mut text = String::new();
    for record in records {
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{:13} {value}", format!("{name}:"));
        };
        line("ID", &record.id);
        line("Created at", &created(record));
        line("Mutable", &is_mount(record).to_string());
        line("Reclaimable", &(!record.in_use).to_string());
        line("Shared", &record.shared.to_string());
        line("Size", &size(record.size));
        line("Description", &record.description);
        line("Usage count", &record.usage_count.to_string());
        if record.last_used_at.is_some() {
            line("Last used", &used(record, now));
        }
        line("Type", &record.typ);
        text.push('\n');
    }
    text
}

fn sums(records: &[CacheRecord]) -> String {
    let sum = |which: &dyn Fn(&CacheRecord) -> bool| {
        size(records.iter().filter(|record| which(record)).map(|record| record.size).sum())
    };
    let mut text = String::new();
    if records.iter().any(|record| record.shared) {
        let _ = writeln!(text, "Shared:\t\t{}\nPrivate:\t{}", sum(&|r| r.shared), sum(&|r| !r.shared));
    }
    let _ = writeln!(text, "Reclaimable:\t{}\nTotal:\t\t{}", sum(&|r| !r.in_use), sum(&|_| true));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_and_summed() {
        let record = |id: &str, typ: &str, shared: bool| CacheRecord {
            id: id.into(),
            typ: typ.into(),
            shared,
            size: 1500,
            ..CacheRecord::default()
        };
        let all = [record("a1", "regular", true), record("b2", "exec.cachemount", false)];
        assert_eq!(sums(&all), "Shared:\t\t1.5kB\nPrivate:\t1.5kB\nReclaimable:\t3kB\nTotal:\t\t3kB\n");
        assert!(whole(&all, Timestamp::now()).contains("Mutable:      true\n"));
        assert_eq!(table(&all, Timestamp::now()).lines().count(), 3);
        let now: Timestamp = "2024-01-02T03:04:35Z".parse().unwrap();
        let last_used_at = Some("2024-01-02T03:04:05Z".to_owned());
        let timed =
            CacheRecord { created_at: "2024-01-02T03:04:05.25Z".into(), last_used_at, ..all[1].clone() };
        let told = told(&timed, now);
        assert_eq!(told["CreatedAt"], "2024-01-02 03:04:05.25 +0000 UTC");
        assert_eq!((&told["LastUsedAt"], &told["Parents"]), (&"30 seconds ago".into(), &Value::Null));
        assert_eq!((&told["Mutable"], &told["Size"]), (&true.into(), &"1.5kB".into()));
    }
}
