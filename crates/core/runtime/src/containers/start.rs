//! `start`: the word that lets the init go.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use sys::child::Message;

use super::folder::Starter;
use super::{Container, Error, Status};
use crate::plan::Label;

/// An init that has not executed its program by then may be frozen.
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Runs the program of a created container; returns when the program runs, or says why it doesn't. Gives warnings.
pub fn start(container: &Container) -> Result<Vec<String>, Error> {
    let Container { folder, record } = container;
    let _lock = folder.lock()?;
    let Some(starter) = folder.starter()? else {
        return Err(match container.status()? {
            Status::Stopped => Error::StartStopped,
            Status::Running => Error::StartRunning,
            status => Error::StartOther { status },
        });
    };
    match rustix::io::write(&starter.go, &[0]) {
        Ok(_) => {}
        Err(Errno::PIPE) => return Err(Error::Ended),
        Err(e) => return Err(talk(e.into())),
    }
    if !answers(&starter)? && container.is_frozen()? && folder.take_back()? {
        return Err(Error::StartOther { status: Status::Paused });
    }
    let mut warnings = Vec::new();
    loop {
        match sys::child::receive_behind_gate(starter.said.as_fd()).map_err(talk)? {
            Message::Failed { step, errno, text } => {
                return Err(Error::Start(record.gate.label(step).error(errno, &text)));
            }
            Message::Warning { step, errno } => {
                if let Label::Exec { program } = record.gate.label(step) {
                    warnings.push(format!("{program}: {}", crate::plan::said(errno)));
                }
            }
            Message::End => break,
            _ => {}
        }
    }
    folder.remove_gate()?;
    if !record.poststart.is_empty() {
        poststart(container)?;
    }
    Ok(warnings)
}

/// Whether the init has heard the word. Looking at the freezer before would cost every start a good part of its time.
fn answers(starter: &Starter) -> Result<bool, Error> {
    let mut polled = [PollFd::new(&starter.said, PollFlags::IN)];
    match rustix::event::poll(&mut polled, Some(&SOON)) {
        Err(Errno::INTR) => Ok(false),
        other => other.map(|n| n > 0).map_err(|e| talk(e.into())),
    }
}

fn talk(source: io::Error) -> Error {
    Error::Start(crate::Error::Call { attempt: "talk to the container's init".to_owned(), source })
}

/// A hook that fails takes the container along.
fn poststart(container: &Container) -> Result<(), Error> {
    let record = &container.record;
    let pid = record.init.as_ref().map(|init| init.pid);
    record.subject().run("poststart", &record.poststart, "running", pid).map_err(|error| {
        if let Ok(Some((_, pidfd))) = container.init() {
            // It fails when the process has ended, which is what is wanted.
            let _ = sys::signal::send(pidfd.as_fd(), libc::SIGKILL);
        }
        Error::Start(error)
    })
}
