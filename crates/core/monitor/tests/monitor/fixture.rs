//! One container's directories, a root file system of busybox, and a monitor that goes when the test does.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monitor::client::{self, Connection, Started};
use monitor::protocol::{Attach, Condition, ExecCreate, Exit, Launch};
use monitor::{CONFIG_VERSION, Config, LogConfig, RestartPolicy, State, Status};
use oci::runtime::{Linux, Mount, Namespace, NamespaceType, Process, Root, Spec};
use runtime::Rootfs;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
const BUSYBOX: &str = "/usr/bin/busybox";

pub struct Fixture {
    dir: tempfile::TempDir,
    pub id: String,
}

impl Fixture {
    pub fn new() -> Fixture {
        let dir = tempfile::Builder::new().prefix("dhow-monitor-").tempdir().unwrap();
        let id = dir.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        let fixture = Fixture { dir, id };
        std::fs::create_dir_all(fixture.container_dir()).unwrap();
        let root = fixture.rootfs();
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        // By another process: a child of this one that is forked meanwhile would hold the file open for writing, and
        // nobody could execute it (ETXTBSY).
        let copied = std::process::Command::new("cp").arg(BUSYBOX).arg(root.join("bin/busybox")).status();
        assert!(copied.expect("run cp").success(), "busybox-static is installed");
        for name in [
            "sh", "echo", "cat", "sleep", "stty", "kill", "touch", "true", "false", "dd", "test", "yes",
            "head", "nslookup",
        ] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        fixture
    }

    pub fn container_dir(&self) -> PathBuf {
        self.dir.path().join("container")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// A file of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn launch(&self) -> Launch {
        Launch { id: self.id.clone(), container_dir: self.container_dir(), run_dir: self.run_dir() }
    }

    pub fn connect(&self) -> Connection {
        client::ensure(Path::new(env!("CARGO_BIN_EXE_monitor-under-test")), &self.launch(), None).unwrap().0
    }

    pub fn start(&self, config: &Config) -> Started {
        self.connect().start(config, None, &[], None).unwrap()
    }

    /// Runs a container to its end.
    pub fn run(&self, config: &Config) -> Exit {
        let wait = self.connect().wait(Condition::NextExit).unwrap();
        self.start(config);
        wait.join().unwrap()
    }

    pub fn config(&self, args: &[&str]) -> Config {
        Config {
            version: CONFIG_VERSION,
            id: self.id.clone(),
            name: "web".into(),
            image: "busybox".into(),
            labels: BTreeMap::from([("colour".into(), "blue".into())]),
            spec: spec(&self.id, &self.rootfs(), args),
            rootfs: Rootfs::Path(self.rootfs()),
            tty: false,
            open_stdin: false,
            stdin_once: false,
            log: LogConfig::default(),
            restart: RestartPolicy::default(),
            restarts: 0,
            auto_remove: false,
            health: None,
            stop_signal: 15,
            stop_timeout: 10,
            dns: None,
            events: Some(self.path("events.ndjson")),
            further: None,
            cleanup: Vec::new(),
        }
    }

    pub fn shell(&self, script: &str) -> Config {
        self.config(&["sh", "-c", script])
    }

    pub fn terminal(&self, script: &str) -> Config {
        let mut config = self.shell(script);
        config.tty = true;
        config.open_stdin = true;
        config.spec.process.as_mut().unwrap().terminal = true;
        config
    }

    pub fn exec(&self, id: &str, script: &str) -> ExecCreate {
        let mut process = spec(&self.id, &self.rootfs(), &["sh", "-c", script]).process.unwrap();
        process.terminal = false;
        ExecCreate {
            id: id.into(),
            process,
            tty: false,
            stdin: false,
            stdout: true,
            stderr: true,
            detach_keys: None,
            user: String::new(),
            privileged: false,
            refused: None,
        }
    }

