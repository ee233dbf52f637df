//! What a container must not be able to do or see.

use std::os::unix::fs::symlink;
use std::path::Path;

use oci::runtime::{Process, SeccompAction, User};

use crate::scene::Scene;

#[test]
fn masked_and_readonly_paths() {
    Scene::script("cat /proc/keys /proc/timer_list | wc -c; ls -A /sys/firmware | wc -l").prints("0\n0");
    let outcome = Scene::script("echo 1 > /proc/sys/kernel/shmmni").run().unwrap();
    assert!(outcome.output.contains("Read-only"), "{outcome:?}");
    // The mask is the machine's device: its mode must stay as it is.
    let outcome = Scene::script("chmod 600 /proc/keys").run().unwrap();
    assert!(outcome.output.contains("Read-only"), "{outcome:?}");
}

#[test]
fn a_null_device_of_the_image_masks_nothing() {
    let scene = Scene::script("cat /proc/keys | wc -c");
    let mut scene = scene;
    scene.spec.mounts.retain(|m| m.destination != Path::new("/dev") && !m.destination.starts_with("/dev"));
    let error = {
        std::fs::write(scene.rootfs().join("dev/null"), "attack").unwrap();
        scene.run().unwrap_err()
    };
    assert!(error.to_string().contains("/dev/null"), "{error}");
}

#[test]
fn a_readonly_root() {
    let mut scene = Scene::script("touch /file; touch /dev/shm/ok && echo shm");
    scene.spec.root.as_mut().unwrap().readonly = true;
    let outcome = scene.run().unwrap();
    assert!(
        outcome.output.contains("Read-only file system") && outcome.output.ends_with("shm\n"),
        "{outcome:?}"
    );
}

#[test]
fn capabilities_are_those_of_docker_and_inheritable_ones_are_none() {
    Scene::script("grep Cap /proc/self/status | tr -s '\\t' ' '").prints(
        "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\nCapBnd: 00000000a80425fb\nCapAmb: 0000000000000000",
    );
    let mut scene = Scene::script("grep Cap /proc/self/status | tr -s '\\t' ' '");
    scene.process().user = User { uid: 1000, gid: 1000, ..User::default() };
    let caps = scene.process().capabilities.as_mut().unwrap();
    let one = vec!["CAP_NET_BIND_SERVICE".to_owned()];
    (caps.effective, caps.permitted, caps.inheritable) = (one.clone(), one.clone(), one.clone());
    caps.ambient = one;
    scene.prints(
        "CapInh: 0000000000000400\nCapPrm: 0000000000000400\nCapEff: 0000000000000400\nCapBnd: 00000000a80425fb\nCapAmb: 0000000000000400",
    );
}

#[test]
fn users_have_the_groups_they_are_given() {
    let mut scene = Scene::new(&["id"]);
    scene.process().user = User { uid: 5, gid: 6, additional_gids: vec![6, 7, 8], ..User::default() };
    scene.prints("uid=5 gid=6 groups=6,7,8");
    let mut scene = Scene::new(&["id", "-G"]);
    scene.process().user = User { uid: 5, gid: 6, ..User::default() };
    scene.prints("6");
}

#[test]
fn no_new_privileges() {
    let mut scene = Scene::script("grep NoNewPrivs /proc/self/status | tr -s '\\t' ' '");
    scene.process().no_new_privileges = true;
    scene.prints("NoNewPrivs: 1");
}

#[test]
fn nothing_is_left_open_and_no_signal_is_blocked() {
    let leak = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    // 0, 1, 2 and the directory that ls reads.
    Scene::script("ls /proc/self/fd | wc -l; grep -e SigBlk -e SigIgn /proc/self/status | tr -s '\\t' ' '")
        .prints("4\nSigBlk: 0000000000000000\nSigIgn: 0000000000000000");
}

#[test]
fn devices_are_not_made_behind_a_link() {
    let mut scene = Scene::new(&["true"]);
    scene.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
    let canary = scene.dir.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::remove_dir(scene.rootfs().join("dev")).unwrap();
    symlink("/../canary", scene.rootfs().join("dev")).unwrap();
    assert!(scene.run().is_err());
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
}

#[test]
fn nothing_goes_into_proc() {
    let source = tempfile::tempdir().unwrap();
    let bind = |at: &str| Scene::new(&["true"]).mount("bind", source.path(), at, &["rbind"]).run();
    for at in ["/proc", "/proc/self/attr", "/proc/sys"] {
        let error = bind(at).unwrap_err().to_string();
        assert!(error.contains("cannot be mounted because it is"), "{at}: {error}");
    }
    let scene = Scene::new(&["true"]);
    symlink("proc/1", scene.rootfs().join("link")).unwrap();
    let scene = scene.mount("bind", source.path(), "/link/attr", &["rbind"]);
    assert!(scene.run().is_err());
}

#[test]
fn dockers_profile_blocks_what_it_should() {
    let caps = runtime::defaults::CAPABILITIES.map(str::to_owned).to_vec();
    let profile = runtime::seccomp::docker_default(&caps);
    let outcome =
        Scene::script("grep Seccomp: /proc/self/status; unshare -m true; echo $?; mount -t tmpfs x /tmp")
            .seccomp(profile)
            .run()
            .unwrap();
    assert!(outcome.output.contains("Seccomp:\t2\n"), "{outcome:?}");
    assert!(
        outcome.output.contains("Operation not permitted") || outcome.output.contains("denied"),
        "{outcome:?}"
    );
}

#[test]
fn a_filter_is_loaded_without_privileges_too() {
    let profile = oci::runtime::Seccomp {
        default_action: SeccompAction::Allow,
        syscalls: vec![oci::runtime::SeccompRule {
            names: vec!["mkdir".to_owned(), "mkdirat".to_owned()],
            action: SeccompAction::Errno,
            errno_ret: Some(libc::ENOTEMPTY as u32),
            args: Vec::new(),
        }],
        ..oci::runtime::Seccomp::default()
    };
    let mut scene = Scene::script("mkdir /tmp/x").seccomp(profile);
    *scene.process() = Process {
        no_new_privileges: true,
        user: User { uid: 1000, gid: 1000, ..User::default() },
        capabilities: None,
        ..scene.process().clone()
    };
    let outcome = scene.run().unwrap();
    assert!(outcome.output.contains("Directory not empty"), "{outcome:?}");
}

#[test]
fn the_machines_null_device_is_not_handed_out() {
    use std::os::unix::fs::MetadataExt;
    let changed = || {
        std::fs::metadata("/dev/null")
            .map(|null| (null.mode(), null.uid(), null.ctime(), null.ctime_nsec()))
            .unwrap()
    };
    let before = changed();
    let script = "chmod 600 /proc/self/fd/0; chown 5 /proc/self/fd/0; chmod 666 /proc/self/fd/0; stat -L -c '%t:%T %u' /proc/self/fd/0";
    Scene::script(script).prints("1:3 5");
    assert_eq!(changed(), before);
    // A container may spoil its own device, and has an empty file then.
    let mut scene = Scene::script("cat; stat -L -c %F /proc/self/fd/0").mount(
        "bind",
        Path::new("dev"),
        "/dev",
        &["rbind"],
    );
    scene.spec.mounts.retain(|m| !m.destination.starts_with("/dev") || m.typ == "bind");
    std::fs::create_dir(scene.dir.path().join("dev")).unwrap();
    std::fs::write(scene.dir.path().join("dev/null"), "no device").unwrap();
    scene.linux().masked_paths.clear();
    scene.prints("regular empty file");
    assert_eq!(changed(), before);
}
