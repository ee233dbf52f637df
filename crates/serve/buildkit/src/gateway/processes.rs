//! Processes in containers of the gateway: `ExecProcess`.
//!
//! One call carries many processes: `Init` starts one, `File` brings its standard input and output, `Resize` and `Signal` reach
//! it, and it ends with `Exit` and then `Done`. Each has a task of its own, so that none waits for another; only when
//! [`INPUT_MAX`] is waiting to be read does the whole call wait, for the client must not send more.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use api::stdcopy::{Decoder, Stream as Standard};
use bollard_buildkit_proto::moby::buildkit::v1::frontend::exec_message::Input;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    DoneMessage, ExecMessage, ExitMessage, FdMessage, InitMessage, ResizeMessage, StartedMessage,
};
use bollard_buildkit_proto::pb::SecurityMode;
use engine::Kind;
use engine::builds::{Command, Control};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use super::plan;
use crate::Host;
use crate::build::Build;
use crate::control::Many;
use crate::fault;

/// Processes of one call at a time.
const PROCESSES_MAX: usize = 64;
/// Processes that have ended and are still known: the client may not have heard of that when it speaks to them.
const ENDED_MAX: usize = 256;
/// The longest name of a process.
const NAME_MAX: usize = 256;
/// What the processes of one call have not read yet, in bytes.
const INPUT_MAX: usize = 32 << 20;
const CHUNK: usize = 32 << 10;
/// Messages that wait for the client, or for one process.
const BACKLOG: usize = 64;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// Serves the processes of one call.
pub fn exec(host: Host, build: Arc<Build>, mut asked: Streaming<ExecMessage>) -> Many<ExecMessage> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let mut work = JoinSet::new();
    work.spawn(async move {
        let mut serving = Serving::new(host, build, sender.clone());
        loop {
            let served = tokio::select! {
                message = asked.next() => match message {
                    Some(Ok(message)) => serving.take(message).await,
                    Some(Err(status)) => Err(status),
                    None => break,
                },
                Some(ended) = serving.work.join_next() => {
                    serving.forget(ended.ok());
                    continue;
                }
            };
            if let Err(status) = served {
                // A client that is gone hears nothing.
                let _ = sender.send(Err(status)).await;
                return;
            }
        }
        // The client has said all; its processes go on, and read that they will get no more.
        serving.known.clear();
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
    /// The oldest first.
    ended: VecDeque<String>,
    /// One task a process, which ends with its name.
    work: JoinSet<String>,
    room: Arc<Semaphore>,
}

/// A process of the call, as this side of its task has it.
struct Known {
    typed: Option<mpsc::UnboundedSender<Typed>>,
    orders: mpsc::Sender<Order>,
}

/// What a process is to read, and the room that it takes until then.
type Typed = (Vec<u8>, OwnedSemaphorePermit);

enum Order {
    Resize(ResizeMessage),
    Signal(String),
}

impl Serving {
    fn new(host: Host, build: Arc<Build>, sender: mpsc::Sender<Result<ExecMessage, Status>>) -> Serving {
        let (known, ended, work) = (HashMap::new(), VecDeque::new(), JoinSet::new());
        Serving { host, build, sender, known, ended, work, room: Arc::new(Semaphore::new(INPUT_MAX)) }
    }

    async fn take(&mut self, message: ExecMessage) -> Result<(), Status> {
        let id = message.process_id;
        if id.is_empty() || id.len() > NAME_MAX {
            return Err(Status::invalid_argument("ProcessID required"));
        }
        let order = match message.input {
            Some(Input::Init(init)) => return self.start(id, init),
            Some(Input::File(file)) => return self.typed(&id, file).await,
            Some(Input::Resize(size)) => Order::Resize(size),
            Some(Input::Signal(signal)) => Order::Signal(signal.name),
            _ => {
                return Err(Status::invalid_argument("a client tells of no process what the server tells"));
            }
        };
        if let Some(known) = self.find(&id)? {
            // It may have ended.
            let _ = known.orders.send(order).await;
        }
        Ok(())
    }

    /// A process that runs, or none where it has ended.
    fn find(&mut self, id: &str) -> Result<Option<&mut Known>, Status> {
        match self.known.get_mut(id) {
            None if !self.ended.iter().any(|ended| ended == id) => {
                Err(Status::not_found(format!("IO for process {id:?} not found")))
            }
            known => Ok(known),
        }
    }

    async fn typed(&mut self, id: &str, file: FdMessage) -> Result<(), Status> {
        let room = self.room.clone();
        let Some(known) = self.find(id)?.filter(|known| known.typed.is_some()) else { return Ok(()) };
        let size = u32::try_from(file.data.len()).unwrap_or(u32::MAX);
        let room = room.acquire_many_owned(size).await;
        let room = room.map_err(|e| Status::internal(format!("input of process {id}: {e}")))?;
        // One that has ended reads no more.
        let is_read = known.typed.as_ref().is_some_and(|typed| typed.send((file.data, room)).is_ok());
        if file.eof || !is_read {
            known.typed = None;
        }
        Ok(())
    }

    fn start(&mut self, id: String, init: InitMessage) -> Result<(), Status> {
        if self.known.contains_key(&id) {
            return Err(Status::already_exists(format!("process {id} already exists")));
        }
        if self.known.len() >= PROCESSES_MAX {
            return Err(Status::resource_exhausted("too many processes in one call"));
        }
        let (typed, typing) = mpsc::unbounded_channel();
        let (orders, obeying) = mpsc::channel(BACKLOG);
        let typed = init.fds.contains(&0).then_some(typed);
        self.known.insert(id.clone(), Known { typed, orders });
        let (host, build) = (self.host.clone(), self.build.clone());
        let telling = Telling { id, sender: self.sender.clone() };
        let first = self.build.containers.first(&init.container_id);
        self.work.spawn(async move {
            // Clients take nothing else of a process before this, and what all processes of a call say in one order. One that writes to
            // a process that is begun meanwhile would keep them from hearing of that: it is told at once, as with BuildKit.
            let started = telling.say(Input::Started(StartedMessage {}));
            let begun = match first {
                Some(_turn) => {
                    let begun = begin(&host, &build, &init).await;
                    started.await;
                    begun
                }
                None => {
                    started.await;
                    build.containers.begun(&init.container_id).await;
                    begin(&host, &build, &init).await
                }
            };
            let exit = match begun {
                Ok(process) => process.run(&telling, typing, obeying).await,
                Err(status) => failed(status),
            };
            telling.say(Input::Exit(exit)).await;
            telling.say(Input::Done(DoneMessage {})).await;
            telling.id
        });
        Ok(())
    }

    fn forget(&mut self, ended: Option<String>) {
        let Some(id) = ended else { return };
        self.known.remove(&id);
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
    }
}

/// How a process ended that was not to be run, or of whose end nothing is known.
fn failed(status: Status) -> ExitMessage {
    ExitMessage { code: u32::MAX, error: Some(fault::document(&status)) }
}

/// A process that runs.
struct Process {
    fds: Vec<u32>,
    tty: bool,
    output: OwnedReadHalf,
    input: OwnedWriteHalf,
    control: Control,
    ended: Pin<Box<dyn Future<Output = engine::Result<i64>> + Send>>,
}

async fn begin(host: &Host, build: &Build, init: &InitMessage) -> Result<Process, Status> {
    let container = build.containers.find(&init.container_id)?;
    let command = command(host, build, init).await?;
    let (tty, stdin) = (command.tty, command.stdin);
    // Once begun it goes on without the call, for what was made is known to the container only then.
    let begun = tokio::spawn(async move { container.sandbox.run(command).await }).await;
    let begun = begun.map_err(|e| Status::internal(format!("start a process: {e}")))?;
    let (stream, control, ended) = begun.map_err(fault::status)?.split();
    let (output, mut input) = stream.into_split();
    if !stdin {
        let _ = input.shutdown().await;
    }
    Ok(Process { fds: init.fds.clone(), tty, output, input, control, ended: Box::pin(ended) })
}

impl Process {
    /// Until its end.
    async fn run(
        self,
        telling: &Telling,
        typing: mpsc::UnboundedReceiver<Typed>,
        obeying: mpsc::Receiver<Order>,
    ) -> ExitMessage {
        let Process { fds, tty, output, input, control, ended } = self;
        let life = async {
            telling.output(output, tty, &fds).await;
            match ended.await {
                Ok(0) => ExitMessage { code: 0, error: None },
                Ok(code) => exited(code),
                Err(error) => failed(fault::status(error)),
            }
        };
        let told = async { tokio::join!(pass(typing, input), obey(telling, obeying, control)) };
        tokio::pin!(life, told);
        // What it has not read and not obeyed at its end is nothing any more.
        match select(life, told).await {
            Either::Left((exit, _)) => exit,
            Either::Right((_, life)) => life.await,
        }
    }
}

/// Clients want to know more of an exit code than the number.
fn exited(code: i64) -> ExitMessage {
    let status = Status::unknown(format!("exit code: {code}"));
    ExitMessage { code: u32::try_from(code).unwrap_or(u32::MAX), error: Some(fault::document(&status)) }
}

/// Passes on what is typed, and the end of it.
async fn pass(mut typing: mpsc::UnboundedReceiver<Typed>, mut input: OwnedWriteHalf) {
    while let Some((bytes, room)) = typing.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
        drop(room);
    }
}

