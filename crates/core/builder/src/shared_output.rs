//! What a step prints, for builds that wait for it: it stands in the file of its turn, from the beginning.
//!
//! A record is the stream's number, the length of the text in four bytes, the lowest first, and the text. Whoever reads takes whole
//! records alone, so that it does not matter when it looks.

use crate::event::Stream;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

/// Bytes that are passed on; who waits sees no more.
const LENGTH_MAX: u64 = 16 << 20;
const HEAD: usize = 5;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Writes what a step prints.
#[derive(Debug)]
pub(crate) struct Telling {
    file: File,
    written: u64,
}

impl Telling {
    pub fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        // Whoever had the turn before was killed, and what it said is nobody's.
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        Ok(Self { file, written: 0 })
    }

    pub fn write(&mut self, stream: Stream, text: &str) -> io::Result<()> {
        let mut record = Vec::with_capacity(HEAD + text.len());
        record.push(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        record.extend(u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes());
        record.extend(text.as_bytes());
        self.written += record.len() as u64;
        if self.written > LENGTH_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all(&record)
    }
}

/// Reads what another build's step prints.
#[derive(Default)]
pub(crate) struct Hearing {
    file: Option<File>,
    at: u64,
    rest: Vec<u8>,
}

impl Hearing {
    /// Passes on what is new in the file at `path`, and what there was in the one before that.
    pub fn look(&mut self, path: &Path, say: &mut impl FnMut(Stream, String)) {
        self.pass(say);
        let number = |file: &File| file.metadata().map(|known| known.ino()).ok();
        let now = std::fs::metadata(path).map(|known| known.ino()).ok();
        if now.is_some() && self.file.as_ref().and_then(number) != now {
            *self = Self { file: File::open(path).ok(), ..Self::default() };
            self.pass(say);
        }
    }

    /// Passes on what is new.
    pub fn pass(&mut self, say: &mut impl FnMut(Stream, String)) {
        let Some(file) = &self.file else { return };
        if file.metadata().is_ok_and(|known| known.len() < self.at) {
            (self.at, self.rest) = (0, Vec::new());
        }
        let mut chunk = vec![0; CHUNK];
        while let Ok(count @ 1..) = file.read_at(&mut chunk, self.at) {
            self.at += count as u64;
            self.rest.extend_from_slice(&chunk[..count]);
            while let Some((stream, text, length)) = record(&self.rest) {
                say(stream, text);
                self.rest.drain(..length);
            }
        }
    }
}

/// The first record, and its length.
fn record(bytes: &[u8]) -> Option<(Stream, String, usize)> {
    let (head, text) = bytes.split_at_checked(HEAD)?;
    let length = u32::from_le_bytes(head[1..].try_into().ok()?) as usize;
    let text = text.get(..length)?;
    let stream = if head[0] == 1 { Stream::Stdout } else { Stream::Stderr };
    Some((stream, String::from_utf8_lossy(text).into_owned(), HEAD + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_from_the_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("step");
        let mut said = Vec::new();
        let mut heard = Hearing::default();
        heard.look(&path, &mut |_, text| said.push(text));
        File::create(&path).unwrap();
        let mut telling = Telling::new(&path).unwrap();
        telling.write(Stream::Stdout, "a").unwrap();
        telling.write(Stream::Stderr, "b\n").unwrap();
        let mut streams = Vec::new();
        heard.look(&path, &mut |stream, text| streams.push((stream, text)));
        assert_eq!(streams, [(Stream::Stdout, "a".to_owned()), (Stream::Stderr, "b\n".to_owned())]);
        // The next one begins when the first is not heard to the end.
        telling.write(Stream::Stdout, "c").unwrap();
        std::fs::remove_file(&path).unwrap();
        File::create(&path).unwrap();
        Telling::new(&path).unwrap().write(Stream::Stdout, "d").unwrap();
        heard.look(&path, &mut |_, text| said.push(text));
        assert_eq!(said, ["c", "d"]);
        let long = "x".repeat(LENGTH_MAX as usize);
        assert!(telling.write(Stream::Stdout, &long).is_err());
    }
}
