//! A client's ssh agents: `moby.sshforward.v1.SSH`, as sockets of this machine.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bollard_buildkit_proto::moby::sshforward::v1::ssh_client::SshClient;
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest};
use engine::Engine;
use engine::builds::AgentSocket;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use super::{Session, append, soon};
use crate::line::Line;

const CHUNK: usize = 32 << 10;
/// Chunks that wait for the client.
const BACKLOG: usize = 8;

/// The sockets of one build, made as they are asked for. They go with this.
#[derive(Clone)]
pub struct Agents {
    engine: Engine,
    session: Session,
    open: Arc<Mutex<HashMap<String, Agent>>>,
}

struct Agent {
    socket: AgentSocket,
    _serving: JoinSet<()>,
}

impl Agents {
    pub fn new(engine: Engine, session: Session) -> Agents {
        Agents { engine, session, open: Arc::default() }
    }

    /// The socket of the agent of this id, if the client has it.
    pub async fn socket(&self, id: &str) -> Result<Option<PathBuf>, Status> {
        let mut open = self.open.lock().await;
        if let Some(agent) = open.get(id) {
            return Ok(Some(agent.socket.path().to_owned()));
        }
        let mut client = SshClient::with_origin(self.session.line(), Line::origin());
        let request = CheckAgentRequest { id: id.to_owned() };
        match soon(&format!("ssh agent {id}"), client.check_agent(request)).await {
            Ok(_) => {}
            Err(status) if status.code() == Code::Unimplemented => return Ok(None),
            // A client knows an agent, or it does not: BuildKit's says that without a code of its own.
            Err(status) if matches!(status.code(), Code::NotFound | Code::Unknown) => return Ok(None),
            Err(status) => return Err(status),
        }
        let (socket, listener) = AgentSocket::new(&self.engine).await.map_err(crate::fault::status)?;
        let path = socket.path().to_owned();
        let mut serving = JoinSet::new();
        serving.spawn(serve(self.session.clone(), id.to_owned(), listener));
        open.insert(id.to_owned(), Agent { socket, _serving: serving });
        Ok(Some(path))
    }
}

async fn serve(session: Session, id: String, listener: UnixListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (session, id) = (session.clone(), id.clone());
        connections.spawn(async move {
            if let Err(status) = forward(&session, &id, stream).await {
                tracing::debug!(%status, id, "ssh agent");
            }
        });
    }
}

/// Joins a connection to the socket with the client's agent.
async fn forward(session: &Session, id: &str, stream: UnixStream) -> Result<(), Status> {
    let (mut input, mut output) = stream.into_split();
    let (sender, receiver) = mpsc::channel::<BytesMessage>(BACKLOG);
    let messages = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let mut request = Request::new(messages);
    append(request.metadata_mut(), "buildkit.ssh.id", &[id.to_owned()]);
    let mut client = SshClient::with_origin(session.line(), Line::origin());
    let mut answers = client.forward_agent(request).await?.into_inner();
    let up = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = input.read(&mut buffer).await {
            if sender.send(BytesMessage { data: buffer[..count].to_vec() }).await.is_err() {
                break;
            }
        }
    };
    let down = async move {
        while let Some(message) = answers.next().await {
            if output.write_all(&message?.data).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut down => ended,
        () = &mut up => down.await,
    }
}
