//! From start to removal.

use std::time::Duration;

use monitor::client::{self, Error};
use monitor::protocol::{self, Attach, Condition, Exit, FailureKind, Reply, Request};
use monitor::{HealthStatus, State};

use crate::fixture::{Fixture, eventually};

fn kind(error: Error) -> FailureKind {
    match error {
        Error::Failed(failure) => failure.kind,
        other => panic!("not a refusal: {other}"),
    }
}

#[test]
fn a_run_leaves_output_exit_code_and_events() {
    let fixture = Fixture::new();
    let exit = fixture.run(&fixture.shell("echo hello; echo trouble >&2; exit 3"));
    assert_eq!((exit.exit_code, exit.error), (3, None));
    let status = fixture.status();
    assert_eq!((status.state, status.exit_code, status.pid), (State::Exited, 3, 0));
    assert!(status.started_at.unwrap() < status.finished_at.unwrap());
    assert!(fixture.log().contains("hello\n") && fixture.log().contains("trouble\n"));
    assert_eq!(fixture.events(), ["start", "die"]);
    let die = &fixture.event_documents()[1];
    assert_eq!(die["Actor"]["Attributes"]["exitCode"], "3");
    assert_eq!(die["Actor"]["Attributes"]["name"], "web");
    assert_eq!(die["Actor"]["Attributes"]["colour"], "blue");
    assert_eq!(die["from"], "busybox");
    eventually("the monitor leaves", || !fixture.is_alive());
    assert!(!fixture.run_dir().join("containers").join(&fixture.id).join("monitor.sock").exists());
}

#[test]
fn a_container_can_be_run_again() {
    let fixture = Fixture::new();
    for code in [1, 2] {
        assert_eq!(fixture.run(&fixture.shell(&format!("echo run; exit {code}"))).exit_code, code);
    }
    assert_eq!(fixture.log(), "run\nrun\n");
}

#[test]
fn a_missing_command_is_127_and_leaves_the_container_created() {
    let fixture = Fixture::new();
    let mut connection = fixture.connect();
    match connection.start(&fixture.config(&["no-such-program"]), None, &[], None).unwrap_err() {
        Error::Failed(failure) => {
            assert_eq!((failure.kind, failure.exit_code), (FailureKind::Start, Some(127)));
            assert!(failure.message.contains("no-such-program"), "{}", failure.message);
        }
        other => panic!("{other}"),
    }
    let status = fixture.status();
    assert_eq!((status.state, status.exit_code), (State::Created, 127));
    assert!(status.error.contains("no-such-program"));
    // The same monitor and the clients that came early serve the next attempt.
    connection.start(&fixture.config(&["true"]), None, &[], None).unwrap();
    eventually("it runs and exits", || {
        fixture.status().state == State::Exited && fixture.status().error.is_empty()
    });
}

#[test]
fn a_program_that_is_not_executable_is_126() {
    let fixture = Fixture::new();
    std::fs::write(fixture.rootfs().join("etc/text"), "text").unwrap();
    match fixture.connect().start(&fixture.config(&["/etc/text"]), None, &[], None).unwrap_err() {
        Error::Failed(failure) => assert_eq!(failure.exit_code, Some(126)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_running_container_is_not_started_twice() {
    let fixture = Fixture::new();
    let config = fixture.shell("sleep 100");
    fixture.start(&config);
    assert_eq!(
        kind(fixture.connect().start(&config, None, &[], None).unwrap_err()),
        FailureKind::AlreadyRunning
    );
}

#[test]
fn stop_asks_first_and_the_container_may_answer() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done"));
    fixture.wait_for_output("ready");
    fixture.connect().stop(None, None).unwrap();
    let status = fixture.status();
    assert_eq!((status.state, status.exit_code, status.manually_stopped), (State::Exited, 7, true));
    assert_eq!(fixture.events(), ["start", "kill", "die", "stop"]);
    assert!(fixture.log().ends_with("bye\n"));
}

#[test]
fn stop_kills_who_does_not_listen() {
    let fixture = Fixture::new();
    // Init of a pid namespace without a handler is deaf to SIGTERM.
    fixture.start(&fixture.shell("while :; do sleep 0.01; done"));
    fixture.connect().stop(None, Some(0)).unwrap();
    assert_eq!(fixture.status().exit_code, 137);
    assert_eq!(fixture.events(), ["start", "kill", "kill", "die", "stop"]);
    assert_eq!(kind(fixture.connect().stop(None, None).unwrap_err()), FailureKind::NotRunning);
}

#[test]
fn signals_arrive_real_time_ones_too() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("trap 'echo got; exit 0' 37; echo ready; while :; do sleep 0.01; done"));
    fixture.wait_for_output("ready");
    fixture.connect().signal(37).unwrap();
    fixture.wait_for_output("got");
    fixture.wait_for_state(State::Exited);
    assert_eq!(kind(fixture.connect().signal(4000).unwrap_err()), FailureKind::NotRunning);
}

