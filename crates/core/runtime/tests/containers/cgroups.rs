//! Limits, and what a group tells.

use std::os::fd::AsFd;
use std::time::Duration;

use oci::runtime::{Cpu, DeviceRule, Memory, Pids, Resources};
use runtime::Stdio;
use runtime::cgroup::Cgroup;

use crate::scene::{Scene, cleanup, eventually};

fn deny_all() -> DeviceRule {
    DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() }
}

#[test]
fn the_number_of_tasks_is_limited() {
    let scene = Scene::script("for i in 1 2 3 4 5 6; do sleep 5 & done; echo all")
        .resources(Resources { pids: Some(Pids { limit: 3 }), ..Resources::default() });
    let outcome = scene.run().unwrap();
    assert!(outcome.output.contains("can't fork"), "{outcome:?}");
}

#[test]
fn memory_is_limited_and_the_kill_is_told() {
    let memory = Memory { limit: Some(16 << 20), swap: Some(16 << 20), ..Memory::default() };
    let scene = Scene::script("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived")
        .resources(Resources { memory: Some(memory), ..Resources::default() });
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let mut events = cgroup.oom_events().unwrap();
    assert_eq!(cgroup.stats().unwrap().memory.limit, Some(16 << 20));
    let running = created.start().unwrap();
    let exit = sys::child::wait(running.pidfd.as_fd()).unwrap();
    assert_eq!(exit.code(), 137);
    assert!(cgroup.oom_kills() >= 1);
    let mut polled = [rustix::event::PollFd::new(&events, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut polled, None).unwrap(), 1);
    assert!(events.drain().unwrap() >= 1);
    cleanup(Some(&cgroup));
}

#[test]
fn a_running_container_is_updated_frozen_listed_and_killed() {
    let scene = Scene::script("sleep 1000 & sleep 1000 & wait");
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let running = created.start().unwrap();
    eventually("two sleepers", || cgroup.pids().unwrap().len() == 3);
    assert!(cgroup.pids().unwrap().contains(&running.pid));
    let cpu = Cpu { quota: Some(20_000), period: Some(100_000), shares: Some(512), ..Cpu::default() };
    let memory = Memory { limit: Some(64 << 20), ..Memory::default() };
    let update = Resources { cpu: Some(cpu), memory: Some(memory), ..Resources::default() };
    cgroup.apply(&update).unwrap();
    let memory = Memory { limit: Some(32 << 20), ..Memory::default() };
    cgroup.apply(&Resources { memory: Some(memory), ..Resources::default() }).unwrap();
    let stats = cgroup.stats().unwrap();
    assert_eq!(stats.memory.limit, Some(32 << 20));
    assert!(stats.memory.usage > 0 && stats.cpu.total > 0, "{stats:?}");
    assert_eq!(stats.pids.current, 3);
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    assert_eq!(sys::child::wait(running.pidfd.as_fd()).unwrap().code(), 137);
    cgroup.delete(Duration::from_secs(10)).unwrap();
    assert!(!cgroup.exists());
    cgroup.delete(Duration::ZERO).unwrap();
}

#[test]
fn devices_outside_the_rules_are_refused() {
    let scene = Scene::script(
        "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; head -c 1 /dev/zero | wc -c; true < /dev/pts/ptmx && echo ptmx",
    )
    .resources(Resources { devices: vec![deny_all()], ..Resources::default() });
    let outcome = scene.run().unwrap();
    assert!(outcome.output.contains("kmsg: Operation not permitted"), "{outcome:?}");
    assert!(outcome.output.ends_with("1\nptmx\n"), "{outcome:?}");
    let allowed = DeviceRule {
        allow: true,
        typ: Some("c".to_owned()),
        major: Some(1),
        minor: Some(11),
        access: "r".to_owned(),
    };
    let script = "mknod /tmp/kmsg c 1 11; dd if=/tmp/kmsg of=/dev/null bs=8192 count=1 2>/dev/null && echo read; echo x > /tmp/kmsg";
    let mut scene = Scene::script(script)
        .resources(Resources { devices: vec![deny_all(), allowed], ..Resources::default() });
    let caps = scene.process().capabilities.as_mut().unwrap();
    for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
        set.push("CAP_SYSLOG".to_owned());
    }
    let outcome = scene.run().unwrap();
    assert!(outcome.output.starts_with("read\n"), "{outcome:?}");
    assert!(outcome.output.contains("Operation not permitted"), "{outcome:?}");
}

