//! Fields of the runtime specification that Docker has no use for.

use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use oci::runtime::{
    ContainerProcessState, IntelRdt, IoPriority, MemoryPolicy, NetDevice, Personality, Rlimit, Scheduler,
    Seccomp, SeccompAction, SeccompRule, User,
};
use runtime::{Error, Stdio};

use crate::scene::{Scene, cleanup, finish, pipes};

#[test]
fn the_execution_domain() {
    let mut scene = Scene::new(&["uname", "-m"]);
    scene.linux().personality = Some(Personality { domain: "LINUX32".to_owned(), flags: Vec::new() });
    let outcome = scene.run().unwrap();
    assert!(["i686\n", "armv8l\n"].contains(&outcome.output.as_str()), "{outcome:?}");
}

#[test]
fn schedulers_and_priorities() {
    let scheduler = |policy: &str| Scheduler { policy: policy.to_owned(), ..Scheduler::default() };
    // The policy is the 41st, the real-time priority the 40th field; niceness the 19th.
    let show = "cut -d' ' -f19,40,41 /proc/self/stat";
    let mut scene = Scene::script(show);
    scene.process().scheduler = Some(Scheduler { nice: Some(7), ..scheduler("SCHED_BATCH") });
    scene.prints("7 0 3");
    scene.process().scheduler = Some(Scheduler { priority: Some(3), ..scheduler("SCHED_FIFO") });
    let outcome = scene.run();
    // Real-time groups of version 1 may have no time to give.
    match outcome {
        Ok(outcome) => assert_eq!(outcome.output.trim(), "0 3 1"),
        Err(error) => assert!(error.to_string().starts_with("set the scheduler: "), "{error}"),
    }
    let refused = [
        Scheduler { nice: Some(20), ..scheduler("SCHED_OTHER") },
        Scheduler { priority: Some(1), ..scheduler("SCHED_OTHER") },
        Scheduler { priority: Some(-1), ..scheduler("SCHED_RR") },
        Scheduler { runtime: Some(1000), ..scheduler("SCHED_FIFO") },
        Scheduler { flags: vec!["SCHED_FLAG_NONE".to_owned()], ..scheduler("SCHED_OTHER") },
        scheduler("SCHED_NONE"),
    ];
    for scheduler in refused {
        scene.process().scheduler = Some(scheduler.clone());
        assert!(matches!(scene.run(), Err(Error::Spec { .. })), "{scheduler:?}");
    }
    let mut scene = Scene::new(&["ionice", "-p", "1"]);
    scene.process().io_priority = Some(IoPriority { class: "IOPRIO_CLASS_BE".to_owned(), priority: 6 });
    scene.prints("best-effort: prio 6");
    scene.process().io_priority = Some(IoPriority { class: "IOPRIO_CLASS_BE".to_owned(), priority: 8 });
    assert!(matches!(scene.run(), Err(Error::Spec { .. })));
}

#[test]
fn deadlines() {
    let mut scene = Scene::script("cut -d' ' -f41 /proc/self/stat");
    scene.process().scheduler = Some(Scheduler {
        policy: "SCHED_DEADLINE".to_owned(),
        // Children of a deadline task must not inherit it, or there are none.
        flags: vec!["SCHED_FLAG_RESET_ON_FORK".to_owned()],
        runtime: Some(1_000_000),
        deadline: Some(10_000_000),
        period: Some(10_000_000),
        ..Scheduler::default()
    });
    scene.spec.process.as_mut().unwrap().args =
        vec!["cut".to_owned(), "-d ".to_owned(), "-f41".to_owned(), "/proc/self/stat".to_owned()];
    match scene.run() {
        Ok(outcome) => assert_eq!(outcome.output.trim(), "6"),
        // The machine has no time left to promise, or the group is bound to processors.
        Err(error) => assert!(error.to_string().starts_with("set the scheduler: "), "{error}"),
    }
}

#[test]
fn memory_nodes() {
    let mut scene = Scene::script("head -1 /proc/self/numa_maps | cut -d' ' -f2");
    let policy = |mode: &str, nodes: &str| MemoryPolicy {
        mode: mode.to_owned(),
        nodes: nodes.to_owned(),
        flags: Vec::new(),
    };
    scene.linux().memory_policy = Some(policy("MPOL_BIND", "0"));
    if Path::new("/proc/self/numa_maps").exists() {
        scene.prints("bind:0");
    } else {
        let error = scene.run().unwrap_err().to_string();
        assert!(error.contains("set memory policy MPOL_BIND"), "{error}");
    }
    scene.linux().memory_policy = Some(policy("MPOL_BIND", "0-"));
    assert!(matches!(scene.run(), Err(Error::Spec { .. })));
}

