//! Rules for Dockerfiles, in the manner of hadolint: the same ids, severities, settings, pragmas and formats, so that its
//! users find what they know. The texts are our own.
//!
//! A rule is one file below `rules`: its id, its severity, and a function from a [`view::View`] of the file to findings.
//! Scripts of `RUN` are split into commands ([`shell`]); what ShellCheck says about them (the `SC` rules) is not ours.
//! Pure: files are read and written by whoever asks.

pub mod config;
pub mod format;
mod lint;
mod pragma;
mod rule;
mod rules;
pub mod shell;
mod text;
pub mod view;

pub use config::Settings;
pub use lint::{Checked, lint};
pub use rule::{Finding, Rule, Severity};
pub use rules::RULES;
