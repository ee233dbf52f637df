//! `docker export`.

use std::path::Path;

use archive::{Packer, Tree, pack_tree};
use bytes::Bytes;
use sys::root::Root;
use tokio::sync::mpsc;

use super::record::{self, Record};
use crate::error::{Context, Result};
use crate::{Engine, pipe};

/// A container's files as a tar archive: image and own changes together, without volumes.
pub async fn export(engine: &Engine, reference: &str) -> Result<mpsc::Receiver<Result<Bytes>>> {
    let reference = reference.to_owned();
    let (record, root) = engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            let root = merged(engine, &record)?;
            Ok((record, root))
        })
        .await?;
    crate::events::emit_container(engine, "export", &record, &[]);
    let (writer, receiver) = pipe::writer();
    let errors = writer.sender();
    tokio::task::spawn_blocking(move || {
        let mut packer = Packer::new(writer);
        let tree = Tree { root: &root, path: Path::new(""), name: Path::new(""), layer: false };
        let packed = pack_tree(&mut packer, tree).and_then(|_| packer.finish().map(drop));
        if let Err(e) = packed.system() {
            let _ = errors.blocking_send(Err(e));
        }
    });
    Ok(receiver)
}

/// The container's root file system for reading, detached. The upper directory is one more lower layer, so this does not
/// disturb a container that runs; what it writes meanwhile may or may not be seen.
pub(crate) fn merged(engine: &Engine, record: &Record) -> Result<Root> {
    let mut overlay = engine.store().overlay(record.layer.as_ref(), None, None)?;
    overlay.lower.push(super::skeleton::dir(engine));
    overlay.lower.insert(0, engine.container_dir(&record.id).join("upper"));
    let mount = overlay.mount().during("mount the container's root file system")?;
    Root::from_fd(mount).during("open the container's root file system")
}
