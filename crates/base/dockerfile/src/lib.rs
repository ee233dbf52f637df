//! Dockerfiles: text to syntax tree, variable expansion, `.dockerignore`, and pointing at lines.
//!
//! Follows BuildKit's `dockerfile.v0` frontend: what it accepts is accepted, with its messages for what it
//! refuses. One deliberate difference: a `# …` behind an instruction, which Docker takes for arguments, is read as
//! the comment that it is meant to be wherever Docker's reading is an error or nonsense, with a warning
//! (`TrailingComment`); [`Options::strict`] or the directive `# dhow=strict` switches that off.
//!
//! Pure: no files, no network, no image knowledge. Hostile input costs time linear in its size, which
//! [`MAX_SIZE`] bounds, and never panics.

pub mod ast;
pub mod call;
pub mod check;
pub mod duration;
mod error;
pub mod expand;
mod frontend;
pub mod glob;
mod heredoc;
pub mod ignore;
mod instruction;
mod line;
mod lines;
mod parse;
pub mod render;
pub mod scope;
mod span;
mod stages;
mod suggest;
mod words;

pub use ast::Dockerfile;
pub use error::{Error, Warning};
pub use frontend::reads_dockerfiles;
pub use parse::{MAX_SIZE, MAX_STAGES, Options, decode, parse, parse_trigger};
pub use span::{LineIndex, Range, Span};
pub use stages::StageNames;
pub use suggest::{likely, nearest};

#[cfg(test)]
mod tests;
