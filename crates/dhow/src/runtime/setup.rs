//! What `create` and `run` have in common.

use std::path::PathBuf;

use oci::runtime::Process;
use runtime::containers::{self, Error, Waiting};

use super::{Failure, Globals, pid_file};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Socket that is sent the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Enter the root file system without pivot_root, which an initial ramfs does not allow
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the session keyring of who calls
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Hand so many descriptors from 3 on to the container
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    pub id: String,
}

/// A container that waits for its start; its number is in the file where one is asked for.
pub fn create(globals: &Globals, args: &Args, detached: bool) -> Result<Waiting, Failure> {
    check_preserved(args.preserve_fds)?;
    let request = containers::Create {
        root: &globals.root,
        id: &args.id,
        bundle: &args.bundle,
        cgroups: globals.cgroups,
        cgroup_optional: globals.cgroup_optional,
        console_socket: args.console_socket.as_deref(),
        preserve_fds: args.preserve_fds.saturating_add(globals.listen_fds),
        listen_fds: globals.listen_fds,
        notify: globals.manager.is_some(),
        no_pivot: args.no_pivot,
        inherit_keyring: args.no_new_keyring,
    };
    let waiting = containers::create(&request, |process| {
        check_terminal(process, detached, args.console_socket.is_some())
    })?;
    globals.warn(&waiting.warnings);
    if let Some(path) = &args.pid_file
        && let Err(failure) = pid_file::write(path, waiting.pid)
    {
        remove(globals, &args.id);
        return Err(failure);
    }
    Ok(waiting)
}

/// Of a container that is of no use any more; why is what has to be told.
pub fn remove(globals: &Globals, id: &str) {
    if let Err(error) = containers::delete(&globals.root, id, true) {
        globals.log.warning(&format!("remove the container: {}", super::chain(&error)));
    }
}

/// Descriptors that are to be handed on have to be there.
pub fn check_preserved(count: u32) -> Result<(), Failure> {
    for at in 0..u64::from(count) {
        let path = format!("/proc/self/fd/{}", 3 + at);
        if let Err(error) = std::fs::symlink_metadata(&path) {
            let attempt = format!("unable to stat preserved-fd {} (of {count}): stat {path}", at + 1);
            return Err(Failure::of(&attempt, &error));
        }
    }
    Ok(())
}

/// Somebody must hold a terminal's master.
pub fn check_terminal(process: &Process, detached: bool, socket: bool) -> Result<(), Error> {
    let reason = match (process.terminal, detached, socket) {
        (true, true, false) => {
            "cannot allocate tty if the runtime will detach without setting console socket"
        }
        (true, true, true) | (_, _, false) => return Ok(()),
        (_, _, true) => "cannot use console socket if the runtime will not detach or allocate tty",
    };
    Err(Error::Terminal { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_needs_a_holder() {
        let check = |terminal, detached, socket| {
            check_terminal(&Process { terminal, ..Process::default() }, detached, socket).is_ok()
        };
        assert!(check(true, true, true));
        assert!(check(true, false, false));
        assert!(check(false, true, false));
        assert!(!check(true, true, false));
        assert!(!check(true, false, true));
        assert!(!check(false, true, true));
    }
}
