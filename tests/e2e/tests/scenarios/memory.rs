//! What containers and an idle daemon cost. Figures of a build without optimisation are several times these, so the
//! promises are made for the release binary.

use std::fs;
use std::path::Path;

use testkit::{Host, Mode, eventually};

const MIB: u64 = 1024;
const MONITOR_MAX: u64 = MIB;
const DAEMON_MAX: u64 = 15 * MIB;

/// A field of a process in KiB; 0 when the process is gone.
fn kib(process: &Path, file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(process.join(file)).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Folders in `/proc` of the processes of our binary whose environment names this machine's root, and whose arguments
/// have `word`.
fn processes(host: &Host, word: &str) -> Vec<std::path::PathBuf> {
    let root = format!("DHOW_ROOT={}", host.root().display()).into_bytes();
    let has = |path: &Path, wanted: &[u8]| {
        fs::read(path).is_ok_and(|bytes| bytes.split(|&byte| byte == 0).any(|part| part == wanted))
    };
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    entries.filter(|p| has(&p.join("cmdline"), word.as_bytes()) && has(&p.join("environ"), &root)).collect()
}

#[test]
fn a_container_costs_little_and_an_idle_daemon_as_well() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo new > /new\n");
    let names: Vec<String> = (0..8).map(|number| format!("box{number}")).collect();
    for name in &names {
        host.type_in(&format!("run -d --name {name} busybox sleep 1000")).ok();
    }
    let monitors = processes(&host, "monitor");
    assert_eq!(monitors.len(), names.len(), "one monitor a container");
    for monitor in &monitors {
        let pss = || kib(monitor, "smaps_rollup", "Pss:");
        eventually("a monitor is small once its start is over", || (1..=MONITOR_MAX).contains(&pss()));
    }
    for _ in 0..100 {
        host.type_in("ps -q").ok();
    }
    host.type_in("build -q ctx").ok();
    host.type_in("save -o image.tar busybox").ok();
    host.type_in("load -i image.tar").ok();
    host.type_in(&format!("rm -f {}", names.join(" "))).ok();
    let daemon = processes(&host, "daemon");
    assert_eq!(daemon.len(), 1, "one daemon");
    let resident = || kib(&daemon[0], "status", "VmRSS:");
    eventually("it is small again", || (1..=DAEMON_MAX).contains(&resident()));
    // With no container and no daemon nothing runs: the host looks for leftovers, and this looks for processes.
    eventually("monitors leave", || processes(&host, "monitor").is_empty());
}
