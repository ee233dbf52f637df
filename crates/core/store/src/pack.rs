//! Layers as compressed archives, for those who send images elsewhere.

use crate::{Error, Layer, Lease, Store};
use archive::Compression;
use oci::image::Descriptor;
use oci::{Digest, media_types};
use std::io::{BufReader, Write};

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
            None => self.layer_tar(layer, compressor),
        };
        let wrapped = |compressor: &mut dyn Write| produce(compressor).map_err(Wrapped::Store);
        match archive::compress_pieces(compression, level, sink, wrapped) {
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
