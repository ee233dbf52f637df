//! The container's log, as Docker's `json-file` driver writes it.
//!
//! One record a line of output: `{"log":"text\n","stream":"stdout","time":"2024-05-01T10:00:00.5Z"}`, with `attrs` before `time`
//! if the log options ask for them. A line of more than 16 KiB is cut into records whose text has no newline (between
//! characters, unlike Docker, which cuts through them). What is not UTF-8 becomes U+FFFD. The time is when the piece was read.
//!
//! A file that has reached `max_size` is renamed to `.1`, the one before to `.2`, and so on up to `max_file` files. A record is
//! never split over two files. A reader that follows sees the inode change, and by the files' [`sequence`] what it has missed.

mod json;
mod rotate;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::LogConfig;
use crate::stdcopy::Stream;

/// The longest text of one record in bytes.
const LONGEST: usize = 16 * 1024;

pub use rotate::sequence;

/// An open log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_file: u32,
    /// How many files were begun before the current one.
    sequence: u64,
    /// `"attrs":{…},` or nothing.
    attrs: String,
    /// The beginnings of lines whose end has not come yet, of standard output and standard error.
    pending: [Vec<u8>; 2],
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log at `path` for appending. A record torn by a crash is ended, so that the next one stands alone.
    pub fn open(path: &Path, config: &LogConfig) -> io::Result<Log> {
        let mut file = rotate::open(path)?;
        let mut size = file.seek(SeekFrom::End(0))?;
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        let attrs = match config.attrs.is_empty() {
            true => String::new(),
            false => format!("\"attrs\":{},", serde_json::to_string(&config.attrs)?),
        };
        Ok(Log {
            path: path.to_owned(),
            sequence: if config.max_size > 0 { sequence(&file) } else { 0 },
            file,
            size,
            max_size: config.max_size,
            max_file: config.max_file,
            attrs,
            pending: [Vec::new(), Vec::new()],
            buffer: Vec::new(),
        })
    }

    /// Records what the container wrote at `now`.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8], now: Timestamp) -> io::Result<()> {
        let mut pending = std::mem::take(&mut self.pending[stream as usize - 1]);
        let mut result = Ok(());
        while !bytes.is_empty() {
            let room = LONGEST - pending.len();
            let line_end = bytes.iter().take(room).position(|&b| b == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(line_end.unwrap_or(room.min(bytes.len())));
            bytes = rest;
            if line_end.is_some() && pending.is_empty() {
                result = result.and(self.record(stream, piece, now));
                continue;
            }
            pending.extend_from_slice(piece);
            if line_end.is_some() {
                result = result.and(self.record(stream, &pending, now));
                pending.clear();
            } else if pending.len() == LONGEST {
                let whole = whole_characters(&pending);
                result = result.and(self.record(stream, &pending[..whole], now));
                pending.drain(..whole);
            }
        }
        if pending.is_empty() {
            pending = Vec::new();
        }
        self.pending[stream as usize - 1] = pending;
        result.and(self.flush())
    }

    /// Records the lines that were never ended.
    pub fn finish(&mut self, now: Timestamp) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = std::mem::take(&mut self.pending[stream as usize - 1]);
            if !pending.is_empty() {
                self.record(stream, &pending, now)?;
            }
        }
        self.flush()
    }

    fn record(&mut self, stream: Stream, text: &[u8], now: Timestamp) -> io::Result<()> {
        if self.max_size > 0 && self.size + self.buffer.len() as u64 >= self.max_size {
            self.flush()?;
            self.file = rotate::rotate(&self.path, self.max_file, self.sequence + 1)?;
            self.sequence += 1;
            self.size = 0;
        }
        self.buffer.extend_from_slice(b"{\"log\":");
        json::text(text, &mut self.buffer);
        writeln!(self.buffer, ",\"stream\":\"{}\",{}\"time\":\"{now}\"}}", stream.as_str(), self.attrs)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.file.write_all(&buffer);
        self.size += buffer.len() as u64;
        buffer.clear();
        if buffer.capacity() <= 2 * LONGEST {
            self.buffer = buffer;
        }
        result
    }
}

/// The length of `bytes` without a character that has only begun.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(&bytes[bytes.len() - 3..]) {
        _ if bytes.is_ascii() => bytes.len(),
        Ok(_) => bytes.len(),
        Err(_) => {
            let begins = (1..=3).find(|back| bytes[bytes.len() - back] & 0xc0 != 0x80);
            match begins {
                Some(back) if expected_length(bytes[bytes.len() - back]) > back => bytes.len() - back,
                _ => bytes.len(),
            }
        }
    }
}

