//! `exec`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci::runtime::{Capabilities, Process, Spec};
use runtime::containers;

use super::foreground::Foreground;
use super::{Failure, Globals, pid_file, setup};

/// Tells an engine that the process never ran.
const NOT_RUN: u8 = 255;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Socket that is sent the master of the process' terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Directory to run in
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, and group
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// More groups
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// File with the specification's process document
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Return as soon as the process runs
    #[arg(short, long)]
    detach: bool,
    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Let the process gain no privileges
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability
    #[arg(short, long, value_name = "NAME")]
    cap: Vec<String>,
    /// Hand so many descriptors from 3 on to the process
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Run in a group below the container's, which exists; with version 1 controllers before it for theirs alone, once for each
    #[arg(long, value_name = "[CONTROLLER,…:]CGROUP")]
    cgroup: Vec<String>,
    /// Also in a container that is paused
    #[arg(long)]
    ignore_paused: bool,
    #[arg(value_name = "CONTAINER")]
    id: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Gives the process' exit code.
pub fn run(globals: &Globals, args: &Args) -> Result<u8, Failure> {
    go(globals, args).map_err(|failure| Failure { code: NOT_RUN, ..failure.during("exec") })
}

fn go(globals: &Globals, args: &Args) -> Result<u8, Failure> {
    let container = globals.open(&args.id)?;
    let spec = container.spec()?;
    let process = match &args.process {
        Some(path) => read(path)?,
        None => process(args, &spec)?,
    };
    setup::check_preserved(args.preserve_fds)?;
    setup::check_terminal(&process, args.detach, args.console_socket.is_some())?;
    let cgroups = cgroups(&args.cgroup)?;
    let request = containers::Exec {
        spec: &spec,
        process: &process,
        ignore_paused: args.ignore_paused,
        cgroups: &cgroups,
        console_socket: args.console_socket.as_deref(),
        preserve_fds: args.preserve_fds,
    };
    let foreground = if args.detach { None } else { Some(Foreground::begin(false)?) };
    let running = containers::exec(&container, &request)?;
    globals.warn(&running.warnings);
    if let Some(path) = &args.pid_file
        && let Err(failure) = pid_file::write(path, running.pid)
    {
        // It fails when the process has ended, which is what is wanted.
        let _ = sys::signal::send(std::os::fd::AsFd::as_fd(&running.pidfd), libc::SIGKILL);
        return Err(failure);
    }
    match foreground {
        Some(foreground) => foreground.follow(running.pid, &running.pidfd, running.master.as_ref()),
        None => Ok(0),
    }
}

fn read(path: &Path) -> Result<Process, Failure> {
    let attempt = format!("read {}", path.display());
    let text = std::fs::read(path).map_err(|error| Failure::of(&attempt, &error))?;
    oci::lenient::from_file(&text).map_err(|error| Failure::of(&attempt, &error))
}

/// The container's own process with another command.
fn process(args: &Args, spec: &Spec) -> Result<Process, Failure> {
    if args.command.is_empty() {
        return Err(Failure::new("process args cannot be empty"));
    }
    let mut process = spec.process.clone().unwrap_or_default();
    process.args.clone_from(&args.command);
    process.terminal = args.tty;
    process.no_new_privileges |= args.no_new_privs;
    process.env.extend(args.env.iter().cloned());
    process.user.additional_gids.extend(&args.additional_gids);
    if let Some(cwd) = &args.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(profile) = &args.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &args.process_label {
        process.selinux_label.clone_from(label);
    }
    if let Some(user) = &args.user {
        let (uid, gid) = parse_user(user)?;
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    if !args.cap.is_empty() {
        let sets = process.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(args.cap.iter().cloned());
        }
    }
    Ok(process)
}

/// Groups by controller; no controller is all.
fn cgroups(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for text in given {
        let invalid = |why: &str| Err(Failure::new(format!("invalid --cgroup argument: {text}{why}")));
        let (controllers, path) = match text.split(':').collect::<Vec<_>>()[..] {
            [path] if given.len() == 1 => ("", path),
            [_] => return invalid(" (missing <controller>: prefix)"),
            [controllers, path] if controllers.split(',').all(|name| !name.is_empty()) => (controllers, path),
            _ => return invalid(""),
        };
        for controller in controllers.split(',') {
            if found.insert(controller.to_owned(), path.to_owned()).is_some() {
                return Err(Failure::new(format!(
                    "invalid --cgroup argument(s): controller {controller} specified multiple times"
                )));
            }
        }
    }
    Ok(found)
}

fn parse_user(text: &str) -> Result<(u32, Option<u32>), Failure> {
    let number = |what: &str, text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.ok_or_else(|| Failure::new(format!("parsing {text} as int for {what} failed")))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number("uid", uid)?, Some(number("gid", gid)?))),
        None => Ok((number("uid", text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_one_or_of_controllers() {
        let read = |given: &[&str]| cgroups(&given.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let pairs = |given: &[&str]| read(given).unwrap().into_iter().collect::<Vec<_>>();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(pairs(&["a/b"]), [pair("", "a/b")]);
        assert_eq!(
            pairs(&["cpu,memory:a", "pids:b"]),
            [pair("cpu", "a"), pair("memory", "a"), pair("pids", "b")]
        );
        for bad in [&["a", "b"][..], &["cpu:a", "b"], &["cpu:a:b"], &[":a"], &["cpu,:a"], &["cpu:a", "cpu:b"]]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn users_are_numbers() {
        assert_eq!(parse_user("5").unwrap(), (5, None));
        assert_eq!(parse_user("5:6").unwrap(), (5, Some(6)));
        for bad in ["", ":", "5:", ":5", "+5", "-1", "0x0", "1e3", " 0", "root", "4294967296", "٣"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }
}
