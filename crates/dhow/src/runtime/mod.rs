//! `dhow runtime`: the OCI runtime as a program, with runc's words, flags, files and exit codes, so that engines which
//! call runc can call this. A link to the program by the name of `dhow-runtime` or `runc` is the same without the word.
//!
//! It comes before any thread, logger or engine exists: engines call it several times for every container.
//!
//! A failure is one line in the log (`--log`), in the form that `--log-format` says, and on standard error; the exit code
//! is 1, of a failed `exec` 255.

mod arguments;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod kill;
mod list;
mod log;
mod notify;
mod pause;
mod pid_file;
mod ps;
mod resume;
mod run;
mod setup;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arguments::{Arguments, Rootless, Verb};
use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use runtime::containers::{self, CgroupManager, Container};

use crate::manager;
use log::{Format, Log};

/// What every verb is told.
#[derive(Debug)]
pub struct Globals {
    /// Where the containers' folders are.
    pub root: PathBuf,
    pub cgroups: CgroupManager,
    /// Whether a container does without a control group where none may be made.
    pub cgroup_optional: bool,
    /// So many descriptors a service manager has handed to this process.
    pub listen_fds: u32,
    /// The socket of a service manager that wants to know when the container's program is ready.
    pub manager: Option<String>,
    pub log: Log,
}

impl Globals {
    pub fn open(&self, id: &str) -> Result<Container, Failure> {
        Ok(Container::open(&self.root, id)?)
    }

    pub fn warn(&self, warnings: &[String]) {
        warnings.iter().for_each(|text| self.log.warning(text));
    }
}

/// Why a verb failed, in one line.
#[derive(Debug)]
pub struct Failure {
    pub text: String,
    pub code: u8,
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: 1 }
    }

    /// With the attempt in front.
    pub fn of(attempt: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::new(format!("{attempt}: {}", chain(error)))
    }

    /// Of a user without a place for containers.
    fn for_want_of_a_root(self) -> Failure {
        let refused = said(&std::io::Error::from_raw_os_error(libc::EACCES));
        if !self.text.ends_with(&refused) {
            return self;
        }
        let text = format!(
            "{}: this is root's; XDG_RUNTIME_DIR, where a user's containers are kept, is not set: set it, or name a folder of \
             your own with --root",
            self.text
        );
        Failure { text, ..self }
    }

    fn during(self, verb: &str) -> Failure {
        Failure { text: format!("{verb} failed: {}", self.text), ..self }
    }
}

impl From<containers::Error> for Failure {
    fn from(error: containers::Error) -> Failure {
        Failure::new(chain(&error))
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = said(error);
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {}", said(error));
        source = error.source();
    }
    text
}

/// Reasons of the kernel's as engines match on them.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
        Some(errno) => ::runtime::said(errno),
        None => error.to_string(),
    }
}

/// Runs one verb. `arguments` are what follows the program's name, or the word `runtime`.
pub fn main(name: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = std::iter::once(OsString::from(name)).chain(arguments).collect();
    let arguments = match Arguments::try_parse_from(&arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            if error.use_stderr() {
                log_usage(&arguments, &error);
            }
            if let Some(word) = unknown_verb(&error) {
                eprintln!("No help topic for '{word}'");
                return ExitCode::from(3);
            }
            // Nobody is left to be told that standard error is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 1 } else { 0 });
        }
    };
    let log = match Log::open(arguments.log.as_deref(), arguments.log_format, arguments.debug) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{}", error.text);
            return ExitCode::FAILURE;
        }
    };
    let users = is_a_users();
    let homeless = users && arguments.root.is_none() && std::env::var_os("XDG_RUNTIME_DIR").is_none();
    let globals = Globals {
        root: arguments.root.unwrap_or_else(|| default_root(users)),
        cgroups: if arguments.systemd_cgroup { CgroupManager::Systemd } else { CgroupManager::Filesystem },
        cgroup_optional: match arguments.rootless {
            Rootless::True => true,
            Rootless::False => false,
            Rootless::Auto => users,
        },
        listen_fds: listen_fds(),
        manager: std::env::var(manager::SOCKET).ok().filter(|socket| !socket.is_empty()),
        log,
    };
    if arguments.criu.is_some() {
        globals.log.warning("--criu is ignored: containers are not checkpointed");
    }
    globals.log.debug(format_args!("{:?} below {}", arguments.verb, globals.root.display()));
    let outcome = run(&globals, &arguments.verb);
    ::runtime::dismiss();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let failure = if homeless { failure.for_want_of_a_root() } else { failure };
            globals.log.error(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// What cannot be understood of `arguments`, into the log that they name all the same: engines look there.
fn log_usage(arguments: &[OsString], error: &clap::Error) {
    let (mut file, mut format) = (None, Format::Text);
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next().filter(|word| word.starts_with('-')) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.into_owned(), None),
        };
        let mut value = || value.clone().or_else(|| words.next().map(|word| word.into_owned()));
        match name.as_str() {
            "--log" => file = value().map(PathBuf::from),
            "--log-format" if value().as_deref() == Some("json") => format = Format::Json,
            "--log-format" => format = Format::Text,
            "--root" | "--criu" | "--rootless" => drop(value()),
            _ => {}
        }
    }
    let Some(file) = file else { return };
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    if let Ok(log) = Log::open(Some(&file), format, false) {
        log.note("error", text.strip_prefix("error: ").unwrap_or(text));
    }
}

