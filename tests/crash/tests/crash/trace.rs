//! Running a command with all processes that it causes under `ptrace`, to break one of its system calls.
//!
//! The product knows nothing of this: what is tried is the very binary that people get. Every process of ours is
//! followed, through forks and executions, until it executes something else, such as a container's command. Calls that
//! change files or mounts are *points*, counted over all processes; at the wanted one, the process is killed before the
//! call is made, or the call is not made and fails. As two runs of threads differ in order, a number says roughly where
//! a point lies; that all are met is known by a run in which fewer were counted.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// After this a command hangs.
const PATIENCE: Duration = Duration::from_secs(90);
/// Once the command has ended and everything else waits for events, for this long nothing more may happen.
const QUIET: Duration = Duration::from_millis(10);

/// What is done at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call.
    Kill,
    /// The call fails: with `ENOSPC` where space is asked for, else with `EIO`.
    Fail,
}

/// A kind of system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Data reaches the disk.
    Sync,
    /// A name in a folder changes.
    Name,
    /// A mount is made, moved, or taken away.
    Mount,
    /// A file takes space.
    Space,
}

/// A system call that was met.
#[derive(Clone, Debug)]
pub struct Point {
    pub class: Class,
    pub call: &'static str,
    /// The file, where it has one.
    pub object: String,
    /// Where it was before, if it is moved.
    pub from: String,
    /// The command line of the process.
    pub process: String,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of `{}`", self.call, self.object, self.process)
    }
}

/// What came of a command.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The point that was broken, if there were so many.
    pub hit: Option<Point>,
    /// How many were counted.
    pub points: usize,
    /// Whether the broken one was a sync of a file to which nothing that has to last had been written since the last.
    pub again: bool,
    /// All that were met before the broken one.
    pub trail: Vec<Point>,
}

/// What is broken, and where it is told.
pub struct Plan<'a> {
    /// Which point, counted from 1.
    pub at: usize,
    pub fault: Fault,
    /// Where the command's output goes.
    pub scratch: &'a Path,
    /// The files below it are those whose space counts.
    pub data: &'a Path,
    /// Processes of one thread that run already and are followed too.
    pub others: &'a [i32],
}

/// Runs `command` and breaks a point of it.
pub fn run(command: &Command, plan: &Plan<'_>) -> Run {
    // Tracing belongs to a thread, and what is still followed at its end goes on without it.
    std::thread::scope(|scope| {
        scope.spawn(|| Tracer::new(command, plan).run(command)).join().expect("the tracer")
    })
}

/// A thread that is followed.
#[derive(Default)]
struct Thread {
    /// What its broken call is to return.
    result: Option<i64>,
    /// It waits in `epoll_wait`.
    idle: bool,
}

struct Tracer<'a> {
    plan: &'a Plan<'a>,
    binary: (u64, u64),
    threads: HashMap<Pid, Thread>,
    points: usize,
    hit: Option<Point>,
    /// Files that have been synced and not written to since.
    synced: HashSet<String>,
    again: bool,
    trail: Vec<Point>,
}

impl<'a> Tracer<'a> {
    fn new(command: &Command, plan: &'a Plan<'a>) -> Self {
        let binary = identity(Path::new(command.get_program())).expect("the binary");
        Self {
            plan,
            binary,
            threads: HashMap::new(),
            points: 0,
            hit: None,
            synced: HashSet::new(),
            again: false,
            trail: Vec::new(),
        }
    }

    fn run(mut self, command: &Command) -> Run {
        let scratch = self.plan.scratch;
        let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
        // A shell waits for a line, is seized meanwhile, and becomes the command.
        let mut shell = Command::new("/bin/sh");
        shell.args([
            "-c".as_ref(),
            "read -r line && exec \"$@\"".as_ref(),
            "sh".as_ref(),
            command.get_program(),
        ]);
        shell.args(command.get_args()).stdin(Stdio::piped());
        shell.stdout(File::create(&out).expect("a file")).stderr(File::create(&err).expect("a file"));
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        #[expect(clippy::zombie_processes, reason = "`follow` waits for it, as the tracer must")]
        let mut child = shell.spawn().expect("start a shell");
        let root = Pid::from_raw(child.id().try_into().expect("a pid"));
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        ptrace::seize(root, options).expect("trace a child");
        for &pid in self.plan.others {
            let pid = Pid::from_raw(pid);
            ptrace::seize(pid, options).and_then(|()| ptrace::interrupt(pid)).expect("trace a process");
            self.threads.insert(pid, Thread::default());
        }
        child.stdin.take().expect("piped").write_all(b"\n").expect("write to the shell");
        let code = self.follow(root);
        let (stdout, stderr) = (fs::read(&out).expect("the output"), fs::read(&err).expect("the output"));
        Run {
            code,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            hit: self.hit,
            points: self.points,
            again: self.again,
            trail: self.trail,
        }
    }

