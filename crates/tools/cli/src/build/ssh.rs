//! `--ssh default`, `--ssh id=socket`, `--ssh id=key[,key]`: agents for `RUN --mount=type=ssh`.
//!
//! Keys get an agent of their own for the time of the build: it answers for them, and nobody in the build ever reads them.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::context::Cli;
use crate::error::Error;
use crate::options::volume::absolute;

/// How long an agent may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agents of one build; those that we started end with it.
#[derive(Default)]
pub struct Agents {
    /// Id to socket.
    pub sockets: BTreeMap<String, String>,
    own: Vec<Own>,
}

struct Own {
    child: Child,
    directory: PathBuf,
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Agents {
    /// Finds or starts an agent for each value of `--ssh`.
    pub fn open(cli: &Cli, specs: &[String]) -> Result<Agents, Error> {
        let mut agents = Agents::default();
        for spec in specs {
            let (id, value) = spec.split_once('=').unwrap_or((spec, ""));
            let id = if id.is_empty() { "default" } else { id };
            let socket = match value {
                "" => {
                    let socket = cli.variable("SSH_AUTH_SOCK").filter(|text| !text.is_empty());
                    socket.map(PathBuf::from).ok_or_else(|| {
                        Error::new("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
                    })?
                }
                paths => {
                    let full = |path: &str| absolute(path.trim(), &cli.host.directory);
                    let paths: Vec<PathBuf> = paths.split(',').map(full).collect();
                    match paths.as_slice() {
                        [only] if is_socket(only) => only.clone(),
                        keys => agents.start(keys)?,
                    }
                }
            };
            if !is_socket(&socket) {
                return Err(Error::new(format!("ssh {id}: {} is no socket of an agent", socket.display())));
            }
            agents.sockets.insert(id.to_owned(), socket.display().to_string());
        }
        Ok(agents)
    }

    /// An agent that holds these keys; its socket.
    fn start(&mut self, keys: &[PathBuf]) -> Result<PathBuf, Error> {
        let directory =
            std::env::temp_dir().join(format!("dhow-ssh-{}-{}", std::process::id(), self.own.len()));
        let fail = |error: std::io::Error| Error::file("mkdir", &directory, &error);
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&directory).map_err(fail)?;
        let socket = directory.join("agent");
        let mut command = Command::new("ssh-agent");
        command
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().map_err(|error| {
            let _ = std::fs::remove_dir(&directory);
            Error::new(format!("start ssh-agent for keys of --ssh: {error} (is openssh-client installed?)"))
        })?;
        self.own.push(Own { child, directory });
        let until = Instant::now() + PATIENCE;
        // The socket is there a moment before somebody listens on it.
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if Instant::now() > until {
                return Err(Error::new("ssh-agent does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for key in keys {
            add(key, &socket)?;
        }
        Ok(socket)
    }
}

fn add(key: &Path, socket: &Path) -> Result<(), Error> {
    let failed = |why: &str| Error::new(format!("add key {} to an agent: {why}", key.display()));
    let file = std::fs::File::open(key).map_err(|error| Error::file("open", key, &error))?;
    let mut command = Command::new("ssh-add");
    // From its input it takes a key whoever else may read the file, which is for others to judge.
    command.args(["-q", "-"]).env("SSH_AUTH_SOCK", socket).env("SSH_ASKPASS_REQUIRE", "never");
    let output = command.stdin(file).output().map_err(|error| failed(&error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if said.contains("passphrase") => Err(failed(
            "this private key is passphrase protected: give it to an agent of yours, and that agent with --ssh",
        )),
        false => Err(failed(said.trim())),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}
