//! `docker cp`: looking at, packing and unpacking paths of a container.
//!
//! A path is meant as the container's processes mean it, but for its last part: that is not followed if it is a link,
//! unless a slash or `/.` comes behind it. Resolution is the kernel's, below the container's root: of a running
//! container that of its init, volumes included; of a stopped one its layers, and a volume where the path leads into it.

use std::path::{Path, PathBuf};

use api::containers::{ArchivePutOptions, PathStat, go_mode};
use api::time;
use archive::{Options, Packer, Semantics, Tree, pack_tree, unpack};
use bytes::Bytes;
use futures_util::Stream;
use rustix::fs::{FileType, Stat};
use sys::root::Root;
use tokio::sync::mpsc;

use super::export::merged;
use super::record::{self, MountKind, Record};
use super::{bind, launch};
use crate::error::{Context, Error, Result};
use crate::{Engine, events, pipe};

/// Where a path is: a root, a path below it, and what the user calls its last part.
struct Place {
    root: Root,
    path: PathBuf,
    name: String,
    /// Why it must not be written to.
    read_only: Option<&'static str>,
    /// A link at the end is followed.
    follow: bool,
}

/// What is at a path.
pub async fn archive_head(engine: &Engine, reference: &str, path: &str) -> Result<PathStat> {
    let (reference, path) = (reference.to_owned(), path.to_owned());
    engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            let place = place(engine, &record, &path, Access::Read)?;
            stat(&place).map_err(|e| not_found(e, &path, &reference))
        })
        .await
}

/// What is at a path, and it as a tar archive.
pub async fn archive_get(
    engine: &Engine,
    reference: &str,
    path: &str,
) -> Result<(PathStat, mpsc::Receiver<Result<Bytes>>)> {
    let (reference, path) = (reference.to_owned(), path.to_owned());
    let (place, stat, record) = engine
        .blocking(move |engine| {
            let record = record::find(engine, &reference)?;
            let place = place(engine, &record, &path, Access::Read)?;
            let stat = stat(&place).map_err(|e| not_found(e, &path, &reference))?;
            Ok((place, stat, record))
        })
        .await?;
    events::emit_container(engine, "archive-path", &record, &[]);
    let (writer, receiver) = pipe::writer();
    let errors = writer.sender();
    tokio::task::spawn_blocking(move || {
        if let Err(e) = pack(&place, writer) {
            let _ = errors.blocking_send(Err(e));
        }
    });
    Ok((stat, receiver))
}

fn pack(place: &Place, writer: pipe::Writer) -> Result<()> {
    let mut packer = Packer::new(writer);
    let name = Path::new(&place.name);
    let followed;
    let (root, path) = if place.follow {
        followed = place.root.open_root(&place.path).during("open the directory")?;
        (&followed, Path::new(""))
    } else {
        (&place.root, place.path.as_path())
    };
    pack_tree(&mut packer, Tree { root, path, name, layer: false }).system()?;
    packer.finish().system().map(drop)
}

/// Unpacks a tar archive (also compressed) into a directory of the container.
pub async fn archive_put(
    engine: &Engine,
    reference: &str,
    options: ArchivePutOptions,
    body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Result<()> {
    let reader = pipe::reader(body);
    let reference = reference.to_owned();
    engine
        .blocking(move |engine| {
            let found = record::find(engine, &reference)?;
            // A stopped container's layers are mounted here: a start meanwhile would mount them a second time. One
            // that runs must be able to end while a client sends slowly.
            let (lock, record) = record::locked(engine, &found.id)?;
            let _lock = (record::observe(engine, &record.id)?.status.pid == 0).then_some(lock);
            let mut place = place(engine, &record, &options.path, Access::Write)?;
            if let Some(why) = place.read_only {
                return Err(Error::forbidden(why));
            }
            place.follow = true;
            let stat = place.root.stat(&place.path).map_err(|e| not_found(e, &options.path, &reference))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Error::invalid("extraction point is not a directory"));
            }
            let target = place.root.open_root(&place.path).during("open the directory")?;
            let owner = owner(&place.root, &record, options.copy_uid_gid)?;
            let semantics = Semantics::Plain { replace_kind: !options.no_overwrite_dir_non_dir };
            let unpacking = Options { semantics, owner, ..Options::plain() };
            let source = archive::decompress(reader).during("read the archive")?;
            unpack(source, &target, &unpacking).map_err(|e| Error::invalid(crate::error::chain(&e)))?;
            events::emit_container(engine, "extract-to-dir", &record, &[]);
            Ok(())
        })
        .await
}

