//! Files of web servers for builds: `ADD` of URLs, contexts that are URLs.

use std::io::Read;
use std::sync::Arc;

use builder::{BoxError, CancelToken, Fetch, FetchRequest, Fetched};
use bytes::Bytes;
use registry::{Client, Download};
use tokio::runtime::Handle;

use super::build::cancelled;
use crate::Engine;

/// Fetches from this machine's network.
pub(super) fn fetcher(engine: &Engine, cancel: &CancelToken) -> Fetch {
    let (client, runtime, cancel) = (engine.registries(&[]), Handle::current(), cancel.clone());
    Arc::new(move |request| fetch(&client, &runtime, &cancel, request))
}

fn fetch(
    client: &Client,
    runtime: &Handle,
    cancel: &CancelToken,
    request: &FetchRequest<'_>,
) -> Result<Fetched, BoxError> {
    let download = runtime.block_on(async {
        tokio::select! {
            download = client.download(request.url, request.etag, request.last_modified) => Ok(download?),
            () = cancelled(cancel) => Err(BoxError::from("build canceled")),
        }
    })?;
    let text = |value: Option<&str>| value.map(str::to_owned);
    let last_modified = text(download.last_modified());
    let time = last_modified.as_deref().and_then(|time| jiff::fmt::rfc2822::parse(time).ok());
    Ok(Fetched {
        unchanged: download.unchanged(),
        file_name: download.file_name(),
        modified: time.map(|time| time.timestamp().as_second()),
        etag: text(download.etag()),
        last_modified,
        body: Box::new(Body {
            download,
            runtime: runtime.clone(),
            cancel: cancel.clone(),
            chunk: Bytes::new(),
        }),
    })
}

/// A download as a stream of the threads of a build.
struct Body {
    download: Download,
    runtime: Handle,
    cancel: CancelToken,
    chunk: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            let next = self.runtime.block_on(async {
                tokio::select! {
                    chunk = self.download.chunk() => chunk.map_err(std::io::Error::other),
                    () = cancelled(&self.cancel) => Err(std::io::Error::other("build canceled")),
                }
            });
            match next? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let taken = self.chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&self.chunk.split_to(taken));
        Ok(taken)
    }
}