    /// Until the command has ended and all that it left waits for events; the command's exit code.
    fn follow(&mut self, root: Pid) -> i32 {
        let mut code = None;
        let (started, mut last) = (Instant::now(), Instant::now());
        loop {
            assert!(started.elapsed() < PATIENCE, "the command hangs; broken was {:?}", self.hit);
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
            match waitpid(Pid::from_raw(-1), Some(flags)) {
                Ok(WaitStatus::StillAlive) => {
                    let idle = self.threads.values().all(|thread| thread.idle);
                    if let Some(code) = code
                        && (self.threads.is_empty() || (idle && last.elapsed() > QUIET))
                    {
                        return code;
                    }
                    std::thread::sleep(Duration::from_micros(50));
                }
                Ok(status) => {
                    last = Instant::now();
                    if let Some(ended) = self.handle(status)
                        && status.pid() == Some(root)
                    {
                        code = Some(ended);
                    }
                }
                Err(Errno::ECHILD) => return code.expect("the command was waited for"),
                Err(Errno::EINTR) => {}
                Err(error) => panic!("wait for traced processes: {error}"),
            }
        }
    }

    /// Lets a stopped thread go on; the exit code of one that has ended.
    fn handle(&mut self, status: WaitStatus) -> Option<i32> {
        match status {
            WaitStatus::Exited(pid, code) => {
                self.threads.remove(&pid);
                return Some(code);
            }
            WaitStatus::Signaled(pid, signal, _) => {
                self.threads.remove(&pid);
                return Some(128 + signal as i32);
            }
            WaitStatus::PtraceSyscall(pid) => {
                self.at_call(pid);
                go_on(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                let same = identity(&PathBuf::from(format!("/proc/{pid}/exe"))) == Some(self.binary);
                if same {
                    self.threads.insert(pid, Thread::default());
                    go_on(pid, None);
                } else {
                    self.threads.remove(&pid);
                    let _ = ptrace::detach(pid, None);
                }
            }
            WaitStatus::PtraceEvent(pid, _, _) => {
                self.threads.entry(pid).or_default();
                go_on(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
            _ => {}
        }
        None
    }

    /// A thread is about to make a call, or has made one.
    fn at_call(&mut self, pid: Pid) {
        let (Ok(info), Ok(mut registers)) = (ptrace::syscall_info(pid), ptrace::getregs(pid)) else { return };
        let thread = self.threads.entry(pid).or_default();
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            thread.idle = false;
            if let Some(result) = thread.result.take() {
                registers.rax = result as u64;
                let _ = ptrace::setregs(pid, registers);
            }
            return;
        }
        let number = registers.orig_rax as i64;
        thread.idle = matches!(number, libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2);
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let Some(point) = self.point(pid, number, arguments) else { return };
        self.points += 1;
        if self.points != self.plan.at {
            match point.class {
                Class::Sync => drop(self.synced.insert(point.object.clone())),
                Class::Space => drop(self.synced.remove(&point.object)),
                Class::Name | Class::Mount => {}
            }
            if self.hit.is_none() {
                self.trail.push(point);
            }
            return;
        }
        self.again =
            point.class == Class::Sync && (self.synced.contains(&point.object) || self.is_head(&point));
        match self.plan.fault {
            Fault::Kill => {
                let _ = kill(thread_group(pid), Signal::SIGKILL);
            }
            Fault::Fail => {
                let errno = if point.class == Class::Space { Errno::ENOSPC } else { Errno::EIO };
                self.threads.entry(pid).or_default().result = Some(-(errno as i64));
                // No call has this number: it is skipped.
                registers.orig_rax = u64::MAX;
                let _ = ptrace::setregs(pid, registers);
            }
        }
        self.hit = Some(point);
    }

    /// Whether this is the sync of the head of SQLite's log, which was copied back before and begins anew: what is written then has
    /// a sync of its own if it is to last, and if it need not last nobody looks at either.
    fn is_head(&self, point: &Point) -> bool {
        let mut before = self.trail.iter().rev().filter(|point| point.class == Class::Sync);
        let before = before.find(|point| point.object.contains("/state.db"));
        point.object.ends_with("/state.db-wal")
            && before.is_some_and(|before| before.object.ends_with("/state.db"))
    }

    /// What the call is to us, if it is anything.
    fn point(&self, pid: Pid, number: i64, arguments: [u64; 4]) -> Option<Point> {
        let (class, call, file) = meaning(number)?;
        let text = |index: usize| string(pid, arguments[index]);
        let descriptor = |index: usize| link(pid, arguments[index]);
        let object = match file {
            Object::None => String::new(),
            Object::Descriptor => descriptor(0),
            Object::Path(index) => text(index),
            Object::At(index) => format!("{}/{}", descriptor(index - 1), text(index)),
        };
        let from = match number {
            libc::SYS_rename => text(0),
            libc::SYS_renameat | libc::SYS_renameat2 => format!("{}/{}", descriptor(0), text(1)),
            _ => String::new(),
        };
        // The index of SQLite's log is memory.
        let counts = class != Class::Space
            || (Path::new(&object).starts_with(self.plan.data) && !object.ends_with("-shm"));
        counts.then(|| Point { class, call, object, from, process: command_line(pid) })
    }
}

/// Where a call's file stands among its arguments.
enum Object {
    None,
    Descriptor,
    Path(usize),
    /// A path, with the descriptor of its folder before it.
    At(usize),
}

fn meaning(number: i64) -> Option<(Class, &'static str, Object)> {
    use Class::{Mount, Name, Space, Sync};
    use Object::{At, Descriptor, None, Path};
    Some(match number {
        libc::SYS_fsync => (Sync, "fsync", Descriptor),
        libc::SYS_fdatasync => (Sync, "fdatasync", Descriptor),
        libc::SYS_sync_file_range => (Sync, "sync_file_range", Descriptor),
        libc::SYS_syncfs => (Sync, "syncfs", Descriptor),
        libc::SYS_rename => (Name, "rename", Path(1)),
        libc::SYS_renameat => (Name, "renameat", At(3)),
        libc::SYS_renameat2 => (Name, "renameat2", At(3)),
        libc::SYS_link => (Name, "link", Path(1)),
        libc::SYS_linkat => (Name, "linkat", At(3)),
        libc::SYS_symlink => (Name, "symlink", Path(1)),
        libc::SYS_symlinkat => (Name, "symlinkat", At(2)),
        libc::SYS_unlink => (Name, "unlink", Path(0)),
        libc::SYS_unlinkat => (Name, "unlinkat", At(1)),
        libc::SYS_rmdir => (Name, "rmdir", Path(0)),
        libc::SYS_mkdir => (Name, "mkdir", Path(0)),
        libc::SYS_mkdirat => (Name, "mkdirat", At(1)),
        libc::SYS_mount => (Mount, "mount", Path(1)),
        libc::SYS_umount2 => (Mount, "umount2", Path(0)),
        libc::SYS_fsopen => (Mount, "fsopen", Path(0)),
        libc::SYS_fsconfig => (Mount, "fsconfig", Path(2)),
        libc::SYS_fsmount => (Mount, "fsmount", None),
        libc::SYS_move_mount => (Mount, "move_mount", Path(3)),
        libc::SYS_open_tree => (Mount, "open_tree", At(1)),
        libc::SYS_mount_setattr => (Mount, "mount_setattr", At(1)),
        libc::SYS_pivot_root => (Mount, "pivot_root", Path(0)),
        libc::SYS_ftruncate => (Space, "ftruncate", Descriptor),
        libc::SYS_fallocate => (Space, "fallocate", Descriptor),
        libc::SYS_write => (Space, "write", Descriptor),
        libc::SYS_writev => (Space, "writev", Descriptor),
        libc::SYS_pwrite64 => (Space, "pwrite64", Descriptor),
        _ => return Option::None,
    })
}

fn go_on(pid: Pid, signal: Option<Signal>) {
    // It may have been killed meanwhile: then its end is reported next.
    let _ = ptrace::syscall(pid, signal);
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn thread_group(pid: Pid) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    group.map_or(pid, Pid::from_raw)
}

fn command_line(pid: Pid) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|&byte| byte == 0).skip(1).take(2).map(String::from_utf8_lossy);
    words.collect::<Vec<_>>().join(" ")
}

fn link(pid: Pid, descriptor: u64) -> String {
    let number = descriptor as i32;
    if number == libc::AT_FDCWD {
        return String::new();
    }
    let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
    OsStr::to_string_lossy(target.as_os_str()).into_owned()
}

/// A string in a process's memory.
fn string(pid: Pid, address: u64) -> String {
    let mut buffer = [0; 512];
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return String::new() };
    let mut length = 0;
    // Page by page: the next one may not be there.
    while length < buffer.len() && !buffer[..length].contains(&0) {
        let room = buffer.len() - length;
        let here = 4096 - (address as usize + length) % 4096;
        match memory.read_at(&mut buffer[length..length + here.min(room)], address + length as u64) {
            Ok(count) if count > 0 => length += count,
            _ => break,
        }
    }
    let text = buffer[..length].split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
