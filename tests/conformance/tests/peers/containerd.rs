//! containerd from Debian's package, private to one test, with its own shim and our runtime.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Host, Mode, Typed, eventually};

const IMAGE: &str = "docker.io/library/busybox:latest";

/// A running `containerd`, ended when dropped.
struct Containerd {
    host: Host,
    home: PathBuf,
    child: Child,
}

impl Containerd {
    fn start(host: Host) -> Self {
        let home = host.home().join("containerd");
        std::fs::create_dir_all(&home).expect("make a folder");
        let at = home.display();
        let configuration = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{at}/sock\"\n[ttrpc]\naddress = \"{at}/sock.ttrpc\"\n"
        );
        let file = host.file("containerd/config.toml", configuration);
        let log = std::fs::File::create(home.join("log")).expect("make a file");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "containerd", "--config"]).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("start containerd: `cargo xtask conformance` installs it");
        let containerd = Self { host, home, child };
        eventually("containerd answers", || containerd.ctr(&["version"]).run().code == 0);
        containerd
    }

    fn ctr(&self, arguments: &[&str]) -> Typed {
        let socket = self.home.join("sock");
        let words = [&["--address", socket.to_str().expect("UTF-8")], arguments].concat();
        self.host.program("ctr", &words)
    }

    /// A container called `name`.
    fn run(&self, runtime: &Path, options: &[&str], name: &str, command: &[&str]) -> Typed {
        let runtime = runtime.to_str().expect("UTF-8");
        self.ctr(&[&["run", "--runc-binary", runtime], options, &[IMAGE, name], command].concat())
    }

    fn status(&self, name: &str) -> String {
        let list = self.ctr(&["task", "ls"]).ok();
        let mut lines = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = lines.find(|words| words.first() == Some(&name));
        found.map_or_else(String::new, |words| words.last().copied().unwrap_or_default().to_owned())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Nothing but what a failed test has left: shims outlive containerd.
        for name in ["short", "one"] {
            self.ctr(&["task", "delete", "--force", name]).run();
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn our_runtime_serves_containerd() {
    let host = Host::new(Mode::Embedded);
    let runtime = crate::runtime(&host);
    host.busybox();
    host.dhow(&["save", "-o", "busybox.tar", "busybox"]).ok();
    let containerd = Containerd::start(host);
    containerd.ctr(&["image", "import", "busybox.tar"]).ok();
    short(&containerd, &runtime);
    detached(&containerd, &runtime);
}

/// Containers that are waited for.
fn short(containerd: &Containerd, runtime: &Path) {
    let run = |options: &[&str], command: &[&str]| {
        containerd.run(runtime, &[&["--rm"], options].concat(), "short", command)
    };
    let output = run(&[], &["sh", "-c", "echo out; echo err >&2; exit 3"]).run();
    assert_eq!((output.code, &*output.stdout, &*output.stderr), (3, "out\n", "err\n"));
    let refused = run(&[], &["no-such"]).fails(1);
    assert!(refused.contains("exec: \"no-such\": executable file not found in $PATH"), "{refused}");
    assert_ne!(run(&["--read-only"], &["touch", "/x"]).run().code, 0);
    let status = ["grep", "-E", "CapEff|Seccomp:", "/proc/self/status"];
    let confined = run(&["--seccomp", "--cap-drop", "CAP_CHOWN"], &status).ok();
    assert!(confined.contains("Seccomp:\t2"), "{confined}");
    let limited = run(&["--memory-limit", "67108864"], &["true"]).run();
    assert_eq!(limited.code, 0, "{}", limited.stderr);
    let mapped =
        run(&["--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000"], &["cat", "/proc/self/uid_map"]);
    assert_eq!(mapped.ok().split_whitespace().collect::<Vec<_>>(), ["0", "100000", "1000"]);
}

/// A container that others act on.
fn detached(containerd: &Containerd, runtime: &Path) {
    let task = |line: &str| containerd.ctr(&line.split_whitespace().collect::<Vec<_>>());
    containerd.run(runtime, &["--detach"], "one", &["sleep", "1000"]).ok();
    assert_eq!(containerd.status("one"), "RUNNING");
    let exec = ["task", "exec", "--exec-id", "other", "--user", "1000", "--cwd", "/tmp", "one"];
    let output = containerd.ctr(&[&exec[..], &["sh", "-c", "echo $(id -u) $PWD; exit 5"]].concat()).run();
    assert_eq!((output.code, &*output.stdout), (5, "1000 /tmp\n"), "{}", output.stderr);
    task("task pause one").ok();
    assert_eq!(containerd.status("one"), "PAUSED");
    task("task resume one").ok();
    assert_eq!(containerd.status("one"), "RUNNING");
    assert!(task("task metrics one").ok().contains("pids"));
    task("task kill --signal SIGKILL one").ok();
    eventually("one has stopped", || containerd.status("one") == "STOPPED");
    let told = task("task delete one").run().stderr;
    assert!(told.contains("137"), "{told}");
    task("container delete one").ok();
}
