//! The machine and the engine as a whole.

mod auth;
pub(crate) mod budget;
mod check;
mod df;
mod disk;
mod events;
mod info;
pub(crate) mod refetch;

pub use auth::auth;
pub use budget::{Storage, collect, keep_within_limits};
pub use check::{CheckOptions, Finding, check};
pub use df::df;
pub use events::events;
pub use info::{info, version};
