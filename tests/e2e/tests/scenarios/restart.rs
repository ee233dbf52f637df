//! Restart policies and health checks.

use testkit::{Host, eventually};

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
