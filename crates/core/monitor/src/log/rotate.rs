//! The files of a log: `log`, `log.1`, `log.2`, …, newest first.
//!
//! Each file that follows another says as how many-th in an attribute of its own, so that a follower who comes too late knows
//! that it has missed some. A file system without attributes takes that away and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

/// How many files of the log were begun before this one, in decimal.
const SEQUENCE: &str = "user.dhow.sequence";

/// Opens the current file, creating it.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

/// How many files of the log were begun before this one; 0 if nobody knows.
pub fn sequence(file: impl AsFd) -> u64 {
    let mut text = [0; 20];
    let length = rustix::fs::fgetxattr(file, SEQUENCE, &mut text[..]).unwrap_or(0);
    std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Puts a new file in the place of the current one, keeping `max_file` files with it. A file is never emptied: who reads
/// it reads it to its end.
pub fn rotate(path: &Path, max_file: u32, sequence: u64) -> io::Result<File> {
    let next = with_suffix(path, "next");
    let file = open(&next)?;
    // One that a crash left behind.
    file.set_len(0)?;
    let _ = rustix::fs::fsetxattr(&file, SEQUENCE, sequence.to_string().as_bytes(), XattrFlags::empty());
    if max_file > 1 {
        for n in (1..max_file - 1).rev() {
            rename(&numbered(path, n), &numbered(path, n + 1))?;
        }
        rename(path, &numbered(path, 1))?;
    }
    fs::rename(&next, path)?;
    Ok(file)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    with_suffix(path, &n.to_string())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    PathBuf::from(name)
}