/// How many bytes a character with this first byte has.
fn expected_length(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Fixture {
        dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Fixture {
            Fixture { dir: tempfile::tempdir().unwrap() }
        }
        fn path(&self) -> PathBuf {
            self.dir.path().join("log")
        }
        fn open(&self, max_size: u64, max_file: u32) -> Log {
            Log::open(&self.path(), &LogConfig { max_size, max_file, ..LogConfig::default() }).unwrap()
        }
        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }
        fn texts(&self) -> Vec<String> {
            let text = |line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().to_owned()
            };
            self.text().lines().map(text).collect()
        }
    }

    fn now() -> Timestamp {
        "2024-05-01T10:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn a_line_is_dockers_record() {
        let fixture = Fixture::new();
        fixture.open(0, 1).write(Stream::Stdout, b"hello\n", now()).unwrap();
        assert_eq!(
            fixture.text(),
            "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2024-05-01T10:00:00.5Z\"}\n"
        );
    }

    #[test]
    fn attributes_stand_before_the_time() {
        let fixture = Fixture::new();
        let config = LogConfig { attrs: [("a".to_owned(), "b".to_owned())].into(), ..LogConfig::default() };
        Log::open(&fixture.path(), &config).unwrap().write(Stream::Stderr, b"x\n", now()).unwrap();
        assert!(fixture.text().contains("\"stream\":\"stderr\",\"attrs\":{\"a\":\"b\"},\"time\""));
    }

    #[test]
    fn pieces_of_a_line_become_one_record_and_streams_do_not_mix() {
        let fixture = Fixture::new();
        let mut log = fixture.open(0, 1);
        log.write(Stream::Stdout, b"one ", now()).unwrap();
        log.write(Stream::Stderr, b"err\n", now()).unwrap();
        log.write(Stream::Stdout, b"line\nnext", now()).unwrap();
        log.finish(now()).unwrap();
        assert_eq!(fixture.texts(), ["err\n", "one line\n", "next"]);
    }

    #[test]
    fn a_long_line_is_cut_at_16_kib() {
        let fixture = Fixture::new();
        let mut log = fixture.open(0, 1);
        let mut line = vec![b'x'; 2 * LONGEST + 5];
        line.push(b'\n');
        log.write(Stream::Stdout, &line, now()).unwrap();
        let lengths: Vec<usize> = fixture.texts().iter().map(String::len).collect();
        assert_eq!(lengths, [LONGEST, LONGEST, 6]);
    }

    #[test]
    fn a_cut_never_goes_through_a_character() {
        let fixture = Fixture::new();
        let mut log = fixture.open(0, 1);
        let text = format!("a{}\n", "\u{20ac}".repeat(LONGEST));
        for piece in text.as_bytes().chunks(1000) {
            log.write(Stream::Stdout, piece, now()).unwrap();
        }
        assert_eq!(fixture.texts().concat(), text);
    }

    #[test]
    fn what_is_not_utf8_is_replaced_and_never_stalls() {
        let fixture = Fixture::new();
        let mut log = fixture.open(0, 1);
        log.write(Stream::Stdout, &vec![0xff; LONGEST + 1], now()).unwrap();
        log.write(Stream::Stdout, &vec![0x80; LONGEST * 2], now()).unwrap();
        log.finish(now()).unwrap();
        assert_eq!(fixture.texts().concat().chars().count(), 3 * LONGEST + 1);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let fixture = Fixture::new();
        let mut log = fixture.open(200, 3);
        for n in 0..40 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes(), now()).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(fixture.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert!(fixture.text().contains("line 39"));
        assert!(fs::metadata(fixture.path()).unwrap().len() < 300);
    }

    #[test]
    fn a_single_file_is_replaced_and_never_emptied() {
        let fixture = Fixture::new();
        let mut log = fixture.open(200, 1);
        let first = File::open(fixture.path()).unwrap();
        for n in 0..40 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes(), now()).unwrap();
        }
        assert!(first.metadata().unwrap().len() >= 200);
        assert_eq!(sequence(&first), 0);
        assert_eq!(sequence(File::open(fixture.path()).unwrap()), log.sequence);
        assert_eq!(fixture.open(200, 1).sequence, log.sequence);
        assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 1);
        assert!(fs::metadata(fixture.path()).unwrap().len() < 300);
    }

    #[test]
    fn a_torn_record_does_not_spoil_the_next() {
        let fixture = Fixture::new();
        fs::write(fixture.path(), b"{\"log\":\"to").unwrap();
        fixture.open(0, 1).write(Stream::Stdout, b"x\n", now()).unwrap();
        assert!(fixture.text().lines().nth(1).unwrap().starts_with("{\"log\":\"x\\n\""));
    }
}
