//! One process with its stdio: the container's init, a further process, or a health probe.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use runtime::Stdio;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::termios::Winsize;

use crate::stdcopy::Stream;

/// How much input is kept for a process that does not read.
const INPUT: usize = 64 * 1024;

/// Whose process it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The container's init.
    Init,
    /// The further process with this id.
    Exec(String),
    /// A health probe.
    Probe,
}

/// A process, its descriptors, and who is connected to them.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub owner: Owner,
    /// Output is raw. Decided when the process starts.
    pub tty: bool,
    /// The process; `None` before its start and after it was reaped.
    pub pidfd: Option<OwnedFd>,
    /// Set when it has been reaped.
    pub exit_code: Option<i32>,
    /// Connections that follow it.
    pub clients: Vec<u32>,
    /// The read ends of its output; with a terminal the first is the master.
    pub outputs: [Option<OwnedFd>; 2],
    /// Output is not read, because a client is full.
    pub throttled: bool,
    /// The write end of its input.
    pub input: Option<OwnedFd>,
    /// Input that it has not taken yet.
    pub queue: VecDeque<u8>,
    /// Clients may feed its input.
    pub accepts_input: bool,
    /// The first client to end its input ends that of the process.
    pub input_once: bool,
    /// End the input once the queue is empty.
    pub input_ends: bool,
    /// The beginning of its output, for a probe.
    pub captured: Vec<u8>,
}

/// The ends that a process gets, and those that we keep.
#[derive(Debug)]
pub struct Plumbing {
    /// For the runtime.
    pub stdio: Stdio,
    /// Write end of standard input.
    pub input: Option<OwnedFd>,
    /// Read ends of the outputs.
    pub outputs: [Option<OwnedFd>; 2],
}

impl Session {
    /// A session whose process has not been started.
    pub fn new(owner: Owner) -> Session {
        Session {
            owner,
            tty: false,
            pidfd: None,
            exit_code: None,
            clients: Vec::new(),
            outputs: [None, None],
            throttled: false,
            input: None,
            queue: VecDeque::new(),
            accepts_input: false,
            input_once: false,
            input_ends: false,
            captured: Vec::new(),
        }
    }

    /// Whether a client's input is to be read now. Before the start it is left where it is; of a process that takes no
    /// input any more it is read and thrown away.
    pub fn reads_input(&self) -> bool {
        self.pidfd.is_some() && self.queue.len() < INPUT
    }

    /// Whether what a client types is kept. Before the start nobody knows, so it is.
    pub fn keeps_input(&self) -> bool {
        self.pidfd.is_none() || (self.accepts_input && self.input.is_some())
    }

    /// Whether all output has been read.
    pub fn is_drained(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Gives the queue to the process as far as it takes it. An error means that it takes no more.
    pub fn feed(&mut self) -> io::Result<()> {
        let Some(input) = &self.input else {
            self.queue.clear();
            return Ok(());
        };
        while !self.queue.is_empty() {
            match rustix::io::write(input, self.queue.as_slices().0) {
                Ok(taken) => drop(self.queue.drain(..taken)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        self.queue = VecDeque::new();
        Ok(())
    }

    /// Reaps the process if it has exited: exit code, or 128 + signal.
    pub fn reap(&mut self) -> io::Result<Option<i32>> {
        let Some(pidfd) = &self.pidfd else { return Ok(None) };
        let Some(status) = rustix::process::waitid(
            WaitId::PidFd(rustix::fd::AsFd::as_fd(pidfd)),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        )?
        else {
            return Ok(None);
        };
        let code =
            status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s)).unwrap_or(255);
        self.pidfd = None;
        self.exit_code = Some(code);
        Ok(Some(code))
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, height: u16, width: u16) -> io::Result<()> {
        let master = self.outputs[0].as_ref().filter(|_| self.tty);
        let master = master.ok_or_else(|| io::Error::other("the process has no terminal"))?;
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(master, size)?)
    }

    /// Takes over the master of a new terminal, once for reading and once for writing.
    pub fn take_master(&mut self, master: OwnedFd) -> io::Result<()> {
        nonblocking(&master)?;
        self.input = Some(rustix::io::fcntl_dupfd_cloexec(&master, 3)?);
        self.outputs = [Some(master), None];
        Ok(())
    }
}

/// Pipes for what is wanted, `/dev/null` for the rest.
pub fn plumb(stdin: bool, stdout: bool, stderr: bool) -> io::Result<Plumbing> {
    let (input, theirs_in) = match stdin {
        true => {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            nonblocking(&write)?;
            (Some(write), read)
        }
        false => (None, null(OFlags::RDONLY)?),
    };
    let (out, theirs_out) = output(stdout)?;
    let (err, theirs_err) = output(stderr)?;
    let stdio = Stdio::Fds { stdin: theirs_in, stdout: theirs_out, stderr: theirs_err };
    Ok(Plumbing { stdio, input, outputs: [out, err] })
}

/// No input, and one pipe for both outputs.
pub fn plumb_probe() -> io::Result<Plumbing> {
    let (out, theirs) = output(true)?;
    let stderr = rustix::io::fcntl_dupfd_cloexec(&theirs, 3)?;
    let stdio = Stdio::Fds { stdin: null(OFlags::RDONLY)?, stdout: theirs, stderr };
    Ok(Plumbing { stdio, input: None, outputs: [out, None] })
}

/// A new terminal; its master comes from the runtime.
pub fn plumb_terminal() -> Plumbing {
    Plumbing { stdio: Stdio::Terminal, input: None, outputs: [None, None] }
}

fn output(wanted: bool) -> io::Result<(Option<OwnedFd>, OwnedFd)> {
    if !wanted {
        return Ok((None, null(OFlags::WRONLY)?));
    }
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    nonblocking(&read)?;
    Ok((Some(read), write))
}

fn null(access: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())?)
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fcntl_setfl(fd, rustix::fs::fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

/// The index of a stream's descriptor.
pub fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_that_nobody_takes_is_kept_until_it_is_taken() {
        let plumbing = plumb(true, false, false).unwrap();
        let Stdio::Fds { stdin, .. } = plumbing.stdio else { panic!("no pipes") };
        let mut session = Session::new(Owner::Init);
        session.input = plumbing.input;
        session.queue.extend(vec![b'x'; 1 << 20]);
        session.feed().unwrap();
        let mut left = session.queue.len();
        assert!(left > 0 && left < 1 << 20);
        let mut buffer = vec![0; 4096];
        while left > 0 {
            rustix::io::read(&stdin, &mut buffer).unwrap();
            session.feed().unwrap();
            assert!(session.queue.len() <= left);
            left = session.queue.len();
        }
        drop(stdin);
        session.queue.push_back(b'x');
        assert!(session.feed().is_err());
    }
}
