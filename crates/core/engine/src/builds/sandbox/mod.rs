//! Processes that a client runs in the file system of a build's result, to look around in it.
//!
//! The first one is the container's own; others join it, and end with it. What they write is nobody's result.

mod mounts;

pub use mounts::{Mount, MountKind, Part};

use api::containers::{
    AttachOptions, Config, CreateRequest, HostConfig, RemoveOptions, WaitCondition, WaitResponse,
};
use api::exec::{CreateRequest as ExecRequest, StartRequest};
use api::mounts::Mount as Asked;
use builder::CancelToken;
use oci::Digest;
use oci::image::ImageConfig;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use store::Lease;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use self::mounts::Held;
use super::build::CancelOnDrop;
use super::lent::{Loan, hold};
use crate::error::{Error, Result};
use crate::images::View;
use crate::{Engine, containers, exec};

/// How often it is looked whether a further process has ended whose output has.
const POLL: Duration = Duration::from_millis(20);

/// Where processes run.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The manifest of the file system.
    pub image: String,
    /// A network's name; empty is the default.
    pub network: String,
    pub hostname: String,
    /// `name:address`.
    pub hosts: Vec<String>,
    /// Besides the root file system.
    pub mounts: Vec<Mount>,
    /// Only mounts can be written to.
    pub read_only: bool,
}

/// A process to run.
#[derive(Debug, Clone, Default)]
pub struct Command {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub tty: bool,
    pub stdin: bool,
    pub privileged: bool,
}

/// A place for processes; [`Sandbox::remove`] ends them all.
pub struct Sandbox {
    engine: Engine,
    surroundings: Surroundings,
    begun: Mutex<Begun>,
}

/// What there is until it is removed.
#[derive(Default)]
struct Begun {
    held: Option<Held>,
    /// Of an image that was made for it.
    loan: Option<Loan>,
    container: Option<String>,
}

/// A process that runs.
pub struct Process {
    engine: Engine,
    which: Which,
    /// Its standard streams: raw with a terminal, else framed.
    pub stream: UnixStream,
}

enum Which {
    First { container: String, ended: Pin<Box<dyn Future<Output = Result<WaitResponse>> + Send>> },
    Further { exec: String },
}

/// What is told to a process that runs.
#[derive(Clone)]
pub struct Control {
    engine: Engine,
    id: String,
    is_first: bool,
}

impl Sandbox {
    /// Nothing runs yet, but all that is mounted is there.
    pub async fn new(engine: &Engine, surroundings: Surroundings) -> Result<Sandbox> {
        let token = CancelToken::default();
        let cancel = CancelOnDrop(token.clone());
        let wanted = surroundings.mounts.clone();
        let held = engine.blocking(move |engine| Held::new(engine, &wanted, &token)).await?;
        drop(cancel);
        let begun = Begun { held: Some(held), ..Begun::default() };
        Ok(Sandbox { engine: engine.clone(), surroundings, begun: Mutex::new(begun) })
    }

    /// The files as they are now: the container's own, or of one of its mounts.
    pub async fn view(&self, mount: Option<usize>) -> Result<View> {
        let begun = self.begun.lock().await;
        if let Some(number) = mount {
            let removed = || Error::not_found("the container was removed");
            return begun.held.as_ref().ok_or_else(removed)?.view(number);
        }
        match begun.container.clone() {
            None => View::open(&self.engine, self.surroundings.image.clone()).await,
            Some(container) => {
                let merged = move |engine: &Engine| {
                    let record = containers::record::find(engine, &container)?;
                    Ok(View::of(Some(containers::export::merged(engine, &record)?)))
                };
                self.engine.blocking(merged).await
            }
        }
    }

    /// Starts a process.
    pub async fn run(&self, command: Command) -> Result<Process> {
        let mut begun = self.begun.lock().await;
        if let Some(container) = &begun.container {
            return self.further(container, command).await;
        }
        let lease = hold(&self.engine).await?;
        let image = bare(&self.engine, lease.clone(), self.surroundings.image.clone()).await?;
        begun.loan = Some(Loan::new(&self.engine, lease));
        let mounts = begun.held.as_ref().map(|held| held.mounts.clone()).unwrap_or_default();
        let id = self.create(&command, image.to_string(), mounts).await?;
        // It is removed from here on, whatever becomes of it.
        begun.container = Some(id.clone());
        self.first(id).await
    }

