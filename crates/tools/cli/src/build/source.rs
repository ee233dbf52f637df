//! Where a build's files and its Dockerfile come from.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use api::build::{BuildOptions, InlineDockerfile};
use client::Payload;

use super::context::{Context, ignore, ignore_text, own_ignore_text};
use crate::context::Cli;
use crate::definition;
use crate::error::Error;
use crate::stream::channel::ChannelWriter;

/// Where the files and the Dockerfile come from.
pub enum Source {
    /// A directory; the Dockerfile is in it (by its path in it), or was read from elsewhere.
    Directory {
        path: PathBuf,
        dockerfile: Option<String>,
        own: Option<PathBuf>,
        inline: Option<InlineDockerfile>,
    },
    /// A tar on standard input, whose first bytes are read already.
    Tar { first: Vec<u8>, dockerfile: String },
    /// A Dockerfile and nothing else.
    Dockerfile(InlineDockerfile),
    /// A repository or a URL, which the server fetches.
    Remote { address: String, dockerfile: String, inline: Option<InlineDockerfile> },
}

fn stdin_text() -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    std::io::stdin().take(dockerfile::MAX_SIZE as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn inline(name: &str, text: Vec<u8>) -> Result<InlineDockerfile, Error> {
    Ok(InlineDockerfile { name: name.to_owned(), text: decoded(&text)?, ignore: None })
}

/// The text of a Dockerfile.
pub fn decoded(bytes: &[u8]) -> Result<String, Error> {
    dockerfile::decode(bytes).map_err(|error| Error::new(error.message))
}

/// Reads what is named: the context as it was given, and the value of `--file`.
pub fn source(cli: &Cli, context: &str, file: Option<&str>) -> Result<Source, Error> {
    if context.is_empty() {
        return Err(Error::new("please specify build context (e.g. \".\" for the current directory)"));
    }
    if context == "-" {
        if file == Some("-") {
            return Err(Error::new(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        let mut first = vec![0; 512];
        let mut filled = 0;
        while filled < first.len() {
            match std::io::stdin().read(&mut first[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        first.truncate(filled);
        if is_archive(&first) {
            return Ok(Source::Tar { first, dockerfile: file.unwrap_or_default().to_owned() });
        }
        if file.is_some() {
            return Err(Error::new(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            ));
        }
        first.extend(stdin_text()?);
        return Ok(Source::Dockerfile(inline("Dockerfile", first)?));
    }
    if leads_elsewhere(context, &cli.host.directory) {
        return remote(cli, context, file);
    }
    let path = cli.host.directory.join(context).canonicalize().map_err(|_| {
        Error::new(format!("unable to prepare context: path {} not found", template::quote(context)))
    })?;
    if !path.is_dir() {
        return Err(Error::new(format!(
            "unable to prepare context: path {} is no directory",
            template::quote(context)
        )));
    }
    if file == Some("-") {
        let inline = Some(inline("Dockerfile", stdin_text()?)?);
        return Ok(Source::Directory { path, dockerfile: None, own: None, inline });
    }
    dockerfile_of(cli, path, file)
}

/// A context with a Dockerfile that is no file.
pub fn with_text(cli: &Cli, context: &str, text: &str) -> Result<Source, Error> {
    let inline = Some(inline("Dockerfile", text.as_bytes().to_vec())?);
    if leads_elsewhere(context, &cli.host.directory) {
        return Ok(Source::Remote { address: context.to_owned(), dockerfile: String::new(), inline });
    }
    let path = cli.host.directory.join(context).canonicalize().map_err(|_| {
        Error::new(format!("unable to prepare context: path {} not found", template::quote(context)))
    })?;
    Ok(Source::Directory { path, dockerfile: None, own: None, inline })
}

/// Whether a context is fetched: a directory that is there is one, whatever it is called.
pub fn leads_elsewhere(context: &str, here: &Path) -> bool {
    is_remote(context) && !here.join(context).exists()
}

/// Whether a text is an address, as Docker decides it.
pub fn is_remote(context: &str) -> bool {
    let scp = context.split_once('@').is_some_and(|(user, rest)| {
        let name = |text: &str| !text.is_empty() && !text.contains(['/', ':', '.', ' ']);
        name(user) && rest.split_once(':').is_some_and(|(host, path)| !host.contains('/') && !path.is_empty())
    });
    ["http://", "https://", "git://", "ssh://", "file://", "github.com/"]
        .iter()
        .any(|start| context.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start)))
        || scp
}

/// A Dockerfile of a remote context is named by its path there; `-` and what has an absolute path are read here.
fn remote(cli: &Cli, context: &str, file: Option<&str>) -> Result<Source, Error> {
    let address = context.to_owned();
    let (dockerfile, inline) = match file {
        Some("-") => (String::new(), Some(inline("Dockerfile", stdin_text()?)?)),
        Some(file) if Path::new(file).is_absolute() => {
            let ignore = own_ignore_text(Path::new(file))?;
            (String::new(), Some(InlineDockerfile { ignore, ..inline(file, cli.read_definition(file)?)? }))
        }
        file => (file.unwrap_or_default().to_owned(), None),
    };
    Ok(Source::Remote { address, dockerfile, inline })
}

/// A file by the name that it was given, in a directory without links and without `..`, which leads out of what a link leads to.
fn named(path: &Path) -> PathBuf {
    let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
    directory.zip(path.file_name()).map_or_else(|| path.to_owned(), |(directory, name)| directory.join(name))
}

/// `-f` is relative to the working directory; a Dockerfile outside of the context is sent along.
fn dockerfile_of(cli: &Cli, path: PathBuf, file: Option<&str>) -> Result<Source, Error> {
    let full = match file {
        Some(file) => named(&cli.host.directory.join(file)),
        None => match path.join("Dockerfile") {
            upper if upper.exists() => upper,
            upper => Some(path.join("dockerfile")).filter(|lower| lower.exists()).unwrap_or(upper),
        },
    };
    let shown = file.map_or_else(|| "Dockerfile".to_owned(), str::to_owned);
    let metadata = std::fs::metadata(&full).map_err(|error| {
        Error::new(format!("failed to read dockerfile: {}", Error::file("open", &shown, &error)))
    })?;
    if metadata.is_dir() {
        return Err(Error::new(format!("failed to read dockerfile: {shown} is a directory")));
    }
    // One that is asked for may be a pipe: the shell's `-f <(command)`.
    if file.is_none() && !metadata.is_file() {
        return Err(Error::new(format!("failed to read dockerfile: {shown} is not a regular file")));
    }
    let real = full.canonicalize().unwrap_or_else(|_| full.clone());
    // The name as it was given counts, unless a link leads out of the context.
    let inside = |candidate: &Path| candidate.strip_prefix(&path).ok().map(|path| path.display().to_string());
    if inside(&full).is_some() && inside(&real).is_none() && metadata.is_file() {
        // Whoever made the context would choose what is read of this machine, and shown.
        return Err(Error::new(format!(
            "failed to read dockerfile: open {shown}: no such file or directory: it is a link out of the context (-f {} takes what it leads to)",
            real.display()
        )));
    }
    let relative = inside(&real).and_then(|_| inside(&full).or_else(|| inside(&real)));
    match relative {
        Some(relative) => {
            Ok(Source::Directory { path, dockerfile: Some(relative), own: Some(full), inline: None })
        }
        None => {
            let text = definition::read(&full).map_err(|error| Error::file("read", &full, &error))?;
            let ignore = own_ignore_text(&full)?;
            let inline = Some(InlineDockerfile { ignore, ..inline(&shown, text)? });
            Ok(Source::Directory { path, dockerfile: None, own: Some(full), inline })
        }
    }
}

/// A tar, plain or compressed.
fn is_archive(first: &[u8]) -> bool {
    archive::Compression::detect(first) != archive::Compression::None
        || first.get(257..262) == Some(&b"ustar"[..])
}

impl Source {
    /// The request's body, and what the parameters say about it.
    pub async fn payload(
        self,
        cli: &Cli,
        options: &mut BuildOptions,
        compress: bool,
    ) -> Result<Payload, Error> {
        let shared = cli.shares_files().await?;
        match self {
            Source::Tar { first, dockerfile } => {
                options.dockerfile = dockerfile;
                let rest = tokio::io::AsyncReadExt::chain(std::io::Cursor::new(first), tokio::io::stdin());
                Ok(Payload::reader(rest))
            }
            Source::Dockerfile(inline) => {
                options.dockerfile = "Dockerfile".to_owned();
                Ok(Payload::bytes(alone(&inline)?))
            }
            Source::Remote { address, dockerfile, inline } => {
                options.remote = address;
                options.dockerfile = dockerfile;
                options.extras.dockerfile = inline;
                Ok(Payload::empty())
            }
            Source::Directory { path, dockerfile, inline, .. } if shared => {
                options.context_dir = path.display().to_string();
                options.dockerfile = dockerfile.unwrap_or_default();
                options.extras.dockerfile = inline;
                Ok(Payload::empty())
            }
            Source::Directory { path, dockerfile, own, inline } => {
                let text = ignore_text(&path, own.as_deref())?;
                let mut context = Context {
                    directory: path,
                    ignore: ignore(&text)?,
                    always: Vec::new(),
                    extra: Vec::new(),
                };
                options.dockerfile = dockerfile.unwrap_or_default();
                match inline {
                    Some(inline) if cli.is_dhow().await? => options.extras.dockerfile = Some(inline),
                    Some(inline) => options.dockerfile = hide(&mut context, inline, text),
                    None => {}
                }
                context.always = vec![".dockerignore".to_owned(), options.dockerfile.clone()];
                Ok(sent(context, compress))
            }
        }
    }
}

/// The archive of a context that is nothing but a Dockerfile.
fn alone(inline: &InlineDockerfile) -> Result<Vec<u8>, Error> {
    let mut packer = archive::Packer::new(Vec::new());
    let entry = archive::Entry::file("Dockerfile", 0o644, inline.text.len() as u64);
    let tar = packer.append_bytes(&entry, inline.text.as_bytes()).and_then(|()| packer.finish());
    tar.map_err(|error| Error::new(error.to_string()))
}

/// The archive of a context, made while it is sent.
fn sent(context: Context, compress: bool) -> Payload {
    let (writer, receiver) = ChannelWriter::new();
    tokio::task::spawn_blocking(move || {
        let mut buffered = std::io::BufWriter::with_capacity(64 << 10, writer);
        let written = match compress {
            true => compressed(&context, &mut buffered),
            false => context.write(&mut buffered),
        };
        if let Err(error) = written {
            buffered.get_ref().fail(std::io::Error::other(error.message));
        }
    });
    Payload::channel(receiver)
}

/// The context as a compressed archive.
fn compressed(context: &Context, out: &mut impl std::io::Write) -> Result<(), Error> {
    let mut packed = archive::compress(archive::Compression::Gzip, None, out)?;
    context.write(&mut packed)?;
    packed.finish()?;
    Ok(())
}

/// Sends a Dockerfile that is not in the context under a name of its own, which the steps do not get to see.
fn hide(context: &mut Context, inline: InlineDockerfile, mut ignored: String) -> String {
    let name = format!(".dockerfile.{:08x}", std::process::id());
    ignored.push_str(&format!("\n{name}\n"));
    context.extra =
        vec![(name.clone(), inline.text.into_bytes()), (".dockerignore".to_owned(), ignored.into_bytes())];
    name
}
