//! `COPY`, `ADD` and `WORKDIR` to operations.

use super::stage::StageState;
use super::{Error, Lowering, history, path};
use crate::graph::{Copy, CopySource, Literal, Mkdir, OpKind, Origin};
use dockerfile::ast::{Heredoc, Instruction, Source, Transfer, Word};
use dockerfile::expand::Expander;

pub(super) fn transfer(
    l: &mut Lowering<'_>,
    index: usize,
    s: &mut StageState,
    i: &Instruction,
    t: &Transfer,
    is_add: bool,
) -> Result<(), Error> {
    if t.keep_git_dir.is_some() && !t.sources.iter().any(is_git) {
        return Err(Error::at("--keep-git-dir needs a git source", i.span));
    }
    let from = match &t.from {
        Some(word) => {
            let name = l.expand(s, &word.text, word.span)?;
            l.origin(&name, index, s, word.span)?
        }
        None => Origin::Context(None),
    };
    let checksum = optional(l, s, &t.checksum)?;
    let mut sources = Vec::with_capacity(t.sources.len());
    for source in &t.sources {
        sources.push(lower_source(l, s, source, is_add, checksum.as_deref())?);
    }
    if checksum.is_some() && !matches!(sources.as_slice(), [CopySource::Url { .. }]) {
        return Err(Error::at("checksum can't be specified for non-HTTP(S) sources", i.span));
    }
    let written = l.expand(s, &t.dest.text, t.dest.span)?;
    let dest = path::resolve(&s.config.config.working_dir, &written);
    let chmod = optional(l, s, &t.chmod)?;
    if let Some(mode) = &chmod {
        crate::mode::Change::parse(mode)
            .map_err(|e| Error::at(e, t.chmod.as_ref().map_or(i.span, |w| w.span)))?;
    }
    let mut exclude = Vec::with_capacity(t.exclude.len());
    for word in &t.exclude {
        exclude.push(l.expand(s, &word.text, word.span)?);
    }
    let literal = literal(l, s, t, &sources, &written)?;
    let copy = Copy {
        is_add,
        from,
        sources,
        dest,
        chown: optional(l, s, &t.chown)?,
        chmod,
        parents: t.parents,
        exclude,
        unpack: t.unpack,
        literal,
    };
    let created_by = history::copy(&copy, &written);
    l.push(s, OpKind::Copy(Box::new(copy)), i, created_by);
    Ok(())
}

/// Docker's reading of a line with a trailing comment.
fn literal(
    l: &mut Lowering<'_>,
    s: &StageState,
    t: &Transfer,
    sources: &[CopySource],
    dest: &str,
) -> Result<Option<Literal>, Error> {
    let Some(comment) = &t.comment else { return Ok(None) };
    let mut words = Vec::with_capacity(comment.words.len());
    for word in &comment.words {
        // What does not expand was a comment.
        let Ok(text) = l.expand(s, &word.text, word.span) else { return Ok(None) };
        words.push(text);
    }
    let Some(last) = words.pop() else { return Ok(None) };
    let mut all = sources.to_vec();
    all.extend(std::iter::once(dest.to_string()).chain(words).map(CopySource::Path));
    let dest = path::resolve(&s.config.config.working_dir, &last);
    Ok(Some(Literal { first: comment.words[0].text.clone(), sources: all, dest }))
}

fn optional(l: &mut Lowering<'_>, s: &StageState, word: &Option<Word>) -> Result<Option<String>, Error> {
    word.as_ref().map(|w| l.expand(s, &w.text, w.span)).transpose()
}

fn is_url(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

fn is_git_text(text: &str) -> bool {
    let path = text.split('#').next().unwrap_or(text);
    text.starts_with("git@")
        || text.starts_with("git://")
        || text.starts_with("ssh://")
        || (is_url(text) && path.ends_with(".git"))
}

fn is_git(source: &Source) -> bool {
    matches!(source, Source::Path(word) if is_git_text(&word.text))
}

fn lower_source(
    l: &mut Lowering<'_>,
    s: &StageState,
    source: &Source,
    is_add: bool,
    checksum: Option<&str>,
) -> Result<CopySource, Error> {
    let word = match source {
        Source::Heredoc(doc) => return inline(s, doc),
        Source::Path(word) => word,
    };
    let text = l.expand(s, &word.text, word.span)?;
    if text.contains('\0') {
        return Err(Error::at("a path cannot hold NUL", word.span));
    }
    if is_add && is_git_text(&text) {
        let error = Error::at(format!("ADD of a git repository is not available: {text}"), word.span);
        return Err(error.help("clone it in a RUN, or ADD an archive of the commit"));
    }
    if is_url(&text) {
        if !is_add {
            let error = Error::at("source can't be a URL for COPY", word.span);
            return Err(error.help("ADD fetches URLs"));
        }
        return Ok(CopySource::Url { url: text, checksum: checksum.map(String::from) });
    }
    Ok(CopySource::Path(text))
}

fn inline(s: &StageState, doc: &Heredoc) -> Result<CopySource, Error> {
    let mut content = doc.content();
    if doc.expand {
        let get = |name: &str| s.variable(name);
        let out = Expander::heredoc(&get).word(&content);
        content = out.map_err(|e| Error::at(e.to_string(), doc.span))?.text;
    }
    Ok(CopySource::Inline { name: doc.name.clone(), content })
}

pub(super) fn workdir(
    l: &mut Lowering<'_>,
    s: &mut StageState,
    i: &Instruction,
    dir: &Word,
) -> Result<(), Error> {
    let written = l.expand(s, &dir.text, dir.span)?;
    if written.is_empty() || written.contains('\0') {
        return Err(Error::at("WORKDIR requires a path", dir.span));
    }
    let path = path::directory(&s.config.config.working_dir, &written);
    s.config.config.working_dir = path.clone();
    let created_by = format!("WORKDIR {path}");
    if path == "/" {
        s.note(created_by);
        return Ok(());
    }
    let user = s.config.config.user.clone();
    l.push(s, OpKind::Mkdir(Mkdir { path, user }), i, created_by);
    Ok(())
}
