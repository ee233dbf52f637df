//! `cargo xtask fuzz [--seconds N] [TARGET…]`: coverage-guided fuzzing with libFuzzer, on the stable compiler.
//!
//! The program is built with `fuzz/rustc.sh` around the compiler, so that our crates count what they run and what they
//! depend on is built only once. New inputs go to `target/fuzz/<target>/`; what breaks a target goes to
//! `target/fuzz/<target>-broken/`, and belongs into `fuzz/corpus/<target>/` with the mend.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail};

use crate::setup::{self, TARGET};
use crate::shell::{self, cargo};

/// Seconds for each target unless the caller says otherwise.
const SECONDS: u32 = 2;
/// Memory that a target may use, in MiB.
const MEMORY: u32 = 1024;
/// Seconds that one input may take.
const TIMEOUT: u32 = 5;

/// Builds the targets and runs those that are named, or all, as many at a time as there are processors.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (seconds, wanted) = parse(arguments)?;
    setup::packages(&[("c++", "g++")])?;
    let program = build()?;
    let known = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("{unknown:?} is no target; there are {}", known.join(", "));
    }
    let chosen = if wanted.is_empty() { known } else { wanted };
    let waiting = Mutex::new(chosen.into_iter().rev().collect::<Vec<_>>());
    let broken = Mutex::new(Vec::new());
    let lanes = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some(name) = next(&waiting) {
                    match fuzz(&program, &name, seconds) {
                        Ok(figures) => println!("{name}: {figures}"),
                        Err(error) => {
                            println!("{name}: {error:#}");
                            broken.lock().expect("no thread has panicked").push(name);
                        }
                    }
                }
            });
        }
    });
    let broken = broken.into_inner()?;
    if broken.is_empty() { Ok(()) } else { bail!("inputs were found that break {}", broken.join(", ")) }
}

fn next(waiting: &Mutex<Vec<String>>) -> Option<String> {
    waiting.lock().expect("no thread has panicked").pop()
}

fn parse(arguments: &[String]) -> anyhow::Result<(u32, Vec<String>)> {
    let mut seconds = SECONDS;
    let mut targets = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().context("--seconds needs a number")?;
                seconds = number.parse().with_context(|| format!("--seconds {number}"))?;
            }
            name => targets.push(name.to_owned()),
        }
    }
    Ok((seconds, targets))
}

/// The folders of seeds; a test of the targets sees to it that they are the targets.
fn targets() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(shell::root().join("fuzz/corpus"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build() -> anyhow::Result<PathBuf> {
    let arguments =
        ["build", "--package", "fuzz", "--features", "libfuzzer", "--bin", "fuzz", "--target", TARGET];
    let mut command = cargo(&arguments);
    command.env("RUSTC_WORKSPACE_WRAPPER", shell::root().join("fuzz/rustc.sh"));
    shell::run(&mut command)?;
    Ok(shell::target().join(TARGET).join("debug/fuzz"))
}

/// Runs one target; what libFuzzer says about how much it did.
fn fuzz(program: &Path, name: &str, seconds: u32) -> anyhow::Result<String> {
    let folder = shell::target().join("fuzz");
    let (found, broken) = (folder.join(name), folder.join(format!("{name}-broken")));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&broken)?;
    let mut command = Command::new(program);
    command.env("FUZZ_TARGET", name).arg(&found).arg(shell::root().join("fuzz/corpus").join(name));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={TIMEOUT}"));
    command.arg(format!("-rss_limit_mb={MEMORY}")).arg(format!("-artifact_prefix={}/", broken.display()));
    let output = command.args(["-max_len=16384", "-print_final_stats=1"]).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last: Vec<&str> = text.lines().rev().take(40).collect();
        bail!("{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    let executed = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    Ok(format!(
        "{} inputs in {seconds} s",
        executed.context("libFuzzer says nothing about what it did")?.trim()
    ))
}
