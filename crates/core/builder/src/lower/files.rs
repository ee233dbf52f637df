//! `COPY`, `ADD` and `WORKDIR` to operations.

use super::stage::StageState;
use super::{Error, Lowering, history, path};
use crate::graph::{Asking, Copy, CopySource, Literal, Mkdir, OpKind, Origin};
use crate::source::CommitId;
use dockerfile::Span;
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
    let from = match &t.from {
        Some(word) => {
            without_variables("--from", &word.text, word.span)?;
            let name = l.expand(s, &word.text, word.span)?;
            l.origin("copy", &name, index, s, word.span)?
        }
        None => Origin::Context(None),
    };
    let remote = Remote::new(t, optional(l, s, &t.checksum)?);
    let mut sources = Vec::with_capacity(t.sources.len());
    for source in &t.sources {
        sources.push(lower_source(l, s, source, is_add, &remote)?);
    }
    remote.check(&sources)?;
    let written = l.expand(s, &t.dest.text, t.dest.span)?;
    let dest = path::resolve(&s.config.config.working_dir, &written);
    is_path(&dest, t.dest.span)?;
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
        parents: t.parents,
        whole: false,
        replaces: false,
        rooted: false,
        time: None,
        // As with BuildKit: the mode is for the files alone, and of directories that are there only what lies below knows it.
        link: t.link && chmod.is_none(),
        chmod,
        exclude,
        include: Vec::new(),
        required: Vec::new(),
        unpack: t.unpack,
        literal,
    };
    let created_by = history::copy(&copy, &written);
    l.push(s, OpKind::Copy(Box::new(copy)), i, created_by);
    Ok(())
}

/// Stages and images to take files from have fixed names, as with BuildKit: which stages a build needs is known before it begins.
pub(super) fn without_variables(what: &str, name: &str, span: Span) -> Result<(), Error> {
    if !name.contains('$') {
        return Ok(());
    }
    let error = Error::at(format!("variable expansion is not supported for {what}"), span);
    let name = name.replace('"', "");
    Err(error.help(format!(
        "make it a stage above, `FROM {name} AS files`, and take from `files`; an ARG before the first FROM is its variable"
    )))
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
    // Nor is there a file of such a name.
    if words.iter().any(|word| is_path(word, t.dest.span).is_err()) {
        return Ok(None);
    }
    let Some(last) = words.pop() else { return Ok(None) };
    let mut all = sources.to_vec();
    all.extend(std::iter::once(dest.to_string()).chain(words).map(CopySource::Path));
    let dest = path::resolve(&s.config.config.working_dir, &last);
    Ok(Some(Literal { first: comment.words[0].text.clone(), sources: all, dest }))
}

/// A flag's value; one that expands to nothing is as good as none.
fn optional(l: &mut Lowering<'_>, s: &StageState, word: &Option<Word>) -> Result<Option<String>, Error> {
    let value = word.as_ref().map(|w| l.expand(s, &w.text, w.span)).transpose()?;
    Ok(value.filter(|value| !value.is_empty()))
}

/// What `ADD` says about sources that are fetched.
pub(super) struct Remote {
    /// The digest of a file, or the commit of a repository, and where it stands.
    checksum: Option<(String, Span)>,
    keep_git_dir: Option<bool>,
}

impl Remote {
    /// With what the flag of the checksum expands to.
    pub fn new(t: &Transfer, checksum: Option<String>) -> Self {
        let spanned = checksum.zip(t.checksum.as_ref().map(|word| word.span));
        Self { checksum: spanned, keep_git_dir: t.keep_git_dir }
    }

    /// What `ADD` means by a word.
    pub fn source(&self, text: String) -> Result<CopySource, Error> {
        Ok(match (is_git(&text), is_url(&text)) {
            (true, _) => {
                let (checksum, keep_git_dir) = (self.commit()?, self.keep_git_dir);
                CopySource::Git { url: text, checksum, keep_git_dir, known_hosts: None }
            }
            (false, true) => CopySource::Url { url: text, checksum: self.digest()?, asking: Asking::PLAIN },
            (false, false) => CopySource::Path(text),
        })
    }

