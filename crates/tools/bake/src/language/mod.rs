//! HCL, the language: its files and JSON's as bodies of attributes and blocks, and what expressions say.

mod calls;
mod diagnostic;
mod evaluate;
mod json;
mod operators;
mod references;
mod syntax;
mod template;
mod traversal;
mod typed;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Source, position};
pub use evaluate::{Locals, Names, Scope, Unresolved, UserFunction};
pub use json::{Json, Kind as JsonKind};
pub use references::{References, references};
pub use syntax::{Attribute, Block, Body, Code, Label, parse};
pub use typed::type_of;
