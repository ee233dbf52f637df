//! `cargo xtask crash [--kills N] [--seed N] [--every N]`: kills, fault points, full disks and damaged files, at length.
//!
//! `cargo xtask test` tries a sample of them; this is all. A run is repeated by its seed.

use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::leftovers::Snapshot;
use crate::setup;
use crate::shell::{self, cargo};

/// How many random kills a release has behind it.
const KILLS: u64 = 300;

/// Runs the tests of `tests/crash` with everything that they can try.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (mut kills, mut seed, mut every, mut filter) = (KILLS, None, 1, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = arguments.next().with_context(|| format!("{argument} needs a number"))?;
            text.parse().with_context(|| format!("{argument} {text}: not a number"))
        };
        match argument.as_str() {
            "--kills" => kills = number()?,
            "--seed" => seed = Some(number()?),
            "--every" => every = number()?,
            flag if flag.starts_with('-') => {
                bail!("unknown option {flag}: --kills, --seed and --every are known")
            }
            name => filter.push(name.to_owned()),
        }
    }
    setup::packages(&[
        ("busybox", "busybox-static"),
        ("nft", "nftables"),
        ("cc", "gcc"),
        ("docker-registry", "docker-registry"),
    ])?;
    let before = Snapshot::take()?;
    let binary = setup::release_binary()?;
    let mut tests = cargo(&["test", "--package", "crash", "--", "--nocapture"]);
    tests.args(filter).env("DHOW_TEST_BINARY", &binary);
    tests.env("DHOW_CRASH_KILLS", kills.to_string()).env("DHOW_CRASH_EVERY", every.to_string());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    tests.env("DHOW_CRASH_SEED", seed.unwrap_or_else(now).to_string());
    shell::run(&mut tests)?;
    before.compare(&Snapshot::take()?)
}