#[test]
fn rlimits_are_given_once() {
    let mut scene = Scene::new(&["true"]);
    let limit = Rlimit { typ: "RLIMIT_CORE".to_owned(), soft: 0, hard: 0 };
    scene.process().rlimits = vec![limit.clone(), limit];
    assert!(scene.run().unwrap_err().to_string().contains("twice"));
}

#[test]
fn the_umask_of_the_process() {
    let mut scene = Scene::script("umask; touch /tmp/file; stat -c %a /tmp/file");
    scene.process().user = User { umask: Some(0o027), ..User::default() };
    scene.prints("0027\n640");
}

#[test]
fn labels_of_modules_that_are_not_there_are_told_in_runcs_words() {
    if !Path::new("/sys/module/apparmor").exists() {
        let mut scene = Scene::new(&["true"]);
        scene.process().apparmor_profile = "some-profile".to_owned();
        let error = scene.run().unwrap_err().to_string();
        assert!(error.contains("apparmor: config provided but apparmor not supported"), "{error}");
        scene.process().apparmor_profile = "unconfined".to_owned();
        assert_eq!(scene.run().unwrap().code, 0);
    }
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        let mut scene = Scene::new(&["true"]);
        scene.process().selinux_label = "system_u:system_r:container_t:s0".to_owned();
        let error = scene.run().unwrap_err().to_string();
        assert!(error.contains("selinux label is specified in config, but selinux is disabled"), "{error}");
        let mut scene = Scene::new(&["true"]);
        scene.linux().mount_label = "system_u:object_r:container_file_t:s0".to_owned();
        assert_eq!(scene.run().unwrap().code, 0);
    }
}

#[test]
fn resource_director_settings_need_its_file_system() {
    let mut scene = Scene::new(&["true"]);
    scene.linux().intel_rdt = Some(IntelRdt { l3_cache_schema: "L3:0=f".to_owned(), ..IntelRdt::default() });
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ");
    if !mounted {
        let error = scene.run().unwrap_err().to_string();
        assert!(error.contains("intelRdt") && error.contains("resctrl"), "{error}");
    }
}

fn ip(args: &str) {
    let status = std::process::Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(status.success(), "ip {args}");
}

#[test]
fn network_devices_move_with_their_addresses() {
    let name = format!("mv{}", std::process::id());
    ip(&format!("link add {name} type veth peer name {name}p"));
    ip(&format!("addr add 192.0.2.7/24 dev {name}"));
    ip(&format!("addr add 2001:db8::7/64 dev {name}"));
    let mut scene = Scene::script("ip -o addr show dev inside; cat /sys/class/net/inside/flags");
    let device = NetDevice { name: "inside".to_owned() };
    scene.linux().net_devices.insert(name.clone(), device);
    let outcome = scene.run();
    // The other end goes with it; where it has not moved this is what is left.
    let _ = std::process::Command::new("ip")
        .args(["link", "del", &name])
        .stderr(std::process::Stdio::null())
        .status();
    let output = outcome.unwrap().output;
    assert!(output.contains("192.0.2.7/24") && output.contains("2001:db8::7/64"), "{output}");
    assert!(output.trim_end().ends_with("0x1003"), "{output}");
    let mut scene = Scene::new(&["true"]);
    scene.linux().net_devices.insert("no-such-device".to_owned(), NetDevice::default());
    let error = scene.run().unwrap_err();
    assert!(error.to_string().contains("no-such-device"), "{error}");
}

