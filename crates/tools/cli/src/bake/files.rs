//! Files of definitions: which are read, from where, and what each is.

use ::bake::compose::{File, World, looks_like};
use ::bake::{Config, Source};
use api::build::BuildOptions;
use oci::path::clean;

use crate::build::source::is_remote;
use crate::context::Cli;
use crate::error::Error;

/// Files that are read if none is named; those that exist, all of them.
const FILES: &[&str] = &[
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// Where a definition lies that is not here.
pub struct Remote {
    /// What stands for the contexts of its targets; empty for a file that stands alone.
    pub url: String,
}

/// What was read.
pub struct Definition {
    pub sources: Vec<Source>,
    /// Which of them are compose files.
    compose: Vec<bool>,
    pub remote: Option<Remote>,
    /// What `.env` adds to the environment of compose files.
    extra: std::collections::BTreeMap<String, String>,
}

/// Reads the files that are named, or those that have the names that everybody expects.
pub async fn read(
    cli: &Cli,
    named: &[String],
    url: Option<&str>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Definition, Error> {
    let asked = match named {
        [] => asked(cli)?,
        named => named.to_vec(),
    };
    let (local, mut elsewhere): (Vec<&str>, Vec<&str>) =
        asked.iter().map(String::as_str).partition(|name| name.starts_with("cwd://"));
    let mut sources = Vec::new();
    let mut remote = None;
    if let Some(url) = url {
        let found = fetch(cli, url, &elsewhere).await?;
        remote = Some(found.1);
        sources.extend(found.0);
        elsewhere.clear();
    }
    let here = local.into_iter().map(|name| name.trim_start_matches("cwd://")).chain(elsewhere);
    for name in here {
        sources.push(Source { name: name.to_owned(), text: text(name, contents(cli, name)?)? });
    }
    if asked.is_empty() && url.is_none() {
        for name in FILES.iter().filter(|name| cli.host.directory.join(name).exists()) {
            sources.push(Source { name: (*name).to_owned(), text: text(name, cli.read(name)?)? });
        }
    }
    if sources.is_empty() {
        let names = FILES.join(", ");
        return Err(Error::new(format!("couldn't find a bake definition: there is none of {names}")));
    }
    let compose = sources.iter().map(is_compose).collect();
    let dotenv = std::fs::read_to_string(cli.host.directory.join(".env")).unwrap_or_default();
    let extra = ::bake::compose::dotenv(&dotenv, lookup).map_err(Error::new)?;
    Ok(Definition { sources, compose, remote, extra })
}

/// `BUILDX_BAKE_FILE` names files as well.
fn asked(cli: &Cli) -> Result<Vec<String>, Error> {
    let Some(names) = cli.variable("BUILDX_BAKE_FILE") else { return Ok(Vec::new()) };
    let between = cli.variable("BUILDX_BAKE_PATH_SEPARATOR").filter(|text| !text.is_empty());
    let names = names.split(between.as_deref().unwrap_or(":")).map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

fn contents(cli: &Cli, name: &str) -> Result<Vec<u8>, Error> {
    if name != "-" {
        return cli.read_definition(name);
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)?;
    Ok(bytes)
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::new(format!("{name}: it is not UTF-8 text")))
}

/// The files of a repository or an archive, or the one file that lies at an address.
async fn fetch(cli: &Cli, url: &str, names: &[&str]) -> Result<(Vec<Source>, Remote), Error> {
    let client = cli.client()?;
    let file = async |name: &str| {
        let options =
            BuildOptions { remote: url.to_owned(), dockerfile: name.to_owned(), ..BuildOptions::default() };
        client::builds::definition(client, &options).await
    };
    // A file that stands alone is what the address is of.
    let path = url.split(['#', '?']).next().unwrap_or_default();
    if url.starts_with("http") && [".hcl", ".json", ".yml", ".yaml"].iter().any(|end| path.ends_with(end)) {
        let source = Source { name: url.to_owned(), text: file("").await?.text };
        return Ok((vec![source], Remote { url: String::new() }));
    }
    let wanted = if names.is_empty() { FILES } else { names };
    let (mut sources, mut problem) = (Vec::new(), None);
    for name in wanted {
        match file(name).await {
            Ok(found) => sources.push(Source { name: (*name).to_owned(), text: found.text }),
            Err(error) if names.is_empty() => problem = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match (sources.is_empty(), problem) {
        (true, Some(problem)) => Err(problem.into()),
        _ => Ok((sources, Remote { url: url.to_owned() })),
    }
}

/// Compose files end in `.yml` or `.yaml`; what has no ending may be one.
fn is_compose(source: &Source) -> bool {
    let name = source.name.to_lowercase();
    match name.rsplit('/').next().unwrap_or_default().rsplit_once('.') {
        Some((_, "yml" | "yaml")) => true,
        Some((_, "json" | "hcl")) => false,
        _ => looks_like(&source.text),
    }
}

impl Definition {
    /// The files that are no compose files.
    pub fn native(&self) -> impl Iterator<Item = usize> {
        self.compose.iter().enumerate().filter(|(_, compose)| !**compose).map(|(at, _)| at)
    }

    /// What the compose files say.
    pub fn services(&self, cli: &Cli, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Error> {
        let mut config = Config::default();
        let files: Vec<File<'_>> = self
            .sources
            .iter()
            .zip(&self.compose)
            .filter(|(_, compose)| **compose)
            .map(|(source, _)| File { name: &source.name, text: &source.text })
            .collect();
        if files.is_empty() {
            return Ok(config);
        }
        let world = World {
            lookup: &|name| lookup(name).or_else(|| self.extra.get(name).cloned()),
            read: &|path| match is_remote(path) {
                true => Err(format!("{path}: files elsewhere are not read from compose files")),
                false => {
                    let bytes = cli.read_definition(path).map_err(|error| error.message)?;
                    String::from_utf8(bytes).map_err(|_| format!("{path}: it is not UTF-8 text"))
                }
            },
        };
        ::bake::compose::read(&files, &world, &mut config).map_err(Error::new)?;
        Ok(config)
    }
}

/// Where a target's context is: here, or where its definition lies.
pub fn context(given: &str, remote: Option<&Remote>) -> Result<String, String> {
    if let Some(path) = given.strip_prefix("cwd://") {
        return Ok(clean(path));
    }
    if is_remote(given) {
        return Ok(given.to_owned());
    }
    let path = clean(given);
    match remote {
        Some(Remote { url }) if !url.is_empty() => within(url, &path),
        _ => Ok(path),
    }
}

/// A folder of a repository: `url#ref:folder`.
fn within(url: &str, path: &str) -> Result<String, String> {
    if path == "." {
        return Ok(url.to_owned());
    }
    let (base, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
    let archive =
        !base.trim_end_matches('/').ends_with(".git") && base.starts_with("http") && fragment.is_empty();
    if archive && !base.contains("github.com") {
        return Err(format!("context {path}: a folder of the archive {url} can't be a context of its own"));
    }
    let folder = if folder.is_empty() { path.to_owned() } else { clean(&format!("{folder}/{path}")) };
    Ok(format!("{base}#{reference}:{folder}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts() {
        let git = Remote { url: "https://example.com/a.git#v1:sub".to_owned() };
        let file = Remote { url: String::new() };
        for (given, remote, want) in [
            ("./a/../b/", None, "b"),
            ("", None, "."),
            ("cwd://x", None, "x"),
            ("cwd://", Some(&git), "."),
            (".", Some(&git), "https://example.com/a.git#v1:sub"),
            ("web", Some(&git), "https://example.com/a.git#v1:sub/web"),
            ("https://other.com/c.git", Some(&git), "https://other.com/c.git"),
            ("web", Some(&file), "web"),
        ] {
            assert_eq!(context(given, remote).as_deref(), Ok(want), "{given}");
        }
        let archive = Remote { url: "https://example.com/a.tar.gz".to_owned() };
        assert!(context("web", Some(&archive)).is_err());
    }
}
