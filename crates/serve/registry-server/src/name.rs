//! Names of repositories and tags (distribution-spec, "Pulling manifests").
//!
//! A value of these types is always well-formed, so it may become a part of a file's name; there is no other way from a
//! stranger's text to a place in the storage.

use std::fmt;
use std::str::FromStr;

/// Bytes of a repository's name; it is also the longest that a file's name may be.
const NAME_MAX: usize = 255;
/// Bytes of a tag.
const TAG_MAX: usize = 128;
/// Stands for the slash where a repository's name is the name of one folder; no name has it.
const SLASH: &str = "+";

/// A repository: `team/app`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// A tag: `v1.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

/// A text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid format")]
pub struct InvalidName;

impl Name {
    /// The name as that of one folder.
    pub(crate) fn folder(&self) -> String {
        self.0.replace('/', SLASH)
    }

    /// The repository of a folder; none if it is no repository's.
    pub(crate) fn of_folder(folder: &str) -> Option<Name> {
        folder.replace(SLASH, "/").parse().ok()
    }

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Name, InvalidName> {
        let fits = text.len() <= NAME_MAX && text.split('/').all(is_component);
        if fits { Ok(Name(text.into())) } else { Err(InvalidName) }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let edges = bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain);
    let mut separators = bytes.split(plain).filter(|run| !run.is_empty());
    edges && separators.all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-'))
}

impl Tag {
    /// The tag as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidName;

    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
    fn from_str(text: &str) -> Result<Tag, InvalidName> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().is_some_and(word);
        let fits = first && text.len() <= TAG_MAX;
        let all = text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
        if fits && all { Ok(Tag(text.into())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for name in ["a", "0", "library/nginx", "a.b_c__d-e---f/g", "a/b/c/d/e", &"a".repeat(255)] {
            assert!(name.parse::<Name>().is_ok(), "{name}");
        }
        for name in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "..",
            "a/..",
            "A",
            "a b",
            "a..b",
            "a._b",
            "a___b",
            "-a",
            "a-",
            "ä",
            "a+b",
            "a%2fb",
            "a\0",
            "_a",
            &"a".repeat(256),
        ] {
            assert_eq!(name.parse::<Name>(), Err(InvalidName), "{name:?}");
        }
        let name: Name = "team/app".parse().unwrap();
        assert_eq!(Name::of_folder(&name.folder()), Some(name));
        assert_eq!(Name::of_folder("..").or(Name::of_folder("+")), None);
    }

    #[test]
    fn tags_are_those_of_the_specification() {
        for tag in ["latest", "v1.0", "_x", "A-b.c_D", &"a".repeat(128)] {
            assert!(tag.parse::<Tag>().is_ok(), "{tag}");
        }
        for tag in ["", ".", "..", "-a", ".INVALID", "a/b", "a:b", "a b", "a+b", "ä", &"a".repeat(129)] {
            assert_eq!(tag.parse::<Tag>(), Err(InvalidName), "{tag:?}");
        }
    }
}
