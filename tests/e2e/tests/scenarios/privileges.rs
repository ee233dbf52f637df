//! What a machine or a user lacks: what needs none of it works, what can go on goes on with one warning, and the rest says
//! what is missing and how to get it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use testkit::{Host, Mode, Typed};

/// `dhow` with these words behind `program` and its words, which need no quotes.
fn under(host: &Host, program: &str, line: &str) -> Typed {
    under_copy(host, program, Path::new(host.command().get_program()), line)
}

/// The same with a copy of the binary.
fn under_copy(host: &Host, program: &str, binary: &Path, line: &str) -> Typed {
    let mut words = program.split_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).arg(binary).args(line.split_whitespace());
    with_surroundings(host, command)
}

/// `dhow` with these words after `script` has changed the mounts of a namespace of its own.
fn remounted(host: &Host, script: &str, line: &str) -> Typed {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"]);
    command.arg(host.command().get_program()).args(line.split_whitespace());
    with_surroundings(host, command)
}

fn with_surroundings(host: &Host, mut command: Command) -> Typed {
    for (name, value) in host.command().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(host.home());
    Typed::new(command)
}

#[test]
fn capabilities_that_are_not_needed_are_not_missed() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    for name in
        ["sys_resource", "mknod", "sys_chroot", "setfcap", "bpf", "chown", "fowner", "kill", "net_raw"]
    {
        let dropped = format!("setpriv --bounding-set -{name}");
        assert_eq!(under(&host, &dropped, "run --rm busybox echo ok").ok(), "ok", "without {name}");
    }
}

#[test]
fn capabilities_that_are_missing_are_named_with_the_way_to_get_them() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo new > /new\n");
    for name in ["sys_admin", "setpcap", "setgid", "dac_override"] {
        let dropped = format!("setpriv --bounding-set -{name}");
        let word = name.to_uppercase();
        let told = under(&host, &dropped, "run --rm --network host busybox true").fails(125);
        assert!(told.contains(&format!("missing privileges: CAP_{word} (for ")), "{told}");
        assert!(told.contains(&format!("--privileged or --cap-add {word}")), "{told}");
        // What is made of files alone needs no privilege.
        under(&host, &dropped, &format!("volume create for-{name}")).ok();
        under(&host, &dropped, "ps --all").ok();
        let warned = under(&host, &dropped, "info").run().stderr;
        assert!(warned.contains(&format!("WARNING: CAP_{word} is missing")), "{warned}");
    }
    let told = under(&host, "setpriv --bounding-set -sys_admin", "build -q ctx").fails(1);
    assert!(told.contains("missing privileges: CAP_SYS_ADMIN"), "{told}");
}

#[test]
fn without_the_right_to_make_networks_containers_without_one_work() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let dropped = "setpriv --bounding-set -net_admin";
    let told = under(&host, dropped, "run --rm busybox true").fails(125);
    assert!(
        told.contains("missing privileges: CAP_NET_ADMIN (for networks; --network host or none"),
        "{told}"
    );
    let shared = under(&host, dropped, "run --rm --network host busybox echo ok").run();
    assert_eq!((shared.code, shared.stdout.as_str(), shared.stderr.as_str()), (0, "ok\n", ""));
    let alone = under(&host, dropped, "run --rm --network none busybox echo ok").run();
    assert_eq!((alone.code, alone.stdout.as_str()), (0, "ok\n"), "{}", alone.stderr);
    assert_eq!(alone.stderr.matches("CAP_NET_ADMIN is missing").count(), 1, "{}", alone.stderr);
}

