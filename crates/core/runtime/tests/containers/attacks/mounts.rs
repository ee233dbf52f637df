//! Root file systems and volumes that put links where the runtime mounts, writes or hides something.

use std::os::unix::fs::symlink;
use std::path::Path;

use oci::runtime::{Device, Hook, Hooks};
use runtime::Stdio;

use super::Trap;
use crate::scene::{Scene, cleanup};

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2026-41579, CVE-2026-47766: a directory of the kernel that is a link.
#[test]
fn kernel_directories_that_are_links() {
    let trap = Trap::new();
    for name in ["proc", "sys", "dev"] {
        for target in [trap.path(), Path::new("/.."), Path::new("/tmp"), Path::new("tmp/../../..")] {
            let scene = Scene::new(&["true"]);
            std::fs::remove_dir(scene.rootfs().join(name)).unwrap();
            symlink(target, scene.rootfs().join(name)).unwrap();
            let error = scene.run().unwrap_err().to_string();
            assert!(error.contains("ordinary directory"), "{name} -> {}: {error}", target.display());
        }
    }
    trap.is_untouched();
}

/// The same below a `/dev` that the image or a volume brings.
#[test]
fn directories_below_dev_that_are_links() {
    let trap = Trap::new();
    for name in ["pts", "shm", "mqueue"] {
        for volume in [false, true] {
            let mut scene = Scene::new(&["true"]);
            scene.spec.mounts.retain(|m| m.destination != Path::new("/dev"));
            let dev = if volume { scene.dir.path().join("volume") } else { scene.rootfs().join("dev") };
            std::fs::create_dir_all(&dev).unwrap();
            symlink(trap.path(), dev.join(name)).unwrap();
            if volume {
                scene = scene.mount("bind", &dev, "/dev", &["rbind"]);
                let last = scene.spec.mounts.pop().unwrap();
                scene.spec.mounts.insert(0, last);
            }
            let error = scene.run().unwrap_err().to_string();
            assert!(error.contains("ordinary directory"), "{name}: {error}");
        }
    }
    trap.is_untouched();
}

/// CVE-2019-18837, CVE-2025-24965: files that the runtime makes in a root file system.
#[test]
fn devices_that_are_links() {
    let trap = Trap::new();
    for name in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "core", "given"] {
        let mut scene = Scene::new(&["true"]);
        scene.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
        symlink(trap.canary(), scene.rootfs().join("dev").join(name)).unwrap();
        symlink(trap.path().join(name), scene.rootfs().join("dev/new")).unwrap();
        for path in ["/dev/given", "/dev/new"] {
            let device =
                Device { path: path.into(), typ: "c".to_owned(), major: 1, minor: 3, ..Device::default() };
            scene.linux().devices.push(device);
        }
        assert!(scene.run().is_err(), "{name}");
    }
    trap.is_untouched();
}

/// CVE-2025-31133: what hides a file is the machine's null device, whatever the image has in its place.
#[test]
fn a_null_device_that_is_a_link() {
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir(volume.path().join("pts")).unwrap();
    symlink("/proc/sysrq-trigger", volume.path().join("null")).unwrap();
    let script = "stat -c '%t:%T' /proc/keys /proc/timer_list; cat /proc/keys | wc -c";
    let mut scene = Scene::script(script);
    scene.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
    let scene = scene.mount("bind", volume.path(), "/dev", &["rbind"]);
    let outcome = scene.run().unwrap();
    assert_eq!(outcome.output, "1:3\n1:3\n0\n");
}

/// CVE-2025-52565: the terminal that is bound over `/dev/console`.
#[test]
fn a_console_over_a_link() {
    let trap = Trap::new();
    // The whole of /dev is the attacker's, and /dev/console leads to the canary.
    let volume = tempfile::tempdir().unwrap();
    for (name, target) in [("pts", trap.path()), ("console", &trap.canary()), ("ptmx", &trap.canary())] {
        symlink(target, volume.path().join(name)).unwrap();
    }
    let mut scene = Scene::new(&["true"]);
    scene.process().terminal = true;
    scene.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
    let scene = scene.mount("bind", volume.path(), "/dev", &["rbind"]);
    assert!(scene.create(Stdio::Terminal).is_err());
    // A terminal file system of its own, but the multiplexer is a link to something that is none.
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir(volume.path().join("pts")).unwrap();
    symlink(trap.canary(), volume.path().join("pts/ptmx")).unwrap();
    symlink(trap.canary(), volume.path().join("pts/0")).unwrap();
    let mut scene = Scene::new(&["true"]);
    scene.process().terminal = true;
    scene.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
    let scene = scene.mount("bind", volume.path(), "/dev", &["rbind"]);
    assert!(scene.create(Stdio::Terminal).is_err());
    // An image whose console is a link: the runtime has a /dev of its own above it.
    let mut scene = Scene::script("stat -c %t:%T /dev/console; tty");
    scene.process().terminal = true;
    symlink(trap.canary(), scene.rootfs().join("dev/console")).unwrap();
    let created = scene.create(Stdio::Terminal).unwrap();
    let cgroup = created.cgroup.clone();
    let running = created.start().unwrap();
    let master = std::fs::File::from(running.master.as_ref().unwrap().try_clone().unwrap());
    let mut said = [0u8; 100];
    let length = std::io::Read::read(&mut &master, &mut said).unwrap();
    assert!(said[..length].starts_with(b"88:0"), "{:?}", String::from_utf8_lossy(&said[..length]));
    sys::child::wait(std::os::fd::AsFd::as_fd(&running.pidfd)).unwrap();
    cleanup(cgroup.as_ref());
    trap.is_untouched();
}

