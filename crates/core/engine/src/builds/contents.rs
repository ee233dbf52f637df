//! Blobs of a client's own stores: caches, layouts and results that lie in its directories and not in this machine's.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use builder::{BoxError, CacheOrigin, CacheTaker, DOCUMENT_MAX, OpenedCache};
use bytes::{Buf as _, Bytes};
use oci::image::{Descriptor, Document, Index, MANIFEST_MAX, Manifest};
use oci::{Digest, Platform};
use tokio::sync::mpsc::Receiver;

use super::caches::opened;
use crate::Engine;
use crate::containers::record::make_private_dir;
use crate::error::{Error, Result};
use crate::images::{layout, save_as};

/// Stores of a client, each by its name. All of it blocks.
pub trait Contents: Send + Sync {
    /// The bytes of a blob; nobody has verified them.
    fn read(&self, store: &str, digest: &Digest) -> Result<Box<dyn Read + Send>, BoxError>;

    /// Gives a blob to a store that may have it already.
    fn write(
        &self,
        store: &str,
        descriptor: &Descriptor,
        content: &mut (dyn Read + Send),
    ) -> Result<(), BoxError>;

    /// A cache is in the store now, which this is the manifest of.
    fn note(&self, store: &str, manifest: &Descriptor);
}

/// What stores of caches are called, before the directory.
fn store_of(directory: &str) -> String {
    format!("local:{directory}")
}

/// Reads a small blob and verifies it.
fn small(contents: &dyn Contents, store: &str, digest: &Digest, limit: u64) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    contents.read(store, digest)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit || !digest.matches(&bytes) {
        true => Err(format!("{digest} is longer than {limit} bytes or not what it is called").into()),
        false => Ok(bytes),
    }
}

/// A cache in a directory of the client, which has looked up its digest.
pub(super) fn origin(contents: &Arc<dyn Contents>, directory: &str, digest: Option<&str>) -> CacheOrigin {
    let (contents, store) = (contents.clone(), store_of(directory));
    let digest = digest.map(str::to_owned);
    let open = move || -> Result<Vec<OpenedCache>, BoxError> {
        let digest: Digest = digest.as_deref().ok_or("the directory has no cache of that tag")?.parse()?;
        let document = Document::parse(&small(&*contents, &store, &digest, MANIFEST_MAX)?)?;
        let manifest = super::caches::manifest(document)?;
        let config = small(&*contents, &store, &manifest.config.digest, DOCUMENT_MAX)?;
        let (contents, store) = (contents.clone(), store.clone());
        let blob = move |descriptor: &Descriptor| contents.read(&store, &descriptor.digest);
        Ok(vec![opened(&manifest, config, Arc::new(blob))?])
    };
    CacheOrigin { name: directory.to_owned(), image: None, open: Arc::new(open) }
}

/// Takes a cache to a directory of the client, whose index it keeps itself.
pub(super) fn taker(engine: &Engine, contents: &Arc<dyn Contents>, directory: &str) -> CacheTaker {
    let (blobs, contents, store) = (engine.store().clone(), contents.clone(), store_of(directory));
    Arc::new(move |manifest: &Descriptor, all: &[Descriptor]| {
        for descriptor in all.iter().chain([manifest]) {
            contents.write(&store, descriptor, &mut blobs.open_blob(&descriptor.digest)?)?;
        }
        contents.note(&store, manifest);
        Ok(())
    })
}

/// Loads an image of a client's store, without giving it a name; the digest of its manifest.
pub async fn load_from(
    engine: &Engine,
    contents: Arc<dyn Contents>,
    store: String,
    digest: Digest,
    platform: &Platform,
) -> Result<Digest> {
    let wanted = platform.clone();
    let fetch = move |engine: &Engine| {
        let lease = engine.store().lease("layout of a client")?;
        let path = lease.scratch();
        let failed = |e: BoxError| Error::invalid(format!("layout {store}: {e}"));
        let manifest = fetch(&*contents, &store, &digest, &wanted, &path, lease.limits().bytes);
        Ok((lease, path, manifest.map_err(failed)?))
    };
    let (_lease, path, manifest) = engine.blocking(fetch).await?;
    let found = super::layout::find(&format!("{}@{manifest}", path.display()), platform)?;
    let manifest = found.manifest.clone();
    super::layout::load(engine, found).await?;
    Ok(manifest)
}

