//! Command lines in shell or exec form: `CMD`, `ENTRYPOINT`, `SHELL`, and the tail of `RUN` and `HEALTHCHECK`.

use crate::ast::Command;
use crate::error::Error;
use crate::line::Line;
use crate::words::{self, Json};

/// The text from `at` on, as JSON array or shell line.
pub(crate) fn command(line: &mut Line<'_>, at: usize) -> Result<Command, Error> {
    let text = line.logical.text[at..].trim();
    match array(line, at)? {
        Some(items) => Ok(Command::Exec(items)),
        None => Ok(Command::Shell(text.to_string())),
    }
}

/// The strings of a JSON array that fills the line from `at` on, but for a trailing comment.
pub(crate) fn array(line: &mut Line<'_>, at: usize) -> Result<Option<Vec<String>>, Error> {
    let text = &line.logical.text[at..];
    let (items, tail) = match words::json_array(text) {
        Json::No => {
            warn_almost_json(line, at);
            return Ok(None);
        }
        Json::NotStrings => {
            let message = "when using JSON array syntax, arrays must be comprised of strings only";
            return Err(Error::new(message, line.place(at, line.logical.text.len())));
        }
        Json::Array { items, tail } => (items, tail),
    };
    let rest = &text[tail..];
    if rest.trim().is_empty() {
        return Ok(Some(items));
    }
    let comment = rest.trim_start();
    if line.strict || !comment.starts_with('#') || comment.len() == rest.len() {
        return Ok(None);
    }
    // Docker would pass the whole line, brackets and all, to a shell.
    let start = line.logical.text.len() - comment.len();
    let span = line.place(start, line.logical.text.len());
    line.warn_comment(span);
    Ok(Some(items))
}

/// `['a', 'b']` is the classic slip: it goes to the shell, which looks for a program called `[a,`.
fn warn_almost_json(line: &mut Line<'_>, at: usize) {
    let text = line.logical.text[at..].trim();
    let (Some(inner), true) = (text.strip_prefix('['), text.ends_with(']')) else { return };
    if !inner.trim_start().starts_with(['\'', '"']) {
        return;
    }
    let span = line.place(at, at + text.len());
    let message = "This looks like a JSON array but is none, so it is read as a shell command";
    let help = "JSON strings need double quotes and a comma between them".to_string();
    line.warn("InvalidJSONArray", message, span, Some(help));
}

/// `CMD` and `ENTRYPOINT`.
pub(crate) fn cmd(line: &mut Line<'_>) -> Result<Command, Error> {
    line.take_flags(&[])?;
    let at = line.rest;
    command(line, at)
}

/// `SHELL ["…"]`.
pub(crate) fn shell(line: &mut Line<'_>) -> Result<Vec<String>, Error> {
    line.take_flags(&[])?;
    let at = line.rest;
    match array(line, at)? {
        Some(items) if items.is_empty() => Err(line.error("SHELL requires at least one argument")),
        Some(items) => Ok(items),
        None => Err(line
            .error("SHELL requires the arguments to be in JSON form")
            .help("write `SHELL [\"/bin/sh\", \"-c\"]`")),
    }
}
