//! `cargo xtask bench [start|memory]`: figures to quote, with the peers that are installed beside us in the same run.
//!
//! Timing decides no test; it is printed.

mod memory;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::setup;
use crate::shell;

const RUNS: usize = 30;

/// Measures what is asked for, or everything.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first().map(String::as_str) {
        None => start().and_then(|()| memory::run()),
        Some("start") => start(),
        Some("memory") => memory::run(),
        Some(other) => bail!("unknown benchmark {other:?}; known are start and memory"),
    }
}

/// How long it takes to run `true` in a new container, and to do nothing.
fn start() -> anyhow::Result<()> {
    setup::packages(&[("busybox", "busybox-static")])?;
    let binary = setup::release_binary()?;
    let home = shell::target().join("bench");
    std::fs::create_dir_all(&home)?;
    let dhow = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments).env("DHOW_ROOT", home.join("root")).env("DHOW_RUN", home.join("run"));
        command.env_remove("DOCKER_HOST").env_remove("DHOW_HOST");
        command
    };
    let archive = busybox(&home)?;
    let archive = archive.to_str().context("the target folder's name is not UTF-8")?;
    shell::quiet(dhow(&["import", archive, "bench"]).stdout(Stdio::null()))?;
    println!("{RUNS} runs each, whole process, wall time: minimum, median, maximum");
    measure("--version", || dhow(&["--version"]))?;
    measure("ps", || dhow(&["ps"]))?;
    measure("run --rm --network none true", || {
        dhow(&["run", "--rm", "--network", "none", "bench", "/busybox", "true"])
    })?;
    measure("run --rm true (bridge)", || dhow(&["run", "--rm", "bench", "/busybox", "true"]))?;
    shell::quiet(
        dhow(&["run", "-d", "--name", "bench", "bench", "/busybox", "sleep", "1000"]).stdout(Stdio::null()),
    )?;
    let measured = measure("exec true", || dhow(&["exec", "bench", "/busybox", "true"]));
    shell::quiet(dhow(&["rm", "-f", "bench"]).stdout(Stdio::null()))?;
    shell::quiet(dhow(&["rmi", "bench"]).stdout(Stdio::null()))?;
    measured
}

fn measure(name: &str, command: impl Fn() -> Command) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..=RUNS {
        let started = Instant::now();
        shell::quiet(command().stdin(Stdio::null()).stdout(Stdio::null()))?;
        times.push(started.elapsed());
    }
    // The first run warms the caches.
    let mut times = times.split_off(1);
    times.sort();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{name:32} {:7.2} {:7.2} {:7.2} ms",
        millis(times[0]),
        millis(times[RUNS / 2]),
        millis(times[RUNS - 1])
    );
    Ok(())
}

/// A root file system that is busybox alone.
fn busybox(home: &Path) -> anyhow::Result<std::path::PathBuf> {
    let archive = home.join("busybox.tar");
    let folder = setup::busybox()?.parent().context("a program lies in a folder")?;
    shell::quiet(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(folder).arg("busybox"))?;
    Ok(archive)
}
