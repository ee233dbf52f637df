//! A root file system, a specification as Docker would write it, and one way to run it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oci::runtime::{
    Capabilities, Linux, Mount, Namespace, NamespaceType, Process, Resources, Root, Seccomp, Spec,
};
use runtime::cgroup::Cgroup;
use runtime::defaults;
use runtime::{Create, Created, Error, Rootfs, Running, Stdio};

pub struct Scene {
    pub dir: tempfile::TempDir,
    pub spec: Spec,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub output: String,
}

fn busybox() -> &'static Path {
    static INSTALL: Once = Once::new();
    let path = Path::new("/bin/busybox");
    INSTALL.call_once(|| {
        if !path.exists() {
            let status = std::process::Command::new("apt-get")
                .args(["install", "-y", "busybox-static"])
                .stdout(std::process::Stdio::null())
                .status();
            assert!(status.is_ok_and(|s| s.success()), "busybox-static can't be installed");
        }
    });
    path
}

impl Scene {
    /// A container that runs a shell script.
    pub fn script(script: &str) -> Scene {
        Scene::new(&["sh", "-c", script])
    }

    pub fn new(args: &[&str]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp", "root"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        // By another process: a child of this one that is forked meanwhile would hold the file open for writing, and
        // nobody could execute it (ETXTBSY).
        let copied = std::process::Command::new("cp").arg(busybox()).arg(root.join("bin/busybox")).status();
        assert!(copied.unwrap().success());
        for applet in [
            "sh", "cat", "ls", "echo", "id", "grep", "sleep", "stat", "mount", "touch", "test", "env", "pwd",
            "hostname", "unshare", "readlink", "stty", "tty", "kill", "ps", "mkdir", "chmod", "dd", "head",
            "tail", "yes", "nproc", "mknod", "wc", "true", "false", "umount", "date", "ip", "sort", "tr",
            "find", "usleep", "xargs", "uname", "cut", "ionice",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        Scene { dir, spec: spec(args) }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    pub fn process(&mut self) -> &mut Process {
        self.spec.process.as_mut().unwrap()
    }

    pub fn linux(&mut self) -> &mut Linux {
        self.spec.linux.as_mut().unwrap()
    }

    pub fn without(mut self, namespace: NamespaceType) -> Scene {
        self.linux().namespaces.retain(|n| n.typ != namespace);
        self
    }

    pub fn mount(mut self, typ: &str, source: &Path, destination: &str, options: &[&str]) -> Scene {
        self.spec.mounts.push(mount(typ, source, destination, options));
        self
    }

    pub fn resources(mut self, resources: Resources) -> Scene {
        self.linux().resources = Some(resources);
        self
    }

    pub fn seccomp(mut self, seccomp: Seccomp) -> Scene {
        self.linux().seccomp = Some(seccomp);
        self
    }

    pub fn create(&self, stdio: Stdio) -> Result<Created, Error> {
        runtime::create(Create {
            id: "test",
            spec: &self.spec,
            rootfs: Rootfs::Path(self.rootfs()),
            mounted: None,
            bundle: Some(self.dir.path()),
            stdio,
            netns: None,
            preserve_fds: 0,
            die_with_parent: true,
            no_pivot: false,
            inherit_keyring: false,
        })
    }

    /// Runs to the end; standard output and error together.
    pub fn run(&self) -> Result<Outcome, Error> {
        let (reader, stdio) = pipes();
        let created = self.create(stdio)?;
        let cgroup = created.cgroup.clone();
        let running = created.start().inspect_err(|_| cleanup(cgroup.as_ref()))?;
        let outcome = finish(&running, reader);
        cleanup(cgroup.as_ref());
        Ok(outcome)
    }

    /// Runs, and expects success and what was printed.
    #[track_caller]
    pub fn prints(&self, expected: &str) {
        let outcome = self.run().unwrap();
        assert_eq!((outcome.code, outcome.output.trim()), (0, expected));
    }
}

pub fn pipes() -> (OwnedFd, Stdio) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdin = File::open("/dev/null").unwrap().into();
    (reader, Stdio::Fds { stdin, stdout: writer.try_clone().unwrap(), stderr: writer })
}

pub fn finish(running: &Running, reader: OwnedFd) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut output = Vec::new();
    let mut reader = File::from(reader);
    loop {
        let limit = rustix::event::Timespec {
            tv_sec: deadline.saturating_duration_since(Instant::now()).as_secs() as i64,
            tv_nsec: 0,
        };
        let mut polled = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut polled, Some(&limit)).unwrap() == 0 {
            sys::child::kill_and_reap(running.pidfd.as_fd());
            panic!("no end of the output: {}", String::from_utf8_lossy(&output));
        }
        let mut buffer = [0u8; 4096];
        match reader.read(&mut buffer).unwrap() {
            0 => break,
            n => output.extend_from_slice(&buffer[..n]),
        }
    }
    let output = String::from_utf8(output).unwrap();
    let exit = sys::child::wait(running.pidfd.as_fd()).unwrap();
    Outcome { code: exit.code(), output }
}

pub fn cleanup(cgroup: Option<&Cgroup>) {
    if let Some(cgroup) = cgroup {
        cgroup.kill_all().unwrap();
        cgroup.delete(Duration::from_secs(10)).unwrap();
    }
}

/// Waits for a condition that something else brings about.
#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

pub fn mount(typ: &str, source: &Path, destination: &str, options: &[&str]) -> Mount {
    Mount {
        typ: typ.to_owned(),
        source: source.to_owned(),
        destination: destination.into(),
        options: options.iter().map(|s| (*s).to_owned()).collect(),
        ..Mount::default()
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn spec(args: &[&str]) -> Spec {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = format!("/dhow-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let caps = strings(&defaults::CAPABILITIES);
    let process = Process {
        args: strings(args),
        env: strings(&["PATH=/usr/bin:/bin"]),
        cwd: "/".to_owned(),
        capabilities: Some(Capabilities {
            bounding: caps.clone(),
            effective: caps.clone(),
            permitted: caps,
            ..Capabilities::default()
        }),
        ..Process::default()
    };
    let kinds = [
        NamespaceType::Mount,
        NamespaceType::Pid,
        NamespaceType::Ipc,
        NamespaceType::Uts,
        NamespaceType::Network,
        NamespaceType::Cgroup,
    ];
    Spec {
        oci_version: oci::runtime::VERSION.to_owned(),
        process: Some(process),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        hostname: "box".to_owned(),
        mounts: vec![
            mount("proc", Path::new("proc"), "/proc", &["nosuid", "noexec", "nodev"]),
            mount("tmpfs", Path::new("tmpfs"), "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "devpts",
                Path::new("devpts"),
                "/dev/pts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount("sysfs", Path::new("sysfs"), "/sys", &["nosuid", "noexec", "nodev", "ro"]),
            mount("cgroup", Path::new("cgroup"), "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"]),
            mount("mqueue", Path::new("mqueue"), "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
            mount(
                "tmpfs",
                Path::new("shm"),
                "/dev/shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"],
            ),
        ],
        linux: Some(Linux {
            namespaces: kinds.map(|typ| Namespace { typ, path: None }).to_vec(),
            cgroups_path: own,
            masked_paths: strings(&defaults::MASKED),
            readonly_paths: strings(&defaults::READONLY),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}