#[test]
fn a_wait_before_the_start_is_answered_at_the_exit() {
    let fixture = Fixture::new();
    let next = fixture.connect().wait(Condition::NextExit).unwrap();
    let at_once = fixture.connect().wait(Condition::NotRunning).unwrap();
    assert_eq!(at_once.join().unwrap().exit_code, 0);
    fixture.start(&fixture.shell("exit 4"));
    assert_eq!(next.join().unwrap().exit_code, 4);
}

#[test]
fn clean_up_comes_before_the_word_of_removal() {
    let fixture = Fixture::new();
    let removed = fixture.connect().wait(Condition::Removed).unwrap();
    let (config, proof) = proving(&fixture);
    fixture.start(&config);
    assert_eq!(removed.join().unwrap().exit_code, 5);
    assert!(proof.exists());
}

/// A container that removes itself, whose clean-up by a process leaves the file `proof`.
fn proving(fixture: &Fixture) -> (monitor::Config, std::path::PathBuf) {
    let mut config = fixture.shell("exit 5");
    config.auto_remove = true;
    let proof = fixture.path("proof");
    config.cleanup = vec!["/bin/sh".into(), "-c".into(), format!("echo done > {}", proof.display())];
    (config, proof)
}

#[test]
fn a_client_that_offered_it_cleans_up_and_spares_the_process() {
    let fixture = Fixture::new();
    let other = fixture.connect().wait(Condition::Removed).unwrap();
    let mut offered = fixture.connect().wait_to_clean(Condition::Removed).unwrap().into_stream();
    let (config, proof) = proving(&fixture);
    fixture.start(&config);
    assert!(matches!(protocol::read(&mut offered).unwrap(), Reply::CleanUp));
    assert_eq!(kind(fixture.connect().start(&config, None, &[], None).unwrap_err()), FailureKind::Busy);
    let error = Some("half of it".to_owned());
    protocol::write(&mut offered, &Request::CleanedUp { error: error.clone() }).unwrap();
    let exit = Exit { exit_code: 5, error };
    match protocol::read(&mut offered).unwrap() {
        Reply::Exit(told) => assert_eq!(told, exit),
        other => panic!("{other:?}"),
    }
    assert_eq!(other.join().unwrap(), exit);
    assert!(!proof.exists());
}

#[test]
fn a_process_cleans_up_when_the_client_that_offered_it_has_gone() {
    let fixture = Fixture::new();
    let removed = fixture.connect().wait(Condition::Removed).unwrap();
    let mut offered = fixture.connect().wait_to_clean(Condition::NotRunning).unwrap().into_stream();
    // Answered at once, as nothing runs: what it offered it can take back.
    assert!(matches!(protocol::read(&mut offered).unwrap(), Reply::Exit(_)));
    let mut offered = fixture.connect().wait_to_clean(Condition::NextExit).unwrap().into_stream();
    let (config, proof) = proving(&fixture);
    fixture.start(&config);
    assert!(matches!(protocol::read(&mut offered).unwrap(), Reply::CleanUp));
    assert!(!proof.exists());
    drop(offered);
    assert_eq!(removed.join().unwrap(), Exit { exit_code: 5, error: None });
    assert!(proof.exists());
}

#[test]
fn a_failed_clean_up_is_told() {
    let fixture = Fixture::new();
    let removed = fixture.connect().wait(Condition::Removed).unwrap();
    let mut config = fixture.shell("exit 0");
    config.auto_remove = true;
    config.cleanup = vec!["/bin/false".into()];
    fixture.start(&config);
    assert!(removed.join().unwrap().error.unwrap().contains("exit status: 1"));
}

#[test]
fn who_waits_for_removal_waits_for_the_engines_word_otherwise() {
    let fixture = Fixture::new();
    let removed = fixture.connect().wait(Condition::Removed).unwrap();
    fixture.run(&fixture.shell("exit 6"));
    fixture.connect().removed().unwrap();
    assert_eq!(removed.join().unwrap().exit_code, 6);
}

#[test]
fn no_start_while_the_clean_up_goes_on() {
    let fixture = Fixture::new();
    let gate = fixture.path("gate");
    let mut config = fixture.shell("true");
    config.cleanup = vec![
        "/bin/sh".into(),
        "-c".into(),
        format!("while ! test -e {}; do sleep 0.01; done", gate.display()),
    ];
    fixture.start(&config);
    fixture.wait_for_state(State::Exited);
    assert_eq!(kind(fixture.connect().start(&config, None, &[], None).unwrap_err()), FailureKind::Busy);
    let settled = fixture.connect().wait(Condition::NotRunning).unwrap();
    std::fs::write(&gate, "").unwrap();
    settled.join().unwrap();
    config.cleanup.clear();
    assert_eq!(fixture.run(&config).exit_code, 0);
}

