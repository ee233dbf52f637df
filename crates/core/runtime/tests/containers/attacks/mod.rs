//! Attacks out of a container through its runtime, each tried: what was a hole of some runtime once must not be one here.
//!
//! Every test is named after what it tries. A *canary* is a file of the machine that must stay as it is; a *trap* is a
//! directory of the machine in which nothing may appear.

mod descriptors;
mod devices;
mod documents;
mod kernel;
mod mounts;
mod onlookers;
mod program;
mod races;
mod seccomp;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci::runtime::Process;
use runtime::cgroup::Cgroup;
use runtime::{Error, Exec, Running, Stdio};

use crate::scene::Scene;

/// A directory of the machine with a file in it, which attacks try to reach.
struct Trap {
    dir: tempfile::TempDir,
}

const CANARY: &str = "untouched";

impl Trap {
    fn new() -> Trap {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("canary"), CANARY).unwrap();
        Trap { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn canary(&self) -> PathBuf {
        self.path().join("canary")
    }

    /// Nothing is there but the canary, and that is as it was.
    #[track_caller]
    fn is_untouched(&self) {
        let names: Vec<_> =
            std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"]);
        assert_eq!(std::fs::read_to_string(self.canary()).unwrap(), CANARY);
    }
}

/// A container with the machine's programs, for what a shell cannot do: Perl makes any system call.
fn with_perl(program: &str) -> Scene {
    let scene = Scene::new(&["/usr/bin/perl", "-e", program]);
    for (link, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        std::os::unix::fs::symlink(target, scene.rootfs().join(link)).unwrap();
    }
    scene.mount("bind", Path::new("/usr"), "/usr", &["bind", "ro"])
}

/// One more process in a running container.
fn join(running: &Running, cgroup: &Cgroup, process: &Process, stdio: Stdio) -> Result<Running, Error> {
    join_preserving(0, running, cgroup, process, stdio)
}

fn join_preserving(
    preserve_fds: u32,
    running: &Running,
    cgroup: &Cgroup,
    process: &Process,
    stdio: Stdio,
) -> Result<Running, Error> {
    runtime::exec(Exec {
        pid: running.pid,
        pidfd: running.pidfd.as_fd(),
        process,
        namespaces: None,
        cgroup: Some(cgroup),
        cgroup_only: false,
        filter: None,
        seccomp: None,
        stdio,
        preserve_fds,
        die_with_parent: true,
        container: None,
    })
}
