//! What the other verbs need: Debian packages, the release binary, base file systems as tar archives.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::shell;

/// The target that `.cargo/config.toml` builds for, as a folder below `target/`.
pub const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Builds the release binary and puts it at `path`.
///
/// It is written at once, and not as the linker does it, piece by piece: then the page cache has it in large pages, which is what
/// its layout is for (`crates/dhow/build.rs`).
pub fn install_binary(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let program = std::fs::read(release_binary()?)?;
    std::fs::write(path, program).with_context(|| format!("write {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Builds the release binary and returns its path.
pub fn release_binary() -> anyhow::Result<PathBuf> {
    shell::run(&mut shell::cargo(&["build", "--release", "--package", "dhow", "--target", TARGET]))?;
    Ok(shell::target().join(TARGET).join("release/dhow"))
}

/// Installs the Debian packages whose program is not on the path.
///
/// `wanted` pairs a program with the package that brings it.
pub fn packages(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(program, _)| !shell::has(program)).map(|&(_, package)| package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::has("apt-get") {
        bail!("{} is missing and there is no apt-get to install it with", missing.join(", "));
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let install: Vec<&str> =
        ["install", "-y", "--no-install-recommends"].into_iter().chain(missing.iter().copied()).collect();
    // A fresh machine has no package lists, or old ones: fetch them only when the plain attempt fails.
    if shell::run(&mut apt(&install)).is_err() {
        shell::run(&mut apt(&["update"]))?;
        shell::run(&mut apt(&install)).with_context(|| format!("install {}", missing.join(", ")))?;
    }
    Ok(())
}

/// Debian's static busybox, which [`packages`] has installed.
pub fn busybox() -> anyhow::Result<&'static Path> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists())
        .context("busybox-static is not installed")
}

/// A Debian root file system with these packages as a tar archive, made once and kept below `target/`.
pub fn debian(name: &str, include: &[&str]) -> anyhow::Result<PathBuf> {
    let archive = shell::target().join("images").join(format!("{name}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    packages(&[("mmdebstrap", "mmdebstrap")])?;
    std::fs::create_dir_all(archive.parent().expect("the archive lies in a folder"))?;
    let partial = archive.with_extension("partial.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\""]);
    if !include.is_empty() {
        command.arg(format!("--include={}", include.join(",")));
    }
    command.arg("bookworm").arg(&partial).stdin(Stdio::null());
    shell::run(&mut command)?;
    std::fs::rename(&partial, &archive)?;
    Ok(archive)
}
