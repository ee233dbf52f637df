//! From create to the exit code.

use std::os::fd::AsFd;

use oci::runtime::{Hook, Hooks, NamespaceType, Rlimit};
use runtime::{Error, Stdio};

use crate::scene::{Scene, cleanup, eventually, finish, pipes};

#[test]
fn the_exit_code_and_the_output_come_back() {
    let outcome = Scene::script("echo hello; exit 42").run().unwrap();
    assert_eq!((outcome.code, outcome.output.as_str()), (42, "hello\n"));
    let outcome = Scene::script("kill -TERM $$; kill -KILL 1; exit 3").run().unwrap();
    assert_eq!(outcome.code, 3, "init is deaf to signals that it does not handle");
}

#[test]
fn a_created_container_waits_and_a_dropped_one_is_gone() {
    let scene = Scene::script("echo ran");
    let (reader, stdio) = pipes();
    let created = scene.create(stdio).unwrap();
    let (pid, cgroup) = (created.pid, created.cgroup.clone());
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop(created);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let mut output = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(reader), &mut output).unwrap();
    assert_eq!(output, "");
    cleanup(cgroup.as_ref());
}

#[test]
fn namespaces_are_its_own() {
    Scene::script("echo $$; hostname; ls /sys/class/net; ps | grep -c '[0-9]'; readlink /proc/self/ns/ipc | grep -c ipc")
        .prints("1\nbox\nlo\n3\n1");
    let mut scene = Scene::script("readlink /proc/self/ns/uts").without(NamespaceType::Uts);
    scene.spec.hostname.clear();
    let own = std::fs::read_link("/proc/self/ns/uts").unwrap();
    scene.prints(own.to_str().unwrap());
}

