//! Variable expansion: `$x`, `${x}`, the modifiers `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`, quotes
//! and escapes, as BuildKit's `shell.Lex` does it.
//!
//! Hostile input is bounded: [`MAX_DEPTH`] nested substitutions, [`MAX_OUTPUT`] bytes of result, so many steps for pattern
//! substitutions, and a [`Budget`] for what all expansions of a file make and do together.

use crate::glob::{Dialect, Glob};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Substitutions inside substitutions.
pub const MAX_DEPTH: usize = 64;
/// Bytes that one expansion may make.
pub const MAX_OUTPUT: usize = 4 << 20;
/// Automaton steps that the pattern modifiers of one expansion may take.
const MAX_STEPS: usize = 50_000_000;
/// Bytes that all expansions of a file, and what is made of their results, may come to. Large projects need a hundredth.
pub const MAX_MADE: usize = 64 << 20;
/// Steps of all expansions of a file.
const MAX_WORK: usize = 4 * MAX_STEPS;

/// Text that cannot be expanded; messages are BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A quote never closes.
    #[error("unexpected end of statement while looking for matching {0}")]
    Unterminated(&'static str),
    /// `${x` without its brace.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${}`, `${{`, `${:`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// A modifier that does not exist.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${x?message}` of an unset variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says about it.
        message: String,
    },
    /// The result or the work for it is out of proportion.
    #[error("variable expansion is too large: more than {} MiB, or than {MAX_STEPS} steps for its patterns", MAX_OUTPUT >> 20)]
    TooLarge,
    /// What the file makes of its variables is out of proportion.
    #[error("variables and steps of the file come to more than {} MiB", MAX_MADE >> 20)]
    TooMuch,
    /// The work for all patterns of the file is out of proportion.
    #[error("patterns in the file's substitutions take more than {MAX_WORK} steps")]
    TooLong,
    /// Too many substitutions inside substitutions.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// What came out, and which variables it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The result.
    pub text: String,
    /// Variables that were looked up.
    pub used: BTreeSet<String>,
    /// Those of them that were not set.
    pub unset: BTreeSet<String>,
}

/// What the expansions of one file, and copies of their results, may still cost: each may be small, and made of what others
/// have made.
#[derive(Debug, Default)]
pub struct Budget {
    made: AtomicUsize,
    steps: AtomicUsize,
}

impl Budget {
    /// Takes so many bytes for something that is made.
    pub fn draw(&self, bytes: usize) -> Result<(), Error> {
        match add(&self.made, bytes) > MAX_MADE {
            true => Err(Error::TooMuch),
            false => Ok(()),
        }
    }

    fn spend(&self, steps: usize) -> Result<(), Error> {
        match add(&self.steps, steps) > MAX_WORK {
            true => Err(Error::TooLong),
            false => Ok(()),
        }
    }

    fn left(of: &AtomicUsize, limit: usize) -> usize {
        limit.saturating_sub(of.load(Ordering::Relaxed))
    }
}

/// A file is expanded by one thread at a time.
fn add(total: &AtomicUsize, more: usize) -> usize {
    let sum = total.load(Ordering::Relaxed).saturating_add(more);
    total.store(sum, Ordering::Relaxed);
    sum
}

/// Looks variables up.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The settings of an expansion.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    /// The Dockerfile's escape character.
    pub escape: char,
    /// Quotes are text, as in a here-document's body.
    pub literal_quotes: bool,
    /// Variable values.
    pub lookup: &'a Lookup<'a>,
    /// The file's.
    pub budget: &'a Budget,
}

impl<'a> Expander<'a> {
    /// An expander for instruction arguments.
    pub fn new(escape: char, lookup: &'a Lookup<'a>, budget: &'a Budget) -> Self {
        Self { escape, literal_quotes: false, lookup, budget }
    }

    /// An expander for the bodies of here-documents.
    pub fn heredoc(lookup: &'a Lookup<'a>, budget: &'a Budget) -> Self {
        Self { escape: '\\', literal_quotes: true, lookup, budget }
    }

    /// Expands to one word.
    pub fn word(&self, text: &str) -> Result<Expanded, Error> {
        let mut run = Run::new(self, text);
        let (text, _) = run.whole()?;
        Ok(Expanded { text, used: run.used, unset: run.unset })
    }

    /// Expands and splits: white space that came from a variable outside quotes separates words.
    pub fn words(&self, text: &str) -> Result<Vec<String>, Error> {
        Run::new(self, text).whole().map(|(_, words)| words)
    }
}

struct Run<'e, 'a, 't> {
    with: &'e Expander<'a>,
    chars: std::iter::Peekable<std::str::Chars<'t>>,
    depth: usize,
    made: usize,
    steps: usize,
    /// Bytes and steps that it may come to.
    limits: (usize, usize),
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
}

