//! Containers of the gateway: `NewContainer`, `ExecProcess`, `ReleaseContainer`, and their files. They go with the build at the
//! latest.
//!
//! One call carries many processes: `Init` starts one, `File` brings its standard input and output, `Resize` and `Signal` reach
//! it, and it ends with `Exit` and then `Done`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::stdcopy::{Decoder, Stream as Standard};
use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    DoneMessage, ExecMessage, ExitMessage, FdMessage, InitMessage, NewContainerRequest, StartedMessage,
};
use bollard_buildkit_proto::pb::SecurityMode;
use engine::builds::{Command, Control, Sandbox};
use engine::images::View;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use super::plan::{self, Place, Plan, plan};
use crate::Host;
use crate::build::Build;
use crate::control::Many;
use crate::fault;
use crate::session::Agents;

/// Containers of one build at a time.
const CONTAINERS_MAX: usize = 64;
/// Processes of one call at a time.
const PROCESSES_MAX: usize = 64;
const CHUNK: usize = 32 << 10;
/// Messages that wait for the client.
const BACKLOG: usize = 64;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// The containers of one build.
#[derive(Default)]
pub struct Containers(Mutex<HashMap<String, Arc<Container>>>);

struct Container {
    sandbox: Sandbox,
    /// What the mounts of the request are, by their numbers.
    places: Vec<Place>,
    /// The client's agents that are mounted.
    _agents: Option<Agents>,
}

impl Containers {
    /// The files of a mount of a container.
    pub async fn view(&self, id: &str, mount: i32) -> Result<View, Status> {
        let container = self.find(id)?;
        let count = container.places.len();
        let place = usize::try_from(mount).ok().and_then(|mount| container.places.get(mount));
        let bounds =
            || Status::not_found(format!("mount index {mount} is out of bounds ({count} available)"));
        let absent = || Status::not_found(format!("mountable {mount} not found"));
        let number = match place.ok_or_else(bounds)? {
            Place::Root => None,
            Place::Mount(number) => Some(*number),
            Place::Absent => return Err(absent()),
        };
        container.sandbox.view(number).await.map_err(fault::status)
    }

    fn find(&self, id: &str) -> Result<Arc<Container>, Status> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || Status::not_found(format!("container {id:?} previously released or not created"));
        known.get(id).cloned().ok_or_else(missing)
    }

    /// Whether a container of this id can be made.
    fn admits(&self, id: &str) -> Result<(), Status> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if id.is_empty() || known.contains_key(id) {
            return Err(Status::already_exists(format!("Container {id} already exists")));
        }
        if known.len() >= CONTAINERS_MAX {
            return Err(Status::resource_exhausted("a build has too many containers"));
        }
        Ok(())
    }

    /// Ends what runs in a container.
    pub async fn release(&self, id: &str) -> Result<(), Status> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        match known {
            Some(container) => container.sandbox.remove().await.map_err(fault::status),
            None => Ok(()),
        }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let all = std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let (false, Ok(runtime)) = (all.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                for container in all.into_values() {
                    if let Err(error) = container.sandbox.remove().await {
                        tracing::warn!(%error, "a container of a build was not removed");
                    }
                }
            });
        }
    }
}

/// Makes a container of what a build gave.
pub async fn new(host: &Host, build: &Build, wanted: NewContainerRequest) -> Result<(), Status> {
    let id = wanted.container_id.clone();
    build.containers.admits(&id)?;
    let Plan { surroundings, places, agents } = plan(host, build, &wanted).await?;
    let sandbox = Sandbox::new(host.engine(), surroundings).await.map_err(fault::status)?;
    let container = Arc::new(Container { sandbox, places, _agents: agents });
    // Somebody may have come first meanwhile.
    build.containers.admits(&id)?;
    build.containers.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, container);
    Ok(())
}

/// Serves the processes of one call.
pub fn exec(host: Host, build: Arc<Build>, mut asked: Streaming<ExecMessage>) -> Many<ExecMessage> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let mut work = JoinSet::new();
    work.spawn(async move {
        let (known, work) = (HashMap::new(), JoinSet::new());
        let mut serving = Serving { host, build, sender: sender.clone(), known, work };
        while let Some(message) = asked.next().await {
            let served = match message {
                Ok(message) => serving.take(message).await,
                Err(status) => Err(status),
            };
            if let Err(status) = served {
                // A client that is gone hears nothing.
                let _ = sender.send(Err(status)).await;
                return;
            }
        }
        // The client has said all; its processes go on.
        while serving.work.join_next().await.is_some() {}
    });
    Box::pin(futures_util::stream::unfold((receiver, work), |(mut receiver, work)| async {
        receiver.recv().await.map(|message| (message, (receiver, work)))
    }))
}

struct Serving {
    host: Host,
    build: Arc<Build>,
    sender: mpsc::Sender<Result<ExecMessage, Status>>,
    known: HashMap<String, Known>,
    work: JoinSet<()>,
}

/// A process of the call.
struct Known {
    input: Option<OwnedWriteHalf>,
    control: Control,
}