    fn digest(&self) -> Result<Option<oci::Digest>, Error> {
        let read = |(text, span): &(String, Span)| {
            text.parse().map_err(|_| {
                Error::at(format!("invalid checksum digest format: {text:?}"), *span)
                    .help("write `--checksum=sha256:` and 64 hexadecimal digits")
            })
        };
        self.checksum.as_ref().map(read).transpose()
    }

    fn commit(&self) -> Result<Option<CommitId>, Error> {
        let read = |(text, span): &(String, Span)| {
            text.parse().map_err(|_| {
                Error::at(format!("invalid checksum {text:?} of a git source"), *span)
                    .help("write the commit in hexadecimal digits, at least seven of them")
            })
        };
        self.checksum.as_ref().map(read).transpose()
    }

    /// A checksum is one of one source that is fetched.
    pub fn check(&self, sources: &[CopySource]) -> Result<(), Error> {
        let Some((_, span)) = &self.checksum else { return Ok(()) };
        match sources {
            [CopySource::Url { .. } | CopySource::Git { .. }] => Ok(()),
            [_] => Err(Error::at("checksum requires HTTP(S) or Git sources", *span)),
            _ => Err(Error::at("checksum can't be specified for multiple sources", *span)),
        }
    }
}

fn is_url(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// A repository: by its scheme, as `user@host:path`, or a web address whose path ends in `.git`.
fn is_git(text: &str) -> bool {
    let path = text.split(['#', '?']).next().unwrap_or(text);
    let scp = || {
        let Some((user, rest)) = text.split_once('@') else { return false };
        let word =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
        let Some((host, path)) = rest.split_once(':') else { return false };
        word(user) && word(host) && !path.is_empty() && !path.starts_with("//")
    };
    text.starts_with("git://")
        || text.starts_with("ssh://")
        || (is_url(text) && path.ends_with(".git"))
        || scp()
}

fn lower_source(
    l: &mut Lowering<'_>,
    s: &StageState,
    source: &Source,
    is_add: bool,
    remote: &Remote,
) -> Result<CopySource, Error> {
    let word = match source {
        Source::Heredoc(doc) => return inline(l, s, doc),
        Source::Path(word) => word,
    };
    let text = l.expand(s, &word.text, word.span)?;
    let (git, url) = (is_git(&text), is_url(&text));
    if !is_add && (git || url) {
        let what = if git { "git ref" } else { "URL" };
        let error = Error::at(format!("source can't be a {what} for COPY"), word.span);
        return Err(error.help("ADD fetches what is elsewhere"));
    }
    if !git && !url {
        is_path(&text, word.span)?;
    }
    remote.source(text)
}

fn inline(l: &Lowering<'_>, s: &StageState, doc: &Heredoc) -> Result<CopySource, Error> {
    let mut content = doc.content();
    if doc.expand {
        let get = |name: &str| s.variable(name);
        let out = Expander::heredoc(&get, &l.globals.budget).word(&content);
        content = out.map_err(|e| Error::at(e.to_string(), doc.span))?.text;
    }
    Ok(CopySource::Inline { name: doc.name.clone(), content })
}

/// Whether the kernel takes it for a path.
fn is_path(text: &str, span: Span) -> Result<(), Error> {
    if text.contains('\0') {
        return Err(Error::at("a path cannot hold NUL", span));
    }
    if text.len() > oci::path::MAX {
        return Err(Error::at(format!("a path cannot be longer than {} bytes", oci::path::MAX), span));
    }
    Ok(())
}

pub(super) fn workdir(
    l: &mut Lowering<'_>,
    s: &mut StageState,
    i: &Instruction,
    dir: &Word,
) -> Result<(), Error> {
    let written = l.expand(s, &dir.text, dir.span)?;
    let path = path::directory(&s.config.config.working_dir, &written);
    is_path(&path, dir.span)?;
    // What is absolute stays as it is written: whoever runs the image cleans it.
    let shown = if written.starts_with('/') { written } else { path.clone() };
    let created_by = format!("WORKDIR {shown}");
    s.config.config.working_dir = shown;
    if path == "/" {
        s.note(created_by);
        return Ok(());
    }
    let user = s.config.config.user.clone();
    l.push(s, OpKind::Mkdir(Mkdir { path, user, time: l.inputs.epoch.flatten() }), i, created_by);
    Ok(())
}