/// Words under construction.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
    in_word: bool,
}

impl Words {
    fn raw(&mut self, text: &str) {
        self.current.push_str(text);
        self.in_word = true;
    }

    fn split(&mut self, text: &str) {
        for c in text.chars() {
            self.char(c);
        }
    }

    fn char(&mut self, c: char) {
        if c.is_whitespace() {
            self.end();
        } else {
            self.current.push(c);
            self.in_word = true;
        }
    }

    fn end(&mut self) {
        // A word of nothing, even in quotes, is none.
        if std::mem::take(&mut self.in_word) && !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }
}

impl<'e, 'a, 't> Run<'e, 'a, 't> {
    fn new(with: &'e Expander<'a>, text: &'t str) -> Self {
        let made = MAX_OUTPUT.min(Budget::left(&with.budget.made, MAX_MADE));
        let steps = MAX_STEPS.min(Budget::left(&with.budget.steps, MAX_WORK));
        Self {
            with,
            chars: text.chars().peekable(),
            depth: 0,
            made: 0,
            steps: 0,
            limits: (made, steps),
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
        }
    }

    /// Reads all of it, at the file's expense.
    fn whole(&mut self) -> Result<(String, Vec<String>), Error> {
        let done = self.until(None, false);
        self.with.budget.draw(self.made)?;
        self.with.budget.spend(self.steps)?;
        done
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        self.made = self.made.saturating_add(bytes);
        if self.made > self.limits.0 { Err(Error::TooLarge) } else { Ok(()) }
    }

