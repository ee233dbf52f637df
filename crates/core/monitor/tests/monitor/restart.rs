//! The restart policy with real exits.

use monitor::protocol::Condition;
use monitor::{RestartName, RestartPolicy, State};

use crate::fixture::{Fixture, eventually};

fn policy(name: RestartName, max_retries: u32) -> RestartPolicy {
    RestartPolicy { name, max_retries }
}

#[test]
fn on_failure_tries_twice_more() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("echo run; exit 9");
    config.restart = policy(RestartName::OnFailure, 2);
    let first = fixture.connect().wait(Condition::NextExit).unwrap();
    fixture.start(&config);
    assert_eq!(first.join().unwrap().exit_code, 9);
    eventually("it gives up", || fixture.status().state == State::Exited);
    let status = fixture.status();
    assert_eq!((status.restart_count, status.exit_code), (2, 9));
    assert_eq!(fixture.log(), "run\nrun\nrun\n");
    eventually("all is told", || fixture.events() == ["start", "die", "start", "die", "start", "die"]);
    eventually("the monitor leaves", || !fixture.is_alive());
}

#[test]
fn on_failure_does_nothing_after_success() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("true");
    config.restart = policy(RestartName::OnFailure, 0);
    fixture.run(&config);
    assert_eq!((fixture.status().state, fixture.status().restart_count), (State::Exited, 0));
}

#[test]
fn always_ends_with_stop() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("echo run; sleep 1000");
    config.restart = policy(RestartName::Always, 0);
    let pid = fixture.start(&config).pid;
    fixture.wait_for_output("run");
    // A death from within is not a wish to stop.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    eventually("it runs again", || fixture.log() == "run\nrun\n" && fixture.status().state == State::Running);
    assert_ne!(fixture.status().pid, pid);
    fixture.connect().stop(None, Some(0)).unwrap();
    assert_eq!((fixture.status().state, fixture.status().exit_code), (State::Exited, 137));
    eventually("the monitor leaves", || !fixture.is_alive());
}

/// A container that is caught between two runs.
fn between_two_runs() -> Fixture {
    let fixture = Fixture::new();
    let mut config = fixture.shell("exit 1");
    config.restart = policy(RestartName::Always, 0);
    fixture.start(&config);
    // The pause grows, so sooner or later a look falls into one.
    eventually("it is caught between two runs", || {
        fixture.status().state == State::Restarting && fixture.status().restart_count > 3
    });
    fixture
}

#[test]
fn stop_between_two_runs_cancels_the_next() {
    let fixture = between_two_runs();
    fixture.connect().stop(None, None).unwrap();
    assert_eq!(fixture.status().state, State::Exited);
    eventually("the monitor leaves", || !fixture.is_alive());
}

#[test]
fn a_kill_between_two_runs_cancels_the_next() {
    let fixture = between_two_runs();
    fixture.connect().signal(9).unwrap();
    assert_eq!(fixture.status().state, State::Exited);
    eventually("the monitor leaves", || !fixture.is_alive());
}

#[test]
fn a_new_policy_between_two_runs_decides_on_the_next() {
    let fixture = between_two_runs();
    fixture.connect().update(None, Some(policy(RestartName::OnFailure, 0))).unwrap();
    let count = fixture.status().restart_count;
    eventually("it runs once more", || fixture.status().restart_count > count);
    eventually("it is caught again", || fixture.status().state == State::Restarting);
    fixture.connect().update(None, Some(policy(RestartName::No, 0))).unwrap();
    assert_eq!(fixture.status().state, State::Exited);
    eventually("the monitor leaves", || !fixture.is_alive());
}

#[test]
fn a_new_policy_counts_from_the_next_exit() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("exit 1");
    config.restart = policy(RestartName::Always, 0);
    fixture.start(&config);
    fixture.connect().update(None, Some(policy(RestartName::No, 0))).unwrap();
    eventually("it stays down", || fixture.status().state == State::Exited);
}
