//! What moving images costs: ours, Docker's and skopeo against one docker-registry in one run, and the floor: all processors
//! decompressing and unpacking the same layers.
//!
//! The image has eight layers, 60,000 files and 1.5 GB. Wall time of the whole command and processor time of the command and
//! its daemon; the registry's own is nobody's. Before each measurement all is written out that others have left to write.
//! Everything happens in a network namespace of its own. Each engine, and the floor, has a new file system in a file: ext4 does
//! not use the inodes of deleted files again for minutes, and searches longer and longer for others, whoever has deleted them.
//! 12 GB at most are in use at once. `DHOW_BENCH_BINARY` is measured in place of the release that is built otherwise.

use std::fs;
use std::io::{BufWriter, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;

use super::build::{PATIENCE, PAUSE, dockerd, median};
use crate::setup;
use crate::shell;

/// Says that this process is in a namespace of its own already.
const INSIDE: &str = "--inside";
const LAYERS: usize = 8;
const FILES: usize = 60_000;
const PER_FOLDER: usize = 100;
const REGISTRY: &str = "127.0.0.1:5000";
const SOURCE: &str = "127.0.0.1:5000/dhow/first:1";
/// What has to be free.
const ROOM: u64 = 12 << 30;
/// How often what takes milliseconds is done.
const REPEATED: usize = 15;

const ROWS: [&str; 8] = [
    "load",
    "push, nothing there",
    "push, all there",
    "save",
    "pull, nothing here",
    "pull, all here",
    "push of what was pulled, nothing there",
    "the same under another name",
];

/// Seconds.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    processor: f64,
}

/// Bytes of an engine's file system, and of the floor's.
const DISK: u64 = 8 << 30;
const FLOOR_DISK: u64 = 3 << 30;

/// Measures us, and whoever else is installed; with `dhow` as argument us alone, with `small` a quarter of the image.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    if arguments.first().is_none_or(|first| first != INSIDE) {
        return enter(arguments);
    }
    for argument in &arguments[1..] {
        if !["dhow", "small"].contains(&argument.as_str()) {
            bail!("unknown argument {argument:?}: dhow and small are known");
        }
    }
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let (alone, files) = (asked("dhow"), if asked("small") { FILES / 4 } else { FILES });
    let home = home();
    let archive = make_image(&home, files)?;
    let mut registry = Registry::start(&home)?;
    let mut columns = Vec::new();
    let names: &[&str] = if alone { &["dhow"] } else { &["dhow", "docker", "skopeo"] };
    for name in names {
        match measure(name, &home, &archive) {
            Ok(costs) => columns.push((*name, costs)),
            Err(error) => println!("{name}: {error:#}"),
        }
    }
    let floor = floor(&home);
    registry.stop()?;
    print(&columns, floor?);
    Ok(())
}

fn home() -> PathBuf {
    shell::target().join("bench/images")
}

/// Builds and installs what is needed, goes on in namespaces of its own, and removes everything.
fn enter(arguments: &[String]) -> anyhow::Result<()> {
    setup::packages(&[
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("time", "time"),
        ("docker-registry", "docker-registry"),
        ("mkfs.ext4", "e2fsprogs"),
    ])?;
    let binary = match std::env::var_os("DHOW_BENCH_BINARY") {
        Some(binary) => binary.into(),
        None => setup::release_binary()?,
    };
    let home = home();
    clear(&home)?;
    fs::create_dir_all(&home)?;
    let free = shell::output(Command::new("df").args(["--output=avail", "-B1"]).arg(&home))?;
    let free: u64 = free.lines().last().unwrap_or_default().trim().parse().context("read df")?;
    if free < ROOM {
        bail!("{} has {free} bytes free, and {ROOM} are needed", home.display());
    }
    fs::copy(&binary, home.join("dhow")).with_context(|| format!("copy {}", binary.display()))?;
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]).arg(own);
    let measured = shell::quiet(command.args(["bench", "images", INSIDE]).args(arguments));
    measured.and(clear(&home))
}

fn clear(folder: &Path) -> anyhow::Result<()> {
    match folder.exists() {
        true => fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display())),
        false => Ok(()),
    }
}

/// The table: each peer's cost, and how many times ours it is.
fn print(columns: &[(&str, Vec<Option<Cost>>)], floor: (Cost, f64)) {
    print!("{:40}", "seconds (of processors)");
    columns.iter().for_each(|(name, _)| print!(" {name:>16} {:>6}", ""));
    println!();
    let Some((_, ours)) = columns.first() else { return };
    for (at, row) in ROWS.iter().enumerate() {
        print!("{row:40}");
        for (_, costs) in columns {
            match (costs[at], ours[at]) {
                (Some(cost), Some(own)) => {
                    let ratio = format!("{:.1}x", cost.wall / own.wall);
                    print!(" {:8.3} ({:5.2}) {ratio:>6}", cost.wall, cost.processor);
                }
                _ => print!(" {:>16} {:>6}", "-", ""),
            }
        }
        println!();
    }
    let (floor, synced) = floor;
    print!("floor of a pull: {:.3} ({:.2}), {synced:.3} with sync", floor.wall, floor.processor);
    match ours[4] {
        Some(pull) => {
            println!("; ours is {:.2} and {:.2} times that", pull.wall / floor.wall, pull.wall / synced)
        }
        None => println!(),
    }
}

