//! Connections that the server hands over after the head of its answer: attach and exec.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};

use crate::error::{Error, Result};
use crate::request::{Call, failure};
use crate::{Client, Stream};

/// A connection in both directions. Shutting down the write side is the end of standard input; output still
/// comes. `multiplexed` output is in [`api::stdcopy`] frames, else it is a terminal's bytes.
#[derive(Debug)]
pub struct Hijacked {
    /// What the server said of the framing; servers before API 1.42 say "raw" for both.
    pub multiplexed: bool,
    stream: Stream,
    early: Bytes,
}

impl Hijacked {
    /// Reading and writing side, for two tasks.
    pub fn split(self) -> (ReadHalf<Self>, WriteHalf<Self>) {
        tokio::io::split(self)
    }
}

/// Sends a request that asks for the connection.
pub(crate) async fn hijack(call: Call, client: &Client) -> Result<Hijacked> {
    hijack_for(call, client, "tcp").await
}

/// The same for a protocol that has a name.
pub(crate) async fn hijack_for(call: Call, client: &Client, protocol: &str) -> Result<Hijacked> {
    let response = call.header("Connection", "Upgrade").header("Upgrade", protocol).send(client).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        return Err(if status.is_success() { Error::NoUpgrade(status) } else { failure(response).await });
    }
    let content_type = response.headers().get("Content-Type").map(|v| v.as_bytes());
    let multiplexed = content_type == Some(api::common::MULTIPLEXED_STREAM.as_bytes());
    let upgraded = hyper::upgrade::on(response).await.map_err(Error::Http)?;
    let parts = upgraded
        .downcast::<TokioIo<Stream>>()
        .map_err(|_| Error::NoUpgrade(StatusCode::SWITCHING_PROTOCOLS))?;
    Ok(Hijacked { multiplexed, stream: parts.io.into_inner(), early: parts.read_buf })
}

impl AsyncRead for Hijacked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..count]);
        self.early.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Hijacked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
