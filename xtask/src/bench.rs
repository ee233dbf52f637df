//! `cargo xtask bench [start|memory|build|images|registry]`: figures to quote, with the peers that are installed beside us in the same run.
//!
//! Timing decides no test; it is printed.

mod build;
mod images;
mod memory;
mod registry;
mod start;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::setup;
use crate::shell;

/// Measures what is asked for, or everything.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first().map(String::as_str) {
        None => start::run()
            .and_then(|()| memory::run())
            .and_then(|()| build::run(&[]))
            .and_then(|()| images::run(&[]))
            .and_then(|()| registry::run(&[])),
        Some("start") => start::run(),
        Some("memory") => memory::run(),
        Some("build") => build::run(&arguments[1..]),
        Some("images") => images::run(&arguments[1..]),
        Some("registry") => registry::run(&arguments[1..]),
        Some(other) => {
            bail!("unknown benchmark {other:?}; known are start, memory, build, images and registry")
        }
    }
}

/// A root file system that is busybox alone.
fn busybox(home: &Path) -> anyhow::Result<std::path::PathBuf> {
    let archive = home.join("busybox.tar");
    let folder = setup::busybox()?.parent().context("a program lies in a folder")?;
    shell::quiet(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(folder).arg("busybox"))?;
    Ok(archive)
}
