//! The keys that leave an attached terminal, `ctrl-p,ctrl-q` unless told otherwise.

/// `ctrl-p,ctrl-q`.
pub const DEFAULT: &[u8] = &[16, 17];

/// Reads `ctrl-<letter>` and single characters, separated by commas.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    text.split(',')
        .map(|key| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
            (_, [one]) => Ok(*one),
            (Some(rest), _) if rest.len() == 1 => {
                let byte = rest.as_bytes()[0];
                match byte {
                    b'a'..=b'z' => Ok(byte - b'a' + 1),
                    b'@' => Ok(0),
                    b'['..=b'_' => Ok(byte - b'[' + 27),
                    _ => Err(format!("Unknown character: '{key}'")),
                }
            }
            _ => Err(format!("Unknown character: '{key}'")),
        })
        .collect()
}

/// Watches typed bytes for the sequence; bytes that might begin it are held back until it is sure.
#[derive(Debug, Clone)]
pub struct Watch {
    keys: Vec<u8>,
    matched: usize,
}

/// What [`Watch::feed`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// Bytes for the container.
    Bytes(Vec<u8>),
    /// The sequence: these bytes came before it.
    Detach(Vec<u8>),
}

impl Watch {
    pub fn new(keys: Vec<u8>) -> Watch {
        Watch { keys, matched: 0 }
    }

    pub fn feed(&mut self, typed: &[u8]) -> Seen {
        let mut out = Vec::with_capacity(typed.len() + self.matched);
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Seen::Detach(out);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            match self.keys.first() == Some(byte) && self.keys.len() > 1 {
                true => self.matched = 1,
                false => out.push(*byte),
            }
        }
        Seen::Bytes(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        assert_eq!(parse("ctrl-p,ctrl-q").as_deref(), Ok(DEFAULT));
        assert_eq!(parse("ctrl-@,a,ctrl-[").as_deref(), Ok(&[0, b'a', 27][..]));
        assert_eq!(parse("foo").unwrap_err(), "Unknown character: 'foo'");
    }

    #[test]
    fn watching() {
        let mut watch = Watch::new(DEFAULT.to_vec());
        assert_eq!(watch.feed(b"ls"), Seen::Bytes(b"ls".to_vec()));
        assert_eq!(watch.feed(&[b'a', 16]), Seen::Bytes(b"a".to_vec()));
        assert_eq!(watch.feed(b"b"), Seen::Bytes(vec![16, b'b']));
        assert_eq!(watch.feed(&[16, 16]), Seen::Bytes(vec![16]));
        assert_eq!(watch.feed(&[17, b'x']), Seen::Detach(Vec::new()));
        assert_eq!(Watch::new(vec![1]).feed(&[b'x', 1]), Seen::Detach(b"x".to_vec()));
    }
}
