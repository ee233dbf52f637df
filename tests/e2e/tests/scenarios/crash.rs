//! What is killed, and what goes on.

use std::process::Command;

use testkit::{Host, Mode, eventually};

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
