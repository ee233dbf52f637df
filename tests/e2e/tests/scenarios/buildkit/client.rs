//! A client of BuildKit's protocols with files, secrets and outputs in memory, which may also lie.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::buildkit::v1::{
    Exporter, SolveRequest, SolveResponse, StatusRequest, StatusResponse,
};
use bollard_buildkit_proto::moby::filesync::packet::file_send_server::{FileSend, FileSendServer};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::{FileSync, FileSyncServer};
use futures_util::{Stream, StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Request, Response, Status, Streaming};

use super::content::Content;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

/// What the client holds.
#[derive(Default)]
pub struct Holdings {
    /// Entries by directory, in the order they are told.
    pub directories: HashMap<String, Vec<(Stat, Vec<u8>)>>,
    pub secrets: HashMap<String, Vec<u8>>,
    /// What the server sent of files: paths and contents.
    pub received: Mutex<Vec<(String, Vec<u8>)>>,
    /// Blobs of its own content store.
    pub blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// Files whose content the server asked for.
    pub asked: Mutex<Vec<String>>,
    /// Excluded patterns that the server named.
    pub excluded: Mutex<Vec<String>>,
}

pub fn file(path: &str, content: &str) -> (Stat, Vec<u8>) {
    let stat = Stat { path: path.into(), mode: 0o644, size: content.len() as i64, ..Stat::default() };
    (stat, content.into())
}

pub fn folder(path: &str) -> (Stat, Vec<u8>) {
    (Stat { path: path.into(), mode: DIRECTORY | 0o755, ..Stat::default() }, Vec::new())
}

pub fn link(path: &str, target: &str) -> (Stat, Vec<u8>) {
    let stat = Stat { path: path.into(), mode: SYMLINK | 0o777, linkname: target.into(), ..Stat::default() };
    (stat, Vec::new())
}

/// Another name of an earlier file.
pub fn hardlink(path: &str, first: &str) -> (Stat, Vec<u8>) {
    (Stat { path: path.into(), mode: 0o644, linkname: first.into(), ..Stat::default() }, Vec::new())
}

#[derive(Clone)]
struct Serving(Arc<Holdings>);

fn packet(kind: PacketType, id: u32, stat: Option<Stat>, data: Vec<u8>) -> Packet {
    Packet { r#type: kind.into(), id, stat, data }
}

#[tonic::async_trait]
impl FileSync for Serving {
    type DiffCopyStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let all = |key: &str| -> Vec<String> {
            request.metadata().get_all(key).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
        };
        let name = all("dir-name").remove(0);
        let follow = all("followpaths");
        self.0.excluded.lock().unwrap().extend(all("exclude-patterns"));
        let held = self.0.directories.get(&name).cloned();
        let held = held.ok_or_else(|| Status::not_found(format!("no access allowed to dir {name:?}")))?;
        let wanted = |stat: &Stat| follow.is_empty() || follow.contains(&stat.path);
        let entries: Vec<_> = held.into_iter().filter(|(stat, _)| wanted(stat)).collect();
        let (sender, receiver) = mpsc::unbounded_channel();
        for (stat, _) in &entries {
            sender.send(Ok(packet(PacketType::PacketStat, 0, Some(stat.clone()), Vec::new()))).unwrap();
        }
        sender.send(Ok(packet(PacketType::PacketStat, 0, None, Vec::new()))).unwrap();
        let holdings = self.0.clone();
        tokio::spawn(async move {
            let mut asked = request.into_inner();
            while let Some(Ok(answer)) = asked.next().await {
                let id = answer.id;
                match answer.r#type() {
                    PacketType::PacketReq => {
                        let (stat, data) = entries[id as usize].clone();
                        holdings.asked.lock().unwrap().push(stat.path);
                        let _ = sender.send(Ok(packet(PacketType::PacketData, id, None, data)));
                        let _ = sender.send(Ok(packet(PacketType::PacketData, id, None, Vec::new())));
                    }
                    PacketType::PacketFin => {
                        let _ = sender.send(Ok(packet(PacketType::PacketFin, 0, None, Vec::new())));
                        return;
                    }
                    _ => return,
                }
            }
        });
        Ok(Response::new(Box::pin(stream::unfold(receiver, |mut r| async {
            r.recv().await.map(|p| (p, r))
        }))))
    }

    type TarStreamStream = Packets;

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("tarstream"))
    }
}

#[tonic::async_trait]
impl Secrets for Serving {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let data = self.0.secrets.get(&id).cloned().ok_or_else(|| Status::not_found("secret"))?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}

