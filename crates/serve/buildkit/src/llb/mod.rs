//! Graphs of clients (LLB, `pb.Definition`), as graphs of the builder.
//!
//! [`read`] checks a definition and puts its operations in order, [`nested`] replaces builds within it; [`lower`] is pure and gives the graph, with the local
//! sources that it reads, which [`solve`] then receives from the client.

mod blame;
mod exec;
mod file;
pub(crate) mod lower;
pub(crate) mod nested;
#[cfg(test)]
mod offered;
pub(crate) mod read;
mod solve;
mod source;

pub use blame::Blame;
pub use solve::{Piece, assemble, check, nothing, solve};
pub use source::{LAYOUT, Local, asking};

use tonic::Status;

fn bad(message: impl Into<String>) -> Status {
    Status::invalid_argument(format!("definition: {}", message.into()))
}

fn unsupported(what: impl std::fmt::Display) -> Status {
    Status::unimplemented(format!("definition: {what} is not supported by this server"))
}
