//! The files of an image to look at and to read, without making a container of it.
//!
//! Every path is resolved below the image's root; links are followed there and nowhere else. Names are bytes, as the kernel
//! has them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};
use store::Lease;
use sys::root::Root;

use crate::Engine;
use crate::containers::record::make_private_dir;
use crate::error::{Context as _, Error, Kind, Result};

/// An image's root file system, mounted nowhere. All but [`View::open`] blocks.
pub struct View {
    /// An image without layers has no files.
    root: Option<Root>,
    /// Keeps the image's layers.
    _lease: Option<Lease>,
}

/// An image's files in a directory of their own, which goes with this.
pub struct Spread {
    path: PathBuf,
    _lease: Lease,
}

impl Spread {
    /// Copies the files of the image with this name, id, or manifest.
    pub async fn new(engine: &Engine, name: String) -> Result<Spread> {
        let view = View::open(engine, name).await?;
        let spread = engine.blocking(move |engine| {
            let lease = engine.store().lease("files of an image")?;
            let path = lease.scratch();
            make_private_dir(&path)?;
            view.copy_into(&path)?;
            Ok(Spread { path, _lease: lease })
        });
        spread.await
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// From the top of the image, with no slash before it.
    pub path: PathBuf,
    /// `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// What a symbolic link says.
    pub link: OsString,
    pub device: (u32, u32),
    /// Which file it is, where it has several names.
    pub file: Option<(u64, u64)>,
    /// The extended attributes that a copy carries over; none of what was not listed.
    pub attributes: Vec<(OsString, Vec<u8>)>,
}

impl Item {
    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub fn is_regular(&self) -> bool {
        self.kind() == FileType::RegularFile
    }
}

impl View {
    /// The files of the image with this name, id, or manifest.
    pub async fn open(engine: &Engine, name: String) -> Result<View> {
        engine
            .blocking(move |engine| {
                let store = engine.store();
                let lease = store.lease("view")?;
                let image = store.resolve(&name, None)?;
                let Some(chain) = image.chain() else { return Ok(View { root: None, _lease: Some(lease) }) };
                store.use_layer(&lease, &chain)?;
                let mount = store.overlay(Some(&chain), None, None)?.mount().during("mount the image")?;
                let root = Root::from_fd(mount).during("open the image")?;
                Ok(View { root: Some(root), _lease: Some(lease) })
            })
            .await
    }

    /// The files below a root that somebody else keeps; none of nothing.
    pub(crate) fn of(root: Option<Root>) -> View {
        View { root, _lease: None }
    }

    /// Writes all files into an empty directory, as their owner has them.
    pub(crate) fn copy_into(&self, directory: &Path) -> Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let target = Root::open(directory).during("open the copy of an image")?;
        let (reader, writer) = std::io::pipe().during("make a pipe")?;
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let mut packer = archive::Packer::new(std::io::BufWriter::with_capacity(1 << 20, writer));
                let tree = archive::Tree { root, path: Path::new(""), name: Path::new(""), layer: false };
                archive::pack_tree(&mut packer, tree).and_then(|_| packer.finish().map(drop))
            });
            let unpacked = archive::unpack(reader, &target, &archive::Options::plain());
            // What was cut off says less than why it was.
            packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).system()?;
            unpacked.map(drop).system()
        })
    }

    fn root(&self, path: &Path) -> Result<&Root> {
        let missing = || Error::not_found(format!("open {}: no such file or directory", path.display()));
        self.root.as_ref().ok_or_else(missing)
    }

    /// What a path leads to.
    pub fn stat(&self, path: &Path) -> Result<Item> {
        let root = self.root(path)?;
        let stat = root.stat(path).map_err(|e| failed("stat", path, e))?;
        let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
        Ok(item(names.collect(), &stat))
    }

    /// What is in a directory, sorted by name.
    pub fn list(&self, path: &Path) -> Result<Vec<Item>> {
        if self.root.is_none() && path.components().all(|part| part == Component::RootDir) {
            return Ok(Vec::new());
        }
        let root = self.root(path)?;
        let below = root.open_root(path).map_err(|e| failed("open", path, e))?;
        let mut names = below.read_dir(".").map_err(|e| failed("list", path, e))?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let mut items = Vec::with_capacity(names.len());
        for entry in names {
            let name = PathBuf::from(entry.name);
            let stat = match below.lstat(&name) {
                // Listed, and not there: a layer takes it away in a directory that no layer below has.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(|e| failed("stat", &name, e))?,
            };
            let mut item = item(name, &stat);
            if item.kind() == FileType::CharacterDevice && stat.st_rdev == 0 {
                // A layer that lies on nothing takes a name away that is not there.
                continue;
            }
            if item.kind() == FileType::Symlink {
                let target = below.readlink(&item.path).map_err(|e| failed("readlink", &item.path, e))?;
                item.link = target.into_os_string();
            }
            let names = below.xattr_names(&item.path).unwrap_or_default();
            for name in names.into_iter().filter(|name| builder::carries_attribute(name)) {
                if let Ok(Some(value)) = below.xattr(&item.path, &name) {
                    item.attributes.push((name, value));
                }
            }
            items.push(item);
        }
        Ok(items)
    }

    /// A file, to be read.
    pub fn file(&self, path: &Path) -> Result<File> {
        let root = self.root(path)?;
        // An image may hold device nodes, which opening alone sets to work.
        if !self.stat(path)?.is_regular() {
            return Err(Error::invalid(format!("read {}: it is no file", path.display())));
        }
        root.open_file(path).map_err(|e| failed("open", path, e))
    }

    /// A file's content if it is there, at most `limit` bytes.
    pub fn find(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.read(Path::new(path), 0, None, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind == Kind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A part of a file, at most `limit` bytes; all without a length.
    pub fn read(&self, path: &Path, offset: u64, length: Option<u64>, limit: u64) -> Result<Vec<u8>> {
        let mut file = self.file(path)?;
        file.seek(SeekFrom::Start(offset)).map_err(|e| failed("read", path, e))?;
        let wanted = length.unwrap_or(u64::MAX).min(limit + 1);
        let mut bytes = Vec::new();
        file.take(wanted).read_to_end(&mut bytes).map_err(|e| failed("read", path, e))?;
        match bytes.len() as u64 > limit {
            true => Err(Error::invalid(format!("read {}: more than {limit} bytes", path.display()))),
            false => Ok(bytes),
        }
    }

    /// Every entry, a directory before what is in it, names sorted. A tree may be deeper than a stack.
    pub fn walk(&self, each: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let mut levels = vec![(PathBuf::new(), self.list(Path::new(""))?.into_iter())];
        while let Some((directory, items)) = levels.last_mut() {
            let Some(item) = items.next() else {
                levels.pop();
                continue;
            };
            let path = directory.join(&item.path);
            let below = item.is_directory();
            each(Item { path: path.clone(), ..item })?;
            if below {
                let items = self.list(&path)?.into_iter();
                levels.push((path, items));
            }
        }
        Ok(())
    }
}

fn item(path: PathBuf, stat: &Stat) -> Item {
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Item {
        path,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size.try_into().unwrap_or(0),
        modified: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
        link: OsString::new(),
        device,
        file: (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino)),
        attributes: Vec::new(),
    }
}

fn failed(verb: &str, path: &Path, error: std::io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("{verb} {path}: no such file or directory")),
        _ => Error::system(format!("{verb} {path}: {error}")),
    }
}
