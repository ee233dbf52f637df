//! Work in progress, on a terminal and in plain lines.

pub mod build;
pub mod messages;
pub mod raw;
