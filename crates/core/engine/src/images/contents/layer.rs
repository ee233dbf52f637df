//! One layer's entries, read from its archive: what it adds, and what it takes away from those below.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use archive::{Entry, Guard, HashingReader, Kind, Limits, Meaning, Reader, Time};

use crate::error::{Context as _, Error, Result};

/// What a layer says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// This is there.
    Node(Node),
    /// Layers below have nothing there.
    Gone,
    /// Of layers below, nothing in this directory.
    Opaque,
}

/// A file, a directory or whatever has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u64, u64),
    /// Bytes that it adds to its layer: none for a second name of a file.
    pub size: u64,
    pub mtime: Time,
    /// Where a symbolic or hard link leads.
    pub link: Vec<u8>,
    pub device: (u32, u32),
    /// SHA-256 of a file's content, where contents are compared.
    pub digest: Option<[u8; 32]>,
}

/// Paths without a slash in front, in the archive's order.
pub type Entries = Vec<(Vec<u8>, Says)>;

/// How much may be read.
pub struct Reading<'a> {
    pub limits: Limits,
    /// Entries that all layers together may still have.
    pub left: &'a mut u64,
    /// Whether contents are hashed.
    pub contents: bool,
}

/// Reads a layer's archive, compressed or not, to its end.
pub fn read(source: impl Read, reading: Reading<'_>) -> Result<Entries> {
    let stream = archive::decompress(source).during("read a layer")?;
    let guarded = Guard::new(stream, reading.limits.stream(), || false);
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, guarded));
    let mut entries = Entries::new();
    let mut aside = Aside::default();
    while let Some(entry) = reader.next_entry().during("read a layer")? {
        let path = path(&entry.path)?;
        *reading.left = reading.left.checked_sub(1).ok_or_else(too_many)?;
        let says = match archive::meaning(&path).during("read a layer")? {
            Meaning::Nothing => continue,
            Meaning::Aside => {
                if entry.kind == Kind::File {
                    aside.insert(path, node(entry, &mut reader, reading.contents)?);
                }
                continue;
            }
            Meaning::Opaque => {
                let directory = path.parent().unwrap_or(Path::new(""));
                entries.push((bytes(directory), Says::Opaque));
                continue;
            }
            Meaning::Gone(name) => {
                entries.push((bytes(&path.with_file_name(name)), Says::Gone));
                continue;
            }
            Meaning::Itself => Says::Node(match aside.name(&entry, &path) {
                Some(node) => node,
                None => node(entry, &mut reader, reading.contents)?,
            }),
        };
        entries.push((bytes(&path), says));
    }
    // A blob from a registry is what it should be only when all of it has been seen.
    std::io::copy(&mut reader.into_inner(), &mut std::io::sink()).during("read a layer")?;
    Ok(entries)
}

fn node<R: BufRead>(entry: Entry, reader: &mut Reader<R>, contents: bool) -> Result<Node> {
    Ok(Node {
        kind: entry.kind,
        mode: entry.mode,
        owner: (entry.uid, entry.gid),
        size: entry.size,
        mtime: entry.mtime,
        link: bytes(&entry.link),
        device: entry.device,
        digest: match contents && entry.kind == Kind::File {
            true => Some(digest(reader.data())?),
            false => None,
        },
    })
}

/// Files that a layer has under no name of the image, and their first names once they have one.
#[derive(Default)]
struct Aside(HashMap<PathBuf, (Node, Option<PathBuf>)>);

impl Aside {
    fn insert(&mut self, path: PathBuf, node: Node) {
        self.0.insert(path, (node, None));
    }

    /// What `path` is, if it is a name of one of these.
    fn name(&mut self, entry: &Entry, path: &Path) -> Option<Node> {
        if entry.kind != Kind::HardLink || self.0.is_empty() {
            return None;
        }
        let (node, first) = self.0.get_mut(&self::path(&entry.link).ok()?)?;
        match first {
            Some(first) => {
                let link = bytes(first);
                Some(Node { kind: Kind::HardLink, size: 0, digest: None, link, ..node.clone() })
            }
            None => {
                *first = Some(path.to_owned());
                Some(node.clone())
            }
        }
    }
}

fn digest(data: impl Read) -> Result<[u8; 32]> {
    let mut hashing = HashingReader::new(data);
    std::io::copy(&mut hashing, &mut std::io::sink()).during("read a layer")?;
    Ok(hashing.finish().0)
}

fn too_many() -> Error {
    Error::invalid("the image's layers have more entries than can be kept in mind")
}

/// The path below the root; what leads out of it is refused, as when a layer is unpacked.
fn path(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::invalid(format!(
                    "layer entry {}: leads out of the image",
                    path.display()
                )));
            }
        }
    }
    Ok(clean)
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(archive: &[u8], left: &mut u64) -> Result<Entries> {
        read(archive, Reading { limits: Limits::default(), left, contents: true })
    }

    #[test]
    fn marks_are_not_files() {
        let mut packer = archive::Packer::new(Vec::new());
        for (path, content) in
            [("a/f", &b"one"[..]), ("a/.wh.gone", b""), ("b/.wh..wh..opq", b""), (".wh..wh.aufs", b"")]
        {
            packer.append_bytes(&archive::Entry::file(path, 0o644, content.len() as u64), content).unwrap();
        }
        let archive = packer.finish().unwrap();
        let mut left = 10;
        let entries = read_all(&archive, &mut left).unwrap();
        let names: Vec<&str> = entries.iter().map(|(path, _)| std::str::from_utf8(path).unwrap()).collect();
        assert_eq!(names, ["a/f", "a/gone", "b"]);
        assert!(matches!(&entries[0].1, Says::Node(node) if node.size == 3 && node.digest.is_some()));
        assert_eq!((&entries[1].1, &entries[2].1), (&Says::Gone, &Says::Opaque));
        assert!(read_all(&archive, &mut 3).is_err(), "four entries");
    }

    #[test]
    fn names_of_what_aufs_kept_for_itself_are_files() {
        let mut packer = archive::Packer::new(Vec::new());
        packer.append_bytes(&archive::Entry::file(".wh..wh.plnk/1.2", 0o600, 3), b"one").unwrap();
        for path in ["d/h", "e"] {
            let link = archive::Entry::new(path, Kind::HardLink, 0o644);
            packer.append(&archive::Entry { link: ".wh..wh.plnk/1.2".into(), ..link }).unwrap();
        }
        let entries = read_all(&packer.finish().unwrap(), &mut 10).unwrap();
        let [(first, Says::Node(file)), (second, Says::Node(link))] = &entries[..] else {
            panic!("{entries:?}")
        };
        assert_eq!((&first[..], file.kind, file.size, file.mode), (&b"d/h"[..], Kind::File, 3, 0o600));
        assert!(file.digest.is_some());
        assert_eq!((&second[..], link.kind, link.size), (&b"e"[..], Kind::HardLink, 0));
        assert_eq!(link.link, b"d/h");
    }

    #[test]
    fn paths_stay_inside() {
        for name in ["../x", "a/../../x"] {
            let mut packer = archive::Packer::new(Vec::new());
            packer.append_bytes(&archive::Entry::file(name, 0o644, 0), b"").unwrap();
            let error = read_all(&packer.finish().unwrap(), &mut 10).unwrap_err();
            assert!(error.to_string().contains("leads out of the image"), "{error}");
        }
    }
}
