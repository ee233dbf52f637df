//! More processes in a running container.

use std::os::fd::AsFd;

use oci::runtime::{Process, User};
use runtime::cgroup::Cgroup;
use runtime::{Exec, Running, Stdio};

use crate::scene::{Outcome, Scene, cleanup, finish, pipes};

struct Container {
    scene: Scene,
    running: Running,
    cgroup: Cgroup,
}

impl Container {
    fn start() -> Container {
        Container::start_with(|scene| scene)
    }

    fn start_with(change: impl FnOnce(Scene) -> Scene) -> Container {
        let mut scene = Scene::new(&["sleep", "1000"]);
        let bounding = &scene.process().capabilities.as_ref().unwrap().bounding;
        let seccomp = runtime::seccomp::docker_default(bounding);
        let scene = change(scene.seccomp(seccomp));
        let created = scene.create(Stdio::Null).unwrap();
        let cgroup = created.cgroup.clone().unwrap();
        Container { running: created.start().unwrap(), scene, cgroup }
    }

    fn process(&self, args: &[&str]) -> Process {
        let args = args.iter().map(|s| (*s).to_owned()).collect();
        Process { args, ..self.scene.spec.process.clone().unwrap() }
    }

    fn exec(&self, process: &Process, stdio: Stdio) -> Result<Running, runtime::Error> {
        runtime::exec(Exec {
            pid: self.running.pid,
            pidfd: self.running.pidfd.as_fd(),
            process,
            namespaces: None,
            cgroup: Some(&self.cgroup),
            cgroup_only: false,
            filter: None,
            seccomp: self.scene.spec.linux.as_ref().unwrap().seccomp.as_ref(),
            stdio,
            preserve_fds: 0,
            die_with_parent: true,
            container: None,
        })
    }

    fn run(&self, process: &Process) -> Outcome {
        let (reader, stdio) = pipes();
        finish(&self.exec(process, stdio).unwrap(), reader)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        sys::child::kill_and_reap(self.running.pidfd.as_fd());
        cleanup(Some(&self.cgroup));
    }
}

#[test]
fn all_namespaces_and_the_group_are_joined() {
    let container = Container::start();
    let script = "for n in pid mnt net ipc uts cgroup; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo $n; done; \
        hostname; test $$ -gt 1 && echo child; test $(tail -1 /proc/self/cgroup) = $(tail -1 /proc/1/cgroup) && echo group; exit 5";
    let outcome = container.run(&container.process(&["sh", "-c", script]));
    assert_eq!((outcome.code, outcome.output.as_str()), (5, "box\nchild\ngroup\n"));
}

#[test]
fn it_is_hardened_as_init_is() {
    let container = Container::start();
    let script = "grep -e CapInh -e CapBnd -e Seccomp: /proc/self/status | tr -s '\\t' ' '; ls /proc/self/fd | wc -l; unshare -u true";
    let outcome = container.run(&container.process(&["sh", "-c", script]));
    // 0, 1, 2 and the directory that ls has open.
    let expected = "CapInh: 0000000000000000\nCapBnd: 00000000a80425fb\nSeccomp: 2\n4\n";
    assert!(outcome.output.starts_with(expected), "{outcome:?}");
    assert!(outcome.output.contains("Operation not permitted"), "{outcome:?}");
}

#[test]
fn another_user_has_its_groups_and_no_capabilities() {
    let container = Container::start();
    let mut process = container.process(&["sh", "-c", "id; grep CapEff /proc/self/status | tr -s '\\t' ' '"]);
    process.user = User { uid: 1000, gid: 1001, additional_gids: vec![1001, 7], ..User::default() };
    let caps = process.capabilities.as_mut().unwrap();
    caps.effective.clear();
    caps.permitted.clear();
    let outcome = container.run(&process);
    assert_eq!(outcome.output, "uid=1000 gid=1001 groups=7,1001\nCapEff: 0000000000000000\n");
}

