//! `cargo xtask demo`: the main job from nothing, each `dhow` command said before it runs.
//!
//! State is kept below `target/demo`, so that the demo never touches containers of the machine's own and a second run
//! finds the base image and the build cache of the first.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::setup;
use crate::shell;

const BASE: &str = "debian:bookworm-slim";
const IMAGE: &str = "guestbook";
const CONTAINER: &str = "guestbook";
const VOLUME: &str = "guestbook-data";
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);

struct Demo {
    binary: PathBuf,
    root: PathBuf,
    run: PathBuf,
}

/// Builds, runs, shows and removes the guestbook.
pub fn run() -> anyhow::Result<()> {
    let binary = setup::release_binary()?;
    let home = shell::target().join("demo");
    let demo = Demo { binary, root: home.join("root"), run: home.join("run") };
    std::fs::create_dir_all(&home)?;
    println!("\n$ export DHOW_ROOT={} DHOW_RUN={}", demo.root.display(), demo.run.display());
    demo.clean()?;
    demo.base_image()?;
    let shown = demo.show();
    println!("\n# And everything goes again.");
    let cleaned = demo.remove();
    shown.and(cleaned)
}

impl Demo {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("DHOW_ROOT", &self.root).env("DHOW_RUN", &self.run);
        command.env_remove("DOCKER_HOST").env_remove("DHOW_HOST").current_dir(shell::root());
        command
    }

    /// Says a `dhow` command and runs it.
    fn dhow(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.command(arguments);
        let typed = shell::display(&command);
        let words = typed.split_once(' ').map_or("", |(_, words)| words);
        println!("\n$ dhow {words}");
        let started = Instant::now();
        shell::quiet(&mut command)?;
        println!("# {:.2?}", started.elapsed());
        Ok(())
    }

    /// What an interrupted run may have left.
    fn clean(&self) -> anyhow::Result<()> {
        let quietly = |arguments: &[&str]| {
            self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().map(drop)
        };
        quietly(&["rm", "--force", CONTAINER])?;
        quietly(&["volume", "rm", VOLUME])?;
        // Networks of a root that somebody has deleted are still in the kernel.
        quietly(&["system", "check", "--repair"])?;
        Ok(())
    }

    /// The base image: here already, or from a registry, or made from Debian's packages.
    fn base_image(&self) -> anyhow::Result<()> {
        let mut question = self.command(&["image", "inspect", BASE]);
        if question.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            println!("\n# {BASE} is here from an earlier run.");
            return Ok(());
        }
        if self.dhow(&["pull", BASE]).is_ok() {
            return Ok(());
        }
        println!("\n# No registry answers, so we make {BASE} ourselves, from Debian's packages.");
        let archive = setup::debian("debian", &["ca-certificates"])?;
        let path = archive.to_str().context("the target folder's name is not UTF-8")?;
        self.dhow(&["import", "--change", "CMD [\"bash\"]", path, BASE])
    }

    fn show(&self) -> anyhow::Result<()> {
        println!("\n# Build: two stages of three are thrown away; the cache remembers every step.");
        self.dhow(&["build", "--tag", IMAGE, "examples/guestbook"])?;
        println!("\n# Run: a published port, a named volume, a memory limit.");
        self.dhow(&[
            "run",
            "--detach",
            "--name",
            CONTAINER,
            "--publish",
            "127.0.0.1::8000",
            "--volume",
            &format!("{VOLUME}:/data"),
            "--memory",
            "128m",
            "--restart",
            "on-failure:3",
            IMAGE,
        ])?;
        self.wait_until_healthy()?;
        let address = self.published()?;
        println!("\n# Somebody signs the book; somebody else reads it.");
        let body = "name=Ada&words=It+runs+with+no+daemon.";
        request(&address, "POST", body)?;
        print!("{}", request(&address, "GET", "")?);
        self.dhow(&["ps"])?;
        self.dhow(&["logs", "--tail", "5", CONTAINER])?;
        self.dhow(&["stats", "--no-stream", CONTAINER])
    }

    fn wait_until_healthy(&self) -> anyhow::Result<()> {
        let question = ["inspect", "--format", "{{.State.Health.Status}}", CONTAINER];
        println!(
            "\n$ dhow inspect --format '{{{{.State.Health.Status}}}}' {CONTAINER}   # until it says healthy"
        );
        let started = Instant::now();
        loop {
            let answer = shell::output(&mut self.command(&question))?;
            match answer.trim() {
                "healthy" => {
                    println!("healthy after {:.1?}", started.elapsed());
                    return Ok(());
                }
                "starting" if started.elapsed() < HEALTHY_WITHIN => {
                    std::thread::sleep(Duration::from_millis(100))
                }
                other => bail!("the guestbook is {other} after {:.1?}", started.elapsed()),
            }
        }
    }

    /// Where the container's port 8000 is published.
    fn published(&self) -> anyhow::Result<String> {
        println!("\n$ dhow port {CONTAINER} 8000");
        let answer = shell::output(&mut self.command(&["port", CONTAINER, "8000"]))?;
        let address = answer.lines().next().context("port 8000 is not published")?.to_owned();
        println!("{address}");
        Ok(address)
    }

    fn remove(&self) -> anyhow::Result<()> {
        self.dhow(&["stop", CONTAINER])?;
        self.dhow(&["rm", "--volumes", CONTAINER])?;
        self.dhow(&["volume", "rm", VOLUME])?;
        self.dhow(&["rmi", IMAGE])?;
        // The default network goes off the machine when nobody is on it.
        self.dhow(&["network", "prune", "--force"])?;
        self.dhow(&["system", "check"])?;
        println!(
            "\n# The base image and the build cache are kept in {}: the next demo takes seconds.",
            self.root.display()
        );
        Ok(())
    }
}

/// One HTTP exchange, said as `curl` would be typed; returns the answer's body.
fn request(address: &str, method: &str, body: &str) -> anyhow::Result<String> {
    let data = if body.is_empty() { String::new() } else { format!(" --data '{body}'") };
    println!("\n$ curl{data} http://{address}/");
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "{method} / HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("read from {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no body")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") && !status.contains(" 303 ") {
        bail!("{address} answers {status}");
    }
    Ok(body.to_owned())
}
