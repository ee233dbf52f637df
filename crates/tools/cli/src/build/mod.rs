//! Building images.

mod attest;
mod aws;
mod caches;
pub mod call;
pub mod context;
mod deliver;
pub mod du;
mod foreign;
mod git;
pub mod history;
mod metadata;
mod output;
pub mod prune;
pub mod run;
pub mod screen;
mod secrets;
pub mod shell;
pub mod source;
mod ssh;
