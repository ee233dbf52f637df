//! Layers as compressed archives, for those who send images elsewhere.

use crate::{Error, Layer, Lease, Store};
use archive::Compression;
use oci::image::Descriptor;
use oci::media_types;
use std::io::{BufReader, BufWriter, Write as _};

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
        let failed = |error: std::io::Error| Error::Io {
            attempt: "compress",
            path: self.layer_dir(&layer.chain_id),
            source: error,
        };
        let writer = BufWriter::with_capacity(1 << 20, self.ingest(lease)?);
        let mut compressor = archive::compress(compression, level, writer).map_err(failed)?;
        match self.use_blob(lease, &found.digest)? {
            Some(_) => {
                let blob = BufReader::with_capacity(1 << 20, self.open_blob(&found.digest)?);
                let mut source = lease.guard(archive::decompress(blob).map_err(failed)?);
                std::io::copy(&mut source, &mut compressor).map_err(failed)?;
            }
            None if layer.archive_size.is_some() => self.layer_tar(layer, &mut compressor)?,
            // Packing it would not give the archive that it came as.
            None => return Err(Error::NoBlob(found.digest.clone())),
        }
        let mut writer = compressor.finish().map_err(failed)?;
        writer.flush().map_err(failed)?;
        let writer = writer.into_inner().map_err(|error| failed(error.into_error()))?;
        let (digest, length) = writer.commit(None)?;
        let media_type = match compression {
            Compression::Gzip => media_types::OCI_LAYER_GZIP,
            Compression::Zstd => media_types::OCI_LAYER_ZSTD,
            Compression::None | Compression::Xz | Compression::Bzip2 => media_types::OCI_LAYER,
        };
        Ok(Descriptor {
            annotations: found.annotations.clone(),
            ..Descriptor::new(media_type, digest, length)
        })
    }
}
