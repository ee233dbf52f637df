//! What is killed, and what goes on.

use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use testkit::{Host, Mode, eventually};

in_every_mode! {
    a_check_takes_nothing_from_processes_at_work
    damaged_records_can_be_removed
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_killed_client_leaves_its_container_running() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let mut client = host
        .dhow(&["run", "--name", "survivor", "busybox", "sh", "-c", "echo up; while :; do sleep 0.1; done"])
        .start();
    eventually("it runs", || host.type_in("logs survivor").run().stdout == "up\n");
    kill(client.id());
    client.wait().unwrap();
    assert_eq!(host.type_in("inspect -f {{.State.Running}} survivor").ok(), "true");
    assert_eq!(host.dhow(&["exec", "survivor", "echo", "still here"]).ok(), "still here");
    host.type_in("stop -t 0 survivor").ok();
}

#[test]
fn a_killed_daemon_leaves_containers_running() {
    let mut host = Host::new(Mode::Daemon);
    host.busybox();
    host.type_in("run -d --name survivor -p 8080:80 busybox sleep 1000").ok();
    host.crash_daemon(0);
    assert_eq!(host.type_in("inspect -f {{.State.Running}} survivor").ok(), "true");
    assert!(host.type_in("port survivor").ok().contains("8080"));
    host.type_in("stop -t 0 survivor").ok();
    assert_eq!(host.type_in("inspect -f {{.State.ExitCode}} survivor").ok(), "137");
}

#[test]
fn a_killed_monitor_takes_its_container_along_and_leaks_nothing() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let id = host.type_in("run -d --name gone -p 8080:80 busybox sleep 1000").ok();
    let list = Command::new("pgrep").args(["-f", &format!("monitor.*{}", &id[..12])]).output().unwrap();
    let pids: Vec<u32> =
        String::from_utf8_lossy(&list.stdout).lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(pids.len(), 1, "one monitor a container");
    kill(pids[0]);
    eventually("it is seen as ended", || host.type_in("inspect -f {{.State.Running}} gone").ok() == "false");
    host.dhow(&["system", "check", "--repair"]).ok();
    host.dhow(&["system", "check"]).ok();
    // Everything about it can be used again.
    host.type_in("start gone").ok();
    assert_eq!(host.type_in("inspect -f {{.State.Running}} gone").ok(), "true");
}

/// Each of these is killed early, in the middle and late; what it leaves is mended, and can be used again.
#[test]
fn killed_at_any_moment_nothing_stays_broken() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nARG N\nRUN echo $N > /n\n");
    host.type_in("save -o image.tar busybox").ok();
    let operations = [
        "run -d --name box -p 8080:80 -v /anonymous busybox sleep 1000",
        "stop -t 0 box",
        "start box",
        "rm -f -v box",
        "run --rm --name box -p 8080:80 busybox true",
        "build -t built --build-arg N=",
        "load -i image.tar",
        "import image.tar imported",
    ];
    for operation in operations {
        let mut typical = Duration::from_millis(100);
        for round in 0..4 {
            // What the operation is done to.
            let needs_box = operation.ends_with(" box");
            if needs_box && host.type_in("container inspect box").run().code != 0 {
                host.type_in("run -d --name box -p 8080:80 busybox sleep 1000").ok();
            }
            let line = match operation.starts_with("build") {
                true => format!("{operation}{round} ctx"),
                false => operation.to_owned(),
            };
            let started = Instant::now();
            let mut client = host.type_in(&line).start();
            match round {
                // To its end, to learn how long it takes.
                0 => typical = ended(&mut client, started),
                _ => std::thread::sleep(typical * round / 4),
            }
            let _ = client.kill();
            client.wait().expect("a child that was not waited for");
            eventually("its detached helpers end", || host.type_in("system check --repair").run().code == 0);
            host.type_in("system check").ok();
            if !needs_box {
                host.type_in("rm -f -v box").run();
            }
        }
    }
    host.type_in("run --rm busybox true").ok();
}

fn ended(client: &mut Child, started: Instant) -> Duration {
    eventually("it ends", || client.try_wait().expect("our own child").is_some());
    started.elapsed()
}

