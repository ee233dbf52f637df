//! Tar and compression streams, whiteouts, and extraction confined to a root.
//!
//! An archive is hostile until it is unpacked. [`Reader`] parses (ustar, GNU, PAX) and never trusts a length or a name;
//! [`unpack`] writes below a [`sys::root::Root`] only, which the kernel confines; [`Packer`] writes deterministic
//! archives: the same tree gives the same bytes. A layer (OCI image-spec, layer.md) is unpacked into the form that
//! overlayfs wants, whiteouts as character devices 0:0 and opaque directories by attribute, and packed back from it; or
//! written as an EROFS image of the same tree ([`unpack_image`]).
//!
//! Sizes are bytes, times are seconds and nanoseconds since 1970. Errors name the entry. Nothing here knows images.

mod ahead;
mod behind;
mod compression;
mod entry;
mod erofs;
mod error;
mod estargz;
mod guard;
mod hashing;
mod header;
mod members;
mod packer;
mod pax;
mod pieces;
mod reader;
mod sparse;
mod tree;
mod unpack;
mod whiteout;
mod write;

pub use ahead::{Ahead, read_ahead};
pub use behind::Behind;
pub use compression::{Compression, Compressor, Decompressor, compress, decompress};
pub use entry::{Entry, Kind, Segment, Time};
pub use erofs::{Draft, unpack_image};
pub use error::Error;
pub use estargz::{Seekable, estargz};
pub use guard::{Guard, wanted};
pub use hashing::{HashingReader, HashingWriter, drain};
pub use packer::Packer;
pub use pieces::compress_pieces;
pub use reader::Reader;
pub use tree::{Tree, pack_tree};
pub use unpack::{Limits, Options, Semantics, Stats, Unpacker, Unsettled, settle, unpack, unpack_buffered};
pub use whiteout::{Meaning, OPAQUE_XATTR, OVERLAY_XATTRS, meaning};

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod tests;
