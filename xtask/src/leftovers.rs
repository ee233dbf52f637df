//! What a test run could leave behind on the machine: mounts, cgroups, interfaces, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::bail;

use crate::shell;

/// The kernel objects of ours that exist at a moment.
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Lists them.
    pub fn take() -> anyhow::Result<Self> {
        let mut found = BTreeSet::new();
        for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
            if line.contains("dhow") {
                found.insert(format!("mount {line}"));
            }
        }
        for folder in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            for controller in folders(Path::new(folder)) {
                for group in folders(Path::new(folder).join(&controller).as_path()) {
                    if group.starts_with("dhow") {
                        found.insert(format!("cgroup {folder}/{controller}/{group}"));
                    }
                }
                if controller.starts_with("dhow") {
                    found.insert(format!("cgroup {folder}/{controller}"));
                }
            }
        }
        for interface in folders(Path::new("/sys/class/net")) {
            if interface.starts_with("dh") || interface.starts_with("veth") {
                found.insert(format!("interface {interface}"));
            }
        }
        // Only processes of binaries that were built here: the machine may have containers of its own.
        for pid in folders(Path::new("/proc")).iter().filter(|name| name.parse::<u32>().is_ok()) {
            let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else { continue };
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = command.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
            // A monitor runs from a mount of its own, in which it has no path; its first argument says whence.
            let program = if program == Path::new("/") { Path::new(words[0].as_ref()) } else { &program };
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            if program.starts_with(shell::target()) && name.starts_with("dhow") {
                found.insert(format!("process {pid} {}", words.join(" ")));
            }
        }
        Ok(Self(found))
    }

    /// An error that names what is in `after` and was not here before.
    pub fn compare(&self, after: &Self) -> anyhow::Result<()> {
        // Cgroup parents that are empty cost nothing and are shared by all runs.
        let shared = |item: &&String| item.ends_with("/dhow") || item.ends_with("/dhow-monitors");
        let left: Vec<_> = after.0.difference(&self.0).filter(|item| !shared(item)).collect();
        if left.is_empty() {
            return Ok(());
        }
        bail!("left behind:\n  {}", left.into_iter().cloned().collect::<Vec<_>>().join("\n  "))
    }
}

fn folders(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
