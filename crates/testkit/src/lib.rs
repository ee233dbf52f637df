//! What the end-to-end tests share: a private host, the release binary as a person types it, images, terminals.
//!
//! A [`Host`] is a machine of its own for one test: a network namespace, a root and a run folder, and, depending on its
//! [`Mode`], no daemon, one daemon, or two engines on the same root. When it is dropped it removes its containers, asks
//! `dhow system check` whether anything is left, and fails the test if so.

pub mod bucket;
mod command;
mod docker_registry;
mod host;
mod images;
pub mod registry;
mod terminal;
pub mod web;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use command::{Output, Typed};
pub use docker_registry::{Certificate, DockerRegistry};
pub use host::{Host, Mode};
pub use images::busybox;
pub use terminal::Terminal;
pub use web::web;

/// How long anything may take before a test says that it hangs. Generous: the machine may be slow, and a test that
/// passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is yes, for at most [`PATIENCE`].
///
/// # Panics
/// When it is still no by then; `what` says what was waited for.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The binary under test: `DHOW_TEST_BINARY`, or the release build in the target folder.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("DHOW_TEST_BINARY") {
        return path.into();
    }
    let triple =
        if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };
    let path = target().join(triple).join("release/dhow");
    assert!(
        path.exists(),
        "{} is missing: `cargo build --release`, or run the tests by `cargo xtask test`",
        path.display()
    );
    path
}

fn target() -> PathBuf {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(repository).join("target"), PathBuf::from)
}
