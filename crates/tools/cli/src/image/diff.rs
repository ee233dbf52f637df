//! `image diff`: settings and files that two images have otherwise.

use api::images::{ContentsOptions, FileChange, FileDifference, ImageDifference};

use crate::context::Cli;
use crate::error::Error;
use crate::format::text::printable;
use crate::format::units::human_size;
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Print the whole as "json"
    #[arg(long)]
    format: Option<String>,
    /// Of images for several platforms, this one's
    #[arg(long)]
    platform: Option<String>,
    /// Only paths: A added, C changed, D removed
    #[arg(short, long)]
    quiet: bool,
    /// As their registries have them; they are not pulled
    #[arg(long)]
    remote: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let is_json = match args.format.as_deref() {
        None | Some("") => false,
        Some("json") => true,
        Some(other) => return Err(Error::new(format!("--format {other}: only json is known"))),
    };
    let options = ContentsOptions {
        platform: args.platform.unwrap_or_default(),
        remote: args.remote,
        ..ContentsOptions::default()
    };
    let (before, after) = (&args.args[0], &args.args[1]);
    let found =
        client::images::difference(cli.client()?, before, after, &options, &credentials::all(cli)?).await?;
    let text = match (is_json, args.quiet) {
        (true, _) => {
            format!("{}\n", serde_json::to_string(&found).map_err(|error| Error::new(error.to_string()))?)
        }
        (false, true) => {
            found.files.iter().map(|file| format!("{} {}\n", mark(file), printable(&file.path))).collect()
        }
        (false, false) => described(&found),
    };
    cli.print(&text).map(|()| 0)
}

fn mark(file: &FileDifference) -> char {
    match file.change {
        FileChange::Added => 'A',
        FileChange::Changed => 'C',
        FileChange::Removed => 'D',
    }
}

/// The two values of a pair.
fn pair<T: Copy + Default>(values: &[T]) -> (T, T) {
    (values.first().copied().unwrap_or_default(), values.get(1).copied().unwrap_or_default())
}

fn described(found: &ImageDifference) -> String {
    let (before, after) = pair(&found.sizes);
    let (old_layers, new_layers) = pair(&found.layers);
    let mut out = format!(
        "Size    {} -> {} ({})\nLayers  {old_layers} -> {new_layers}, {} shared\n",
        human_size(before as f64),
        human_size(after as f64),
        change(before, after),
        found.shared_layers
    );
    if !found.config.is_empty() {
        out.push_str("\nSettings\n");
    }
    for setting in &found.config {
        let lines = [('-', &setting.before), ('+', &setting.after)];
        for (sign, value) in lines {
            if let Some(value) = value {
                out.push_str(&format!("{sign} {} {}\n", printable(&setting.name), printable(value)));
            }
        }
    }
    if !found.files.is_empty() {
        out.push_str("\nFiles\n");
    }
    for file in &found.files {
        let (before, after) = pair(&file.sizes);
        let what = match file.what.is_empty() {
            true => String::new(),
            false => format!(" ({})", file.what.join(", ")),
        };
        out.push_str(&format!(
            "{} {:>9} {}{what}\n",
            mark(file),
            change(before, after),
            printable(&file.path)
        ));
    }
    if found.config.is_empty() && found.files.is_empty() {
        out.push_str("\nNo file and no setting differs.\n");
    }
    out
}

/// How many bytes more or less.
fn change(before: u64, after: u64) -> String {
    match after.checked_sub(before) {
        Some(more) => format!("+{}", human_size(more as f64)),
        None => format!("-{}", human_size((before - after) as f64)),
    }
}
