//! Cuts a template into text and tokens; trim markers and comments end here.

use crate::Error;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// White space between operands: it separates `.A .B` (two operands) from `.A.B` (one chain).
    Space,
    Identifier(String),
    /// `.Name`, with the name alone.
    Field(String),
    Dot,
    /// `$` or `$name`, with the dollar.
    Variable(String),
    Literal(String),
    Number(serde_json::Number),
    Pipe,
    Comma,
    Declare,
    Assign,
    LeftParen,
    RightParen,
    End,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub kind: Kind,
    /// Byte offset in the source.
    pub at: usize,
    /// What was written, for error texts.
    pub source: String,
}

pub(crate) fn parse_error(source: &str, at: usize, message: impl std::fmt::Display) -> Error {
    let line = 1 + source[..at.min(source.len())].matches('\n').count();
    Error(format!("template: :{line}: {message}"))
}

pub(crate) fn lex(source: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new(), parens: 0 };
    lexer.template()?;
    lexer.push(Kind::End, source.len());
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Token>,
    parens: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        parse_error(self.source, self.at, message)
    }

    fn push(&mut self, kind: Kind, start: usize) {
        let source = self.source[start..self.at.max(start)].to_owned();
        self.tokens.push(Token { kind, at: start, source });
    }

    fn template(&mut self) -> Result<(), Error> {
        let mut trim_left = false;
        loop {
            let start = self.at;
            let (end, action) = match self.rest().find("{{") {
                Some(offset) => (start + offset, true),
                None => (self.source.len(), false),
            };
            let mut text = &self.source[start..end];
            if trim_left {
                text = text.trim_start_matches([' ', '\t', '\r', '\n']);
            }
            let after = &self.source[(end + 2).min(self.source.len())..];
            if action && after.starts_with('-') && after[1..].starts_with([' ', '\t', '\r', '\n']) {
                text = text.trim_end_matches([' ', '\t', '\r', '\n']);
            }
            let text = text.to_owned();
            self.at = end;
            if !text.is_empty() {
                self.push(Kind::Text(text), start);
            }
            if !action {
                return Ok(());
            }
            trim_left = self.action()?;
        }
    }

    /// One `{{…}}`; true when it ends with a trim marker.
    fn action(&mut self) -> Result<bool, Error> {
        let open = self.at;
        self.at += 2;
        if self.rest().starts_with('-') && self.rest()[1..].starts_with([' ', '\t', '\r', '\n']) {
            self.at += 2;
        }
        if self.rest().starts_with("/*") {
            return self.comment();
        }
        self.push(Kind::Open, open);
        loop {
            if let Some(trim) = self.close() {
                if self.parens > 0 {
                    return Err(self.error("unclosed left paren"));
                }
                return Ok(trim);
            }
            self.token()?;
        }
    }

    fn comment(&mut self) -> Result<bool, Error> {
        let Some(end) = self.rest().find("*/") else { return Err(self.error("unclosed comment")) };
        self.at += end + 2;
        let rest = self.rest();
        if rest.starts_with("}}") {
            self.at += 2;
            return Ok(false);
        }
        if rest.starts_with([' ', '\t', '\r', '\n']) && rest[1..].starts_with("-}}") {
            self.at += 4;
            return Ok(true);
        }
        Err(self.error("comment ends before closing delimiter"))
    }

    fn close(&mut self) -> Option<bool> {
        let (width, trim) = if self.rest().starts_with("}}") {
            (2, false)
        } else if self.rest().starts_with([' ', '\t', '\r', '\n']) && self.rest()[1..].starts_with("-}}") {
            (4, true)
        } else {
            return None;
        };
        let start = self.at;
        self.at += width;
        self.push(Kind::Close, start);
        Some(trim)
    }

    fn token(&mut self) -> Result<(), Error> {
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Err(self.error("unclosed action")) };
        self.at += first.len_utf8();
        let kind = match first {
            ' ' | '\t' | '\r' | '\n' => {
                // A trim marker's own space belongs to the marker.
                while self.rest().starts_with([' ', '\t', '\r', '\n']) && !self.rest()[1..].starts_with("-}}")
                {
                    self.at += 1;
                }
                Kind::Space
            }
            '|' => Kind::Pipe,
            ',' => Kind::Comma,
            '=' => Kind::Assign,
            ':' if self.rest().starts_with('=') => {
                self.at += 1;
                Kind::Declare
            }
            ':' => return Err(self.error("expected :=")),
            '(' => {
                self.parens += 1;
                Kind::LeftParen
            }
            ')' => {
                self.parens =
                    self.parens.checked_sub(1).ok_or_else(|| self.error("unexpected right paren"))?;
                Kind::RightParen
            }
            '"' => self.quoted()?,
            '`' => self.raw()?,
            '\'' => self.character()?,
            '$' => {
                let name = self.word();
                Kind::Variable(format!("${name}"))
            }
            '.' if !self.rest().starts_with(|next: char| next.is_ascii_digit()) => match self.word() {
                name if name.is_empty() => Kind::Dot,
                name => Kind::Field(name),
            },
            '+' | '-' | '.' | '0'..='9' => {
                self.at = start;
                self.number()?
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                self.at = start;
                Kind::Identifier(self.word())
            }
            other => {
                self.at = start;
                return Err(
                    self.error(format!("unexpected {} in command", crate::printf::quote(&other.to_string())))
                );
            }
        };
        self.push(kind, start);
        Ok(())
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        self.at += end;
        word
    }

    fn quoted(&mut self) -> Result<Kind, Error> {
        let mut text = String::new();
        loop {
            let Some(next) = self.rest().chars().next() else {
                return Err(self.error("unterminated quoted string"));
            };
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(Kind::Literal(text)),
                '\n' => return Err(self.error("unterminated quoted string")),
                '\\' => text.push(self.escape()?),
                other => text.push(other),
            }
        }
    }

    fn raw(&mut self) -> Result<Kind, Error> {
        let Some(end) = self.rest().find('`') else {
            return Err(self.error("unterminated raw quoted string"));
        };
        let text = self.rest()[..end].to_owned();
        self.at += end + 1;
        Ok(Kind::Literal(text))
    }

    fn character(&mut self) -> Result<Kind, Error> {
        let unterminated = |lexer: &Self| lexer.error("unterminated character constant");
        let next = self.rest().chars().next().ok_or_else(|| unterminated(self))?;
        self.at += next.len_utf8();
        let value = if next == '\\' { self.escape()? } else { next };
        if !self.rest().starts_with('\'') {
            return Err(unterminated(self));
        }
        self.at += 1;
        Ok(Kind::Number(u64::from(u32::from(value)).into()))
    }

    fn escape(&mut self) -> Result<char, Error> {
        let next = self.rest().chars().next().ok_or_else(|| self.error("unterminated quoted string"))?;
        self.at += next.len_utf8();
        let digits = match next {
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'a' => return Ok('\x07'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'v' => return Ok('\x0b'),
            '\\' | '"' | '\'' => return Ok(next),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='7' => {
                self.at -= 1;
                return self.code(3, 8);
            }
            _ => return Err(self.error("invalid syntax")),
        };
        self.code(digits, 16)
    }

    fn code(&mut self, digits: usize, radix: u32) -> Result<char, Error> {
        let text = self.rest().get(..digits).unwrap_or_default();
        let code = u32::from_str_radix(text, radix).ok().and_then(char::from_u32);
        let code = code.ok_or_else(|| self.error("invalid syntax"))?;
        self.at += digits;
        Ok(code)
    }

    fn number(&mut self) -> Result<Kind, Error> {
        let rest = self.rest();
        let mut end = 0;
        for (offset, c) in rest.char_indices() {
            let exponent_sign = (c == '+' || c == '-')
                && (offset == 0 || (rest[..offset].ends_with(['e', 'E']) && !rest.starts_with("0x")));
            if !(c.is_alphanumeric() || c == '_' || c == '.' || exponent_sign) {
                break;
            }
            end = offset + c.len_utf8();
        }
        let text = rest[..end].to_owned();
        let number = number(&text).ok_or_else(|| self.error(format!("bad number syntax: {text:?}")))?;
        self.at += end;
        Ok(Kind::Number(number))
    }
}

fn number(text: &str) -> Option<serde_json::Number> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let integer = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i64::from_str_radix(octal, 8).ok()
    } else {
        lower.parse().ok()
    };
    if let Some(integer) = integer {
        return Some(if negative { -integer } else { integer }.into());
    }
    let float: f64 = lower.parse().ok()?;
    serde_json::Number::from_f64(if negative { -float } else { float })
}