    /// Reads up to `stop` (which is eaten) or the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), Error> {
        let mut out = String::new();
        let mut words = Words::default();
        while let Some(&c) = self.chars.peek() {
            if stop == Some(c) {
                self.chars.next();
                words.end();
                return Ok((out, words.done));
            }
            match c {
                '\'' if !self.with.literal_quotes => {
                    let text = self.single_quoted(raw_escapes)?;
                    words.raw(&text);
                    out.push_str(&text);
                }
                '"' if !self.with.literal_quotes => {
                    let text = self.double_quoted()?;
                    words.raw(&text);
                    out.push_str(&text);
                }
                '$' => {
                    let text = self.dollar()?;
                    words.split(&text);
                    out.push_str(&text);
                }
                c if c == self.with.escape => {
                    self.chars.next();
                    if raw_escapes {
                        out.push(c);
                    }
                    if let Some(next) = self.chars.next() {
                        words.raw(next.encode_utf8(&mut [0; 4]));
                        out.push(next);
                    }
                }
                c => {
                    self.chars.next();
                    words.char(c);
                    out.push(c);
                }
            }
            self.grow(1)?;
        }
        if stop.is_some() {
            return Err(Error::MissingBrace);
        }
        words.end();
        Ok((out, words.done))
    }

    /// `'…'`: everything is text.
    fn single_quoted(&mut self, raw_escapes: bool) -> Result<String, Error> {
        self.chars.next();
        let mut out = String::new();
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(out);
            }
            // What is quoted must stay text when it becomes a pattern.
            if raw_escapes && matches!(c, '*' | '?' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        Err(Error::Unterminated("single-quote"))
    }

    /// `"…"`: variables expand; the escape character escapes itself, `"` and `$`.
    fn double_quoted(&mut self) -> Result<String, Error> {
        self.chars.next();
        let mut out = String::new();
        while let Some(&c) = self.chars.peek() {
            match c {
                '"' => {
                    self.chars.next();
                    return Ok(out);
                }
                '$' => out.push_str(&self.dollar()?),
                c if c == self.with.escape => {
                    self.chars.next();
                    match self.chars.peek() {
                        None => return Err(Error::Unterminated("double-quote")),
                        Some(&n) if n == '"' || n == '$' || n == c => {
                            self.chars.next();
                            out.push(n);
                        }
                        Some(_) => out.push(c),
                    }
                }
                c => {
                    self.chars.next();
                    out.push(c);
                }
            }
        }
        Err(Error::Unterminated("double-quote"))
    }

    /// A variable name: letters, digits and `_`; or digits only; or one special parameter.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&c) = self.chars.peek() {
            if name.is_empty() && c.is_ascii_digit() {
                while let Some(d) = self.chars.next_if(char::is_ascii_digit) {
                    name.push(d);
                }
                return name;
            }
            if name.is_empty() && "@*#?-$!".contains(c) {
                self.chars.next();
                return c.to_string();
            }
            if !c.is_alphanumeric() && c != '_' {
                break;
            }
            name.push(c);
            self.chars.next();
        }
        name
    }

    fn get(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.used.insert(name.to_string());
        let value = (self.with.lookup)(name);
        if value.is_none() {
            self.unset.insert(name.to_string());
        }
        self.grow(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn plain(&mut self, name: &str) -> Result<String, Error> {
        Ok(self.get(name)?.unwrap_or_default())
    }

    /// `$name` and `${…}`.
    fn dollar(&mut self) -> Result<String, Error> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            return if name.is_empty() { Ok("$".into()) } else { self.plain(&name) };
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err(Error::MissingBrace),
            Some('{' | '}' | ':') => return Err(Error::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(c) = self.chars.next() else { return Err(Error::MissingBrace) };
        if c == '}' {
            return self.plain(&name);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let out = self.modified(name, c);
        self.depth -= 1;
        out
    }

    /// The part of `${name…}` from its modifier on.
    fn modified(&mut self, name: String, first: char) -> Result<String, Error> {
        if first == '/' {
            return self.replace(&name);
        }
        let (op, null_is_unset) =
            if first == ':' { (self.chars.next().ok_or(Error::MissingBrace)?, true) } else { (first, false) };
        let is_pattern = op == '#' || op == '%';
        let modifier = || if null_is_unset { format!(":{op}") } else { op.to_string() };
        if !"+-?#%".contains(op) || (null_is_unset && is_pattern) {
            return Err(Error::Modifier(modifier()));
        }
        let (word, _) = self.until(Some('}'), is_pattern)?;
        let value = self.get(&name)?;
        let present = value.as_ref().is_some_and(|v| !null_is_unset || !v.is_empty());
        match op {
            '-' => Ok(value.filter(|_| present).unwrap_or(word)),
            '+' => Ok(if present { word } else { String::new() }),
            '?' if present => Ok(value.unwrap_or_default()),
            '?' => {
                let what = if value.is_none() { "unset" } else { "empty" };
                let default = format!("is not allowed to be {what}");
                let message = if word.is_empty() { default } else { word };
                Err(Error::Required { name, message })
            }
            _ => self.trim(op, &word, value.unwrap_or_default()),
        }
    }

    fn spend(&mut self, pattern: &Glob, text: usize) -> Result<(), Error> {
        self.steps = self.steps.saturating_add((pattern.len() + 1).saturating_mul(text + 1));
        if self.steps > self.limits.1 { Err(Error::TooLarge) } else { Ok(()) }
    }

    /// `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`.
    fn trim(&mut self, op: char, word: &str, value: String) -> Result<String, Error> {
        let greedy = word.starts_with(op);
        let pattern = if greedy { &word[1..] } else { word };
        let glob = Glob::new(pattern, Dialect::Shell).map_err(|_| Error::BadSubstitution)?;
        self.spend(&glob, value.len())?;
        let pick = |found: (usize, usize)| if greedy { found.1 } else { found.0 };
        if op == '#' {
            let cut = glob.prefixes(value.chars()).map_or(0, pick);
            return Ok(value.chars().skip(cut).collect());
        }
        let cut = glob.reversed().prefixes(value.chars().rev()).map_or(0, pick);
        let keep = value.chars().count() - cut;
        Ok(value.chars().take(keep).collect())
    }

    /// `${x/p/r}` and `${x//p/r}`.
    fn replace(&mut self, name: &str) -> Result<String, Error> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), false)?;
        let Some(value) = self.get(name)? else { return Ok(String::new()) };
        let glob = Glob::new(&pattern, Dialect::Shell).map_err(|_| Error::BadSubstitution)?;
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        let mut replaced = false;
        while at < chars.len() {
            if replaced && !all {
                out.extend(&chars[at..]);
                break;
            }
            self.spend(&glob, chars.len() - at)?;
            match glob.prefixes(chars[at..].iter().copied()).map(|f| f.1).filter(|n| *n > 0) {
                Some(n) => {
                    out.push_str(&replacement);
                    self.grow(replacement.len())?;
                    at += n;
                    replaced = true;
                }
                None => {
                    out.push(chars[at]);
                    at += 1;
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "x" => "value",
            "empty" => "",
            "path" => "/usr/local/bin/tool.tar.gz",
            "two" => "a b",
            _ => return None,
        };
        Some(value.to_string())
    }

    fn word(text: &str) -> Result<String, String> {
        Expander::new('\\', &lookup, &Budget::default()).word(text).map(|e| e.text).map_err(|e| e.to_string())
    }

    #[test]
    fn table() {
        for (text, want) in [
            ("plain", "plain"),
            ("$x", "value"),
            ("${x}y", "valuey"),
            ("$xy", ""),
            ("$x_", ""),
            ("$", "$"),
            ("a$", "a$"),
            ("$/", "$/"),
            ("\\$x", "$x"),
            ("\\a", "a"),
            ("'$x'", "$x"),
            ("\"$x\"", "value"),
            ("\"\\$x \\\" \\\\ \\n\"", "$x \" \\ \\n"),
            ("'a'\"b\"c", "abc"),
            ("${no:-d}", "d"),
            ("${no-d}", "d"),
            ("${empty:-d}", "d"),
            ("${empty-d}", ""),
            ("${x:-d}", "value"),
            ("${x:+alt}", "alt"),
            ("${empty:+alt}", ""),
            ("${empty+alt}", "alt"),
            ("${no+alt}", ""),
            ("${x:?needed}", "value"),
            ("${empty?needed}", ""),
            ("${no:-${x:-y}}", "value"),
            ("${no:-\"a}b\"}", "a}b"),
            ("${path#*/}", "usr/local/bin/tool.tar.gz"),
            ("${path##*/}", "tool.tar.gz"),
            ("${path%.*}", "/usr/local/bin/tool.tar"),
            ("${path%%.*}", "/usr/local/bin/tool"),
            ("${path#nope}", "/usr/local/bin/tool.tar.gz"),
            ("${path%?gz}", "/usr/local/bin/tool.tar"),
            ("${path/\\//_}", "_usr/local/bin/tool.tar.gz"),
            ("${path//\\//_}", "_usr_local_bin_tool.tar.gz"),
            ("${path//o/0}", "/usr/l0cal/bin/t00l.tar.gz"),
            ("${path/l*l/L}", "/usr/L.tar.gz"),
            ("${path//t/}", "/usr/local/bin/ool.ar.gz"),
            ("$1x", "x"),
        ] {
            assert_eq!(word(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn errors_are_buildkits() {
        for (text, want) in [
            ("'x", "unexpected end of statement while looking for matching single-quote"),
            ("\"x", "unexpected end of statement while looking for matching double-quote"),
            ("${x", "syntax error: missing '}'"),
            ("${", "syntax error: missing '}'"),
            ("${x:-", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${:x}", "syntax error: bad substitution"),
            ("${x:=y}", "unsupported modifier (:=) in substitution"),
            ("${x=y}", "unsupported modifier (=) in substitution"),
            ("${x:#y}", "unsupported modifier (:#) in substitution"),
            ("${no?}", "no: is not allowed to be unset"),
            ("${empty:?}", "empty: is not allowed to be empty"),
            ("${no:?set it}", "no: set it"),
        ] {
            assert_eq!(word(text), Err(want.to_string()), "{text}");
        }
    }

    #[test]
    fn splits_only_what_variables_bring() {
        let budget = Budget::default();
        let expander = Expander::new('\\', &lookup, &budget);
        assert_eq!(expander.words("$two \"$two\" c\\ d").unwrap(), ["a", "b", "a b", "c d"]);
        assert_eq!(expander.words("\"\" x ''").unwrap(), ["x"]);
    }

    #[test]
    fn remembers_names() {
        let out = Expander::new('\\', &lookup, &Budget::default()).word("$x $no ${other:-d}").unwrap();
        assert_eq!(out.used.into_iter().collect::<Vec<_>>(), ["no", "other", "x"]);
        assert_eq!(out.unset.into_iter().collect::<Vec<_>>(), ["no", "other"]);
    }

    #[test]
    fn heredoc_bodies_keep_quotes() {
        let out = Expander::heredoc(&lookup, &Budget::default()).word("'$x' \"\\$x\"\n").unwrap();
        assert_eq!(out.text, "'value' \"$x\"\n");
    }

    #[test]
    fn bombs_are_refused() {
        let nested = "${a:-".repeat(100_000);
        assert_eq!(word(&nested), Err(Error::TooDeep.to_string()));
        let big = "x".repeat(1 << 20);
        let get = |_: &str| Some(big.clone());
        let budget = Budget::default();
        let word = |text: &str| Expander::new('\\', &get, &budget).word(text).map(|word| word.text.len());
        assert_eq!(word(&"$a".repeat(50)), Err(Error::TooLarge));
        assert_eq!(word("${a//*y/b}"), Err(Error::TooLarge));
    }

    #[test]
    fn many_small_bombs_are_refused_too() {
        let big = "x".repeat(1 << 20);
        let get = |_: &str| Some(big.clone());
        let budget = Budget::default();
        let word = |text: &str| Expander::new('\\', &get, &budget).word(text).map(|word| word.text.len());
        let made = (0..1000).take_while(|_| word("$a") == Ok(1 << 20)).count();
        assert!(made < 64 && made > 32, "{made}");
        assert_eq!((word("$a"), word("x")), (Err(Error::TooMuch), Err(Error::TooMuch)));
        let small = "x".repeat(1 << 10);
        let get = |_: &str| Some(small.clone());
        let budget = Budget::default();
        let word = |text: &str| Expander::new('\\', &get, &budget).word(text);
        let found = (0..1000).find_map(|_| word("${a//*y/b}").err());
        assert_eq!(found, Some(Error::TooLong));
    }
}
