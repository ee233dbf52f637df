//! The frontend `dockerfile.v0`: what a client asks of it becomes an order of the engine's builds.

pub mod attributes;
mod call;
mod context;
pub(crate) mod csv;
pub(crate) mod definition;
pub mod exporters;
mod folders;
mod origin;
mod run;

pub use context::layout;
pub use definition::of_image as definition_of_image;
pub use folders::{receive, upload};
pub use run::{Asked, Solved, classic, context_of, order, record, solve};
