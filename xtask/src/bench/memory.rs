//! What 50 detached containers cost in memory: the processes beside them and the daemon, ours and Docker's in one run.
//!
//! Each engine has a daemon in a network namespace of its own. Containers have theirs, so whoever else is in the
//! daemon's namespace is the engine's: monitors here, containerd and its shims there. Memory is in KiB, from
//! `smaps_rollup`: PSS divides shared pages among those who share them, USS is what a process has for itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::setup;
use crate::shell;

const CONTAINERS: usize = 50;
const REQUESTS: usize = 200;
/// How long a daemon may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until a daemon that was busy counts as idle.
const REST: Duration = Duration::from_secs(15);

/// Measures us, and Docker if it is installed.
pub fn run() -> anyhow::Result<()> {
    setup::packages(&[("busybox", "busybox-static"), ("unshare", "util-linux"), ("ip", "iproute2")])?;
    let binary = setup::release_binary()?;
    let home = shell::target().join("bench/memory");
    fs::create_dir_all(home.join("context"))?;
    fs::write(home.join("context/Dockerfile"), "FROM bench\nRUN [\"/busybox\", \"touch\", \"/new\"]\n")?;
    let archive = super::busybox(&home)?;
    println!("{CONTAINERS} containers, {REQUESTS} requests and a build; KiB");
    println!(
        "{:10} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "", "daemon", "daemon", "daemon", "beside", "beside", "beside", "all"
    );
    println!(
        "{:10} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "", "fresh", "busy", "idle", "PSS mean", "PSS max", "USS mean", "PSS"
    );
    let ours = Engine::dhow(&binary, &home)?.measure(&archive)?;
    ours.print("dhow", None);
    if ["docker", "dockerd", "containerd"].into_iter().all(shell::has) {
        Engine::docker(&home)?.measure(&archive)?.print("docker", Some(&ours));
    } else {
        println!("docker is not installed");
    }
    Ok(())
}

/// An engine with a daemon of its own.
struct Engine {
    daemon: Child,
    /// Its namespace, as the kernel names it.
    namespace: PathBuf,
    client: PathBuf,
    socket: PathBuf,
    context: PathBuf,
    /// Thrown away at the end.
    folder: PathBuf,
}

/// What was found, in KiB.
#[derive(Default)]
struct Figures {
    fresh: u64,
    busy: u64,
    idle: u64,
    /// Of each container.
    beside: Vec<Memory>,
    everything: u64,
}

#[derive(Clone, Copy, Default)]
struct Memory {
    rss: u64,
    pss: u64,
    uss: u64,
}

impl Engine {
    fn dhow(binary: &Path, home: &Path) -> anyhow::Result<Self> {
        let folder = home.join("dhow");
        let mut command = alone("ip link set lo up; exec \"$@\"");
        command.arg(binary).args(["daemon", "--host"]).arg(at(&folder.join("api.sock")));
        command.env("DHOW_ROOT", folder.join("root")).env("DHOW_RUN", folder.join("run"));
        Self::start(command, binary.to_owned(), folder, home)
    }

    fn docker(home: &Path) -> anyhow::Result<Self> {
        let folder = home.join("docker");
        let mut command = alone("ip link set lo up; exec \"$@\"");
        command.args(["dockerd", "--iptables=false", "--data-root"]).arg(folder.join("root"));
        command.arg("--exec-root").arg(folder.join("run")).arg("--pidfile").arg(folder.join("pid"));
        command.arg("--host").arg(at(&folder.join("api.sock")));
        Self::start(command, "docker".into(), folder, home)
    }

