//! Restart policies and health checks.

use testkit::{Host, Mode, eventually};

in_every_mode! {
    on_failure_gives_up
    always_comes_back_but_not_after_stop
    health_is_told
}

fn on_failure_gives_up(host: &Host) {
    host.busybox();
    host.dhow(&[
        "run",
        "-d",
        "--name",
        "failing",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo try; exit 5",
    ])
    .ok();
    eventually("it has given up", || {
        host.dhow(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "failing"])
            .ok()
            == "2 exited 5"
    });
    assert_eq!(host.type_in("logs failing").ok(), "try\ntry\ntry");
    let refused = host.dhow(&["run", "--rm", "--restart", "always", "busybox", "true"]).run();
    assert_eq!(refused.code, 125, "{}", refused.stderr);
}

fn always_comes_back_but_not_after_stop(host: &Host) {
    host.busybox();
    host.dhow(&["run", "-d", "--name", "steady", "--restart", "always", "busybox", "sleep", "1000"]).ok();
    let pid = |host: &Host| host.type_in("inspect -f {{.State.Pid}} steady").ok();
    let first = pid(host);
    host.dhow(&["exec", "steady", "kill", "-9", "-1"]).run();
    let killed = std::process::Command::new("kill").args(["-9", &first]).status().unwrap();
    assert!(killed.success());
    eventually("it is back", || {
        let now = pid(host);
        now != "0" && now != first
    });
    host.type_in("stop -t 0 steady").ok();
    assert_eq!(host.type_in("inspect -f {{.State.Status}} steady").ok(), "exited");
}

/// The monitor takes its container with it, and applies no policy any more: a daemon does in its place.
#[test]
fn a_daemon_applies_the_policies_of_monitors_that_are_killed() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let run = |name: &str, policy: &str| {
        host.dhow(&["run", "-d", "--name", name, "--restart", policy, "busybox", "sleep", "1000"]).ok();
    };
    run("steady", "always");
    run("twice", "on-failure:1");
    run("once", "no");
    let pid = |name: &str| host.dhow(&["inspect", "-f", "{{.State.Pid}}", name]).ok();
    let state = |name: &str| {
        host.dhow(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", name]).ok()
    };
    for round in 1..=2 {
        let before = pid("steady");
        host.kill_monitor("steady");
        eventually("it runs again", || state("steady") == format!("running 0 {round}"));
        assert_ne!(pid("steady"), before);
    }
    host.kill_monitor("twice");
    eventually("it runs again", || state("twice") == "running 0 1");
    host.kill_monitor("twice");
    eventually("its tries are over", || state("twice") == "exited 137 1");
    host.kill_monitor("once");
    eventually("it has ended", || state("once") == "exited 137 0");
    // One that somebody else has started, and one whose policy came later.
    let mut other = host.command();
    other.args(["run", "-d", "--name", "other", "--restart", "unless-stopped", "busybox", "sleep", "1000"]);
    testkit::Typed::new(other).ok();
    host.dhow(&["run", "-d", "--name", "late", "busybox", "sleep", "1000"]).ok();
    host.dhow(&["update", "--restart", "always", "late"]).ok();
    for name in ["other", "late"] {
        host.kill_monitor(name);
        eventually("it runs again", || state(name) == "running 0 1");
    }
    // Who was stopped by hand stays so.
    host.dhow(&["stop", "-t", "0", "other"]).ok();
    assert!(state("other").starts_with("exited "), "{}", state("other"));
    let events =
        host.dhow(&["events", "--since", "0", "--until", "0s", "--filter", "container=twice"]).run().stdout;
    assert!(events.contains(" die ") && events.contains("exitCode=137"), "{events}");
    // A container without a policy is nobody's to look after: a check finds what it left, and removing takes it away.
    host.dhow(&["rm", "once"]).ok();
    assert_eq!(host.type_in("system check").ok(), "No problems found");
}

/// Between the end of a killed monitor and the start in its place there is a pause, which doubles each time.
#[test]
fn what_a_daemon_would_start_again_is_stopped_for_good() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    let names = ["stopped", "killed", "changed", "removed", "clock"];
    for name in names {
        host.dhow(&["run", "-d", "--name", name, "--restart", "always", "busybox", "sleep", "1000"]).ok();
    }
    let state = |name: &str| host.dhow(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name]).ok();
    for round in 1..=4 {
        names.iter().for_each(|name| host.kill_monitor(name));
        for name in names {
            eventually("it runs again", || state(name) == format!("running {round}"));
        }
    }
    names.iter().for_each(|name| host.kill_monitor(name));
    host.dhow(&["stop", "stopped"]).ok();
    // In its pause it does not run; nor does it afterwards.
    let _ = host.dhow(&["kill", "killed"]).run();
    host.dhow(&["update", "--restart", "no", "changed"]).ok();
    host.dhow(&["rm", "-f", "removed"]).ok();
    // Its pause began last.
    eventually("the clock runs again", || state("clock") == "running 5");
    assert_eq!(host.dhow(&["ps", "--format", "{{.Names}}"]).ok(), "clock");
    let all = host.dhow(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    let mut all: Vec<_> = all.lines().collect();
    all.sort_unstable();
    assert_eq!(all, ["changed", "clock", "killed", "stopped"]);
    // A start by hand is one again.
    host.dhow(&["start", "stopped"]).ok();
    host.kill_monitor("stopped");
    eventually("it runs again", || state("stopped") == "running 1");
}

/// Who starts it by hand while it waits for its next turn begins anew, even if that run is gone at once.
#[test]
fn a_start_by_hand_in_a_pause_is_the_first_one_again() {
    let host = Host::new(Mode::Daemon);
    host.busybox();
    host.dhow(&["run", "-d", "--name", "first", "--restart", "always", "busybox", "sleep", "1000"]).ok();
    let state = || host.dhow(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "first"]).ok();
    for round in 1..=4 {
        host.kill_monitor("first");
        eventually("it runs again", || state() == format!("running {round}"));
    }
    host.kill_monitor("first");
    eventually("it has ended", || state().starts_with("exited"));
    host.dhow(&["stop", "first"]).ok();
    host.dhow(&["start", "first"]).ok();
    host.kill_monitor("first");
    eventually("it runs again, for the first time", || state() == "running 1");
}

fn health_is_told(host: &Host) {
    host.busybox();
    host.dhow(&[
        "run",
        "-d",
        "--name",
        "patient",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();
    let health = |host: &Host| host.type_in("inspect -f {{.State.Health.Status}} patient").ok();
    eventually("it is unhealthy", || health(host) == "unhealthy");
    assert!(host.type_in("ps").ok().contains("(unhealthy)"));
    host.type_in("exec patient touch /tmp/well").ok();
    eventually("it is healthy", || health(host) == "healthy");
    assert_eq!(host.dhow(&["ps", "-q", "--filter", "health=healthy"]).ok().lines().count(), 1);
}
