//! gzip streams of short members, as [`crate::compress_pieces`] makes them: each is decompressed as a whole. What is not like that
//! is left to a decompressor of streams from there on; that costs a look at its first megabyte.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, Chain, Cursor, Read};
use sys::inflate::Inflater;

/// Bytes that a member may become.
const OUT: usize = 1 << 20;
/// Bytes that a member of so many may have: they grow a little where they can't be compressed.
const MEMBER: usize = OUT + (8 << 10);
const WINDOW: usize = 2 << 20;

/// Decompresses members, then what is none.
pub(crate) struct Members<R> {
    source: Option<R>,
    inflater: Inflater,
    /// What was read of the source and not used yet.
    window: Vec<u8>,
    begin: usize,
    end: usize,
    ended: bool,
    /// What the last member became and nobody has read yet.
    out: Vec<u8>,
    given: usize,
    made: usize,
    rest: Option<Stream<R>>,
}

type Stream<R> = MultiGzDecoder<BufReader<Chain<Cursor<Vec<u8>>, R>>>;

impl<R: Read> Members<R> {
    pub fn new(source: R) -> io::Result<Members<R>> {
        let inflater = Inflater::new().ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Members {
            source: Some(source),
            inflater,
            window: vec![0; WINDOW],
            begin: 0,
            end: 0,
            ended: false,
            out: vec![0; OUT],
            given: 0,
            made: 0,
            rest: None,
        })
    }

    /// Sees to it that a whole member is in the window, if one comes.
    fn fill(&mut self) -> io::Result<()> {
        if self.end - self.begin >= MEMBER || self.ended {
            return Ok(());
        }
        self.window.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        let Some(source) = &mut self.source else { return Ok(()) };
        while self.end < WINDOW {
            match source.read(&mut self.window[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Leaves the rest to a decompressor of streams.
    fn hand_over(&mut self) {
        if let Some(source) = self.source.take() {
            let window = Cursor::new(self.window[self.begin..self.end].to_vec());
            let source = BufReader::with_capacity(crate::compression::BUFFER, window.chain(source));
            self.rest = Some(MultiGzDecoder::new(source));
        }
        (self.window, self.out) = (Vec::new(), Vec::new());
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.given < self.made {
                let count = (self.made - self.given).min(buffer.len());
                buffer[..count].copy_from_slice(&self.out[self.given..self.given + count]);
                self.given += count;
                return Ok(count);
            }
            if let Some(rest) = &mut self.rest {
                return rest.read(buffer);
            }
            self.fill()?;
            if self.begin == self.end {
                return Ok(0);
            }
            match self.inflater.member(&self.window[self.begin..self.end], &mut self.out) {
                Some((read, made)) => {
                    self.begin += read;
                    (self.given, self.made) = (0, made);
                }
                None => self.hand_over(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, compress, compress_pieces};
    use std::io::Write;

    fn random(length: usize) -> Vec<u8> {
        let mut state = 3u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn pieces(bytes: &[u8]) -> Vec<u8> {
        let write = |sink: &mut dyn Write| sink.write_all(bytes);
        compress_pieces::<_, io::Error, _>(Compression::Gzip, None, Vec::new(), &|| false, write).unwrap().1
    }

    fn stream(bytes: &[u8]) -> Vec<u8> {
        let mut sink = compress(Compression::Gzip, None, Vec::new()).unwrap();
        sink.write_all(bytes).unwrap();
        sink.finish().unwrap()
    }

    /// Gives few bytes at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(7_777);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn members_and_streams_come_back_in_any_order() {
        let text = b"the same again and again ".repeat(50_000);
        let noise = random(2 << 20);
        let parts: [(&[u8], bool); 6] =
            [(&text, true), (&noise, true), (b"short", false), (&text, false), (&noise, true), (b"", false)];
        for first in [0, 3] {
            let (mut compressed, mut plain) = (Vec::new(), Vec::new());
            for (bytes, cut) in parts[first..].iter().chain(&parts[..first]) {
                compressed.extend(if *cut { pieces(bytes) } else { stream(bytes) });
                plain.extend_from_slice(bytes);
            }
            let mut back = Vec::new();
            Members::new(Slow(&compressed)).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == plain, "beginning with {first}");
        }
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = pieces(&random(3 << 20));
        let read = |bytes: &[u8]| {
            let mut back = Vec::new();
            Members::new(bytes).unwrap().read_to_end(&mut back).map(|_| back.len())
        };
        assert_eq!(read(&whole).unwrap(), 3 << 20);
        assert!(read(&whole[..whole.len() - 3]).is_err());
        let mut bent = whole.clone();
        bent[whole.len() / 2] ^= 0x40;
        assert!(read(&bent).is_err());
        let more = [&whole[..], b"and what is no gzip"].concat();
        assert!(read(&more).is_err());
    }
}
