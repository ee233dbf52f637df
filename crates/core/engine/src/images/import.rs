//! `docker import`.

use std::collections::BTreeMap;
use std::io;

use api::JsonMessage;
use api::images::ImportOptions;
use bytes::Bytes;
use futures_util::Stream;
use oci::Platform;
use oci::image::{History, ImageConfig};
use registry::Wish;
use tokio::sync::mpsc::Sender;

use super::pull::registry_error;
use super::report::Report;
use super::{changes, reference};
use crate::error::{Error, Result};
use crate::{Engine, events, pipe};

/// Makes an image of one layer of a root file system's archive, compressed or not: the body's, or that of a URL. The last
/// line has its id.
pub async fn import(
    engine: &Engine,
    options: ImportOptions,
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    progress: Sender<JsonMessage>,
) -> Result<()> {
    let reader = match address(&options.from_src)? {
        None => pipe::reader(body),
        Some(address) => {
            let said = format!("Downloading from {}", oci::address::without_userinfo(&address));
            // Whoever listens no more is noticed by the next line.
            let _ = progress.send(JsonMessage::status(said)).await;
            pipe::reader(download(engine, &address).await?)
        }
    };
    let report = Report::new(progress);
    engine.blocking(move |engine| import_blocking(engine, &options, reader, &report)).await
}

/// Where the archive is, unless the request has it. As Docker reads it, an address without a scheme is one of HTTP.
fn address(from: &str) -> Result<Option<String>> {
    let text = match from {
        "-" => return Ok(None),
        text if text.contains("://") => text.to_owned(),
        text => format!("http://{text}"),
    };
    match text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(Some(text)),
        false => {
            Err(Error::invalid(format!("fromSrc {from:?} is neither - nor an address of http or https")))
        }
    }
}

/// The bytes of a file of a web server as they come.
async fn download(
    engine: &Engine,
    address: &str,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
    let download = engine.registries(&[]).download(address, Wish::default()).await.map_err(registry_error)?;
    Ok(futures_util::stream::try_unfold(download, |mut download| async move {
        let chunk = download.chunk().await.map_err(io::Error::other)?;
        Ok(chunk.map(|chunk| (chunk, download)))
    }))
}

fn import_blocking(
    engine: &Engine,
    options: &ImportOptions,
    archive: pipe::Reader,
    report: &Report,
) -> Result<()> {
    let tag = reference::target(&options.repo, &options.tag)?;
    let platform = match options.platform.as_str() {
        "" => Platform::host(),
        text => text.parse().map_err(|e: oci::PlatformError| Error::invalid(e.to_string()))?,
    };
    let mut config = ImageConfig::new(&platform);
    changes::apply(&mut config.config, &options.changes)?;

    let store = engine.store();
    let lease = store.lease("import")?;
    report.stops(&lease);
    // The archive's own bytes are not kept, so the layer gets the digest of the archive that packing it gives.
    let unpacked = store.repack(&lease, store.unpack_files(&lease, archive)?)?;
    let layer = store.publish(&lease, None, unpacked)?;
    let now = jiff::Timestamp::now().to_string();
    config.comment = match options.message.as_str() {
        "" => format!("Imported from {}", oci::address::without_userinfo(&options.from_src)),
        message => message.to_owned(),
    };
    config.created = Some(now.clone());
    config.rootfs.diff_ids = vec![layer.diff_id.clone()];
    config.history =
        vec![History { created: Some(now), comment: config.comment.clone(), ..History::default() }];
    let put = store.make_image(&lease, &config, vec![store.descriptor(&layer)], None, tag.as_slice())?;

    let id = put.image.id.to_string();
    let name = tag.map_or_else(|| id.clone(), |tag| tag.familiar());
    events::emit(engine, "image", "import", &id, &BTreeMap::from([("name".to_owned(), name)]));
    report.line(JsonMessage::status(id))
}
