//! Bodies that flow: what a client sends, and answers that come in portions.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::error::{Error, Result};

/// The longest line of a JSON stream.
const LINE_MAX: usize = 64 << 20;

/// The body of a request.
pub struct Payload(pub(crate) UnsyncBoxBody<Bytes, io::Error>);

impl Payload {
    /// No body.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// These bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync())
    }

    /// A stream of unknown length.
    pub fn stream(stream: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync())
    }

    /// These bytes first.
    pub(crate) fn after(self, first: impl Into<Bytes>) -> Self {
        let first = futures_util::stream::iter([Ok(first.into())]);
        let rest = BodyStream::new(self.0);
        let rest = rest.try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
        Self::stream(first.chain(rest))
    }

    /// All that a reader gives.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::stream(ReaderStream::with_capacity(reader, 64 << 10))
    }

    /// What another task or thread sends; a sender that is dropped ends the body.
    pub fn channel(mut receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self::stream(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)))
    }
}

/// The raw bytes of an answer.
pub struct ByteStream(Incoming);

impl ByteStream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(body)
    }

    /// The next portion, `None` at the end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        futures_util::StreamExt::next(self).await
    }

    /// The answer as a reader.
    pub fn into_reader(self) -> StreamReader<Self, Bytes> {
        StreamReader::new(self)
    }
}

impl futures_util::Stream for ByteStream {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(e)) => return Poll::Ready(Some(Err(io::Error::other(e)))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

/// An answer of one JSON document a line.
pub struct JsonLines<T> {
    bytes: ByteStream,
    buffer: BytesMut,
    /// How much of the buffer holds no line end.
    searched: usize,
    ended: bool,
    document: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            bytes: ByteStream::new(body),
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
            document: PhantomData,
        }
    }

    /// The next document, `None` at the end.
    pub async fn next(&mut self) -> Option<Result<T>> {
        loop {
            while let Some(line) = self.line() {
                let line = line.trim_ascii();
                if !line.is_empty() {
                    return Some(document(line));
                }
            }
            if self.ended {
                return None;
            }
            if self.buffer.len() > LINE_MAX {
                self.ended = true;
                self.buffer.clear();
                return Some(Err(Error::TooLong));
            }
            match self.bytes.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(e)) => {
                    self.ended = true;
                    self.buffer.clear();
                    return Some(Err(Error::Read(e)));
                }
                None => self.ended = true,
            }
        }
    }

    fn line(&mut self) -> Option<BytesMut> {
        match self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                Some(line)
            }
            None if self.ended && !self.buffer.is_empty() => {
                self.searched = 0;
                Some(self.buffer.split())
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

impl JsonLines<api::JsonMessage> {
    /// Reads to the end and hands each message on; an error message of the server ends it as an error.
    pub async fn drain(mut self, mut each: impl FnMut(api::JsonMessage)) -> Result<()> {
        while let Some(message) = self.next().await {
            let message = message?;
            if let Some(error) = message.error_detail {
                return Err(Error::Progress { code: error.code, message: error.message });
            }
            if !message.error.is_empty() {
                return Err(Error::Progress { code: 0, message: message.error });
            }
            each(message);
        }
        Ok(())
    }
}

pub(crate) fn document<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| Error::Document(String::from_utf8_lossy(json).into_owned(), e))
}
