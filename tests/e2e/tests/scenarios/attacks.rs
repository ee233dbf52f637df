//! Ways out of a container that were open in other engines once, tried as a person would; what concerns the runtime alone
//! is tried in `crates/core/runtime/tests/containers/attacks`.
//!
//! One mode is enough for what happens below the API; what an engine's own process could give away is tried in all.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use testkit::{Host, Mode, eventually};

in_every_mode! {
    a_variable_of_the_machine
    a_control_group_elsewhere
}

/// A file that attacks try to reach or change.
fn canary(host: &Host) -> PathBuf {
    host.file("canary/file", "untouched")
}

#[track_caller]
fn assert_untouched(host: &Host) {
    let names: Vec<_> = std::fs::read_dir(host.home().join("canary")).unwrap().flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(std::fs::read_to_string(host.home().join("canary/file")).unwrap(), "untouched");
}

fn pid_of(host: &Host, container: &str) -> u32 {
    host.dhow(&["inspect", "--format", "{{.State.Pid}}", container]).ok().parse().unwrap()
}

fn parent_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// An image made of these files and links, on busybox.
fn build(host: &Host, name: &str, dockerfile: &str) -> testkit::Output {
    host.file("build/Dockerfile", dockerfile);
    host.dhow(&["build", "-t", name, host.home().join("build").to_str().unwrap()]).run()
}

/// CVE-2019-5736: what a container's processes are before they execute their program, and `--init`.
#[test]
fn the_engines_program_is_out_of_reach() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let binary = testkit::binary();
    let before = std::fs::metadata(&binary).unwrap();
    host.type_in("run -d --name box --init busybox sleep 1000").ok();
    let monitor = parent_of(pid_of(&host, "box"));
    let exe = format!("/proc/{monitor}/exe");
    let seen = std::fs::metadata(&exe).unwrap();
    assert_eq!((seen.dev(), seen.ino()), (before.dev(), before.ino()), "the monitor is the same program");
    let error = std::fs::set_permissions(&exe, seen.permissions()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(std::fs::OpenOptions::new().write(true).open(&exe).is_err());
    for attempt in
        ["chmod 700 /proc/1/exe", "chmod 700 /sbin/docker-init", "cp /bin/busybox /sbin/docker-init"]
    {
        let refused = host.dhow(&["exec", "box", "sh", "-c", attempt]).fails(1);
        assert!(refused.contains("Read-only") || refused.contains("busy"), "{attempt}: {refused}");
    }
    // Images and processes that would run it inside.
    let files = "FROM busybox\nRUN ln -s /proc/self/exe /self && printf '#!/proc/self/exe\\n' > /script && chmod 755 /script\n";
    assert_eq!(build(&host, "evil", files).code, 0);
    host.type_in("run -d --name victim evil sleep 1000").ok();
    for program in ["/self", "/script", "/proc/self/exe"] {
        let refused = host.dhow(&["run", "--rm", "evil", program]).fails(126);
        assert!(refused.contains("permission denied"), "{refused}");
        host.dhow(&["exec", "victim", program]).fails(126);
        let step = build(&host, "worse", &format!("FROM evil\nRUN [\"{program}\"]\n"));
        assert!(step.code != 0 && step.stderr.contains("permission denied"), "{}", step.stderr);
    }
    let after = std::fs::metadata(&binary).unwrap();
    assert_eq!(
        (after.len(), after.mode(), after.mtime_nsec()),
        (before.len(), before.mode(), before.mtime_nsec())
    );
}

/// CVE-2024-21626: the directory that a process begins in.
#[test]
fn a_directory_behind_a_descriptor() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    canary(&host);
    host.type_in("run -d --name box busybox sleep 1000").ok();
    for number in [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 17, 30] {
        let place = format!("/proc/self/fd/{number}");
        for arguments in [["run", "--rm", "-w", &place, "busybox"], ["exec", "-t", "-w", &place, "box"]] {
            let inside = host.dhow(&[&arguments[..], &["ls", "../../.."]].concat()).run();
            assert_ne!(inside.code, 0, "{arguments:?}: {}", inside.stdout);
        }
        if number < 10 {
            let step =
                format!("FROM busybox\nWORKDIR {place}\nRUN ls ../../../..; cat ../../../canary/file\n");
            let built = build(&host, "climbing", &step);
            assert_ne!(built.code, 0, "{}", built.stderr);
            assert!(!built.stderr.contains("untouched"), "{}", built.stderr);
        }
    }
    assert_untouched(&host);
}

