//! What the runtime tells: its starting point, its features, its containers, what they use; and limits that change.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use testkit::{binary, eventually};

use super::bundle::Bundle;

/// A bundle whose container `one` sleeps.
fn sleeper() -> Bundle {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id("one"))));
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    bundle
}

fn stats(bundle: &Bundle) -> Value {
    let event: Value =
        serde_json::from_str(&bundle.runtime(&["events", "--stats", "@one"]).ok()).expect("JSON");
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(bundle.id("one"))));
    event["data"].clone()
}

/// `events` that goes on, into a file.
fn events(bundle: &Bundle, interval: &str) -> Child {
    let out = fs::File::create(bundle.path("events")).expect("make a file");
    let mut command = Command::new(binary());
    command.arg("runtime").arg("--root").arg(bundle.path("state"));
    command.args(["events", "--interval", interval, &bundle.id("one")]);
    command.stdin(Stdio::null()).stdout(out).spawn().expect("run")
}

fn seen(bundle: &Bundle, kind: &str) -> usize {
    let text = fs::read_to_string(bundle.path("events")).expect("read");
    let kinds = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    kinds.filter(|event| event["type"] == kind).count()
}

#[test]
fn the_specification_to_start_from_starts() {
    let bundle = Bundle::new("true");
    let own = bundle.path("config.json");
    let text = fs::read_to_string(&own).expect("read");
    let said = bundle.runtime(&["spec"]).fails(1);
    assert!(said.contains("File config.json exists. Remove it first"), "{said}");
    assert_eq!(fs::read_to_string(&own).expect("read"), text);
    fs::remove_file(&own).expect("remove");
    bundle.runtime(&["spec"]).ok();
    assert!(fs::read_to_string(&own).expect("read").contains("\n\t\"process\": {\n\t\t\"terminal\": true"));
    bundle.edit(|config| {
        assert_eq!(config["process"]["args"], json!(["sh"]));
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", "echo $TERM; touch /here"]);
    });
    let typed = bundle.runtime(&["run", "@one"]).fails(1);
    assert!(typed.contains("Read-only file system"), "{typed}");
    let folder = bundle.path("other");
    fs::create_dir(&folder).expect("make a folder");
    bundle.runtime(&["spec", "--rootless", "--bundle", "other"]).ok();
    let config: Value =
        serde_json::from_slice(&fs::read(folder.join("config.json")).expect("read")).expect("JSON");
    assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    assert_eq!(config["linux"]["resources"], Value::Null);
}

#[test]
fn features_are_words_that_a_specification_may_have() {
    let bundle = Bundle::new("true");
    let features: Value = serde_json::from_str(&bundle.runtime(&["features"]).ok()).expect("JSON");
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(features["hooks"].as_array().map(Vec::len), Some(6));
    let words = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).expect("words") };
    assert!(words(&features["mountOptions"]).contains(&"rro".to_owned()), "{features}");
    let linux = &features["linux"];
    assert!(words(&linux["namespaces"]).contains(&"network".to_owned()), "{features}");
    assert_eq!(linux["cgroup"]["v2"], json!(true));
    let seccomp = &linux["seccomp"];
    let rules: Vec<Value> = words(&seccomp["operators"])
        .into_iter()
        .map(|op| json!({"names": ["swapoff"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 9, "op": op}]}))
        .chain(words(&seccomp["actions"]).into_iter().filter(|action| action != "SCMP_ACT_NOTIFY").map(
            |action| json!({"names": ["swapon"], "action": action}),
        ))
        .collect();
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": seccomp["archs"],
            "syscalls": rules
        });
    });
    bundle.runtime(&["run", "@one"]).ok();
}

#[test]
fn containers_and_their_processes_are_listed() {
    let bundle = sleeper();
    let (id, folder) = (bundle.id("one"), bundle.path(""));
    assert_eq!(bundle.runtime(&["list", "--quiet"]).ok(), id);
    let table = bundle.runtime(&["list"]).ok();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let state = bundle.state("one");
    let (pid, created) = (state["pid"].to_string(), state["created"].as_str().expect("a time"));
    let path = folder.to_string_lossy();
    assert_eq!(rows[1], [&id, &pid, "running", path.trim_end_matches('/'), created, "root"]);
    let list: Value = serde_json::from_str(&bundle.runtime(&["list", "-f", "json"]).ok()).expect("JSON");
    assert_eq!((&list[0]["id"], &list[0]["owner"]), (&json!(id), &json!("root")));
    assert_eq!(bundle.runtime(&["ps", "--format", "json", "@one"]).ok(), format!("[{pid}]"));
    eventually("the shell has become what it runs", || {
        let table = bundle.runtime(&["ps", "@one", "-o", "comm,pid"]).ok();
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        rows == [["COMMAND", "PID"], ["sleep", &pid]]
    });
    assert!(bundle.runtime(&["ps", "@one", "-o", "comm"]).fails(1).contains("couldn't find PID field"));
    bundle.runtime(&["kill", "@one", "KILL"]).ok();
    bundle.await_status("one", "stopped");
    assert_eq!(bundle.runtime(&["ps", "-f", "json", "@one"]).ok(), "null");
    bundle.runtime(&["delete", "@one"]).ok();
    assert_eq!(bundle.runtime(&["list", "-f", "json"]).ok(), "null");
}

