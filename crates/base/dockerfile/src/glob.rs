//! One pattern matcher for the three pattern languages around a Dockerfile.
//!
//! * `.dockerignore` (moby's patternmatcher): `*` and `?` stay within a path element, `**` crosses them;
//! * `COPY` sources (Go's `filepath.Match`, plus `**`): the same with strict classes;
//! * `${x#pattern}` (shell): `*` and `?` match everything.
//!
//! It simulates an automaton, so the cost is pattern length times text length and never exponential.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// This character.
    Char(char),
    /// Any one character.
    One { slash: bool },
    /// Any number of characters.
    Star { slash: bool },
    /// One of a class.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Start of `(.*/)?`: go inside, or skip this and the next token.
    DirsOpen,
    /// Body of `(.*/)?`: eats anything, may leave after a slash.
    DirsBody,
}

/// A pattern that has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Which pattern language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Path elements are separated by `/`.
    Path,
    /// Shell substitution: nothing is special about `/`; there are no classes.
    Shell,
}

impl Glob {
    /// Compiles a pattern.
    pub fn new(pattern: &str, dialect: Dialect) -> Result<Self, BadPattern> {
        let path = dialect == Dialect::Path;
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if path && chars.peek() == Some(&'*') => {
                    chars.next();
                    let slash = chars.next_if_eq(&'/').is_some();
                    if chars.peek().is_none() && !slash {
                        tokens.push(Token::Star { slash: true });
                    } else {
                        tokens.extend([Token::DirsOpen, Token::DirsBody]);
                    }
                }
                '*' => tokens.push(Token::Star { slash: !path }),
                '?' => tokens.push(Token::One { slash: !path }),
                '[' if path => tokens.push(class(&mut chars)?),
                '\\' => tokens.push(Token::Char(chars.next().unwrap_or('\\'))),
                c => tokens.push(Token::Char(c)),
            }
        }
        tokens.dedup_by(|a, b| a == b && matches!(a, Token::Star { .. }));
        Ok(Self { tokens })
    }

    /// The pattern for the text read backwards.
    pub fn reversed(&self) -> Self {
        Self { tokens: self.tokens.iter().rev().cloned().collect() }
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut end = None;
        self.scan(text.chars(), |n| end = Some(n));
        end == Some(text.chars().count())
    }

    /// Counts of characters after which a prefix of `text` matches: the shortest and the longest.
    pub fn prefixes(&self, text: impl Iterator<Item = char>) -> Option<(usize, usize)> {
        let mut found: Option<(usize, usize)> = None;
        self.scan(text, |n| found = Some((found.map_or(n, |f| f.0), n)));
        found
    }

    /// Number of tokens, for budgets.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the pattern is empty.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Calls `hit` with every number of characters after which the pattern is satisfied.
    fn scan(&self, text: impl Iterator<Item = char>, mut hit: impl FnMut(usize)) {
        let n = self.tokens.len();
        let mut now = vec![false; n + 1];
        let mut next = vec![false; n + 1];
        self.enter(&mut now, 0);
        if now[n] {
            hit(0);
        }
        for (count, c) in text.enumerate() {
            next.iter_mut().for_each(|s| *s = false);
            let mut alive = false;
            for (i, token) in self.tokens.iter().enumerate().filter(|(i, _)| now[*i]) {
                let (stay, go) = token.step(c);
                alive |= stay || go;
                if stay {
                    next[i] = true;
                    if matches!(token, Token::Star { .. }) {
                        self.enter(&mut next, i + 1);
                    }
                }
                if go {
                    self.enter(&mut next, i + 1);
                }
            }
            std::mem::swap(&mut now, &mut next);
            if now[n] {
                hit(count + 1);
            }
            if !alive {
                return;
            }
        }
    }

    /// Marks state `i` and all that it reaches without reading.
    fn enter(&self, states: &mut [bool], mut i: usize) {
        loop {
            if states[i] {
                return;
            }
            states[i] = true;
            match self.tokens.get(i) {
                Some(Token::Star { .. }) => i += 1,
                Some(Token::DirsOpen) => {
                    states[i + 1] = true;
                    i += 2;
                }
                _ => return,
            }
        }
    }
}

impl Token {
    /// Whether reading `c` stays on this token, and whether it leads to the next.
    fn step(&self, c: char) -> (bool, bool) {
        match self {
            Token::Char(want) => (false, *want == c),
            Token::One { slash } => (false, *slash || c != '/'),
            Token::Star { slash } => (*slash || c != '/', false),
            Token::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(a, b)| (*a..=*b).contains(&c));
                (false, inside != *negated && c != '/')
            }
            Token::DirsOpen => (false, false),
            Token::DirsBody => (true, c == '/'),
        }
    }
}

/// Reads a class after its `[`, as Go does: `[^a-z]`, `\` escapes, never empty.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        match chars.peek() {
            Some(']') if !ranges.is_empty() => {
                chars.next();
                return Ok(Token::Class { negated, ranges });
            }
            _ => {
                let low = class_char(chars)?;
                let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
                ranges.push((low, high));
            }
        }
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_patterns() {
        for (pattern, text, want) in [
            ("*.md", "a.md", true),
            ("*.md", "d/a.md", false),
            ("**/*.md", "a.md", true),
            ("**/*.md", "d/e/a.md", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a/**", "a/x/y", true),
            ("a/**", "a", false),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("é*", "école", true),
        ] {
            assert_eq!(Glob::new(pattern, Dialect::Path).unwrap().matches(text), want, "{pattern} {text}");
        }
        for bad in ["[", "[a", "[]", "[a-]", "[-]"] {
            assert_eq!(Glob::new(bad, Dialect::Path), Err(BadPattern), "{bad}");
        }
    }

    #[test]
    fn prefixes_short_and_long() {
        let glob = Glob::new("*/", Dialect::Shell).unwrap();
        assert_eq!(glob.prefixes("a/b/c".chars()), Some((2, 4)));
        assert_eq!(glob.prefixes("abc".chars()), None);
    }

    #[test]
    fn no_exponential_patterns() {
        let glob = Glob::new(&"*a".repeat(200), Dialect::Path).unwrap();
        assert!(!glob.matches(&("a".repeat(199) + &"b".repeat(5000))));
    }
}
