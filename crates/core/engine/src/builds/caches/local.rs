//! Caches in directories: OCI layouts, one cache under each tag. Several builds may write into one at once.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use builder::{BoxError, DOCUMENT_MAX, OpenedCache};
use oci::Digest;
use oci::image::{Descriptor, Document, Index, MANIFEST_MAX};

use super::{manifest, opened};
use crate::images::layout;
use crate::lock;

/// The tag of a cache that nobody has named.
const LATEST: &str = "latest";

/// The tag of a cache.
fn tag_of(member: &Descriptor) -> &str {
    member.annotations.get(layout::REF_NAME).map_or(LATEST, String::as_str)
}

/// Opens a cache. Files are found by their digest, and verified by whoever reads them.
pub fn open(path: &Path, tag: Option<&str>, digest: Option<&str>) -> Result<OpenedCache, BoxError> {
    let document = |bytes: &[u8]| Document::parse(bytes).map_err(BoxError::from);
    let index = index(&small(&path.join(layout::INDEX), MANIFEST_MAX)?)?;
    let wanted = |member: &&Descriptor| match digest {
        Some(digest) => member.digest.as_str() == digest,
        None => tag_of(member) == tag.unwrap_or(LATEST),
    };
    let found = index.manifests.iter().find(wanted).ok_or("it has no cache of that tag or digest")?;
    let read = |descriptor: &Descriptor, limit: u64| {
        let bytes = small(&path.join(layout::blob(&descriptor.digest)), limit)?;
        match descriptor.digest.matches(&bytes) {
            true => Ok(bytes),
            false => Err(BoxError::from(format!("{} does not match its digest", descriptor.digest))),
        }
    };
    let manifest = manifest(document(&read(found, MANIFEST_MAX)?)?)?;
    let path = path.to_owned();
    let blob = move |descriptor: &Descriptor| {
        let file = File::open(path.join(layout::blob(&descriptor.digest)))?;
        Ok(Box::new(file) as Box<dyn Read + Send>)
    };
    opened(&manifest, read(&manifest.config, DOCUMENT_MAX)?, Arc::new(blob))
}

fn index(bytes: &[u8]) -> Result<Index, BoxError> {
    match Document::parse(bytes)? {
        Document::Index(index) => Ok(index),
        _ => Err("index.json is no index".into()),
    }
}

fn small(path: &Path, limit: u64) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(format!("{} is longer than {limit} bytes", path.display()).into()),
        false => Ok(bytes),
    }
}

/// Adds a cache under a tag, whose blobs `content` opens; others that are there stay, but with `reset` no blob that none of them names.
pub fn write<R: Read>(
    path: &Path,
    (tag, reset): (&str, bool),
    manifest: &Descriptor,
    blobs: &[Descriptor],
    content: impl Fn(&Digest) -> Result<R, BoxError>,
) -> Result<(), BoxError> {
    fs::create_dir_all(path.join(layout::BLOBS))?;
    // Until it is written, the index is nobody else's to read and change.
    let _lock = lock::directory(path)?;
    for descriptor in blobs.iter().chain([manifest]) {
        let target = path.join(layout::blob(&descriptor.digest));
        if target.metadata().is_ok_and(|known| known.len() == descriptor.size) {
            continue;
        }
        let mut source = content(&descriptor.digest)?;
        place(&target, |file| io::copy(&mut source, file).map(drop))?;
    }
    sync(&path.join(layout::BLOBS))?;
    let file = path.join(layout::INDEX);
    let mut members = match file.try_exists()? {
        true => index(&small(&file, MANIFEST_MAX)?)?.manifests,
        false => Vec::new(),
    };
    members.retain(|member| tag_of(member) != tag);
    let mut own = manifest.clone();
    own.annotations.insert(layout::REF_NAME.to_owned(), tag.to_owned());
    members.push(own);
    let index = Index::new(members);
    let bytes = serde_json::to_vec(&index)?;
    place(&path.join(layout::OCI_LAYOUT), |file| file.write_all(layout::OCI_LAYOUT_CONTENT.as_bytes()))?;
    place(&file, |file| file.write_all(&bytes))?;
    sync(path)?;
    if reset { forget_others(path, index) } else { Ok(()) }
}

