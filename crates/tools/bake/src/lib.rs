//! Bake files: what Docker's bake reads, as targets and groups.
//!
//! Files come as text. [`language`] makes bodies of them and says what expressions mean, with [`value`]s and
//! [`functions`] of HCL's world; [`definition`] joins files and gives names their values; [`config`] makes targets of
//! blocks and says what is built if some are asked for.

pub mod compose;
pub mod config;
pub mod definition;
pub mod entry;
pub mod functions;
pub mod language;
pub mod shape;
pub mod target;
pub mod value;
mod variable;

pub use config::{Config, Group, Plan};
pub use definition::{Definitions, Surroundings};
pub use language::{Diagnostics, Source};
pub use target::{Granted, Target};
pub use variable::Listed;
