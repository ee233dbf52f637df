//! Health checks with real probes.

use std::time::Duration;

use monitor::{Health, HealthStatus};

use crate::fixture::{Fixture, eventually};

fn check(script: &str) -> Health {
    Health {
        test: vec!["CMD-SHELL".into(), script.into()],
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        retries: 2,
        ..Health::default()
    }
}

fn verdict(fixture: &Fixture) -> Option<HealthStatus> {
    fixture.status().health.map(|health| health.status)
}

#[test]
fn health_follows_the_probe() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("sleep 1000");
    config.health = Some(check("echo looking; test -e /tmp/well"));
    fixture.start(&config);
    eventually("it is unhealthy", || verdict(&fixture) == Some(HealthStatus::Unhealthy));
    std::fs::write(fixture.rootfs().join("tmp/well"), "").unwrap();
    eventually("it is healthy", || verdict(&fixture) == Some(HealthStatus::Healthy));
    let record = fixture.status().health.unwrap();
    assert_eq!(record.failing_streak, 0);
    assert_eq!(record.log.last().unwrap().output, "looking\n");
    eventually("it is told", || {
        fixture.events() == ["start", "health_status: unhealthy", "health_status: healthy"]
    });
}

#[test]
fn a_probe_that_takes_too_long_has_failed() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("sleep 1000");
    let mut health = check("echo slow; sleep 1000");
    health.timeout = Duration::from_millis(100);
    config.health = Some(health);
    fixture.start(&config);
    eventually("it is unhealthy", || verdict(&fixture) == Some(HealthStatus::Unhealthy));
    let probe = fixture.status().health.unwrap().log.pop().unwrap();
    assert_eq!(
        (probe.exit_code, probe.output.as_str()),
        (-1, "Health check exceeded timeout (100ms): slow\n")
    );
}

#[test]
fn none_is_no_check() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("sleep 1000");
    config.health = Some(Health { test: vec!["NONE".into()], ..Health::default() });
    fixture.start(&config);
    assert_eq!(fixture.status().health, None);
}

#[test]
fn no_probes_while_paused() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("sleep 1000");
    config.health = Some(check("true"));
    fixture.start(&config);
    eventually("it is healthy", || verdict(&fixture) == Some(HealthStatus::Healthy));
    let mut connection = fixture.connect();
    connection.pause().unwrap();
    let last = fixture.status().health.unwrap().log.pop();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fixture.status().health.unwrap().log.pop(), last);
    connection.unpause().unwrap();
    eventually("it is probed again", || fixture.status().health.unwrap().log.pop() != last);
}
