//! A client's content stores: `containerd.services.content.v1.Content` on the session, by which it gives and takes OCI
//! layouts in its own directories. Only what is needed of that service: looking for a blob, reading it, writing it.

use std::io::{self, Read};

use bytes::Bytes;
use engine::builds::{BoxError, Contents, Descriptor, Digest};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Life, Session, append, next, soon};
use crate::MESSAGE_MAX;
use crate::blobs::{InfoRequest, InfoResponse, ReadRequest, ReadResponse};
use crate::line::Line;

/// Which of the client's stores is meant.
const STORE: &str = "buildkit-attachable-store-id";
const CHUNK: usize = 256 << 10;
/// Messages on their way to the client.
const BACKLOG: usize = 4;
const WRITE: i32 = 1;
const COMMIT: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(int64, tag = "5")]
    offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct WriteResponse {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(int64, tag = "4")]
    offset: i64,
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

fn request<T>(store: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    append(request.metadata_mut(), STORE, &[store.to_owned()]);
    request
}

impl Session {
    async fn contents(&self) -> Result<Grpc<Line>, Status> {
        let mut client =
            Grpc::with_origin(self.line(), Line::origin()).max_decoding_message_size(MESSAGE_MAX);
        client.ready().await.map_err(|e| Status::unavailable(format!("the client went away: {e}")))?;
        Ok(client)
    }

    /// How large a blob is, if the store has it.
    async fn blob_size(&self, store: &str, digest: &Digest) -> Result<Option<u64>, Status> {
        let asked = request(store, InfoRequest { digest: digest.to_string() });
        let mut client = self.contents().await?;
        let method = path("/containerd.services.content.v1.Content/Info");
        let call = client.unary::<_, InfoResponse, _>(asked, method, ProstCodec::default());
        match soon(&format!("blob {digest}"), call).await {
            Ok(answer) => {
                let size = answer.into_inner().info.map_or(0, |info| info.size);
                Ok(Some(size.try_into().unwrap_or(0)))
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn read_blob(&self, store: &str, digest: &Digest) -> Result<Streaming<ReadResponse>, Status> {
        let asked = request(store, ReadRequest { digest: digest.to_string(), offset: 0, size: 0 });
        let mut client = self.contents().await?;
        let method = path("/containerd.services.content.v1.Content/Read");
        let call = client.server_streaming(asked, method, ProstCodec::default());
        Ok(soon(&format!("blob {digest}"), call).await?.into_inner())
    }

    /// Sends a blob, whose bytes come as they are asked for.
    async fn write_blob(
        &self,
        store: &str,
        descriptor: &Descriptor,
        mut chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    ) -> Result<(), Status> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let messages = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
        let (name, expected) = (format!("dhow-{}", descriptor.digest), descriptor.digest.to_string());
        let total = i64::try_from(descriptor.size).unwrap_or(i64::MAX);
        let first = WriteRequest { name, total, expected, ..WriteRequest::default() };
        let gone = |_| Status::unavailable("the client went away");
        // The first message asks whether something of it is there, and opens the blob.
        sender.send(first.clone()).await.map_err(gone)?;
        let mut client = self.contents().await?;
        let method = path("/containerd.services.content.v1.Content/Write");
        let call = client.streaming(request(store, messages), method, ProstCodec::default());
        let what = format!("blob {}", descriptor.digest);
        let mut answers: Streaming<WriteResponse> = match soon(&what, call).await {
            Ok(answers) => answers.into_inner(),
            Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
            Err(status) => return Err(status),
        };
        let mut offset = 0;
        let mut sent = first;
        loop {
            match next(&what, &mut answers).await {
                Ok(Some(answer)) if answer.action == COMMIT => return Ok(()),
                Ok(Some(answer)) if answer.offset == offset => {}
                Ok(Some(_)) => return Err(Status::aborted("the client has another part of the blob")),
                Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
                Err(status) => return Err(status),
                Ok(None) => return Err(Status::unavailable("the client ended before the blob was there")),
            }
            let data = match chunks.recv().await {
                Some(chunk) => chunk.map_err(|e| Status::internal(format!("read a blob: {e}")))?,
                None => Vec::new(),
            };
            let action = if data.is_empty() { COMMIT } else { WRITE };
            let next = offset.saturating_add(i64::try_from(data.len()).unwrap_or(i64::MAX));
            sent = WriteRequest { action, offset, data, ..sent };
            sender.send(sent.clone()).await.map_err(gone)?;
            offset = next;
        }
    }

    /// The stores of this client, for the threads of a build as long as it lives; what caches are written there is told to `note`.
    pub fn stores(&self, life: &Life, note: impl Fn(&Descriptor) + Send + Sync + 'static) -> Stores {
        let (session, runtime, life) = (self.clone(), Handle::current(), life.clone());
        Stores { session, runtime, life, note: Box::new(note) }
    }
}

/// A client's stores where it may block.
pub struct Stores {
    session: Session,
    runtime: Handle,
    life: Life,
    note: Box<dyn Fn(&Descriptor) + Send + Sync>,
}

fn boxed(status: Status) -> BoxError {
    status.message().to_owned().into()
}

impl Contents for Stores {
    fn note(&self, _: &str, manifest: &Descriptor) {
        (self.note)(manifest);
    }

    fn read(&self, store: &str, digest: &Digest) -> Result<Box<dyn Read + Send>, BoxError> {
        let asked = self.life.share(self.session.read_blob(store, digest));
        let messages = self.runtime.block_on(asked).map_err(boxed)?;
        let (runtime, life, chunk) = (self.runtime.clone(), self.life.clone(), Bytes::new());
        Ok(Box::new(Blob { messages, runtime, life, chunk }))
    }

    fn write(
        &self,
        store: &str,
        descriptor: &Descriptor,
        content: &mut (dyn Read + Send),
    ) -> Result<(), BoxError> {
        let asked = self.life.share(self.session.blob_size(store, &descriptor.digest));
        let has = self.runtime.block_on(asked).map_err(boxed)?;
        if has == Some(descriptor.size) {
            return Ok(());
        }
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let (session, life) = (self.session.clone(), self.life.clone());
        let (store, descriptor) = (store.to_owned(), descriptor.clone());
        let writing = self
            .runtime
            .spawn(async move { life.share(session.write_blob(&store, &descriptor, receiver)).await });
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = content.read(&mut chunk);
            let ended = !matches!(read, Ok(1..));
            let chunk = read.map(|count| {
                chunk.truncate(count);
                chunk
            });
            // Who takes no more says why.
            if sender.blocking_send(chunk).is_err() || ended {
                break;
            }
        }
        drop(sender);
        self.runtime.block_on(writing)?.map_err(boxed)
    }
}

/// A blob that comes.
struct Blob {
    messages: Streaming<ReadResponse>,
    runtime: Handle,
    life: Life,
    chunk: Bytes,
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let message = self.life.share(next("more of a blob", &mut self.messages));
            match self.runtime.block_on(message) {
                Ok(Some(message)) => self.chunk = message.data,
                Ok(None) => return Ok(0),
                Err(status) => return Err(io::Error::other(status.message().to_owned())),
            }
        }
        let taken = self.chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.chunk.split_to(taken));
        Ok(taken)
    }
}
