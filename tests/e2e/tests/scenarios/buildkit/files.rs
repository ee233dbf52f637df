//! The client's side of file transfers: what it has and gives, and what it takes. The messages are its own, for the published
//! ones hold names as text, which names of files are not.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::client::Holdings;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const FIFO: u32 = 1 << 25;
const DEVICE: u32 = 1 << 26;
const CHARACTER: u32 = 1 << 21;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Stat {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    #[prost(int64, tag = "5")]
    pub size: i64,
    #[prost(int64, tag = "6")]
    pub modified: i64,
    #[prost(bytes = "vec", tag = "7")]
    pub link: Vec<u8>,
    #[prost(int64, tag = "8")]
    pub device_major: i64,
    #[prost(int64, tag = "9")]
    pub device_minor: i64,
    #[prost(message, repeated, tag = "10")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Attribute {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Packet {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    stat: Option<Stat>,
    #[prost(uint32, tag = "3")]
    id: u32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

const STAT: i32 = 0;
const REQUEST: i32 = 1;
const DATA: i32 = 2;
const END: i32 = 3;
const ERROR: i32 = 4;

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

pub fn file(path: impl AsRef<[u8]>, content: &str) -> (Stat, Vec<u8>) {
    let (path, size) = (path.as_ref().into(), content.len() as i64);
    (Stat { path, mode: 0o644, size, ..Stat::default() }, content.into())
}

pub fn folder(path: impl AsRef<[u8]>) -> (Stat, Vec<u8>) {
    (Stat { path: path.as_ref().into(), mode: DIRECTORY | 0o755, ..Stat::default() }, Vec::new())
}

pub fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> (Stat, Vec<u8>) {
    let (path, link) = (path.as_ref().into(), target.as_ref().into());
    (Stat { path, mode: SYMLINK | 0o777, link, ..Stat::default() }, Vec::new())
}

pub fn pipe(path: impl AsRef<[u8]>) -> (Stat, Vec<u8>) {
    (Stat { path: path.as_ref().into(), mode: FIFO | 0o640, ..Stat::default() }, Vec::new())
}

/// `/dev/null` by another name.
pub fn device(path: impl AsRef<[u8]>) -> (Stat, Vec<u8>) {
    let (mode, path) = (DEVICE | CHARACTER | 0o640, path.as_ref().into());
    (Stat { path, mode, device_major: 1, device_minor: 3, ..Stat::default() }, Vec::new())
}

/// Another name of an earlier file.
pub fn hardlink(path: impl AsRef<[u8]>, first: impl AsRef<[u8]>) -> (Stat, Vec<u8>) {
    let (path, link) = (path.as_ref().into(), first.as_ref().into());
    (Stat { path, mode: 0o644, link, ..Stat::default() }, Vec::new())
}

fn packet(kind: i32, id: u32, stat: Option<Stat>, data: Vec<u8>) -> Result<Packet, Status> {
    Ok(Packet { kind, id, stat, data })
}

fn packets(receiver: mpsc::UnboundedReceiver<Result<Packet, Status>>) -> Response<Packets> {
    Response::new(Box::pin(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|packet| (packet, receiver))
    })))
}

/// `moby.filesync.v1.FileSync`: gives files.
#[derive(Clone)]
pub struct Giving(pub Arc<Holdings>);

/// `moby.filesync.v1.FileSend`: takes files, and asks for each one that is told.
#[derive(Clone)]
pub struct Taking(pub Arc<Holdings>);

impl NamedService for Giving {
    const NAME: &'static str = "moby.filesync.v1.FileSync";
}

impl NamedService for Taking {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Packets>, Status>> + Send>>;
type Served = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

fn serve<S>(service: S, request: http::Request<Body>) -> Served
where
    S: StreamingService<Packet, Response = Packet, ResponseStream = Packets, Future = Answer>
        + Send
        + 'static,
{
    Box::pin(async move {
        Ok(match request.uri().path().ends_with("/DiffCopy") {
            true => Grpc::new(ProstCodec::default()).streaming(service, request).await,
            false => Status::unimplemented("method").into_http(),
        })
    })
}

macro_rules! served {
    ($service:ty) => {
        impl Service<http::Request<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Served;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Served {
                serve(self.clone(), request)
            }
        }
    };
}

served!(Giving);
served!(Taking);

impl StreamingService<Packet> for Giving {
    type Response = Packet;
    type ResponseStream = Packets;
    type Future = Answer;

