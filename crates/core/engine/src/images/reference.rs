//! Names that users give to images, and patterns for them.

use oci::Reference;

use crate::error::{Error, Result};

/// The name of `repo` and `tag` as two fields of a request: none for no repository, `latest` for no tag.
pub(crate) fn target(repo: &str, tag: &str) -> Result<Option<Reference>> {
    if repo.is_empty() {
        return Ok(None);
    }
    let reference = Reference::parse_name(repo).map_err(|e| Error::invalid(e.to_string()))?;
    if reference.digest.is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    let reference = match (tag, &reference.tag) {
        ("", Some(_)) => reference,
        ("", None) => reference.with_tag("latest").map_err(|e| Error::invalid(e.to_string()))?,
        (tag, _) => reference.with_tag(tag).map_err(|_| Error::invalid("invalid tag format"))?,
    };
    if reference.familiar_name() == "sha256" {
        return Err(Error::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
    }
    Ok(Some(reference))
}

/// Whether `pattern` (as of `reference=`) matches the name with or without its tag.
pub(crate) fn matches(pattern: &str, reference: &Reference) -> Result<bool> {
    let bad = || Error::invalid(format!("invalid filter 'reference={pattern}': syntax error in pattern"));
    let whole = glob(pattern.as_bytes(), reference.familiar().as_bytes()).ok_or_else(bad)?;
    Ok(whole || glob(pattern.as_bytes(), reference.familiar_name().as_bytes()).ok_or_else(bad)?)
}

/// Go's `path.Match`: `*` and `?` stop at slashes, `[…]` is a set, a backslash takes the next character as it is.
/// None if the pattern is malformed. Remembers the last star only, so the time is bounded by the product of both
/// lengths: a star never crosses a slash, and within a component the last one decides.
fn glob(pattern: &[u8], text: &[u8]) -> Option<bool> {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t < text.len() && p < pattern.len() {
            if let Some(next) = one(pattern, p, text[t])? {
                p = next;
                t += 1;
                continue;
            }
        } else if t == text.len() && p == pattern.len() {
            return Some(true);
        }
        // Nothing fits here: let the last star take one byte more, unless that is a slash.
        match star {
            Some((after, taken)) if taken < text.len() && text[taken] != b'/' => {
                star = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
            _ => return is_well_formed(pattern).then_some(false),
        }
    }
}

/// Whether one element of the pattern fits a byte: the position behind it if so. None if it is malformed.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<Option<usize>> {
    match pattern[p] {
        b'?' => Some((byte != b'/').then_some(p + 1)),
        b'\\' => Some((*pattern.get(p + 1)? == byte).then_some(p + 2)),
        b'[' => {
            let mut at = p + 1;
            let negated = pattern.get(at) == Some(&b'^');
            at += usize::from(negated);
            let (mut found, mut first) = (false, true);
            while first || *pattern.get(at)? != b']' {
                let low = literal(pattern, &mut at)?;
                let high = if pattern.get(at) == Some(&b'-') {
                    at += 1;
                    literal(pattern, &mut at)?
                } else {
                    low
                };
                found |= (low..=high).contains(&byte);
                first = false;
            }
            Some((found != negated && byte != b'/').then_some(at + 1))
        }
        other => Some((other == byte).then_some(p + 1)),
    }
}

fn literal(pattern: &[u8], at: &mut usize) -> Option<u8> {
    let mut byte = *pattern.get(*at)?;
    if byte == b'-' || byte == b']' {
        return None;
    }
    if byte == b'\\' {
        *at += 1;
        byte = *pattern.get(*at)?;
    }
    *at += 1;
    Some(byte)
}

fn is_well_formed(pattern: &[u8]) -> bool {
    let mut p = 0;
    while p < pattern.len() {
        match pattern[p] {
            b'[' => {
                let mut at = p + 1 + usize::from(pattern.get(p + 1) == Some(&b'^'));
                let mut first = true;
                loop {
                    match pattern.get(at) {
                        Some(b']') if !first => break,
                        Some(b'-') => at += 1,
                        _ => {}
                    }
                    if literal(pattern, &mut at).is_none() {
                        return false;
                    }
                    first = false;
                }
                p = at + 1;
            }
            b'\\' if p + 1 == pattern.len() => return false,
            b'\\' => p += 2,
            _ => p += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, expected) in [
            ("busy*", "busybox", Some(true)),
            ("busy*:*libc", "busybox:glibc", Some(true)),
            ("*", "a/b", Some(false)),
            ("*/*", "a/b", Some(true)),
            ("a*/b", "abc/b", Some(true)),
            ("a*b*c", "aXbYbZc", Some(true)),
            ("a*/x", "a/b/x", Some(false)),
            ("?usybox", "busybox", Some(true)),
            ("[a-c]usybox", "busybox", Some(true)),
            ("[^a-c]usybox", "busybox", Some(false)),
            ("a\\*", "a*", Some(true)),
            ("a\\*", "ab", Some(false)),
            ("[", "a", None),
            ("[a", "b", None),
            ("[]a]", "a", None),
            ("a\\", "ab", None),
            ("", "", Some(true)),
            ("", "a", Some(false)),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let reference = Reference::parse("busybox:1").unwrap();
        assert!(matches("busybox", &reference).unwrap() && matches("busybox:*", &reference).unwrap());
    }

    #[test]
    fn a_pattern_of_stars_takes_no_time() {
        let pattern = "*a".repeat(200) + "b";
        assert_eq!(glob(pattern.as_bytes(), "a".repeat(5000).as_bytes()), Some(false));
    }

    #[test]
    fn names_for_new_images() {
        let name = |repo: &str, tag: &str| target(repo, tag).map(|name| name.map(|name| name.familiar()));
        assert_eq!(name("", "x").unwrap(), None);
        assert_eq!(name("a", "").unwrap().as_deref(), Some("a:latest"));
        assert_eq!(name("a:1", "").unwrap().as_deref(), Some("a:1"));
        assert_eq!(name("a", "2").unwrap().as_deref(), Some("a:2"));
        assert_eq!(name("a", "/").unwrap_err().message, "invalid tag format");
        assert!(name("sha256", "x").is_err() && name("A", "").is_err());
    }
}