/// CVE-2016-9962, CVE-2022-24769: what comes along unseen with every process that we start.
#[test]
fn descriptors_and_rights_that_come_along() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let script =
        "ls /proc/self/fd | tr '\\n' ' '; grep -h -e CapInh -e CapAmb /proc/self/status | tr -d '\\n\\t'";
    let expected = "0 1 2 3 CapInh:0000000000000000CapAmb:0000000000000000";
    let probe = format!("( {script} ) > /tmp/probe");
    host.dhow(&[
        "run",
        "-d",
        "--name",
        "box",
        "--health-interval",
        "1s",
        "--health-cmd",
        &probe,
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();
    assert_eq!(host.dhow(&["run", "--rm", "busybox", "sh", "-c", script]).ok(), expected);
    assert_eq!(host.dhow(&["run", "--rm", "-u", "app", "busybox", "sh", "-c", script]).ok(), expected);
    assert_eq!(host.dhow(&["exec", "box", "sh", "-c", script]).ok(), expected);
    assert_eq!(host.dhow(&["exec", "-u", "app", "box", "sh", "-c", script]).ok(), expected);
    let built = build(
        &host,
        "built",
        &format!("FROM busybox\nRUN {probe}\nUSER app\nRUN ( {script} ) > /tmp/user\n"),
    );
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert_eq!(host.type_in("run --rm built cat /tmp/probe").ok(), expected);
    assert_eq!(host.type_in("run --rm built cat /tmp/user").ok(), expected);
    eventually("a health probe", || host.type_in("exec box cat /tmp/probe").run().stdout.trim() == expected);
}

/// CVE-2022-36109 and its kin: the groups of every way to name a user are those that Docker gives.
#[test]
fn groups_of_users() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.type_in("run -d --name box --group-add 77 busybox sleep 1000").ok();
    for (user, id, groups) in [
        ("0", "0:0", "0"),
        ("root", "0:0", "0"),
        ("app", "1000:1000", "50 1000"),
        ("1000", "1000:1000", "50 1000"),
        ("app:staff", "1000:50", "50"),
        ("app:0", "1000:0", "0"),
        ("1000:1000", "1000:1000", "1000"),
        ("4711", "4711:0", "0"),
        ("4711:4712", "4711:4712", "4712"),
        ("nobody", "65534:65534", "65534"),
    ] {
        let script = "echo $(id -u):$(id -g) $(id -G | tr ' ' '\\n' | sort -n)";
        let seen = host.dhow(&["run", "--rm", "-u", user, "busybox", "sh", "-c", script]).ok();
        assert_eq!(seen, format!("{id} {groups}"), "run -u {user}");
        let mut more: Vec<u32> = groups.split(' ').map(|group| group.parse().unwrap()).collect();
        more.push(77);
        more.sort_unstable();
        let more = more.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let seen =
            host.dhow(&["run", "--rm", "--group-add", "77", "-u", user, "busybox", "sh", "-c", script]).ok();
        assert_eq!(seen, format!("{id} {more}"), "run --group-add -u {user}");
        let seen = host.dhow(&["exec", "-u", user, "box", "sh", "-c", script]).ok();
        assert!(seen == format!("{id} {more}") || seen == format!("{id} {groups}"), "exec -u {user}: {seen}");
    }
}

/// CVE-2024-40635, CVE-2026-30892, CVE-2016-3697: texts that are no user, and names that look like numbers.
#[test]
fn users_that_turn_into_root() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.type_in("run -d --name box busybox sleep 1000").ok();
    let wrong = [
        "2147483648",
        "4294967295",
        "4294967296",
        "-1",
        "1e3",
        "0x0",
        " 0",
        "0 ",
        "٠",
        "app:-1",
        "app:4294967296",
        "1000:0x0",
        "root\n",
        "99999999999999999999",
    ];
    for user in wrong {
        for arguments in [["run", "--rm", "-u", user, "busybox"], ["exec", "-i", "-u", user, "box"]] {
            let ran = host.dhow(&[&arguments[..], &["id", "-u"]].concat()).run();
            assert!(ran.code != 0 && ran.stdout.is_empty(), "{arguments:?}: {} {}", ran.code, ran.stdout);
        }
    }
    for user in ["2147483648", "4294967296", "-1", "1e3", "0x0"] {
        let built = build(&host, "wrong", &format!("FROM busybox\nUSER {user}\nRUN id -u\n"));
        assert_ne!(built.code, 0, "USER {user}: {}", built.stderr);
    }
    let files =
        "FROM busybox\nRUN echo '1001:x:0:0::/:/bin/sh' >> /etc/passwd && echo '1001:x:0:' >> /etc/group\n";
    assert_eq!(build(&host, "numbers", files).code, 0);
    assert_eq!(host.type_in("run --rm -u 1001:1001 numbers id -u").ok(), "1001");
    assert_eq!(host.type_in("run --rm -u 1001:1001 numbers id -g").ok(), "1001");
    let built = build(&host, "stepped", "FROM numbers\nUSER 1001:1001\nRUN id -u > /tmp/who\n");
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert_eq!(host.type_in("run --rm stepped cat /tmp/who").ok(), "1001");
}

