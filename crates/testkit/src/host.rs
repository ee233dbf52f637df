//! A private machine for one test.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{self, Typed};
use crate::{binary, eventually};

/// Who serves the API in a test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// No daemon: each command serves itself.
    Embedded,
    /// One daemon serves all commands.
    Daemon,
    /// Two daemons on one root, asked in turn.
    TwoEngines,
}

/// A machine of its own: network namespace, root, run folder.
pub struct Host {
    home: tempfile::TempDir,
    daemons: Vec<Child>,
    turn: Cell<usize>,
    /// Keeps the namespace while daemons and containers come and go.
    _network: std::os::fd::OwnedFd,
}

impl Host {
    /// Makes the machine and moves the calling thread into its network.
    ///
    /// # Panics
    /// When that is impossible here: tests run as root.
    pub fn new(mode: Mode) -> Self {
        let network = network::create_namespace().expect("make a network namespace: tests run as root");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("enter the namespace");
        let home = tempfile::Builder::new().prefix("dhow-test-").tempdir().expect("make a folder");
        let mut host = Self { home, daemons: Vec::new(), turn: Cell::new(0), _network: network };
        let daemons = match mode {
            Mode::Embedded => 0,
            Mode::Daemon => 1,
            Mode::TwoEngines => 2,
        };
        for number in 0..daemons {
            host.start_daemon(number);
        }
        host
    }

    /// The folder of everything that this machine keeps.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The root folder of its engine.
    pub fn root(&self) -> PathBuf {
        self.home().join("root")
    }

    /// The socket of daemon number `number`.
    pub fn socket(&self, number: usize) -> PathBuf {
        self.home().join(format!("api{number}.sock"))
    }

    /// A file below the machine's home, written with these contents; folders are made as needed.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().expect("below home")).expect("make a folder");
        fs::write(&path, contents).expect("write a file");
        path
    }

    /// `dhow` with these arguments; in turn to each of the daemons, if there are any.
    pub fn dhow(&self, arguments: &[&str]) -> Typed {
        let mut command = self.command();
        if !self.daemons.is_empty() {
            let number = self.turn.get() % self.daemons.len();
            self.turn.set(self.turn.get() + 1);
            command.env("DHOW_HOST", format!("unix://{}", self.socket(number).display()));
        }
        command.args(arguments);
        Typed::new(command)
    }

    /// `dhow` with the words of `line`, which need no quotes.
    pub fn type_in(&self, line: &str) -> Typed {
        self.dhow(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The binary with this machine's environment and no daemon.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("DHOW_ROOT", self.root()).env("DHOW_RUN", self.home().join("run"));
        // What vendors have installed on the machine that we sit at is not ours.
        command.env("DHOW_CDI_SPEC_DIRS", self.home().join("cdi")).env("DHOW_ETC", self.home().join("etc"));
        for name in ["DOCKER_HOST", "DHOW_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "NO_COLOR", "COLUMNS"] {
            command.env_remove(name);
        }
        command.env("HOME", self.home()).current_dir(self.home());
        command
    }

    /// Another program in this machine, such as a foreign client.
    pub fn program(&self, name: &str, arguments: &[&str]) -> Typed {
        let mut command = Command::new(name);
        command.args(arguments).current_dir(self.home()).env("HOME", self.home());
        Typed::new(command)
    }

    /// Kills daemon number `number` as a crash would, and starts it anew.
    ///
    /// # Panics
    /// When there is no such daemon, or it does not come back.
    pub fn crash_daemon(&mut self, number: usize) {
        let mut child = self.daemons.remove(number);
        child.kill().expect("kill our own child");
        child.wait().expect("a child that was not waited for");
        self.start_daemon(number);
    }

    /// Kills the monitor of a container that runs.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn kill_monitor(&self, container: &str) {
        let pid = self.dhow(&["inspect", "-f", "{{.State.Pid}}", container]).ok();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the container runs");
        let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim();
        let killed = Command::new("kill").args(["-9", monitor]).status().expect("start kill");
        assert!(killed.success(), "kill {monitor}");
    }

    fn start_daemon(&mut self, number: usize) {
        let socket = self.socket(number);
        let before = inode(&socket);
        let log = fs::File::create(self.home().join(format!("daemon{number}.log"))).expect("make a file");
        let mut command = self.command();
        command.args(["daemon", "--host"]).arg(format!("unix://{}", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemons.insert(number, command.spawn().expect("start the daemon"));
        eventually("the daemon answers", || {
            // For a moment children of one that was killed answer at the old socket.
            inode(&socket) != before && std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    /// Waits until the log of `container` has a line with `words`.
    #[track_caller]
    pub fn wait_for_log(&self, container: &str, words: &str) {
        let mut follow = self.command();
        follow.args(["logs", "--follow", container]).stdin(Stdio::null());
        follow.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = follow.spawn().expect("start dhow logs");
        // Either stream may bring it; both are read, so that neither fills up.
        let (sender, receiver) = std::sync::mpsc::channel();
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let forward = |stream: Box<dyn std::io::Read + Send>| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        };
        forward(Box::new(stdout));
        forward(Box::new(stderr));
        drop(sender);
        let mut seen = Vec::new();
        let found = std::iter::from_fn(|| receiver.recv_timeout(crate::PATIENCE).ok()).any(|line| {
            let hit = line.contains(words);
            seen.push(line);
            hit
        });
        let _ = child.kill();
        let _ = child.wait();
        assert!(found, "{container} never logs {words:?}:\n{}", seen.join("\n"));
    }

    fn remove_containers(&self) {
        let list = self.type_in("ps --all --quiet --no-trunc").run();
        for id in list.stdout.split_whitespace() {
            self.type_in(&format!("rm --force --volumes {id}")).run();
        }
    }

    /// Ends the daemons, by force where they do not end; whether they did, and well.
    fn stop_daemons(&mut self) -> bool {
        let mut ended = true;
        for mut child in self.daemons.drain(..) {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            if !command::wait(&child) {
                let _ = child.kill();
                ended = false;
            }
            ended &= child.wait().is_ok_and(|status| status.success());
        }
        ended
    }

    fn show_logs(&self) {
        let log = |number| fs::read_to_string(self.home().join(format!("daemon{number}.log"))).ok();
        for (number, log) in (0..).map_while(|number| Some((number, log(number)?))) {
            eprintln!("daemon {number} said:\n{log}");
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

impl Drop for Host {
    fn drop(&mut self) {
        self.remove_containers();
        let ended = self.stop_daemons();
        let check = self.type_in("system check").run();
        if std::thread::panicking() || !ended {
            self.show_logs();
        }
        if !std::thread::panicking() {
            assert!(ended, "a daemon does not end well when it is told to");
            assert_eq!(check.code, 0, "left behind:\n{}{}", check.stdout, check.stderr);
        }
    }
}
