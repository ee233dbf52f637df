//! The two forms of a layer's files: a directory, as overlayfs takes it, or an EROFS image, which is mounted wherever the layer
//! is used.
//!
//! An image is written from the archive in one sequential pass, needs one inode of the disk however many files it has, and
//! is deleted at once; but each container that uses it mounts it on its own, and the page cache of one mount is not that of
//! another. `docs/adr/0005` has the figures. What is made here (by a build, a commit) is a directory in any case: it is one
//! already.

use crate::layers::make_dir;
use crate::{Layer, Lease, Store};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use sys::mount::Overlay;

/// The directory of files of a layer, below its own.
pub(crate) const DIRECTORY: &str = "diff";
/// The image of files of a layer.
pub(crate) const IMAGE: &str = "layer.erofs";

/// What becomes of the layers that come from elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// What is best on this machine: directories, see `docs/adr/0005`.
    #[default]
    Auto,
    /// Directories.
    Directories,
    /// Images, where the kernel mounts them from files, also below an overlay (6.15), and the file system of the store lets it;
    /// else directories.
    Images,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Form, String> {
        match text {
            "auto" => Ok(Form::Auto),
            "directories" => Ok(Form::Directories),
            "erofs" => Ok(Form::Images),
            _ => Err(format!("must be auto, directories or erofs: {text}")),
        }
    }
}

impl Store {
    /// Where the files of a layer are, as [`sys::mount::Overlay`] takes them.
    pub(crate) fn files(&self, layer: &Layer) -> PathBuf {
        self.layer_dir(&layer.chain_id).join(name(layer))
    }

    /// Whether layers that come from elsewhere become images.
    pub(crate) fn makes_images(&self, lease: &Lease) -> bool {
        match self.shared.form {
            Form::Auto | Form::Directories => false,
            Form::Images => {
                let known = self.shared.takes_images.get().is_some();
                let takes = self.takes_images(lease);
                if !known && !takes {
                    tracing::warn!(
                        "layers become directories: this kernel, or the file system of {}, does not mount EROFS images from \
                         files below an overlay (Linux 6.15, or 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE, and root in the \
                         machine's own user namespace)",
                        self.root().display()
                    );
                }
                takes
            }
        }
    }

    /// Whether images can be used here.
    pub(crate) fn takes_images(&self, lease: &Lease) -> bool {
        *self.shared.takes_images.get_or_init(|| takes_images(&lease.scratch()))
    }
}

/// What the files of a layer are called below its directory.
pub(crate) fn name(layer: &Layer) -> &'static str {
    if layer.is_image { IMAGE } else { DIRECTORY }
}

/// Whether the kernel mounts an image from a file here, and an overlay on top: tried, as its version says too little.
fn takes_images(scratch: &Path) -> bool {
    let image = scratch.join(IMAGE);
    let mounted = || {
        make_dir(scratch, 0o700).ok()?;
        let draft = archive::unpack_image(&mut &[][..], File::create_new(&image).ok()?, Default::default());
        draft.ok()?.finish([0; 16]).ok()?;
        Overlay { lower: vec![image.clone(), scratch.to_path_buf()], ..Overlay::default() }.mount().ok()
    };
    let takes = mounted().is_some();
    // It goes with the lease at the latest.
    crate::lease::remove(scratch).ok();
    takes
}

#[cfg(test)]
mod tests;
