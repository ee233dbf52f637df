//! Reading the log files of a container, in order and across rotation.
//!
//! Files, all in the container's directory: `log` is written now, `log.1` is the one before, `log.2` older. Each
//! line is one JSON object `{"log":"text\n","stream":"stdout","time":"RFC 3339 with nanoseconds"}`, as Docker's
//! `json-file` driver writes it; `attrs` may follow. A line that does not parse (torn by a crash) is skipped. Only
//! whole lines are read: the bytes after the last newline belong to a writer that has not finished. A file that is kept
//! alone is truncated in place when it is full; a cursor that finds less than it has read begins anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Entry {
    /// The text with its newline; without one when a long line was cut.
    #[serde(default)]
    pub log: String,
    /// `stdout` or `stderr`.
    #[serde(default)]
    pub stream: String,
    /// When it was written.
    pub time: Timestamp,
    /// Extra attributes that the log options asked for.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
}

/// A cursor over a container's log files.
pub struct Cursor {
    dir: PathBuf,
    current: Option<Open>,
}

struct Open {
    reader: BufReader<File>,
    inode: u64,
    partial: Vec<u8>,
    /// How far the file has been read.
    offset: u64,
}

/// The existing log files of `dir`, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        (1..).map(|n| dir.join(format!("log.{n}"))).take_while(|p| p.exists()).collect();
    found.reverse();
    found.push(dir.join("log"));
    found
}

impl Cursor {
    /// A cursor before the first record, or before the last `tail` ones.
    pub fn new(dir: &Path, tail: Option<u64>) -> std::io::Result<Cursor> {
        let mut cursor = Cursor { dir: dir.to_owned(), current: None };
        let Some(mut wanted) = tail else {
            return Ok(cursor);
        };
        for path in files(dir).into_iter().rev() {
            let mut file = match File::open(&path) {
                Ok(f) => f,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let (offset, lines) = seek_back(&mut file, wanted)?;
            wanted -= lines.min(wanted);
            file.seek(SeekFrom::Start(offset))?;
            cursor.current = Some(Open::new(file)?);
            if wanted == 0 {
                break;
            }
        }
        Ok(cursor)
    }

    /// The next record; `None` at the end of what is written so far (more may come later).
    pub fn next(&mut self) -> std::io::Result<Option<Entry>> {
        loop {
            if self.current.is_none() {
                let first = files(&self.dir).into_iter().find(|p| p.exists());
                let Some(path) = first else { return Ok(None) };
                match File::open(path) {
                    Ok(file) => self.current = Some(Open::new(file)?),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => return Err(e),
                }
            }
            let Some(open) = self.current.as_mut() else { return Ok(None) };
            while let Some(line) = open.line()? {
                if let Ok(entry) = serde_json::from_slice::<Entry>(&line) {
                    return Ok(Some(entry));
                }
            }
            // The writer may have filled and rotated this file after our last read, so read once more after
            // learning that there is a newer one.
            let Some(newer) = self.newer()? else { return Ok(None) };
            if let Some(open) = self.current.as_mut()
                && let Some(line) = open.line()?
            {
                if let Ok(entry) = serde_json::from_slice::<Entry>(&line) {
                    return Ok(Some(entry));
                }
                continue;
            }
            self.current = Some(Open::new(newer)?);
        }
    }

    /// The file that follows the current one, if the current one has been rotated away.
    fn newer(&self) -> std::io::Result<Option<File>> {
        let Some(open) = &self.current else { return Ok(None) };
        let mut opened = Vec::new();
        for path in files(&self.dir) {
            match File::open(&path) {
                Ok(f) => {
                    let inode = f.metadata()?.ino();
                    opened.push((inode, f));
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        let after = match opened.iter().rposition(|(inode, _)| *inode == open.inode) {
            Some(at) => at + 1,
            // Ours was rotated out of existence: all that is left is newer.
            None => 0,
        };
        Ok(opened.into_iter().nth(after).map(|(_, f)| f))
    }
}

impl Open {
    fn new(mut file: File) -> std::io::Result<Open> {
        let inode = file.metadata()?.ino();
        let offset = file.stream_position()?;
        Ok(Open { reader: BufReader::with_capacity(64 << 10, file), inode, partial: Vec::new(), offset })
    }

    /// The next whole line without its newline.
    fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        self.offset += self.reader.read_until(b'\n', &mut self.partial)? as u64;
        if self.partial.last() != Some(&b'\n') && self.reader.get_ref().metadata()?.len() < self.offset {
            self.partial.clear();
            self.reader.seek(SeekFrom::Start(0))?;
            self.offset = self.reader.read_until(b'\n', &mut self.partial)? as u64;
        }
        if self.partial.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.partial.pop();
        Ok(Some(std::mem::take(&mut self.partial)))
    }
}

/// Finds where the last `wanted` lines of `file` begin; returns that offset and how many lines follow it.
fn seek_back(file: &mut File, wanted: u64) -> std::io::Result<(u64, u64)> {
    const BLOCK: u64 = 64 << 10;
    let end = file.metadata()?.len();
    if wanted == 0 {
        return Ok((end, 0));
    }
    let mut newlines = 0;
    let mut at = end;
    let mut block = Vec::new();
    while at > 0 {
        let start = at.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(at - start).read_to_end(&mut block)?;
        for (i, _) in block.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            newlines += 1;
            if newlines > wanted {
                return Ok((start + i as u64 + 1, wanted));
            }
        }
        at = start;
    }
    Ok((0, newlines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(text: &str) -> String {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.000000006Z\"}}\n"
        )
    }

    fn all(cursor: &mut Cursor) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(e) = cursor.next().unwrap() {
            texts.push(e.log.trim_end().to_owned());
        }
        texts
    }

    fn write(dir: &Path, name: &str, texts: &[&str]) {
        let mut f = File::options().append(true).create(true).open(dir.join(name)).unwrap();
        for t in texts {
            f.write_all(line(t).as_bytes()).unwrap();
        }
    }

    #[test]
    fn tail_crosses_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "log.2", &["1", "2"]);
        write(dir.path(), "log.1", &["3", "4"]);
        write(dir.path(), "log", &["5"]);
        let read = |tail| all(&mut Cursor::new(dir.path(), tail).unwrap());
        assert_eq!(read(None), ["1", "2", "3", "4", "5"]);
        assert_eq!(read(Some(0)), Vec::<String>::new());
        assert_eq!(read(Some(1)), ["5"]);
        assert_eq!(read(Some(2)), ["4", "5"]);
        assert_eq!(read(Some(3)), ["3", "4", "5"]);
        assert_eq!(read(Some(4)), ["2", "3", "4", "5"]);
        assert_eq!(read(Some(99)), ["1", "2", "3", "4", "5"]);
    }

