//! `cargo xtask lint`: formatting, clippy with warnings denied, licences and sources of dependencies.

use std::process::Command;

use crate::shell::{self, cargo};

/// Fails at the first rule that does not hold.
pub fn run() -> anyhow::Result<()> {
    shell::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    shell::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    if !shell::has("cargo-deny") {
        // Built for the build machine itself; our own target's flags are not for it.
        let mut install = Command::new("cargo");
        install.args(["install", "--locked", "--quiet", "cargo-deny"]).current_dir("/");
        shell::run(&mut install)?;
    }
    // The advisory database is a git clone from elsewhere: `cargo deny check` alone does that where it is reachable.
    shell::run(&mut cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))
}
