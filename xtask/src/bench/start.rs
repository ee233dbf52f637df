//! How long it takes to run `true` in a new container or in one that runs, and what all processes that it causes cost
//! together: ours, Docker's and Podman's, and the raw runtimes on one bundle.
//!
//! Wall time is the median of [`RUNS`] warm runs. CPU time is the mean of the same runs, as a control group counts it in
//! which everything happens: this program (which spawns and awaits: the same for all), daemons, monitors, containers. What
//! a command leaves to be done after it has returned is in it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::setup;
use crate::shell;

const RUNS: usize = 30;
/// The group that everything happens in; its name is also the parent of containers' groups.
const GROUP: &str = "dhow-bench";
/// How long a daemon may take to come up, and what was left to be done to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what has been used.
const PAUSE: Duration = Duration::from_millis(100);

/// What a command took.
#[derive(Clone, Copy)]
struct Figure {
    wall: f64,
    cpu: f64,
}

/// The commands, as every engine understands them, up to the container's own.
const COMMANDS: [(&str, &[&str]); 3] = [
    ("run --rm --network none", &["run", "--rm", "--cgroup-parent", GROUP, "--network", "none", "bench"]),
    ("run --rm (bridge)", &["run", "--rm", "--cgroup-parent", GROUP, "bench"]),
    ("exec", &["exec", "bench"]),
];

/// Measures us, and whoever else is installed.
pub fn run() -> anyhow::Result<()> {
    setup::packages(&[("busybox", "busybox-static"), ("unshare", "util-linux"), ("ip", "iproute2")])?;
    let home = shell::target().join("bench/start");
    fs::create_dir_all(&home)?;
    let binary = home.join("installed");
    setup::install_binary(&binary)?;
    let archive = super::busybox(&home)?;
    let group = Group::enter()?;
    println!("{RUNS} runs each: median wall time and mean CPU time of all processes, ms");
    let rows = COMMANDS.map(|(name, _)| name);
    let ours = Engine::dhow(&binary, &home).measure(&group, &archive)?;
    table("dhow", &rows, &ours, None);
    if shell::has("podman") {
        // What it cannot do on this machine is no reason not to measure the others.
        match Engine::podman(&home).measure(&group, &archive) {
            Ok(theirs) => table("podman", &rows, &theirs, Some(&ours)),
            Err(error) => println!("podman: {error}"),
        }
    }
    if !["docker", "dockerd", "containerd"].into_iter().all(shell::has) {
        println!("docker is not installed; without its seccomp profile runtimes are not compared");
        return Ok(());
    }
    let profile = home.join("seccomp.json");
    let docker = Engine::docker(&home, &profile)?;
    table("docker", &rows, &docker.measure(&group, &archive)?, Some(&ours));
    runtimes(&group, &binary, &home, &profile)
}

fn table(name: &str, rows: &[&str], figures: &[Figure], ours: Option<&[Figure]>) {
    for (at, (row, figure)) in rows.iter().zip(figures).enumerate() {
        print!("{name:14} {row:26} {:8.2} wall {:8.2} cpu", figure.wall, figure.cpu);
        match ours.and_then(|ours| ours.get(at)) {
            Some(own) => println!("   {:6.1}x {:6.1}x", figure.wall / own.wall, figure.cpu / own.cpu),
            None => println!(),
        }
    }
}

/// A control group that counts what its processes use, here and below.
struct Group {
    files: Vec<PathBuf>,
    /// Whether the counter is version 1's, in nanoseconds.
    nanoseconds: bool,
}