#[test]
fn limits_change_and_half_of_a_pair_knows_the_other() {
    let bundle = sleeper();
    let mib = |n: u64| json!(n << 20);
    bundle.runtime(&["update", "--memory", "64M", "--memory-swap", "128m", "--pids-limit", "7", "@one"]).ok();
    let used = stats(&bundle);
    assert_eq!(used["memory"]["usage"]["limit"], mib(64));
    assert_eq!(used["memory"]["swap"]["limit"], mib(128));
    assert_eq!(used["pids"], json!({"current": 1, "limit": 7}));
    // Beyond what memory and swap had together: one has to be moved before the other.
    bundle.runtime(&["update", "--memory", "200M", "--memory-swap", "300M", "@one"]).ok();
    bundle.runtime(&["update", "--memory", "96M", "@one"]).ok();
    let used = stats(&bundle);
    assert_eq!(used["memory"]["usage"]["limit"], mib(96));
    assert_eq!(used["memory"]["swap"]["limit"], mib(300));
    assert!(
        bundle
            .runtime(&["update", "--memory", "400M", "@one"])
            .fails(1)
            .contains("is below the memory limit")
    );
    assert_eq!(stats(&bundle)["memory"]["usage"]["limit"], mib(96), "nothing is left half done");
    fs::write(bundle.path("limits"), r#"{"pids": {"limit": -1}, "memory": {"limit": 100663297}}"#)
        .expect("write");
    assert!(bundle.runtime(&["update", "-r", "limits", "@one", "--memory", "1x"]).ok().is_empty());
    assert_eq!(stats(&bundle)["pids"], json!({"current": 1}));
    bundle.runtime(&["update", "-r", "-", "@one"]).input(r#"{"pids": {"limit": 9}}"#).ok();
    assert_eq!(stats(&bundle)["pids"]["limit"], 9);
    for (words, said) in [
        (["--memory", "1x"], "invalid value for memory"),
        (["--cpu-period", "-5"], "invalid value for cpu-period"),
        (["--resources", "nowhere"], "nowhere"),
    ] {
        let text = bundle.runtime(&["update", words[0], words[1], "@one"]).fails(1);
        assert!(text.contains(said), "{text}");
    }
    bundle.runtime(&["kill", "@one", "KILL"]).ok();
    bundle.await_status("one", "stopped");
    assert!(
        bundle.runtime(&["update", "--memory", "64M", "@one"]).fails(1).contains("container not running")
    );
}

#[test]
fn events_end_with_the_container() {
    let bundle = sleeper();
    for part in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(stats(&bundle).get(part).is_some(), "{part}");
    }
    assert!(
        bundle
            .runtime(&["events", "--interval", "0s", "@one"])
            .fails(1)
            .contains("duration interval must be greater than 0")
    );
    let mut events = events(&bundle, "20ms");
    eventually("several readings", || seen(&bundle, "stats") > 2);
    bundle.runtime(&["kill", "@one", "KILL"]).ok();
    assert!(events.wait().expect("wait").success());
    assert_eq!(seen(&bundle, "oom"), 0);
    let text = bundle.runtime(&["events", "@one"]).fails(1);
    assert!(text.contains(&format!("container with id {} is not running", bundle.id("one"))), "{text}");
}

#[test]
fn want_of_memory_is_an_event() {
    let bundle = Bundle::new("read go < /go; x=a; while :; do x=$x$x; done");
    bundle.edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id("one")));
        config["linux"]["resources"] = json!({"memory": {"limit": 33554432, "swap": 33554432}});
    });
    let go = bundle.path("rootfs/go");
    assert!(Command::new("mkfifo").arg(&go).status().expect("run").success());
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    let mut events = events(&bundle, "20ms");
    // It listens before it reads for the first time.
    eventually("a reading", || seen(&bundle, "stats") > 0);
    fs::write(&go, "\n").expect("write");
    assert!(events.wait().expect("wait").success());
    assert!(seen(&bundle, "oom") > 0);
    bundle.await_status("one", "stopped");
}

/// A document that names no absolute path is below whoever runs it, and so within what limits that one.
#[test]
fn groups_without_an_absolute_path_are_below_the_callers() {
    for (named, inner) in [("", None), ("rel//../ative", Some("ative"))] {
        let bundle = Bundle::new("exec sleep 1000");
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(named));
        bundle.create("one");
        let id = bundle.id("one");
        let pid = bundle.state("one")["pid"].as_u64().expect("a number");
        let groups = |process: &str| fs::read_to_string(format!("/proc/{process}/cgroup")).expect("read");
        let (own, theirs) = (groups("self"), groups(&pid.to_string()));
        // With version 2 alone it lies beside.
        let beside = own.lines().count() == 1;
        for (own, theirs) in own.lines().zip(theirs.lines()) {
            let (hierarchy, above) = own.rsplit_once(':').expect("a path");
            let above = if beside { above.rsplit_once('/').map_or("", |(up, _)| up) } else { above };
            let name = inner.unwrap_or(&id);
            // Hierarchies that are not mounted leave a process where it is.
            if theirs != own {
                assert_eq!(theirs, format!("{hierarchy}:{}/{name}", above.trim_end_matches('/')));
            }
        }
        assert_ne!(own, theirs);
        assert!(bundle.runtime(&["ps", "@one"]).ok().contains(&pid.to_string()));
        bundle.runtime(&["delete", "--force", "@one"]).ok();
        let left = Command::new("find")
            .args(["/sys/fs/cgroup", "-type", "d", "-name", inner.unwrap_or(&id)])
            .output();
        assert_eq!(String::from_utf8_lossy(&left.expect("run").stdout), "");
    }
}
