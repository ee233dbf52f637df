//! The files of an image to look at and to read, without making a container of it.
//!
//! Every path is resolved below the image's root; links are followed there and nowhere else.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};
use store::Lease;
use sys::root::Root;

use crate::Engine;
use crate::error::{Context as _, Error, Result};

/// An image's root file system, mounted nowhere. All but [`View::open`] blocks.
pub struct View {
    /// An image without layers has no files.
    root: Option<Root>,
    _lease: Lease,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// From the top of the image, with no slash before it.
    pub path: String,
    /// `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// What a symbolic link says.
    pub link: String,
    pub device: (u32, u32),
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
                let Some(chain) = image.chain() else { return Ok(View { root: None, _lease: lease }) };
                store.use_layer(&lease, &chain)?;
                let mount = store.overlay(Some(&chain), None, None)?.mount().during("mount the image")?;
                let root = Root::from_fd(mount).during("open the image")?;
                Ok(View { root: Some(root), _lease: lease })
            })
            .await
    }

    fn root(&self, path: &str) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Error::not_found(format!("open {path}: no such file or directory")))
    }

    /// What a path leads to.
    pub fn stat(&self, path: &str) -> Result<Item> {
        let root = self.root(path)?;
        let stat = root.stat(path).map_err(|e| failed("stat", path, e))?;
        Ok(item(path.trim_matches('/').to_owned(), &stat, String::new()))
    }

    /// What is in a directory, sorted by name.
    pub fn list(&self, path: &str) -> Result<Vec<Item>> {
        if self.root.is_none() && path.trim_matches('/').is_empty() {
            return Ok(Vec::new());
        }
        let root = self.root(path)?;
        let below = root.open_root(path).map_err(|e| failed("open", path, e))?;
        let mut names = below.read_dir(".").map_err(|e| failed("list", path, e))?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let mut items = Vec::with_capacity(names.len());
        for entry in names {
            // A name that is not UTF-8 can't be said in the protocols that ask.
            let Ok(name) = entry.name.into_string() else { continue };
            let stat = below.lstat(&name).map_err(|e| failed("stat", &name, e))?;
            let link = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    let target = below.readlink(&name).map_err(|e| failed("readlink", &name, e))?;
                    target.to_string_lossy().into_owned()
                }
                _ => String::new(),
            };
            items.push(item(name, &stat, link));
        }
        Ok(items)
    }

    /// A file, to be read.
    pub fn file(&self, path: &str) -> Result<File> {
        let root = self.root(path)?;
        // An image may hold device nodes, which opening alone sets to work.
        if !self.stat(path)?.is_regular() {
            return Err(Error::invalid(format!("read {path}: it is no file")));
        }
        root.open_file(path).map_err(|e| failed("open", path, e))
    }

    /// A part of a file, at most `limit` bytes; all without a length.
    pub fn read(&self, path: &str, offset: u64, length: Option<u64>, limit: u64) -> Result<Vec<u8>> {
        let mut file = self.file(path)?;
        file.seek(SeekFrom::Start(offset)).map_err(|e| failed("read", path, e))?;
        let wanted = length.unwrap_or(u64::MAX).min(limit + 1);
        let mut bytes = Vec::new();
        file.take(wanted).read_to_end(&mut bytes).map_err(|e| failed("read", path, e))?;
        match bytes.len() as u64 > limit {
            true => Err(Error::invalid(format!("read {path}: more than {limit} bytes"))),
            false => Ok(bytes),
        }
    }

    /// Every entry, a directory before what is in it, names sorted. A tree may be deeper than a stack.
    pub fn walk(&self, each: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let mut levels = vec![(PathBuf::new(), self.list("")?.into_iter())];
        while let Some((directory, items)) = levels.last_mut() {
            let Some(item) = items.next() else {
                levels.pop();
                continue;
            };
            let path = directory.join(&item.path);
            let Some(text) = path.to_str() else { continue };
            let (text, below) = (text.to_owned(), item.is_directory());
            each(Item { path: text.clone(), ..item })?;
            if below {
                let items = self.list(&text)?.into_iter();
                levels.push((path, items));
            }
        }
        Ok(())
    }
}

fn item(path: String, stat: &Stat, link: String) -> Item {
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Item {
        path,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size.try_into().unwrap_or(0),
        modified: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
        link,
        device,
    }
}

fn failed(verb: &str, path: &str, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("{verb} {path}: no such file or directory")),
        _ => Error::system(format!("{verb} {path}: {error}")),
    }
}