/// Takes one connection: the document and the descriptor.
fn hear(socket: &UnixListener) -> (ContainerProcessState, OwnedFd) {
    let (mut stream, _) = socket.accept().unwrap();
    let mut bytes = vec![0u8; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
    let length = rustix::net::recvmsg(&stream, &mut parts, &mut ancillary, flags).unwrap().bytes;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let rustix::net::RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    bytes.truncate(length);
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(fds.len(), 1);
    (serde_json::from_slice(&bytes).unwrap(), fds.remove(0))
}

fn notifying(path: &Path) -> Seccomp {
    Seccomp {
        default_action: SeccompAction::Allow,
        listener_path: path.to_str().unwrap().to_owned(),
        listener_metadata: "for the agent".to_owned(),
        flags: vec![
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV".to_owned(),
            "SECCOMP_FILTER_FLAG_TSYNC".to_owned(),
        ],
        syscalls: vec![SeccompRule {
            names: vec!["mkdir".to_owned(), "mkdirat".to_owned()],
            action: SeccompAction::Notify,
            ..SeccompRule::default()
        }],
        ..Seccomp::default()
    }
}

#[test]
fn an_agent_gets_the_listener_and_decides() {
    for no_new_privileges in [false, true] {
        let mut scene = Scene::script("mkdir /tmp/a; mkdir /tmp/b; test -e /tmp/a || echo none");
        let path = scene.dir.path().join("agent.sock");
        let socket = UnixListener::bind(&path).unwrap();
        scene.process().no_new_privileges = no_new_privileges;
        scene.spec.annotations.insert("key".to_owned(), "value".to_owned());
        let scene = scene.seccomp(notifying(&path));
        let (state, outcome) = std::thread::scope(|scope| {
            let agent = scope.spawn(|| {
                let (state, listener) = hear(&socket);
                let mut polled = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
                assert_eq!(rustix::event::poll(&mut polled, None).unwrap(), 1);
                // Calls that nobody listens to any more are not there (ENOSYS).
                drop(listener);
                state
            });
            let (reader, stdio) = pipes();
            let created = scene.create(stdio).unwrap();
            let (group, pid) = (created.cgroup.clone(), created.pid);
            let outcome = finish(&created.start().unwrap(), reader);
            cleanup(group.as_ref());
            let state = agent.join().unwrap();
            assert_eq!((state.pid, state.state.pid), (pid, Some(pid)));
            (state, outcome)
        });
        assert_eq!(state.fds, ["seccompFd"]);
        assert_eq!((state.metadata.as_str(), state.state.id.as_str()), ("for the agent", "test"));
        assert_eq!(state.state.status, "creating");
        assert_eq!(state.state.annotations["key"], "value");
        assert!(
            outcome.output.contains("Function not implemented") && outcome.output.ends_with("none\n"),
            "{outcome:?}"
        );
    }
}

#[test]
fn without_an_agent_there_is_no_container() {
    let scene = Scene::new(&["true"]);
    let path = scene.dir.path().join("nobody.sock");
    let error = scene.seccomp(notifying(&path)).run().unwrap_err();
    assert!(error.to_string().contains("nobody.sock"), "{error}");
}

#[test]
fn a_root_is_entered_without_a_pivot() {
    let scene = Scene::script(
        "ls /; ls /../.. | wc -l; cat /proc/self/mounts | grep -c ' /proc '; readlink /proc/1/root; mkdir /tmp/x; test -d /tmp/x && echo made",
    );
    let (reader, stdio) = pipes();
    let created = runtime::create(runtime::Create {
        id: "test",
        spec: &scene.spec,
        rootfs: runtime::Rootfs::Path(scene.rootfs()),
        mounted: None,
        bundle: None,
        stdio,
        netns: None,
        preserve_fds: 0,
        die_with_parent: true,
        no_pivot: true,
        inherit_keyring: false,
    });
    let created = created.unwrap();
    let group = created.cgroup.clone();
    let running = created.start().unwrap();
    let machine = std::fs::metadata("/proc/self/stat");
    assert!(machine.is_ok(), "the machine's own procfs is as it was");
    let outcome = finish(&running, reader);
    cleanup(group.as_ref());
    assert_eq!(outcome.output, "bin\ndev\netc\nproc\nroot\nsys\ntmp\n7\n1\n/\nmade\n", "{outcome:?}");
}

#[test]
fn an_exec_runs_on_the_processors_it_is_given() {
    let scene = Scene::new(&["sleep", "1000"]);
    let created = scene.create(Stdio::Null).unwrap();
    let group = created.cgroup.clone();
    let running = created.start().unwrap();
    let mut process = scene.spec.process.clone().unwrap();
    process.args = ["grep", "Cpus_allowed_list", "/proc/self/status"].map(str::to_owned).to_vec();
    let affinity = oci::runtime::CpuAffinity { initial: "0".to_owned(), finally: "0".to_owned() };
    process.exec_cpu_affinity = Some(affinity);
    let (reader, stdio) = pipes();
    let done = runtime::exec(runtime::Exec {
        pid: running.pid,
        pidfd: running.pidfd.as_fd(),
        process: &process,
        namespaces: None,
        cgroup: group.as_ref(),
        cgroup_only: false,
        filter: None,
        seccomp: None,
        stdio,
        preserve_fds: 0,
        die_with_parent: true,
        container: None,
    });
    let outcome = finish(&done.unwrap(), reader);
    cleanup(group.as_ref());
    assert_eq!(outcome.output, "Cpus_allowed_list:\t0\n");
}
