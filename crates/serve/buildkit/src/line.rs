//! A connection on which this server is the client of gRPC services.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::body::Body;
use tonic::codegen::Service;

/// How often a silent connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long the answer may take.
const PING_PATIENCE: Duration = Duration::from_secs(30);
/// What a call may have on its way to us: contexts are large and come fast.
const WINDOW: u32 = 2 << 20;
/// What all calls together may. A client tells each file in a small frame of its own; how many such frames may wait is
/// measured by this window, and too few would end the session.
const CONNECTION_WINDOW: u32 = 512 << 20;

/// Sends requests; clones share the connection.
#[derive(Clone)]
pub struct Line(SendRequest<Body>);

impl Line {
    /// Begins; what is returned beside the line must be driven, and ends with the connection.
    pub async fn open<T>(io: T) -> hyper::Result<(Line, impl Future<Output = hyper::Result<()>>)>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .keep_alive_while_idle(true)
            .handshake(io)
            .await?;
        Ok((Line(sender), connection))
    }

    /// Whom requests are addressed to; nobody looks at it.
    pub fn origin() -> Uri {
        Uri::from_static("http://localhost")
    }
}

impl Service<Request<Body>> for Line {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
