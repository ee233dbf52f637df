//! Identities: 64 lower case hexadecimal digits from the kernel's random source.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Context, Result};

/// A new identity. The first twelve digits are never all decimal, so that a short id is not taken for a number.
pub fn new() -> Result<String> {
    loop {
        let mut bytes = [0_u8; 32];
        let got = getrandom(&mut bytes, GetRandomFlags::empty()).during("read random bytes")?;
        if got < bytes.len() {
            continue;
        }
        let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        if !text.as_bytes()[..12].iter().all(u8::is_ascii_digit) {
            return Ok(text);
        }
    }
}

/// How many digits of an identity say whose it is.
const MARK: usize = 8;

/// The mark of a root: several roots may live on one machine, where they share bridges' namespaces and control groups.
pub fn mark(root: &std::path::Path) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    oci::Digest::sha256(root.as_os_str().as_encoded_bytes()).hex()[..MARK].to_owned()
}

/// A new identity that ends with a root's mark: what it names in the kernel is that root's.
pub fn marked(mark: &str) -> Result<String> {
    let mut id = new()?;
    id.replace_range(64 - MARK.., mark);
    Ok(id)
}

/// A new identity of the same root.
pub fn kin(id: &str) -> Result<String> {
    marked(&id[id.len() - MARK..])
}

/// Whether an identity is one of the root with this mark.
pub fn has_mark(id: &str, mark: &str) -> bool {
    id.len() == 64 && id.ends_with(mark)
}

/// Whether `text` could be an identity or the start of one.
pub fn is_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The twelve digits that people read.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_long_and_distinct() {
        let (a, b) = (new().unwrap(), new().unwrap());
        assert_ne!(a, b);
        assert!(a.len() == 64 && is_prefix(&a) && is_prefix(short(&a)));
        let (c, mark) = (marked("01234567").unwrap(), mark(std::path::Path::new("/")));
        assert!(has_mark(&c, "01234567") && has_mark(&kin(&c).unwrap(), "01234567") && !has_mark(&c, &mark));
        assert!(!is_prefix("") && !is_prefix("A") && !is_prefix("g") && !is_prefix("a/b"));
    }
}
