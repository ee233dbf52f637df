//! The machine and the engine as a whole.

mod auth;
mod check;
mod df;
mod events;
mod info;
mod refetch;

pub use auth::auth;
pub use check::{CheckOptions, Finding, check};
pub use df::df;
pub use events::events;
pub use info::{info, version};
