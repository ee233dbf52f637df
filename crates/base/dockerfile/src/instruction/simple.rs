//! Instructions with plain arguments: `EXPOSE`, `MAINTAINER`, `ONBUILD`, `STOPSIGNAL`, `USER`, `VOLUME`, `WORKDIR`.

use super::command;
use crate::ast::{Kind, Onbuild, Word};
use crate::error::Error;
use crate::line::Line;
use crate::words;

/// Everything behind the keyword as one word.
pub(crate) fn one(line: &mut Line<'_>) -> Result<Word, Error> {
    line.take_flags(&[])?;
    let word = line.whole_word();
    if word.text.is_empty() {
        return Err(line.error(format!("{} requires exactly one argument", line.name())));
    }
    Ok(word)
}

pub(crate) fn maintainer(line: &mut Line<'_>) -> Result<String, Error> {
    line.take_flags(&[])?;
    let text = line.args().to_string();
    if text.is_empty() {
        return Err(line.error("MAINTAINER requires exactly one argument"));
    }
    let message = "Maintainer instruction is deprecated in favor of using label";
    let help = format!("write `LABEL org.opencontainers.image.authors=\"{text}\"`");
    line.warn("MaintainerDeprecated", message, line.span(), Some(help));
    Ok(text)
}

/// Words with a trailing comment cut off.
fn words_of(line: &mut Line<'_>) -> Vec<Word> {
    let (found, comment) = line.plain_words(1);
    if let (Some(first), Some(last)) = (comment.first(), comment.last()) {
        let span = line.place(first.from, last.to);
        line.warn_comment(span);
    }
    found.into_iter().map(|p| line.word(p)).collect()
}

pub(crate) fn expose(line: &mut Line<'_>) -> Result<Vec<Word>, Error> {
    line.take_flags(&[])?;
    let ports = words_of(line);
    if ports.is_empty() {
        return Err(line.error("EXPOSE requires at least one argument"));
    }
    Ok(ports)
}

pub(crate) fn volume(line: &mut Line<'_>) -> Result<Vec<Word>, Error> {
    line.take_flags(&[])?;
    let at = line.rest;
    let volumes: Vec<Word> = match command::array(line, at)? {
        Some(items) => {
            let span = line.place(at, line.logical.text.len());
            items.into_iter().map(|text| Word { text: text.trim().to_owned(), span }).collect()
        }
        None => words_of(line),
    };
    if volumes.is_empty() {
        return Err(line.error("VOLUME requires at least one argument"));
    }
    if volumes.iter().any(|v| v.text.trim().is_empty()) {
        return Err(line.error("VOLUME specified can not be an empty string"));
    }
    Ok(volumes)
}

pub(crate) fn onbuild(line: &mut Line<'_>) -> Result<Onbuild, Error> {
    line.take_flags(&[])?;
    let text = line.args();
    let (keyword, rest) = words::keyword(text);
    // One below another is told by who asks for it; any more would only nest.
    let nests = words::keyword(&text[rest..]).0.eq_ignore_ascii_case("ONBUILD");
    match keyword.to_ascii_uppercase().as_str() {
        "ONBUILD" | "MAINTAINER" | "FROM" if line.options.lenient && !nests => {}
        "" => return Err(line.error("ONBUILD requires at least one argument")),
        "ONBUILD" => return Err(line.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        name @ ("MAINTAINER" | "FROM") => {
            return Err(line.error(format!("{name} isn't allowed as an ONBUILD trigger")));
        }
        _ => {}
    }
    let inner = line.logical.tail(line.rest);
    let trigger = super::parse(&inner, line.index, line.escape, line.options, line.warnings)?;
    let mut expression = text.to_string();
    if matches!(trigger.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_)) {
        for doc in &line.logical.heredocs {
            expression.push('\n');
            expression.push_str(&doc.body);
            expression.push_str(&doc.name);
        }
    }
    Ok(Onbuild { expression, trigger })
}
