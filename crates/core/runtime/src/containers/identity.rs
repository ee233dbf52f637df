//! Who a process is beyond its number, which the kernel hands out again.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::Error;

/// A process of this pid namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub pid: i32,
    /// In clock ticks since boot, as proc(5) has it.
    pub start_time: u64,
}

impl Identity {
    /// Of a process that is certain to live or to be unreaped.
    pub fn of(pid: i32) -> Result<Identity, Error> {
        match look(pid).map_err(|source| Error::Process { pid, source })? {
            Some((start_time, _)) => Ok(Identity { pid, start_time }),
            None => Err(Error::Process { pid, source: Errno::SRCH.into() }),
        }
    }

    /// The process, if it still lives; a zombie does not.
    pub fn open(&self) -> Result<Option<(i32, OwnedFd)>, Error> {
        let fail = |source| Error::Process { pid: self.pid, source };
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        // In this order: what has the start time after the descriptor was opened is what was opened.
        let Some(pidfd) = sys::process::open(pid).map_err(fail)? else { return Ok(None) };
        let found = look(self.pid).map_err(fail)?;
        let lives = |(start_time, state)| start_time == self.start_time && !matches!(state, 'Z' | 'X');
        Ok(found.filter(|found| lives(*found)).map(|_| (self.pid, pidfd)))
    }
}

/// Start time and state of a process, if there is one.
fn look(pid: i32) -> io::Result<Option<(u64, char)>> {
    match crate::proc::read(format!("/proc/{pid}/stat")) {
        Ok(text) => {
            parse(&text).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "odd stat file"))
        }
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The name of a process may contain anything, blanks and brackets too.
fn parse(stat: &str) -> Option<(u64, char)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((start_time, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_hides_nothing() {
        let stat = "7 (a) R b) S 1 7 7 0 -1 4194560 5 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse(stat), Some((4711, 'S')));
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn another_process_with_the_same_number_is_not_the_same() {
        let own = Identity::of(std::process::id() as i32).unwrap();
        assert!(own.open().unwrap().is_some());
        let older = Identity { start_time: own.start_time.wrapping_sub(1), ..own };
        assert!(older.open().unwrap().is_none());
        assert!(Identity { pid: 0, start_time: 0 }.open().unwrap().is_none());
    }

    #[test]
    fn a_zombie_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        assert!(identity.open().unwrap().is_some());
        child.kill().unwrap();
        let pid = Pid::from_raw(identity.pid).unwrap();
        let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), ended).unwrap();
        assert!(identity.open().unwrap().is_none());
        child.wait().unwrap();
    }
}