#[test]
fn killing_the_monitor_kills_the_container_and_the_loss_is_seen() {
    let fixture = Fixture::new();
    let pid = fixture.start(&fixture.shell("sleep 1000")).pid;
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
    rustix::process::kill_process(fixture.monitor_pid(), rustix::process::Signal::KILL).unwrap();
    eventually("the init is gone", || !std::fs::exists(format!("/proc/{pid}")).unwrap());
    eventually("the lock is free", || !fixture.is_alive());
    let observed =
        client::observe(&fixture.container_dir(), &fixture.run_dir(), &fixture.id).unwrap().unwrap();
    assert!(observed.lost && !observed.alive);
    assert_eq!((observed.status.state, observed.status.exit_code), (State::Exited, 137));
    // The next monitor takes over what the dead one left.
    assert_eq!(fixture.run(&fixture.shell("exit 2")).exit_code, 2);
}

#[test]
fn a_terminal_signal_does_not_end_the_monitor() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("sleep 1000"));
    let pid = fixture.monitor_pid();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP]
    {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    assert_eq!(fixture.connect().status().unwrap().state, State::Running);
}

#[test]
fn a_monitor_that_nobody_needs_leaves() {
    let fixture = Fixture::new();
    let connection = fixture.connect();
    assert!(fixture.is_alive());
    let (stream, tty) = connection.attach(Attach { stdout: true, ..Attach::default() }).unwrap();
    assert_eq!(tty, None);
    drop(stream);
    eventually("the monitor leaves", || !fixture.is_alive());
}

#[test]
fn many_clients_at_once_meet_one_monitor() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..10 {
                    fixture.connect().status().unwrap();
                }
            });
        }
    });
}

#[test]
fn pause_stops_time_and_unpause_goes_on() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("while :; do echo tick; sleep 0.01; done"));
    fixture.wait_for_output("tick");
    let mut connection = fixture.connect();
    connection.pause().unwrap();
    assert_eq!(fixture.status().state, State::Paused);
    assert_eq!(kind(connection.pause().unwrap_err()), FailureKind::Paused);
    let mut before = fixture.log();
    // What was in the pipe may still arrive; then nothing more does.
    eventually("the log stands still", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = fixture.log();
        std::mem::replace(&mut before, now.clone()) == now
    });
    connection.unpause().unwrap();
    eventually("the log grows", || fixture.log().len() > before.len());
    connection.pause().unwrap();
    connection.stop(None, Some(0)).unwrap();
    assert_eq!(fixture.status().exit_code, 137);
}

#[test]
fn a_pause_that_is_held_ends_with_its_connection() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("sleep 1000"));
    let mut holder = fixture.connect();
    holder.pause_held().unwrap();
    fixture.connect().status().unwrap();
    assert_eq!(fixture.status().state, State::Paused, "the end of another connection changes nothing");
    drop(holder);
    fixture.wait_for_state(State::Running);
    eventually("it is told", || fixture.events() == ["start", "pause", "unpause"]);
}

#[test]
fn a_pause_of_ones_own_outlives_the_connection_that_held_an_earlier_one() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("sleep 1000"));
    let (mut holder, mut other) = (fixture.connect(), fixture.connect());
    holder.pause_held().unwrap();
    other.unpause().unwrap();
    other.pause().unwrap();
    drop(holder);
    // Two round trips: by the second answer the monitor has seen the end of the connection.
    other.status().unwrap();
    assert_eq!(other.status().unwrap().state, State::Paused);
}

#[test]
fn too_much_memory_is_seen_as_such() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("x=x; while :; do x=$x$x$x$x; done");
    let memory = oci::runtime::Memory { limit: Some(16 << 20), swap: Some(16 << 20), ..Default::default() };
    let resources = oci::runtime::Resources { memory: Some(memory), ..Default::default() };
    config.spec.linux.as_mut().unwrap().resources = Some(resources);
    let exit = fixture.run(&config);
    assert_eq!(exit.exit_code, 137);
    assert!(fixture.status().oom_killed);
    assert!(fixture.events().contains(&"oom".to_owned()));
}

#[test]
fn a_stopped_container_with_a_health_check_is_not_healthy() {
    let fixture = Fixture::new();
    let mut config = fixture.shell("true");
    config.health = Some(monitor::Health { test: vec!["CMD".into(), "true".into()], ..Default::default() });
    fixture.run(&config);
    assert_eq!(fixture.status().health.unwrap().status, HealthStatus::Unhealthy);
}

#[test]
fn an_idle_monitor_is_small() {
    let fixture = Fixture::new();
    fixture.start(&fixture.shell("echo ready; sleep 1000"));
    fixture.wait_for_output("ready");
    let rollup = format!("/proc/{}/smaps_rollup", fixture.monitor_pid().as_raw_nonzero());
    let rollup = std::fs::read_to_string(rollup).unwrap();
    // What is not backed by the binary, which all monitors share: the price of one more container.
    let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap();
    let kibibytes: u32 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes < 400, "{rollup}");
}
