//! What can go wrong with content.

use oci::{Digest, ReferenceError};
use std::io;
use std::path::PathBuf;

/// A failed attempt at the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{attempt} {path}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it didn't work.
        #[source]
        source: io::Error,
    },
    /// The database refused something.
    #[error(transparent)]
    State(#[from] state::Error),
    /// A layer can't be unpacked or packed.
    #[error("{attempt} layer")]
    Archive {
        /// Which of the two.
        attempt: &'static str,
        /// Why.
        #[source]
        source: archive::Error,
    },
    /// Content isn't what it was said to be.
    #[error("{what} has digest {found}, expected {expected}")]
    Mismatch {
        /// What it is.
        what: &'static str,
        /// What was said.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A blob that is needed isn't here.
    #[error("blob {0} is not here")]
    NoBlob(Digest),
    /// A blob's bytes aren't those that its name says.
    #[error("blob {0} is damaged")]
    DamagedBlob(Digest),
    /// A blob is larger than a document of its kind may be.
    #[error("blob {digest} has more than {limit} bytes")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// How much is allowed.
        limit: u64,
    },
    /// A layer that is needed isn't here.
    #[error("layer {0} is not here")]
    NoLayer(oci::ChainId),
    /// A layer's own description can't be read.
    #[error("layer {chain} is damaged")]
    DamagedLayer {
        /// Which.
        chain: oci::ChainId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A document can't be read as what it should be.
    #[error("read {what} {digest}")]
    Document {
        /// What it should be.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// Why it is not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image's configuration has a text that the kernel would see the beginning of.
    #[error("invalid image configuration: {field} contains a NUL byte")]
    Nul {
        /// As the document calls it.
        field: &'static str,
    },
    /// An image's configuration and its manifest don't fit together.
    #[error("image has {layers} layers and {diff_ids} diff ids")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// The name is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No image of that name or id.
    #[error("No such image: {0}")]
    NoImage(String),
    /// What has this name is no image.
    #[error(
        "{name} is no image but an artifact of type {kind}: it can't be run, only saved, pushed, tagged and removed"
    )]
    Artifact {
        /// What was asked for.
        name: String,
        /// A media type.
        kind: String,
    },
    /// Several images' ids begin like this.
    #[error("image id prefix {0:?} is ambiguous")]
    Ambiguous(String),
    /// The image is here, but not for this platform.
    #[error("image with reference {name} was found but does not provide the specified platform ({platform})")]
    Platform {
        /// The image.
        name: String,
        /// The platform.
        platform: Box<oci::Platform>,
    },
}

impl Error {
    /// Whether content is at fault, and not what was needed to look at it, such as a descriptor.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Mismatch { .. }
            | Error::NoBlob(_)
            | Error::DamagedBlob(_)
            | Error::TooLarge { .. }
            | Error::NoLayer(_)
            | Error::DamagedLayer { .. }
            | Error::Document { .. }
            | Error::LayerCount { .. }
            | Error::Nul { .. } => true,
            Error::Io { .. }
            | Error::State(_)
            | Error::Archive { .. }
            | Error::Reference(_)
            | Error::NoImage(_)
            | Error::Artifact { .. }
            | Error::Ambiguous(_)
            | Error::Platform { .. } => false,
        }
    }

    pub(crate) fn io(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { attempt, path, source }
    }

    pub(crate) fn archive(attempt: &'static str) -> impl FnOnce(archive::Error) -> Error {
        move |source| Error::Archive { attempt, source }
    }
}
