//! Building images.

mod attest;
mod caches;
mod call;
pub mod context;
mod deliver;
pub mod du;
pub mod history;
mod metadata;
mod output;
pub mod prune;
pub mod run;
mod secrets;
pub mod shell;
mod source;
mod ssh;
