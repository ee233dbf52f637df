//! Accepting connections and answering on them until the server is told to stop.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::answer;
use crate::collect::Collected;
use crate::dispatch::{Peer, dispatch};
use crate::error::chain;
use crate::metrics;
use crate::patient::Patient;
use crate::registry::Registry;

/// The longest head of a request, which is also what is read of a body at a time.
const HEAD_MAX: usize = 128 << 10;
/// How many headers a request may have.
const HEADERS_MAX: usize = 100;
/// How long connections may take to finish when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long accepting pauses when this process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that ask for figures.
const FIGURES_CONNECTIONS: usize = 16;
/// How often is looked for uploads that nobody goes on with.
const TIDY: Duration = Duration::from_secs(5 * 60);

/// Serves a registry until `shutdown` ends; requests under way get a few seconds to finish.
pub async fn serve(registry: Arc<Registry>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(registry.clone(), listener, stopped.clone()));
    let tidying = tokio::spawn(tidy(registry.clone()));
    let evicting = tokio::spawn({
        let registry = registry.clone();
        async move { registry.keep_within().await }
    });
    let collecting = tokio::spawn(collect(registry));
    drop(stopped);
    shutdown.await;
    tidying.abort();
    collecting.abort();
    evicting.abort();
    // Fails only when nobody listens any more.
    let _ = stop.send(true);
    while tasks.join_next().await.is_some() {}
}

/// Answers on one connection that has come in some other way, until its end.
pub async fn serve_stream(registry: Arc<Registry>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    // Nobody says that it is to stop: it ends by itself.
    let (_stop, stopped) = watch::channel(false);
    converse(registry, Peer { address: None, tls: false }, stream, stopped).await;
}

/// What is done without being asked.
async fn tidy(registry: Arc<Registry>) {
    loop {
        if let Some(tls) = &registry.tls {
            tls.refresh();
        }
        match registry.spool.expire(registry.config.upload_age).await {
            Ok(0) | Err(_) => {}
            Ok(count) => tracing::info!(count, "removed uploads that nobody went on with"),
        }
        match registry.storage.tidy().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "aborted uploads in parts that an earlier run has left"),
            Err(error) => tracing::warn!(error = %chain(&error), "abort uploads in parts"),
        }
        tokio::time::sleep(TIDY.min(registry.config.upload_age)).await;
    }
}

/// Collects garbage from time to time.
async fn collect(registry: Arc<Registry>) {
    let every = registry.config.collect_every;
    if every.is_zero() || registry.config.read_only {
        return;
    }
    loop {
        tokio::time::sleep(every).await;
        match registry.collect(registry.config.garbage).await {
            Ok(Some(collected)) if collected != Collected::default() => {
                tracing::info!(?collected, "collected garbage");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "garbage collection"),
        }
    }
}

/// Serves the figures at `/metrics` of an address of its own until this is dropped.
pub async fn serve_figures(registry: Arc<Registry>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(FIGURES_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let registry = registry.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                let answer = match request.uri().path() {
                    "/metrics" => answer::document_of(metrics::CONTENT_TYPE, registry.figures().into()),
                    _ => answer::empty(http::StatusCode::NOT_FOUND),
                };
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let builder = http_server(registry.config.patience);
            // Who does not stay to read has no use for it.
            let _ = builder
                .serve_connection(TokioIo::new(Patient::new(stream, registry.config.patience)), service)
                .await;
            drop(place);
        });
    }
}

fn http_server(patience: Duration) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX);
    builder
}

async fn accept(registry: Arc<Registry>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(registry.config.connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepting = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            Ok::<_, io::Error>((place, stream))
        };
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((place, stream)) => {
                let (registry, stop) = (registry.clone(), stop.clone());
                connections.spawn(async move {
                    let metrics = registry.metrics.clone();
                    metrics.connections.fetch_add(1, Ordering::Relaxed);
                    connection(registry, stream, stop).await;
                    metrics.connections.fetch_sub(1, Ordering::Relaxed);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    // What does not end in time is cut.
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

/// Lets a connection be encrypted, where they are.
async fn connection(registry: Arc<Registry>, stream: TcpStream, stop: watch::Receiver<bool>) {
    // Only a matter of speed.
    let _ = stream.set_nodelay(true);
    let mut peer = Peer { address: stream.peer_addr().ok(), tls: false };
    let Some(tls) = &registry.tls else { return converse(registry, peer, stream, stop).await };
    peer.tls = true;
    let accepting = async {
        match is_plain(&stream).await {
            false => tls.accept(stream).await.map(Some),
            true => tell_plain(stream).await.map(|()| None),
        }
    };
    match tokio::time::timeout(registry.config.patience, accepting).await {
        Ok(Ok(Some(stream))) => converse(registry.clone(), peer, stream, stop).await,
        Ok(Err(error)) => tracing::debug!(error = %chain(&error), "TLS handshake"),
        Ok(Ok(None)) | Err(_) => {}
    }
}

/// Whether a connection begins as a request that is not encrypted: no record of TLS begins with a letter.
async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    stream.peek(&mut first).await.is_ok_and(|count| count == 1) && first[0].is_ascii_uppercase()
}

/// Tells who speaks plain HTTP what is wrong, in the words of Go's servers.
async fn tell_plain(mut stream: TcpStream) -> io::Result<()> {
    const TEXT: &str = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    stream.write_all(TEXT.as_bytes()).await?;
    stream.shutdown().await?;
    // What was not read would turn the end into a reset, and the answer would be lost.
    let mut rest = [0; 1024];
    for _ in 0..64 {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Answers requests on one connection until its end.
async fn converse(
    registry: Arc<Registry>,
    peer: Peer,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut stop: watch::Receiver<bool>,
) {
    let patience = registry.config.patience;
    let service = service_fn(|request| {
        let registry = registry.clone();
        async move { Ok::<_, Infallible>(dispatch(registry, peer, request).await) }
    });
    let stream = TokioIo::new(Patient::new(stream, patience));
    let connection = http_server(patience).serve_connection(stream, service);
    tokio::pin!(connection);
    // An error means that the server is gone, which is the same.
    let stopping = async { drop(stop.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %chain(&error), "connection ended");
    }
}
