//! `cargo xtask conformance`: what Dhow promises to foreign clients, its own client against a foreign engine, and foreign
//! engines with its runtime beneath.
//!
//! The peers come from Debian's packages, and one from Python's; they run privately: own folders, own socket, own
//! network namespace.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::leftovers::Snapshot;
use crate::setup;
use crate::shell::{self, cargo};

/// The version of Docker's library for Python that we are held against.
const PYTHON_LIBRARY: &str = "7.1.0";

/// Installs the peers and runs the suite in `tests/conformance`.
pub fn run(filter: &[String]) -> anyhow::Result<()> {
    setup::packages(&[
        ("busybox", "busybox-static"),
        ("dockerd", "docker.io"),
        ("docker", "docker.io"),
        ("ctr", "containerd"),
        ("podman", "podman"),
        ("buildah", "buildah"),
        ("skopeo", "skopeo"),
        ("iptables", "iptables"),
        ("cc", "gcc"),
        ("python3", "python3"),
        ("pip3", "python3-pip"),
    ])?;
    let library = python_library()?;
    let before = Snapshot::take()?;
    let binary = setup::release_binary()?;
    let mut tests = cargo(&["test", "--package", "conformance", "--features", "peers"]);
    tests.args(["--", "--test-threads", "2"]).args(filter);
    tests.env("DHOW_TEST_BINARY", &binary).env("DHOW_TEST_PYTHON", &library);
    shell::run(&mut tests)?;
    before.compare(&Snapshot::take()?)
}

/// Docker's library for Python, installed once below `target/`.
fn python_library() -> anyhow::Result<PathBuf> {
    let folder = shell::target().join(format!("python-docker-{PYTHON_LIBRARY}"));
    if folder.exists() {
        return Ok(folder);
    }
    let partial = folder.with_extension("partial");
    // What an interrupted installation left.
    let _ = std::fs::remove_dir_all(&partial);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-compile", "--target"]);
    pip.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_ROOT_USER_ACTION", "ignore");
    pip.arg(&partial).arg(format!("docker=={PYTHON_LIBRARY}")).stdin(Stdio::null());
    shell::run(&mut pip)?;
    std::fs::rename(&partial, &folder)?;
    Ok(folder)
}
