//! Readers and writers that compute the sha256 sum and the length of what passes through them.

use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Read, Write};

/// Hashes what is read through it.
pub struct HashingReader<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R: Read> HashingReader<R> {
    /// Starts at nothing.
    pub fn new(inner: R) -> HashingReader<R> {
        HashingReader { inner, hash: Sha256::new(), length: 0 }
    }

    /// The sum and the length of what was read so far.
    pub fn finish(self) -> ([u8; 32], u64) {
        (self.hash.finalize().into(), self.length)
    }

    /// How much was read so far.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for HashingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed was given by the last fill, so this gives it again without reading.
        if let Ok(available) = self.inner.fill_buf() {
            self.hash.update(&available[..count]);
            self.length += count as u64;
        }
        self.inner.consume(count);
    }
}

/// Consumes what is left of a stream.
pub fn drain(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let count = match source.fill_buf() {
            Ok(available) => available.len(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if count == 0 {
            return Ok(());
        }
        source.consume(count);
    }
}

/// Hashes what is written through it.
pub struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
    length: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Starts at nothing.
    pub fn new(inner: W) -> HashingWriter<W> {
        HashingWriter { inner, hash: Sha256::new(), length: 0 }
    }

    /// The writer below, the sum and the length of what was written.
    pub fn finish(self) -> (W, [u8; 32], u64) {
        (self.inner, self.hash.finalize().into(), self.length)
    }

    /// How much was written so far.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hash.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
