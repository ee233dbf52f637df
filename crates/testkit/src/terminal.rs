//! A person at a terminal: types, reads the screen, resizes the window, sees the exit code.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::PATIENCE;

/// A pseudo-terminal with a command on it.
pub struct Terminal {
    master: File,
    child: Child,
    screen: String,
}

impl Terminal {
    /// Starts `command` with the terminal as its controlling one, 80 columns by 24 rows.
    ///
    /// # Panics
    /// When that is impossible.
    pub fn new(command: &Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("open a terminal");
        grantpt(&master).expect("grant the terminal");
        unlockpt(&master).expect("unlock the terminal");
        let name = ptsname(&master, Vec::new()).expect("name the terminal");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("size the terminal");
        let slave: OwnedFd = rustix::fs::open(
            name,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .expect("open the terminal's other end");
        // `setsid --ctty` makes its standard input the controlling terminal, which Rust's Command can't say.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        let stream = || Stdio::from(slave.try_clone().expect("duplicate a descriptor"));
        let child =
            session.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("start the command");
        Self { master: File::from(master), child, screen: String::new() }
    }

    /// Types these characters.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("write to the terminal");
    }

    /// Gives the window another size.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("size the terminal");
    }

    /// Reads until `words` were shown since the last call; returns all that was shown up to them.
    ///
    /// # Panics
    /// When they are not shown in time, or the command ends first.
    #[track_caller]
    pub fn shows(&mut self, words: &str) -> String {
        loop {
            if let Some(at) = self.screen.find(words) {
                let rest = self.screen.split_off(at + words.len());
                return std::mem::replace(&mut self.screen, rest);
            }
            assert!(self.read(), "the terminal never shows {words:?}, but {:?}", self.screen);
        }
    }

    /// Reads to the end of the command; returns its exit code and what was shown since the last call.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn ends(mut self) -> (i32, String) {
        while self.read() {}
        let status = self.child.wait().expect("a child that was not waited for");
        (status.code().unwrap_or(-1), self.screen)
    }

    /// One more piece of output; false at the end.
    #[track_caller]
    fn read(&mut self) -> bool {
        let timeout = Timespec { tv_sec: PATIENCE.as_secs().try_into().expect("small"), tv_nsec: 0 };
        let ready =
            poll(&mut [PollFd::new(&self.master.as_fd(), PollFlags::IN)], Some(&timeout)).expect("poll");
        if ready == 0 {
            let _ = self.child.kill();
            panic!("the terminal is silent after {:?}", self.screen);
        }
        let mut buffer = [0; 4096];
        // EIO says that the other end is closed. What came right before that, if anything, is told by the read after it.
        let read = self.master.read(&mut buffer).or_else(|_| self.master.read(&mut buffer));
        let Ok(length @ 1..) = read else { return false };
        self.screen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        true
    }
}
