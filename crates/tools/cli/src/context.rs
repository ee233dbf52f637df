//! What every command gets: the connection, the user's surroundings, and the way to speak.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use client::{Client, Connector};

use crate::error::Error;
use crate::format::text::printable;
use crate::globals::Globals;

/// A way to a server, as the binary found it.
pub struct Link {
    pub connector: Connector,
    pub files: Files,
}

/// Whether server and client see the same files: then a build may name its directory instead of sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    Shared,
    /// The server is on this machine, and shares files if it is one of ours.
    SharedWithDhow,
    Apart,
}

/// Finds the server; called at a command's first request.
pub type Connect = Box<dyn Fn(&Globals) -> Result<Link, Error>>;

/// What the binary knows of the process.
pub struct Host {
    /// The name that the program was called by, `dhow` or `docker`.
    pub program: String,
    pub version: &'static str,
    pub variables: BTreeMap<String, String>,
    pub directory: PathBuf,
    /// Where credentials and settings live.
    pub config_dir: PathBuf,
    pub connect: Connect,
    /// Has debugging messages printed from now on.
    pub debug: fn(),
}

/// One run of a command.
pub struct Cli {
    pub host: Host,
    pub globals: Globals,
    /// `dhow container stop`, as it was called.
    pub path: String,
    link: OnceCell<(Client, Files)>,
}

impl Cli {
    /// Writes a file that the caller has named.
    pub fn write_file(&self, path: impl AsRef<Path>, content: &str) -> std::io::Result<()> {
        sys::daemon::with_mask_as_before(|| std::fs::write(self.host.directory.join(path), content))
    }

    pub fn new(host: Host, globals: Globals, path: String) -> Cli {
        Cli { host, globals, path, link: OnceCell::new() }
    }

    /// The client, connected to the server that the flags and the surroundings name.
    pub fn client(&self) -> Result<&Client, Error> {
        Ok(&self.link()?.0)
    }

    /// True when the server sees the same files as we do.
    pub async fn shares_files(&self) -> Result<bool, Error> {
        match self.link()?.1 {
            Files::Shared => Ok(true),
            Files::Apart => Ok(false),
            Files::SharedWithDhow => self.is_dhow().await,
        }
    }

    /// True when the server is one of ours and understands what Docker's does not.
    pub async fn is_dhow(&self) -> Result<bool, Error> {
        let version = client::system::version(self.client()?).await?;
        Ok(version.platform.name.starts_with("Dhow"))
    }

    /// True when the server is Docker's, or anybody else's.
    pub async fn is_foreign(&self) -> Result<bool, Error> {
        match self.link()?.1 {
            Files::Shared => Ok(false),
            Files::SharedWithDhow | Files::Apart => self.is_dhow().await.map(|ours| !ours),
        }
    }

    fn link(&self) -> Result<&(Client, Files), Error> {
        if let Some(link) = self.link.get() {
            return Ok(link);
        }
        let link = (self.host.connect)(&self.globals)?;
        let client = match self.variable("DOCKER_API_VERSION").filter(|version| !version.is_empty()) {
            None => Client::new(link.connector),
            Some(version) => {
                let version = version.trim_start_matches('v').parse::<api::version::ApiVersion>();
                let version = version.map_err(|error| Error::new(format!("DOCKER_API_VERSION: {error}")))?;
                Client::with_version(link.connector, version)
            }
        };
        Ok(self.link.get_or_init(|| (client, link.files)))
    }

    /// The name that the program was called by.
    pub fn program(&self) -> &str {
        &self.host.program
    }

    pub fn variable(&self, name: &str) -> Option<String> {
        self.host.variables.get(name).cloned()
    }

    /// Reads a local file that a flag names.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        std::fs::read(self.host.directory.join(path)).map_err(|error| Error::file("open", path, &error))
    }

    /// Reads a definition: see [`crate::definition::read`].
    pub fn read_definition(&self, path: &str) -> Result<Vec<u8>, Error> {
        let found = crate::definition::read(&self.host.directory.join(path));
        found.map_err(|error| Error::file("open", path, &error))
    }

    /// Writes to standard output: data only.
    pub fn print(&self, text: &str) -> Result<(), Error> {
        self.write(text.as_bytes())
    }

    pub fn println(&self, text: &str) -> Result<(), Error> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// Writes bytes to standard output, at once.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// Writes a line to standard error; nothing can be done when that fails.
    pub fn complain(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{}", printable(text));
    }

    pub fn stdout_is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    pub fn stderr_is_terminal(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    pub fn stdin_is_terminal(&self) -> bool {
        std::io::stdin().is_terminal()
    }

    /// Asks before something is destroyed; only "y" is yes.
    pub fn confirm(&self, question: &str) -> Result<bool, Error> {
        self.print(&format!("{question} [y/N] "))?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// The text of a client's error as Docker prints it, with the server's hint on its own line.
impl From<client::Error> for Error {
    fn from(error: client::Error) -> Error {
        let not_found = error.is_not_found();
        let mut message = match &error {
            client::Error::Api { message, .. } => format!("Error response from daemon: {message}"),
            other => {
                let mut text = other.to_string();
                // A daemon that does not answer is told in Docker's words; all else tells its cause.
                let mut source = std::error::Error::source(other);
                if let client::Error::Connect { host, .. } = other {
                    match host.contains("://") {
                        true => source = None,
                        false => text = format!("open the {host} server"),
                    }
                }
                while let Some(cause) = source {
                    text.push_str(&format!(": {cause}"));
                    source = cause.source();
                }
                text
            }
        };
        if let Some(hint) = error.hint() {
            message.push_str(&format!("\nhint: {hint}"));
        }
        let code = match &error {
            client::Error::Progress { code, .. } if (1..256).contains(code) => *code as u8,
            _ => 1,
        };
        Error { message, code, not_found }
    }
}