/// Docker's archive of the image.
fn make_image(home: &Path, files: usize) -> anyhow::Result<PathBuf> {
    let archive = home.join("image.tar");
    let mut outer = Tar::create(&archive)?;
    let mut random = Random(1);
    let (mut names, mut digests) = (Vec::new(), Vec::new());
    for layer in 0..LAYERS {
        let path = home.join("layer.tar");
        let mut tar = Tar::create(&path)?;
        for number in layer * files / LAYERS..(layer + 1) * files / LAYERS {
            if number.is_multiple_of(PER_FOLDER) {
                tar.entry(&format!("d{}/", number / PER_FOLDER), &[])?;
            }
            tar.entry(&format!("d{}/f{number}", number / PER_FOLDER), &content(&mut random, number))?;
        }
        tar.finish()?;
        let sum = shell::output(Command::new("sha256sum").arg(&path))?;
        digests.push(format!("sha256:{}", sum.split_whitespace().next().unwrap_or_default()));
        let name = format!("{layer}/layer.tar");
        outer.file(&name, &path)?;
        names.push(name);
        fs::remove_file(&path)?;
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": digests },
    });
    outer.entry("config.json", config.to_string().as_bytes())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["bench:1"], "Layers": names }]);
    outer.entry("manifest.json", manifest.to_string().as_bytes())?;
    outer.finish()?;
    Ok(archive)
}

/// Text and data by turns: 25 kB in the mean, which gzip makes two fifths of.
fn content(random: &mut Random, number: usize) -> Vec<u8> {
    let size: usize = match number % 20 {
        0 => 320_000,
        1..=3 => 40_000,
        _ => 4_000,
    };
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let next = random.next();
        // One of 4096 words.
        let word = (next >> 20 & 0xfff).wrapping_mul(0x2545_f491_4f6c_dd1d);
        bytes.extend_from_slice(&word.to_le_bytes());
        if number.is_multiple_of(2) {
            bytes.extend_from_slice(&next.to_le_bytes()[..4]);
        }
    }
    bytes.truncate(size);
    bytes
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A ustar archive.
struct Tar(BufWriter<fs::File>);