#[test]
fn limits_without_a_controller_are_discarded_with_a_warning_each() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let limited = "run --rm --memory 64m --pids-limit 50 --cpu-shares 100 busybox echo ok";
    let all = ["memory limit capabilities", "PIDs limit capabilities", "CPU shares"];
    let read_only = "awk '$5 ~ /^.sys.fs.cgroup/ {print $5}' /proc/self/mountinfo | while read at; do
        mount -o remount,bind,ro $at; done";
    for script in ["umount --recursive /sys/fs/cgroup", read_only] {
        let output = remounted(&host, script, limited).run();
        assert_eq!((output.code, output.stdout.as_str()), (0, "ok\n"), "{}", output.stderr);
        for what in all {
            let warning = format!("Your kernel does not support {what} or the cgroup is not mounted. ");
            assert_eq!(output.stderr.matches(&warning).count(), 1, "{script}: {}", output.stderr);
        }
        let told = remounted(&host, script, "run --rm --cpus 0.5 busybox true").fails(125);
        assert!(told.contains("NanoCPUs can not be set"), "{told}");
        let warned = remounted(&host, script, "info").run().stderr;
        assert!(
            warned.contains("WARNING: No memory limit support\nWARNING: No swap limit support"),
            "{warned}"
        );
    }
    // Each version 1 hierarchy can be missing by itself.
    for (controller, what) in [("memory", all[0]), ("pids", all[1]), ("cpu", all[2])] {
        let at = Path::new("/sys/fs/cgroup").join(controller);
        if !at.is_dir() {
            continue;
        }
        let output = remounted(&host, &format!("umount {}", at.display()), limited).run();
        assert_eq!((output.code, output.stdout.as_str()), (0, "ok\n"), "{}", output.stderr);
        assert_eq!(output.stderr.matches("Your kernel does not support").count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains(what), "{}", output.stderr);
    }
}

/// As inside of a container that has capabilities enough and is not privileged.
#[test]
fn settings_of_the_kernel_that_are_hidden_are_reached_where_they_are_our_own() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let hidden = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys";
    let alone = remounted(
        &host,
        hidden,
        "run --rm --network none busybox cat /proc/sys/net/ipv6/conf/default/accept_ra",
    );
    assert_eq!(alone.ok(), "0");
    // The machine forwards no packets: this switch is not ours.
    let told =
        remounted(&host, &format!("sysctl -qw net.ipv4.ip_forward=0; {hidden}"), "run --rm busybox true");
    let told = told.fails(125);
    assert!(
        told.contains("packet forwarding is off and /proc/sys/net/ipv4/ip_forward is read-only"),
        "{told}"
    );
    assert!(told.contains("run `sysctl -w net.ipv4.ip_forward=1` outside of this container"), "{told}");
    let forwarding = format!("sysctl -qw net.ipv4.ip_forward=1; {hidden}");
    assert_eq!(remounted(&host, &forwarding, "run --rm busybox echo ok").ok(), "ok");
}

/// What a container needs for containers of its own is what its options name, and each that is missing is told.
#[test]
fn inside_of_a_container_the_same_program_runs_containers() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.type_in("save -o image.tar busybox").ok();
    let binary = format!("{}:/dhow:ro", host.command().get_program().display());
    let image = format!("{}/image.tar:/image.tar:ro", host.home().display());
    let inside = |options: &str, script: &str| {
        let mut words = vec!["run", "--rm", "-v", &binary, "-v", &image, "-v", "/var/lib/dhow"];
        words.extend(options.split_whitespace());
        let script = format!("/dhow load -q -i /image.tar >&2 && {script}");
        host.dhow(&[&words[..], &["busybox", "sh", "-c", &script]].concat())
    };
    let run = "/dhow run --rm busybox echo inner";
    let build = "printf 'FROM busybox\nRUN echo built >&2\n' | /dhow build -q - >/dev/null";
    assert_eq!(inside("--privileged", &format!("{run} && {build}")).ok(), "inner");
    let capable = "--cap-add SYS_ADMIN --cap-add NET_ADMIN --sysctl net.ipv4.ip_forward=1";
    let unfiltered = format!("{capable} --security-opt seccomp=unconfined");
    assert_eq!(inside(&unfiltered, &format!("{run} && {build}")).ok(), "inner");
    let told = inside(capable, run).fails(125);
    assert!(told.contains("a seccomp filter is on this process"), "{told}");
    assert!(told.contains("--privileged or --security-opt seccomp=unconfined"), "{told}");
    let told = inside("", run).fails(125);
    assert!(told.contains("--privileged or --cap-add SYS_ADMIN --cap-add NET_ADMIN"), "{told}");
}

