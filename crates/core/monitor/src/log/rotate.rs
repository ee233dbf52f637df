//! The files of a log: `log`, `log.1`, `log.2`, …, newest first.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Opens the current file, creating it.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

/// Makes room for a new current file, keeping `max_file` files with it, and opens that.
pub fn rotate(path: &Path, max_file: u32) -> io::Result<File> {
    if max_file <= 1 {
        let file = open(path)?;
        file.set_len(0)?;
        return Ok(file);
    }
    for n in (1..max_file - 1).rev() {
        rename(&numbered(path, n), &numbered(path, n + 1))?;
    }
    rename(path, &numbered(path, 1))?;
    open(path)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}