/// Processes work while others check and repair; nobody loses anything.
fn a_check_takes_nothing_from_processes_at_work(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nARG N\nRUN echo $N > /n\n");
    for round in 0..4 {
        let mut at_work: Vec<Child> = Vec::new();
        for number in 0..3 {
            let name = format!("w{round}{number}");
            let run =
                format!("run --rm --name {name} -v {name}:/data -v /anonymous busybox touch /data/here");
            at_work.push(host.type_in(&run).start());
            at_work.push(host.type_in(&format!("build -q --build-arg N={name} ctx")).start());
            at_work.push(host.type_in(&format!("create --name c{name} busybox true")).start());
            at_work.push(host.type_in(&format!("volume create v{name}")).start());
        }
        while at_work.iter_mut().any(|child| child.try_wait().expect("our own child").is_none()) {
            host.type_in("system check --repair").ok();
        }
        for child in at_work {
            let output = child.wait_with_output().expect("a child that was not waited for");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        for number in 0..3 {
            let name = format!("w{round}{number}");
            host.type_in(&format!("run --rm -v {name}:/data busybox cat /data/here")).ok();
            host.type_in(&format!("start -a c{name}")).ok();
        }
    }
}

/// A build in the middle of a step, and how much there is of what it would leave.
fn begun_build(host: &Host, more: &[&str]) -> (Child, impl Fn() -> Vec<usize> + use<>) {
    host.file("secret", "hush");
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=ssh --mount=type=secret,id=s cat /run/secrets/s > /dev/null; echo going; sleep 1000\n",
    );
    host.file("ctx/other", "FROM busybox\n");
    let home = host.home().to_owned();
    let left = move || {
        let folders = ["run/build", "run/builds", "root/steps", "root/ingest"];
        let count = |name: &&str| std::fs::read_dir(home.join(name)).map_or(0, Iterator::count);
        folders.iter().map(count).collect::<Vec<_>>()
    };
    let agent = host.home().join("agent");
    let _ = std::fs::remove_file(&agent);
    drop(UnixListener::bind(&agent).unwrap());
    let given = ["build", "--secret", "id=s,src=secret", "--ssh", "default=agent"];
    let client = host.dhow(&[&given, more, &["ctx"]].concat()).start();
    // A step that takes nothing from the cache has no lock of its own.
    eventually("the step has its agent and its network", || left()[..2].iter().all(|n| *n > 0));
    (client, left)
}

fn killed_build(host: &Host, more: &[&str]) -> impl Fn() -> Vec<usize> + use<> {
    let (mut client, left) = begun_build(host, more);
    client.kill().unwrap();
    client.wait().unwrap();
    left
}

#[test]
fn a_killed_build_leaves_what_a_repair_finds() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let left = killed_build(&host, &[]);
    assert_eq!(host.type_in("system check").run().code, 1);
    host.type_in("system check --repair").ok();
    host.type_in("system check").ok();
    assert_eq!(left(), [0; 4]);
}

/// Nobody has to ask for it: the next build, a prune and a daemon that starts take away what a killed build left.
#[test]
fn what_a_killed_build_leaves_goes_by_itself() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let (parent, groups) = named_group();
    for (more, next) in [
        (&[][..], "build -q -f ctx/other ctx"),
        (&["--cgroup-parent", &parent], "build -q -f ctx/other ctx"),
        (&["--no-cache"], "builder prune -f"),
        (&[], "system prune -f"),
        (&["--cgroup-parent", &parent], "builder prune -f"),
    ] {
        let left = killed_build(&host, more);
        // The step dies with the build, but a moment later.
        eventually("all of it is gone", || {
            host.type_in(next).ok();
            left() == [0; 4] && groups() == 0
        });
        host.type_in("system check").ok();
    }
    // A build that ends takes the group away that was made for it.
    host.file("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    host.dhow(&["build", "-q", "--cgroup-parent", &parent, "ctx"]).ok();
    assert_eq!(groups(), 0);
}

