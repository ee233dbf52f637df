//! `ENV`, `LABEL` and `ARG`.

use crate::ast::{ArgDecl, KeyValue};
use crate::error::Error;
use crate::line::Line;
use crate::words::{self, Piece};

/// `KEY=value …` or the old `KEY value`.
pub(crate) fn key_values(line: &mut Line<'_>) -> Result<Vec<KeyValue>, Error> {
    line.take_flags(&[])?;
    let name = line.name();
    let mut found = words::quoted(line.logical.text.trim_end(), line.rest, line.escape);
    let Some(first) = found.first() else {
        return Err(line.error(format!("{name} requires at least one argument")));
    };
    if !first.text.contains('=') {
        return legacy(line, &name).map(|pair| vec![pair]);
    }
    if !line.strict {
        cut_comment(line, &mut found);
    }
    let mut pairs = Vec::with_capacity(found.len());
    for piece in found {
        let span = line.place(piece.from, piece.to);
        let Some((key, value)) = piece.text.split_once('=') else {
            let message =
                format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", piece.text);
            return Err(Error::new(message, span).help("quote a value that has spaces in it"));
        };
        if key.is_empty() {
            return Err(Error::new(format!("{name} names can not be blank"), span));
        }
        pairs.push(KeyValue { key: key.into(), value: value.into(), span, legacy: false });
    }
    Ok(pairs)
}

/// Docker's reading of `A=b # why` is an error, because `#` has no `=`: only then it is a comment.
fn cut_comment(line: &mut Line<'_>, found: &mut Vec<Piece>) {
    let Some(bad) = found.iter().position(|w| !w.text.contains('=')) else { return };
    let Some(cut) = found[..=bad].iter().position(|w| w.text.starts_with('#')) else { return };
    let span = line.place(found[cut].from, line.logical.text.trim_end().len());
    line.warn_comment(span);
    found.truncate(cut);
}

fn legacy(line: &mut Line<'_>, name: &str) -> Result<KeyValue, Error> {
    let args = line.args();
    let Some((key, value)) = args.split_once(char::is_whitespace) else {
        let error = line.error(format!("{name} must have two arguments"));
        return Err(error.help(format!("write `{name} {args}=value`")));
    };
    let (key, value) = (key.to_string(), value.trim_start().to_string());
    let span = line.place(line.rest, line.rest + args.len());
    if let Some(at) = words::trailing_comment(&value) {
        let start = line.rest + args.len() - value.len() + at;
        let span = line.place(start, line.rest + args.len());
        let message = format!("The text after # is part of the value of {key}");
        let help = format!("write `{name} {key}=value` and put the comment on a line of its own");
        line.warn("TrailingComment", message, span, Some(help));
    }
    Ok(KeyValue { key, value, span, legacy: true })
}

/// `ARG name[=default] …`.
pub(crate) fn arg(line: &mut Line<'_>) -> Result<Vec<ArgDecl>, Error> {
    line.take_flags(&[])?;
    let mut found = words::quoted(line.logical.text.trim_end(), line.rest, line.escape);
    if found.is_empty() {
        return Err(line.error("ARG requires at least one argument"));
    }
    // Docker would declare arguments called `#` and so on, which nobody can want.
    if let Some(cut) = found.iter().skip(1).position(|w| w.text == "#").filter(|_| !line.strict) {
        let span = line.place(found[cut + 1].from, line.logical.text.trim_end().len());
        line.warn_comment(span);
        found.truncate(cut + 1);
    }
    let mut args = Vec::with_capacity(found.len());
    for piece in found {
        let span = line.place(piece.from, piece.to);
        let (name, value) = match piece.text.split_once('=') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (piece.text, None),
        };
        if name.is_empty() {
            return Err(Error::new("ARG names can not be blank", span));
        }
        args.push(ArgDecl { name, value, span });
    }
    Ok(args)
}