/// As on a kernel that was built without it: the socket itself is refused, by a filter on the container that plays the machine.
#[test]
fn without_nftables_containers_without_a_network_work_and_others_say_what_is_missing() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.type_in("save -o image.tar busybox").ok();
    // socket(AF_NETLINK, _, NETLINK_NETFILTER) is EPROTONOSUPPORT.
    host.file(
        "filter.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO",
            "errnoRet": 93, "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"},
            {"index": 2, "value": 12, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let binary = format!("{}:/dhow:ro", host.command().get_program().display());
    let image = format!("{}/image.tar:/image.tar:ro", host.home().display());
    let inside = |script: &str| {
        let mut words = vec!["run", "--rm", "-v", &binary, "-v", &image, "-v", "/var/lib/dhow"];
        words.extend(["--privileged", "--security-opt", "seccomp=filter.json", "busybox", "sh", "-c"]);
        let script = format!("/dhow load -q -i /image.tar >&2 && {script}");
        host.dhow(&[&words[..], &[script.as_str()]].concat())
    };
    for network in ["none", "host"] {
        assert_eq!(inside(&format!("/dhow run --rm --network {network} busybox echo ok")).ok(), "ok");
    }
    for command in ["run --rm busybox true", "run --rm -p 8080:80 busybox true"] {
        let told = inside(&format!("/dhow {command}")).fails(125);
        assert!(told.contains("the kernel has no nf_tables, which networks need"), "{told}");
        assert!(told.contains("load the kernel module nf_tables"), "{told}");
        assert!(told.contains("--network none or host"), "{told}");
    }
    // What failed is gone, and what has no rules can be removed.
    let cleared = "/dhow network create n >&2; /dhow run --rm --network n busybox true; /dhow network rm n && \
        /dhow ps -aq && /dhow system check >&2 && echo clean";
    assert_eq!(inside(cleared).ok(), "n\nclean");
}

#[test]
fn a_root_that_cannot_hold_containers_says_why() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.type_in("save -o image.tar busybox").ok();
    let place = host.home().join("place");
    std::fs::create_dir(&place).unwrap();
    let at = |script: &str, line: &str| {
        let script = format!("mount -t tmpfs tmpfs {0}; cd {0}; {script}", place.display());
        remounted(&host, &script, line)
    };
    let dhow = host.command().get_program().to_string_lossy().into_owned();
    let load = format!("{dhow} load --quiet --input {}/image.tar > load.log", host.home().display());
    let memory = at(&format!("export DHOW_ROOT=$PWD/root; {load}"), "run --rm busybox echo ok");
    assert_eq!(memory.ok(), "ok");
    let stacked =
        "mkdir lower upper work top; mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none top";
    let told =
        at(&format!("{stacked}; export DHOW_ROOT=$PWD/top/root; {load}"), "run --rm busybox true").fails(125);
    assert!(told.contains("let DHOW_ROOT name a directory on another file system"), "{told}");
    let told = at("mount -o remount,ro $PWD; export DHOW_ROOT=$PWD/root", "ps").fails(1);
    assert!(told.contains(&format!("{}/root: Read-only file system", place.display())), "{told}");
}

#[test]
fn who_is_not_root_is_told_what_to_do() {
    let host = Host::new(Mode::Embedded);
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    // Where nobody may run the binary and look for sockets.
    let copy = host.home().join("dhow");
    std::fs::copy(host.command().get_program(), &copy).unwrap();
    std::fs::set_permissions(host.home(), PermissionsExt::from_mode(0o755)).unwrap();
    let line = |words: &str| under_copy(&host, nobody, &copy, words);
    for words in ["--version", "help", "run --help", "context show", "logout"] {
        line(words).ok();
    }
    for (words, code) in [
        ("ps", 1),
        ("images", 1),
        ("run busybox true", 125),
        ("create busybox", 1),
        ("volume ls", 1),
        ("network ls", 1),
        ("system info", 1),
        ("daemon", 1),
    ] {
        let told = line(words).fails(code);
        assert!(told.contains("permission denied at ") && told.contains("DOCKER_HOST"), "{words}: {told}");
    }
}