/// Does what a process is told. It may have ended meanwhile: then there is nothing to do.
async fn obey(telling: &Telling, mut obeying: mpsc::Receiver<Order>, control: Control) {
    while let Some(order) = obeying.recv().await {
        let bound = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let done = match order {
            Order::Resize(size) => control.resize(bound(size.rows), bound(size.cols)).await,
            Order::Signal(name) => control.signal(&name).await,
        };
        match done {
            Err(error) if error.kind == Kind::InvalidParameter => {
                // The call ends: there is no signal of this name.
                let _ = telling.sender.send(Err(fault::status(error))).await;
            }
            Err(error) => tracing::debug!(%error, process = telling.id, "what a process was told"),
            Ok(()) => {}
        }
    }
}

async fn command(host: &Host, build: &Build, init: &InitMessage) -> Result<Command, Status> {
    let meta = init.meta.as_ref().filter(|meta| !meta.args.is_empty());
    let meta = meta.ok_or_else(|| Status::invalid_argument("a process needs a command"))?;
    let unknown = |_| Status::invalid_argument(format!("invalid security mode {}", init.security));
    let privileged = SecurityMode::try_from(init.security).map_err(unknown)? == SecurityMode::Insecure;
    if privileged && !build.order.entitlements.iter().any(|allowed| allowed == "security.insecure") {
        return Err(Status::permission_denied("security.insecure is not allowed"));
    }
    let mut env = meta.env.clone();
    for secret in &init.secretenv {
        if let Some(content) = plan::secret(host, build, &secret.id, secret.optional).await? {
            let text = String::from_utf8(content).map_err(|_| no_text(&secret.id))?;
            env.push(format!("{}={text}", secret.name));
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

fn no_text(secret: &str) -> Status {
    let why = "is no UTF-8, which a variable must be: mount it as a file";
    Status::invalid_argument(format!("secret {secret} {why}"))
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
    async fn output(&self, mut output: OwnedReadHalf, tty: bool, fds: &[u32]) {
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
