//! A second process in a container.

use testkit::Host;

in_every_mode! {
    output_input_and_exit_code
    user_folder_and_environment
    detached
    by_whatever_the_container_is_called
    within_the_limits_of_the_container
}

fn output_input_and_exit_code(host: &Host) {
    host.busybox();
    host.type_in("run -d --name box busybox sleep 1000").ok();
    let output = host.dhow(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 4"]).run();
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (4, "out\n", "err\n"));
    assert_eq!(host.type_in("exec -i box cat").input("through").ok(), "through");
    let missing = host.type_in("exec box no-such-program").fails(127);
    assert!(missing.contains("executable file not found in $PATH"), "{missing}");
    let nobody = host.type_in("exec -u nosuch box true").fails(126);
    assert!(nobody.contains("unable to find user nosuch: no matching entries in passwd file"), "{nobody}");
    host.type_in("stop -t 0 box").ok();
    let stopped = host.type_in("exec box true").fails(1);
    assert!(stopped.contains("is not running"), "{stopped}");
}

fn user_folder_and_environment(host: &Host) {
    host.busybox();
    host.type_in("run -d --name box -e KEPT=yes busybox sleep 1000").ok();
    let seen = host
        .dhow(&[
            "exec",
            "-u",
            "app",
            "-w",
            "/tmp",
            "-e",
            "ADDED=too",
            "box",
            "sh",
            "-c",
            "echo $(id -u) $(pwd) $KEPT $ADDED $HOME",
        ])
        .ok();
    assert_eq!(seen, "1000 /tmp yes too /home/app");
    let capabilities = host.dhow(&["exec", "box", "grep", "CapInh", "/proc/self/status"]).ok();
    assert!(capabilities.ends_with("0000000000000000"), "{capabilities}");
    // Only the three standard streams are open (and the one that lists them).
    assert_eq!(host.dhow(&["exec", "box", "ls", "/proc/self/fd"]).ok(), "0\n1\n2\n3");
}

fn detached(host: &Host) {
    host.busybox();
    host.type_in("run -d --name box busybox sleep 1000").ok();
    host.dhow(&["exec", "-d", "box", "sh", "-c", "echo done > /tmp/mark"]).ok();
    testkit::eventually("the mark is there", || host.type_in("exec box cat /tmp/mark").run().code == 0);
}

/// A container that runs is found without the database, whose word counts all the same.
fn by_whatever_the_container_is_called(host: &Host) {
    host.busybox();
    let id = host.type_in("run -d --name one -h first busybox sleep 1000").ok();
    let hostname = |reference: &str| host.dhow(&["exec", reference, "hostname"]);
    for reference in ["one", &id, &id[..12]] {
        assert_eq!(hostname(reference).ok(), "first", "{reference}");
    }
    host.type_in("rename one two").ok();
    assert_eq!(hostname("two").ok(), "first");
    assert!(hostname("one").fails(1).contains("No such container: one"));
    host.type_in("run -d --name one -h second busybox sleep 1000").ok();
    assert_eq!((hostname("one").ok().as_str(), hostname("two").ok().as_str()), ("second", "first"));
    host.type_in("restart -t 0 two").ok();
    assert_eq!(hostname("two").ok(), "first");
    host.type_in("pause two").ok();
    assert!(hostname("two").fails(1).contains("is paused, unpause the container before exec"));
    host.type_in("unpause two").ok();
    host.type_in("rm -f two").ok();
    assert!(hostname("two").fails(1).contains("No such container: two"));
    assert!(host.dhow(&["exec", "../containers", "hostname"]).fails(1).contains("No such container"));
    host.type_in("create --name two busybox sleep 1000").ok();
    assert!(hostname("two").fails(1).contains("is not running"));
}

#[test]
fn without_the_database() {
    let host = Host::new(testkit::Mode::Embedded);
    host.busybox();
    host.type_in("run -d --name box -e KEPT=yes busybox sleep 1000").ok();
    let (database, aside) = (host.root().join("state.db"), host.root().join("aside.db"));
    std::fs::rename(&database, &aside).unwrap();
    let seen = host.dhow(&["exec", "box", "sh", "-c", "echo $KEPT; exit 3"]).run();
    assert_eq!((seen.code, &*seen.stdout), (3, "yes\n"));
    assert!(!database.exists());
    std::fs::rename(&aside, &database).unwrap();
}

fn within_the_limits_of_the_container(host: &Host) {
    host.busybox();
    host.type_in(
        "run -d --name box --network none --ulimit nofile=123:456 --ulimit core=0 --oom-score-adj 300 busybox sleep 1000",
    )
    .ok();
    let look = "ulimit -n; ulimit -Hn; ulimit -Hc; cat /proc/self/oom_score_adj";
    assert_eq!(host.dhow(&["exec", "box", "sh", "-c", look]).ok(), "123\n456\n0\n300");
    host.type_in("run -d --name plain --network none busybox sleep 1000").ok();
    assert_eq!(host.type_in("exec plain cat /proc/self/oom_score_adj").ok(), "0");
}