#[test]
fn images_need_somebody_who_may_give_files_away() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN touch /of-app && chown app /of-app\n");
    host.type_in("build -q -t owned ctx").ok();
    host.type_in("save -o image.tar owned").ok();
    let own = host.home().join("own");
    std::fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(host.home(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = own.join("dhow");
    std::fs::copy(host.command().get_program(), &copy).unwrap();
    let path = |name: &str| own.join(name).display().to_string();
    let archive = host.home().join("image.tar").display().to_string();
    std::fs::set_permissions(&archive, PermissionsExt::from_mode(0o644)).unwrap();
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    for (program, told) in [
        (nobody.to_owned(), "only root may give away: run this as root, or name the socket of a daemon"),
        (
            format!("{nobody} unshare --user --map-root-user"),
            "no number in this user namespace: run this as the machine's own root",
        ),
    ] {
        for line in [format!("load -i {archive}"), format!("import {} again", path("files.tar"))] {
            host.type_in("create --name files owned").ok();
            host.type_in(&format!("export -o {} files", path("files.tar"))).ok();
            host.type_in("rm files").ok();
            std::fs::set_permissions(path("files.tar"), PermissionsExt::from_mode(0o644)).unwrap();
            let typed = under_copy(&host, &program, &copy, &line);
            let output = typed.env("DHOW_ROOT", &path("root")).env("DHOW_RUN", &path("run")).run();
            assert!(output.code == 1 && output.stderr.contains(told), "{program} {line}: {}", output.stderr);
        }
    }
}

#[test]
fn the_root_of_a_user_namespace_is_told_what_it_is() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let told =
        under(&host, "unshare --user --map-root-user", "run --rm --network none busybox true").fails(125);
    assert!(told.contains("this runs in a user namespace"), "{told}");
    under(&host, "unshare --user --map-root-user", "ps").ok();
}

#[test]
fn what_cannot_be_checked_is_told_with_what_it_needs() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    // The check lists interfaces and rules of the machine.
    for (program, needs) in [
        ("setpriv --bounding-set -net_admin", "missing privileges: CAP_NET_ADMIN"),
        ("unshare --user --map-root-user", "this runs in a user namespace"),
    ] {
        let output = under(&host, program, "system check").run();
        assert_eq!(output.code, 1, "{program}: {} {}", output.stdout, output.stderr);
        assert!(output.stdout.contains("could not be checked: "), "{program}: {}", output.stdout);
        assert!(output.stdout.contains(needs), "{program}: {}", output.stdout);
        assert!(output.stderr.contains("checks could not be made"), "{program}: {}", output.stderr);
        assert!(!output.stderr.contains("--repair"), "{program}: {}", output.stderr);
    }
    host.type_in("system check").ok();
}

#[test]
fn without_control_groups_containers_are_entered_and_looked_after() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let hidden = "umount -R /sys/fs/cgroup";
    let locked = "for at in $(awk '$5 ~ \"^/sys/fs/cgroup\" {print $5}' /proc/self/mountinfo); do \
        mount -o remount,bind,ro $at; done";
    for (name, script) in [("hidden", hidden), ("locked", locked)] {
        let started = remounted(
            &host,
            script,
            &format!("run -d --name {name} --network none --health-cmd true --health-interval 1s busybox sleep 1000"),
        )
        .run();
        assert_eq!(started.code, 0, "{}", started.stderr);
        assert_eq!(
            started.stderr.matches("no control groups can be made here").count(),
            1,
            "{}",
            started.stderr
        );
        assert_eq!(remounted(&host, script, &format!("exec {name} echo ok")).ok(), "ok");
        assert!(remounted(&host, script, &format!("top {name}")).ok().contains("sleep 1000"));
        testkit::eventually("it is healthy", || {
            host.dhow(&["inspect", "-f", "{{.State.Health.Status}}", name]).ok() == "healthy"
        });
        remounted(&host, script, &format!("rm -f {name}")).ok();
    }
}

/// What containers see of what is made for them does not depend on who made it, and what users ask for is theirs.
#[test]
fn the_mask_of_whoever_calls_is_for_files_of_its_own() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let masked = |mask: &str, line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {mask}; exec \"$@\""), "sh"]).arg(host.command().get_program());
        command.args(line.split_whitespace());
        with_surroundings(&host, command)
    };
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let home = host.home().display();
    let line = format!(
        "run --rm --cidfile cid -u 7 -w /new/sub -v vol:/data -v {home}/made/deep:/m busybox ls -la / /new/sub /data /m"
    );
    masked("077", &line).ok();
    assert_eq!(mode(&host.home().join("made/deep")), 0o755);
    assert_eq!(mode(&host.home().join("cid")), 0o600);
    masked("077", "save -o image.tar busybox").ok();
    assert_eq!(mode(&host.home().join("image.tar")), 0o600);
    masked("000", &format!("run --rm -v {home}/open/deep:/m busybox true")).ok();
    assert_eq!((mode(&host.home().join("open")), mode(&host.home().join("open/deep"))), (0o755, 0o755));
}

