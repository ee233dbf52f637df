//! Processes that a client runs in the file system of a build's result, to look around in it.
//!
//! The first one is the container's own; others join it, and end with it. What they write is nobody's result.

use api::containers::{
    AttachOptions, Config, CreateRequest, HostConfig, RemoveOptions, WaitCondition, WaitResponse,
};
use api::exec::{CreateRequest as ExecRequest, StartRequest};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::error::{Error, Result};
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
    /// Where there is memory.
    pub tmpfs: Vec<String>,
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
    container: Mutex<Option<String>>,
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
    /// Nothing runs yet.
    pub fn new(engine: &Engine, surroundings: Surroundings) -> Sandbox {
        Sandbox { engine: engine.clone(), surroundings, container: Mutex::default() }
    }

    /// Starts a process.
    pub async fn run(&self, command: Command) -> Result<Process> {
        let mut container = self.container.lock().await;
        match &*container {
            Some(container) => self.further(container, command).await,
            None => {
                let id = self.create(&command).await?;
                // It is removed from here on, whatever becomes of it.
                *container = Some(id.clone());
                self.first(id).await
            }
        }
    }

    async fn create(&self, command: &Command) -> Result<String> {
        let Surroundings { image, network, hostname, hosts, tmpfs } = self.surroundings.clone();
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
            tmpfs: tmpfs.into_iter().map(|path| (path, String::new())).collect::<BTreeMap<_, _>>(),
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
        match self.container.lock().await.take() {
            Some(container) => {
                let options = RemoveOptions { force: true, volumes: true, ..RemoveOptions::default() };
                containers::remove(&self.engine, &container, options).await
            }
            None => Ok(()),
        }
    }
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
            false => Err(Error::new(
                crate::error::Kind::NotImplemented,
                "a signal can be sent to the first process of a container alone",
            )),
        }
    }
}
