//! Building images.

pub mod context;
pub mod prune;
pub mod run;
mod secrets;
mod source;
