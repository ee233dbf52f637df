//! A program run by the child in the middle of its plan.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::run::{Failure, check, exit};
use super::step::HookStep;
use super::terminal;

/// Runs the hook to its end. A non-zero exit, a signal or a timeout is a failure.
pub(super) fn run(step: &HookStep, pid: i32) -> Result<(), Failure> {
    let (input, output) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut digits = [b' '; 10];
    let mut rest = pid.unsigned_abs();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let (before, after) = step.state.split_at_checked(step.pid_at).ok_or(Errno::INVAL)?;
    for part in [before, &digits, after.get(10..).unwrap_or_default()] {
        // The pipe takes 64 KiB; a state that is larger is refused rather than waited for.
        if rustix::io::write(&output, part)? != part.len() {
            return Err(Errno::MSGSIZE.into());
        }
    }
    drop(output);
    rustix::fs::fcntl_setfl(&input, OFlags::empty())?;
    let pidfd = start(step, input.as_raw_fd())?;
    let timeout = rustix::event::Timespec {
        tv_sec: (step.timeout_ms / 1000).into(),
        tv_nsec: (step.timeout_ms % 1000 * 1_000_000).into(),
    };
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    let limit = (step.timeout_ms >= 0).then_some(&timeout);
    let ended = loop {
        match rustix::event::poll(&mut polled, limit) {
            Err(Errno::INTR) => continue,
            other => break other?,
        }
    };
    if ended == 0 {
        super::kill_and_reap(std::os::fd::AsFd::as_fd(&pidfd));
        return Err(Failure::with_text(Errno::TIMEDOUT, b"timed out"));
    }
    match super::wait(std::os::fd::AsFd::as_fd(&pidfd)) {
        Ok(super::Exit::Code(0)) => Ok(()),
        Ok(super::Exit::Code(_)) => Err(Failure::with_text(Errno::CANCELED, b"exited with an error")),
        _ => Err(Failure::with_text(Errno::CANCELED, b"was killed")),
    }
}

fn start(step: &HookStep, input: RawFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    let mut pidfd: libc::c_int = -1;
    let args = super::CloneArgs {
        flags: libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..super::CloneArgs::default()
    };
    // SAFETY: the new process has its own copy of memory and stack, makes system calls on what exists, and
    // never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<super::CloneArgs>()) };
    if pid == 0 {
        let own = match &step.null {
            Some(_) => None,
            None => rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok(),
        };
        // Without any, the streams of the process have to do.
        let (out, err) = match step.null.as_ref().or(own.as_ref()) {
            Some(null) => (null.as_raw_fd(), null.as_raw_fd()),
            None => (1, 2),
        };
        if terminal::stdio([input, out, err]).is_ok() {
            // SAFETY: a C string and two null-terminated vectors of C strings, all alive; numbers for
            // close_range.
            unsafe {
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
                libc::syscall(libc::SYS_execve, step.path.as_ptr(), step.argv.as_ptr(), step.envp.as_ptr());
            }
        }
        exit();
    }
    check(pid)?;
    // SAFETY: CLONE_PIDFD has stored a new descriptor here, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}
