//! A command as a person types it: arguments in, exit code and both outputs out, never a hang.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::PATIENCE;

/// A command that is being composed.
pub struct Typed {
    command: Command,
    input: Vec<u8>,
}

/// What a command answered.
#[derive(Debug)]
pub struct Output {
    /// The exit code; 128 + the signal's number when a signal ended it, as a shell says it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Standard output as it came.
    pub bytes: Vec<u8>,
}

impl Typed {
    /// Composes on top of `command`.
    pub fn new(command: Command) -> Self {
        Self { command, input: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// A variable in the command's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The folder that the command is typed in.
    #[must_use]
    pub fn folder(mut self, path: &std::path::Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// What the command reads from standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Starts it and leaves it running, with its three streams piped.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    pub fn start(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().unwrap_or_else(|error| panic!("start {:?}: {error}", self.command))
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it can't be started, or hangs.
    #[track_caller]
    pub fn run(mut self) -> Output {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let mut child =
            self.command.spawn().unwrap_or_else(|error| panic!("start {:?}: {error}", self.command));
        let mut stdin = child.stdin.take().expect("piped");
        let input = self.input;
        // The command may end without reading all of it: that is its affair.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = drain(child.stdout.take().expect("piped"));
        let stderr = drain(child.stderr.take().expect("piped"));
        let ended = wait(&child);
        if !ended {
            let _ = child.kill();
        }
        let status = child.wait().expect("a child that was not waited for");
        assert!(ended, "dhow {shown} hangs");
        writer.join().expect("the writer does not panic");
        let bytes = stdout.join().expect("the reader does not panic");
        let stderr = stderr.join().expect("the reader does not panic");
        Output {
            code: code(status),
            stdout: String::from_utf8_lossy(&bytes).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            bytes,
        }
    }

    /// Runs it, expects exit code 0, returns standard output without the white space around it.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(self) -> String {
        let shown = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let output = self.run();
        assert_eq!(output.code, 0, "dhow {shown}\n{}{}", output.stdout, output.stderr);
        output.stdout.trim().to_owned()
    }

    /// Runs it, expects this exit code, returns standard error.
    ///
    /// # Panics
    /// When it ends otherwise.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        let shown = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let output = self.run();
        assert_eq!(output.code, code, "dhow {shown}\n{}{}", output.stdout, output.stderr);
        output.stderr
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for the child's end, for at most [`PATIENCE`]; says whether it came.
pub fn wait(child: &Child) -> bool {
    let pid = Pid::from_child(child);
    let fd = pidfd_open(pid, PidfdFlags::empty()).expect("a child that was not waited for");
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().try_into().expect("small"), tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).expect("a valid descriptor") > 0
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
