use std::collections::BTreeMap;

use api::images::{ListOptions, Summary};
use jiff::Timestamp;
use oci::Reference;
use serde_json::{Map, Value};

use crate::context::Cli;
use crate::error::Error;
use crate::format::text::short_id;
use crate::format::units::{human_size, human_size_with};
use crate::format::{Listing, time};
use crate::options::filter;
use crate::settings;
use crate::verbs::Outcome;

mod tree;

#[derive(clap::Args)]
pub struct Args {
    /// Also images in between, which only others are made of
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only what matches, such as "dangling=true" or "label=key"
    #[arg(short, long, value_name = "filter", value_parser = filter::check)]
    filter: Vec<String>,
    /// Print by a Go template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show each platform of an image, with what is here of it
    #[arg(long)]
    tree: bool,
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    if args.tree {
        check_tree(&args)?;
    }
    let mut filters = filter::parse(&args.filter);
    if let Some(name) = args.args.first() {
        filters.add("reference", name.as_str());
    }
    let options = ListOptions {
        all: args.all,
        digests: args.digests,
        manifests: args.tree,
        filters,
        ..ListOptions::default()
    };
    let images = client::images::list(cli.client()?, &options).await?;
    if args.tree {
        let terminal = cli.stdout_is_terminal();
        let columns =
            crate::stream::terminal::size().filter(|_| terminal).map_or(80, |(_, columns)| columns.into());
        let screen = tree::Screen { columns: columns.max(20), colours: terminal };
        cli.print(&tree::draw(&images, args.all, screen))?;
        return Ok(0);
    }
    let format = settings::format(cli, args.format, args.quiet, "imagesFormat")?;
    let digests = args.digests || format.as_deref().is_some_and(|format| format.contains(".Digest"));
    let now = Timestamp::now();
    let rows: Vec<_> = images.iter().flat_map(|image| rows(image, digests, !args.no_trunc, now)).collect();
    cli.print(&listing(args.digests).render(format.as_deref(), args.quiet, &rows)?)?;
    Ok(0)
}

