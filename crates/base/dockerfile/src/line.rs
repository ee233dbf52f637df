//! What an instruction's parser works with: one logical line, its flags and the warnings it may add.

use crate::ast::Word;
use crate::error::{Error, Warning};
use crate::lines::Logical;
use crate::parse::Options;
use crate::span::{LineIndex, Span};
use crate::suggest::suggest;
use crate::words::{self, Piece};

/// One instruction being read.
pub(crate) struct Line<'a> {
    pub logical: &'a Logical,
    pub index: &'a LineIndex,
    pub escape: char,
    /// Read trailing `# …` as Docker does.
    pub strict: bool,
    pub options: Options,
    pub keyword: &'a str,
    flags: Vec<Piece>,
    /// Where the arguments begin.
    pub rest: usize,
    pub warnings: &'a mut Vec<Warning>,
}

/// A flag's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Takes {
    Bool,
    One,
    Many,
}

/// A flag as given.
#[derive(Debug)]
pub(crate) struct Flag {
    pub name: String,
    pub value: Word,
}

impl<'a> Line<'a> {
    /// Splits keyword and flags off.
    pub fn new(
        logical: &'a Logical,
        index: &'a LineIndex,
        escape: char,
        options: Options,
        warnings: &'a mut Vec<Warning>,
    ) -> Result<Self, Error> {
        let (keyword, at) = words::keyword(&logical.text);
        let Some((flags, rest)) = words::flags(&logical.text, at) else {
            let span = logical.place(index, at, logical.text.len());
            return Err(Error::new("unexpected end of statement while looking for matching quote", span));
        };
        let strict = options.strict;
        Ok(Self { logical, index, escape, strict, options, keyword, flags, rest, warnings })
    }

    /// The arguments.
    pub fn args(&self) -> &'a str {
        self.logical.text[self.rest..].trim_end()
    }

    /// The keyword in upper case.
    pub fn name(&self) -> String {
        self.keyword.to_ascii_uppercase()
    }

    /// The span of the instruction's head (without heredoc bodies).
    pub fn span(&self) -> Span {
        self.place(0, self.logical.text.len())
    }

    pub fn place(&self, from: usize, to: usize) -> Span {
        self.logical.place(self.index, from, to)
    }

    pub fn word(&self, piece: Piece) -> Word {
        let span = self.place(piece.from, piece.to);
        Word { text: piece.text, span }
    }

    /// All arguments as one word.
    pub fn whole(&self) -> Word {
        let text = self.args().to_string();
        let span = self.place(self.rest, self.rest + text.len());
        Word { text, span }
    }

    /// An error about the whole line.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::new(message, self.span())
    }

    pub fn warn(&mut self, rule: &str, message: impl Into<String>, span: Span, help: Option<String>) {
        self.warnings.push(Warning { rule: rule.into(), message: message.into(), span, help });
    }

    /// Tells that a trailing comment was read as one, which Docker does not do.
    pub fn warn_comment(&mut self, span: Span) {
        let message = "Trailing comment taken as a comment; Docker has no comments behind an instruction";
        let help = "put the comment on a line of its own".to_string();
        self.warn("TrailingComment", message, span, Some(help));
    }

    /// Plain words, a trailing `# …` cut off unless `strict`.
    pub fn plain_words(&mut self, keep: usize) -> (Vec<Piece>, Vec<Piece>) {
        let mut found = words::plain(self.logical.text.trim_end(), self.rest);
        let cut = found.iter().skip(keep).position(|w| w.text.starts_with('#')).map(|i| i + keep);
        let comment = match cut {
            Some(i) if !self.strict => found.split_off(i),
            _ => Vec::new(),
        };
        (found, comment)
    }

    /// The whole rest as one word, a trailing `# …` cut off unless `strict`.
    pub fn whole_word(&mut self) -> Word {
        let mut word = self.whole();
        if self.strict {
            return word;
        }
        if let Some(at) = words::trailing_comment(&word.text) {
            let span = self.place(self.rest + at, self.rest + word.text.len());
            self.warn_comment(span);
            let kept = word.text[..at].trim_end().len();
            word.text.truncate(kept);
            word.span = self.place(self.rest, self.rest + kept);
        }
        word
    }

    /// Reads the flags against what the instruction knows.
    pub fn take_flags(&mut self, known: &[(&str, Takes)]) -> Result<Vec<Flag>, Error> {
        let mut found: Vec<Flag> = Vec::new();
        for piece in std::mem::take(&mut self.flags) {
            let span = self.place(piece.from, piece.to);
            let body = &piece.text[2..];
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let fail = |message: String| Error::new(message, span);
            let Some((_, takes)) = known.iter().find(|(k, _)| *k == name) else {
                let all: Vec<&str> = known.iter().map(|(k, _)| *k).collect();
                let hint = suggest(name, &all).map(|s| format!(" (did you mean {s}?)")).unwrap_or_default();
                let error = fail(format!("unknown flag: --{name}{hint}"));
                return Err(match all.is_empty() {
                    true => error.help(format!("{} takes no flags", self.name())),
                    false => error.help(format!("{} takes --{}", self.name(), all.join(", --"))),
                });
            };
            if *takes != Takes::Many && found.iter().any(|f| f.name == name) {
                return Err(fail(format!("duplicate flag specified: --{name}")));
            }
            let value = match (takes, value) {
                (Takes::Bool, None) => "true".to_string(),
                (Takes::Bool, Some("")) => {
                    return Err(fail(format!("missing a value on flag: --{name}")));
                }
                (Takes::Bool, Some(v)) => match v.to_ascii_lowercase().as_str() {
                    b @ ("true" | "false") => b.to_string(),
                    _ => return Err(fail(format!("expecting boolean value for flag --{name}, not: {v}"))),
                },
                (_, None) => return Err(fail(format!("missing a value on flag: --{name}"))),
                (_, Some(v)) => v.to_string(),
            };
            found.push(Flag { name: name.to_string(), value: Word { text: value, span } });
        }
        Ok(found)
    }
}
