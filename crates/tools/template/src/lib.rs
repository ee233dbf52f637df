//! Go's text/template over JSON documents, as far as `--format` of a container CLI needs it.
//!
//! Follows Go's `text/template` package documentation: actions, pipelines, `if`/`else`/`else if`, `range`
//! (with index variables, `else`, `break`, `continue`), `with`, variables, `define`/`template`/`block`, trim
//! markers, comments, parentheses, the comparison functions and `printf`; plus Docker's own functions
//! (`json`, `join`, `split`, `lower`, `upper`, `title`, `pad`, `truncate`).
//!
//! Data is a [`serde_json::Value`], so Go's distinction of structs and maps is gone: an object prints as Go
//! prints a map. A field whose name starts with an upper-case letter is found without regard to case when
//! there is no exact match (`.ID` finds `Id`), because Docker's documents spell Go's field names differently
//! in JSON and users write both. A field whose name begins with NUL is for methods and is never printed. Errors read as Go's: `template: :1:2: executing "" at <.Foo>: …`.

mod display;
mod escape;
mod exec;
mod functions;
pub mod letters;
mod lex;
mod parse;
mod printf;

pub use display::display;
pub use escape::printable_json;
pub use printf::{general, quote};
pub use serde_json::Value;

use std::collections::HashMap;

/// A template that could not be parsed, or stopped while it ran. The text is Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

/// A method that templates may call on an object, such as `.Label "com.example"`.
pub type Method = fn(receiver: &Value, arguments: &[Value]) -> Result<Value, String>;

/// What a document's type knows beyond the document at hand.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// Methods of the objects, by name.
    pub methods: &'static [(&'static str, Method)],
    /// The value of a field that the document leaves out; `None` for a field that the type does not have.
    pub zero: Option<fn(field: &str) -> Option<Value>>,
    /// What a field without a value prints, where its type is known: `[]` of a list, `<nil>` of a pointer. All others
    /// print `<no value>`.
    pub null: Option<fn(field: &str) -> Option<&'static str>>,
    /// Unknown fields print `<no value>` instead of ending the template with an error.
    pub lenient: bool,
    /// Functions that change their argument hand it through unchanged: how table headers are made.
    pub header: bool,
    /// `json` breaks lines and indents by two blanks.
    pub indent: bool,
}

/// A parsed template.
pub struct Template {
    source: String,
    root: Vec<parse::Node>,
    defined: HashMap<String, Vec<parse::Node>>,
    options: Options,
}

impl Template {
    /// Parses `text`; the same template can be executed many times.
    pub fn parse(text: &str) -> Result<Template, Error> {
        Template::parse_with(text, Options::default())
    }

    /// Like [`Template::parse`], for documents with methods or left-out fields.
    pub fn parse_with(text: &str, options: Options) -> Result<Template, Error> {
        let parsed = parse::parse(text)?;
        Ok(Template { source: text.to_owned(), root: parsed.root, defined: parsed.defined, options })
    }

    /// The text that the template makes of `data`.
    pub fn execute(&self, data: &Value) -> Result<String, Error> {
        exec::execute(self, data)
    }
}

/// Parses and executes in one go.
pub fn render(text: &str, data: &Value) -> Result<String, Error> {
    Template::parse(text)?.execute(data)
}