impl Group {
    /// Puts this process into the group.
    fn enter() -> anyhow::Result<Self> {
        let v1 = Path::new("/sys/fs/cgroup/cpuacct");
        let nanoseconds = v1.is_dir();
        let base = if nanoseconds { v1 } else { Path::new("/sys/fs/cgroup") };
        // On version 2 a group with controllers holds no processes itself.
        let own = if nanoseconds { GROUP.to_owned() } else { format!("{GROUP}/command") };
        fs::create_dir_all(base.join(&own))?;
        fs::write(base.join(&own).join("cgroup.procs"), std::process::id().to_string())
            .context("enter the control group of the benchmark")?;
        // Monitors leave the group of a session where one has a manager.
        let file = if nanoseconds { "cpuacct.usage" } else { "cpu.stat" };
        let files = [GROUP, "dhow-monitors"].map(|name| base.join(name).join(file)).to_vec();
        Ok(Self { files, nanoseconds })
    }

    /// Milliseconds used until now.
    fn used(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for file in &self.files {
            let Ok(text) = fs::read_to_string(file) else { continue };
            let number = if self.nanoseconds {
                text.trim().parse::<f64>()? / 1e6
            } else {
                let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
                line.context("cpu.stat has no usage_usec")?.trim().parse::<f64>()? / 1e3
            };
            sum += number;
        }
        Ok(sum)
    }

    /// The same, when nearly nothing is added any more.
    fn settled(&self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut before = self.used()?;
        loop {
            std::thread::sleep(PAUSE);
            let now = self.used()?;
            if now - before < 1.0 || begun.elapsed() > PATIENCE {
                return Ok(now);
            }
            before = now;
        }
    }

    fn measure(&self, mut command: impl FnMut(usize) -> Vec<Command>) -> anyhow::Result<Vec<Figure>> {
        // The first runs warm the caches.
        for run in 0..3 {
            for mut step in command(run) {
                shell::quiet(step.stdin(Stdio::null()).stdout(Stdio::null()))?;
            }
        }
        let (mut walls, mut cpus) = (Vec::<Vec<f64>>::new(), Vec::<f64>::new());
        for run in 0..RUNS {
            let steps = command(run + 3);
            let single = steps.len() == 1;
            walls.resize(steps.len(), Vec::new());
            cpus.resize(steps.len(), 0.0);
            for (at, mut step) in steps.into_iter().enumerate() {
                let used = if single && run > 0 { 0.0 } else { self.used()? };
                let begun = Instant::now();
                shell::quiet(step.stdin(Stdio::null()).stdout(Stdio::null()))?;
                walls[at].push(begun.elapsed().as_secs_f64() * 1e3);
                cpus[at] += match single {
                    // What comes after the command belongs to the next reading, the last one to the end.
                    true if run == 0 => -used,
                    true => 0.0,
                    false => self.used()? - used,
                };
            }
            if single && run + 1 == RUNS {
                cpus[0] += self.settled()?;
            }
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        };
        Ok(walls
            .into_iter()
            .zip(cpus)
            .map(|(times, cpu)| Figure { wall: median(times), cpu: cpu / RUNS as f64 })
            .collect())
    }
}

impl Drop for Group {
    /// Leaves the group, and removes it with what engines have left of it in other hierarchies.
    fn drop(&mut self) {
        for file in &self.files[..1] {
            let base = file.ancestors().nth(2).unwrap_or(file);
            let _ = fs::write(base.join("cgroup.procs"), std::process::id().to_string());
            let _ = fs::remove_dir(base.join(GROUP).join("command"));
            let _ = fs::remove_dir(base.join(GROUP));
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(GROUP));
        }
    }
}

/// Something that understands Docker's command line.
struct Engine {
    program: PathBuf,
    /// Before every command's own arguments.
    before: Vec<String>,
    variables: Vec<(&'static str, PathBuf)>,
    daemon: Option<Child>,
    /// Where a daemon keeps what its containers' runtime is told, and where their seccomp profile is copied to.
    bundles: Option<(PathBuf, PathBuf)>,
    /// Thrown away at the end.
    folders: Vec<PathBuf>,
    /// Further options of `run`.
    options: &'static [&'static str],
}

