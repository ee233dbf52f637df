//! Making a layer's files durable before it gets its name.
//!
//! One call for the whole file system is the least for many files; but it waits for what everybody else has written there as
//! well, which may be gigabytes. The few files that most steps leave are synced by themselves.

use crate::Error;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// Files and directories that are worth a call each.
const FEW: usize = 12;

/// Syncs everything below a directory, and the directory.
pub(crate) fn make(directory: &Path) -> Result<(), Error> {
    let failed = || Error::io("sync", directory);
    let root = Root::open(directory).map_err(failed())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = |path: &Path| root.open_with(path, flags, Mode::empty());
    let few = few(&root).map_err(failed())?;
    // Who is not root can't open all that a step leaves.
    let files =
        few.and_then(|paths| paths.iter().map(|path| open(path).ok()).collect::<Option<Vec<OwnedFd>>>());
    let synced = match files {
        // What is in a directory before the directory.
        Some(files) => files.iter().rev().try_for_each(rustix::fs::fsync),
        None => rustix::fs::syncfs(&open(Path::new("")).map_err(failed())?),
    };
    synced.map_err(|error| failed()(error.into()))
}

/// Has the kernel check a file, which is whole and open for writing nowhere, whenever it is read; where the file system can't do
/// that, nothing happens.
pub(crate) fn seal(path: &Path) -> Result<(), Error> {
    let sealed = File::open(path).and_then(|file| sys::verity::seal(&file));
    sealed.map(drop).map_err(Error::io("seal", path))
}

/// Whether reading a file failed because its bytes are not those that it was sealed with.
pub(crate) fn is_broken_seal(file: &File, error: &std::io::Error) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let attributes = || statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::empty()).ok();
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        && attributes().is_some_and(|found| found.stx_attributes.contains(StatxAttributes::VERITY))
}

/// The regular files and directories of a small tree, a directory before what is in it. All else is in its directory.
fn few(root: &Root) -> std::io::Result<Option<Vec<PathBuf>>> {
    let mut paths = vec![PathBuf::new()];
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in root.read_dir(&directory)? {
            let path = directory.join(&entry.name);
            let kind = match entry.file_type {
                FileType::Unknown => FileType::from_raw_mode(root.lstat(&path)?.st_mode),
                known => known,
            };
            if !matches!(kind, FileType::RegularFile | FileType::Directory) {
                continue;
            }
            if paths.len() == FEW {
                return Ok(None);
            }
            paths.push(path.clone());
            if kind == FileType::Directory {
                directories.push(path);
            }
        }
    }
    Ok(Some(paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_are_found_and_many_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::create_dir_all(dir.path().join("diff/a/b")).unwrap();
        std::fs::write(dir.path().join("diff/a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("diff/link")).unwrap();
        let found = few(&root).unwrap().unwrap();
        assert_eq!(found, ["", "diff", "diff/a", "diff/a/b", "diff/a/b/file"].map(PathBuf::from));
        make(dir.path()).unwrap();
        for number in 0..FEW {
            std::fs::write(dir.path().join(format!("diff/{number}")), "x").unwrap();
        }
        assert!(few(&root).unwrap().is_none());
        make(dir.path()).unwrap();
    }
}
