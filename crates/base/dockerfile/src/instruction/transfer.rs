//! `COPY` and `ADD`.

use super::command;
use crate::ast::{Heredoc, Source, TrailingWords, Transfer, Word};
use crate::error::Error;
use crate::line::{Flag, Line, Takes};
use crate::words::Piece;
use std::iter::Peekable;

const COMMON: [(&str, Takes); 4] =
    [("chown", Takes::One), ("chmod", Takes::One), ("link", Takes::Bool), ("exclude", Takes::Many)];

pub(crate) fn parse(line: &mut Line<'_>) -> Result<Transfer, Error> {
    let mut known = COMMON.to_vec();
    if line.name() == "COPY" {
        known.extend([("from", Takes::One), ("parents", Takes::Bool)]);
    } else {
        known.extend([("checksum", Takes::One), ("keep-git-dir", Takes::Bool), ("unpack", Takes::Bool)]);
    }
    let flags = line.take_flags(&known)?;
    let (mut words, comment) = arguments(line)?;
    let name = line.name();
    if words.is_empty() {
        return Err(line.error(format!("{name} requires at least one argument")));
    }
    if words.len() < 2 {
        let message = format!(
            "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        );
        return Err(line.error(message).help(format!("write `{name} source destination`")));
    }
    let dest = words.pop().unwrap_or_default();
    let docs = &line.logical.heredocs;
    if let Some(doc) = crate::heredoc::parse(&dest.text)
        && docs.iter().any(|d| d.name == doc.name)
    {
        return Err(Error::new(format!("{name} cannot accept a heredoc as a destination"), dest.span));
    }
    let mut docs = docs.iter().peekable();
    let sources = words.into_iter().map(|word| source(&mut docs, word)).collect::<Result<_, _>>()?;
    let mut transfer = Transfer {
        from: None,
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        checksum: None,
        keep_git_dir: None,
        unpack: None,
        sources,
        dest,
        comment,
    };
    apply(&mut transfer, flags);
    Ok(transfer)
}

/// JSON array or words; a trailing comment apart.
fn arguments(line: &mut Line<'_>) -> Result<(Vec<Word>, Option<TrailingWords>), Error> {
    let at = line.rest;
    if let Some(items) = command::array(line, at)? {
        let span = line.place(at, line.logical.text.len());
        return Ok((items.into_iter().map(|text| Word { text, span }).collect(), None));
    }
    let (found, comment) = line.plain_words(2);
    let mut trailing = None;
    if let (Some(first), Some(last)) = (comment.first(), comment.last()) {
        let span = line.place(first.from, last.to);
        line.warn_comment(span);
        let words = comment.iter().cloned().map(|p: Piece| line.word(p)).collect();
        trailing = Some(TrailingWords { words, span });
    }
    Ok((found.into_iter().map(|p| line.word(p)).collect(), trailing))
}

/// A path, or the next of the line's here-documents, which stand in it in their order: each word has a body of its own.
fn source<'d>(docs: &mut Peekable<impl Iterator<Item = &'d Heredoc>>, word: Word) -> Result<Source, Error> {
    let Some(opened) = crate::heredoc::parse(&word.text) else { return Ok(Source::Path(word)) };
    let Some(doc) = docs.next_if(|doc| doc.name == opened.name) else { return Ok(Source::Path(word)) };
    if doc.name.contains('/') || doc.name == "." || doc.name == ".." {
        return Err(Error::new(format!("heredoc name {:?} is not a file name", doc.name), word.span));
    }
    Ok(Source::Heredoc(doc.clone()))
}

fn apply(transfer: &mut Transfer, flags: Vec<Flag>) {
    for Flag { name, value } in flags {
        let on = value.text == "true";
        match name.as_str() {
            // An empty one is the context, as with BuildKit.
            "from" => transfer.from = Some(value).filter(|from| !from.text.is_empty()),
            "chown" => transfer.chown = Some(value),
            "chmod" => transfer.chmod = Some(value),
            "link" => transfer.link = on,
            "parents" => transfer.parents = on,
            "exclude" => transfer.exclude.push(value),
            "checksum" => transfer.checksum = Some(value),
            "keep-git-dir" => transfer.keep_git_dir = Some(on),
            _ => transfer.unpack = Some(on),
        }
    }
}