#[test]
fn limits_that_cannot_be_raised_are_told_once() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let limited = |line: &str| {
        let mut command = Command::new("sh");
        let script = "ulimit -n 1000; exec setpriv --bounding-set -sys_resource \"$@\"";
        command.args(["-c", script, "sh"]).arg(host.command().get_program()).args(line.split_whitespace());
        with_surroundings(&host, command)
    };
    let ran = limited("run --rm --network none --ulimit nofile=900:5000 busybox sh -c ulimit${IFS}-Hn").run();
    assert_eq!((ran.code, ran.stdout.trim()), (0, "1000"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("WARNING").count(), 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("ulimit nofile=900:5000 is 900:1000") && ran.stderr.contains("CAP_SYS_RESOURCE"),
        "{}",
        ran.stderr
    );
    let ran = limited("run --rm --network none --ulimit nofile=900 --oom-score-adj 9 busybox true").run();
    assert_eq!((ran.code, &*ran.stderr), (0, ""));
}

#[test]
fn a_root_that_is_a_file_is_no_matter_of_privileges() {
    let host = Host::new(Mode::Embedded);
    let file = host.file("file", "");
    for place in [file.clone(), file.join("below"), "/dev/null".into()] {
        let mut command = host.command();
        command.args(["ps"]).env("DHOW_ROOT", &place);
        let told = Typed::new(command).fails(1);
        assert!(told.contains("is not a directory: let DHOW_ROOT"), "{told}");
    }
}

/// What a filter does not let through looks like an old kernel.
#[test]
fn system_calls_that_are_not_there_are_told_with_the_way_to_get_them() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.type_in("save -o image.tar busybox").ok();
    let home = host.home().display();
    let lacking = |call: &str| {
        let profile = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["{call}"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}}]}}"#
        );
        host.file("profile.json", profile);
        let binary = host.command().get_program().to_string_lossy().into_owned();
        let line = format!(
            "run --rm --cap-add SYS_ADMIN --network none --security-opt seccomp={home}/profile.json -v {binary}:/dhow:ro \
             -v {home}/image.tar:/image.tar:ro -v /var/lib/dhow busybox sh -c"
        );
        let script = "/dhow load -q -i /image.tar && /dhow run --rm --network none busybox echo inner";
        let words: Vec<&str> = line.split_whitespace().chain([script]).collect();
        host.dhow(&words).run()
    };
    for call in ["clone3", "openat2", "fsopen"] {
        let told = lacking(call);
        assert_ne!(told.code, 0, "{call}");
        assert!(
            told.stderr.to_lowercase().contains("function not implemented")
                && told.stderr.contains("a seccomp filter is on this process")
                && told.stderr.contains("--security-opt seccomp=unconfined"),
            "{call}: {}",
            told.stderr
        );
    }
    host.type_in("create --name box busybox true").ok();
    host.file("file", "");
    let told = under(&host, "setpriv --bounding-set -sys_admin", "cp file box:/tmp").fails(1);
    assert!(told.contains("missing privileges: CAP_SYS_ADMIN (for namespaces and mounts)"), "{told}");
}

/// Nor is what a killed monitor leaves running lost sight of.
#[test]
fn without_control_groups_nobody_outlives_a_container() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let passwd = host.file("passwd", "root:x:0:0::/:/bin/sh\nbob:x:7:7::/:/bin/sh\n");
    let hidden = "umount -R /sys/fs/cgroup";
    let time = 200_000 + std::process::id();
    let sleeper = format!("sleep\u{0}{time}\u{0}");
    let processes = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let words = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        words.filter(|words| *words == sleeper.as_bytes()).count()
    };
    let bound = format!("{}:/etc/passwd:ro", passwd.display());
    let run = format!(
        "run -d --name left --network none --pid host -v {bound} busybox su -s /bin/sleep bob {time}"
    );
    remounted(&host, hidden, &run).ok();
    for (verb, runs) in [("start left", 1), ("rm -f left", 0)] {
        testkit::eventually("it has changed its user", || processes() == 1);
        host.kill_monitor("left");
        remounted(&host, hidden, verb).ok();
        testkit::eventually("none are left of before", || processes() == runs);
    }
}