#[test]
fn a_daemon_that_starts_looks_for_what_killed_builds_left() {
    let mut host = Host::new(Mode::Daemon);
    host.busybox();
    let (parent, groups) = named_group();
    let (mut client, left) = begun_build(&host, &["--cgroup-parent", &parent]);
    eventually("the step has its group", || groups() > 0);
    host.crash_daemon(0);
    assert!(!client.wait().unwrap().success());
    // The step may outlive its daemon by a moment: then it is what the next build finds.
    eventually("the daemon has looked", || {
        host.type_in("build -q -f ctx/other ctx").ok();
        left() == [0; 4] && groups() == 0
    });
    host.type_in("system check").ok();
}

/// A control group that there is not, and in how many hierarchies there is.
fn named_group() -> (String, impl Fn() -> usize) {
    let top = format!("dhow-test-{:x}", fastrand::u64(..));
    let parent = format!("/{top}/below");
    let count = move || {
        let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        roots.chain(["/sys/fs/cgroup".into()]).filter(|root| root.join(&top).exists()).count()
    };
    (parent, count)
}

fn damaged_records_can_be_removed(host: &Host) {
    host.busybox();
    for begin in ["create", "run -d"] {
        let id = host.type_in(&format!("{begin} --name broken -p 8080:80 busybox sleep 1000")).ok();
        let status = host.root().join("containers").join(&id).join("status.json");
        std::fs::write(status, "{torn").unwrap();
        host.type_in("rm -f broken").ok();
        host.type_in("system check").ok();
    }
}

#[test]
fn finished_execs_are_forgotten() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.type_in("run -d --name box busybox sleep 1000").ok();
    for _ in 0..40 {
        host.type_in("exec box true").ok();
    }
    let files = std::fs::read_dir(host.home().join("run/exec")).unwrap().count();
    assert!(files <= 33, "{files}");
}

/// The kernel forgets to kill with its monitor who has changed its user since, as databases' images do.
#[test]
fn what_a_killed_monitor_leaves_running_is_ended_by_whoever_looks() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    let passwd = host.file("passwd", "root:x:0:0::/:/bin/sh\nbob:x:7:7::/:/bin/sh\n");
    let passwd = format!("{}:/etc/passwd:ro", passwd.display());
    let processes = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let words = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let sleeper = format!("sleep\u{0}{}\u{0}", 100_000 + std::process::id());
        words.filter(|words| *words == sleeper.as_bytes()).count()
    };
    let command = format!("exec sleep {}", 100_000 + std::process::id());
    let su = ["busybox", "su", "-s", "/bin/sh", "bob", "-c", &command];
    let run = |name: &str| host.dhow(&[&["run", "-d", "--name", name, "-v", &passwd][..], &su].concat()).ok();
    for name in ["looked-at", "started"] {
        run(name);
        eventually("it has changed its user", || processes() == 1);
        host.kill_monitor(name);
        if name == "looked-at" {
            eventually("it is seen as ended", || host.type_in("ps -q").ok().is_empty());
            eventually("nothing runs", || processes() == 0);
        } else {
            host.dhow(&["start", name]).ok();
            eventually("it runs once", || processes() == 1);
        }
        host.dhow(&["rm", "-f", name]).ok();
    }
}

/// A log that cannot be written is no reason to end a container.
#[test]
fn a_full_disk_ends_nobody() {
    let host = Host::new(Mode::Embedded);
    let (root, run) = (host.home().join("small/root"), host.home().join("small/run"));
    let script = "mkdir small && mount -t tmpfs -o size=24m none small && mkdir small/root small/run && \
        tar -C / -c bin/busybox usr/bin/busybox 2>/dev/null | \"$0\" import - bb >/dev/null; \
        \"$0\" run -d --name web --network none bb /bin/busybox sh -c 'while :; do echo line; done' >/dev/null && \
        \"$0\" run --name filler --network none bb /bin/busybox dd if=/dev/zero of=/big bs=64k 2>/dev/null; \
        \"$0\" inspect -f '{{.State.Status}}' web; \"$0\" rm -f filler >/dev/null; \
        \"$0\" exec web /bin/busybox echo entered; \"$0\" rm -f web";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(host.command().get_program());
    command.env("DHOW_ROOT", root).env("DHOW_RUN", run).current_dir(host.home());
    let told = testkit::Typed::new(command).run();
    assert_eq!(told.stdout, "running\nentered\nweb\n", "{}", told.stderr);
}
