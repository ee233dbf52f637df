//! Which ids a container may have: what is safe as the name of a folder, and what runc takes.

use super::Error;

/// The longest file name.
const LONGEST: usize = 255;

/// Checks an id: letters, digits and `_+-.`, and neither `.` nor `..`.
pub fn check(id: &str) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::EmptyId);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    if id.len() > LONGEST || id == "." || id == ".." || !id.bytes().all(allowed) {
        return Err(Error::Id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_and_no_ways() {
        for good in ["a", "a.b", "..a", "A_b+c-d", &"x".repeat(255)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [".", "..", "../x", "a/b", "/", "a b", "ä", "a\0", "a\n", &"x".repeat(256)] {
            assert!(matches!(check(bad), Err(Error::Id)), "{bad}");
        }
        assert!(matches!(check(""), Err(Error::EmptyId)));
    }
}
