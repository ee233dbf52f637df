//! Docker's own engine from Debian's package, private to one test: own folders, own socket, the test's network.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::eventually;

/// A running `dockerd`, ended when dropped.
pub struct Dockerd {
    /// Where it listens.
    pub socket: PathBuf,
    child: Child,
}

impl Dockerd {
    /// Starts one below `home` and waits until it answers.
    pub fn start(home: &Path) -> Self {
        Self::with_runtime(home, None)
    }

    /// As [`Dockerd::start`], with another runtime than its own.
    pub fn with_runtime(home: &Path, runtime: Option<&Path>) -> Self {
        let home = home.join("dockerd");
        std::fs::create_dir_all(&home).expect("make a folder");
        let socket = home.join("docker.sock");
        let log = std::fs::File::create(home.join("log")).expect("make a file");
        // In a mount namespace of its own: it mounts its folders onto themselves and leaves them so.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "dockerd"]);
        command.arg("--data-root").arg(home.join("data")).arg("--exec-root").arg(home.join("exec"));
        command
            .arg("--pidfile")
            .arg(home.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()));
        command.args(["--iptables=false", "--ip6tables=false"]);
        if let Some(runtime) = runtime {
            command.arg("--add-runtime").arg(format!("dhow={}", runtime.display()));
            command.args(["--default-runtime", "dhow"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("start dockerd: `cargo xtask conformance` installs it");
        let dockerd = Self { socket, child };
        eventually("dockerd answers", || std::os::unix::net::UnixStream::connect(&dockerd.socket).is_ok());
        dockerd
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // It ends its containers and its containerd by itself, in order.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
