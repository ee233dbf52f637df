//! `cargo xtask conformance`: what Dhow promises to foreign clients, and its own client against a foreign engine.
//!
//! The peers come from Debian's packages and run privately: own folders, own socket, own network namespace.

use crate::leftovers::Snapshot;
use crate::setup;
use crate::shell::{self, cargo};

/// Installs the peers and runs the suite in `tests/conformance`.
pub fn run(filter: &[String]) -> anyhow::Result<()> {
    setup::packages(&[
        ("busybox", "busybox-static"),
        ("dockerd", "docker.io"),
        ("docker", "docker.io"),
        ("skopeo", "skopeo"),
        ("iptables", "iptables"),
        ("cc", "gcc"),
    ])?;
    let before = Snapshot::take()?;
    let binary = setup::release_binary()?;
    let mut tests = cargo(&["test", "--package", "conformance", "--features", "peers"]);
    tests.args(["--", "--test-threads", "2"]).args(filter);
    tests.env("DHOW_TEST_BINARY", &binary);
    shell::run(&mut tests)?;
    before.compare(&Snapshot::take()?)
}