/// Removes the blobs that nothing in the index names; none where it cannot be seen what it names.
fn forget_others(path: &Path, index: Index) -> Result<(), BoxError> {
    let (mut named, mut open) = (BTreeSet::new(), index.manifests);
    while let Some(member) = open.pop() {
        if !named.insert(member.digest.clone()) {
            continue;
        }
        let file = path.join(layout::blob(&member.digest));
        let read = |e: BoxError| format!("reset=true: {}: {e}", file.display());
        let bytes = small(&file, MANIFEST_MAX).map_err(read)?;
        match Document::parse(&bytes).map_err(|e| read(e.into()))? {
            Document::Manifest(manifest) => {
                named.extend(manifest.layers.into_iter().chain([manifest.config]).map(|blob| blob.digest));
            }
            // Of an index of layers no member is a document.
            Document::Index(list) if super::is_list(&list) => {
                named.extend(list.manifests.into_iter().map(|blob| blob.digest));
            }
            Document::Index(more) => open.extend(more.manifests),
        }
    }
    for entry in fs::read_dir(path.join(layout::BLOBS))? {
        let entry = entry?;
        let digest = entry.file_name().to_str().and_then(|name| format!("sha256:{name}").parse().ok());
        if digest.is_some_and(|digest: Digest| !named.contains(&digest)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file that appears under its name when it is complete. Who calls holds the lock: the name that it has before is nobody else's, and
/// what a build that was killed left under it is written over.
fn place(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = File::create(&partial)?;
    let written = write(&mut file).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Makes the names in a directory last.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::image::Manifest;

    const BLOB: &[u8] = b"a layer of all of them";

    fn described(bytes: &[u8]) -> Descriptor {
        Descriptor::new("application/octet-stream", Digest::sha256(bytes), bytes.len() as u64)
    }

    fn give(path: &Path, tag: &str) -> Result<(), BoxError> {
        let manifest = tag.as_bytes().to_vec();
        write(path, (tag, false), &described(&manifest), &[described(BLOB)], |digest| {
            let bytes = if digest.matches(BLOB) { BLOB.to_vec() } else { manifest.clone() };
            // Slow enough that the others come meanwhile.
            std::thread::yield_now();
            Ok(io::Cursor::new(bytes))
        })
    }

    fn tags(path: &Path) -> Vec<String> {
        let index = index(&fs::read(path.join(layout::INDEX)).unwrap()).unwrap();
        let mut tags: Vec<_> = index.manifests.iter().map(|member| tag_of(member).to_owned()).collect();
        tags.sort();
        tags
    }

    #[test]
    fn builds_that_write_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        let all: Vec<String> = (10..42).map(|number| format!("tag{number}")).collect();
        let start = std::sync::Barrier::new(all.len());
        std::thread::scope(|scope| {
            for tag in &all {
                let (path, start) = (&path, &start);
                scope.spawn(move || {
                    start.wait();
                    give(path, tag).unwrap();
                });
            }
        });
        assert_eq!(tags(&path), all);
        assert_eq!(fs::read(path.join(layout::blob(&Digest::sha256(BLOB)))).unwrap(), BLOB);
        let partial = |entry: io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().contains("partial")
        };
        assert!(!fs::read_dir(&path).unwrap().any(partial));
        assert!(!fs::read_dir(path.join(layout::BLOBS)).unwrap().any(partial));
    }

    #[test]
    fn what_no_cache_names_goes_where_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let give = |tag: &str, layer: &[u8], reset: bool| {
            let manifest =
                serde_json::to_vec(&Manifest::new(described(b"{}"), vec![described(layer)])).unwrap();
            let all = [b"{}".to_vec(), layer.to_vec(), manifest.clone()];
            let blobs = [described(b"{}"), described(layer)];
            write(dir.path(), (tag, reset), &described(&manifest), &blobs, |digest| {
                Ok(io::Cursor::new(all.iter().find(|bytes| digest.matches(bytes)).unwrap().clone()))
            })
        };
        let count = || fs::read_dir(dir.path().join(layout::BLOBS)).unwrap().count();
        give("a", b"one", false).unwrap();
        give("b", b"two", false).unwrap();
        give("a", b"three", false).unwrap();
        assert_eq!(count(), 7, "three manifests, three layers, one configuration");
        give("a", b"three", true).unwrap();
        assert_eq!(count(), 5);
        // Who else is named and cannot be read may need any of them.
        let index = index(&fs::read(dir.path().join(layout::INDEX)).unwrap()).unwrap();
        fs::remove_file(dir.path().join(layout::blob(&index.manifests[0].digest))).unwrap();
        assert!(give("a", b"four", true).unwrap_err().to_string().starts_with("reset=true: "));
        assert_eq!(count(), 6, "one is gone, two are new");
    }

    #[test]
    fn what_is_there_and_no_index_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        give(dir.path(), "a").unwrap();
        give(dir.path(), "a").unwrap();
        assert_eq!(tags(dir.path()), ["a"]);
        fs::write(dir.path().join(layout::INDEX), "{").unwrap();
        assert!(give(dir.path(), "b").is_err());
        assert_eq!(fs::read(dir.path().join(layout::INDEX)).unwrap(), b"{");
    }
}