/// CVE-2024-25621, CVE-2021-41091, CVE-2020-15257: what other users of the machine can see and reach.
#[test]
fn folders_and_sockets_are_closed_to_others() {
    const NOBODY: u32 = 65534;
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.type_in("volume create data").ok();
    host.type_in("run -d --name box -v data:/data --health-cmd true busybox sleep 1000").ok();
    host.dhow(&["exec", "-d", "box", "sleep", "1000"]).ok();
    std::fs::set_permissions(host.home(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for folder in [host.root(), host.home().join("run")] {
        let mut find = Command::new("find");
        find.arg(&folder).args(["(", "-readable", "-o", "-writable", ")", "-print"]).uid(NOBODY).gid(NOBODY);
        let found = find.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "below {}", folder.display());
    }
    let id = host.dhow(&["inspect", "--format", "{{.Id}}", "box"]).ok();
    let folder = host.home().join("run/containers").join(id);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&folder), mode(&folder.join("monitor.sock"))), (0o700, 0o600));
    // Names without a place in a file system are everybody's in the network namespace, and with it containers'.
    let sockets = std::fs::read_to_string("/proc/thread-self/net/unix").unwrap();
    assert!(
        !sockets.lines().any(|line| line.split_whitespace().last().is_some_and(|name| name.starts_with('@')))
    );
    let inside = host.type_in("run --rm --network host busybox cat /proc/net/unix").ok();
    assert!(!inside.contains(" @"), "{inside}");
}

/// A variable that an image names without a value, and one that the caller does, are the caller's to give.
fn a_variable_of_the_machine(host: &Host) {
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","DHOW_CANARY","LD_PRELOAD=/evil.so"]},"rootfs":{"type":"layers","diff_ids":["DIFF"]}}"#;
    let layer = testkit::busybox();
    let folder = host.home().join("archive");
    host.file("archive/layer.tar", &layer);
    let sum = host.program("sha256sum", &[folder.join("layer.tar").to_str().unwrap()]).ok();
    let config = config.replace("DIFF", &format!("sha256:{}", sum.split(' ').next().unwrap()));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    host.file("archive/config.json", config.replace("amd64", architecture));
    host.file(
        "archive/manifest.json",
        r#"[{"Config":"config.json","RepoTags":["named:latest"],"Layers":["layer.tar"]}]"#,
    );
    let archive = host.home().join("named.tar");
    host.program("tar", &["-C", folder.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]).ok();
    host.dhow(&["load", "-i", archive.to_str().unwrap()]).ok();
    let typed = |arguments: &[&str]| host.dhow(arguments).env("DHOW_CANARY", "secret").ok();
    assert!(!typed(&["run", "--rm", "named", "env"]).contains("secret"));
    typed(&["run", "-d", "--name", "box", "named", "sleep", "1000"]);
    assert!(!typed(&["exec", "box", "env"]).contains("secret"));
    host.file("build/Dockerfile", "FROM named\nARG DHOW_CANARY\nRUN env > /env\n");
    typed(&["build", "-t", "built", host.home().join("build").to_str().unwrap()]);
    assert!(!typed(&["run", "--rm", "built", "cat", "/env"]).contains("secret"));
    // Asked for, it is given.
    assert!(typed(&["run", "--rm", "-e", "DHOW_CANARY", "named", "env"]).contains("DHOW_CANARY=secret"));
}

