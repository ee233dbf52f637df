//! Blobs: bytes by digest.

use crate::batch::Whole;
use crate::{Error, Lease, Store, sync_dir};
use archive::HashingReader;
use oci::Digest;
use sha2::{Digest as _, Sha256, Sha512};
use state::leases;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use sys::space::Room;

/// A blob that is being written. Dropping it before [`BlobWriter::commit`] throws it away.
pub struct BlobWriter<'l> {
    lease: &'l Lease,
    store: Store,
    path: PathBuf,
    file: File,
    /// None where whoever writes checks the digest himself.
    hash: Option<Sha256>,
    length: u64,
    room: Room,
    committed: bool,
}

impl Store {
    /// Starts a blob.
    pub fn ingest<'l>(&self, lease: &'l Lease) -> Result<BlobWriter<'l>, Error> {
        self.start_blob(lease, Some(Sha256::new()))
    }

    /// Starts a blob whose digest the writer checks before it commits it, with the digest that it is to have: it
    /// isn't computed a second time.
    pub fn ingest_checked<'l>(&self, lease: &'l Lease) -> Result<BlobWriter<'l>, Error> {
        self.start_blob(lease, None)
    }

    fn start_blob<'l>(&self, lease: &'l Lease, hash: Option<Sha256>) -> Result<BlobWriter<'l>, Error> {
        let path = lease.scratch();
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).clone();
        let file = options.open(&path).map_err(Error::io("make", &path))?;
        let room = Room::on(&file).map_err(Error::io("look at", &path))?;
        let store = self.clone();
        Ok(BlobWriter { lease, store, path, file, hash, length: 0, room, committed: false })
    }

    /// Keeps these bytes.
    pub fn put_blob(&self, lease: &Lease, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::sha256(bytes);
        // A damaged one is written anew.
        if self.use_blob(lease, &digest)?.is_some()
            && self.read_blob(&digest, bytes.len() as u64).is_ok_and(|here| here == bytes)
        {
            return Ok(digest);
        }
        let mut writer = self.ingest(lease)?;
        writer.write_all(bytes).map_err(Error::io("write", &writer.path))?;
        Ok(writer.commit(Some(&digest))?.0)
    }

    /// The length of a blob, none if it isn't here.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = self.blob_path(digest);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    /// The length of a blob that from now on stays as long as the lease; none if it isn't here.
    pub fn use_blob(&self, lease: &Lease, digest: &Digest) -> Result<Option<u64>, Error> {
        // Pinned first, under the lock of the collector: what is here then stays here.
        lease.pin(digest)?;
        self.blob_size(digest)
    }

    /// Opens a blob to read. Its bytes are not checked: use [`Store::read_blob`] for documents.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoBlob(digest.clone())),
            other => other.map_err(Error::io("open", path)),
        }
    }

    /// The bytes of a blob of at most `limit` bytes, checked against its digest.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        self.read_checked(self.open_blob(digest)?, digest, limit)
    }

    pub(crate) fn read_checked(&self, file: File, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        match (&file).take(limit + 1).read_to_end(&mut bytes) {
            Err(error) if crate::durable::is_broken_seal(&file, &error) => {
                return Err(Error::DamagedBlob(digest.clone()));
            }
            read => read.map_err(Error::io("read", self.blob_path(digest)))?,
        };
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { digest: digest.clone(), limit });
        }
        if !digest.matches(&bytes) {
            return Err(Error::DamagedBlob(digest.clone()));
        }
        Ok(bytes)
    }

    /// The digest that a blob should have by its bytes, by the algorithm of the one that it has by its name.
    pub(crate) fn digest_of_open(&self, bytes: impl Read, digest: &Digest) -> io::Result<Digest> {
        digest_of(bytes, digest.algorithm())
    }

    /// All blobs that are here, with their lengths. Files that are no blobs are left out.
    pub fn blobs(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let mut blobs = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let directory = self.blob_dir(algorithm);
            let failed = || Error::io("list", &directory);
            for entry in std::fs::read_dir(&directory).map_err(failed())? {
                let entry = entry.map_err(failed())?;
                let name = entry.file_name();
                let Ok(digest) = format!("{algorithm}:{}", name.to_string_lossy()).parse::<Digest>() else {
                    continue;
                };
                match entry.metadata() {
                    Ok(metadata) => blobs.push((digest, metadata.len())),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(failed()(error)),
                }
            }
        }
        blobs.sort();
        Ok(blobs)
    }
}

impl BlobWriter<'_> {
    /// How many bytes were written.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of what was written, which is all, and what [`BlobWriter::commit`] is then told: whoever commits may be
    /// another thread, as that waits for the disk. An error if it isn't what was expected.
    pub fn seal(&mut self, expected: Option<&Digest>) -> Result<Digest, Error> {
        let digest = match (expected, self.hash.take()) {
            (Some(expected), None) => expected.clone(),
            (Some(expected), Some(_)) if expected.algorithm() == "sha512" => self.read_back("sha512")?,
            (_, Some(hash)) => Digest::from_sha256(hash.finalize().into()),
            (None, None) => self.read_back("sha256")?,
        };
        match expected {
            Some(expected) if *expected != digest => {
                Err(Error::Mismatch { what: "content", expected: expected.clone(), found: digest })
            }
            _ => Ok(digest),
        }
    }

    /// The blob, whole, for [`crate::Batch`].
    pub(crate) fn whole(mut self, expected: Option<&Digest>) -> Result<(Digest, Whole), Error> {
        let digest = self.seal(expected)?;
        self.close()?;
        let file = self.file.try_clone().map_err(Error::io("open", &self.path))?;
        self.committed = true;
        Ok((digest, Whole { path: self.path.clone(), file, length: self.length, keep: false, sealed: true }))
    }

    /// Nobody writes to it any more, and nothing is left that could: as long as there is, the kernel seals nothing.
    fn close(&mut self) -> Result<(), Error> {
        self.file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        self.room = Room::on(&self.file).map_err(Error::io("look at", &self.path))?;
        sys::verity::seal(&self.file).map(drop).map_err(Error::io("seal", &self.path))
    }

    /// Makes the bytes a blob, pinned by the lease, durable and visible to all; its digest and length. If they
    /// aren't what was expected, nothing is kept.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), Error> {
        let digest = self.seal(expected)?;
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        self.close()?;
        let target = self.store.blob_path(&digest);
        self.store.db().write_fleeting(|tx| {
            leases::pin(tx, self.lease.id(), &digest)?;
            // Another process may have been first; its bytes are the same.
            std::fs::rename(&self.path, &target).map_err(Error::io("rename to", &target))
        })?;
        self.committed = true;
        sync_dir(&self.store.blob_dir(digest.algorithm()))?;
        Ok((digest, self.length))
    }
}

impl BlobWriter<'_> {
    fn read_back(&self, algorithm: &str) -> Result<Digest, Error> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        digest_of(file, algorithm).map_err(Error::io("read", &self.path))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.room.take(buffer.len() as u64)?;
        let count = self.file.write(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..count]);
        }
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if !self.committed {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// The digest of a stream by one of the two algorithms.
fn digest_of(source: impl Read, algorithm: &str) -> io::Result<Digest> {
    let mut buffer = vec![0; 256 << 10];
    if algorithm == "sha256" {
        let mut reader = HashingReader::new(source);
        while reader.read(&mut buffer)? > 0 {}
        return Ok(Digest::from_sha256(reader.finish().0));
    }
    let mut source = source;
    let mut hash = Sha512::new();
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(Digest::from_sha512(hash.finalize().into())),
            count => hash.update(&buffer[..count]),
        }
    }
}
