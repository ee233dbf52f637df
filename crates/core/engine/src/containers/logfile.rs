//! Reading the log files of a container, in order and across rotation.
//!
//! Files, all in the container's directory: `log` is written now, `log.1` is the one before, `log.2` older. Each
//! line is one JSON object `{"log":"text\n","stream":"stdout","time":"RFC 3339 with nanoseconds"}`, as Docker's
//! `json-file` driver writes it; `attrs` may follow. A line that does not parse (torn by a crash) is skipped. Only
//! whole lines are read: the bytes after the last newline belong to a writer that has not finished. A full file gives way to
//! a new one; a cursor reads the one that it has open to its end, wherever that went, and then says what it has missed
//! ([`Item::Lost`]) if the next one is gone already. A file that somebody emptied is read from its new beginning.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
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

/// What a cursor comes to.
#[derive(Debug, PartialEq)]
pub enum Item {
    Entry(Entry),
    /// So many files were full and removed before they could be read.
    Lost(u64),
}

/// How often the files are listed again because they change meanwhile.
const LISTINGS: usize = 16;

/// A cursor over a container's log files.
pub struct Cursor {
    dir: PathBuf,
    current: Option<Open>,
}

struct Open {
    reader: BufReader<File>,
    inode: u64,
    /// How many files of this log were begun before.
    sequence: u64,
    partial: Vec<u8>,
    /// How far the file has been read.
    offset: u64,
}

/// The log files of `dir` with their inodes, oldest first, as they stand together at one moment: a writer that moves them on
/// meanwhile would hide one.
fn files(dir: &Path) -> std::io::Result<Vec<File>> {
    let mut opened = Vec::new();
    for _ in 0..LISTINGS {
        let before = listing(dir)?;
        opened.clear();
        for (number, _) in &before {
            match File::open(dir.join(name(*number))) {
                Ok(file) => opened.push(file),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        if opened.len() == before.len() && listing(dir)? == before {
            break;
        }
    }
    Ok(opened)
}

fn name(number: u32) -> String {
    if number == 0 { "log".to_owned() } else { format!("log.{number}") }
}

/// The numbers and inodes of the log files of `dir`, oldest first.
fn listing(dir: &Path) -> std::io::Result<Vec<(u32, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let number = match file_name.to_str().and_then(|name| name.strip_prefix("log")) {
            Some("") => Some(0),
            Some(suffix) => suffix.strip_prefix('.').and_then(|number| number.parse().ok()),
            None => None,
        };
        found.extend(number.map(|number: u32| (number, entry.ino())));
    }
    found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(found)
}

impl Cursor {
    /// A cursor before the first record, or before the last `tail` ones.
    pub fn new(dir: &Path, tail: Option<u64>) -> std::io::Result<Cursor> {
        let mut cursor = Cursor { dir: dir.to_owned(), current: None };
        let Some(mut wanted) = tail else {
            return Ok(cursor);
        };
        for mut file in files(dir)?.into_iter().rev() {
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

    /// What comes next; `None` at the end of what is written so far (more may come later).
    pub fn next(&mut self) -> std::io::Result<Option<Item>> {
        if self.current.is_none() {
            let Some(oldest) = files(&self.dir)?.into_iter().next() else { return Ok(None) };
            self.current = Some(Open::new(oldest)?);
        }
        while let Some(open) = self.current.as_mut() {
            if let Some(entry) = open.entry()? {
                return Ok(Some(Item::Entry(entry)));
            }
            let Some(newer) = newer(&self.dir, open.inode)? else { break };
            // The writer may have gone on with this file after our last read: now that there is a newer one, it does not.
            if let Some(entry) = open.entry()? {
                return Ok(Some(Item::Entry(entry)));
            }
            let newer = Open::new(newer)?;
            let lost = newer.sequence.saturating_sub(open.sequence + 1);
            self.current = Some(newer);
            if lost > 0 {
                return Ok(Some(Item::Lost(lost)));
            }
        }
        Ok(None)
    }
}

/// The file that follows the one with this inode, if that has been moved on.
fn newer(dir: &Path, inode: u64) -> std::io::Result<Option<File>> {
    let mut files = files(dir)?;
    let mut after = 0;
    for (at, file) in files.iter().enumerate() {
        if file.metadata()?.ino() == inode {
            after = at + 1;
        }
    }
    // If ours was removed, all that is left is newer.
    Ok((after < files.len()).then(|| files.swap_remove(after)))
}

impl Open {
    fn new(mut file: File) -> std::io::Result<Open> {
        let (inode, sequence) = (file.metadata()?.ino(), monitor::log::sequence(&file));
        let offset = file.stream_position()?;
        let reader = BufReader::with_capacity(64 << 10, file);
        Ok(Open { reader, inode, sequence, partial: Vec::new(), offset })
    }

    /// The next whole record.
    fn entry(&mut self) -> std::io::Result<Option<Entry>> {
        while let Some(line) = self.line()? {
            if let Ok(entry) = serde_json::from_slice(&line) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
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
        while let Some(item) = cursor.next().unwrap() {
            match item {
                Item::Entry(entry) => texts.push(entry.log.trim_end().to_owned()),
                Item::Lost(files) => texts.push(format!("lost {files}")),
            }
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

    #[test]
    fn what_went_before_it_was_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path(), 2);
        let mut write = |text: &str| {
            log.write(monitor::stdcopy::Stream::Stdout, format!("{text}\n").as_bytes(), Timestamp::now())
                .unwrap();
        };
        write("a");
        let mut cursor = Cursor::new(dir.path(), None).unwrap();
        assert_eq!(all(&mut cursor), ["a"]);
        ["b", "c"].into_iter().for_each(&mut write);
        assert_eq!(all(&mut cursor), ["b", "c"]);
        ["d", "e", "f", "g"].into_iter().for_each(&mut write);
        assert_eq!(all(&mut cursor), ["lost 2", "f", "g"]);
    }

    /// A file is full with each record.
    fn writer(dir: &Path, max_file: u32) -> monitor::log::Log {
        let config = monitor::LogConfig { max_size: 1, max_file, ..monitor::LogConfig::default() };
        monitor::log::Log::open(&dir.join("log"), &config).unwrap()
    }

    #[test]
    fn a_follower_of_a_hurried_writer_misses_nothing_unsaid() {
        const LINES: u64 = 500;
        for max_file in 1..=3 {
            let dir = tempfile::tempdir().unwrap();
            let mut log = writer(dir.path(), max_file);
            let mut cursor = Cursor::new(dir.path(), None).unwrap();
            let write = move || {
                for n in 1..=LINES {
                    let line = format!("{n}\n");
                    log.write(monitor::stdcopy::Stream::Stdout, line.as_bytes(), Timestamp::now()).unwrap();
                }
            };
            let writer = std::thread::spawn(write);
            let (mut expected, started) = (None, std::time::Instant::now());
            while expected != Some(LINES + 1) {
                match cursor.next().unwrap() {
                    Some(Item::Entry(entry)) => {
                        let n: u64 = entry.log.trim_end().parse().unwrap();
                        assert_eq!(n, expected.unwrap_or(n), "of {max_file} files");
                        expected = Some(n + 1);
                    }
                    // Each file holds one line.
                    Some(Item::Lost(files)) => expected = expected.map(|n| n + files),
                    None => assert!(started.elapsed().as_secs() < 60, "after {expected:?} nothing comes"),
                }
            }
            writer.join().unwrap();
        }
    }
}