/// Texts of a request that become paths and names of the machine.
fn a_control_group_elsewhere(host: &Host) {
    host.busybox();
    let mark = host.home().file_name().unwrap().to_str().unwrap().to_owned();
    for parent in ["../../x", "/..", "/dhow/../../x", ".", "a/../b"] {
        let parent = parent.replace('x', &mark);
        let refused = host.dhow(&["run", "--rm", "--cgroup-parent", &parent, "busybox", "true"]).run();
        assert_ne!(refused.code, 0, "--cgroup-parent {parent}");
        assert!(
            refused.stderr.contains("control group") || refused.stderr.contains("cgroup"),
            "{}",
            refused.stderr
        );
    }
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!hierarchy.path().join(&mark).exists(), "{}", hierarchy.path().display());
    }
    for option in [
        "--sysctl kernel.core_pattern=|/evil",
        "--sysctl net.ipv4.ip_forward=1+kernel.core_pattern=x",
        "--name ../evil",
        "--name a/b",
        "--volume data:/proc",
        "--volume data:/proc/self/attr",
        "--tmpfs /proc/sys",
        "--volume data:/data/../proc",
        "--mount type=volume,source=a/../b,target=/x",
    ] {
        let words =
            [&["run", "--rm"], &option.split(' ').collect::<Vec<_>>()[..], &["busybox", "true"]].concat();
        let refused = host.dhow(&words).run();
        assert_eq!(refused.code, 125, "{option}: {}", refused.stderr);
    }
}

/// CVE-2022-23648 and copy-up: a volume where the image has a link, and files that an engine makes in a container.
#[test]
fn volumes_behind_links() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    canary(&host);
    let outside = host.home().join("canary");
    std::fs::create_dir_all(host.home().join("build/files/data")).unwrap();
    symlink(&outside, host.home().join("build/files/data/deep")).unwrap();
    symlink(&outside, host.home().join("build/files/link")).unwrap();
    symlink(format!("../../../../../../../..{}", outside.display()), host.home().join("build/files/climb"))
        .unwrap();
    let built = build(&host, "links", "FROM busybox\nCOPY files/ /\nVOLUME /link /climb /data/deep\n");
    assert_eq!(built.code, 0, "{}", built.stderr);
    let script =
        "cat /link/file /climb/file /data/deep/file; echo new > /link/new; echo new > /climb/new; true";
    let seen = host.dhow(&["run", "--rm", "links", "sh", "-c", script]).run();
    assert!(!seen.stdout.contains("untouched"), "{}", seen.stdout);
    let seen = host
        .dhow(&["run", "--rm", "-v", "data:/link/below", "-w", "/climb/work", "links", "sh", "-c", script])
        .run();
    assert!(!seen.stdout.contains("untouched"), "{}", seen.stdout);
    assert_untouched(&host);
}

/// The same of a part of a volume that somebody else writes to, also for copies out of and into a container that does not run.
#[test]
fn a_part_of_a_volume_that_becomes_a_link() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    canary(&host);
    let outside = host.home().join("canary").display().to_string();
    let box_in =
        |script: &str| host.dhow(&["run", "--rm", "-v", "data:/v", "busybox", "sh", "-c", script]).ok();
    box_in("mkdir /v/part && echo own > /v/part/own && echo single > /v/single");
    for part in ["part", "single"] {
        let mount = format!("type=volume,source=data,target=/mnt/{part},volume-subpath={part}");
        let show = format!("cat /mnt/{part}/file /mnt/{part}");
        host.dhow(&["create", "--name", part, "--mount", &mount, "busybox", "sh", "-c", &show]).ok();
    }
    let out = host.home().join("out");
    let (evil, copy) = (host.file("evil", "overwritten"), out.to_str().unwrap());
    let copied = |from: &str| {
        let _ = std::fs::remove_file(&out);
        host.dhow(&["cp", from, copy]).run();
        std::fs::read_to_string(&out).unwrap_or_default()
    };
    assert_eq!(
        (copied("part:/mnt/part/own"), copied("single:/mnt/single")),
        ("own\n".into(), "single\n".into())
    );
    host.dhow(&["cp", evil.to_str().unwrap(), "part:/mnt/part/more"]).ok();
    assert_eq!(box_in("cat /v/part/more; rm -r /v/part /v/single"), "overwritten");
    for to in [outside.clone(), format!("../../../../../../../../../..{outside}")] {
        box_in(&format!("rm -f /v/part /v/single; ln -s {to} /v/part; ln -s {to}/file /v/single"));
        for from in ["part:/mnt/part/file", "single:/mnt/single"] {
            assert_eq!(copied(from), "", "{from} by {to}");
        }
        for into in ["part:/mnt/part/new", "part:/mnt/part/file", "single:/mnt/single"] {
            assert_ne!(host.dhow(&["cp", evil.to_str().unwrap(), into]).run().code, 0, "{into} by {to}");
        }
        for name in ["part", "single"] {
            let started = host.dhow(&["start", "-a", name]).run();
            assert!(!started.stdout.contains("untouched") && started.code != 0, "{started:?}");
        }
    }
    assert_untouched(&host);
}

