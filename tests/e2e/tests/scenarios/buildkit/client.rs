//! A client of BuildKit's protocols with files, secrets and outputs in memory, which may also lie.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::buildkit::v1::{
    BytesMessage, Exporter, SolveRequest, SolveResponse, StatusRequest, StatusResponse,
};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::upload::v1 as upload;
use bollard_buildkit_proto::moby::upload::v1::upload_server::{Upload, UploadServer};
use futures_util::{StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::codegen::Service;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Request, Response, Status, Streaming};

use super::content::Content;
use super::files::{Giving, Stat, Taking};
use super::policies::{METHOD, Policy, Verifier};
use super::tokens::{Account, Accounts};

/// Bytes in a message of a session.
const BUFFER: usize = 64 << 10;

/// What the client holds.
#[derive(Default)]
pub struct Holdings {
    /// Entries by directory, in the order they are told.
    pub directories: HashMap<String, Vec<(Stat, Vec<u8>)>>,
    pub secrets: HashMap<String, Vec<u8>>,
    /// The files that the server sent.
    pub received: Mutex<Vec<(Stat, Vec<u8>)>>,
    /// It does not tell its contexts apart.
    pub is_keyless: bool,
    /// It takes no files.
    pub refuses: bool,
    /// Blobs of its own content store.
    pub blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// Files whose content the server asked for.
    pub asked: Mutex<Vec<String>>,
    /// Excluded patterns that the server named.
    pub excluded: Mutex<Vec<String>>,
    /// Directories that the server asked for, and the paths in them that it named.
    pub followed: Mutex<Vec<(String, Vec<String>)>>,
    /// Who it is to registries.
    pub account: Option<Account>,
    /// What it says about sources.
    pub policy: Option<Policy>,
    /// What it gives once each, by the path of an address.
    pub uploads: Mutex<HashMap<String, Vec<u8>>>,
}

impl Holdings {
    /// What a session with these serves, but for secrets.
    fn methods(&self) -> Vec<String> {
        let mut methods = vec!["FileSync/DiffCopy", "FileSend/DiffCopy"];
        if self.account.is_some() {
            methods.extend([
                "Auth/Credentials",
                "Auth/FetchToken",
                "Auth/GetTokenAuthority",
                "Auth/VerifyTokenAuthority",
            ]);
        }
        let methods = methods.iter().map(|method| format!("/moby.filesync.v1.{method}"));
        methods.chain(self.policy.iter().map(|_| METHOD.to_owned())).collect()
    }

    /// Takes the files that the server sent, by name.
    pub fn take_received(&self) -> Vec<(String, Vec<u8>)> {
        let received = std::mem::take(&mut *self.received.lock().unwrap());
        let name = |stat: Stat| String::from_utf8(stat.path).unwrap();
        received.into_iter().map(|(stat, content)| (name(stat), content)).collect()
    }
}

#[derive(Clone)]
struct Serving(Arc<Holdings>);

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

#[tonic::async_trait]
impl Upload for Serving {
    type PullStream = stream::Iter<std::vec::IntoIter<Result<upload::BytesMessage, Status>>>;

    async fn pull(
        &self,
        request: Request<Streaming<upload::BytesMessage>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let path = request.metadata().get("urlpath").and_then(|path| path.to_str().ok());
        let data = self.0.uploads.lock().unwrap().remove(path.unwrap_or_default());
        let data = data.ok_or_else(|| Status::not_found("nothing is given twice"))?;
        let pieces: Vec<_> =
            data.chunks(1000).map(|piece| Ok(upload::BytesMessage { data: piece.into() })).collect();
        Ok(Response::new(stream::iter(pieces)))
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
        let header = |method: &String| format!("X-Docker-Expose-Session-Grpc-Method: {method}\r\n");
        let methods: String = holdings.methods().iter().map(header).collect();
        let key = if holdings.is_keyless { "" } else { "X-Docker-Expose-Session-Sharedkey: :test\r\n" };
        let headers = format!("Upgrade: h2c\r\nX-Docker-Expose-Session-Uuid: {session}\r\n{key}{methods}");
        let stream = upgrade(socket, "/session", &headers).await.unwrap();
        Client::serving(channel, stream, session, holdings)
    }

    /// One connection, which is HTTP/2 from its first byte on, and the session in a call of it: what clients of BuildKit's own
    /// daemon do.
    pub async fn connect_at_once(socket: &Path, session: &str, holdings: Holdings) -> Client {
        let stream = UnixStream::connect(socket).await.unwrap();
        let endpoint = Endpoint::from_static("http://d");
        let channel = endpoint.connect_with_connector(Once(Some(stream))).await.unwrap();
        let (near, far) = tokio::io::duplex(BUFFER);
        let (output, mut input) = tokio::io::split(far);
        let messages = stream::unfold(output, |mut output| async {
            let mut data = vec![0; BUFFER];
            let count = output.read(&mut data).await.ok().filter(|count| *count > 0)?;
            data.truncate(count);
            Some((BytesMessage { data }, output))
        });
        let mut request = Request::new(messages);
        request.metadata_mut().insert("x-docker-expose-session-uuid", session.parse().unwrap());
        for method in holdings.methods() {
            request.metadata_mut().append("x-docker-expose-session-grpc-method", method.parse().unwrap());
        }
        let answers = ControlClient::new(channel.clone()).session(request).await.unwrap();
        tokio::spawn(async move {
            let mut answers = answers.into_inner();
            while let Some(Ok(message)) = answers.next().await {
                input.write_all(&message.data).await.unwrap();
            }
        });
        Client::serving(channel, near, session, holdings)
    }

    /// Serves the session on `stream`.
    fn serving<S>(channel: Channel, stream: S, session: &str, holdings: Holdings) -> Client
    where
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let holdings = Arc::new(holdings);
        let serving = Serving(holdings.clone());
        let serve = Server::builder()
            .add_service(Giving(holdings.clone()))
            .add_service(Taking(holdings.clone()))
            .add_service(SecretsServer::new(serving.clone()))
            .add_service(UploadServer::new(serving))
            .add_service(AuthServer::new(Accounts(holdings.clone())))
            .add_service(Content(holdings.clone()))
            .add_service(Verifier(holdings.clone()))
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
