//! Checking Dockerfiles without building them.

mod run;

pub use run::{Args, run};
