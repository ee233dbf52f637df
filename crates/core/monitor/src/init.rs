//! The init of a container with `--init`: `docker-init -- command argument…`.
//!
//! It starts the command in its own process group, hands it every signal that it gets, reaps whatever is orphaned in the
//! container, and ends when the command does: with its exit code, or 128 + the signal that killed it. A command that is not
//! there gives 127, one that cannot be executed 126.

use std::ffi::OsString;
use std::io;
use std::process::{Child, Command, ExitCode};

use rustix::process::{Pid, WaitOptions, WaitStatus};

const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const SIGCHLD: i32 = 17;

/// Runs the command in `args`, which are all arguments of the process, the program's name included.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().skip(1).peekable();
    args.next_if(|arg| arg == "--");
    let Some(program) = args.next() else {
        eprintln!("usage: docker-init -- command [argument…]");
        return ExitCode::from(1);
    };
    let mut command = Command::new(&program);
    command.args(args);
    match supervise(&mut command) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("docker-init: exec {} failed: {e}", program.to_string_lossy());
            ExitCode::from(if e.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
        }
    }
}

fn supervise(command: &mut Command) -> io::Result<u8> {
    // Blocked before the command starts, so that no signal falls between two stools.
    let signals = sys::signal::block()?;
    let child = signals.spawn(command)?;
    loop {
        match signals.wait() {
            Ok(SIGCHLD) => {
                if let Some(code) = reap(&child)? {
                    return Ok(code);
                }
            }
            // The command is not reaped yet, so the pid is its own; it may have exited already.
            Ok(signal) => drop(sys::signal::send_to_child(&child, signal)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Reaps every child that has ended; the exit code of the command if it is among them.
fn reap(command: &Child) -> io::Result<Option<u8>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if is(pid, command) => code = Some(exit_code(status)),
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(code),
            Err(e) => return Err(e.into()),
        }
    }
}

fn is(pid: Pid, child: &Child) -> bool {
    u32::try_from(pid.as_raw_nonzero().get()) == Ok(child.id())
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
