//! What builds cost: ours, Docker's builder and Buildah's on the same contexts in one run, and `cp -a` beside the copies.
//!
//! Wall time of the whole command, the median of several runs where a run can be repeated. Everything happens in a network
//! namespace of its own. Nothing is deleted before the end: ext4 does not use the inodes of deleted files again for
//! minutes, and searches longer and longer for others, so that who comes after a deletion pays for it.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::setup;
use crate::shell;

/// Says that this process is in a namespace of its own already.
const INSIDE: &str = "--inside";
const FILES: usize = 20_000;
const PER_FOLDER: usize = 100;
const STEPS: usize = 100;
const STAGES: usize = 10;
/// Contexts of small files: each can be copied cold once.
const COLD_RUNS: usize = 3;
const GIB: u64 = 1 << 30;
/// How long a daemon may take to come up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const PAUSE: Duration = Duration::from_millis(100);

const ROWS: [&str; 11] = [
    "COPY of 20,000 files, cold, ms",
    "nothing of 20,000 files changed, ms",
    "one of 20,000 files changed, ms",
    "tiny build, all cached, ms",
    "COPY of 1 GiB, cold, ms",
    "the same with another label, ms",
    "100 x RUN true, cold, ms a step",
    "ten stages that sleep 1 s, ms",
    "ten stages one after the other, ms",
    "the same again, cached, ms",
    "memory with 2 GiB of context, MiB",
];

/// Measures us, and whoever else is installed; with `dhow` as argument us alone.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    if arguments.first().is_none_or(|first| first != INSIDE) {
        return enter(arguments);
    }
    let alone = arguments.get(1).is_some_and(|name| name == "dhow");
    let home = shell::target().join("bench/build");
    let contexts = Contexts::make(&home)?;
    // Nobody's first build pays for writing out what was made for it.
    shell::quiet(Command::new("sync").arg("-f").arg(&home))?;
    let mut columns = Vec::new();
    let mut copies = vec![None; ROWS.len()];
    let names: &[&str] = if alone { &["dhow"] } else { &["dhow", "docker", "buildah"] };
    for name in names {
        let engine = match Engine::start(name, &home) {
            Ok(engine) => engine,
            Err(error) => {
                println!("{name}: {error:#}");
                continue;
            }
        };
        match engine.measure(&contexts) {
            Ok(figures) => columns.push((*name, figures)),
            Err(error) => println!("{name}: {error:#}"),
        }
        if *name == "dhow" {
            copies[0] = Some(contexts.copies(&home)?);
            copies[4] = Some(copied(&contexts.big, &home.join("copy-big"))?);
        }
    }
    print(&columns, &copies);
    fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))
}

/// Builds and installs what is needed, then goes on in a network namespace of its own.
fn enter(arguments: &[String]) -> anyhow::Result<()> {
    setup::packages(&[
        ("busybox", "busybox-static"),
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("time", "time"),
    ])?;
    setup::release_binary()?;
    let home = shell::target().join("bench/build");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]).arg(own);
    shell::quiet(command.args(["bench", "build", INSIDE]).args(arguments))
}

/// The table: each peer's figure with how many times ours it is.
fn print(columns: &[(&str, Vec<f64>)], copies: &[Option<(f64, f64)>]) {
    print!("{:36}", "");
    columns.iter().for_each(|(name, _)| print!(" {name:>9} {:>7}", ""));
    println!("  cp -a, with sync");
    let Some((_, ours)) = columns.first() else { return };
    for (at, row) in ROWS.iter().enumerate() {
        print!("{row:36}");
        for (_, figures) in columns {
            print!(" {:9.1} {:>7}", figures[at], format!("{:.1}x", figures[at] / ours[at]));
        }
        match copies[at] {
            Some((copy, synced)) => {
                println!("  {copy:.0} ({:.2}x), {synced:.0} ({:.2}x)", ours[at] / copy, ours[at] / synced);
            }
            None => println!(),
        }
    }
}

/// The folders that are built from.
struct Contexts {
    base: PathBuf,
    small: Vec<PathBuf>,
    tiny: PathBuf,
    big: PathBuf,
    two: PathBuf,
    steps: PathBuf,
    sleeps: PathBuf,
    stages: PathBuf,
}

