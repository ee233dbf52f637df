//! Devices that a container was not given.
//!
//! Major 240 is for local use: no driver of this machine has it, so a device that may be opened says "No such device", and one
//! that may not "Operation not permitted".

use std::os::fd::AsFd;

use oci::runtime::{DeviceRule, Memory, Resources};
use runtime::Stdio;

use super::join;
use crate::scene::{Scene, cleanup, finish, pipes};

fn rule(allow: bool, typ: &str, number: Option<(i64, i64)>, access: &str) -> DeviceRule {
    DeviceRule {
        allow,
        typ: Some(typ.to_owned()),
        major: number.map(|n| n.0),
        minor: number.map(|n| n.1),
        access: access.to_owned(),
    }
}

/// Docker's rules, and access to one more device.
fn rules(access: &str) -> Resources {
    let mut devices =
        vec![rule(false, "a", None, "rwm"), rule(true, "c", None, "m"), rule(true, "b", None, "m")];
    if !access.is_empty() {
        devices.push(rule(true, "c", Some((240, 7)), access));
    }
    Resources { devices, ..Resources::default() }
}

/// Makes nodes, then tries to read and to write each: a letter for what is possible.
const TRY: &str = r#"
    try() { "$@" 2>&1 | grep -q "not permitted" && echo -n - || echo -n +; }
    read_it() { cat $1; }
    write_it() { : >> $1; }
    mkdir -p /tmp/d; cd /tmp/d
    for device in c:240:7 c:240:8 b:240:7 c:1:1 c:1:2 c:1:4 c:1:11 b:7:0 b:8:0 c:10:229; do
        rm -f node; mknod node $(echo $device | tr : ' '); echo -n "$device "
        (try read_it node; try write_it node) 2>/dev/null; echo
    done
"#;

fn tried(scene: &Scene) -> Vec<String> {
    scene.run().unwrap().output.lines().map(str::to_owned).collect()
}

fn script() -> Scene {
    let script = TRY.replace("rm -f", "busybox rm -f");
    Scene::script(&script)
}

#[test]
fn nodes_of_undeclared_devices_are_useless() {
    for (access, expected) in [("", "--"), ("r", "+-"), ("w", "-+"), ("rw", "++"), ("m", "--"), ("rwm", "++")]
    {
        let lines = tried(&script().resources(rules(access)));
        assert_eq!(lines.len(), 10, "{lines:?}");
        assert_eq!(lines[0], format!("c:240:7 {expected}"), "access {access:?}");
        assert!(lines[1..].iter().all(|line| line.ends_with(" --")), "access {access:?}: {lines:?}");
    }
}

#[test]
fn a_node_cannot_be_made_without_the_right_to() {
    let deny = Resources {
        devices: vec![rule(false, "a", None, "rwm"), rule(true, "c", Some((240, 7)), "rw")],
        ..Resources::default()
    };
    // Making nodes is open to all by the defaults that the runtime adds, as runc's do: the capability decides.
    let mut scene = Scene::script("mknod /tmp/d b 8 0; mknod /tmp/e c 1 1").resources(deny);
    let capabilities = scene.process().capabilities.as_mut().unwrap();
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        set.retain(|name| name != "CAP_MKNOD");
    }
    let outcome = scene.run().unwrap();
    assert_eq!(outcome.output.matches("Operation not permitted").count(), 2, "{outcome:?}");
}

/// New limits must not open devices; nor may there be a moment, before the program runs, in which all are open.
#[test]
fn an_update_and_a_start_open_nothing() {
    let mut scene = script().resources(rules("r"));
    scene.process().args = ["sleep", "1000"].map(str::to_owned).to_vec();
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let pid = created.pid;
    assert_listed(pid);
    let running = created.start().unwrap();
    let mut process = scene.spec.process.clone().unwrap();
    process.args = ["sh", "-c", &TRY.replace("rm -f", "busybox rm -f")].map(str::to_owned).to_vec();
    let probe = || {
        let (reader, stdio) = pipes();
        let joined = join(&running, &cgroup, &process, stdio);
        finish(&joined.unwrap(), reader).output
    };
    let before = probe();
    assert!(before.starts_with("c:240:7 +-\nc:240:8 --\n"), "{before}");
    let memory = Memory { limit: Some(256 << 20), ..Memory::default() };
    cgroup.apply(&Resources { memory: Some(memory), ..Resources::default() }).unwrap();
    assert_eq!(probe(), before);
    assert_listed(pid);
    sys::child::kill_and_reap(running.pidfd.as_fd());
    cleanup(Some(&cgroup));
}

/// Version 1 tells what is allowed: never everything.
#[track_caller]
fn assert_listed(pid: i32) {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = groups.lines().find_map(|line| line.split_once(":devices:"));
    if let Some((_, path)) = own {
        let list = std::fs::read_to_string(format!("/sys/fs/cgroup/devices{path}/devices.list")).unwrap();
        assert!(list.contains("c 240:7 r\n") && !list.lines().any(|line| line.starts_with('a')), "{list}");
    }
}
