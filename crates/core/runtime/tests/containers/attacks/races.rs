//! An accomplice in another container exchanges directories for links while the runtime works in a shared volume
//! (CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565).

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use oci::runtime::Device;
use runtime::Stdio;
use rustix::fs::RenameFlags;
use sys::root::Root;

use super::Trap;
use crate::scene::{Scene, cleanup, mount};

/// How often a container is made in each race.
const ROUNDS: usize = 40;

/// Ends the accomplice, also when an attempt panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `attempt` again and again while `a` and `b` of a volume change places, the one a directory and the other a link
/// to the trap. Gives how many attempts came through, and how often the names changed.
fn race(trap: &Trap, prepare: impl Fn(&Path), attempt: impl Fn(&Path) -> bool) -> (usize, u64) {
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir(volume.path().join("a")).unwrap();
    symlink(trap.path(), volume.path().join("b")).unwrap();
    prepare(volume.path());
    exchanging(volume.path(), ["a", "b"], || attempt(volume.path()))
}

/// The same while two names of any folder change places.
fn exchanging(folder: &Path, [a, b]: [&str; 2], attempt: impl Fn() -> bool) -> (usize, u64) {
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    let through = std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = Root::open(folder).unwrap();
            while !stop.load(Ordering::Relaxed) {
                root.rename_with(a, b, RenameFlags::EXCHANGE).unwrap();
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _stop = Stop(&stop);
        (0..ROUNDS).filter(|_| attempt()).count()
    });
    (through, changes.into_inner())
}

/// Both outcomes of a round are right; where things land is what counts, and that both happen shows that it is a race.
#[track_caller]
fn assert_raced(raced: (usize, u64)) {
    let (through, changes) = raced;
    assert!(through > 0 && changes > ROUNDS as u64, "{through} of {ROUNDS} in {changes} changes");
}

fn in_volume(volume: &Path, script: &str) -> Scene {
    Scene::script(script).mount("bind", volume, "/v", &["rbind"])
}

/// Whether it ran; what it printed must not be the canary.
fn ran(scene: &Scene) -> bool {
    match scene.run() {
        Ok(outcome) => {
            assert!(!outcome.output.contains(super::CANARY), "{outcome:?}");
            true
        }
        Err(_) => false,
    }
}

#[test]
fn a_mount_below_a_directory_that_becomes_a_link() {
    let (trap, source) = (Trap::new(), tempfile::tempdir().unwrap());
    let raced = race(
        &trap,
        |_| (),
        |volume| {
            let scene = in_volume(volume, "cat /v/a/canary /v/b/canary");
            let scene = scene.mount("bind", source.path(), "/v/a/deep/er", &["rbind"]);
            let scene = scene.mount("bind", Path::new("/etc/hostname"), "/v/a/file", &["bind"]);
            ran(&scene.mount("tmpfs", Path::new("tmpfs"), "/v/a/other", &["mode=700"]))
        },
    );
    assert_raced(raced);
    assert_eq!(std::fs::read_dir(source.path()).unwrap().count(), 0);
    trap.is_untouched();
}

#[test]
fn a_mount_point_that_becomes_a_link() {
    let (trap, source) = (Trap::new(), tempfile::tempdir().unwrap());
    let raced = race(
        &trap,
        |_| (),
        |volume| {
            let scene = in_volume(volume, "cat /v/a/canary /v/b/canary");
            ran(&scene.mount("bind", source.path(), "/v/a", &["rbind"]))
        },
    );
    assert_raced(raced);
    trap.is_untouched();
}

#[test]
fn a_working_directory_that_becomes_a_link() {
    let trap = Trap::new();
    let raced = race(
        &trap,
        |_| (),
        |volume| {
            let mut scene = in_volume(volume, "cat canary ../canary");
            scene.process().cwd = "/v/a/new/er".to_owned();
            ran(&scene)
        },
    );
    assert_raced(raced);
    trap.is_untouched();
}

#[test]
fn hidden_paths_and_devices_that_become_links() {
    let trap = Trap::new();
    let raced = race(
        &trap,
        |_| (),
        |volume| {
            let mut scene = in_volume(volume, "cat /v/a/canary");
            scene.linux().masked_paths.extend(["/v/a/canary", "/v/a"].map(str::to_owned));
            scene.linux().readonly_paths.push("/v/a/canary".to_owned());
            let device = Device {
                path: "/v/a/null".into(),
                typ: "c".to_owned(),
                major: 1,
                minor: 3,
                ..Device::default()
            };
            scene.linux().devices.push(device);
            ran(&scene)
        },
    );
    assert_raced(raced);
    trap.is_untouched();
}

