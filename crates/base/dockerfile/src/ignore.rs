//! `.dockerignore`: moby's patternmatcher.
//!
//! Patterns are rooted at the context; the last one that matches a path or one of its parents decides; `!` takes
//! back. A path below an ignored directory can be taken back, so a directory may only be skipped whole if no
//! negated pattern can match below it ([`Ignore::may_skip_below`]).

use crate::glob::{Dialect, Glob};
use oci::path::clean;

/// A `.dockerignore` file larger than this is refused.
pub const MAX_SIZE: usize = 1 << 20;

/// A compiled ignore file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    cleaned: String,
    negated: bool,
    line: u32,
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    Exact,
    Prefix(String),
    Suffix(String),
    Glob(Glob),
}

/// An ignore file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `!` alone.
    #[error("line {line}: illegal exclusion pattern: \"!\"")]
    BareNegation {
        /// Line number.
        line: u32,
    },
    /// A class that never closes and the like.
    #[error("line {line}: {pattern}: syntax error in pattern")]
    BadPattern {
        /// Line number.
        line: u32,
        /// The pattern.
        pattern: String,
    },
    /// See [`MAX_SIZE`].
    #[error("ignore file is larger than {MAX_SIZE} bytes")]
    TooLarge,
}

/// Per pattern, whether it matched a directory: what its children inherit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited(Vec<bool>);

impl Ignore {
    /// Compiles the text of an ignore file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_SIZE {
            return Err(Error::TooLarge);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (i, raw) in text.lines().enumerate() {
            if !raw.starts_with('#') {
                patterns.extend(Pattern::parse(raw, i as u32 + 1)?);
            }
        }
        Ok(Self { patterns })
    }

    /// Compiles patterns that stand one by one, as in `COPY --exclude`.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut all = Vec::new();
        for (i, raw) in patterns.into_iter().enumerate() {
            all.extend(Pattern::parse(raw, i as u32 + 1)?);
        }
        Ok(Self { patterns: all })
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether something is taken back with `!`.
    pub fn has_negations(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.negated)
    }

    /// Whether a pattern names everything at the context's root.
    pub fn covers_root(&self) -> bool {
        let whole = |p: &Pattern| matches!(p.cleaned.as_str(), "*" | "**" | "**/*");
        self.patterns.iter().any(|pattern| !pattern.negated && whole(pattern))
    }

    /// Whether `path` (relative, `/`-separated) is ignored, given what its directory inherited.
    pub fn check(&self, path: &str, parent: &Inherited) -> (bool, Inherited) {
        let mut ignored = false;
        let mut matched = Vec::with_capacity(self.patterns.len());
        for (i, pattern) in self.patterns.iter().enumerate() {
            // moby asks only the patterns that would change the answer, and what it did not ask, a directory does not hand
            // down: after `**/*.log` and `!dir`, `dir/x.log` stays ignored.
            let inherited = parent.0.get(i).copied().unwrap_or(false);
            let hit = inherited || (pattern.negated == ignored && pattern.matches(path));
            matched.push(hit);
            if hit {
                ignored = !pattern.negated;
            }
        }
        (ignored, Inherited(matched))
    }

    /// Whether `path` is ignored, its parents taken into account.
    pub fn is_ignored(&self, path: &str) -> bool {
        self.decide(path).0
    }

    /// As [`Ignore::is_ignored`], with the line of the pattern that decided.
    pub fn decide(&self, path: &str) -> (bool, Option<u32>) {
        let mut inherited = Inherited::default();
        let mut ignored = false;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (ignored, inherited) = self.check(&path[..end], &inherited);
        }
        let last = inherited.0.iter().rposition(|m| *m).map(|i| self.patterns[i].line);
        (ignored, last)
    }

    /// Whether nothing below the ignored directory `path` can be taken back.
    pub fn may_skip_below(&self, path: &str) -> bool {
        !self.patterns.iter().filter(|p| p.negated).any(|p| p.may_match_below(path))
    }
}

impl Pattern {
    fn parse(raw: &str, line: u32) -> Result<Option<Self>, Error> {
        let text = raw.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (text, negated) = match text.strip_prefix('!') {
            Some(rest) => (rest.trim(), true),
            None => (text, false),
        };
        let mut cleaned = clean(text);
        // Nothing but the root is nothing too.
        if text.is_empty() || (negated && cleaned == "/") {
            return Err(Error::BareNegation { line });
        }
        if cleaned.len() > 1 && cleaned.starts_with('/') {
            cleaned.remove(0);
        }
        let bad = || Error::BadPattern { line, pattern: raw.trim().to_string() };
        let how = how(&cleaned).map_err(|_| bad())?;
        Ok(Some(Self { cleaned, negated, line, how }))
    }

