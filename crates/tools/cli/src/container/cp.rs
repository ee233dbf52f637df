use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use api::containers::{ArchivePutOptions, PathStat};
use archive::{Packer, Reader, Tree, pack_tree};
use client::{ByteStream, Client, Payload};
use sys::root::Root;

use crate::context::Cli;
use crate::error::{Error, plain_io};
use crate::format::units::human_size;
use crate::options::volume::absolute;
use crate::stream::channel::{ChannelReader, ChannelWriter};
use crate::verbs::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Keep the files' owners
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link at the end of the source points to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not tell what was copied
    #[arg(short, long)]
    quiet: bool,
    #[arg(allow_hyphen_values = true)]
    args: Vec<String>,
}

pub async fn run(cli: &Cli, args: Args) -> Outcome {
    let (source, target) = (&args.args[0], &args.args[1]);
    match (split(source), split(target)) {
        (Some(_), Some(_)) => Err(Error::new("copying between containers is not supported")),
        (None, None) => Err(Error::new("must specify at least one container source")),
        (Some((container, path)), None) => from_container(cli, &args, container, path, target).await,
        (None, Some((container, path))) => to_container(cli, &args, source, container, path).await,
    }
}

/// `container:path`; a path that is absolute or begins with a dot names no container, whatever its colons.
fn split(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['/', '.']) {
        return None;
    }
    text.split_once(':').filter(|(container, _)| !container.is_empty())
}

/// True for a path that means what is in a directory: `dir/.`.
fn means_content(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

fn base_name(path: &str) -> String {
    let trimmed = path.trim_end_matches("/.").trim_end_matches('/');
    let name = trimmed.rsplit('/').next().unwrap_or_default();
    if name.is_empty() || name == ".." { "/".to_owned() } else { name.to_owned() }
}

/// Where a copy goes: into this directory, and its first component gets this name (`None` keeps it, an empty one
/// drops it: the content alone).
#[derive(Debug, PartialEq, Eq)]
struct Place {
    directory: String,
    rename: Option<String>,
}

/// What is known of the end that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Missing,
    File,
    Directory,
}

/// Docker's rules for where a source lands, by what both ends are. Pure.
fn place(source: &str, source_is_dir: bool, target: &str, what: Target) -> Result<Place, Error> {
    let parent = || {
        let trimmed = target.trim_end_matches('/');
        match trimmed.rsplit_once('/') {
            None => ".".to_owned(),
            Some(("", _)) => "/".to_owned(),
            Some((parent, _)) => parent.to_owned(),
        }
    };
    let content = source_is_dir && means_content(source);
    match what {
        Target::Directory => Ok(Place { directory: target.to_owned(), rename: content.then(String::new) }),
        Target::File if source_is_dir => Err(Error::new("cannot copy directory")),
        Target::Missing if !source_is_dir && target.ends_with('/') => Err(Error::new("no such directory")),
        Target::File if target.ends_with('/') => Err(Error::new("not a directory")),
        Target::File | Target::Missing => Ok(Place { directory: parent(), rename: Some(base_name(target)) }),
    }
}

