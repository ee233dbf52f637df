//! The files of images as a tar archive, without making containers of them.

use std::path::{Path, PathBuf};

use archive::{Entry, Packer, Time, Tree, pack_tree};
use bytes::Bytes;
use sys::root::Root;
use tokio::sync::mpsc::Receiver;

use crate::error::{Context as _, Error, Result};
use crate::{Engine, pipe};

/// The files of an image that are wanted.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Its name, id, or manifest.
    pub image: String,
    /// Where they are in the archive; an empty name is the top.
    pub directory: String,
    /// Files there beside its own: name and content.
    pub beside: Vec<(String, Vec<u8>)>,
}

/// An image that is open, where its files go, and what lies beside them. One without layers has no files.
type Opened = (Option<Root>, PathBuf, Vec<(String, Vec<u8>)>);

/// The files of each image. With a time, in seconds since 1970, all of them have that.
pub async fn files(
    engine: &Engine,
    images: Vec<Files>,
    time: Option<i64>,
) -> Result<Receiver<Result<Bytes>>> {
    let roots = engine.blocking(move |engine| {
        let store = engine.store();
        let lease = store.lease("export")?;
        let mut roots: Vec<Opened> = Vec::with_capacity(images.len());
        for Files { image, directory, beside } in images {
            let directory = PathBuf::from(directory);
            if !directory.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
                return Err(Error::invalid(format!("{} is no directory in an archive", directory.display())));
            }
            let mut root = None;
            if let Some(chain) = store.resolve(&image, None)?.chain() {
                store.use_layer(&lease, &chain)?;
                let mount = store.overlay(Some(&chain), None, None)?.mount().during("mount the image")?;
                root = Some(Root::from_fd(mount).during("open the image")?);
            }
            roots.push((root, directory, beside));
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

fn write(writer: pipe::Writer, images: &[Opened], time: Option<i64>) -> Result<()> {
    let packer = Packer::new(writer);
    let mut packer = match time {
        Some(seconds) => packer.at(seconds),
        None => packer,
    };
    let now = Time::now();
    for (root, name, beside) in images {
        if let Some(root) = root {
            let tree = Tree { root, path: Path::new(""), name, layer: false };
            pack_tree(&mut packer, tree).during("pack the image's files")?;
        }
        // Of two files of one name the last counts.
        for (own, bytes) in beside {
            let entry = Entry { mtime: now, ..Entry::file(name.join(own), 0o644, 0) };
            packer.append_bytes(&entry, bytes).during("pack what lies beside the image's files")?;
        }
    }
    packer.finish().map(drop).during("pack the image's files")
}