    fn matches(&self, path: &str) -> bool {
        match &self.how {
            How::Exact => path == self.cleaned,
            How::Prefix(prefix) => path.starts_with(prefix.as_str()),
            How::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path),
            How::Glob(glob) => glob.matches(path),
        }
    }

    /// Whether the pattern's fixed first elements are compatible with `dir`.
    fn may_match_below(&self, dir: &str) -> bool {
        let mut wanted = self.cleaned.split('/');
        for element in dir.split('/') {
            match wanted.next() {
                None => return false,
                Some(w) if w.contains(['*', '?', '[', '\\']) => return true,
                Some(w) if w != element => return false,
                Some(_) => {}
            }
        }
        true
    }
}

/// How a pattern is compared: most are plain text, and `**/x` and `x/**` need no automaton.
fn how(pattern: &str) -> Result<How, crate::glob::BadPattern> {
    let special = |text: &str| text.contains(['*', '?', '[', ']', '\\']);
    if !special(pattern) {
        return Ok(How::Exact);
    }
    if pattern.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
        return Err(crate::glob::BadPattern);
    }
    if let Some(rest) = pattern.strip_prefix("**") {
        if !special(rest) {
            // moby reads `**x` as "ends in x": a quirk that ignore files may rely on.
            return Ok(How::Suffix(rest.to_string()));
        }
    } else if let Some(prefix) = pattern.strip_suffix("**")
        && !special(prefix)
    {
        return Ok(How::Prefix(prefix.to_string()));
    }
    Glob::new(pattern, Dialect::Path).map(How::Glob)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of moby's own table, plus those of the tutorials.
    #[test]
    fn table() {
        for (file, path, want) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir", false),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir3/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("a**/*.txt", "abc/file.txt", true),
            ("a/*.txt", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("abc.def", "abcdef", false),
            ("abc?def", "abcZdef", true),
            ("a\\*b", "a*b", true),
            ("**/foo/bar", "in_dir/foo/bar", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", "bar.foo", false),
            ("**/.foo", ".foo", true),
            ("a(b)c/def", "a(b)c/def", true),
            ("**/.git", ".git", true),
            ("**/*.git*", "x/.gitignore", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("node_modules/", "node_modules/a/b.js", true),
            ("# x\n\n  dist  ", "dist/a", true),
            ("/abs", "abs", true),
            ("*\n!keep", "keep", false),
            ("*\n!keep", "other", true),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/x.md", true),
            ("!a\na", "a", true),
            ("a\n!a/b\na/b/c", "a/b/c", true),
            ("a\n!a/b\na/b/c", "a/b/d", false),
            ("**/*.log\n!src/deep", "src/deep/x.log", true),
            ("**/*.log\n!src/deep/*", "src/deep/x.log", false),
            ("*\n!src/deep", "src/deep/x.log", false),
            (".env.*", ".env.local", true),
            (".env.*", ".env", false),
        ] {
            assert_eq!(Ignore::parse(file).unwrap().is_ignored(path), want, "{file:?} {path}");
        }
    }

    #[test]
    fn tells_what_to_descend() {
        let ignore = Ignore::parse("docs\ntarget\n!docs/a/keep\n").unwrap();
        assert!(!ignore.may_skip_below("docs"));
        assert!(!ignore.may_skip_below("docs/a"));
        assert!(ignore.may_skip_below("docs/b"));
        assert!(ignore.may_skip_below("target"));
        assert!(!Ignore::parse("*\n!**/*.rs").unwrap().may_skip_below("src"));
    }

    #[test]
    fn tells_which_line_decided() {
        let ignore = Ignore::parse("# c\n*.log\n!a.log\n").unwrap();
        assert_eq!(ignore.decide("b.log"), (true, Some(2)));
        assert_eq!(ignore.decide("a.log"), (false, Some(3)));
        assert_eq!(ignore.decide("x"), (false, None));
    }

    #[test]
    fn refuses_nonsense() {
        for negation in ["!", "!/", "! // "] {
            let error = Ignore::parse(&format!("a\n{negation}\n")).unwrap_err();
            assert_eq!(error, Error::BareNegation { line: 2 }, "{negation}");
        }
        for pattern in ["\\", "a\\", "*/\\\\\\"] {
            let parsed = Ignore::parse(pattern);
            assert!(matches!(parsed, Err(Error::BadPattern { line: 1, .. })), "{pattern}");
        }
        assert!(Ignore::parse("a\\\\").unwrap().is_ignored("a\\"));
        assert!(matches!(Ignore::parse("[a").unwrap_err(), Error::BadPattern { line: 1, .. }));
    }
}
