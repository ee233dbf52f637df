//! How results become text: Docker's tables, sizes, ages and `--format` templates. Pure.

pub mod listing;
pub mod tabwriter;
pub mod text;
pub mod time;
pub mod units;

pub use listing::{Column, Listing};
