//! What a private machine holds at a moment: mounts, control groups, interfaces, firewall, processes, files. The same
//! before and after means that nothing leaked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::Host;

/// What is in the root folder to stay: records of builds, hints about contexts.
const KEPT: [&str; 3] = ["builds", "file-index", "quarantine"];

/// How long the kernel and detached helpers may take to be done.
const PATIENCE: Duration = Duration::from_secs(5);

/// A machine that is watched.
pub struct Machine<'h> {
    pub host: &'h Host,
    /// What the names of its kernel objects end with.
    mark: String,
}

impl<'h> Machine<'h> {
    /// Makes what every first use makes: the default bridge, the firewall's table, the skeleton, the image `busybox`.
    pub fn new(host: &'h Host) -> Self {
        host.busybox();
        host.type_in("run --rm busybox true").ok();
        Self::watching(host)
    }

    /// A machine that was made ready before.
    pub fn watching(host: &'h Host) -> Self {
        let id = host.type_in("network inspect -f {{.Id}} bridge").ok();
        Machine { host, mark: id[id.len() - 8..].to_owned() }
    }

    /// What it holds when no container is connected any more: interfaces go with their namespaces, which the kernel takes apart
    /// after their containers' ends.
    pub fn rests(&self) -> BTreeSet<String> {
        testkit::eventually("no container is connected", || {
            !interfaces().iter().any(|name| name.starts_with("veth"))
        });
        self.holds()
    }

    /// Everything of this machine that could be left behind.
    pub fn holds(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        all.extend(self.mounts());
        all.extend(self.cgroups().into_iter().map(|path| format!("cgroup {path}")));
        all.extend(self.processes().into_iter().map(|process| format!("process {process}")));
        all.extend(interfaces().into_iter().map(|name| format!("interface {name}")));
        all.extend(firewall());
        all.extend(self.files());
        all
    }

    /// Waits until it holds what it did `before`; if that does not come, what the difference is.
    pub fn returns_to(&self, before: &BTreeSet<String>) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let now = self.holds();
            if now == *before {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                let left: Vec<_> = now.difference(before).map(|item| format!("left behind {item}")).collect();
                let gone: Vec<_> = before.difference(&now).map(|item| format!("missing {item}")).collect();
                return Err([left, gone].concat().join("\n  "));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Repairs until a check finds nothing more, as detached helpers may be at work at first; if that does not come,
    /// what is found.
    pub fn repair(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let repair = self.embedded("system check --repair");
            let check = self.embedded("system check");
            if repair.code == 0 && check.stdout.contains("No problems found") {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!(
                    "repair {}: {}{}\n  check {}: {}{}",
                    repair.code, repair.stdout, repair.stderr, check.code, check.stdout, check.stderr
                ));
            }
        }
    }

    /// `dhow` that serves itself, whether or not the machine has a daemon.
    pub fn embedded(&self, line: &str) -> testkit::Output {
        let mut command = self.host.command();
        command.args(line.split_whitespace());
        testkit::Typed::new(command).run()
    }

    /// The mounts below its folders.
    fn mounts(&self) -> Vec<String> {
        let home = self.host.home().to_str().expect("UTF-8");
        let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        table.lines().filter(|line| line.contains(home)).map(|line| format!("mount {line}")).collect()
    }

    /// Control groups of containers and builds, in all hierarchies.
    pub fn cgroups(&self) -> Vec<String> {
        let mut found = Vec::new();
        for point in cgroup_mounts() {
            for parent in ["dhow", "dhow-monitors"] {
                self.marked_below(&point.join(parent), &mut found);
            }
        }
        found
    }

    fn marked_below(&self, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                if entry.file_name().to_string_lossy().contains(&self.mark) {
                    found.push(entry.path().display().to_string());
                }
                self.marked_below(&entry.path(), found);
            }
        }
    }

    /// Processes that were given its folders or its marks; not daemons.
    pub fn processes(&self) -> Vec<String> {
        let home = self.host.home().to_str().expect("UTF-8");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("the process table").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let read = |name: &str| {
                let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let command = read("cmdline");
            let ours = command.contains(&self.mark)
                || read("environ").contains(home)
                || read("cgroup").contains(&self.mark);
            let state = read("stat");
            let zombie = state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
            if ours && !zombie && pid != std::process::id() && !command.contains(" daemon ") {
                found.push(format!("{pid} {command}"));
            }
        }
        found
    }

    /// The monitor of the container of this id.
    pub fn monitor(&self, id: &str) -> Option<i32> {
        let wanted = format!("monitor {id}");
        let found = self.processes().into_iter().find(|process| process.contains(&wanted))?;
        found.split(' ').next()?.parse().ok()
    }

    /// The files below root and run folder, without those inside of layers and volumes, what is to stay, and the database's
    /// own.
    fn files(&self) -> Vec<String> {
        let (root, mut found) = (self.host.root(), Vec::new());
        for folder in [root.clone(), self.host.home().join("run")] {
            walk(&folder, &mut found);
        }
        let kept = KEPT.map(|name| format!("file {}", root.join(name).display()));
        // They are made with the first that is in them.
        let folders = ["steps", "cache-mounts"].map(|name| format!("file {}", root.join(name).display()));
        found.retain(|file| !folders.contains(file) && !kept.iter().any(|kept| file.starts_with(kept)));
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        // Their sizes and existence follow SQLite's needs, not ours; what has come of a blob is left for the next pull.
        if name.starts_with("state.db") || name.starts_with("partial-") {
            continue;
        }
        found.push(format!("file {}", path.display()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && name != "diff" && name != "_data" {
            walk(&path, found);
        }
    }
}

fn cgroup_mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let point = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup").then(|| left.split_whitespace().nth(4).map(PathBuf::from))?
    };
    table.lines().filter_map(point).collect()
}

/// The interfaces in the calling thread's network.
pub fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").expect("the interfaces");
    let mut names: Vec<String> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// The firewall's rules and elements in the calling thread's network, one a line.
fn firewall() -> BTreeSet<String> {
    let output = Command::new("nft").args(["list", "ruleset"]).output().expect("nft is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Elements of a set come in no order.
    let text = String::from_utf8_lossy(&output.stdout).replace(", ", "\n");
    text.lines()
        .map(|line| format!("nft {}", line.trim().trim_start_matches("elements = { ").trim_end_matches(" }")))
        .collect()
}