    pub fn status(&self) -> Status {
        Status::read(&self.container_dir(), &self.run_dir().join("containers").join(&self.id))
            .unwrap()
            .unwrap_or_default()
    }

    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.container_dir().join("log")).unwrap_or_default();
        let entry = |line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().to_owned()
        };
        text.lines().map(entry).collect()
    }

    /// The actions of all events so far.
    pub fn events(&self) -> Vec<String> {
        self.event_documents().iter().map(|event| event["Action"].as_str().unwrap().to_owned()).collect()
    }

    pub fn event_documents(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("events.ndjson")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn is_alive(&self) -> bool {
        client::is_alive(&self.run_dir(), &self.id)
    }

    /// The monitor's pid, from the credentials of its socket.
    pub fn monitor_pid(&self) -> rustix::process::Pid {
        let socket = self.run_dir().join("containers").join(&self.id).join("monitor.sock");
        let stream = UnixStream::connect(socket).unwrap();
        rustix::net::sockopt::socket_peercred(&stream).unwrap().pid
    }

    pub fn wait_for_output(&self, text: &str) {
        eventually(&format!("the log holds {text:?}"), || self.log().contains(text));
    }

    pub fn wait_for_state(&self, state: State) {
        eventually(&format!("the container is {state:?}"), || self.status().state == state);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.is_alive() && Instant::now() < deadline {
            if let Ok(Some(mut connection)) = client::connect(&self.run_dir(), &self.id) {
                let _ = connection.signal(9);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if std::thread::panicking() {
            let errors = self.run_dir().join("containers").join(&self.id).join("monitor.err");
            eprintln!("monitor.err: {}", std::fs::read_to_string(errors).unwrap_or_default());
            eprintln!("status: {:?}\nevents: {:?}", self.status(), self.events());
        }
    }
}

fn spec(id: &str, rootfs: &Path, args: &[&str]) -> Spec {
    let mount = |typ: &str, destination: &str, options: &[&str]| Mount {
        destination: destination.into(),
        typ: typ.into(),
        source: typ.into(),
        options: options.iter().map(|&option| option.into()).collect(),
        ..Mount::default()
    };
    let namespace = |typ| Namespace { typ, path: None };
    use NamespaceType::{Ipc, Mount as Mnt, Network, Pid, Uts};
    Spec {
        oci_version: oci::runtime::VERSION.into(),
        process: Some(Process {
            args: args.iter().map(|&arg| arg.into()).collect(),
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            ..Process::default()
        }),
        root: Some(Root { path: rootfs.to_owned(), readonly: false }),
        mounts: vec![
            mount("proc", "/proc", &[]),
            mount("tmpfs", "/dev", &["mode=755"]),
            mount("devpts", "/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"]),
        ],
        linux: Some(Linux {
            namespaces: [Pid, Network, Ipc, Uts, Mnt].map(namespace).into(),
            cgroups_path: format!("/{id}"),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// Polls until it is so.
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// All three streams.
pub fn everything() -> Attach {
    Attach { stdin: true, stdout: true, stderr: true, detach_keys: None }
}

/// Reads a framed stream to its end: standard output and standard error.
pub fn read_frames(mut stream: UnixStream) -> (String, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut outputs = [Vec::new(), Vec::new()];
    let mut header = [0; 8];
    while stream.read_exact(&mut header).is_ok() {
        let length = u32::from_be_bytes(header[4..].try_into().unwrap());
        let mut bytes = vec![0; length as usize];
        stream.read_exact(&mut bytes).unwrap();
        outputs[usize::from(header[0]) - 1].extend(bytes);
    }
    let [stdout, stderr] = outputs.map(|bytes| String::from_utf8(bytes).unwrap());
    (stdout, stderr)
}

/// Reads a raw stream until it has brought `text`.
pub fn read_until(stream: &mut UnixStream, text: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&got).contains(text) {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the stream ended with {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8_lossy(&got).into_owned()
}

/// Types on a stream.
pub fn type_in(stream: &mut UnixStream, text: &[u8]) {
    stream.write_all(text).unwrap();
}