    fn call(&mut self, request: Request<Streaming<Packet>>) -> Answer {
        let holdings = self.0.clone();
        Box::pin(async move { give(holdings, request) })
    }
}

fn give(holdings: Arc<Holdings>, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
    let all = |key: &str| -> Vec<String> {
        request.metadata().get_all(key).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
    };
    let name = all("dir-name").remove(0);
    let follow = all("followpaths");
    holdings.excluded.lock().unwrap().extend(all("exclude-patterns"));
    let held = holdings.directories.get(&name).cloned();
    let held = held.ok_or_else(|| Status::not_found(format!("no access allowed to dir {name:?}")))?;
    holdings.followed.lock().unwrap().push((name, follow.clone()));
    // What is named, what is below, and the directories above; of patterns the client knows one.
    let wanted = |stat: &Stat| {
        let is_on_the_way = |named: &String| {
            let parts = named.split('/').zip(stat.path.split(|byte| *byte == b'/'));
            parts.into_iter().all(|(named, part)| named == "*" || named.as_bytes() == part)
        };
        follow.is_empty() || follow.iter().any(is_on_the_way)
    };
    let entries: Vec<_> = held.into_iter().filter(|(stat, _)| wanted(stat)).collect();
    let (sender, receiver) = mpsc::unbounded_channel();
    for (stat, _) in &entries {
        sender.send(packet(STAT, 0, Some(stat.clone()), Vec::new())).unwrap();
    }
    sender.send(packet(STAT, 0, None, Vec::new())).unwrap();
    tokio::spawn(async move {
        let mut asked = request.into_inner();
        while let Some(Ok(answer)) = asked.next().await {
            let id = answer.id;
            match answer.kind {
                REQUEST => {
                    let (stat, data) = entries[id as usize].clone();
                    holdings.asked.lock().unwrap().push(String::from_utf8_lossy(&stat.path).into_owned());
                    let _ = sender.send(packet(DATA, id, None, data));
                    let _ = sender.send(packet(DATA, id, None, Vec::new()));
                }
                END => {
                    let _ = sender.send(packet(END, 0, None, Vec::new()));
                    return;
                }
                _ => return,
            }
        }
    });
    Ok(packets(receiver))
}

impl StreamingService<Packet> for Taking {
    type Response = Packet;
    type ResponseStream = Packets;
    type Future = Answer;

    fn call(&mut self, request: Request<Streaming<Packet>>) -> Answer {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(take(self.0.clone(), request.into_inner(), sender));
        Box::pin(async { Ok(packets(receiver)) })
    }
}

async fn take(
    holdings: Arc<Holdings>,
    mut told: Streaming<Packet>,
    sender: mpsc::UnboundedSender<Result<Packet, Status>>,
) {
    let (mut files, mut open, mut next) = (HashMap::new(), 0, 0);
    // Further names of files that were told already.
    let mut links = Vec::new();
    let mut complete = false;
    while let Some(Ok(said)) = told.next().await {
        match (said.kind, said.stat) {
            // Whoever refuses says so once, and waits for the end of the call as buildx does.
            (STAT, Some(_)) if holdings.refuses && next == 0 => {
                let _ = sender.send(packet(ERROR, 0, None, b"no room".into()));
                next += 1;
            }
            _ if holdings.refuses => {}
            (STAT, Some(stat)) => {
                if stat.mode >> 19 == 0 && !stat.link.is_empty() {
                    links.push(stat);
                } else if stat.mode >> 19 == 0 {
                    files.insert(next, (stat, Vec::new()));
                    let _ = sender.send(packet(REQUEST, next, None, Vec::new()));
                    open += 1;
                }
                next += 1;
            }
            (STAT, None) => complete = true,
            (DATA, _) if said.data.is_empty() => {
                open -= 1;
                holdings.received.lock().unwrap().extend(files.remove(&said.id));
            }
            (DATA, _) => files.get_mut(&said.id).unwrap().1.extend(said.data),
            _ => return,
        }
        if complete && open == 0 {
            complete = false;
            let mut received = holdings.received.lock().unwrap();
            for link in links.drain(..) {
                let first = received.iter().find(|(stat, _)| stat.path == link.link);
                let (_, content) = first.expect("the first name is told before the others").clone();
                received.push((link, content));
            }
            drop(received);
            let _ = sender.send(packet(END, 0, None, Vec::new()));
        }
    }
}
