//! A disk that is full, and too few file descriptors: a clear error, nothing half-done, and all is well once there is
//! room again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Host, Mode, Output, Typed};

use crate::machine::Machine;
use crate::operation::{self, Operation};
use crate::settings;

/// What is left of the disk, in KiB.
const ROOM: [u64; 7] = [0, 4, 16, 64, 256, 1024, 1600];
/// How many descriptors a process may have.
const DESCRIPTORS: [u32; 7] = [8, 12, 16, 20, 24, 32, 64];

#[test]
fn on_a_full_disk_nothing_is_half_done_and_there_is_a_way_out() {
    // Later than the machine it is let go of.
    let mut disk = Disk::default();
    let host = Host::new(Mode::Embedded);
    disk.mount(host.home(), "root", "24m");
    let machine = Machine::new(&host);
    operation::prepare(&host);
    let before = machine.rests();
    let ballast = host.root().join("ballast");
    let seed = settings::seed();
    for (number, operation) in operation::ALL.into_iter().enumerate() {
        for room in settings::sample(ROOM.len(), seed, number).into_iter().map(|index| ROOM[index]) {
            operation.begin(&host);
            fill(&ballast, room);
            let output = host.type_in(operation.line).run();
            // On the full disk still: what is there can be looked at and removed.
            host.type_in("ps -a").ok();
            host.type_in("system df").ok();
            host.type_in("image prune -f").ok();
            std::fs::remove_file(&ballast).unwrap();
            let what = format!("{} with {room} KiB of room", operation.line);
            judge(&machine, operation, &output, &["no space left", "disk is full"], &before, &what);
        }
    }
    // Containers and volumes go while it is full.
    host.type_in("run -d --name box -v /anonymous -v named:/data -p 8080:80 busybox sleep 1000").ok();
    fill(&ballast, 0);
    host.type_in("stop -t 0 box").ok();
    assert_eq!(host.type_in("inspect -f {{.State.ExitCode}} box").ok(), "137");
    host.type_in("rm -v box").ok();
    host.type_in("volume rm named").ok();
    host.type_in("system prune -f --volumes").ok();
    std::fs::remove_file(&ballast).unwrap();
    // It has taken the default network off the machine.
    host.type_in("run --rm busybox true").ok();
    machine.repair().unwrap();
    machine.returns_to(&before).unwrap();
}

#[test]
fn with_few_descriptors_nothing_is_half_done() {
    let host = Host::new(Mode::Embedded);
    let machine = Machine::new(&host);
    operation::prepare(&host);
    let before = machine.rests();
    let seed = settings::seed();
    for (number, operation) in operation::ALL.into_iter().enumerate() {
        let tried = settings::sample(DESCRIPTORS.len(), seed, number);
        for descriptors in tried.into_iter().map(|index| DESCRIPTORS[index]) {
            operation.begin(&host);
            let output = limited(&host, descriptors, operation.line);
            let what = format!("{} with {descriptors} descriptors", operation.line);
            judge(
                &machine,
                operation,
                &output,
                &["too many open files", "unable to open database file"],
                &before,
                &what,
            );
        }
    }
}

/// `dhow` in which no process has more descriptors than that.
fn limited(host: &Host, descriptors: u32, line: &str) -> Output {
    let inner = host.command();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}:{descriptors}")).arg(inner.get_program());
    command.args(line.split_whitespace());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(host.home());
    Typed::new(command).run()
}

#[track_caller]
fn judge(
    machine: &Machine<'_>,
    operation: &Operation,
    output: &Output,
    reasons: &[&str],
    before: &BTreeSet<String>,
    what: &str,
) {
    let told = format!("{what}: exit code {}, {}", output.code, output.stderr.trim());
    assert!(!output.stderr.contains("panicked"), "{told}");
    let text = operation.told(&output.stdout, &output.stderr);
    assert!(
        output.code == 0
            || output.code == operation.code
            || reasons.iter().any(|reason| text.contains(reason)),
        "no reason given: {told}"
    );
    machine.repair().unwrap_or_else(|found| panic!("{told}\n{found}"));
    let state = operation.state(machine.host);
    assert!(operation.allows(&state, output.code, true), "is {state:?} after {told}");
    for line in operation.after {
        machine.host.type_in(line).run();
    }
    machine.returns_to(before).unwrap_or_else(|left| panic!("{told}\n  {left}"));
}

/// A small disk of its own.
#[derive(Default)]
pub struct Disk(Option<PathBuf>);

impl Disk {
    /// Mounts it as a folder in the home of a machine.
    pub fn mount(&mut self, home: &Path, folder: &str, size: &str) -> PathBuf {
        let path = home.join(folder);
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size},mode=711");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status();
        assert!(mounted.unwrap().success());
        self.0 = Some(path.clone());
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        let unmounted = Command::new("umount").arg("--lazy").arg(path).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", path.display());
        // The machine could not delete the mount point.
        let _ = path.parent().map(std::fs::remove_dir_all);
    }
}

/// Fills the disk up to so many KiB.
pub fn fill(ballast: &Path, room: u64) {
    let folder = ballast.parent().unwrap();
    let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (blocks, size) = text.trim().split_once(' ').unwrap();
    let free = blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap();
    let length = free.saturating_sub(room << 10);
    let made = Command::new("fallocate").arg("-l").arg(length.max(1).to_string()).arg(ballast).status();
    assert!(made.unwrap().success());
}