    async fn create(&self, command: &Command, image: String, mounts: Vec<Asked>) -> Result<String> {
        let Surroundings { network, hostname, hosts, read_only, .. } = self.surroundings.clone();
        let config = Config {
            image,
            hostname,
            user: command.user.clone(),
            attach_stdin: command.stdin,
            attach_stdout: true,
            attach_stderr: true,
            open_stdin: command.stdin,
            stdin_once: command.stdin,
            tty: command.tty,
            env: command.env.clone(),
            cmd: command.args.clone().into(),
            entrypoint: vec![String::new()].into(),
            working_dir: command.cwd.clone(),
            ..Config::default()
        };
        let host = HostConfig {
            network_mode: network,
            extra_hosts: hosts,
            privileged: command.privileged,
            readonly_rootfs: read_only,
            mounts,
            ..HostConfig::default()
        };
        let request = CreateRequest { config, host_config: Some(host), ..CreateRequest::default() };
        Ok(containers::create(&self.engine, "", "", request).await?.id)
    }

    async fn first(&self, container: String) -> Result<Process> {
        let engine = &self.engine;
        let options = AttachOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..AttachOptions::default()
        };
        let stream = containers::attach(engine, &container, options).await?.stream;
        let ended = Box::pin(containers::wait(engine, &container, WaitCondition::NextExit).await?);
        containers::start(engine, &container, "").await?;
        Ok(Process { engine: engine.clone(), which: Which::First { container, ended }, stream })
    }

    async fn further(&self, container: &str, command: Command) -> Result<Process> {
        let request = ExecRequest {
            user: command.user,
            privileged: command.privileged,
            tty: command.tty,
            attach_stdin: command.stdin,
            attach_stdout: true,
            attach_stderr: true,
            env: command.env,
            working_dir: command.cwd,
            cmd: command.args.into(),
            ..ExecRequest::default()
        };
        let engine = &self.engine;
        let exec = exec::create(engine, container, request).await?.id;
        let start = StartRequest { tty: command.tty, ..StartRequest::default() };
        let stream = exec::start(engine, &exec, start).await?.stream;
        Ok(Process { engine: engine.clone(), which: Which::Further { exec }, stream })
    }

    /// Ends what runs.
    pub async fn remove(&self) -> Result<()> {
        let Begun { held, loan, container } = std::mem::take(&mut *self.begun.lock().await);
        let removed = match container {
            Some(container) => {
                let options = RemoveOptions { force: true, volumes: true, ..RemoveOptions::default() };
                containers::remove(&self.engine, &container, options).await
            }
            None => Ok(()),
        };
        let ended = match loan {
            Some(loan) => loan.end().await,
            None => Ok(()),
        };
        // Files are removed.
        let dropped = self.engine.blocking(move |_| {
            drop(held);
            Ok(())
        });
        removed.and(ended).and(dropped.await)
    }
}

/// The same files as an image that says nothing of how a process is to run.
async fn bare(engine: &Engine, lease: Arc<Lease>, image: String) -> Result<Digest> {
    let made = engine.blocking(move |engine| {
        let store = engine.store();
        let image = store.resolve(&image, None)?;
        if let Some(chain) = image.chain() {
            store.use_layer(&lease, &chain)?;
        }
        let mut config = ImageConfig::new(&image.config.platform());
        config.rootfs.diff_ids = image.config.rootfs.diff_ids;
        Ok(store.lend_image(&lease, &config, image.manifest.layers)?.image.digest)
    });
    made.await
}

impl Process {
    /// The streams, what the process can be told meanwhile, and its exit code, which comes after the streams have ended.
    pub fn split(self) -> (UnixStream, Control, impl Future<Output = Result<i64>> + Send) {
        let Process { engine, which, stream } = self;
        let (id, is_first) = match &which {
            Which::First { container, .. } => (container.clone(), true),
            Which::Further { exec } => (exec.clone(), false),
        };
        let control = Control { engine: engine.clone(), id, is_first };
        let ended = async move {
            match which {
                Which::First { ended, .. } => Ok(ended.await?.status_code),
                Which::Further { exec } => loop {
                    if let Some(code) = crate::exec::inspect(&engine, &exec).await?.exit_code {
                        return Ok(code);
                    }
                    tokio::time::sleep(POLL).await;
                },
            }
        };
        (stream, control, ended)
    }
}

impl Control {
    /// Tells the terminal its size in characters.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        match self.is_first {
            true => containers::resize(&self.engine, &self.id, rows, columns).await,
            false => exec::resize(&self.engine, &self.id, rows, columns).await,
        }
    }

    /// Sends a signal.
    pub async fn signal(&self, name: &str) -> Result<()> {
        match self.is_first {
            true => containers::kill(&self.engine, &self.id, name).await,
            false => exec::signal(&self.engine, &self.id, name).await,
        }
    }
}