/// The word that is no verb. Engines that probe for one know runc's answer.
fn unknown_verb(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::InvalidSubcommand => {
            Some(word.clone())
        }
        _ => None,
    }
}

fn run(globals: &Globals, verb: &Verb) -> Result<u8, Failure> {
    let done = |result: Result<(), Failure>| result.map(|()| 0);
    if matches!(verb, Verb::Create(_) | Verb::Run(_) | Verb::Exec(_)) {
        // A process on its way into a container must not hand out this program's file (CVE-2019-5736).
        sys::exe::leave_writable(std::env::args_os(), &[])
            .map_err(|error| Failure::of("run from a read-only mount of this program", &error))?;
        // For who lists processes. It was executed through a descriptor, whose number is its name; nothing hangs on it.
        let _ = rustix::thread::set_name(c"dhow-runtime");
    }
    match verb {
        Verb::Create(args) => done(create::run(globals, args)),
        Verb::Delete(args) => done(delete::run(globals, args)),
        Verb::Events(args) => done(events::run(globals, args)),
        Verb::Exec(args) => exec::run(globals, args),
        Verb::Features(args) => done(features::run(globals, args)),
        Verb::H(help) => done(help.text().and_then(|text| print(&text))),
        Verb::Kill(args) => done(kill::run(globals, args)),
        Verb::List(args) => done(list::run(globals, args)),
        Verb::Pause(args) => done(pause::run(globals, args)),
        Verb::Ps(args) => done(ps::run(globals, args)),
        Verb::Resume(args) => done(resume::run(globals, args)),
        Verb::Run(args) => run::run(globals, args),
        Verb::Spec(args) => done(spec::run(globals, args)),
        Verb::Start(args) => done(start::run(globals, args)),
        Verb::State(args) => done(state::run(globals, args)),
        Verb::Update(args) => done(update::run(globals, args)),
        Verb::Checkpoint(_) | Verb::Restore(_) => Err(Failure::new(
            "checkpoint and restore are not supported: stop the container and start it anew",
        )),
    }
}

/// As runc prints documents.
pub fn print_json(document: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Failure::of("write JSON", &error))?;
    print(&format!("{text}\n"))
}

pub fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::of("write to standard output", &error))
}

/// Whether the machine's directories are not this process': it is not root, or root of a user namespace alone, which an
/// engine without privileges has made.
fn is_a_users() -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let all = map.split_whitespace().eq(["0", "0", "4294967295"]);
    !map.is_empty() && !all && std::env::var_os("USER").is_none_or(|user| user != "root")
}

/// Memory-backed, as all of it describes processes.
fn default_root(users: bool) -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| users);
    own.map_or_else(|| Path::new("/run").to_owned(), PathBuf::from).join("dhow-runtime")
}

/// sd_listen_fds(3): descriptors from 3 on are for the container's program. Variables that are for another process, as for
/// an engine that was started by its socket, say nothing of our descriptors.
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return 0;
    }
    number("LISTEN_FDS").unwrap_or(0)
}
