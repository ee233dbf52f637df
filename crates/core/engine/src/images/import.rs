//! `docker import`.

use std::collections::BTreeMap;
use std::io;

use api::JsonMessage;
use api::images::ImportOptions;
use bytes::Bytes;
use futures_util::Stream;
use oci::Platform;
use oci::image::{History, ImageConfig};
use tokio::sync::mpsc::Sender;

use super::report::Report;
use super::{changes, reference};
use crate::error::{Error, Result};
use crate::{Engine, events, pipe};

/// Makes an image of one layer of a root file system's archive, compressed or not. The last line has its id.
pub async fn import(
    engine: &Engine,
    options: ImportOptions,
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    progress: Sender<JsonMessage>,
) -> Result<()> {
    if options.from_src != "-" {
        return Err(Error::not_implemented("only an archive in the request can be imported"));
    }
    let reader = pipe::reader(body);
    let report = Report::new(progress);
    engine.blocking(move |engine| import_blocking(engine, &options, reader, &report)).await
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
    let unpacked = store.repack(store.unpack(&lease, archive)?)?;
    let layer = store.publish(&lease, None, unpacked)?;
    let now = jiff::Timestamp::now().to_string();
    config.comment = match options.message.as_str() {
        "" => "Imported from -".to_owned(),
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