#[test]
fn programs_that_cannot_be_executed_are_told_apart() {
    let error = |args: &[&str]| Scene::new(args).run().unwrap_err();
    let missing = error(&["nosuch"]);
    assert_eq!(missing.to_string(), r#"exec: "nosuch": executable file not found in $PATH"#);
    assert_eq!(missing.exit_code(), 127);
    let missing = error(&["/nosuch"]);
    assert_eq!(missing.to_string(), r#"exec: "/nosuch": stat /nosuch: no such file or directory"#);
    assert_eq!(missing.exit_code(), 127);
    let directory = error(&["/etc"]);
    assert_eq!(directory.to_string(), r#"exec: "/etc": is a directory"#);
    assert_eq!(directory.exit_code(), 126);
    let scene = Scene::new(&["/etc/file"]);
    std::fs::write(scene.rootfs().join("etc/file"), "text").unwrap();
    let denied = scene.run().unwrap_err();
    assert_eq!(denied.to_string(), r#"exec: "/etc/file": permission denied"#);
    assert_eq!(denied.exit_code(), 126);
    let path = scene.rootfs().join("etc/file");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let format = scene.run().unwrap_err();
    assert_eq!(format.to_string(), r#"exec: "/etc/file": exec format error"#);
    assert_eq!(format.exit_code(), 126);
    std::fs::write(&path, "#!/nosuch\n").unwrap();
    assert_eq!(scene.run().unwrap_err().exit_code(), 127);
}

#[test]
fn a_specification_without_its_parts_is_refused() {
    let mut scene = Scene::new(&["true"]);
    scene.process().args.clear();
    assert!(matches!(scene.run(), Err(Error::Spec { .. })));
    assert!(matches!(Scene::new(&["true"]).without(NamespaceType::Mount).run(), Err(Error::Spec { .. })));
    let mut scene = Scene::new(&["true"]);
    scene.linux().sysctl.insert("kernel.core_pattern".to_owned(), "x".to_owned());
    assert!(matches!(scene.run(), Err(Error::Spec { .. })));
}

#[test]
fn the_environment_the_directory_and_the_home() {
    let mut scene = Scene::script("pwd; echo $HOME $FOO; env | wc -l");
    scene.process().cwd = "/made/on the way".to_owned();
    scene.process().env.push("FOO=bar".to_owned());
    std::fs::write(scene.rootfs().join("etc/passwd"), "u:x:0:0::/home/u:/bin/sh\n").unwrap();
    // HOME, PATH, FOO, and PWD and SHLVL of the shell.
    scene.prints("/made/on the way\n/home/u bar\n5");
}

#[test]
fn sysctls_and_limits() {
    let mut scene = Scene::script(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni; ulimit -n; ulimit -Hn; umask",
    );
    let sysctl = &mut scene.linux().sysctl;
    sysctl.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    sysctl.insert("kernel.shmmni".to_owned(), "77".to_owned());
    let limit = Rlimit { typ: "RLIMIT_NOFILE".to_owned(), soft: 10, hard: 20 };
    scene.process().rlimits.push(limit);
    scene.prints("1\n77\n10\n20\n0022");
}

#[test]
fn a_limit_above_ours_is_a_warning() {
    let mut scene = Scene::new(&["true"]);
    let limit = Rlimit { typ: "RLIMIT_NOFILE".to_owned(), soft: 1 << 30, hard: 1 << 30 };
    scene.process().rlimits.push(limit);
    scene.process().oom_score_adj = Some(-1000);
    let (reader, stdio) = pipes();
    match scene.create(stdio) {
        Ok(created) => {
            let cgroup = created.cgroup.clone();
            let running = created.start().unwrap();
            let capable = runtime_may_raise_limits();
            assert_eq!(running.warnings.is_empty(), capable, "{:?}", running.warnings);
            assert_eq!(finish(&running, reader).code, 0);
            cleanup(cgroup.as_ref());
        }
        // Above fs.nr_open even the capable are refused.
        Err(error) => assert!(runtime_may_raise_limits(), "{error}"),
    }
}

fn runtime_may_raise_limits() -> bool {
    let sets = rustix::thread::capabilities(None).unwrap();
    sets.effective.contains(rustix::thread::CapabilitySet::SYS_RESOURCE)
}

#[test]
fn a_terminal_of_its_own() {
    let mut scene =
        Scene::script("tty; stty size; test -c /dev/console && echo console; read line; echo got $line");
    scene.process().console_size = Some(oci::runtime::ConsoleSize { height: 33, width: 77 });
    let created = scene.create(Stdio::Terminal).unwrap();
    let cgroup = created.cgroup.clone();
    let running = created.start().unwrap();
    let master = std::fs::File::from(running.master.as_ref().unwrap().try_clone().unwrap());
    std::io::Write::write_all(&mut &master, b"ping\n").unwrap();
    let mut output = Vec::new();
    let mut buffer = [0u8; 1024];
    // The end of a terminal is an error (EIO).
    while let Ok(n) = std::io::Read::read(&mut &master, &mut buffer) {
        output.extend_from_slice(&buffer[..n]);
    }
    assert_eq!(sys::child::wait(running.pidfd.as_fd()).unwrap().code(), 0);
    cleanup(cgroup.as_ref());
    let text = String::from_utf8(output).unwrap();
    for expected in ["/dev/pts/0", "33 77", "console", "got ping"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn hooks_run_in_their_order_with_the_state_and_their_own_environment() {
    let scene_dir = tempfile::tempdir().unwrap();
    let log = scene_dir.path().join("log");
    let hook = |name: &str, path: &str, file: &str| Hook {
        path: path.into(),
        args: vec![
            "sh".to_owned(),
            "-c".to_owned(),
            format!(
                "echo {name} $(env | grep -c -v -e ^_ -e ^PWD -e ^SHLVL -e ^OLDPWD) $(grep -c '\"pid\": *[0-9]') >> {file}"
            ),
        ],
        env: vec!["PATH=/bin:/usr/bin".to_owned()],
        timeout: Some(10),
    };
    let host = |name: &str| vec![hook(name, "/bin/sh", log.to_str().unwrap())];
    let mut scene = Scene::new(&["cat", "/tmp/log"]);
    scene.spec.hooks = Some(Hooks {
        prestart: host("prestart"),
        create_runtime: host("createRuntime"),
        create_container: host("createContainer"),
        start_container: vec![hook("startContainer", "/bin/sh", "/tmp/log")],
        poststart: host("poststart"),
        poststop: host("poststop"),
    });
    scene.prints("startContainer 1 1");
    assert!(runtime::poststop("test", &scene.spec, Some(scene.dir.path())).is_empty());
    let text = std::fs::read_to_string(&log).unwrap();
    let expected = "prestart 1 1\ncreateRuntime 1 1\ncreateContainer 1 1\npoststart 1 1\npoststop 1 0\n";
    assert_eq!(text, expected);
}

#[test]
fn a_hook_that_fails_or_hangs_stops_the_start() {
    let hook = |script: &str| Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        timeout: Some(1),
        ..Hook::default()
    };
    for script in ["echo no good >&2; exit 3", "sleep 100"] {
        for inside in [false, true] {
            let mut scene = Scene::new(&["true"]);
            let list = vec![hook(script)];
            scene.spec.hooks = Some(if inside {
                Hooks { create_container: list, ..Hooks::default() }
            } else {
                Hooks { create_runtime: list, ..Hooks::default() }
            });
            let error = scene.run().unwrap_err();
            assert!(matches!(error, Error::Hook { .. }), "{error}");
        }
    }
}

#[test]
fn it_dies_with_the_thread_that_made_it() {
    let pid = std::thread::spawn(|| {
        let scene = Scene::new(&["sleep", "100"]);
        let created = scene.create(Stdio::Null).unwrap();
        let cgroup = created.cgroup.clone();
        let running = created.start().unwrap();
        (running, cgroup, scene)
    });
    let (running, cgroup, _scene) = pid.join().unwrap();
    let exit = sys::child::wait(running.pidfd.as_fd()).unwrap();
    assert_eq!(exit.code(), 137);
    cleanup(cgroup.as_ref());
    eventually("the process' end", || !std::path::Path::new(&format!("/proc/{}", running.pid)).exists());
}

#[test]
fn a_user_namespace_maps_root_away() {
    let mut scene = Scene::script(
        "id -u; cat /proc/self/uid_map | tr -s ' '; touch /tmp/file; cat /dev/null; ls /proc/1/ns | wc -l",
    )
    .without(NamespaceType::Network)
    .without(NamespaceType::Cgroup);
    scene.spec.mounts.retain(|m| !["sysfs", "cgroup", "mqueue"].contains(&m.typ.as_str()));
    scene.spec.mounts.iter_mut().for_each(|m| m.options.retain(|o| o != "gid=5"));
    let map = oci::runtime::IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
    let linux = scene.linux();
    linux.uid_mappings = vec![map];
    linux.gid_mappings = vec![map];
    linux.namespaces.push(oci::runtime::Namespace { typ: NamespaceType::User, path: None });
    let root = scene.rootfs();
    for path in [scene.dir.path().to_owned(), root.clone(), root.join("tmp"), root.join("dev")] {
        std::os::unix::fs::chown(&path, Some(100_000), Some(100_000)).unwrap();
    }
    std::fs::set_permissions(scene.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let outcome = scene.run().unwrap();
    assert!(outcome.output.starts_with("0\n 0 100000 65536\n"), "{outcome:?}");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(root.join("tmp/file")).unwrap());
    assert_eq!(owner, 100_000);
}

#[test]
fn clocks_of_its_own() {
    let mut scene = Scene::script("cat /proc/uptime");
    let linux = scene.linux();
    linux.namespaces.push(oci::runtime::Namespace { typ: NamespaceType::Time, path: None });
    let offset = oci::runtime::TimeOffset { secs: 1_000_000, nanosecs: 0 };
    linux.time_offsets.insert("boottime".to_owned(), offset);
    let outcome = scene.run().unwrap();
    let uptime: f64 = outcome.output.split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 1_000_000.0, "{outcome:?}");
}

#[test]
fn a_network_namespace_is_joined_by_descriptor() {
    let other = Scene::new(&["sleep", "1000"]);
    let other = other.create(Stdio::Null).unwrap();
    let netns = std::fs::File::open(format!("/proc/{}/ns/net", other.pid)).unwrap();
    let inode = std::os::unix::fs::MetadataExt::ino(&netns.metadata().unwrap());
    let group = other.cgroup.clone();
    drop(other);
    cleanup(group.as_ref());
    let scene = Scene::new(&["readlink", "/proc/self/ns/net"]);
    let (reader, stdio) = pipes();
    let created = runtime::create(runtime::Create {
        id: "test",
        spec: &scene.spec,
        rootfs: runtime::Rootfs::Path(scene.rootfs()),
        mounted: None,
        bundle: None,
        stdio,
        netns: Some(netns.as_fd()),
        preserve_fds: 0,
        die_with_parent: false,
        no_pivot: false,
        inherit_keyring: false,
    });
    let created = created.unwrap();
    let cgroup = created.cgroup.clone();
    let outcome = finish(&created.start().unwrap(), reader);
    cleanup(cgroup.as_ref());
    assert_eq!(outcome.output.trim(), format!("net:[{inode}]"));
}
