//! Processes behind descriptors: their numbers are handed out again.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use std::io;
use std::os::fd::OwnedFd;

/// The process of this number as a pidfd, which becomes readable when it ends; none if there is none. Until Linux 6.15 one that
/// is just being reaped is an invalid argument, as is the number of a thread, which is no process's.
pub fn open(pid: Pid) -> io::Result<Option<OwnedFd>> {
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Ok(Some(process)),
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn pid(number: u32) -> Pid {
        Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
    }

    #[test]
    fn only_processes_are_opened() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let number = pid(child.id());
        assert!(open(number).unwrap().is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(open(number).unwrap().is_none());
        let thread = std::thread::spawn(rustix::thread::gettid).join().unwrap();
        assert!(open(thread).unwrap().is_none());
    }

    /// The number of a process that is gone, as its group has it, which lives on.
    #[test]
    fn a_number_that_is_a_group_alone_is_no_process() {
        use std::io::{BufRead as _, BufReader};
        use std::os::unix::process::CommandExt as _;
        let script = "sleep 1000 >/dev/null & echo $!";
        let mut leader = Command::new("sh");
        let mut leader = leader.args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
        leader.wait().unwrap();
        let found = open(pid(leader.id()));
        let sleeper = open(pid(line.trim().parse().unwrap())).unwrap().unwrap();
        rustix::process::pidfd_send_signal(&sleeper, rustix::process::Signal::KILL).unwrap();
        assert!(found.unwrap().is_none());
    }
}
