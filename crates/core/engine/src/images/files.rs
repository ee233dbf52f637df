//! The files of images as a tar archive, without making containers of them.

use std::path::{Path, PathBuf};

use archive::{Packer, Tree, pack_tree};
use bytes::Bytes;
use sys::root::Root;
use tokio::sync::mpsc::Receiver;

use crate::error::{Context as _, Error, Result};
use crate::{Engine, pipe};

/// The files of each image below its directory in the archive; an empty one is the top. With a time, in seconds since 1970, all of
/// them have that.
pub async fn files(
    engine: &Engine,
    images: Vec<(String, String)>,
    time: Option<i64>,
) -> Result<Receiver<Result<Bytes>>> {
    let roots = engine.blocking(move |engine| {
        let store = engine.store();
        let lease = store.lease("export")?;
        let mut roots = Vec::with_capacity(images.len());
        for (name, directory) in &images {
            let directory = PathBuf::from(directory);
            if !directory.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
                return Err(Error::invalid(format!("{} is no directory in an archive", directory.display())));
            }
            let image = store.resolve(name, None)?;
            // An image without layers has no files.
            if let Some(chain) = image.chain() {
                store.use_layer(&lease, &chain)?;
                let mount = store.overlay(Some(&chain), None, None)?.mount().during("mount the image")?;
                roots.push((Root::from_fd(mount).during("open the image")?, directory));
            }
        }
        Ok((lease, roots))
    });
    let (lease, roots) = roots.await?;
    let (writer, receiver) = pipe::writer();
    let errors = writer.sender();
    tokio::task::spawn_blocking(move || {
        let written = write(writer, &roots, time);
        drop((lease, roots));
        if let Err(error) = written {
            let _ = errors.blocking_send(Err(error));
        }
    });
    Ok(receiver)
}

fn write(writer: pipe::Writer, roots: &[(Root, PathBuf)], time: Option<i64>) -> Result<()> {
    let packer = Packer::new(writer);
    let mut packer = match time {
        Some(seconds) => packer.at(seconds),
        None => packer,
    };
    for (root, name) in roots {
        let tree = Tree { root, path: Path::new(""), name, layer: false };
        pack_tree(&mut packer, tree).during("pack the image's files")?;
    }
    packer.finish().map(drop).during("pack the image's files")
}
