//! `image tree`: an image layer by layer, and the bytes that nobody sees.

use api::images::{ContentsOptions, FileChange, ImageTree, LayerFile, TreeLayer, WastedPath};
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::error::Error;
use crate::format::Listing;
use crate::format::text::{ellipsis, printable, short_id};
use crate::format::units::{human_size, ram_in_bytes};
use crate::registry::credentials;
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// List the files of each layer: A added, C changed, D removed
    #[arg(short = 'l', long)]
    files: bool,
    /// Print by a Go template for each layer, "table", "table TEMPLATE"; or the whole by "json"
    #[arg(long)]
    format: Option<String>,
    /// Fail when more bytes are wasted than this, e.g. 20MB
    #[arg(long)]
    highest_wasted: Option<String>,
    /// Fail when the share that is not wasted is below this, 0 to 1
    #[arg(long)]
    lowest_efficiency: Option<f64>,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Of an image for several platforms, this one's
    #[arg(long)]
    platform: Option<String>,
    /// Only ids of layers
    #[arg(short, long)]
    quiet: bool,
    /// As its registry has it; it is not pulled
    #[arg(long)]
    remote: bool,
    /// List the paths whose bytes are wasted
    #[arg(short, long)]
    waste: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let limits = Limits::of(&args)?;
    let options = ContentsOptions {
        platform: args.platform.clone().unwrap_or_default(),
        remote: args.remote,
        files: args.files,
    };
    let tree = client::images::tree(cli.client()?, &args.args[0], &options, &credentials::all(cli)?).await?;
    match args.format.as_deref() {
        Some("json") => {
            cli.println(&serde_json::to_string(&tree).map_err(|error| Error::new(error.to_string()))?)?;
        }
        format => cli.print(&text(&tree, &args, format)?)?,
    }
    limits.check(&tree)
}

/// What a script does not accept.
struct Limits {
    efficiency: Option<f64>,
    wasted: Option<u64>,
}

impl Limits {
    fn of(args: &Args) -> Result<Limits, Error> {
        let share = |share: &f64| !(0.0..=1.0).contains(share);
        if let Some(share) = args.lowest_efficiency.filter(share) {
            return Err(Error::new(format!("--lowest-efficiency {share}: not between 0 and 1")));
        }
        let wasted = args.highest_wasted.as_deref().map(|text| {
            let bytes = ram_in_bytes(text).ok().and_then(|bytes| u64::try_from(bytes).ok());
            bytes.ok_or_else(|| Error::new(format!("--highest-wasted {text}: not a size such as 20MB")))
        });
        Ok(Limits { efficiency: args.lowest_efficiency, wasted: wasted.transpose()? })
    }

    fn check(&self, tree: &ImageTree) -> Outcome {
        if let Some(lowest) = self.efficiency.filter(|lowest| tree.efficiency < *lowest) {
            return Err(Error::new(format!(
                "the efficiency of {} is {:.4}, below {lowest}",
                tree.name, tree.efficiency
            )));
        }
        if let Some(highest) = self.wasted.filter(|highest| tree.wasted > *highest) {
            let (wasted, highest) = (human_size(tree.wasted as f64), human_size(highest as f64));
            return Err(Error::new(format!("{wasted} are wasted in {}, more than {highest}", tree.name)));
        }
        Ok(0)
    }
}

fn text(tree: &ImageTree, args: &Args, format: Option<&str>) -> Result<String, Error> {
    let mut out = String::new();
    if format.is_none() && !args.quiet {
        out.push_str(&format!(
            "{} ({}): {} in {} layers, {} wasted, efficiency {:.1}%\n\n",
            tree.name,
            tree.platform,
            human_size(tree.size as f64),
            tree.layers.len(),
            human_size(tree.wasted as f64),
            tree.efficiency * 100.0
        ));
    }
    let rows: Vec<_> = tree.layers.iter().map(|layer| row(layer, !args.no_trunc)).collect();
    let listing = Listing {
        table: "{{.ID}}\t{{.Size}}\t{{.Files}}\t{{.Added}}\t{{.Changed}}\t{{.Removed}}\t{{.Wasted}}\t{{.CreatedBy}}".to_owned(),
        quiet: "{{.ID}}",
        raw: "",
        columns: &[
            ("ID", "LAYER"),
            ("Size", "SIZE"),
            ("Files", "FILES"),
            ("Added", "ADDED"),
            ("Changed", "CHANGED"),
            ("Removed", "REMOVED"),
            ("Wasted", "WASTED"),
            ("Compressed", "COMPRESSED"),
            ("CreatedBy", "CREATED BY"),
        ],
        labels: false,
    };
    out.push_str(&listing.render(format, args.quiet, &rows)?);
    if args.files {
        for layer in tree.layers.iter().filter(|layer| !layer.list.is_empty()) {
            out.push_str(&format!("\n{}\n", short_id(&layer.diff_id)));
            layer.list.iter().for_each(|file| out.push_str(&file_line(file)));
        }
    }
    if args.waste && !args.quiet {
        out.push_str(&waste(&tree.waste, args.no_trunc));
    }
    Ok(out)
}

fn row(layer: &TreeLayer, short: bool) -> Map<String, Value> {
    let by = layer.created_by.replace('\t', " ");
    crate::row! {
        "ID": if short { short_id(&layer.digest) } else { &layer.digest },
        "DiffID": layer.diff_id,
        "Size": human_size(layer.size as f64),
        "Files": layer.files,
        "Added": layer.added,
        "Changed": layer.changed,
        "Removed": layer.removed,
        "Wasted": human_size(layer.wasted as f64),
        "Compressed": if layer.compressed == 0 { "N/A".to_owned() } else { human_size(layer.compressed as f64) },
        "CreatedBy": if short { ellipsis(&by, 45) } else { by },
    }
}

fn file_line(file: &LayerFile) -> String {
    let mark = match file.change {
        FileChange::Added => 'A',
        FileChange::Changed => 'C',
        FileChange::Removed => 'D',
    };
    format!("{mark} {:>9} {}\n", human_size(file.size as f64), printable(&file.path))
}

/// Lines that are shown unless all are asked for.
const SHOWN: usize = 20;

fn waste(paths: &[WastedPath], all: bool) -> String {
    if paths.is_empty() {
        return "\nNothing is wasted.\n".to_owned();
    }
    let mut out = "\nWASTED    TIMES  PATH\n".to_owned();
    let shown = if all { paths.len() } else { SHOWN.min(paths.len()) };
    for path in &paths[..shown] {
        let what = if path.removed { " (removed)" } else { "" };
        out.push_str(&format!(
            "{:<9} {:<6} {}{what}\n",
            human_size(path.bytes as f64),
            path.times,
            printable(&path.path)
        ));
    }
    if shown < paths.len() {
        out.push_str(&format!("… and {} more: --no-trunc\n", paths.len() - shown));
    }
    out
}