impl Engine {
    fn dhow(binary: &Path, home: &Path) -> Self {
        // Where `/run` is, files are in memory: so is this.
        let run = PathBuf::from("/dev/shm").join(format!("{GROUP}-{}", std::process::id()));
        let folders = vec![home.join("dhow"), run.clone()];
        let variables = vec![("DHOW_ROOT", home.join("dhow")), ("DHOW_RUN", run)];
        let program = binary.to_owned();
        Self { program, before: Vec::new(), variables, daemon: None, bundles: None, folders, options: &[] }
    }

    fn docker(home: &Path, profile: &Path) -> anyhow::Result<Self> {
        let folder = home.join("docker");
        fs::create_dir_all(&folder)?;
        let socket = folder.join("api.sock");
        let log = fs::File::create(folder.join("log"))?;
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]);
        command.arg("dockerd").arg("--iptables=false").arg("--data-root").arg(folder.join("root"));
        command.arg("--exec-root").arg(folder.join("run")).arg("--pidfile").arg(folder.join("pid"));
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut daemon = command.spawn().context("start dockerd")?;
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if begun.elapsed() > PATIENCE || daemon.try_wait()?.is_some() {
                bail!("dockerd does not come up; see {}", folder.join("log").display());
            }
            std::thread::sleep(PAUSE);
        }
        let before = vec!["-H".to_owned(), format!("unix://{}", socket.display())];
        let bundles = folder.join("run/containerd/daemon/io.containerd.runtime.v2.task/moby");
        Ok(Self {
            program: "docker".into(),
            before,
            variables: Vec::new(),
            daemon: Some(daemon),
            bundles: Some((bundles, profile.to_owned())),
            folders: vec![folder],
            options: &[],
        })
    }

    fn podman(home: &Path) -> Self {
        let text = |name: &str| home.join("podman").join(name).to_string_lossy().into_owned();
        let before = ["--root", &text("root"), "--runroot", &text("run"), "--cgroup-manager", "cgroupfs"];
        let before = before.map(str::to_owned).to_vec();
        let folders = vec![home.join("podman")];
        // It asks for higher limits than a machine without CAP_SYS_RESOURCE gives.
        let program = "podman".into();
        Self {
            program,
            before,
            variables: Vec::new(),
            daemon: None,
            bundles: None,
            folders,
            options: &["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"],
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let (verb, rest) = arguments.split_at(1.min(arguments.len()));
        let options = if verb == ["run"] { self.options } else { &[] };
        command
            .args(&self.before)
            .args(verb)
            .args(options)
            .args(rest)
            .env_remove("DOCKER_HOST")
            .env_remove("DHOW_HOST");
        command.envs(self.variables.iter().cloned());
        command
    }

    fn quietly(&self, arguments: &[&str]) -> anyhow::Result<()> {
        shell::quiet(self.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()))
    }

    fn measure(mut self, group: &Group, archive: &Path) -> anyhow::Result<Vec<Figure>> {
        let measured = self.figures(group, archive);
        // The default network's bridge and tables go with the last container that needs them.
        for remove in [&["rm", "-f", "bench"][..], &["rmi", "-f", "bench"], &["network", "prune", "-f"]] {
            // After a failure they may not be there.
            self.command(remove).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        }
        if let Some(daemon) = &mut self.daemon {
            shell::quiet(Command::new("kill").arg(daemon.id().to_string()))?;
            daemon.wait()?;
        }
        for folder in &self.folders {
            fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        measured
    }

    fn figures(&self, group: &Group, archive: &Path) -> anyhow::Result<Vec<Figure>> {
        let archive = archive.to_str().context("the target folder's name is not UTF-8")?;
        self.quietly(&["import", archive, "bench"])?;
        let parent = ["run", "-d", "--name", "bench", "--network", "none", "--cgroup-parent", GROUP];
        self.quietly(&[&parent[..], &["bench", "/busybox", "sleep", "10000"]].concat())?;
        if let Some((bundles, profile)) = &self.bundles {
            copy_profile(bundles, profile)?;
        }
        let mut figures = Vec::new();
        for (_, arguments) in COMMANDS {
            let arguments = [arguments, &["/busybox", "true"]].concat();
            figures.extend(group.measure(|_| vec![self.command(&arguments)])?);
        }
        Ok(figures)
    }
}

