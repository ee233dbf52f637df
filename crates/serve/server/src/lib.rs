//! The Docker Engine API over any listener: each handler decodes a request, makes one call of the engine and
//! encodes its result. [`routes::TABLE`] is the whole API; the other modules are one a noun.
//!
//! HTTP/1.1 as dockerd speaks it: `/vX.Y` or no prefix, errors as `{"message": …}`, connections handed over with
//! 101 for attach and exec, one JSON document a line for streams. A request that only watches ends with its
//! client; one that changes things runs to its end. This crate must not know files, processes or the database.

mod answer;
mod call;
mod dispatch;
mod error;
mod hijack;
mod progress;
mod query;
mod serve;

pub mod listen;
pub mod routes;

mod build;
mod containers;
mod exec;
mod images;
mod networks;
mod swarm;
mod system;
mod volumes;

pub use listen::Listener;
pub use serve::{Limits, embedded, serve};
