//! Files that say what to do (Dockerfiles, ignore files, files for bake, settings): text, and not without end.

use std::fs::File;
use std::io::{Error, Read as _, Result};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Reads the whole file. A named pipe that nobody writes to would keep us waiting for ever; what the shell's `<(command)`
/// gives is read as it comes.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let is_descriptor = ["/dev/fd", "/proc"].iter().any(|start| path.starts_with(start));
    if std::fs::metadata(path)?.file_type().is_fifo() && !is_descriptor && path != Path::new("/dev/stdin") {
        return Err(Error::other("not a regular file"));
    }
    let limit = dockerfile::MAX_SIZE;
    let mut bytes = Vec::new();
    if File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)? > limit {
        return Err(Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_an_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "FROM scratch\n").unwrap();
        assert_eq!(read(&path).unwrap(), b"FROM scratch\n");
        let said = |path: &Path| read(path).unwrap_err().to_string();
        assert!(said(Path::new("/dev/zero")).starts_with("larger than"));
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(said(&pipe), "not a regular file");
        assert!(read(&dir.path().join("none")).is_err() && read(dir.path()).is_err());
    }
}