/// Writes a layout with the one image that fits.
fn fetch(
    contents: &dyn Contents,
    store: &str,
    digest: &Digest,
    platform: &Platform,
    path: &Path,
    limit: u64,
) -> Result<Digest, BoxError> {
    make_private_dir(&path.join(layout::BLOBS))?;
    let mut digest = digest.clone();
    let mut bytes = small(contents, store, &digest, MANIFEST_MAX)?;
    if let Document::Index(index) = Document::parse(&bytes)? {
        let member = index.best(platform).ok_or_else(|| format!("it has no image for {platform}"))?;
        digest = member.digest.clone();
        bytes = small(contents, store, &digest, MANIFEST_MAX)?;
    }
    let Document::Manifest(manifest) = Document::parse(&bytes)? else {
        return Err("it is an index of indexes".into());
    };
    let Manifest { media_type, config, layers, .. } = *manifest;
    std::fs::write(path.join(layout::blob(&digest)), &bytes)?;
    let mut left = limit;
    for descriptor in layers.iter().chain([&config]) {
        left = left.checked_sub(descriptor.size).ok_or("it is larger than any image may be")?;
        let mut blob = contents.read(store, &descriptor.digest)?.take(descriptor.size.saturating_add(1));
        let mut file = std::fs::File::create(path.join(layout::blob(&descriptor.digest)))?;
        // Loading verifies it.
        if io::copy(&mut blob, &mut file)? != descriptor.size {
            return Err(format!("{} has another size than it is said to have", descriptor.digest).into());
        }
    }
    let index = Index::new(vec![Descriptor::new(&media_type, digest.clone(), bytes.len() as u64)]);
    std::fs::write(path.join(layout::INDEX), serde_json::to_vec(&index)?)?;
    Ok(digest)
}

/// Gives all blobs of an image or an index to a client's store, which keeps its index itself.
pub async fn send_to(
    engine: &Engine,
    contents: Arc<dyn Contents>,
    store: String,
    target: &Descriptor,
    names: Vec<String>,
) -> Result<()> {
    let archive = save_as(engine, target.digest.clone(), names, target.annotations.clone()).await?;
    engine
        .blocking(move |_| {
            let failed = |e: BoxError| Error::system(format!("export to the client's store: {e}"));
            send(&*contents, &store, archive).map_err(failed)
        })
        .await
}

fn send(contents: &dyn Contents, store: &str, archive: Receiver<Result<Bytes>>) -> Result<(), BoxError> {
    let mut archive = archive::Reader::new(Chunks { archive, chunk: Bytes::new() });
    while let Some(entry) = archive.next_entry()? {
        let name = entry.path.to_string_lossy().into_owned();
        let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) else { continue };
        let descriptor = Descriptor::new("", format!("sha256:{hex}").parse()?, entry.size);
        contents.write(store, &descriptor, &mut archive.data())?;
    }
    Ok(())
}

/// An archive as it is written.
struct Chunks {
    archive: Receiver<Result<Bytes>>,
    chunk: Bytes,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() {
            match self.archive.blocking_recv() {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => break,
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, count: usize) {
        self.chunk.advance(count);
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(buffer)?;
        self.consume(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Blobs(BTreeMap<Digest, Vec<u8>>);

    impl Contents for Blobs {
        fn read(&self, _: &str, digest: &Digest) -> Result<Box<dyn Read + Send>, BoxError> {
            let bytes = self.0.get(digest).cloned().ok_or("no such blob")?;
            Ok(Box::new(io::Cursor::new(bytes)))
        }

        fn write(&self, _: &str, _: &Descriptor, _: &mut (dyn Read + Send)) -> Result<(), BoxError> {
            Err("nothing is written".into())
        }

        fn note(&self, _: &str, _: &Descriptor) {}
    }

    #[test]
    fn sizes_that_are_said_are_believed_to_a_limit() {
        for (size, words) in [(u64::MAX, "larger than any image"), (2, "another size"), (0, "another size")] {
            let (config, dir) = (b"{", tempfile::tempdir().unwrap());
            let described =
                Descriptor::new("application/vnd.oci.image.config.v1+json", Digest::sha256(config), size);
            let manifest = serde_json::to_vec(&Manifest::new(described, Vec::new())).unwrap();
            let digest = Digest::sha256(&manifest);
            let blobs = Blobs([(digest.clone(), manifest), (Digest::sha256(config), config.to_vec())].into());
            let limit = if size == u64::MAX { u64::MAX - 1 } else { 1 << 20 };
            let refused = fetch(&blobs, "store", &digest, &Platform::host(), dir.path(), limit).unwrap_err();
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
}
