//! `--build-context name=oci-layout://directory[:tag|@digest]`: an image of a layout on this machine.

use std::io::Write as _;
use std::path::Path;

use archive::{Entry, Packer, Tree, pack_tree};
use bytes::Bytes;
use oci::image::{Descriptor, Document, INDEX_DEPTH_MAX, Index, MANIFEST_MAX};
use oci::{Digest, Platform};
use sys::root::Root;
use tokio::sync::mpsc;

use crate::error::{Context as _, Error, Result};
use crate::images::layout;
use crate::{Engine, images, pipe};

/// For which platforms an image is wanted, and what it is called there: a build for several has one of each.
pub fn by_platform(name: &str, platforms: &[Platform]) -> Vec<(String, Platform)> {
    match (name.split_once("::").map(|(_, own)| own.parse::<Platform>()), platforms) {
        (Some(Ok(own)), _) => vec![(name.to_owned(), own.normalized())],
        (_, []) => vec![(name.to_owned(), Platform::host())],
        (_, [only]) => vec![(name.to_owned(), only.clone())],
        (_, several) => several.iter().map(|of| (format!("{name}::{of}"), of.clone())).collect(),
    }
}

/// An image of a layout.
pub(super) struct Found {
    /// What it is called: `directory:tag@digest`.
    pub identifier: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    top: Descriptor,
    root: Root,
}

/// Looks for the image that an address names.
pub(super) fn find(address: &str, platform: &Platform) -> Result<Found> {
    let (path, selector) = split(address);
    let root = Root::open(path).map_err(|e| Error::invalid(format!("open layout {path}: {e}")))?;
    let index = document(&root, layout::INDEX, path)?;
    let Document::Index(index) = index else {
        return Err(Error::invalid(format!("layout {path}: index.json is no index")));
    };
    let top = choose(&index, selector).ok_or_else(|| {
        Error::invalid(format!("layout {path}: it has no image {}", selector.unwrap_or("latest")))
    })?;
    let mut manifest = top.digest.clone();
    // What is deeper is refused when it is loaded.
    for _ in 0..INDEX_DEPTH_MAX {
        let Document::Index(members) = document(&root, &layout::blob(&manifest), path)? else { break };
        let member = members.best(platform);
        let missing = || Error::invalid(format!("layout {path}: it has no image for {platform}"));
        manifest = member.ok_or_else(missing)?.digest.clone();
    }
    let tag = selector.filter(|text| !text.contains(':')).unwrap_or("latest");
    let identifier = format!("{path}:{tag}@{}", top.digest);
    Ok(Found { identifier, manifest, top: top.clone(), root })
}

/// Loads it, without giving it a name here.
pub(super) async fn load(engine: &Engine, found: Found) -> Result<()> {
    let Found { top, root, .. } = found;
    let mut only = top;
    // Its name is somebody else's: it gets none here.
    only.annotations.clear();
    let index = serde_json::to_vec(&Index::new(vec![only])).during("write an index")?;
    let (writer, receiver) = pipe::writer();
    tokio::task::spawn_blocking(move || {
        let errors = writer.sender();
        if let Err(error) = pack(writer, &root, &index) {
            let _ = errors.blocking_send(Err(error));
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let chunk: Option<Result<Bytes>> = receiver.recv().await;
        chunk.map(|chunk| (chunk.map_err(|e| std::io::Error::other(e.message)), receiver))
    });
    let (progress, mut lines) = mpsc::channel(16);
    tokio::spawn(async move { while lines.recv().await.is_some() {} });
    images::load(engine, stream, true, Vec::new(), progress).await
}

/// The directory, and what stands behind it.
fn split<'a>(address: &'a str) -> (&'a str, Option<&'a str>) {
    let tagged = |text: &'a str| text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    match address.rsplit_once('@') {
        // The digest says it, whatever tag stands before it.
        Some((name, digest)) => (tagged(name).map_or(name, |(path, _)| path), Some(digest)),
        None => tagged(address).map_or((address, None), |(path, tag)| (path, Some(tag))),
    }
}

fn choose<'i>(index: &'i Index, selector: Option<&str>) -> Option<&'i Descriptor> {
    let is = |member: &&Descriptor, name: &str| {
        let named = member.annotations.get(layout::REF_NAME);
        member.digest.as_str() == name
            || named.is_some_and(|own| own == name || own.ends_with(&format!(":{name}")))
    };
    let found = index.manifests.iter().find(|member| is(member, selector.unwrap_or("latest")));
    match (selector, index.manifests.as_slice()) {
        (None, [only]) => Some(only),
        _ => found,
    }
}

fn document(root: &Root, file: &str, path: &str) -> Result<Document> {
    let bytes = root
        .read_file(file, MANIFEST_MAX)
        .map_err(|e| Error::invalid(format!("layout {path}: {file}: {e}")))?;
    Document::parse(&bytes).map_err(|e| Error::invalid(format!("layout {path}: {file}: {e}")))
}

fn pack(writer: pipe::Writer, root: &Root, index: &[u8]) -> Result<()> {
    let failed = "read a layout";
    let mut packer = Packer::new(writer);
    for (name, bytes) in [(layout::OCI_LAYOUT, layout::OCI_LAYOUT_CONTENT.as_bytes()), (layout::INDEX, index)]
    {
        packer.append_bytes(&Entry::file(name, 0o644, 0), bytes).during(failed)?;
    }
    let blobs = Path::new("blobs");
    pack_tree(&mut packer, Tree { root, path: blobs, name: blobs, layer: false }).during(failed)?;
    packer.finish().during(failed)?.flush().during(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_has_its_own() {
        let platform = |text: &str| text.parse::<Platform>().unwrap().normalized();
        let all = [platform("linux/amd64"), platform("linux/riscv64")];
        let named = |name: &str, of: &Platform| (name.to_owned(), of.clone());
        assert_eq!(by_platform("a", &[]), [named("a", &Platform::host())]);
        assert_eq!(by_platform("a", &all[1..]), [named("a", &all[1])]);
        let each = [named("a::linux/amd64", &all[0]), named("a::linux/riscv64", &all[1])];
        assert_eq!(by_platform("a", &all), each);
        assert_eq!(by_platform("a::linux/riscv64", &all), [named("a::linux/riscv64", &all[1])]);
    }

    #[test]
    fn addresses() {
        assert_eq!(super::split("/a/b"), ("/a/b", None));
        assert_eq!(super::split("/a/b:1"), ("/a/b", Some("1")));
        assert_eq!(super::split("/a:b/c"), ("/a:b/c", None));
        assert_eq!(super::split("/a@sha256:00"), ("/a", Some("sha256:00")));
        assert_eq!(super::split("/a:b/c:1@sha256:00"), ("/a:b/c", Some("sha256:00")));
    }
}
