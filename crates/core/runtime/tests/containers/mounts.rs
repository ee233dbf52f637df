//! Mounts of every kind.

use std::path::Path;

use runtime::{Create, Rootfs, Stdio};

use crate::scene::{Scene, cleanup, finish, pipes};

#[test]
fn kernel_file_systems_and_devices() {
    Scene::script(
        "stat -f -c %T /proc /sys /dev /dev/pts /dev/mqueue /dev/shm; ls /dev | grep -v core | sort | xargs",
    )
    .prints(
        "proc\nsysfs\ntmpfs\ndevpts\nUNKNOWN\ntmpfs\n\
         fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
    );
    Scene::script(
        "echo x > /dev/null; head -c 3 /dev/zero | wc -c; readlink /dev/fd; readlink /dev/ptmx; stat -c %a /dev/null",
    )
    .prints("3\n/proc/self/fd\npts/ptmx\n666");
}

#[test]
fn binds_with_their_options() {
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("file"), "content").unwrap();
    let bind = |options: &[&str], script: &str| {
        Scene::script(script).mount("bind", host.path(), "/a/b/mount", options).run().unwrap()
    };
    let outcome = bind(&["rbind", "rprivate"], "cat /a/b/mount/file; touch /a/b/mount/new");
    assert_eq!((outcome.code, outcome.output.as_str()), (0, "content"));
    assert!(host.path().join("new").exists());
    for options in [["rbind", "ro"], ["rbind", "rro"]] {
        let outcome = bind(&options, "touch /a/b/mount/x");
        assert!(outcome.output.contains("Read-only"), "{outcome:?}");
    }
    let outcome = bind(&["bind", "noexec", "nosuid", "nodev"], "grep /a/b/mount /proc/self/mounts");
    assert!(outcome.output.contains("rw,nosuid,nodev,noexec"), "{outcome:?}");
    let file = host.path().join("file");
    Scene::script("cat /etc/some/file").mount("bind", &file, "/etc/some/file", &["rbind"]).prints("content");
}

