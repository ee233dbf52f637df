//! Accepting connections and answering on them until the server is told to stop.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::dispatch::dispatch;
use crate::listen::{Access, Listener, Peer, Stream};

/// The longest head of a request.
const HEAD_MAX: usize = 256 << 10;
/// How many headers a request may have.
const HEADERS_MAX: usize = 128;
/// Descriptors that connections leave to the work that they ask for, of those that this process may have.
const RESERVE: u64 = 256;
/// How long connections may take to finish when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// What a connection begins with whose client speaks HTTP/2 without having asked (RFC 9113, 3.4): no other request has this method.
const HTTP2: &[u8] = b"PRI ";
/// How long accepting pauses when this process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a client may take to send a head or a document, and how long an idle connection is kept.
    pub patience: Duration,
    /// How many connections are served at a time; more wait to be accepted. Those that were handed over to a container's
    /// streams do not count.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let descriptors = descriptors.unwrap_or(u64::MAX);
        let connections = descriptors.saturating_sub(RESERVE).max(descriptors / 2).clamp(1, 16 << 10);
        Limits { patience: Duration::from_secs(60), connections: connections as usize }
    }
}

/// Serves all listeners until `shutdown` ends; requests under way get a few seconds to finish.
///
/// `hosts` are names of this server that TCP clients may use besides addresses and the machine's own name. `activity`
/// changes whenever something has been done for a client.
pub async fn serve(
    engine: Engine,
    listeners: Vec<Listener>,
    hosts: Vec<String>,
    limits: Limits,
    activity: watch::Sender<()>,
    shutdown: impl Future<Output = ()>,
) {
    let hosts: Arc<[String]> = hosts.into();
    let places = Arc::new(Semaphore::new(limits.connections));
    let buildkit = buildkit::Host::new(engine.clone());
    let (stop, stopped) = watch::channel(false);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (stop, activity, places) = (stopped.clone(), activity.clone(), places.clone());
        let server = Server { stop, activity, patience: limits.patience, places, buildkit: buildkit.clone() };
        accepting.spawn(accept(engine.clone(), listener, hosts.clone(), server));
    }
    drop(stopped);
    shutdown.await;
    // Fails only when nobody listens any more.
    let _ = stop.send(true);
    // Their clients wait for nothing.
    engine::builds::end_handouts(&engine);
    while accepting.join_next().await.is_some() {}
}

/// What a connection has to do with the server that it came to.
#[derive(Clone)]
struct Server {
    /// Turns true when connections are to end.
    stop: watch::Receiver<bool>,
    /// Hears of all that is done.
    activity: watch::Sender<()>,
    patience: Duration,
    /// A connection has one of these.
    places: Arc<Semaphore>,
    /// Sessions and builds that connections share.
    buildkit: buildkit::Host,
}

async fn accept(engine: Engine, listener: Listener, hosts: Arc<[String]>, mut server: Server) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let places = server.places.clone();
        let accepting = async {
            let accepted = listener.accept().await?;
            // The semaphore is never closed.
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, accepted))
        };
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            _ = server.stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((place, (stream, peer))) => {
                let access = Access { peer, hosts: hosts.clone() };
                let (engine, server) = (engine.clone(), server.clone());
                connections.spawn(async move {
                    answer(engine, stream, access, server).await;
                    drop(place);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "accept connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::debug!("connections were cut at the server's end");
    }
}

/// Serves one half of a socket pair in this process and gives the other half to the client.
pub fn embedded(engine: Engine) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let access = Access { peer: Peer::InProcess, hosts: Arc::from([]) };
    tokio::spawn(connection(engine, Stream::Unix(ours), access, None));
    Ok(theirs)
}

/// Answers on one connection until its end: clients of BuildKit may begin it as they begin one to its own daemon.
async fn answer(engine: Engine, stream: Stream, access: Access, server: Server) {
    match tokio::time::timeout(server.patience, stream.begins_with(HTTP2)).await {
        Ok(Ok(true)) => calls(stream, access.peer, server).await,
        Ok(Ok(false)) => connection(engine, stream, access, Some(server)).await,
        Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
        Err(_) => tracing::debug!("a client said nothing"),
    }
}

/// Calls of BuildKit's protocols. They end with the server as well.
async fn calls(stream: Stream, peer: Peer, mut server: Server) {
    tokio::select! {
        () = server.buildkit.serve(TokioIo::new(stream), peer.of_builds()) => {}
        _ = server.stop.wait_for(|stop| *stop) => {}
    }
    note(Some(&server.activity));
}

/// Answers requests on one connection until its end.
async fn connection(engine: Engine, stream: Stream, access: Access, server: Option<Server>) {
    let patience = server.as_ref().map_or(Limits::default().patience, |server| server.patience);
    let buildkit = server.as_ref().map(|server| server.buildkit.clone());
    let buildkit = buildkit.unwrap_or_else(|| buildkit::Host::new(engine.clone()));
    let (stop, activity) = server.map(|server| (server.stop, server.activity)).unzip();
    let service = service_fn(|request| {
        let (engine, access, activity) = (engine.clone(), access.clone(), activity.clone());
        let buildkit = buildkit.clone();
        async move {
            let response = dispatch(engine, buildkit, access, patience, request).await;
            note(activity.as_ref());
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let stopping = async {
        match stop {
            // An error means that the server is gone, which is the same.
            Some(mut stop) => drop(stop.wait_for(|stop| *stop).await),
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "connection ended");
    }
    // The body of a long answer ends with its connection.
    note(activity.as_ref());
}

fn note(activity: Option<&watch::Sender<()>>) {
    if let Some(activity) = activity {
        activity.send_replace(());
    }
}