/// CVE-2018-15664, CVE-2026-41568, CVE-2026-42306: copying while an accomplice exchanges a directory for a link.
#[test]
fn copies_in_a_race() {
    const ROUNDS: usize = 40;
    let host = Host::new(Mode::Daemon);
    host.busybox();
    canary(&host);
    let target = host.home().join("canary");
    let trap = target.to_str().unwrap();
    let script = format!("mkdir -p /v/a && ln -s {trap} /v/b && echo inside > /v/a/file && exec sleep 1000");
    host.dhow(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]).ok();
    let below = PathBuf::from(format!("/proc/{}/root/v", pid_of(&host, "box")));
    eventually("both are there", || below.join("a/file").exists());
    let evil = host.file("evil", "overwritten");
    let out = host.home().join("out");
    let stop = Arc::new(());
    let running = Arc::downgrade(&stop);
    let (mut inwards, mut outwards) = (0, 0);
    std::thread::scope(|scope| {
        // The accomplice ends with this value, also when an attempt panics.
        let stop = stop;
        scope.spawn(|| {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
            let folder = rustix::fs::open(&below, flags, rustix::fs::Mode::empty()).unwrap();
            while running.strong_count() > 0 {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&folder, "a", &folder, "b", exchange).unwrap();
            }
        });
        for _ in 0..ROUNDS {
            for to in ["box:/v/a/file", "box:/v/a"] {
                inwards += usize::from(host.dhow(&["cp", evil.to_str().unwrap(), to]).run().code == 0);
            }
            for from in ["box:/v/a/file", "box:/v/a/.", "box:/v/b/file"] {
                let _ = std::fs::remove_dir_all(&out);
                outwards +=
                    usize::from(host.dhow(&["cp", "-L", from, out.to_str().unwrap()]).run().code == 0);
                let copied =
                    std::fs::read_to_string(&out).or_else(|_| std::fs::read_to_string(out.join("file")));
                assert_ne!(copied.ok().as_deref(), Some("untouched"), "{from}");
                let _ = std::fs::remove_file(&out);
            }
        }
        drop(stop);
    });
    assert!(inwards > 0 && outwards > 0, "{inwards} in and {outwards} out: nothing was raced for");
    assert_untouched(&host);
}

/// CVE-2019-14271, CVE-2026-41567: nothing of a container is run or loaded to copy, compare or list.
#[test]
fn programs_that_wait_to_be_run() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let names = "tar gzip unpigz xz zstd ps nsenter mount umount newuidmap ldconfig git";
    let script = format!(
        "printf '#!/bin/busybox sh\\necho run >> /owned\\n' > /trap; chmod 755 /trap
        mkdir -p /usr/bin /sbin /usr/sbin /lib/x86_64-linux-gnu /lib64
        for name in {names}; do for at in /bin /usr/bin /sbin /usr/sbin; do ln -sf /trap $at/$name; done; done
        for lib in libnss_files.so.2 libc.so.6 libgcc_s.so.1; do
            for at in /lib /lib64 /lib/x86_64-linux-gnu; do cp /trap $at/$lib; done; done
        echo '/evil.so' > /etc/ld.so.preload; printf 'passwd: evil\\n' > /etc/nsswitch.conf; echo ready; exec sleep 1000"
    );
    host.dhow(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]).ok();
    host.wait_for_log("box", "ready");
    let file = host.file("file", "content");
    let out = host.home().join("out");
    host.dhow(&["cp", file.to_str().unwrap(), "box:/tmp/file"]).ok();
    host.dhow(&["cp", "box:/etc", out.to_str().unwrap()]).ok();
    host.type_in("top box").ok();
    host.type_in("diff box").ok();
    host.dhow(&["export", "-o", host.home().join("export.tar").to_str().unwrap(), "box"]).ok();
    host.type_in("commit box trapped").ok();
    host.dhow(&["exec", "-u", "app", "box", "/bin/busybox", "true"]).ok();
    host.file(
        "build/Dockerfile",
        "FROM trapped\nCOPY Dockerfile /copied\nRUN [\"/bin/busybox\", \"true\"]\n",
    );
    host.dhow(&["build", "-t", "built", host.home().join("build").to_str().unwrap()]).ok();
    assert_ne!(host.type_in("exec box /bin/busybox test -e /owned").run().code, 0);
    assert_ne!(host.type_in("run --rm built /bin/busybox test -e /owned").run().code, 0);
}
