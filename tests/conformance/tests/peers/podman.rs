//! podman from Debian's package, private to one test: own storage, own mount namespace, our runtime.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use testkit::{Host, Typed, eventually};

use crate::Client;

/// A machine on which podman runs containers with a runtime of our choice.
pub struct Podman {
    host: Host,
    /// Keeps the mount namespace: podman mounts root file systems where everybody would see them.
    keeper: Child,
}

impl Podman {
    /// Makes the machine. `runtime` is the program.
    pub fn new(host: Host, runtime: &Path) -> Self {
        let name = runtime.file_name().expect("a program").to_str().expect("UTF-8");
        // Podman lowers limits for nobody, and this machine may not be allowed to raise them.
        let configuration = format!(
            "[containers]\n\
             log_driver = \"k8s-file\"\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
             [engine]\n\
             events_logger = \"file\"\n\
             cgroup_manager = \"cgroupfs\"\n\
             runtime = \"{name}\"\n\
             runtime_supports_json = [\"{name}\"]\n\
             [engine.runtimes]\n\
             {name} = [\"{}\"]\n",
            runtime.display()
        );
        host.file("podman/containers.conf", configuration);
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "--propagation", "private", "cat"]);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = keeper.spawn().expect("start unshare");
        let own = std::fs::read_link("/proc/self/ns/mnt").expect("read a link");
        let link = format!("/proc/{}/ns/mnt", keeper.id());
        eventually("the mount namespace is made", || {
            std::fs::read_link(&link).is_ok_and(|theirs| theirs != own)
        });
        Self { host, keeper }
    }

    fn path(&self, name: &str) -> String {
        self.host.home().join("podman").join(name).display().to_string()
    }

    /// Whether a helper of podman's is still at work here.
    fn is_busy(&self) -> bool {
        let home = self.path("");
        let processes = std::fs::read_dir("/proc").expect("list processes").flatten();
        let mut commands = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        commands.any(|command| String::from_utf8_lossy(&command).contains(&home))
    }
}

impl Client for Podman {
    fn client(&self, arguments: &[&str]) -> Typed {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.keeper.id());
        let (root, run) = (self.path("root"), self.path("run"));
        let (temporary, networks) = (self.path("tmp"), self.path("networks"));
        let places = ["--root", &root, "--runroot", &run, "--tmpdir", &temporary];
        let words =
            [&[&*namespace, "podman"], &places[..], &["--network-config-dir", &networks], arguments].concat();
        self.host
            .program("nsenter", &words)
            .env("CONTAINERS_CONF", &self.path("containers.conf"))
            .env("XDG_RUNTIME_DIR", &self.path(""))
            .env("TMPDIR", &self.path(""))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.client(&["rm", "--all", "--force", "--time", "0"]).run();
        if !std::thread::panicking() {
            eventually("podman's helpers are gone", || !self.is_busy());
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