impl Serving {
    async fn take(&mut self, message: ExecMessage) -> Result<(), Status> {
        let id = message.process_id;
        if id.is_empty() {
            return Err(Status::invalid_argument("ProcessID required"));
        }
        let missing = || Status::not_found(format!("IO for process {id:?} not found"));
        match message.input {
            Some(Input::Init(init)) => self.start(id, init).await,
            Some(Input::File(file)) => {
                let known = self.known.get_mut(&id).ok_or_else(missing)?;
                // One that has ended reads no more.
                if let Some(input) = &mut known.input
                    && (input.write_all(&file.data).await.is_err() || file.eof)
                {
                    known.input = None;
                }
                Ok(())
            }
            Some(Input::Resize(size)) => {
                let known = self.known.get(&id).ok_or_else(missing)?;
                let bound = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
                // It may have ended.
                let _ = known.control.resize(bound(size.rows), bound(size.cols)).await;
                Ok(())
            }
            Some(Input::Signal(signal)) => {
                let known = self.known.get(&id).ok_or_else(missing)?;
                known.control.signal(&signal.name).await.map_err(fault::status)
            }
            _ => Err(Status::invalid_argument("a client tells of no process what the server tells")),
        }
    }

    async fn start(&mut self, id: String, init: InitMessage) -> Result<(), Status> {
        if self.known.contains_key(&id) {
            return Err(Status::already_exists(format!("process {id} already exists")));
        }
        if self.known.len() >= PROCESSES_MAX {
            return Err(Status::resource_exhausted("too many processes in one call"));
        }
        let container = self.build.containers.find(&init.container_id)?;
        let command = command(&self.host, &self.build, &init).await?;
        let (tty, stdin) = (command.tty, command.stdin);
        let (stream, control, ended) = container.sandbox.run(command).await.map_err(fault::status)?.split();
        let (output, mut input) = stream.into_split();
        if !stdin {
            let _ = input.shutdown().await;
        }
        self.known.insert(id.clone(), Known { input: stdin.then_some(input), control });
        let telling = Telling { id, sender: self.sender.clone() };
        self.work.spawn(async move {
            telling.say(Input::Started(StartedMessage {})).await;
            telling.output(output, tty, &init.fds).await;
            let exit = match ended.await {
                Ok(code) => ExitMessage { code: u32::try_from(code).unwrap_or(u32::MAX), error: None },
                Err(error) => {
                    ExitMessage { code: u32::MAX, error: Some(fault::document(&fault::status(error))) }
                }
            };
            telling.say(Input::Exit(exit)).await;
            telling.say(Input::Done(DoneMessage {})).await;
        });
        Ok(())
    }
}

async fn command(host: &Host, build: &Build, init: &InitMessage) -> Result<Command, Status> {
    let meta = init.meta.as_ref().filter(|meta| !meta.args.is_empty());
    let meta = meta.ok_or_else(|| Status::invalid_argument("a process needs a command"))?;
    let privileged = init.security == SecurityMode::Insecure as i32;
    if privileged && !build.order.entitlements.iter().any(|allowed| allowed == "security.insecure") {
        return Err(Status::permission_denied("security.insecure is not allowed"));
    }
    let mut env = meta.env.clone();
    for secret in &init.secretenv {
        if let Some(content) = plan::secret(host, build, &secret.id, secret.optional).await? {
            env.push(format!("{}={}", secret.name, String::from_utf8_lossy(&content)));
        }
    }
    let user = if meta.user.is_empty() { "0".to_owned() } else { meta.user.clone() };
    let cwd = if meta.cwd.is_empty() { "/".to_owned() } else { meta.cwd.clone() };
    Ok(Command {
        args: meta.args.clone(),
        env,
        cwd,
        user,
        tty: init.tty,
        stdin: init.fds.contains(&0),
        privileged,
    })
}

/// What is told of one process.
struct Telling {
    id: String,
    sender: mpsc::Sender<Result<ExecMessage, Status>>,
}

impl Telling {
    async fn say(&self, input: Input) {
        // A client that is gone hears nothing.
        let _ = self.sender.send(Ok(ExecMessage { process_id: self.id.clone(), input: Some(input) })).await;
    }

    async fn file(&self, fd: u32, data: Vec<u8>, eof: bool) {
        self.say(Input::File(FdMessage { fd, eof, data })).await;
    }

    /// Passes on what a process says, until it says no more.
    async fn output(&self, mut output: tokio::net::unix::OwnedReadHalf, tty: bool, fds: &[u32]) {
        let mut decoder = Decoder::new();
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            if tty {
                self.file(STDOUT, buffer[..count].to_vec(), false).await;
                continue;
            }
            decoder.push(&buffer[..count]);
            while let Ok(Some((stream, bytes))) = decoder.next_part() {
                let fd = if stream == Standard::Stdout { STDOUT } else { STDERR };
                if fds.contains(&fd) {
                    self.file(fd, bytes.into(), false).await;
                }
            }
        }
        for fd in fds.iter().filter(|fd| matches!(**fd, STDOUT | STDERR)) {
            self.file(*fd, Vec::new(), true).await;
        }
    }
}