    fn start(mut command: Command, client: PathBuf, folder: PathBuf, home: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        let log = fs::File::create(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let daemon = command.spawn().with_context(|| format!("start {}", shell::display(&command)))?;
        let socket = folder.join("api.sock");
        let context = home.join("context");
        let mut engine = Self { daemon, namespace: PathBuf::new(), client, socket, context, folder };
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&engine.socket).is_err() {
            if begun.elapsed() > PATIENCE || engine.daemon.try_wait()?.is_some() {
                bail!("the daemon does not come up; see {}", engine.folder.join("log").display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        engine.namespace = fs::read_link(format!("/proc/{}/ns/net", engine.daemon.id()))?;
        Ok(engine)
    }

    fn measure(mut self, archive: &Path) -> anyhow::Result<Figures> {
        let figures = self.figures(archive);
        let ended = self.end();
        let figures = figures?;
        ended.map(|()| figures)
    }

    fn figures(&self, archive: &Path) -> anyhow::Result<Figures> {
        let archive = archive.to_str().context("the target folder's name is not UTF-8")?;
        let mut figures = Figures { fresh: self.daemons()?.rss, ..Figures::default() };
        self.quietly(&["import", archive, "bench"])?;
        for number in 0..CONTAINERS {
            let name = format!("c{number:02}");
            self.quietly(&[
                "run",
                "-d",
                "--network",
                "none",
                "--name",
                &name,
                "bench",
                "/busybox",
                "sleep",
                "10000",
            ])?;
        }
        for _ in 0..REQUESTS {
            self.quietly(&["ps"])?;
        }
        let context = self.context.to_str().context("the target folder's name is not UTF-8")?;
        self.quietly(&["build", "-q", "--network", "none", context])?;
        figures.busy = self.daemons()?.rss;
        std::thread::sleep(REST);
        figures.idle = self.daemons()?.rss;
        let beside: Vec<_> = self.processes()?.into_iter().filter(|(_, daemon)| !daemon).collect();
        if beside.len() != CONTAINERS {
            bail!("{} processes beside {CONTAINERS} containers", beside.len());
        }
        figures.beside = beside.iter().map(|(memory, _)| *memory).collect();
        figures.everything = self.processes()?.iter().map(|(memory, _)| memory.pss).sum();
        Ok(figures)
    }

    fn quietly(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.arg("-H").arg(at(&self.socket)).args(arguments);
        // The plugin that the newer builder needs is another package.
        command.env("DOCKER_BUILDKIT", "0").env_remove("DHOW_HOST").env_remove("DOCKER_HOST");
        command
    }

    /// The daemons' memory: dockerd brings containerd along.
    fn daemons(&self) -> anyhow::Result<Memory> {
        let sum = |sum: Memory, (one, _): &(Memory, bool)| Memory {
            rss: sum.rss + one.rss,
            pss: sum.pss + one.pss,
            uss: sum.uss + one.uss,
        };
        Ok(self.processes()?.iter().filter(|(_, daemon)| *daemon).fold(Memory::default(), sum))
    }

    /// The engine's processes, and which of them are daemons.
    fn processes(&self) -> anyhow::Result<Vec<(Memory, bool)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let path = entry.path();
            // Other processes come and go while we look.
            let ours = fs::read_link(path.join("ns/net")).is_ok_and(|namespace| namespace == self.namespace);
            let Some(memory) = ours.then(|| memory(&path)).flatten() else { continue };
            let daemon = entry.file_name().to_str() == Some(&self.daemon.id().to_string());
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            found.push((memory, daemon || name.trim() == "containerd"));
        }
        Ok(found)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        for number in 0..CONTAINERS {
            // Those that were never made are not there.
            self.command(&["rm", "-f", &format!("c{number:02}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
        }
        shell::quiet(Command::new("kill").arg(self.daemon.id().to_string()))?;
        self.daemon.wait()?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("remove {}", self.folder.display()))
    }
}

/// A command that runs `script` with arguments in namespaces of its own.
fn alone(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", script, "sh"]);
    command.env_remove("DHOW_HOST").env_remove("DOCKER_HOST");
    command
}

fn at(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

/// Nothing for a process that has ended.
fn memory(process: &Path) -> Option<Memory> {
    let text = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let mut memory = Memory::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(Ok(kib))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            continue;
        };
        match name {
            "Rss:" => memory.rss = kib,
            "Pss:" => memory.pss = kib,
            "Private_Clean:" | "Private_Dirty:" => memory.uss += kib,
            _ => {}
        }
    }
    Some(memory)
}

impl Figures {
    fn mean(&self, of: impl Fn(&Memory) -> u64) -> u64 {
        self.beside.iter().map(of).sum::<u64>() / self.beside.len().max(1) as u64
    }

    fn print(&self, name: &str, ours: Option<&Figures>) {
        let row = |figures: &Figures| {
            let largest = figures.beside.iter().map(|memory| memory.pss).max().unwrap_or(0);
            [
                figures.fresh,
                figures.busy,
                figures.idle,
                figures.mean(|memory| memory.pss),
                largest,
                figures.mean(|memory| memory.uss),
                figures.everything,
            ]
        };
        let widths = [8, 8, 8, 9, 9, 9, 9];
        let line = |name: &str, cells: [String; 7]| {
            let cells = cells.iter().zip(widths).map(|(cell, width)| format!(" {cell:>width$}"));
            println!("{name:10}{}", cells.collect::<String>());
        };
        let own = row(self);
        line(name, own.map(|kib| kib.to_string()));
        if let Some(ours) = ours.map(row) {
            let ratio = |at: usize| format!("{:.1}x", own[at] as f64 / ours[at].max(1) as f64);
            line("ratio", std::array::from_fn(ratio));
        }
    }
}