/// The attacker owns `/dev`: the null device and the terminals change places with links into the kernel's files.
#[test]
fn a_dev_whose_files_become_links() {
    let trap = Trap::new();
    let prepare = |volume: &Path| {
        std::fs::create_dir(volume.join("pts")).unwrap();
        symlink("b", volume.join("null")).unwrap();
    };
    let raced = race(&trap, prepare, |volume| {
        let mut scene = Scene::script("cat /proc/keys /proc/timer_list; stat -c %t:%T /proc/keys");
        scene.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
        let scene = scene.mount("bind", volume, "/dev", &["rbind"]);
        let outcome = scene.run();
        assert!(outcome.as_ref().map_or(true, |outcome| outcome.output == "1:3\n"), "{outcome:?}");
        outcome.is_ok()
    });
    assert_raced(raced);
    trap.is_untouched();
}

/// The kernel's directories of a root file system that somebody else has, too. What is hidden in them stays so, wherever their
/// mount points are.
#[test]
fn a_kernel_directory_that_becomes_a_link() {
    let trap = Trap::new();
    for (name, script, hidden) in [
        ("proc", "until cd /proc && test -e 1/comm; do :; done; stat -c %t:%T keys timer_list", "1:3\n1:3\n"),
        (
            "proc",
            "until cd /proc && test -e 1/comm; do :; done; echo no > sys/kernel/hostname; hostname",
            "box\n",
        ),
        ("sys", "until cd /sys && test -d kernel; do :; done; ls firmware", ""),
        ("dev", "until cd /dev && test -c null; do :; done", ""),
    ] {
        let scene = Scene::script(&format!("exec 2> /tmp/errors; {script}"));
        symlink(trap.path(), scene.rootfs().join("link")).unwrap();
        let raced = exchanging(&scene.rootfs(), [name, "link"], || match scene.run() {
            Ok(outcome) => {
                assert_eq!(outcome.output, hidden, "{script}");
                true
            }
            Err(_) => false,
        });
        assert_raced(raced);
    }
    trap.is_untouched();
}

#[test]
fn a_part_of_a_volume_that_becomes_a_link() {
    let trap = Trap::new();
    let raced = race(
        &trap,
        |volume| std::fs::write(volume.join("a/own"), "own").unwrap(),
        |volume| {
            let part = format!("{}=a", runtime::SUBPATH);
            let scene = Scene::script("cat /v/canary; echo x > /v/new; cat /v/own");
            ran(&scene.mount("bind", volume, "/v", &["rbind", &part]))
        },
    );
    assert_raced(raced);
    trap.is_untouched();
}

/// The attacker owns `/dev`, and the file that the terminal is bound over, or the directory of the terminals, changes places
/// with a link.
#[test]
fn a_console_that_becomes_a_link() {
    let trap = Trap::new();
    for (names, target) in [(["console", "link"], trap.canary()), (["pts", "link"], trap.path().to_owned())] {
        let volume = tempfile::tempdir().unwrap();
        std::fs::create_dir(volume.path().join("pts")).unwrap();
        std::fs::write(volume.path().join("console"), "").unwrap();
        symlink(target, volume.path().join("link")).unwrap();
        let mut scene = Scene::new(&["test", "-c", "/dev/console"]);
        scene.process().terminal = true;
        scene
            .spec
            .mounts
            .retain(|m| !["/dev", "/dev/mqueue", "/dev/shm"].map(Path::new).contains(&&*m.destination));
        scene.spec.mounts.insert(0, mount("bind", volume.path(), "/dev", &["rbind"]));
        let raced = exchanging(volume.path(), names, || {
            let Ok(created) = scene.create(Stdio::Terminal) else { return false };
            let cgroup = created.cgroup.clone();
            let started = created.start();
            if let Ok(running) = &started {
                sys::child::wait(running.pidfd.as_fd()).unwrap();
            }
            cleanup(cgroup.as_ref());
            started.is_ok()
        });
        assert_raced(raced);
    }
    trap.is_untouched();
    let stat = std::fs::metadata(trap.canary()).unwrap();
    assert!(stat.is_file() && stat.uid() == rustix::process::geteuid().as_raw());
}