#[test]
fn a_part_of_a_source_is_found_below_it_whatever_links_say() {
    let (volume, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(volume.path().join("in")).unwrap();
    std::fs::write(volume.path().join("in/file"), "mine").unwrap();
    std::fs::write(outside.path().join("file"), "secret").unwrap();
    std::os::unix::fs::symlink("/in", volume.path().join("good")).unwrap();
    std::os::unix::fs::symlink(outside.path(), volume.path().join("evil")).unwrap();
    let part = |name: &str| {
        let option = format!("{}={name}", runtime::SUBPATH);
        Scene::script("cat /v/file").mount("bind", volume.path(), "/v", &["rbind", &option]).run()
    };
    for name in ["in", "good", "../in"] {
        assert_eq!(part(name).unwrap().output, "mine", "{name}");
    }
    assert!(part("evil").is_err());
}

#[test]
fn a_bind_source_that_is_missing_is_named() {
    let error =
        Scene::new(&["true"]).mount("bind", Path::new("/no/such"), "/x", &["rbind"]).run().unwrap_err();
    let expected = r#"error mounting "/no/such" to rootfs at "/x": no such file or directory"#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_directory_and_a_file_do_not_mix() {
    let host = tempfile::tempdir().unwrap();
    let error =
        Scene::new(&["true"]).mount("bind", host.path(), "/bin/busybox", &["rbind"]).run().unwrap_err();
    assert!(error.to_string().ends_with("not a directory"), "{error}");
}

#[test]
fn mount_points_stay_inside_whatever_links_say() {
    let host = tempfile::tempdir().unwrap();
    let scene = Scene::script("test -d /inside/x && echo yes");
    let root = scene.rootfs();
    std::fs::create_dir(root.join("inside")).unwrap();
    std::os::unix::fs::symlink("../../../../inside", root.join("up")).unwrap();
    scene.mount("bind", host.path(), "/up/x", &["rbind"]).prints("yes");
    let mut scene = Scene::new(&["true"]);
    let canary = scene.dir.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::os::unix::fs::symlink(&canary, scene.rootfs().join("out")).unwrap();
    let look = format!("test -d {}/x && echo inside", canary.display());
    scene.process().args = ["sh", "-c", &look].map(str::to_owned).into();
    let scene = scene.mount("bind", host.path(), "/out/x", &["rbind"]);
    scene.prints("inside");
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
}

/// Links as images have them: `/etc/resolv.conf` of Ubuntu, `/var/run`, directories of data; and as none should.
fn linked(mut scene: Scene) -> Scene {
    let root = scene.rootfs();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    for (name, target) in [
        ("etc/resolv.conf", "../run/systemd/resolve/stub"),
        ("data", "/nosuch/dir"),
        ("work", "nowhere/../else"),
        ("jump", "/proc/self/cwd/x"),
        ("loop", "loop/x"),
    ] {
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    }
    scene.process().cwd = "/work/x".to_owned();
    scene
}

#[test]
fn what_a_dangling_link_means_is_made_and_mounted_on() {
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let script = "cat /etc/resolv.conf /run/systemd/resolve/stub; grep -c ' /nosuch/dir ' /proc/self/mounts; ls /data; pwd";
    linked(Scene::script(script))
        .mount("bind", &file, "/etc/resolv.conf", &["bind"])
        .mount("bind", host.path(), "/data", &["rbind"])
        .prints("contentcontent1\nfile\n/else/x");
    for target in ["/loop", "/jump"] {
        let scene = linked(Scene::new(&["true"])).mount("tmpfs", Path::new("tmpfs"), target, &[]);
        let error = scene.run().unwrap_err().to_string();
        assert!(error.contains(target) && error.ends_with("too many levels of symbolic links"), "{error}");
    }
}

#[test]
fn tmpfs_takes_data_and_the_mode_of_what_it_covers() {
    let scene = Scene::script("stat -c %a /tmp /data; grep -c size=1024k /proc/self/mounts; touch /data/x")
        .mount("tmpfs", Path::new("tmpfs"), "/tmp", &["nosuid", "size=1m"])
        .mount("tmpfs", Path::new("tmpfs"), "/data", &["ro", "mode=700"]);
    let tmp = scene.rootfs().join("tmp");
    std::fs::set_permissions(tmp, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let outcome = scene.run().unwrap();
    assert!(outcome.output.starts_with("1777\n700\n1\n"), "{outcome:?}");
    assert!(outcome.output.contains("Read-only"), "{outcome:?}");
}

#[test]
fn an_option_that_a_file_system_does_not_know_is_told_in_its_words() {
    let scene = Scene::new(&["true"]).mount("tmpfs", Path::new("tmpfs"), "/tmp", &["nonsense=1"]);
    let error = scene.run().unwrap_err().to_string();
    assert!(error.contains("tmpfs: Unknown parameter 'nonsense'"), "{error}");
}

#[test]
fn control_groups_show_the_container_as_root() {
    let outcome =
        Scene::script("cat /proc/self/cgroup | sort | tail -1; ls /sys/fs/cgroup; touch /sys/fs/cgroup/x")
            .run();
    let outcome = outcome.unwrap();
    assert!(outcome.output.contains("Read-only"), "{outcome:?}");
    assert!(outcome.output.lines().next().unwrap().ends_with(":/"), "{outcome:?}");
    assert!(outcome.output.lines().count() > 3, "{outcome:?}");
    let scene = Scene::script("ls /sys/fs/cgroup | wc -l; ls /sys/fs/cgroup/* | wc -l");
    let outcome = scene.without(oci::runtime::NamespaceType::Cgroup).run().unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn ids_of_a_mount_are_mapped() {
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("file"), "").unwrap();
    std::os::unix::fs::chown(host.path().join("file"), Some(1000), Some(1000)).unwrap();
    let mut scene = Scene::new(&["stat", "-c", "%u %g", "/m/file"]).mount(
        "bind",
        host.path(),
        "/m",
        &["rbind", "ridmap"],
    );
    let map = oci::runtime::IdMapping { container_id: 1000, host_id: 5000, size: 1 };
    let mount = scene.spec.mounts.last_mut().unwrap();
    (mount.uid_mappings, mount.gid_mappings) = (vec![map], vec![map]);
    match scene.run() {
        Ok(outcome) => assert_eq!(outcome.output, "5000 5000\n"),
        // Not every file system can.
        Err(error) => assert!(error.to_string().contains("invalid argument"), "{error}"),
    }
}

#[test]
fn layers_are_a_root_file_system_and_no_mount_shows_on_the_machine() {
    let scene =
        Scene::script("touch /new; cat /top; rmdir /tmp; cat /proc/self/mounts | grep -c ' / overlay'");
    let dir = scene.dir.path();
    for name in ["top", "upper", "work"] {
        std::fs::create_dir(dir.join(name)).unwrap();
    }
    std::fs::write(dir.join("top/top"), "layer\n").unwrap();
    let overlay = sys::mount::Overlay {
        lower: vec![dir.join("top"), scene.rootfs()],
        upper: Some(dir.join("upper")),
        work: Some(dir.join("work")),
        volatile: false,
    };
    let (reader, stdio) = pipes();
    let created = runtime::create(Create {
        id: "test",
        spec: &scene.spec,
        rootfs: Rootfs::Overlay(overlay),
        mounted: None,
        bundle: None,
        stdio,
        netns: None,
        preserve_fds: 0,
        die_with_parent: true,
        no_pivot: false,
        inherit_keyring: false,
    });
    let created = created.unwrap();
    let machine = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!machine.contains(dir.to_str().unwrap()), "{machine}");
    let cgroup = created.cgroup.clone();
    let outcome = finish(&created.start().unwrap(), reader);
    cleanup(cgroup.as_ref());
    assert!(outcome.output.starts_with("layer\n"), "{outcome:?}");
    assert!(dir.join("upper/new").exists());
}

#[test]
fn devices_of_the_specification() {
    let mut scene = Scene::script("stat -c '%F %t:%T %a %u' /dev/sub/mem /dev/pipe");
    scene.linux().devices = vec![
        oci::runtime::Device {
            path: "/dev/sub/mem".into(),
            typ: "c".to_owned(),
            major: 1,
            minor: 1,
            file_mode: Some(0o640),
            uid: Some(5),
            gid: None,
        },
        oci::runtime::Device { path: "/dev/pipe".into(), typ: "p".to_owned(), ..Default::default() },
    ];
    scene.prints("character special file 1:1 640 5\nfifo 0:0 666 0");
    let _ = Stdio::Null;
}

#[test]
fn what_is_mounted_is_changed_where_it_is() {
    let script = "grep ' /data ' /proc/self/mounts | cut -d' ' -f4 | tr , '\\n' | grep -e ^ro -e ^noexec -e ^size | sort; touch /data/x";
    let scene = Scene::script(script)
        .mount("tmpfs", Path::new("tmpfs"), "/data", &["size=1m", "mode=755"])
        .mount("tmpfs", Path::new("tmpfs"), "/data", &["remount", "ro", "size=2m"])
        .mount("bind", Path::new(""), "/data", &["bind", "remount", "noexec", "ro"]);
    let outcome = scene.run().unwrap();
    assert!(outcome.output.starts_with("noexec\nro\nsize=2048k\n"), "{outcome:?}");
    assert!(outcome.output.contains("Read-only"), "{outcome:?}");
    let scene = Scene::new(&["true"]).mount("tmpfs", Path::new("tmpfs"), "/data", &["remount", "ro"]);
    let error = scene.run().unwrap_err().to_string();
    assert!(error.contains("\"/data\""), "{error}");
}

#[test]
fn a_tmpfs_starts_with_what_it_covers() {
    let script = "stat -c '%n %a %u:%g %F' /data/sub /data/sub/file /data/link; cat /data/sub/file; echo new > /data/sub/file; \
        stat -c %a /data; readlink /data/link; grep ' /data ' /proc/self/mounts | cut -d' ' -f1,3";
    let scene = Scene::script(script).mount("tmpfs", Path::new("tmpfs"), "/data", &["tmpcopyup", "nosuid"]);
    let data = scene.rootfs().join("data");
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::write(data.join("sub/file"), "old\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", data.join("link")).unwrap();
    std::os::unix::fs::chown(data.join("sub"), Some(5), Some(6)).unwrap();
    for (path, mode) in [(data.clone(), 0o750), (data.join("sub"), 0o711), (data.join("sub/file"), 0o640)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    scene.prints(
        "/data/sub 711 5:6 directory\n/data/sub/file 640 0:0 regular file\n/data/link 777 0:0 symbolic link\nold\n750\n/etc/passwd\ntmpfs tmpfs",
    );
    assert_eq!(std::fs::read_to_string(data.join("sub/file")).unwrap(), "old\n");
    let readonly =
        Scene::script("touch /etc/x").mount("tmpfs", Path::new("tmpfs"), "/etc", &["tmpcopyup", "ro"]);
    assert!(readonly.run().unwrap().output.contains("Read-only"));
}

#[test]
fn words_for_all_below_count_for_new_file_systems_too() {
    let scene =
        Scene::script("touch /data/x; grep ' /data ' /proc/self/mounts | cut -d' ' -f4 | cut -d, -f1-3")
            .mount("tmpfs", Path::new("tmpfs"), "data", &["rro", "rnosuid", "rnodev"]);
    let outcome = scene.run().unwrap();
    assert!(
        outcome.output.contains("Read-only") && outcome.output.ends_with("ro,nosuid,nodev\n"),
        "{outcome:?}"
    );
}

#[test]
fn ids_are_mapped_for_binds_alone() {
    let mut scene = Scene::new(&["true"]).mount("tmpfs", Path::new("tmpfs"), "/data", &["idmap"]);
    assert!(matches!(scene.run(), Err(runtime::Error::Unsupported { .. })));
    let map = oci::runtime::IdMapping { container_id: 0, host_id: 5000, size: 1 };
    let mount = scene.spec.mounts.last_mut().unwrap();
    mount.options.clear();
    (mount.uid_mappings, mount.gid_mappings) = (vec![map], vec![map]);
    assert!(matches!(scene.run(), Err(runtime::Error::Unsupported { .. })));
    let host = tempfile::tempdir().unwrap();
    let scene = Scene::new(&["true"]).mount("bind", host.path(), "/data", &["rbind", "ridmap"]);
    let error = scene.run().unwrap_err().to_string();
    assert!(error.contains("mappings"), "{error}");
}

#[test]
fn version_2_groups_are_mounted_alone_by_their_own_type() {
    if !std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - cgroup2 ") {
        return;
    }
    let mut scene = Scene::script("test -e /sys/fs/cgroup/cgroup.procs && echo procs");
    scene.spec.mounts.iter_mut().filter(|m| m.typ == "cgroup").for_each(|m| m.typ = "cgroup2".to_owned());
    scene.prints("procs");
}

#[test]
fn the_root_is_as_private_or_shared_as_it_is_asked_to_be() {
    let show = "grep -c -e ' / / .*shared:' /proc/self/mountinfo; grep ' / ' /proc/self/mountinfo | grep -c -e unbindable";
    for (word, expected) in [("", "0\n0"), ("rprivate", "0\n0"), ("unbindable", "0\n1")] {
        let mut scene = Scene::script(show);
        scene.linux().rootfs_propagation = word.to_owned();
        let outcome = scene.run().unwrap();
        assert_eq!(outcome.output.trim(), expected, "{word}");
    }
    let mut scene = Scene::script("grep ' / ' /proc/self/mountinfo | grep -c shared:");
    scene.linux().rootfs_propagation = "shared".to_owned();
    scene.prints("1");
    scene.linux().rootfs_propagation = "public".to_owned();
    assert!(matches!(scene.run(), Err(runtime::Error::Spec { .. })));
}
