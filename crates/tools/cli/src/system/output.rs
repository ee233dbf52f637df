//! Archives on their way to a file or to standard output.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use crate::context::Cli;
use crate::error::Error;
use crate::verbs::Outcome;

/// The mode of what holds whole images and containers: these may have secrets, and with Docker too nobody else may read them.
pub const PRIVATE: u32 = 0o600;

/// Where an archive goes to. A file appears under its name when it is complete.
pub enum Target<'a> {
    Stdout(&'a Cli),
    File { path: PathBuf, partial: PathBuf, file: std::fs::File },
}

impl<'a> Target<'a> {
    /// Checked before the server starts to work. A file gets at most this mode.
    pub fn open(
        cli: &'a Cli,
        output: Option<&str>,
        mode: u32,
        (verb, what): (&str, &str),
    ) -> Result<Target<'a>, Error> {
        let Some(output) = output.filter(|output| !output.is_empty()) else {
            if cli.stdout_is_terminal() {
                return Err(Error::new(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                ));
            }
            return Ok(Target::Stdout(cli));
        };
        let path = cli.host.directory.join(output);
        let fail = |error: std::io::Error| {
            Error::new(format!("failed to {verb} {what}: {}", Error::file("open", output, &error)))
        };
        if path.is_dir() {
            return Err(fail(std::io::ErrorKind::IsADirectory.into()));
        }
        let mut partial = path.clone().into_os_string();
        partial.push(format!(".partial-{}", std::process::id()));
        // Devices and pipes are written to as they are.
        let special = path.exists() && !path.is_file();
        let partial = if special { path.clone() } else { PathBuf::from(partial) };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(!special).mode(mode);
        let file = sys::daemon::with_mask_as_before(|| options.open(&partial)).map_err(fail)?;
        Ok(Target::File { path, partial, file })
    }

    /// Writes all of it.
    pub async fn fill(self, mut stream: impl Stream<Item = std::io::Result<Bytes>> + Unpin) -> Outcome {
        match self {
            Target::Stdout(cli) => {
                while let Some(bytes) = stream.next().await {
                    cli.write(&bytes?)?;
                }
            }
            Target::File { path, partial, mut file } => {
                let mut work = async || -> Result<(), Error> {
                    while let Some(bytes) = stream.next().await {
                        file.write_all(&bytes?).map_err(|error| Error::file("write", &path, &error))?;
                    }
                    Ok(())
                };
                let result = work().await;
                if partial != path {
                    let renamed = result.and_then(|()| {
                        std::fs::rename(&partial, &path)
                            .map_err(|error| Error::file("rename", &partial, &error))
                    });
                    if renamed.is_err() {
                        let _ = std::fs::remove_file(&partial);
                    }
                    renamed?;
                } else {
                    result?;
                }
            }
        }
        Ok(0)
    }
}