    #[test]
    fn a_follower_crosses_a_rotation_and_waits_for_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        let mut cursor = Cursor::new(d, None).unwrap();
        assert_eq!(all(&mut cursor), Vec::<String>::new());
        write(d, "log", &["a"]);
        assert_eq!(all(&mut cursor), ["a"]);
        let second = line("b");
        let mut f = File::options().append(true).open(d.join("log")).unwrap();
        f.write_all(&second.as_bytes()[..10]).unwrap();
        assert_eq!(all(&mut cursor), Vec::<String>::new());
        f.write_all(&second.as_bytes()[10..]).unwrap();
        write(d, "log", &["c"]);
        std::fs::rename(d.join("log"), d.join("log.1")).unwrap();
        write(d, "log", &["d"]);
        std::fs::rename(d.join("log.1"), d.join("log.2")).unwrap();
        std::fs::rename(d.join("log"), d.join("log.1")).unwrap();
        write(d, "log", &["e"]);
        assert_eq!(all(&mut cursor), ["b", "c", "d", "e"]);
    }

    #[test]
    fn a_truncated_file_is_read_from_its_new_beginning() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "log", &["a", "b"]);
        let mut cursor = Cursor::new(dir.path(), None).unwrap();
        assert_eq!(all(&mut cursor), ["a", "b"]);
        std::fs::write(dir.path().join("log"), line("c")).unwrap();
        assert_eq!(all(&mut cursor), ["c"]);
    }

    #[test]
    fn torn_lines_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log"), format!("{{\"log\":\n{}", line("ok"))).unwrap();
        assert_eq!(all(&mut Cursor::new(dir.path(), None).unwrap()), ["ok"]);
    }
}
