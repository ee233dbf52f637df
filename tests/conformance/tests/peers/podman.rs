//! podman from Debian's package, private to one test: own storage, own mount namespace, our runtime.

use std::io::Read;
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
    /// The image that holds a pod's namespaces: podman's own is built with a program that may not be here.
    pub const INFRA: &str = "localhost/infra";

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
             infra_image = \"{}\"\n\
             runtime = \"{name}\"\n\
             runtime_supports_json = [\"{name}\"]\n\
             [engine.runtimes]\n\
             {name} = [\"{}\"]\n",
            Self::INFRA,
            runtime.display()
        );
        host.file("podman/containers.conf", configuration);
        // Whose ids user namespaces of podman's choice take.
        let ids = host.file("podman/ids", "containers:200000:100000\n");
        let script = "mount --bind $0 /etc/subuid && mount --bind $0 /etc/subgid && echo && exec cat";
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(ids);
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().expect("start unshare");
        let mut ready = [0];
        let said = keeper.stdout.as_mut().expect("a pipe").read_exact(&mut ready);
        said.expect("make the mount namespace");
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