#[test]
fn a_missing_program_and_a_missing_directory() {
    let container = Container::start();
    let error = container.exec(&container.process(&["nosuch"]), Stdio::Null).unwrap_err();
    assert_eq!(error.to_string(), r#"exec: "nosuch": executable file not found in $PATH"#);
    let mut process = container.process(&["true"]);
    process.cwd = "/nosuch".to_owned();
    let error = container.exec(&process, Stdio::Null).unwrap_err();
    let expected = r#"chdir to cwd ("/nosuch") set in config.json failed: no such file or directory"#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_terminal_for_exec() {
    let container = Container::start();
    let running = container.exec(&container.process(&["tty"]), Stdio::Terminal).unwrap();
    let master = std::fs::File::from(running.master.as_ref().unwrap().try_clone().unwrap());
    let mut buffer = [0u8; 100];
    let n = std::io::Read::read(&mut &master, &mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"/dev/pts/0\r\n");
    assert_eq!(sys::child::wait(running.pidfd.as_fd()).unwrap().code(), 0);
}

#[test]
fn our_own_namespaces_are_ours_again() {
    let own = |name: &str| std::fs::read_link(format!("/proc/thread-self/ns/{name}")).unwrap();
    let names = ["pid", "pid_for_children", "mnt", "net", "ipc", "uts"];
    let before = names.map(own);
    let container = Container::start();
    container.run(&container.process(&["true"]));
    assert_eq!(names.map(own), before);
}

#[test]
fn a_container_shares_the_pid_namespace_of_another() {
    let container = Container::start();
    let mut scene = Scene::script("ps | grep -c 'sleep 100[0]'");
    let path = format!("/proc/{}/ns/pid", container.running.pid);
    let pid = scene.linux().namespaces.iter_mut().find(|n| n.typ == oci::runtime::NamespaceType::Pid);
    pid.unwrap().path = Some(path.into());
    scene.prints("1");
}

/// The directory of a group in the hierarchy that has a controller, or in that of version 2.
fn directory(container: &Container, controller: &str) -> std::path::PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let old = mounts.iter().find(|m| m[2] == "cgroup" && m[3].split(',').any(|option| option == controller));
    let mount = old.or_else(|| mounts.iter().find(|m| m[2] == "cgroup2")).unwrap();
    std::path::Path::new(mount[1]).join(container.cgroup.path().trim_start_matches('/'))
}

#[test]
fn a_group_below_of_all_controllers_or_of_one() {
    let container = Container::start();
    let below = directory(&container, "pids").join("below");
    std::fs::create_dir(&below).unwrap();
    let old = below.join("tasks").exists();
    let inner = |controller: &str| {
        container.cgroup.inner(&[(controller.to_owned(), "below".to_owned())].into_iter().collect())
    };
    let group = if old { inner("pids").unwrap() } else { inner("").unwrap() };
    let run = |group: &Cgroup| {
        let (reader, stdio) = pipes();
        let process = container.process(&["cat", "/proc/self/cgroup"]);
        let running = runtime::exec(Exec {
            pid: container.running.pid,
            pidfd: container.running.pidfd.as_fd(),
            process: &process,
            namespaces: None,
            cgroup: Some(group),
            cgroup_only: true,
            filter: None,
            seccomp: None,
            stdio,
            preserve_fds: 0,
            die_with_parent: true,
            container: None,
        });
        running.map(|running| finish(&running, reader).output)
    };
    let output = run(&group).unwrap();
    let below: Vec<&str> = output.lines().filter(|line| line.ends_with("/below")).collect();
    assert_eq!(below.len(), 1, "{output}");
    assert!(!old || below[0].contains("pids"), "{output}");
    let missing = if old { "memory" } else { "" };
    let elsewhere =
        container.cgroup.inner(&[(missing.to_owned(), "nowhere".to_owned())].into_iter().collect());
    assert!(run(&elsewhere.unwrap()).is_err(), "it does not exist");
    let error = inner("nothing").unwrap_err().to_string();
    assert!(error.starts_with("there is no version 1 controller \"nothing\" here"), "{error}");
}

/// The limit counts those who come, but nobody is turned away: whoever looks after a container that is full of processes has
/// to get in.
#[test]
fn a_container_that_is_full_can_be_entered() {
    let container = Container::start_with(|scene| {
        let pids = oci::runtime::Pids { limit: 1 };
        scene.resources(oci::runtime::Resources { pids: Some(pids), ..Default::default() })
    });
    let outcome = container.run(&container.process(&["sh", "-c", "echo $$; true | true"]));
    assert!(outcome.output.starts_with("2\n"), "{outcome:?}");
    assert!(outcome.output.contains("can't fork"), "{outcome:?}");
}
