//! The services of one connection.

use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::v1::control_server::ControlServer;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridgeServer;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::service::Routes;

use crate::blobs::Blobs;
use crate::control::Control;
use crate::gateway::Gateway;
use crate::health::Health;
use crate::{Host, MESSAGE_MAX, Peer};

/// Calls of one connection at a time.
const CALLS_MAX: u32 = 256;
/// How often a silent client is asked whether it lives: its builds end with it.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long its answer may take.
const PING_PATIENCE: Duration = Duration::from_secs(30);
/// The longest head of a request.
const HEAD_MAX: u32 = 64 << 10;

impl Host {
    /// Answers calls until the client closes the connection; what it had begun then ends.
    pub async fn serve<T: Read + Write + Unpin + Send + 'static>(self, io: T, peer: Peer) {
        let control = ControlServer::new(Control::new(self.clone(), peer));
        let blobs = Blobs(self.clone());
        let gateway = LlbBridgeServer::new(Gateway::new(self, peer.reach));
        let routes = Routes::new(control.max_decoding_message_size(MESSAGE_MAX))
            .add_service(gateway.max_decoding_message_size(MESSAGE_MAX))
            .add_service(HealthServer::new(Health))
            .add_service(blobs)
            .prepare();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut routes = routes.clone();
            async move { routes.call(request.map(Body::new)).await }
        });
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(CALLS_MAX)
            .max_header_list_size(HEAD_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .serve_connection(io, service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "BuildKit connection ended");
        }
    }
}
