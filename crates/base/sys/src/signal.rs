//! Signals by number: real-time ones too, which containers use to be stopped, and for which safe libraries have no name.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Sends a signal to a process; it cannot hit another one that got the same pid.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open for the call, and no siginfo is passed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to a child that has not been reaped, so that its pid is certain to be its own.
pub fn send_to_child(child: &Child, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: kill(2) takes two integers.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Makes signals without effect on this process. Unlike an ignored signal this is not inherited by what it executes.
pub fn disregard(signals: &[i32]) -> io::Result<()> {
    for &signal in signals {
        // SAFETY: a zeroed sigaction is a valid one (no flags, empty mask); the handler does nothing, so it is safe at
        // any moment.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// All signals blocked for this thread, but those that mean a fault of its own.
pub struct Blocked {
    set: libc::sigset_t,
    before: libc::sigset_t,
}

/// Blocks signals, so that they queue up for [`Blocked::wait`].
pub fn block() -> io::Result<Blocked> {
    let faults =
        [libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];
    let mut set = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the sets are initialised by sigfillset and sigprocmask before they are read; the signals are valid.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for fault in faults {
            libc::sigdelset(set.as_mut_ptr(), fault);
        }
        if libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), before.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Blocked { set: set.assume_init(), before: before.assume_init() })
    }
}

impl Blocked {
    /// Waits for the next signal.
    pub fn wait(&self) -> io::Result<i32> {
        // SAFETY: the set is initialised, and no siginfo is asked for.
        let signal = unsafe { libc::sigwaitinfo(&self.set, std::ptr::null_mut()) };
        if signal >= 0 { Ok(signal) } else { Err(io::Error::last_os_error()) }
    }

    /// The same queue as a descriptor, to be polled beside others and read by [`Queue::take`].
    pub fn queue(&self) -> io::Result<Queue> {
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const self.set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else owns it.
        Ok(Queue { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Starts a command with the signals as they were before, in its own process group, which becomes the foreground
    /// one of the terminal on its standard input, if there is one.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let before = self.before;
        let prepare = move || {
            rustix::process::setpgid(None, None)?;
            // Allowed for a background group because SIGTTOU is blocked.
            match rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid()) {
                Ok(())
                | Err(rustix::io::Errno::NOTTY | rustix::io::Errno::BADF | rustix::io::Errno::NXIO) => {}
                Err(e) => return Err(e.into()),
            }
            // SAFETY: sigprocmask is async-signal-safe and the set is initialised.
            if unsafe { libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls only, without allocation or locks.
        unsafe { command.pre_exec(prepare) }.spawn()
    }
}

/// Signals that have arrived while they were blocked.
#[derive(Debug)]
pub struct Queue {
    fd: OwnedFd,
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Queue {
    /// The next one, if one has arrived.
    pub fn take(&self) -> io::Result<Option<i32>> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut info) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(e) => Err(e.into()),
            // Its first word is the number.
            Ok(_) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags};
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_signal_reaches_the_process_behind_the_descriptor() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
        // SIGRTMIN + 3, whose default action is to end the process.
        send(pidfd.as_fd(), 37).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(37));
        assert_eq!(send(pidfd.as_fd(), 9).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_disregarded_signal_has_no_effect_here_but_on_what_is_executed() {
        disregard(&[libc::SIGUSR2]).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR2).unwrap();
        let status = Command::new("sh").args(["-c", "kill -USR2 $$"]).status().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGUSR2));
    }
}
