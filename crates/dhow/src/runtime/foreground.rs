//! Staying with a process until its end: signals are handed on, a terminal is passed through, and its exit code becomes
//! ours.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use rustix::termios::{OptionalActions, Termios};
use sys::signal::{Blocked, Queue};

use super::Failure;

/// Signals from the beginning on.
pub struct Foreground {
    /// What is blocked stays so to the end of the process.
    _blocked: Blocked,
    queue: Queue,
}

impl Foreground {
    /// From here on signals wait for a process to be handed to. `subreaper`: what the process leaves behind becomes a child
    /// of ours and is buried.
    pub fn begin(subreaper: bool) -> Result<Foreground, Failure> {
        let fail = |error: io::Error| Failure::of("wait for signals", &error);
        if subreaper {
            let own = Some(rustix::process::getpid());
            rustix::process::set_child_subreaper(own).map_err(|error| fail(error.into()))?;
        }
        let blocked = sys::signal::block().map_err(fail)?;
        let queue = blocked.queue().map_err(fail)?;
        Ok(Foreground { _blocked: blocked, queue })
    }

    /// Waits for the end of a child. Gives its exit code, 128 and the signal if one has ended it.
    pub fn follow(self, pid: i32, pidfd: &OwnedFd, master: Option<&OwnedFd>) -> Result<u8, Failure> {
        let passing = master.map(Passing::begin).transpose();
        let mut passing = passing.map_err(|error| Failure::of("set up the terminal", &error))?;
        loop {
            match self.round(pid, pidfd, passing.as_mut()) {
                Ok(None) => {}
                Ok(Some(code)) => return Ok(code),
                Err(error) => return Err(Failure::of("wait for the container's process", &error)),
            }
        }
    }

    /// One round; a code at the end.
    fn round(
        &self,
        pid: i32,
        pidfd: &OwnedFd,
        mut passing: Option<&mut Passing<'_>>,
    ) -> io::Result<Option<u8>> {
        let (reads, writes) =
            passing.as_ref().map_or((false, false), |passing| (passing.reads, passing.writes));
        let stdin = rustix::stdio::stdin();
        let master = passing.as_ref().map_or(stdin, |passing| passing.master.as_fd());
        let watch = |watch: bool| if watch { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = [
            PollFd::new(&self.queue, PollFlags::IN),
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(if writes { master } else { self.queue.as_fd() }, PollFlags::IN),
            PollFd::from_borrowed_fd(if reads { stdin } else { self.queue.as_fd() }, watch(reads)),
        ];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [_, ended, output, input] = polled.map(|polled| !polled.revents().is_empty());
        while let Some(signal) = self.queue.take()? {
            match signal {
                libc::SIGCHLD => sys::child::reap_others(pid)?,
                libc::SIGWINCH if passing.is_some() => passing.iter().for_each(|passing| passing.resize()),
                // Go's scheduler uses it on itself, and it is nobody's wish.
                libc::SIGURG => {}
                // It fails when the process has ended.
                other => drop(sys::signal::send(pidfd.as_fd(), other)),
            }
        }
        if let Some(passing) = &mut passing {
            if reads && input {
                passing.input()?;
            }
            if writes && (output || ended) {
                passing.output()?;
            }
        }
        if ended { reap(pidfd).map(Some) } else { Ok(None) }
    }
}

fn reap(pidfd: &OwnedFd) -> io::Result<u8> {
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    let signal = |status: &WaitIdStatus| status.terminating_signal().map_or(0, |signal| 128 + signal);
    Ok(status.map_or(0, |status| status.exit_status().unwrap_or_else(|| signal(&status))) as u8)
}

/// A terminal of ours, or pipes, and a terminal of the container's.
struct Passing<'a> {
    master: &'a OwnedFd,
    /// Our terminal as it was.
    before: Option<Termios>,
    /// Whether standard input still has something to come.
    reads: bool,
    /// Whether the container's side is open.
    writes: bool,
}

impl<'a> Passing<'a> {
    fn begin(master: &'a OwnedFd) -> io::Result<Passing<'a>> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        }
        rustix::io::ioctl_fionbio(master, true)?;
        let passing = Passing { master, before, reads: true, writes: true };
        passing.resize();
        Ok(passing)
    }

    /// A size that can't be had or set is no reason to end.
    fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            let _ = rustix::termios::tcsetwinsize(self.master, size);
        }
    }

    /// At its end, the container's program is told by the character that means it.
    fn input(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Err(Errno::INTR) => Ok(()),
            Err(_) | Ok(0) => {
                const END_OF_TRANSMISSION: u8 = 4;
                self.reads = false;
                self.type_in(&[END_OF_TRANSMISSION])
            }
            Ok(n) => self.type_in(&buffer[..n]),
        }
    }

    /// A program that reads nothing must not hold up its output.
    fn type_in(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match rustix::io::write(self.master, text) {
                Ok(n) => text = &text[n..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.output()?;
                    let mut polled = [PollFd::new(self.master, PollFlags::OUT | PollFlags::IN)];
                    rustix::event::poll(&mut polled, None)?;
                }
                // The other end is closed.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// All that there is by now.
    fn output(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        loop {
            match rustix::io::read(self.master, &mut buffer) {
                Ok(n @ 1..) => write_all(&buffer[..n])?,
                Err(Errno::AGAIN) => return Ok(()),
                // Nobody has the other end any more.
                Ok(_) | Err(Errno::IO) => {
                    self.writes = false;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn write_all(mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), text) {
            Ok(n) => text = &text[n..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // There is nobody to tell.
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