/// What Docker can't have together with a tree.
fn check_tree(args: &Args) -> Result<(), Error> {
    let given = [
        (args.quiet, "quiet"),
        (args.no_trunc, "no-trunc"),
        (args.digests, "show-digest"),
        (args.format.is_some(), "format"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(Error::new(format!("--{flag} is not yet supported with --tree"))),
        None => Ok(()),
    }
}

/// How images are listed.
pub fn listing(digests: bool) -> Listing {
    let digest = if digests { "{{.Digest}}\t" } else { "" };
    Listing {
        table: format!(
            "{{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t{{{{if .CreatedSince }}}}{{{{.CreatedSince}}}}\
             {{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
        ),
        quiet: "{{.ID}}",
        raw: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n\
              virtual_size: {{.Size}}\n",
        columns: &[
            ("ID", "IMAGE ID"),
            ("Repository", "REPOSITORY"),
            ("Tag", "TAG"),
            ("Digest", "DIGEST"),
            ("CreatedSince", "CREATED"),
            ("CreatedAt", "CREATED AT"),
            ("Size", "SIZE"),
            ("Containers", "CONTAINERS"),
            ("VirtualSize", "SIZE"),
            ("SharedSize", "SHARED SIZE"),
            ("UniqueSize", "UNIQUE SIZE"),
        ],
        labels: false,
    }
}

const NONE: &str = "<none>";

/// The row of an image's first name.
pub fn first_row(image: &Summary, short: bool, now: Timestamp) -> Map<String, Value> {
    let first = image.repo_tags.first().and_then(|text| Reference::parse_name(text).ok());
    match first.as_ref().map(|name| (name.familiar_name(), name.tag.as_deref())) {
        Some((repository, Some(tag))) => row(image, &repository, tag, "", short, now),
        _ => row(image, NONE, NONE, "", short, now),
    }
}

/// One row a name; an image without a name has one too.
pub fn rows(image: &Summary, digests: bool, short: bool, now: Timestamp) -> Vec<Map<String, Value>> {
    let make = |repository: &str, tag: &str, digest: &str| row(image, repository, tag, digest, short, now);
    let parse = |texts: &[String]| -> Vec<Reference> {
        texts.iter().filter_map(|text| Reference::parse_name(text).ok()).collect()
    };
    let tags: Vec<Reference> =
        parse(&image.repo_tags).into_iter().filter(|name| name.tag.is_some()).collect();
    let mut by_digest: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in parse(&image.repo_digests) {
        if let Some(digest) = &name.digest {
            by_digest.entry(name.familiar_name()).or_default().push(digest.to_string());
        }
    }
    let mut out = Vec::new();
    let mut shown = Vec::new();
    for name in &tags {
        let repository = name.familiar_name();
        let tag = name.tag.as_deref().unwrap_or(NONE);
        match by_digest.get(&repository).filter(|_| digests) {
            Some(list) => out.extend(list.iter().map(|digest| make(&repository, tag, digest))),
            None => out.push(make(&repository, tag, NONE)),
        }
        shown.push(repository);
    }
    for (repository, list) in by_digest.iter().filter(|(repository, _)| !shown.contains(repository)) {
        match digests {
            true => out.extend(list.iter().map(|digest| make(repository, NONE, digest))),
            false => out.push(make(repository, NONE, NONE)),
        }
    }
    if out.is_empty() {
        out.push(make(NONE, NONE, NONE));
    }
    out
}

fn row(
    image: &Summary,
    repository: &str,
    tag: &str,
    digest: &str,
    short: bool,
    now: Timestamp,
) -> Map<String, Value> {
    let created = Timestamp::from_second(image.created).unwrap_or_default();
    let size = |bytes: i64| match bytes {
        -1 => "N/A".to_owned(),
        bytes => human_size(bytes as f64),
    };
    let unique = if image.shared_size == -1 { -1 } else { image.size - image.shared_size };
    crate::row! {
        "ID": if short { short_id(&image.id) } else { &image.id },
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        // Builds without a clock have no date.
        "CreatedSince": if image.created <= 0 { String::new() } else { time::ago(now, created) },
        "CreatedAt": time::go_string(created),
        "Size": human_size_with(image.size as f64, 3),
        "Containers": if image.containers == -1 { "N/A".to_owned() } else { image.containers.to_string() },
        "VirtualSize": human_size(image.size as f64),
        "SharedSize": size(image.shared_size),
        "UniqueSize": size(unique),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str], digests: &[&str]) -> Summary {
        Summary {
            id: "sha256:0123456789abcdef".into(),
            created: 1_700_000_000,
            size: 7_654_321,
            shared_size: -1,
            containers: -1,
            repo_tags: tags.iter().map(|text| (*text).to_owned()).collect(),
            repo_digests: digests.iter().map(|text| (*text).to_owned()).collect(),
            ..Summary::default()
        }
    }

    fn shown(image: &Summary, digests: bool) -> String {
        let now = Timestamp::from_second(1_700_000_000 + 3 * 86_400).unwrap();
        listing(digests).render(None, false, &rows(image, digests, true, now)).unwrap()
    }

    #[test]
    fn tables() {
        assert_eq!(
            shown(&image(&["nginx:alpine", "localhost:5000/web:1"], &[]), false),
            "REPOSITORY           TAG       IMAGE ID       CREATED      SIZE\n\
             nginx                alpine    0123456789ab   3 days ago   7.65MB\n\
             localhost:5000/web   1         0123456789ab   3 days ago   7.65MB\n"
        );
        assert_eq!(
            shown(&image(&[], &[]), false).lines().nth(1),
            Some("<none>       <none>    0123456789ab   3 days ago   7.65MB")
        );
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        let text = shown(&image(&["nginx:1"], &[&digest]), true);
        assert!(
            text.contains(&format!("nginx        1         sha256:{}   0123456789ab", "a".repeat(64))),
            "{text}"
        );
        assert!(shown(&image(&[], &[&digest]), false).contains("nginx        <none>"));
    }
}
