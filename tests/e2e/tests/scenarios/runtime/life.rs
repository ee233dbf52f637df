//! From create to delete.

use std::fs;
use std::process::Command;

use serde_json::json;
use testkit::{binary, eventually};

use super::bundle::Bundle;

#[test]
fn a_container_waits_runs_and_goes() {
    let bundle = Bundle::new("echo begun; exec sleep 1000");
    bundle.create("one");
    let state = bundle.state("one");
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], bundle.id("one"));
    assert!(fs::exists(format!("/proc/{}", state["pid"])).expect("look"), "{state}");
    assert_eq!(bundle.out(), "");
    bundle.runtime(&["start", "@one"]).ok();
    assert_eq!(bundle.status("one"), "running");
    eventually("it has begun", || bundle.out() == "begun\n");
    assert!(
        bundle.runtime(&["start", "@one"]).fails(1).contains("cannot start an already running container")
    );
    assert!(bundle.runtime(&["delete", "@one"]).fails(1).contains("that is not stopped: running"));
    bundle.runtime(&["kill", "@one", "KILL"]).ok();
    bundle.await_status("one", "stopped");
    assert!(bundle.runtime(&["kill", "@one"]).fails(1).contains("container not running"));
    bundle.runtime(&["delete", "@one"]).ok();
    for words in [&["state", "@one"][..], &["start", "@one"], &["delete", "@one"]] {
        assert!(bundle.runtime(words).fails(1).contains("container does not exist"));
    }
    bundle.runtime(&["delete", "--force", "@one"]).ok();
    assert_eq!(fs::read_dir(bundle.path("state")).expect("read").count(), 0);
}

#[test]
fn a_container_that_was_never_started_goes_as_well() {
    let bundle = Bundle::new("echo never");
    bundle.create("one");
    assert!(bundle.runtime(&["create", "@one"]).fails(1).contains("container with given ID already exists"));
    bundle.runtime(&["delete", "@one"]).ok();
    bundle.create("one");
    bundle.runtime(&["kill", "@one", "SIGKILL"]).ok();
    bundle.await_status("one", "stopped");
    bundle.runtime(&["delete", "@one"]).ok();
    assert_eq!(bundle.out(), "");
}

#[test]
fn what_pauses_does_not_run() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    bundle.runtime(&["pause", "@one"]).ok();
    assert_eq!(bundle.status("one"), "paused");
    assert!(
        bundle.runtime(&["exec", "@one", "true"]).fails(255).contains("cannot exec in a paused container")
    );
    bundle.runtime(&["resume", "@one"]).ok();
    assert_eq!(bundle.status("one"), "running");
    assert!(bundle.runtime(&["resume", "@one"]).fails(1).contains("container not paused"));
    bundle.runtime(&["pause", "@one"]).ok();
    bundle.runtime(&["delete", "--force", "@one"]).ok();
}

#[test]
fn what_is_paused_before_its_start_does_not_start_behind_ones_back() {
    let bundle = Bundle::new("echo begun; exec sleep 1000");
    bundle.create("one");
    bundle.runtime(&["pause", "@one"]).ok();
    assert_eq!(bundle.status("one"), "paused");
    let error = bundle.runtime(&["start", "@one"]).fails(1);
    assert!(error.contains("cannot start a container in the paused state"), "{error}");
    bundle.runtime(&["resume", "@one"]).ok();
    assert_eq!(bundle.status("one"), "created");
    assert_eq!(bundle.out(), "");
    bundle.runtime(&["start", "@one"]).ok();
    eventually("it has begun", || bundle.out() == "begun\n");
}

#[test]
fn hooks_are_told_of_each_turn() {
    let bundle = Bundle::new("true");
    bundle.edit(|config| {
        let hook =
            |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat > {name}.json")]}]);
        config["hooks"] = json!({
            "prestart": hook("early"), "createRuntime": hook("created"), "poststart": hook("started"),
            "poststop": hook("stopped"),
        });
        let kinds = ["prestart", "createRuntime", "poststart", "poststop"];
        for (kind, name) in kinds.into_iter().zip(["early", "created", "started", "stopped"]) {
            let path = bundle.path(&format!("{name}.json"));
            config["hooks"][kind][0]["args"][2] = json!(format!("cat > {}", path.display()));
        }
    });
    bundle.runtime(&["run", "@one"]).ok();
    let told =
        [("early", "created"), ("created", "creating"), ("started", "running"), ("stopped", "stopped")];
    for (name, status) in told {
        let text = fs::read(bundle.path(&format!("{name}.json"))).expect(name);
        let state: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!((&state["status"], &state["id"]), (&json!(status), &json!(bundle.id("one"))), "{name}");
    }
}

#[test]
fn signals_go_by_name_number_and_to_all() {
    let bundle = Bundle::new("trap 'echo got it; exit 0' USR1; echo begun; while :; do sleep 0.05; done");
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    eventually("it has begun", || bundle.out() == "begun\n");
    assert!(
        bundle.runtime(&["kill", "@one", "NONSENSE"]).fails(1).contains(r#"unknown signal \"NONSENSE\""#)
    );
    bundle.runtime(&["kill", "@one", "0"]).ok();
    bundle.runtime(&["kill", "--all", "@one", "10"]).ok();
    bundle.await_status("one", "stopped");
    // Before that the shell may tell of the sleep that got it too.
    assert!(bundle.out().ends_with("got it\n"), "{}", bundle.out());
}

#[test]
fn a_creator_that_is_killed_leaves_what_can_be_deleted() {
    let bundle = Bundle::new("true");
    for pause in 0..20 {
        let mut command = Command::new(binary());
        command.arg("runtime").arg("--root").arg(bundle.path("state")).arg("create");
        command.arg("--bundle").arg(bundle.path(".")).arg(bundle.id("one"));
        let mut creator = command.stdin(std::process::Stdio::null()).spawn().expect("run");
        // Each round a little later: somewhere in between everything is begun.
        std::thread::sleep(std::time::Duration::from_micros(400 * pause));
        creator.kill().expect("kill");
        creator.wait().expect("reap");
        bundle.runtime(&["delete", "--force", "@one"]).ok();
        assert_eq!(fs::read_dir(bundle.path("state")).map_or(0, Iterator::count), 0);
        let groups = fs::read_dir("/sys/fs/cgroup").expect("read");
        for group in groups.flatten() {
            assert!(!group.path().join(bundle.id("one")).exists(), "{}", group.path().display());
        }
    }
}