impl Tar {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(BufWriter::with_capacity(1 << 20, file)))
    }

    /// A file, or a folder if the name ends so.
    fn entry(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.header(name, bytes.len() as u64)?;
        self.0.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn file(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        self.header(name, length)?;
        std::io::copy(&mut file, &mut self.0)?;
        self.pad(length)
    }

    fn header(&mut self, name: &str, length: u64) -> anyhow::Result<()> {
        let is_folder = name.ends_with('/');
        let mut header = [0u8; 512];
        let mode = if is_folder { "0000755" } else { "0000644" };
        for (at, text) in [
            (0, name),
            (100, mode),
            (108, "0000000"),
            (116, "0000000"),
            (124, &format!("{length:011o}")),
            (136, "14000000000"),
            (148, "        "),
            (156, if is_folder { "5" } else { "0" }),
            (257, "ustar\x0000"),
        ] {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Ok(self.0.write_all(&header)?)
    }

    fn pad(&mut self, length: u64) -> anyhow::Result<()> {
        Ok(self.0.write_all(&[0; 512][..(length.next_multiple_of(512) - length) as usize])?)
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.0.write_all(&[0; 1024])?;
        Ok(self.0.flush()?)
    }
}

/// Debian's registry on loopback.
struct Registry(Child);

impl Registry {
    fn start(home: &Path) -> anyhow::Result<Self> {
        let file = home.join("registry.json");
        let settings = json!({
            "version": 0.1,
            "log": { "level": "error", "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": home.join("registry") } },
            "http": { "addr": REGISTRY },
        });
        // What is JSON is YAML.
        fs::write(&file, settings.to_string())?;
        let log = fs::File::create(home.join("registry.log"))?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut registry = Self(command.spawn().context("start docker-registry")?);
        let begun = Instant::now();
        while TcpStream::connect(REGISTRY).is_err() {
            if begun.elapsed() > PATIENCE || registry.0.try_wait()?.is_some() {
                bail!("docker-registry does not come up; see {}", home.join("registry.log").display());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(registry)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Stopped already, unless something went wrong.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A new file system in a file.
struct Disk {
    file: PathBuf,
    folder: PathBuf,
}

impl Disk {
    fn new(home: &Path, name: &str, size: u64) -> anyhow::Result<Self> {
        let disk =
            Self { file: home.join(format!("{name}.disk")), folder: home.join(format!("{name}-disk")) };
        fs::create_dir_all(&disk.folder)?;
        shell::quiet(Command::new("fallocate").args(["-l", &size.to_string()]).arg(&disk.file))?;
        // Nothing is left to the kernel to do meanwhile.
        let at_once = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        shell::quiet(Command::new("mkfs.ext4").args(["-q", "-F", "-E", at_once]).arg(&disk.file))?;
        shell::quiet(Command::new("mount").args(["-o", "loop"]).arg(&disk.file).arg(&disk.folder))?;
        Ok(disk)
    }

    fn remove(self) -> anyhow::Result<()> {
        shell::quiet(Command::new("umount").arg("--recursive").arg(&self.folder))?;
        fs::remove_file(&self.file).with_context(|| format!("remove {}", self.file.display()))
    }
}

/// What everything costs an engine, in the order of the rows.
fn measure(name: &'static str, home: &Path, archive: &Path) -> anyhow::Result<Vec<Option<Cost>>> {
    let disk = Disk::new(home, name, DISK)?;
    let start = |folder| Engine::start(name, home, &disk.folder, folder);
    let engine = start("first")?;
    let costs = if name == "skopeo" {
        let costs = engine.copies(archive);
        engine.stop()?;
        costs?
    } else {
        let sent = engine.sends(archive);
        engine.stop()?;
        let engine = start("second")?;
        let fetched = engine.fetches();
        engine.stop()?;
        sent?.into_iter().chain(fetched?).map(Some).collect()
    };
    disk.remove()?;
    Ok(costs)
}

/// Something that moves images.
struct Engine {
    name: &'static str,
    program: PathBuf,
    before: Vec<String>,
    variables: Vec<(&'static str, PathBuf)>,
    daemon: Option<Child>,
    home: PathBuf,
}

impl Engine {
    /// With nothing in it, in a folder of a file system of its own.
    fn start(name: &'static str, home: &Path, disk: &Path, folder: &str) -> anyhow::Result<Self> {
        let folder = disk.join(folder);
        fs::create_dir_all(&folder)?;
        let mut engine = Self {
            name,
            program: name.into(),
            before: Vec::new(),
            variables: Vec::new(),
            daemon: None,
            home: folder.clone(),
        };
        match name {
            "dhow" => {
                engine.program = home.join("dhow");
                engine.variables = vec![("DHOW_ROOT", folder.join("root")), ("DHOW_RUN", folder.join("run"))];
            }
            "docker" => {
                if !["docker", "dockerd", "containerd"].into_iter().all(shell::has) {
                    bail!("not installed");
                }
                engine.daemon = Some(dockerd(&folder)?);
                engine.before = vec!["-H".into(), format!("unix://{}", folder.join("api.sock").display())];
            }
            _ if !shell::has(name) => bail!("not installed"),
            _ => {}
        }
        Ok(engine)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("time");
        command.args(["-f", "%U %S", "-o"]).arg(self.home.join("time")).arg(&self.program);
        command.args(&self.before).args(arguments);
        command.env_remove("DOCKER_HOST").env_remove("DHOW_HOST").envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn cost(&self, arguments: &[&str]) -> anyhow::Result<Cost> {
        shell::quiet(Command::new("sync").arg("-f").arg(&self.home))?;
        let before = self.daemon_time()?;
        let mut command = self.command(arguments);
        let begun = Instant::now();
        shell::quiet(&mut command)?;
        let wall = begun.elapsed().as_secs_f64();
        let own = fs::read_to_string(self.home.join("time"))?;
        let own: f64 = own.split_whitespace().filter_map(|time| time.parse::<f64>().ok()).sum();
        Ok(Cost { wall, processor: own + self.daemon_time()? - before })
    }

    /// Processor seconds of the daemon and of its children that have ended.
    fn daemon_time(&self) -> anyhow::Result<f64> {
        let Some(daemon) = &self.daemon else { return Ok(0.0) };
        let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
        // The kernel counts in hundredths for everybody who reads it.
        Ok(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0)
    }

    fn repeated(&self, arguments: &[&str]) -> anyhow::Result<Cost> {
        let costs = (0..REPEATED).map(|_| self.cost(arguments)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Cost {
            wall: median(costs.iter().map(|cost| cost.wall).collect()),
            processor: median(costs.iter().map(|cost| cost.processor).collect()),
        })
    }

    fn stop(mut self) -> anyhow::Result<()> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        shell::quiet(Command::new("kill").arg(daemon.id().to_string()))?;
        daemon.wait().map(drop).context("wait for the daemon")
    }

    /// What begins with an archive.
    fn sends(&self, archive: &Path) -> anyhow::Result<Vec<Cost>> {
        let archive = archive.to_str().context("the target folder's name is not UTF-8")?;
        let saved = self.home.join("saved.tar").to_string_lossy().into_owned();
        let first = self.image("first");
        let mut costs = vec![self.cost(&["load", "-i", archive])?];
        self.cost(&["tag", "bench:1", &first])?;
        costs.push(self.cost(&["push", &first])?);
        costs.push(self.repeated(&["push", &first])?);
        costs.push(self.cost(&["save", "-o", &saved, "bench:1"])?);
        fs::remove_file(&saved)?;
        Ok(costs)
    }

    /// What begins with a pull. Everybody pulls what we have pushed.
    fn fetches(&self) -> anyhow::Result<Vec<Cost>> {
        let (second, third) = (self.image("second"), self.image("third"));
        let mut costs = vec![self.cost(&["pull", SOURCE])?, self.repeated(&["pull", SOURCE])?];
        // Into a repository of which nobody remembers anything.
        for name in [&second, &third] {
            self.cost(&["tag", SOURCE, name])?;
            costs.push(self.cost(&["push", name])?);
        }
        Ok(costs)
    }

    fn image(&self, name: &str) -> String {
        format!("{REGISTRY}/{}/{name}:1", self.name)
    }

    /// Copies between an archive, a registry and a folder: it unpacks nothing.
    fn copies(&self, archive: &Path) -> anyhow::Result<Vec<Option<Cost>>> {
        let archive = format!("docker-archive:{}", archive.display());
        let folder = format!("dir:{}", self.home.join("copy").display());
        let saved = format!("docker-archive:{}:bench:1", self.home.join("saved.tar").display());
        let (first, source) = (format!("docker://{}", self.image("first")), format!("docker://{SOURCE}"));
        let copy = |from: &str, to: &str| {
            let insecure =
                ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
            // A folder knows nothing of TLS.
            let options = insecure.into_iter().filter(|option| match *option {
                "--src-tls-verify=false" => from.starts_with("docker:"),
                "--dest-tls-verify=false" => to.starts_with("docker:"),
                _ => true,
            });
            self.cost(&options.chain([from, to]).collect::<Vec<_>>())
        };
        let push = copy(&archive, &first)?;
        let again = copy(&archive, &first)?;
        let pull = copy(&source, &folder)?;
        let save = copy(&source, &saved)?;
        Ok(vec![None, Some(push), Some(again), Some(save), Some(pull), None, None, None])
    }
}

/// All processors decompressing and unpacking the layers that were pulled; and the seconds until they are on the disk.
fn floor(home: &Path) -> anyhow::Result<(Cost, f64)> {
    let blobs = home.join("registry/docker/registry/v2/blobs/sha256");
    let disk = Disk::new(home, "floor", FLOOR_DISK)?;
    let folder = &disk.folder;
    let manifest = fs::read_to_string(
        home.join("registry/docker/registry/v2/repositories/dhow/first/_manifests/tags/1/current/link"),
    )?;
    let file = |digest: &str| {
        let hex = digest.trim().trim_start_matches("sha256:").to_owned();
        blobs.join(&hex[..2]).join(&hex).join("data")
    };
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(file(&manifest))?)?;
    let layers = manifest["layers"].as_array().context("a manifest has layers")?;
    let layers: Vec<_> = layers.iter().filter_map(|layer| layer["digest"].as_str()).map(file).collect();
    shell::quiet(Command::new("sync").arg("-f").arg(home))?;
    let processors = std::thread::available_parallelism()?.to_string();
    let script = "f=$(mktemp -d -p \"$1\"); gzip -dc \"$2\" | tar -xf - -C \"$f\"";
    let mut command = Command::new("time");
    command.args(["-f", "%U %S", "-o"]).arg(home.join("time"));
    command.args(["xargs", "-n1", "-P", &processors, "sh", "-c", script, "sh"]).arg(folder);
    let mut child = command.stdin(Stdio::piped()).spawn().context("start xargs")?;
    let begun = Instant::now();
    let mut input = child.stdin.take().context("it was asked for")?;
    for layer in &layers {
        writeln!(input, "{}", layer.display())?;
    }
    drop(input);
    if !child.wait()?.success() {
        bail!("the layers can't be unpacked");
    }
    let wall = begun.elapsed().as_secs_f64();
    shell::quiet(Command::new("sync").arg("-f").arg(folder))?;
    let synced = begun.elapsed().as_secs_f64();
    let time = fs::read_to_string(home.join("time"))?;
    let processor = time.split_whitespace().filter_map(|time| time.parse::<f64>().ok()).sum();
    disk.remove()?;
    Ok((Cost { wall, processor }, synced))
}
