//! Making a layer's files durable before it gets its name.
//!
//! One call for the whole file system is the least for many files; but it waits for what everybody else has written there as
//! well, which may be gigabytes. The few files that most steps leave are synced by themselves.

use crate::Error;
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// Files and directories that are worth a call each.
const FEW: usize = 12;

/// Syncs everything below a directory, and the directory.
pub(crate) fn make(directory: &Path) -> Result<(), Error> {
    let failed = || Error::io("sync", directory);
    if each(&[], &[directory])? {
        return Ok(());
    }
    let root = Root::open(directory).map_err(failed())?;
    let own = root.open_with("", FLAGS, Mode::empty()).map_err(failed())?;
    rustix::fs::syncfs(&own).map_err(|error| failed()(error.into()))
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Syncs these files, and everything below these directories, one by one; false if they are too many for that.
pub(crate) fn each(files: &[&File], directories: &[&Path]) -> Result<bool, Error> {
    let (mut left, mut opened) = (FEW, Vec::new());
    for directory in directories {
        let failed = || Error::io("sync", directory);
        let root = Root::open(directory).map_err(failed())?;
        let Some(paths) = few(&root, left).map_err(failed())? else { return Ok(false) };
        left -= paths.len();
        for path in &paths {
            // Who is not root can't open all that a step leaves.
            let Ok(file) = root.open_with(path, FLAGS, Mode::empty()) else { return Ok(false) };
            opened.push((file, *directory));
        }
    }
    if files.len() > left {
        return Ok(false);
    }
    for file in files {
        rustix::fs::fsync(file).map_err(|error| Error::io("sync", "a blob")(error.into()))?;
    }
    // What is in a directory before the directory.
    for (file, directory) in opened.iter().rev() {
        rustix::fs::fsync(file).map_err(|error| Error::io("sync", directory)(error.into()))?;
    }
    Ok(true)
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

/// The regular files and directories of a tree of at most `most`, a directory before what is in it. All else is in its directory.
fn few(root: &Root, most: usize) -> std::io::Result<Option<Vec<PathBuf>>> {
    if most == 0 {
        return Ok(None);
    }
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
            if paths.len() >= most {
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
        let found = few(&root, FEW).unwrap().unwrap();
        assert_eq!(found, ["", "diff", "diff/a", "diff/a/b", "diff/a/b/file"].map(PathBuf::from));
        make(dir.path()).unwrap();
        for number in 0..FEW {
            std::fs::write(dir.path().join(format!("diff/{number}")), "x").unwrap();
        }
        assert!(few(&root, FEW).unwrap().is_none());
        make(dir.path()).unwrap();
    }
}