impl Contexts {
    fn make(home: &Path) -> anyhow::Result<Self> {
        let context = |name: &str, dockerfile: &str| {
            let folder = home.join("contexts").join(name);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("Dockerfile"), dockerfile)?;
            anyhow::Ok(folder)
        };
        let base = context("base", "FROM scratch\nCOPY . /bin/\n")?;
        fs::copy(setup::busybox()?, base.join("busybox"))?;
        for applet in ["sh", "true", "sleep", "cat"] {
            std::os::unix::fs::symlink("busybox", base.join(applet))?;
        }
        let mut small = Vec::new();
        for run in 0..COLD_RUNS {
            let folder = context(&format!("small-{run}"), "FROM bench-base\nCOPY . /app\n")?;
            files(&folder, run)?;
            small.push(folder);
        }
        let tiny = context("tiny", "FROM bench-base\nCOPY a /a\nRUN cat /a\n")?;
        fs::write(tiny.join("a"), "a file\n")?;
        let big = context("big", "FROM bench-base\nCOPY data /data\n")?;
        fill(&big.join("data"), GIB, 1)?;
        let two = context("two", "FROM bench-base\nCOPY . /data\n")?;
        fill(&two.join("one"), GIB, 2)?;
        fill(&two.join("two"), GIB, 3)?;
        let steps = format!("FROM bench-base\n{}", "RUN true\n".repeat(STEPS));
        let sleeping = |n| format!("FROM bench-base AS s{n}\nRUN sleep 1; echo {n} > /out{n}\n");
        let taking = |n| format!("COPY --from=s{n} /out{n} /\n");
        let sleeps: String = (0..STAGES).map(sleeping).collect();
        let sleeps = format!("{sleeps}FROM bench-base\n{}", (0..STAGES).map(taking).collect::<String>());
        let stage = |n: usize| {
            let from = if n == 0 { String::new() } else { format!("COPY --from=s{} /out /in\n", n - 1) };
            format!("FROM bench-base AS s{n}\n{from}RUN echo {n} >> /out\n")
        };
        let stages: String = (0..STAGES).map(stage).collect();
        Ok(Self {
            base,
            small,
            tiny,
            big,
            two,
            steps: context("steps", &steps)?,
            sleeps: context("sleeps", &sleeps)?,
            stages: context("stages", &stages)?,
        })
    }

    /// What `cp -a` takes for the contexts of small files.
    fn copies(&self, home: &Path) -> anyhow::Result<(f64, f64)> {
        let (mut plain, mut synced) = (Vec::new(), Vec::new());
        for (run, folder) in self.small.iter().enumerate() {
            let (copy, both) = copied(folder, &home.join(format!("copy-{run}")))?;
            plain.push(copy);
            synced.push(both);
        }
        Ok((median(plain), median(synced)))
    }
}

fn files(folder: &Path, salt: usize) -> anyhow::Result<()> {
    for number in 0..FILES {
        let parent = folder.join(format!("d{}", number / PER_FOLDER));
        if number % PER_FOLDER == 0 {
            fs::create_dir(&parent)?;
        }
        fs::write(
            parent.join(format!("f{number}.txt")),
            format!("{salt} {number} of a context\n").repeat(20),
        )?;
    }
    Ok(())
}

/// A file that does not compress.
fn fill(path: &Path, size: u64, seed: u64) -> anyhow::Result<()> {
    let mut file = fs::File::create(path)?;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut block = vec![0u8; 1 << 20];
    for _ in 0..size >> 20 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}

/// What `cp -a` takes, and what it takes with the copy made durable.
fn copied(from: &Path, to: &Path) -> anyhow::Result<(f64, f64)> {
    shell::quiet(Command::new("sync").arg("-f").arg(from))?;
    let begun = Instant::now();
    shell::quiet(Command::new("cp").arg("-a").arg(from).arg(to))?;
    let copy = begun.elapsed().as_secs_f64() * 1e3;
    shell::quiet(Command::new("sync").arg("-f").arg(to))?;
    Ok((copy, begun.elapsed().as_secs_f64() * 1e3))
}

pub(super) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Something that builds.
struct Engine {
    program: PathBuf,
    before: Vec<String>,
    /// After `build`.
    options: Vec<&'static str>,
    variables: Vec<(&'static str, PathBuf)>,
    daemon: Option<Child>,
    /// Whether what it does is worth repeating where it takes long.
    patient: bool,
    home: PathBuf,
}

impl Engine {
    fn start(name: &str, home: &Path) -> anyhow::Result<Self> {
        let folder = home.join(name);
        fs::create_dir_all(&folder)?;
        let text = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let mut engine = Self {
            program: name.into(),
            before: Vec::new(),
            options: vec!["-q"],
            variables: Vec::new(),
            daemon: None,
            patient: name != "dhow",
            home: folder.clone(),
        };
        match name {
            "dhow" => {
                engine.program = shell::target().join(setup::TARGET).join("release/dhow");
                engine.variables = vec![("DHOW_ROOT", folder.join("root")), ("DHOW_RUN", folder.join("run"))];
            }
            "docker" => {
                if !["docker", "dockerd", "containerd"].into_iter().all(shell::has) {
                    bail!("not installed");
                }
                engine.daemon = Some(dockerd(&folder)?);
                engine.before = vec!["-H".into(), format!("unix://{}", text("api.sock"))];
                engine.variables = vec![("DOCKER_BUILDKIT", "0".into())];
            }
            _ => {
                if !shell::has(name) {
                    bail!("not installed");
                }
                engine.before = vec!["--root".into(), text("root"), "--runroot".into(), text("run")];
                // It asks for higher limits than a machine without CAP_SYS_RESOURCE gives, and for a network
                // configuration of its own.
                engine.options = vec!["-q", "--layers", "--network", "none", "--ulimit", "nofile=1024:1024"];
                engine.options.extend(["--ulimit", "nproc=1024:1024", "--runtime", "runc"]);
            }
        }
        Ok(engine)
    }

