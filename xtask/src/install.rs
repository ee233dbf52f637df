//! `cargo xtask install [--prefix DIR] [--docker-alias]`: one static binary, and `docker` as a second name if asked.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::setup;

/// Builds the binary and puts it at `<prefix>/bin/dhow`.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut prefix = PathBuf::from("/usr/local");
    let mut alias = false;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--prefix" => prefix = words.next().context("--prefix wants a folder")?.into(),
            "--docker-alias" => alias = true,
            other => bail!("unknown option {other:?}; known are --prefix DIR and --docker-alias"),
        }
    }
    let bin = prefix.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let installed = bin.join("dhow");
    // Rename over the old file: containers that run keep the binary that they were started with.
    let partial = bin.join(".dhow.partial");
    setup::install_binary(&partial)?;
    std::fs::rename(&partial, &installed)?;
    println!("installed {}", installed.display());
    if alias {
        let docker = bin.join("docker");
        if docker.symlink_metadata().is_ok()
            && std::fs::read_link(&docker).ok().as_deref() != Some("dhow".as_ref())
        {
            bail!("{} exists and is not ours: remove it first to use the alias", docker.display());
        }
        if docker.symlink_metadata().is_err() {
            symlink("dhow", &docker)?;
        }
        println!("installed {} -> dhow", docker.display());
    }
    Ok(())
}
