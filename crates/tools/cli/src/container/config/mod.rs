//! The document that makes a container, from the flags of `run` and `create`.

mod flags;
mod plan;
mod resources;

pub use flags::Flags;
pub use plan::{Plan, plan, restart_policy};
pub use resources::Limits;
