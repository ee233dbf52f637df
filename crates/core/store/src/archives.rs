//! Whether the blob that a manifest names for a layer is that layer's archive.
//!
//! A manifest names blobs, its configuration names what they decompress to, and nothing but decompressing shows that the two
//! belong together. Where a layer's files are here already nobody decompresses its archive: without a look an image would run
//! as one thing and be saved and pushed as another.

use crate::{Error, Image, Store};
use archive::HashingReader;
use oci::Digest;
use state::archives;
use std::io::BufReader;
use std::sync::PoisonError;

impl Store {
    /// Notes that this blob was seen to decompress to what has this digest.
    pub fn note_archive(&self, blob: &Digest, diff_id: &Digest) {
        let mut seen = self.shared.archives.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(blob.clone(), diff_id.clone());
    }

    /// Compares the archives of an image with its layers, by what is known of them, or else by reading them: those that were
    /// not known. An archive that isn't here is nobody's.
    pub(crate) fn compare_archives(&self, image: &Image) -> Result<Vec<(Digest, Digest)>, Error> {
        let layers = image.manifest.layers.iter().map(|layer| &layer.digest);
        // What is not compressed has the name of what it is.
        let packed: Vec<_> =
            layers.zip(&image.config.rootfs.diff_ids).filter(|(blob, diff_id)| blob != diff_id).collect();
        let known = self.db().read(|tx| {
            packed.iter().map(|(blob, _)| archives::get(tx, blob)).collect::<Result<Vec<_>, state::Error>>()
        })?;
        let mut new = Vec::new();
        for ((blob, diff_id), known) in packed.into_iter().zip(known) {
            let found = match known {
                Some(known) => known,
                None => match self.content_of(blob)? {
                    Some(found) => {
                        new.push((blob.clone(), found.clone()));
                        found
                    }
                    None => continue,
                },
            };
            if found != *diff_id {
                return Err(Error::Mismatch { what: "layer", expected: diff_id.clone(), found });
            }
        }
        Ok(new)
    }

    /// The database has these now.
    pub(crate) fn forget_archives(&self, compared: &[(Digest, Digest)]) {
        let mut seen = self.shared.archives.lock().unwrap_or_else(PoisonError::into_inner);
        compared.iter().for_each(|(blob, _)| drop(seen.remove(blob)));
    }

    /// The digest of what a blob decompresses to; none if it isn't here.
    fn content_of(&self, blob: &Digest) -> Result<Option<Digest>, Error> {
        let seen = self.shared.archives.lock().unwrap_or_else(PoisonError::into_inner).get(blob).cloned();
        if seen.is_some() || self.blob_size(blob)?.is_none() {
            return Ok(seen);
        }
        let failed = |error| Error::io("decompress", &self.blob_path(blob))(error);
        let file = BufReader::with_capacity(1 << 20, self.open_blob(blob)?);
        let content = archive::decompress(file).map_err(failed)?;
        let digest = archive::read_ahead(content, |content| {
            let mut hashing = HashingReader::new(content);
            archive::drain(&mut hashing)?;
            Ok(Digest::from_sha256(hashing.finish().0))
        });
        digest.map(Some).map_err(failed)
    }
}
