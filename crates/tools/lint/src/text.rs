//! Words as a Dockerfile has them.

/// The word without the quotes and escapes that are taken away when it is used; variables stay.
pub(crate) fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if q == c => quote = None,
            Some('\'') => out.push(c),
            _ if c == '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// Ends of names of archives that `ADD` unpacks.
const ARCHIVES: [&str; 15] = [
    ".tar", ".Z", ".bz2", ".gz", ".lz", ".lzma", ".tZ", ".tb2", ".tbz", ".tbz2", ".tgz", ".tlz", ".tpz",
    ".txz", ".xz",
];

/// Whether a name is an archive's.
pub(crate) fn is_archive(name: &str) -> bool {
    ARCHIVES.iter().any(|end| name.ends_with(end))
}

/// Whether a path begins with a drive, as `c:`.
pub(crate) fn has_drive(path: &str) -> bool {
    let mut chars = path.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':')
}

/// Longer names of variables are not looked at.
const LONGEST_NAME: usize = 256;

/// The variables that a text refers to: `${name}` and `$name`.
pub(crate) fn references(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('$').filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        let name = match rest.strip_prefix('{') {
            Some(inner) => inner.bytes().take(LONGEST_NAME).position(|b| b == b'}').map(|end| &inner[..end]),
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                Some(&rest[..end])
            }
        };
        name.filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(unquoted("a\"b c\"'d \\e' f\\ g$h"), "ab cd \\e f g$h");
        assert!(is_archive("x.tar.gz") && !is_archive("x.zip"));
        assert!(has_drive("c:\\x") && !has_drive("/c:") && !has_drive(""));
        let names = |text: &'static str| references(text).collect::<Vec<_>>();
        assert_eq!(names("a$bc d$e-${f}g ${ $ $$h"), ["bc", "e", "f", "h"]);
    }
}
