//! From a logical line to a typed instruction; one file per group of keywords.

mod command;
mod from;
mod health;
mod mount;
mod pairs;
mod run;
mod simple;
mod transfer;

use crate::ast::{Instruction, Kind};
use crate::error::{Error, Warning};
use crate::line::Line;
use crate::lines::Logical;
use crate::parse::Options;
use crate::span::LineIndex;
use crate::suggest::suggest;

/// Every keyword.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Parses one logical line.
pub(crate) fn parse(
    logical: &Logical,
    index: &LineIndex,
    escape: char,
    options: Options,
    warnings: &mut Vec<Warning>,
) -> Result<Instruction, Error> {
    let (keyword, _) = crate::words::keyword(&logical.text);
    let name = keyword.to_ascii_uppercase();
    if !KEYWORDS.contains(&name.as_str()) {
        return Err(unknown(logical, index, keyword));
    }
    let mut line = Line::new(logical, index, escape, options, warnings)?;
    let kind = kind(&name, &mut line)?;
    Ok(Instruction {
        kind,
        span: logical.span,
        source: logical.text.clone(),
        keyword: keyword.to_string(),
        comments: logical.comments.clone(),
    })
}

fn kind(name: &str, line: &mut Line<'_>) -> Result<Kind, Error> {
    Ok(match name {
        "ADD" => Kind::Add(transfer::parse(line)?),
        "COPY" => Kind::Copy(transfer::parse(line)?),
        "ARG" => Kind::Arg(pairs::arg(line)?),
        "ENV" => Kind::Env(pairs::key_values(line)?),
        "LABEL" => Kind::Label(pairs::key_values(line)?),
        "CMD" => Kind::Cmd(command::cmd(line)?),
        "ENTRYPOINT" => Kind::Entrypoint(command::cmd(line)?),
        "SHELL" => Kind::Shell(command::shell(line)?),
        "EXPOSE" => Kind::Expose(simple::expose(line)?),
        "FROM" => Kind::From(from::parse(line)?),
        "HEALTHCHECK" => Kind::Healthcheck(health::parse(line)?),
        "MAINTAINER" => Kind::Maintainer(simple::maintainer(line)?),
        "ONBUILD" => Kind::Onbuild(Box::new(simple::onbuild(line)?)),
        "RUN" => Kind::Run(run::parse(line)?),
        "STOPSIGNAL" => Kind::Stopsignal(simple::one(line)?),
        "USER" => Kind::User(simple::one(line)?),
        "VOLUME" => Kind::Volume(simple::volume(line)?),
        _ => Kind::Workdir(simple::one(line)?),
    })
}

fn unknown(logical: &Logical, index: &LineIndex, keyword: &str) -> Error {
    let span = logical.place(index, 0, keyword.len());
    let near = suggest(keyword, &KEYWORDS);
    let hint = near.map(|s| format!(" (did you mean {s}?)")).unwrap_or_default();
    let error = Error::new(format!("unknown instruction: {keyword}{hint}"), span);
    match near {
        Some(_) => error,
        None if keyword.starts_with(['.', '*', '!'])
            || (keyword.contains(['_', '/', '.']) && !keyword.contains('@')) =>
        {
            error.help("this looks like a line of a .dockerignore file; it belongs into a file of its own")
        }
        None => error.help("a line that continues the one above needs a \\ at the end of the one above"),
    }
}