#[test]
fn what_the_machine_does_not_have_is_a_warning() {
    let io = oci::runtime::BlockIo { weight: Some(500), ..Default::default() };
    let cgroup = Cgroup::new(&format!("/dhow-test-warn-{}", std::process::id())).unwrap();
    cgroup.create().unwrap();
    let warnings = cgroup.apply(&Resources { block_io: Some(io), ..Resources::default() }).unwrap();
    let files = ["blkio.weight", "blkio.bfq.weight"];
    let group = std::path::Path::new("/sys/fs/cgroup/blkio").join(cgroup.path().trim_start_matches('/'));
    let known = files.iter().any(|file| group.join(file).exists());
    let version_2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert!(known || version_2 || warnings.iter().any(|w| w.contains("block I/O weight")), "{warnings:?}");
    cgroup.delete(Duration::from_secs(1)).unwrap();
}

#[test]
fn bad_paths_are_refused() {
    for path in ["", "relative", "/a/../b", "/", "/a//b"] {
        assert!(Cgroup::new(path).is_err(), "{path:?}");
    }
}

#[test]
fn a_group_that_can_not_be_had_leaves_nothing() {
    let memory = Memory { limit: Some(4096), ..Memory::default() };
    let scene = Scene::new(&["true"]).resources(Resources { memory: Some(memory), ..Resources::default() });
    let path = scene.spec.linux.as_ref().unwrap().cgroups_path.clone();
    assert!(scene.run().is_err());
    assert!(!Cgroup::new(&path).unwrap().exists());
}

#[test]
fn a_container_without_device_rules_has_not_those_of_the_machine() {
    let outcome = Scene::script("mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg; head -c 1 /dev/zero | wc -c")
        .run()
        .unwrap();
    assert!(
        outcome.output.contains("kmsg: Operation not permitted") && outcome.output.ends_with("1\n"),
        "{outcome:?}"
    );
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_when_asked_for() {
    let scene =
        Scene::script("x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo > /tmp/full; sleep 1000; true");
    let created = scene.create(Stdio::Null).unwrap();
    let cgroup = created.cgroup.clone().unwrap();
    let _running = created.start().unwrap();
    let full = scene.rootfs().join("tmp/full");
    eventually("memory in use", || full.exists());
    let memory =
        |check| Memory { limit: Some(1 << 20), check_before_update: Some(check), ..Memory::default() };
    let refused = cgroup.apply(&Resources { memory: Some(memory(true)), ..Resources::default() });
    assert!(refused.unwrap_err().to_string().contains("rejecting memory limit"));
    cleanup(Some(&cgroup));
}

#[test]
fn settings_that_this_machine_has_no_file_for_are_told_of() {
    let json = r#"{"network": {"classID": 5, "priorities": [{"name": "lo", "priority": 5}]},
        "rdma": {"no-such-device": {"hcaHandles": 3}}, "memory": {"kernel": 1048576}}"#;
    let resources: Resources = serde_json::from_str(json).unwrap();
    let cgroup = Cgroup::new(&format!("/dhow-test-told-{}", std::process::id())).unwrap();
    cgroup.create().unwrap();
    let applied = cgroup.apply(&resources);
    cgroup.delete(Duration::from_secs(1)).unwrap();
    // Where there is an rdma controller it knows of no such device.
    if let Ok(warnings) = applied {
        for what in ["network class", "network priority", "RDMA limit", "kernel memory"] {
            let mounted =
                std::path::Path::new("/sys/fs/cgroup/net_cls").exists() && what.starts_with("network");
            assert!(mounted || warnings.iter().any(|warning| warning.contains(what)), "{what}: {warnings:?}");
        }
    }
}