async fn from_container(cli: &Cli, args: &Args, container: &str, path: &str, target: &str) -> Outcome {
    let client = cli.client()?;
    let mut path = path.to_owned();
    if args.follow_link {
        path = followed(client, container, &path).await;
    }
    if target == "-" {
        if cli.stdout_is_terminal() {
            return Err(Error::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
        }
        let (_, mut tar) = client::containers::archive_get(client, container, &path).await?;
        while let Some(bytes) = tar.next().await {
            cli.write(&bytes?)?;
        }
        return Ok(0);
    }
    let (stat, tar) = client::containers::archive_get(client, container, &path).await?;
    let full = absolute(target, &cli.host.directory);
    let what = match std::fs::metadata(&full) {
        Ok(metadata) if metadata.is_dir() => Target::Directory,
        Ok(_) => Target::File,
        Err(_) => Target::Missing,
    };
    // The last component's slash is lost in an absolute path, and it matters.
    let slash = if target.ends_with('/') && what != Target::Directory { "/" } else { "" };
    let place = place(&path, stat.is_dir(), &format!("{}{slash}", full.display()), what)?;
    if !Path::new(&place.directory).is_dir() {
        let directory = &place.directory;
        return Err(Error::new(format!("invalid output path: directory {directory:?} does not exist")));
    }
    let owners = args.archive;
    let size = unpack(tar, stat, place, owners).await?;
    tell(cli, args, size, target);
    Ok(0)
}

/// The path that a link at the end of `path` points to. Why a path cannot be looked at is told when it is fetched.
async fn followed(client: &Client, container: &str, path: &str) -> String {
    match client::containers::archive_head(client, container, path).await {
        Ok(stat) if stat.is_symlink() => link_target(path, &stat.link_target),
        _ => path.to_owned(),
    }
}

fn link_target(path: &str, link: &str) -> String {
    match link.starts_with('/') {
        true => link.to_owned(),
        false => {
            let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
            format!("{parent}/{link}")
        }
    }
}

fn tell(cli: &Cli, args: &Args, size: u64, target: &str) {
    if !args.quiet && cli.stderr_is_terminal() {
        cli.complain(&format!("Successfully copied {} to {target}", human_size(size as f64)));
    }
}

async fn unpack(tar: ByteStream, stat: PathStat, place: Place, owners: bool) -> Result<u64, Error> {
    let reader = ChannelReader::new(tar);
    let work = move || -> Result<u64, Error> {
        let root = Root::open(&place.directory)
            .map_err(|error| Error::new(format!("open {}: {}", place.directory, plain_io(&error))))?;
        let fail = |error: archive::Error| Error::new(chain(&error));
        // Names are changed on the way: the archive begins with the source's own name.
        let (output, input) = std::io::pipe()?;
        let renaming = std::thread::spawn(move || rename(reader, input, &stat.name, place.rename.as_deref()));
        let owner =
            (!owners).then(|| (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()));
        let semantics = archive::Semantics::Plain { replace_kind: false };
        let options = archive::Options { semantics, owner, ..archive::Options::plain() };
        let stats = archive::unpack(output, &root, &options).map_err(fail);
        let renamed = renaming.join().map_err(|_| Error::new("archive could not be read"))?;
        let stats = stats?;
        renamed.map_err(fail)?;
        Ok(stats.bytes)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::new(error.to_string()))?
}

/// Copies an archive with another first name.
fn rename(source: impl Read, sink: impl Write, from: &str, to: Option<&str>) -> Result<(), archive::Error> {
    let mut source = std::io::BufReader::with_capacity(64 << 10, source);
    let mut reader = Reader::new(&mut source);
    let mut packer = Packer::new(sink);
    while let Some(mut entry) = reader.next_entry()? {
        entry.path = renamed(&entry.path, from, to);
        if entry.kind == archive::Kind::HardLink {
            entry.link = renamed(&entry.link, from, to);
        }
        if entry.path.as_os_str().is_empty() {
            continue;
        }
        packer.append_file(&entry, reader.data())?;
    }
    packer.finish()?;
    // What follows the end mark is padding; a closed pipe would break the sender.
    let _ = std::io::copy(&mut source, &mut std::io::sink());
    Ok(())
}

fn renamed(path: &Path, from: &str, to: Option<&str>) -> PathBuf {
    let Some(to) = to else { return path.to_owned() };
    // An archive of all begins with "/": joined as it is, that would lose the name it is to have.
    let clean = path.strip_prefix("./").or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    let mut parts = clean.components();
    match parts.next() {
        None if from == "/" => PathBuf::from(to),
        Some(first) if first.as_os_str() == from || from == "/" || from == "." => {
            let rest = if from == "/" || from == "." { clean } else { parts.as_path() };
            match (to.is_empty(), rest.as_os_str().is_empty()) {
                (true, _) => rest.to_owned(),
                (false, true) => PathBuf::from(to),
                (false, false) => Path::new(to).join(rest),
            }
        }
        _ => path.to_owned(),
    }
}

async fn to_container(cli: &Cli, args: &Args, source: &str, container: &str, path: &str) -> Outcome {
    let client = cli.client()?;
    // A link at the end of the target is followed once, so that a copy goes where the link points.
    let mut path = path.to_owned();
    let mut stat = client::containers::archive_head(client, container, &path).await;
    if let Ok(found) = &stat
        && found.is_symlink()
    {
        path = link_target(&path, &found.link_target);
        stat = client::containers::archive_head(client, container, &path).await;
    }
    let what = match &stat {
        Ok(stat) if stat.is_dir() => Target::Directory,
        Ok(_) => Target::File,
        // The next request tells whether it is the container that is missing.
        Err(error) if error.is_not_found() => Target::Missing,
        Err(_) => return Err(stat.err().map_or_else(|| Error::new(""), Error::from)),
    };
    let options = |directory: String| ArchivePutOptions {
        path: directory,
        no_overwrite_dir_non_dir: true,
        copy_uid_gid: args.archive,
    };
    if source == "-" {
        if what != Target::Directory {
            return Err(Error::new(format!("destination \"{container}:{path}\" must be a directory")));
        }
        let stdin = Payload::reader(tokio::io::stdin());
        client::containers::archive_put(client, container, &options(path), stdin).await?;
        return Ok(0);
    }
    let full = absolute(source, &cli.host.directory);
    let metadata = match args.follow_link || source.ends_with('/') || means_content(source) {
        true => std::fs::metadata(&full),
        false => std::fs::symlink_metadata(&full),
    };
    let metadata = metadata.map_err(|error| Error::file("lstat", &full, &error))?;
    if source.ends_with('/') && !metadata.is_dir() {
        return Err(Error::file("lstat", source, &std::io::ErrorKind::NotADirectory.into()));
    }
    let place = place(source, metadata.is_dir(), &path, what)?;
    let name = match place.rename {
        Some(name) => name,
        None => base_name(&full.display().to_string()),
    };
    let full = if args.follow_link { std::fs::canonicalize(&full)? } else { full };
    let (writer, receiver) = ChannelWriter::new();
    let packing = tokio::task::spawn_blocking(move || pack(&full, &name, writer));
    let sent = client::containers::archive_put(
        client,
        container,
        &options(place.directory),
        Payload::channel(receiver),
    )
    .await;
    // The reason why packing stopped explains more than the broken request.
    let packed = packing.await.map_err(|error| Error::new(error.to_string()))?;
    sent?;
    tell(cli, args, packed?, &format!("{container}:{path}"));
    Ok(0)
}

/// Packs a file or directory under a new name; an empty one packs what is in the directory.
fn pack(source: &Path, name: &str, writer: ChannelWriter) -> Result<u64, Error> {
    let fail = |error: archive::Error| Error::new(chain(&error));
    let parent = source.parent().unwrap_or(Path::new("/"));
    let file = source.file_name().map_or(Path::new(""), Path::new);
    let root = Root::open(parent).map_err(|error| Error::file("open", parent, &error))?;
    let mut packer = Packer::new(std::io::BufWriter::with_capacity(64 << 10, writer));
    let tree = Tree { root: &root, path: file, name: Path::new(name), layer: false };
    let bytes = pack_tree(&mut packer, tree).map_err(fail)?;
    packer.finish().map_err(fail)?;
    Ok(bytes)
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        assert_eq!(split("web:/etc"), Some(("web", "/etc")));
        assert_eq!(split("./a:b"), None);
        assert_eq!(split("/a:b"), None);
        assert_eq!(split("a"), None);
        assert_eq!(split("-"), None);
    }

    #[test]
    fn places() {
        let run = |source: &str, dir: bool, target: &str, what: Target| {
            place(source, dir, target, what)
                .map(|place| (place.directory, place.rename))
                .map_err(|error| error.message)
        };
        let to =
            |directory: &str, rename: Option<&str>| Ok((directory.to_owned(), rename.map(str::to_owned)));
        use Target::{Directory, File, Missing};
        assert_eq!(run("a", false, "/dst", Directory), to("/dst", None));
        assert_eq!(run("a", false, "/dst/b", Missing), to("/dst", Some("b")));
        assert_eq!(run("a", false, "/dst/b", File), to("/dst", Some("b")));
        assert_eq!(run("d", true, "/dst", Directory), to("/dst", None));
        assert_eq!(run("d/.", true, "/dst", Directory), to("/dst", Some("")));
        assert_eq!(run("d", true, "/dst/new", Missing), to("/dst", Some("new")));
        assert_eq!(run("d/.", true, "/dst/new/", Missing), to("/dst", Some("new")));
        assert_eq!(run("d", true, "/dst/f", File), Err("cannot copy directory".to_owned()));
        assert_eq!(run("a", false, "/dst/new/", Missing), Err("no such directory".to_owned()));
        assert_eq!(run("a", false, "/b", Missing), to("/", Some("b")));
    }

    #[test]
    fn renaming() {
        let run = |path: &str, from: &str, to: Option<&str>| {
            renamed(Path::new(path), from, to).display().to_string()
        };
        assert_eq!(run("etc/passwd", "etc", Some("conf")), "conf/passwd");
        assert_eq!(run("etc/", "etc", Some("conf")), "conf");
        assert_eq!(run("etc/passwd", "etc", Some("")), "passwd");
        assert_eq!(run("etc/passwd", "etc", None), "etc/passwd");
        assert_eq!(run("passwd", "passwd", Some("new")), "new");
        assert_eq!(run("/", "/", Some("all")), "all");
        assert_eq!(run("/etc/passwd", "/", Some("all")), "all/etc/passwd");
        assert_eq!(run("/etc/", "/", Some("")), "etc");
        assert_eq!(base_name("/a/b/"), "b");
        assert_eq!(base_name("/a/b/."), "b");
        assert_eq!(base_name("/"), "/");
    }
}
