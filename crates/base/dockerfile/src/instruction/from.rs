//! `FROM [--platform=p] image [AS name]`.

use crate::ast::{From, Word};
use crate::error::Error;
use crate::line::{Line, Takes};
use crate::words::Piece;

pub(crate) fn parse(line: &mut Line<'_>) -> Result<From, Error> {
    let flags = line.take_flags(&[("platform", Takes::One)])?;
    let platform = flags.into_iter().next().map(|f| f.value);
    let all = crate::words::plain(line.logical.text.trim_end(), line.rest);
    let mut words = all.clone();
    if !well_formed(&words) && !line.strict {
        // Where Docker's reading is an error anyway, a ` # …` can only be meant as a comment.
        if let Some(cut) = words.iter().skip(1).position(|w| w.text.starts_with('#')) {
            words.truncate(cut + 1);
            if well_formed(&words) {
                let span = line.place(all[cut + 1].from, all[all.len() - 1].to);
                line.warn_comment(span);
            }
        }
    }
    if !well_formed(&words) {
        let help = match all.iter().any(|word| word.text.starts_with('<')) {
            true => "names in < > stand for your own: write `FROM image:tag AS name`",
            false => "write `FROM image` or `FROM image AS name`",
        };
        return Err(line.error("FROM requires either one or three arguments").help(help));
    }
    let mut words = words.into_iter();
    let image = words.next().map(|p| line.word(p)).unwrap_or_default();
    let name = words.nth(1).map(|p| stage_name(line, p)).transpose()?;
    Ok(From { platform, image, name })
}

fn well_formed(words: &[Piece]) -> bool {
    words.len() == 1 || (words.len() == 3 && words[1].text.eq_ignore_ascii_case("as"))
}

fn stage_name(line: &Line<'_>, piece: Piece) -> Result<Word, Error> {
    let written = line.word(piece);
    let name = written.text.to_lowercase();
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if !first || !rest {
        return Err(Error::new(
            format!(
                "invalid name for build stage: {:?}, name can't start with a number or contain symbols",
                written.text
            ),
            written.span,
        ));
    }
    Ok(Word { text: name, span: written.span })
}