/// CVE-2019-16884, CVE-2025-52881: something in the place of the kernel's own files, so that what is written to them
/// (labels, parameters) goes nowhere, or elsewhere.
#[test]
fn a_mount_over_proc() {
    let trap = Trap::new();
    std::fs::create_dir(trap.path().join("proc")).unwrap();
    for at in ["/proc", "/proc/", "/proc/self/attr", "/proc/sys", "/proc/1/../sys/kernel", "/./proc/self"] {
        for (typ, source, options) in [
            ("bind", trap.path(), &["rbind"][..]),
            ("tmpfs", Path::new("tmpfs"), &[]),
            ("sysfs", Path::new("sysfs"), &[]),
        ] {
            let mut scene = Scene::new(&["true"]).mount(typ, source, at, options);
            scene.linux().sysctl = [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into();
            let error = scene.run().unwrap_err().to_string();
            assert!(error.contains("cannot be mounted because it is"), "{typ} at {at}: {error}");
        }
    }
    // By another way: a link of the image, or of a volume, into /proc.
    for target in ["proc/self", "/proc/1", "proc/../proc/sys/kernel/.."] {
        let scene = Scene::new(&["true"]);
        symlink(target, scene.rootfs().join("link")).unwrap();
        let error = scene.mount("bind", trap.path(), "/link/attr", &["rbind"]).run().unwrap_err().to_string();
        assert!(
            error.contains("inside /proc") || error.contains("No such") || error.contains("no such"),
            "{error}"
        );
    }
    std::fs::remove_dir(trap.path().join("proc")).unwrap();
    trap.is_untouched();
}

/// A parameter is set in the kernel whatever the container has at its path.
#[test]
fn parameters_are_written_through_a_procfs_that_nobody_sees() {
    let trap = Trap::new();
    let mut scene = Scene::script("ls /proc | wc -l; sleep 1000");
    // No /proc at all, and a file of the image that looks like it.
    scene.spec.mounts.retain(|m| m.destination != Path::new("/proc"));
    scene.linux().masked_paths.clear();
    scene.linux().readonly_paths.clear();
    std::fs::create_dir_all(scene.rootfs().join("proc/sys/net/ipv4")).unwrap();
    symlink(trap.canary(), scene.rootfs().join("proc/sys/net/ipv4/ip_forward")).unwrap();
    scene.linux().sysctl = [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into();
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone();
    let path = format!("/proc/{}/ns/net", created.pid);
    let namespace = std::fs::File::open(path).unwrap();
    let inside = std::thread::spawn(move || {
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), None).unwrap();
        std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap()
    });
    let counters = inside.join().unwrap();
    // The first figure of the second line is ip_forward: 1 is on.
    assert!(counters.lines().nth(1).unwrap().starts_with("Ip: 1 "), "{counters}");
    drop(created);
    cleanup(cgroup.as_ref());
    trap.is_untouched();
}

/// Destinations that climb, or pass through links: they end inside.
#[test]
fn destinations_that_lead_out() {
    let (trap, source) = (Trap::new(), Trap::new());
    let above = trap.path().to_str().unwrap().to_owned();
    let deep = format!("/..{above}/new");
    for destination in ["/../../mnt", "/tmp/../../../mnt", deep.as_str(), "/link/new", "/relative/new"] {
        let scene = Scene::script("find / -name canary 2>/dev/null | wc -l");
        symlink(trap.path(), scene.rootfs().join("link")).unwrap();
        symlink(format!("../../../../../..{above}"), scene.rootfs().join("relative")).unwrap();
        let outcome = scene.mount("bind", source.path(), destination, &["rbind"]).run();
        // The one canary that is seen is that of the volume itself.
        assert!(outcome.is_err() || outcome.as_ref().unwrap().output == "1\n", "{destination}: {outcome:?}");
        trap.is_untouched();
    }
    source.is_untouched();
}

/// The working directory is made where it lacks, and hooks and masks resolve paths too.
#[test]
fn paths_that_pass_through_links() {
    let trap = Trap::new();
    let mut scene = Scene::script("pwd");
    symlink(trap.path(), scene.rootfs().join("link")).unwrap();
    symlink(trap.canary(), scene.rootfs().join("file")).unwrap();
    scene.process().cwd = "/link/new".to_owned();
    scene.linux().masked_paths.extend(["/file", "/link", "/link/canary"].map(str::to_owned));
    scene.linux().readonly_paths.extend(["/file", "/link"].map(str::to_owned));
    scene.spec.hooks = Some(Hooks {
        start_container: vec![Hook { path: "/link/hook".into(), ..Hook::default() }],
        ..Hooks::default()
    });
    assert!(scene.run().is_err());
    scene.spec.hooks = None;
    let outcome = scene.run();
    // Either inside, below a directory of the same name, or not at all.
    assert!(outcome.is_err() || outcome.as_ref().unwrap().output.contains("new"), "{outcome:?}");
    trap.is_untouched();
}
