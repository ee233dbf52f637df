//! Descriptors and directories of the machine that a process could be left with (CVE-2016-9962, CVE-2024-21626).

use std::os::fd::{AsFd, AsRawFd};

use oci::runtime::{Hook, Hooks};
use runtime::{Create, Rootfs, Stdio};

use super::{Trap, join, join_preserving};
use crate::scene::{Scene, cleanup, finish, pipes};

const LIST: &str = "ls /proc/self/fd";

/// 0, 1, 2 and the directory that `ls` itself reads.
const NOTHING_MORE: &str = "0\n1\n2\n3\n";

#[test]
fn no_directory_of_the_machine_can_be_worked_in() {
    let _leaks: Vec<_> = (0..20).map(|_| leak("/")).collect();
    let places = (3..30).chain((30..100).step_by(9)).map(|n| format!("/proc/self/fd/{n}"));
    let others =
        ["/proc/thread-self/fd/5", "/proc/self/fd/7/../../..", "/proc/1/fd/9", "/proc/self/cwd/../.."];
    for place in places.chain(others.map(str::to_owned)) {
        let mut scene = Scene::new(&["sh", "-c", "pwd; ls /"]);
        scene.process().cwd.clone_from(&place);
        match scene.run() {
            Err(error) => assert!(error.to_string().starts_with("chdir to cwd"), "{place}: {error}"),
            Ok(outcome) => assert!(outcome.output.contains("\nbin\n"), "{place}: {outcome:?}"),
        }
    }
}

/// A descriptor that survives `execve`, as a careless program has them.
fn leak(path: &str) -> std::fs::File {
    let file = std::fs::File::open(path).unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    file
}

/// Descriptors that are passed on deliberately are there when the directory is entered.
#[test]
fn not_even_a_preserved_descriptor_leads_out() {
    let trap = Trap::new();
    let directory = leak(trap.path().to_str().unwrap());
    let descriptor = directory.as_raw_fd();
    let mut scene = Scene::new(&["cat", "canary"]);
    scene.process().cwd = format!("/proc/self/fd/{descriptor}");
    // The runtime resolves the directory below the root file system first, to make it if it lacks.
    let create = |scene: &Scene| {
        runtime::create(Create {
            id: "test",
            spec: &scene.spec,
            rootfs: Rootfs::Path(scene.rootfs()),
            bundle: None,
            stdio: Stdio::Null,
            netns: None,
            preserve_fds: descriptor as u32 - 2,
            die_with_parent: true,
            mounted: None,
            no_pivot: false,
            inherit_keyring: false,
        })
    };
    let error = create(&scene).unwrap_err().to_string();
    assert!(error.starts_with("chdir to cwd"), "{error}");
    let scene = Scene::new(&["sleep", "1000"]);
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let running = created.start().unwrap();
    let mut process = scene.spec.process.clone().unwrap();
    process.args = vec!["cat".to_owned(), "canary".to_owned()];
    process.cwd = format!("/proc/self/fd/{descriptor}");
    let error = join_preserving(descriptor as u32 - 2, &running, &cgroup, &process, Stdio::Null);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("outside of container mount namespace root"), "{error}");
    sys::child::kill_and_reap(running.pidfd.as_fd());
    cleanup(Some(&cgroup));
    trap.is_untouched();
}

#[test]
fn nothing_but_the_standard_streams_is_open() {
    let _leaks: Vec<_> = (0..20).map(|_| leak("/")).collect();
    Scene::script(LIST).prints(NOTHING_MORE.trim());
    let mut scene = Scene::script(&format!("{LIST} > /tmp/init; sleep 1000"));
    let hook = |name: &str| Hook {
        path: "/bin/sh".into(),
        args: ["sh", "-c", &format!("{LIST} > {name}; env >> {name}")].map(str::to_owned).to_vec(),
        ..Hook::default()
    };
    let seen = scene.dir.path().join("seen");
    std::fs::create_dir(&seen).unwrap();
    let outside = |name: &str| hook(seen.join(name).to_str().unwrap());
    scene.spec.hooks = Some(Hooks {
        create_runtime: vec![outside("createRuntime")],
        create_container: vec![outside("createContainer")],
        start_container: vec![hook("/tmp/startContainer")],
        poststart: vec![outside("poststart")],
        ..Hooks::default()
    });
    // What an image says of its environment is for its own program (its loader would run code of its choice in a hook).
    scene.process().env.extend(["LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil"].map(str::to_owned));
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let running = created.start().unwrap();
    let inside = scene.rootfs().join("tmp");
    for file in ["createRuntime", "createContainer", "poststart"].map(|name| seen.join(name)) {
        assert_clean(&std::fs::read_to_string(&file).unwrap(), file.to_str().unwrap());
    }
    assert_clean(&std::fs::read_to_string(inside.join("startContainer")).unwrap(), "startContainer");
    let mut process = scene.spec.process.clone().unwrap();
    process.args = ["sh", "-c", LIST].map(str::to_owned).to_vec();
    let (reader, stdio) = pipes();
    let joined = join(&running, &cgroup, &process, stdio);
    assert_eq!(finish(&joined.unwrap(), reader).output, NOTHING_MORE);
    sys::child::kill_and_reap(running.pidfd.as_fd());
    cleanup(Some(&cgroup));
}

#[track_caller]
fn assert_clean(seen: &str, whose: &str) {
    assert!(seen.starts_with(NOTHING_MORE), "{whose}: {seen}");
    assert!(!seen.contains("LD_"), "{whose}: {seen}");
}
