//! Detach keys: the sequence that, typed on a terminal, leaves the container alone. Pure; Docker's notation.

/// What Docker looks for unless told otherwise.
pub const DEFAULT_DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// A sequence that cannot be read, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid detach keys ({0}) provided")]
pub struct DetachKeysError(pub String);

/// The bytes of a sequence such as `ctrl-p,ctrl-q` or `a,ctrl-x`. The empty text is the default.
pub fn parse_detach_keys(text: &str) -> Result<Vec<u8>, DetachKeysError> {
    let text = if text.is_empty() { DEFAULT_DETACH_KEYS } else { text };
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.ok_or_else(|| DetachKeysError(text.to_owned()))
}

fn key(text: &str) -> Option<u8> {
    let only = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii() => Some(*byte),
        _ => None,
    };
    match text.strip_prefix("ctrl-") {
        None => only(text),
        Some(letter) => match only(letter)? {
            byte @ b'a'..=b'z' => Some(byte - b'a' + 1),
            byte @ b'@'..=b'_' if !byte.is_ascii_alphabetic() => Some(byte - b'@'),
            _ => None,
        },
    }
}

/// Finds a sequence in a stream that arrives in pieces, holding back what may be its beginning.
#[derive(Debug)]
pub struct Matcher {
    keys: Vec<u8>,
    /// How many bytes of `keys` were seen last, and are held back.
    seen: usize,
}

impl Matcher {
    /// A matcher for non-empty `keys`; empty ones never match.
    pub fn new(keys: Vec<u8>) -> Matcher {
        Matcher { keys, seen: 0 }
    }

    /// Appends to `forward` what of `input` (and of what was held back) is to be passed on. True when the sequence is
    /// complete; it is swallowed, and what follows it as well.
    pub fn feed(&mut self, input: &[u8], forward: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            forward.extend_from_slice(input);
            return false;
        }
        for &byte in input {
            self.advance(byte, forward);
            if self.seen == self.keys.len() {
                self.seen = 0;
                return true;
            }
        }
        false
    }

    /// What is still held back when the stream ends.
    pub fn finish(&mut self) -> &[u8] {
        let held = std::mem::take(&mut self.seen);
        &self.keys[..held]
    }

    /// Takes one byte: the longest end of what was held back plus `byte` that begins the sequence stays held back.
    fn advance(&mut self, byte: u8, forward: &mut Vec<u8>) {
        loop {
            if self.keys[self.seen] == byte {
                self.seen += 1;
                return;
            }
            if self.seen == 0 {
                forward.push(byte);
                return;
            }
            let held = &self.keys[..self.seen];
            let shorter = (0..self.seen).rev().find(|&n| held.ends_with(&self.keys[..n])).unwrap_or(0);
            forward.extend_from_slice(&self.keys[..self.seen - shorter]);
            self.seen = shorter;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut matcher = Matcher::new(keys.to_vec());
        let mut out = Vec::new();
        for piece in pieces {
            if matcher.feed(piece, &mut out) {
                return (out, true);
            }
        }
        out.extend_from_slice(matcher.finish());
        (out, false)
    }

    #[test]
    fn dockers_notation_is_understood() {
        assert_eq!(parse_detach_keys(""), Ok(vec![16, 17]));
        assert_eq!(parse_detach_keys("ctrl-a,x,ctrl-@,ctrl-_,ctrl-["), Ok(vec![1, b'x', 0, 31, 27]));
        assert_eq!(parse_detach_keys("ctrl-A"), Err(DetachKeysError("ctrl-A".into())));
        assert_eq!(parse_detach_keys("shift-x"), Err(DetachKeysError("shift-x".into())));
        assert_eq!(parse_detach_keys("a,"), Err(DetachKeysError("a,".into())));
    }

    #[test]
    fn the_sequence_detaches_in_one_piece_or_many() {
        assert_eq!(fed(&[16, 17], &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(fed(&[16, 17], &[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
    }

    #[test]
    fn a_beginning_that_leads_nowhere_is_passed_on() {
        assert_eq!(fed(&[16, 17], &[b"\x10", b"x\x10\x10"]), (b"\x10x\x10\x10".to_vec(), false));
        assert_eq!(fed(&[16, 17], &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
    }

    #[test]
    fn a_sequence_that_repeats_itself_is_found() {
        assert_eq!(fed(b"aab", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(fed(b"abab", &[b"ababab"]), (Vec::new(), true));
        assert_eq!(fed(b"aab", &[b"aa", b"ca"]), (b"aaca".to_vec(), false));
    }
}