    fn command(&self, context: &Path, more: &[&str]) -> Command {
        let tag = context.file_name().unwrap_or_default().to_string_lossy();
        let mut command = Command::new("time");
        command.args(["-f", "%M", "-o"]).arg(self.home.join("memory")).arg(&self.program);
        command.args(&self.before).arg("build").args(&self.options).args(more);
        command.args(["-t", &format!("bench-{tag}")]).arg(context);
        command.env_remove("DOCKER_HOST").env_remove("DHOW_HOST").envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if self.daemon.is_some() {
            // It says at each build that its builder is the old one.
            command.stderr(Stdio::null());
        }
        command
    }

    /// Milliseconds.
    fn build(&self, context: &Path, more: &[&str]) -> anyhow::Result<f64> {
        let mut command = self.command(context, more);
        let begun = Instant::now();
        shell::quiet(&mut command)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    fn repeat(&self, runs: usize, mut run: impl FnMut(usize) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
        Ok(median(
            (0..if self.patient { runs.min(3) } else { runs }).map(&mut run).collect::<Result<_, _>>()?,
        ))
    }

    fn measure(mut self, contexts: &Contexts) -> anyhow::Result<Vec<f64>> {
        let figures = self.figures(contexts);
        if let Some(daemon) = &mut self.daemon {
            shell::quiet(Command::new("kill").arg(daemon.id().to_string()))?;
            daemon.wait()?;
        }
        figures
    }

    fn figures(&self, contexts: &Contexts) -> anyhow::Result<Vec<f64>> {
        self.build(&contexts.base, &[])?;
        let small = &contexts.small[0];
        let cold = &contexts.small[..if self.patient { 1 } else { COLD_RUNS }];
        let mut figures = vec![self.repeat(cold.len(), |run| self.build(&cold[run], &[]))?];
        // The first build after a change may still have to look twice at what is younger than a clock's tick.
        std::thread::sleep(Duration::from_secs(2));
        self.build(small, &[])?;
        figures.push(self.repeat(9, |_| self.build(small, &[]))?);
        figures.push(self.repeat(5, |run| {
            let file = format!("d{}/f{}.txt", 30 * run + 7, PER_FOLDER * (30 * run + 7) + 42);
            fs::write(small.join(file), format!("changed {run} {:?}", Instant::now()))?;
            self.build(small, &[])
        })?);
        self.build(&contexts.tiny, &[])?;
        figures.push(self.repeat(15, |_| self.build(&contexts.tiny, &[]))?);
        figures.push(self.build(&contexts.big, &[])?);
        figures.push(self.repeat(5, |run| self.build(&contexts.big, &["--label", &format!("run={run}")]))?);
        figures.push(self.build(&contexts.steps, &[])? / STEPS as f64);
        figures.push(self.build(&contexts.sleeps, &[])?);
        figures.push(self.build(&contexts.stages, &[])?);
        figures.push(self.repeat(9, |_| self.build(&contexts.stages, &[]))?);
        figures.push(self.memory(&contexts.two)?);
        Ok(figures)
    }

    /// The most that a build held in memory, the daemon's share with it, in MiB.
    fn memory(&self, context: &Path) -> anyhow::Result<f64> {
        if let Some(daemon) = &self.daemon {
            // Forgets the most that there was until now.
            fs::write(format!("/proc/{}/clear_refs", daemon.id()), "5")?;
        }
        self.build(context, &[])?;
        let own = fs::read_to_string(self.home.join("memory"))?;
        let mut kib: f64 = own.lines().last().unwrap_or_default().trim().parse()?;
        if let Some(daemon) = &self.daemon {
            let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            kib += line.trim().trim_end_matches(" kB").parse::<f64>()?;
        }
        Ok(kib / 1024.0)
    }
}

pub(super) fn dockerd(folder: &Path) -> anyhow::Result<Child> {
    let log = fs::File::create(folder.join("log"))?;
    let socket = folder.join("api.sock");
    let mut command = Command::new("dockerd");
    command.arg("--iptables=false").arg("--data-root").arg(folder.join("root"));
    command.arg("--exec-root").arg(folder.join("exec")).arg("--pidfile").arg(folder.join("pid"));
    command.arg("--host").arg(format!("unix://{}", socket.display()));
    let mut daemon =
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("start dockerd")?;
    let begun = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        if begun.elapsed() > PATIENCE || daemon.try_wait()?.is_some() {
            bail!("dockerd does not come up; see {}", folder.join("log").display());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(daemon)
}
