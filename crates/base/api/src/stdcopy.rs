//! The framing of a container's output when it has no terminal: an 8-byte header of the stream's number,
//! three zeros and the payload's length in big-endian order, then the payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// The longest payload that a reader accepts: a hostile peer must not make us reserve 4 GiB.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// The stream of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
    /// An error of the server, not of the container.
    System,
}

impl Stream {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::System => 3,
        }
    }
}

/// A stream that is not framed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unrecognized stream type {0} in multiplexed output")]
    Stream(u8),
    #[error("multiplexed frame of {0} bytes is too long")]
    TooLong(usize),
}

/// The header of a frame.
pub fn header(stream: Stream, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream.number(), 0, 0, 0, a, b, c, d]
}

/// A whole frame. The payload must be at most [`MAX_PAYLOAD`] bytes.
pub fn encode(stream: Stream, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER + payload.len());
    frame.put_slice(&header(stream, payload.len()));
    frame.put_slice(payload);
    frame.freeze()
}

/// Reads frames from bytes that come in any portions. Payload is handed on as it comes, so a long frame
/// may be seen as several parts.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    current: Option<(Stream, usize)>,
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next part of a payload, or `None` when more bytes are needed.
    pub fn next_part(&mut self) -> Result<Option<(Stream, Bytes)>, Error> {
        loop {
            let (stream, left) = match self.current {
                Some(current) => current,
                None if self.buffer.len() < HEADER => return Ok(None),
                None => self.read_header()?,
            };
            if left == 0 {
                self.current = None;
                continue;
            }
            if self.buffer.is_empty() {
                self.current = Some((stream, left));
                return Ok(None);
            }
            let part = self.buffer.split_to(left.min(self.buffer.len())).freeze();
            self.current = Some((stream, left - part.len())).filter(|(_, left)| *left > 0);
            return Ok(Some((stream, part)));
        }
    }

    fn read_header(&mut self) -> Result<(Stream, usize), Error> {
        let number = self.buffer[0];
        let stream = match number {
            0 => Stream::Stdin,
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::System,
            _ => return Err(Error::Stream(number)),
        };
        self.buffer.advance(4);
        let length = self.buffer.get_u32() as usize;
        if length > MAX_PAYLOAD {
            return Err(Error::TooLong(length));
        }
        Ok((stream, length))
    }

    /// True in the midst of a frame: an end of the connection here is a truncation.
    pub fn is_partial(&self) -> bool {
        self.current.is_some() || !self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn streams() -> impl Strategy<Value = Stream> {
        prop_oneof![Just(Stream::Stdin), Just(Stream::Stdout), Just(Stream::Stderr), Just(Stream::System)]
    }

    #[test]
    fn frame_layout() {
        assert_eq!(&encode(Stream::Stderr, b"hi")[..], b"\x02\0\0\0\0\0\0\x02hi");
    }

    #[test]
    fn hostile_frames_are_errors() {
        let mut decoder = Decoder::new();
        decoder.push(b"\x07\0\0\0\0\0\0\x02hi");
        assert_eq!(decoder.next_part(), Err(Error::Stream(7)));
        let mut decoder = Decoder::new();
        decoder.push(b"\x01\0\0\0\xff\xff\xff\xff");
        assert!(matches!(decoder.next_part(), Err(Error::TooLong(_))));
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            frames in prop::collection::vec((streams(), prop::collection::vec(any::<u8>(), 0..50)), 0..8),
            portion in 1usize..20,
        ) {
            let wire: Vec<u8> = frames.iter().flat_map(|(s, p)| encode(*s, p)).collect();
            let mut decoder = Decoder::new();
            let mut seen: Vec<(Stream, Vec<u8>)> = Vec::new();
            for bytes in wire.chunks(portion) {
                decoder.push(bytes);
                while let Some((stream, part)) = decoder.next_part().unwrap() {
                    match seen.last_mut() {
                        Some((last, payload)) if *last == stream => payload.extend_from_slice(&part),
                        _ => seen.push((stream, part.to_vec())),
                    }
                }
            }
            prop_assert!(!decoder.is_partial());
            let mut wanted: Vec<(Stream, Vec<u8>)> = Vec::new();
            for (stream, payload) in frames.into_iter().filter(|(_, p)| !p.is_empty()) {
                match wanted.last_mut() {
                    Some((last, all)) if *last == stream => all.extend_from_slice(&payload),
                    _ => wanted.push((stream, payload)),
                }
            }
            prop_assert_eq!(seen, wanted);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_part() {}
        }
    }
}
