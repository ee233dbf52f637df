//! Running `git` where nobody's settings, hooks or helpers count but ours.
//!
//! The environment is built from nothing: no system or user configuration, no terminal to ask, no helper for credentials,
//! no protocol but those that reach another machine (a helper such as `ext::` runs any command). Hooks have no directory;
//! objects are checked as they come. Credentials go through the environment: arguments and files are read by others.

use super::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where programs are: git itself, its helpers, ssh.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A single file that git writes, a pack for example, in bytes.
const FILE_MAX: u64 = 16 << 30;
/// Longer than any download that somebody waits for.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
/// What is kept of an answer, and of messages.
const ANSWER_MAX: u64 = 64 << 20;
const MESSAGE_MAX: u64 = 16 << 10;
/// How often cancellation is looked for.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Settings on every call, whatever the repository says.
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.askPass", ""),
    // Who fetched it, where and when is no part of what was fetched.
    ("core.logAllRefUpdates", "false"),
    ("credential.helper", ""),
    ("transfer.fsckObjects", "true"),
    // Flaws that old histories have, and that harm nobody; well-known repositories could not be built otherwise.
    ("fetch.fsck.badDate", "ignore"),
    ("fetch.fsck.badDateOverflow", "ignore"),
    ("fetch.fsck.badEmail", "ignore"),
    ("fetch.fsck.badName", "ignore"),
    ("fetch.fsck.badTagName", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.missingAuthor", "ignore"),
    ("fetch.fsck.missingCommitter", "ignore"),
    ("fetch.fsck.missingEmail", "ignore"),
    ("fetch.fsck.missingNameBeforeEmail", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.missingSpaceBeforeEmail", "ignore"),
    ("fetch.fsck.missingTagEntry", "ignore"),
    ("fetch.fsck.missingTaggerEntry", "ignore"),
    ("fetch.fsck.multipleAuthors", "ignore"),
    ("fetch.fsck.nulInCommit", "ignore"),
    ("fetch.fsck.zeroPaddedDate", "ignore"),
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("transfer.unpackLimit", "1"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    ("safe.directory", "*"),
    ("filter.lfs.smudge", ""),
    ("filter.lfs.required", "false"),
    ("protocol.ext.allow", "never"),
];

/// What reaches servers by ssh. The keys that the user knows count, and what is learned goes into the first file, which is the
/// build's own. ssh itself looks the variable up, so no path needs quotes.
const SSH: &str = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new \
    -o 'UserKnownHostsFile=${KNOWN_HOSTS} ~/.ssh/known_hosts ~/.ssh/known_hosts2'";
/// The same where their keys are named.
const SSH_KNOWN: &str = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes \
    -o GlobalKnownHostsFile=/dev/null -o 'UserKnownHostsFile=${KNOWN_HOSTS}'";

/// How git is run for one repository.
pub(super) struct Program<'a> {
    /// The repository for people.
    pub shown: String,
    /// The working directory.
    pub directory: PathBuf,
    /// A directory of our own that stands for the user's.
    pub home: PathBuf,
    /// Further settings, secret ones among them.
    pub settings: Vec<(String, String)>,
    /// Further variables: proxies and the ssh agent.
    pub variables: Vec<(String, String)>,
    /// The file of the build's own with keys of servers.
    pub known_hosts: PathBuf,
    /// The keys that the server may have are in there; else those of its first answer count.
    pub names_keys: bool,
    /// A repository of this machine may be read.
    pub local: bool,
    /// Whether to stop.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Program<'_> {
    pub(super) fn command(&self, arguments: &[&str], local: bool) -> Command {
        let mut command = Command::new("git");
        let protocols = if local { "https:http:ssh:git:file" } else { "https:http:ssh:git" };
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", protocols)
            .env("GIT_SSH_COMMAND", if self.names_keys { SSH_KNOWN } else { SSH })
            .env("KNOWN_HOSTS", &self.known_hosts)
            .env("GIT_CEILING_DIRECTORIES", "/")
            .stdin(Stdio::null())
            .process_group(0);
        let fixed = SETTINGS.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string()));
        let all: Vec<_> = fixed.chain(self.settings.iter().cloned()).collect();
        command.env("GIT_CONFIG_COUNT", all.len().to_string());
        for (number, (key, value)) in all.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs git; what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Error> {
        self.answer(arguments, self.local)
    }

    /// Runs git for what a repository names: never for directories of this machine.
    pub fn run_for_others(&self, arguments: &[&str]) -> Result<Vec<u8>, Error> {
        self.answer(arguments, false)
    }

    fn answer(&self, arguments: &[&str], local: bool) -> Result<Vec<u8>, Error> {
        self.run_with(arguments, local, |stream| {
            let mut all = Vec::new();
            stream.take(ANSWER_MAX + 1).read_to_end(&mut all)?;
            match all.len() as u64 > ANSWER_MAX {
                true => Err(std::io::Error::other(format!("it says more than {ANSWER_MAX} bytes"))),
                false => Ok(all),
            }
        })
    }

    /// Runs git and lets `take` read what it prints; git is killed when `take` has enough.
    pub fn run_with<T: Send>(
        &self,
        arguments: &[&str],
        local: bool,
        take: impl FnOnce(Box<dyn Read + Send>) -> std::io::Result<T> + Send,
    ) -> Result<T, Error> {
        let verb = arguments.iter().find(|a| !a.starts_with('-')).copied().unwrap_or_default();
        let run = |source| Error::Run { verb: verb.to_string(), source };
        let mut command = self.command(arguments, local);
        let mut child = match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && Path::new(&self.directory).is_dir() => {
                return Err(Error::NoGit { url: self.shown.clone() });
            }
            other => other.map_err(run)?,
        };
        let pid = Pid::from_child(&child);
        let limit = Rlimit { current: Some(FILE_MAX), maximum: Some(FILE_MAX) };
        // Best effort: a program that has ended meanwhile writes nothing any more.
        let _ = rustix::process::prlimit(Some(pid), Resource::Fsize, limit);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (answer, words, waited) = std::thread::scope(|scope| {
            let answer = scope.spawn(move || {
                let stream = stdout.map(|s| Box::new(s) as Box<dyn Read + Send>);
                take(stream.unwrap_or_else(|| Box::new(std::io::empty())))
            });
            let words = scope.spawn(move || last_words(stderr));
            let waited = self.wait(pid, &answer);
            let answer = answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let words = words.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (answer, words, waited)
        });
        let status = child.wait().map_err(run)?;
        // Who stops reading ends it, by a broken pipe at the latest.
        let ended_by_us = waited? || status.signal() == Some(Signal::PIPE.as_raw());
        let answer = answer.map_err(run)?;
        if !status.success() && !ended_by_us {
            return Err(Error::Git {
                verb: verb.to_string(),
                url: self.shown.clone(),
                message: message(&words, status),
            });
        }
        Ok(answer)
    }

    /// Waits for the end; whether it was we who ended it, since the reader has read enough.
    fn wait<T>(&self, pid: Pid, reader: &std::thread::ScopedJoinHandle<'_, T>) -> Result<bool, Error> {
        let began = Instant::now();
        let kill = || {
            // The group: git's helpers do the work.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        };
        let Ok(fd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        loop {
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            let ended = poll(&mut fds, Some(&TICK)).is_ok_and(|n| n > 0);
            if ended {
                // What it left behind holds the pipes that we read.
                kill();
                return Ok(false);
            }
            if (self.cancelled)() {
                kill();
                return Err(Error::Cancelled);
            }
            if began.elapsed() > PATIENCE {
                kill();
                let what = format!("not finished after {} minutes", PATIENCE.as_secs() / 60);
                return Err(Error::TooLarge { url: self.shown.clone(), what });
            }
            if reader.is_finished() && began.elapsed() > Duration::from_millis(50) {
                // It closes its output when it ends; if it does not, nobody wants more.
                let mut fds = [PollFd::new(&fd, PollFlags::IN)];
                if !poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).is_ok_and(|n| n > 0) {
                    kill();
                    return Ok(true);
                }
            }
        }
    }
}

/// The end of what a stream says.
fn last_words(stream: Option<impl Read>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let extra = kept.len().saturating_sub(MESSAGE_MAX as usize);
        kept.drain(..extra);
    }
    kept
}

/// The lines that say why, without progress and without control characters.
fn message(words: &[u8], status: std::process::ExitStatus) -> String {
    let text = String::from_utf8_lossy(words);
    let lines = text.split(['\n', '\r']).map(str::trim);
    let telling = |line: &&str| {
        ["fatal:", "error:", "remote:", "ERROR:", "ssh:"].iter().any(|start| line.starts_with(start))
    };
    let mut wanted: Vec<&str> = lines.clone().filter(telling).collect();
    if wanted.is_empty() {
        wanted = lines.filter(|line| !line.is_empty()).collect();
    }
    let from = wanted.len().saturating_sub(4);
    let joined = wanted[from..].join("; ");
    let clean: String = joined.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
    if clean.is_empty() { status.to_string() } else { clean }
}