/// Takes files: asks for each one that is told.
#[tonic::async_trait]
impl FileSend for Serving {
    type DiffCopyStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let holdings = self.0.clone();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut told = request.into_inner();
            let (mut paths, mut open, mut next) = (HashMap::new(), 0, 0);
            let mut complete = false;
            while let Some(Ok(said)) = told.next().await {
                match (said.r#type(), said.stat) {
                    (PacketType::PacketStat, Some(stat)) => {
                        if stat.mode >> 19 == 0 {
                            paths.insert(next, (stat.path, Vec::new()));
                            let _ = sender.send(Ok(packet(PacketType::PacketReq, next, None, Vec::new())));
                            open += 1;
                        }
                        next += 1;
                    }
                    (PacketType::PacketStat, None) => complete = true,
                    (PacketType::PacketData, _) if said.data.is_empty() => {
                        open -= 1;
                        holdings.received.lock().unwrap().extend(paths.remove(&said.id));
                    }
                    (PacketType::PacketData, _) => paths.get_mut(&said.id).unwrap().1.extend(said.data),
                    _ => return,
                }
                if complete && open == 0 {
                    complete = false;
                    let _ = sender.send(Ok(packet(PacketType::PacketFin, 0, None, Vec::new())));
                }
            }
        });
        Ok(Response::new(Box::pin(stream::unfold(receiver, |mut r| async {
            r.recv().await.map(|p| (p, r))
        }))))
    }
}

/// A connection for the first who asks.
struct Once(Option<UnixStream>);

impl Service<Uri> for Once {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let gone = || std::io::Error::other("there is one connection");
        std::future::ready(self.0.take().map(TokioIo::new).ok_or_else(gone))
    }
}

/// An upgraded connection; the status line if the server refuses.
pub async fn upgrade(socket: &Path, path: &str, headers: &str) -> Result<UnixStream, String> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    match answer.starts_with("HTTP/1.1 101 ") {
        true => Ok(stream),
        false => Err(answer.lines().next().unwrap_or_default().to_owned()),
    }
}

pub struct Client {
    pub holdings: Arc<Holdings>,
    pub control: ControlClient<Channel>,
    pub gateway: LlbBridgeClient<Channel>,
    pub channel: Channel,
    session: String,
}

impl Client {
    /// Both connections.
    pub async fn connect(socket: &Path, session: &str, holdings: Holdings) -> Client {
        let stream = upgrade(socket, "/grpc", "Upgrade: h2c\r\n").await.unwrap();
        let endpoint = Endpoint::from_static("http://d");
        let channel = endpoint.connect_with_connector(Once(Some(stream))).await.unwrap();
        let methods = ["FileSync/DiffCopy", "FileSend/DiffCopy"];
        let methods: String = methods
            .iter()
            .map(|m| format!("X-Docker-Expose-Session-Grpc-Method: /moby.filesync.v1.{m}\r\n"))
            .collect();
        let headers = format!("Upgrade: h2c\r\nX-Docker-Expose-Session-Uuid: {session}\r\n{methods}");
        let stream = upgrade(socket, "/session", &headers).await.unwrap();
        let holdings = Arc::new(holdings);
        let serving = Serving(holdings.clone());
        let serve = Server::builder()
            .add_service(FileSyncServer::new(serving.clone()))
            .add_service(SecretsServer::new(serving.clone()))
            .add_service(FileSendServer::new(serving))
            .add_service(Content(holdings.clone()))
            .serve_with_incoming(
                stream::once(async { Ok::<_, std::io::Error>(stream) }).chain(stream::pending()),
            );
        tokio::spawn(serve);
        let (control, gateway) = (ControlClient::new(channel.clone()), LlbBridgeClient::new(channel.clone()));
        Client { holdings, control, gateway, channel, session: session.to_owned() }
    }

    /// An order of `dockerfile.v0`.
    pub fn order(
        &self,
        id: &str,
        attributes: &[(&str, &str)],
        exporters: &[(&str, &[(&str, &str)])],
    ) -> SolveRequest {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let exporter =
            |(kind, attrs): &(&str, &[(&str, &str)])| Exporter { r#type: (*kind).into(), attrs: map(attrs) };
        SolveRequest {
            r#ref: id.to_owned(),
            session: self.session.clone(),
            frontend: "dockerfile.v0".to_owned(),
            frontend_attrs: map(attributes),
            exporters: exporters.iter().map(exporter).collect(),
            ..SolveRequest::default()
        }
    }

    /// Solves, and hears all that is told meanwhile.
    pub async fn solve(&self, order: SolveRequest) -> (Result<SolveResponse, Status>, Vec<StatusResponse>) {
        let (mut solving, mut listening) = (self.control.clone(), self.control.clone());
        let asked = StatusRequest { r#ref: order.r#ref.clone() };
        let listen = async {
            let mut told = Vec::new();
            let mut stream = listening.status(asked).await.unwrap().into_inner();
            while let Some(status) = stream.next().await {
                told.push(status.unwrap());
            }
            told
        };
        let (solved, told) = tokio::join!(solving.solve(order), listen);
        (solved.map(Response::into_inner), told)
    }
}
