//! `cargo xtask test [FILTER…]`: all tests that need no peer, and the proof that they left nothing behind.

use anyhow::bail;

use crate::leftovers::Snapshot;
use crate::setup;
use crate::shell::{self, cargo};

/// The release binary may not grow past this: it is what people download.
const LARGEST_BINARY: u64 = 29 << 20;

/// Installs what is missing, builds the release binary, runs the workspace's tests.
pub fn run(filter: &[String]) -> anyhow::Result<()> {
    setup::packages(&[
        ("busybox", "busybox-static"),
        ("mmdebstrap", "mmdebstrap"),
        ("cc", "gcc"),
        ("docker-registry", "docker-registry"),
        ("git", "git"),
        ("mkfs.xfs", "xfsprogs"),
        ("nft", "nftables"),
        ("openssl", "openssl"),
        ("skopeo", "skopeo"),
        ("ssh-agent", "openssh-client"),
    ])?;
    let before = Snapshot::take()?;
    let binary = setup::release_binary()?;
    let size = binary.metadata()?.len();
    if size > LARGEST_BINARY {
        bail!("the release binary has {size} bytes, more than the {LARGEST_BINARY} that we promise");
    }
    let services =
        setup::debian("services", &["nginx-light", "postgresql", "redis-server", "python3-minimal"])?;
    let languages = setup::debian(
        "languages",
        &["golang-go", "nodejs", "npm", "openjdk-17-jdk-headless", "python3-pip", "python3-venv"],
    )?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if !filter.is_empty() {
        tests.arg("--").args(filter);
    }
    tests.env("DHOW_TEST_BINARY", &binary).env("DHOW_TEST_SERVICES", &services);
    tests.env("DHOW_TEST_LANGUAGES", &languages);
    shell::run(&mut tests)?;
    before.compare(&Snapshot::take()?)
}