/// With `copyUIDGID`, what is unpacked belongs to the container's user, if it names one.
fn owner(root: &Root, record: &Record, wanted: bool) -> Result<Option<(u32, u32)>> {
    if !wanted || record.document.config.user.is_empty() {
        return Ok(None);
    }
    let user = launch::resolve_user(root, &record.document.config.user, &[])?;
    Ok(Some((user.uid, user.gid)))
}

fn not_found(e: std::io::Error, path: &str, container: &str) -> Error {
    match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            Error::not_found(format!("Could not find the file {path} in container {container}"))
        }
        _ => Error::system(format!("look at {path} in container {container}: {e}")),
    }
}

/// What a place is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn place(engine: &Engine, record: &Record, path: &str, access: Access) -> Result<Place> {
    let clean = bind::clean(path);
    let follow = path.ends_with('/') || path.ends_with("/.") || path == "." || clean == "/";
    let name = match () {
        () if path.ends_with("/.") || path == "." => ".".to_owned(),
        () if clean == "/" => "/".to_owned(),
        () => clean.rsplit('/').next().unwrap_or_default().to_owned(),
    };
    let rootfs_read_only =
        record.document.host_config.readonly_rootfs.then_some("container rootfs is marked read-only");
    // The mount that the path leads into, if any: the one with the longest destination.
    let mount = record
        .document
        .mounts
        .iter()
        .filter(|m| Path::new(&clean).starts_with(&m.destination))
        .max_by_key(|m| m.destination.len());
    let read_only = match mount {
        Some(m) if !m.rw => Some("mounted volume is marked read-only"),
        Some(_) => None,
        None => rootfs_read_only,
    };
    let pid = record::observe(engine, &record.id)?.status.pid;
    let below =
        |prefix: &str| PathBuf::from(clean.strip_prefix(prefix).unwrap_or_default().trim_start_matches('/'));
    if pid != 0 {
        let root = Root::of_process(pid).during("open the container's root file system")?;
        return Ok(Place { root, path: below("/"), name, read_only, follow });
    }
    match mount.filter(|m| m.kind != MountKind::Tmpfs) {
        // A single bound file is its own root: its directory is opened and its name appended.
        Some(m) if m.source.is_file() => {
            let dir = m.source.parent().unwrap_or(Path::new("/"));
            let root = Root::open(dir).during("open the bound file's directory")?;
            let file = m.source.file_name().unwrap_or_default();
            Ok(Place { root, path: PathBuf::from(file), name, read_only, follow })
        }
        Some(m) => {
            let volume = Root::open(&m.source).during("open the volume")?;
            let path = below(&m.destination);
            let follow = follow || path.as_os_str().is_empty();
            // Another container may have put a link where the part begins.
            match volume.open_root(&m.subpath) {
                Ok(root) => Ok(Place { root, path, name, read_only, follow }),
                // The part is a single file.
                Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                    Ok(Place { root: volume, path: m.subpath.clone().into(), name, read_only, follow: false })
                }
                Err(e) => Err(e).during(format_args!("open part {} of volume {}", m.subpath, m.name)),
            }
        }
        None => {
            let root = match access {
                Access::Read => merged(engine, record)?,
                Access::Write => {
                    let mount = launch::overlay(engine, record)?.mount();
                    let mount = mount.during("mount the container's root file system")?;
                    Root::from_fd(mount).during("open the container's root file system")?
                }
            };
            Ok(Place { root, path: below("/"), name, read_only, follow })
        }
    }
}

fn stat(place: &Place) -> std::io::Result<PathStat> {
    let found: Stat =
        if place.follow { place.root.stat(&place.path)? } else { place.root.lstat(&place.path)? };
    let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
    // Where the link leads in the container, as far as it can be told.
    let link_target = if is_link { target(place) } else { String::new() };
    let seconds = jiff::Timestamp::new(found.st_mtime, found.st_mtime_nsec as i32).unwrap_or_default();
    Ok(PathStat {
        name: place.name.clone(),
        size: found.st_size,
        mode: go_mode(found.st_mode),
        mtime: time::rfc3339(seconds),
        link_target,
    })
}

fn target(place: &Place) -> String {
    let Ok(link) = place.root.readlink(&place.path) else { return String::new() };
    let base = Path::new("/").join(place.path.parent().unwrap_or(Path::new("")));
    bind::clean(&base.join(link).to_string_lossy())
}
