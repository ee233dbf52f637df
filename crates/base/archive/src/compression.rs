//! Compression formats, told from the first bytes of a stream.
//!
//! All of it happens in this process: no helper program is ever looked for (CVE-2019-14271 and its like).

use crate::members::Members;
use std::io::{self, BufRead, BufReader, Read, Write};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz format.
    Xz,
    /// bzip2, one or more streams.
    Bzip2,
}

pub(crate) const BUFFER: usize = 256 << 10;
/// Most memory that an .xz stream may ask for; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

impl Compression {
    /// The format that a stream with these first bytes (at least six, if it has as many) has.
    pub fn detect(first: &[u8]) -> Compression {
        match first {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame, as pzstd and zstd:chunked put first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

/// A stream that decompresses what it reads from another.
pub struct Decompressor<R: Read> {
    stream: Stream<BufReader<Prefixed<R>>>,
    compression: Compression,
}

enum Stream<B: BufRead> {
    None(B),
    Gzip(Box<Members<B>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, B>>),
    Xz(Box<liblzma::bufread::XzDecoder<B>>),
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<B>>),
}

/// A reader with the bytes that were taken from it to look at put back in front.
struct Prefixed<R> {
    prefix: [u8; 6],
    start: usize,
    end: usize,
    rest: R,
}

impl<R: Read> Read for Prefixed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return self.rest.read(buffer);
        }
        let count = (self.end - self.start).min(buffer.len());
        buffer[..count].copy_from_slice(&self.prefix[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

/// Detects the compression of `source` and undoes it. Reads the first six bytes at once.
pub fn decompress<R: Read>(mut source: R) -> io::Result<Decompressor<R>> {
    let mut prefix = [0; 6];
    let mut end = 0;
    while end < prefix.len() {
        match source.read(&mut prefix[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let compression = Compression::detect(&prefix[..end]);
    let source = BufReader::with_capacity(BUFFER, Prefixed { prefix, start: 0, end, rest: source });
    let stream = match compression {
        Compression::None => Stream::None(source),
        Compression::Gzip => Stream::Gzip(Box::new(Members::new(source)?)),
        Compression::Zstd => Stream::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(source)?)),
        Compression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
            Stream::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(source, decoder)))
        }
        Compression::Bzip2 => Stream::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(source))),
    };
    Ok(Decompressor { stream, compression })
}

impl<R: Read> Decompressor<R> {
    /// What was detected.
    pub fn compression(&self) -> Compression {
        self.compression
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::None(source) => source.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer),
            Stream::Zstd(decoder) => decoder.read(buffer),
            Stream::Xz(decoder) => decoder.read(buffer),
            Stream::Bzip2(decoder) => decoder.read(buffer),
        }
    }
}

/// A stream that compresses what is written to it; [`Compressor::finish`] ends it.
pub enum Compressor<W: Write> {
    /// Passes on.
    None(W),
    /// gzip.
    Gzip(Box<flate2::write::GzEncoder<W>>),
    /// zstd.
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
    /// xz.
    Xz(Box<liblzma::write::XzEncoder<W>>),
    /// bzip2.
    Bzip2(Box<bzip2::write::BzEncoder<W>>),
}

/// Compresses into `sink` at `level` (the format's own scale; none is its default).
pub fn compress<W: Write>(
    compression: Compression,
    level: Option<u32>,
    sink: W,
) -> io::Result<Compressor<W>> {
    Ok(match compression {
        Compression::None => Compressor::None(sink),
        Compression::Gzip => {
            let level = flate2::Compression::new(level.unwrap_or(6).min(9));
            // No name and no time in the header: the same bytes each time.
            Compressor::Gzip(Box::new(flate2::GzBuilder::new().write(sink, level)))
        }
        Compression::Zstd => {
            let level = level.unwrap_or(3).min(22) as i32;
            Compressor::Zstd(Box::new(zstd::stream::write::Encoder::new(sink, level)?))
        }
        Compression::Xz => {
            Compressor::Xz(Box::new(liblzma::write::XzEncoder::new(sink, level.unwrap_or(6).min(9))))
        }
        Compression::Bzip2 => {
            let level = bzip2::Compression::new(level.unwrap_or(9).clamp(1, 9));
            Compressor::Bzip2(Box::new(bzip2::write::BzEncoder::new(sink, level)))
        }
    })
}

impl<W: Write> Compressor<W> {
    /// Ends the stream and gives the writer below back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Compressor::None(sink) => Ok(sink),
            Compressor::Gzip(encoder) => encoder.finish(),
            Compressor::Zstd(encoder) => encoder.finish(),
            Compressor::Xz(encoder) => encoder.finish(),
            Compressor::Bzip2(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::None(sink) => sink.write(buffer),
            Compressor::Gzip(encoder) => encoder.write(buffer),
            Compressor::Zstd(encoder) => encoder.write(buffer),
            Compressor::Xz(encoder) => encoder.write(buffer),
            Compressor::Bzip2(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressor::None(sink) => sink.flush(),
            Compressor::Gzip(encoder) => encoder.flush(),
            Compressor::Zstd(encoder) => encoder.flush(),
            Compressor::Xz(encoder) => encoder.flush(),
            Compressor::Bzip2(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Xz, Compression::Bzip2];

    fn squeeze(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut sink = compress(compression, None, Vec::new()).unwrap();
        sink.write_all(bytes).unwrap();
        sink.finish().unwrap()
    }

    #[test]
    fn comes_back_from_every_format_also_twice_in_a_row() {
        let text = "the same again and again ".repeat(20_000);
        for compression in ALL {
            let mut once = squeeze(compression, text.as_bytes());
            let mut back = String::new();
            let mut reader = decompress(&once[..]).unwrap();
            assert_eq!(reader.compression(), compression);
            reader.read_to_string(&mut back).unwrap();
            assert!(back == text, "{compression:?}");

            once.extend(squeeze(compression, text.as_bytes()));
            back.clear();
            decompress(&once[..]).unwrap().read_to_string(&mut back).unwrap();
            assert_eq!(back.len(), 2 * text.len(), "{compression:?}");
        }
    }

    #[test]
    fn short_streams_and_damage() {
        for text in ["", "a", "\x1f"] {
            let mut back = String::new();
            decompress(text.as_bytes()).unwrap().read_to_string(&mut back).unwrap();
            assert_eq!(back, text);
        }
        for compression in &ALL[1..] {
            let bytes = squeeze(*compression, &b"0123456789".repeat(100));
            let cut = &bytes[..bytes.len() - 3];
            assert!(decompress(cut).unwrap().read_to_end(&mut Vec::new()).is_err(), "{compression:?}");
        }
    }
}
