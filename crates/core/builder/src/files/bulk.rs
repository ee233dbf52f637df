//! Copying many regular files side by side.
//!
//! Files are taken in runs that share a directory, whose two ends are opened once; a file costs an open, a creation, one
//! read and one write, and its attributes. Larger ones share their blocks where the file system can do it, and else are
//! copied by the kernel.

use super::copy::{Plain, Writer, copy_xattrs, set};
use super::index::Stamp;
use super::walk::Tree;
use super::{Error, io, joined, open_to_read};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use sys::root::Root;

/// Threads at most.
const THREADS: usize = 4;
/// Files of a directory that a thread takes at once.
const RUN: usize = 64;
/// Files up to this size are read whole.
const SMALL: usize = 128 << 10;

/// Copies files to new places; whether none of them changed meanwhile.
pub(super) fn copy(writer: &Writer<'_>, tree: &Tree<'_>, files: &[Plain<'_>]) -> Result<bool, Error> {
    let runs = runs(files);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(THREADS).min(runs.len());
    let (next, steady) = (AtomicUsize::new(0), AtomicBool::new(true));
    let work = || -> Result<(), Error> {
        let mut buffer = vec![0; SMALL];
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if (tree.cancelled)() {
                return Err(Error::Cancelled);
            }
            let ends = Ends::open(writer, tree, &run[0])?;
            for file in *run {
                if !ends.copy(writer, tree, file, &mut buffer)? {
                    steady.store(false, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        if done.is_err() {
            // Nothing is left for the others.
            next.store(runs.len(), Ordering::Relaxed);
        }
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done = joined(done, other);
        }
        done
    })?;
    Ok(steady.into_inner())
}

/// Neighbours from one directory to one directory.
fn runs<'p, 'i>(files: &'p [Plain<'i>]) -> Vec<&'p [Plain<'i>]> {
    let same = |a: &Plain<'_>, b: &Plain<'_>| {
        a.target.parent() == b.target.parent() && a.item.path.parent() == b.item.path.parent()
    };
    files.chunk_by(same).flat_map(|run| run.chunks(RUN)).collect()
}

/// A directory that files come from, and the one they go to.
struct Ends {
    from: OwnedFd,
    to: OwnedFd,
}

impl Ends {
    fn open(writer: &Writer<'_>, tree: &Tree<'_>, file: &Plain<'_>) -> Result<Self, Error> {
        let open = |root: &Root, path: &Path| {
            let parent = path.parent().unwrap_or(Path::new(""));
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            root.open_with(parent, flags, Mode::empty()).map_err(io("open", parent))
        };
        Ok(Self { from: open(tree.root, &file.item.path)?, to: open(writer.root, &file.target)? })
    }

    /// Whether the file was the same before and after.
    fn copy(
        &self,
        writer: &Writer<'_>,
        tree: &Tree<'_>,
        file: &Plain<'_>,
        buffer: &mut [u8],
    ) -> Result<bool, Error> {
        let Plain { item, target, meta } = file;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
        let open = |flags| rustix::fs::openat(&self.from, name(&item.path), flags, Mode::empty());
        let mut from = open_to_read(open).map_err(io("open", &item.path))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut into = match rustix::fs::openat(&self.to, name(target), flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => writer.create(target)?,
            other => File::from(other.map_err(|e| io("create", target)(e.into()))?),
        };
        let copied = if (item.stat.size as usize) < buffer.len() {
            through(&mut from, &mut into, buffer)
        } else if rustix::fs::ioctl_ficlone(&into, &from).is_ok() {
            Ok(())
        } else {
            super::sparse::copy(&mut from, &mut into)
        };
        copied.map_err(io("copy", &item.path))?;
        let now = rustix::fs::fstat(&from).map_err(|e| io("stat", &item.path)(e.into()))?;
        set(&into, meta).map_err(|e| io("set owner, mode and times of", target)(e.into()))?;
        // Nearly no file has attributes: one call tells. A change of the owner would take capabilities away.
        if rustix::fs::flistxattr_query(&from).unwrap_or(0) > 0 {
            copy_xattrs(tree, &item.path, writer.root, target);
        }
        Ok(Stamp::from(&now) == Stamp::of(&item.stat))
    }
}

fn through(from: &mut File, into: &mut File, buffer: &mut [u8]) -> std::io::Result<()> {
    loop {
        match from.read(buffer)? {
            0 => return Ok(()),
            n => into.write_all(&buffer[..n])?,
        }
    }
}