/// Copies the seccomp profile of the only container in a folder of bundles.
fn copy_profile(bundles: &Path, to: &Path) -> anyhow::Result<()> {
    let bundle =
        fs::read_dir(bundles).with_context(|| format!("read {}", bundles.display()))?.flatten().next();
    let file = bundle.context("a container that runs has a bundle")?.path().join("config.json");
    let spec: serde_json::Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    Ok(fs::write(to, spec["linux"]["seccomp"].to_string())?)
}

/// The verbs of the runtimes on one bundle with Docker's seccomp profile.
fn runtimes(group: &Group, binary: &Path, home: &Path, profile: &Path) -> anyhow::Result<()> {
    let bundle = home.join("bundle");
    let config = bundle.join("config.json");
    fs::create_dir_all(bundle.join("rootfs"))?;
    fs::copy(setup::busybox()?, bundle.join("rootfs/busybox"))?;
    // A configuration of an earlier run is in the way of `spec`.
    let _ = fs::remove_file(&config);
    let Some(author) = ["runc", "crun"].into_iter().find(|program| shell::has(program)) else {
        println!("neither runc nor crun is installed: there is nothing to compare with");
        return Ok(());
    };
    shell::quiet(Command::new(author).arg("spec").current_dir(&bundle))?;
    prepare(&config, profile)?;
    let crun = Path::new("crun");
    let all: [(&str, &Path, &[&str]); 4] = [
        ("dhow runtime", binary, &["runtime"]),
        ("crun", crun, &[]),
        // It refuses machines with both versions of control groups.
        ("crun, no group", crun, &["--cgroup-manager=disabled"]),
        ("runc", Path::new("runc"), &[]),
    ];
    let mut ours: Option<Vec<Figure>> = None;
    for (name, program, first) in all {
        if !program.is_absolute() && !shell::has(&program.to_string_lossy()) {
            println!("{name} is not installed");
            continue;
        }
        let state = home.join("state");
        let command = |arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(first).arg("--root").arg(&state).args(arguments).current_dir(&bundle);
            command
        };
        let id = format!("{GROUP}-{}", std::process::id());
        let measured = group
            .measure(|_| VERBS.map(|verb| command(&[&[verb][..], options(verb), &[&id]].concat())).into());
        match measured {
            Ok(figures) => {
                table(name, &VERBS, &figures, ours.as_deref());
                ours.get_or_insert(figures);
            }
            Err(error) => {
                println!("{name}: {error}");
                // It may have come as far as a container.
                let mut delete = command(&["delete", "--force", &id]);
                delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            }
        }
        if state.exists() {
            fs::remove_dir_all(&state).with_context(|| format!("remove {}", state.display()))?;
        }
    }
    Ok(())
}

/// What a runtime does with a container, in order.
const VERBS: [&str; 3] = ["create", "start", "delete"];

fn options(verb: &str) -> &'static [&'static str] {
    // The container may not have ended yet.
    if verb == "delete" { &["--force"] } else { &[] }
}

/// Makes the default configuration one that needs no terminal and filters calls as Docker does.
fn prepare(file: &Path, profile: &Path) -> anyhow::Result<()> {
    let mut spec: serde_json::Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["/busybox", "true"]);
    spec["linux"]["cgroupsPath"] = format!("/{GROUP}/runtime").into();
    spec["linux"]["seccomp"] = serde_json::from_str(&fs::read_to_string(profile)?)?;
    Ok(fs::write(file, serde_json::to_string(&spec)?)?)
}
