//! Layers as compressed archives, for those who send images elsewhere.

use crate::{Error, Layer, Lease, Store};
use archive::Compression;
use oci::image::Descriptor;
use oci::{Digest, media_types};
use std::io::{BufReader, Write};

/// What a descriptor says of an eStargz layer: the digest of its table.
pub const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// How many bytes it decompresses to.
const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";

impl Store {
    /// A layer's archive, compressed, as a blob; `found` is what a manifest names it as now. The same layer always gives
    /// the same bytes.
    pub fn pack_layer(
        &self,
        lease: &Lease,
        layer: &Layer,
        found: &Descriptor,
        compression: Compression,
        level: Option<u32>,
    ) -> Result<Descriptor, Error> {
        let blob = self.ingest(lease)?;
        let blob = self.write_layer(lease, layer, found, (compression, level), blob)?;
        let (digest, length) = blob.commit(None)?;
        Ok(packed(found, compression, digest, length))
    }

    /// A layer's archive as eStargz, as a blob, and the digest of what that decompresses to, which is another one than the
    /// layer's. The same layer always gives the same bytes.
    pub fn pack_seekable(
        &self,
        lease: &Lease,
        layer: &Layer,
        found: &Descriptor,
        level: Option<u32>,
    ) -> Result<(Descriptor, Digest), Error> {
        let (reader, writer) =
            std::io::pipe().map_err(Error::io("make a pipe for", self.layer_dir(&layer.chain_id)))?;
        let blob = self.ingest(lease)?;
        let (seekable, blob) = std::thread::scope(|scope| {
            let plain = (Compression::None, None);
            let writing = scope.spawn(move || self.write_layer(lease, layer, found, plain, writer).map(drop));
            let made = archive::estargz(BufReader::with_capacity(1 << 20, reader), level, blob);
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match made {
                // Whoever has read a cut archive does not know why it was.
                Ok(_) | Err(archive::Error::Truncated(_)) => written?,
                Err(_) => {}
            }
            made.map_err(Error::archive("compress"))
        })?;
        let (digest, length) = blob.commit(None)?;
        let diff_id = Digest::from_sha256(seekable.diff);
        let mut packed = packed(found, Compression::Gzip, digest, length);
        packed.annotations.extend([
            (TOC_DIGEST.to_owned(), Digest::from_sha256(seekable.toc).to_string()),
            (UNCOMPRESSED_SIZE.to_owned(), seekable.length.to_string()),
        ]);
        Ok((packed, diff_id))
    }

    /// The same bytes into a sink, which is given back.
    pub fn write_layer<W: Write + Send>(
        &self,
        lease: &Lease,
        layer: &Layer,
        found: &Descriptor,
        (compression, level): (Compression, Option<u32>),
        sink: W,
    ) -> Result<W, Error> {
        let failed = |error: std::io::Error| Error::Io {
            attempt: "compress",
            path: self.layer_dir(&layer.chain_id),
            source: error,
        };
        let blob = match self.use_blob(lease, &found.digest)? {
            Some(_) => Some(self.open_blob(&found.digest)?),
            None if layer.archive_size.is_some() => None,
            // Packing it would not give the archive that it came as.
            None => return Err(Error::NoBlob(found.digest.clone())),
        };
        let produce = |compressor: &mut dyn Write| match blob {
            Some(blob) => {
                let blob = BufReader::with_capacity(1 << 20, blob);
                let mut source = lease.guard(archive::decompress(blob).map_err(failed)?);
                std::io::copy(&mut source, compressor).map(drop).map_err(failed)
            }
            None => self.layer_tar(layer, lease.watch(compressor)),
        };
        let wrapped = |compressor: &mut dyn Write| produce(compressor).map_err(Wrapped::Store);
        match archive::compress_pieces(compression, level, sink, &|| lease.is_over(), wrapped) {
            Ok(((), sink)) => Ok(sink),
            Err(Wrapped::Store(error)) => Err(error),
            Err(Wrapped::Io(error)) => Err(failed(error)),
        }
    }
}

/// What a manifest names a layer as that was compressed.
pub fn packed(found: &Descriptor, compression: Compression, digest: Digest, length: u64) -> Descriptor {
    let media_type = match compression {
        Compression::Gzip => media_types::OCI_LAYER_GZIP,
        Compression::Zstd => media_types::OCI_LAYER_ZSTD,
        Compression::None | Compression::Xz | Compression::Bzip2 => media_types::OCI_LAYER,
    };
    Descriptor { annotations: found.annotations.clone(), ..Descriptor::new(media_type, digest, length) }
}

/// An error of what is compressed, or of compressing it.
enum Wrapped {
    Store(Error),
    Io(std::io::Error),
}

impl From<std::io::Error> for Wrapped {
    fn from(error: std::io::Error) -> Wrapped {
        Wrapped::Io(error)
    }
}
