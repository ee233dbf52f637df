//! A connection of the container's: questions one after the other, each answered before the next is read.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use crate::forward::{frame, is_pause, unframed};
use crate::wire::MAX;

/// How long a connection may be without a question, or take to receive its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// A question is being answered.
    pub busy: bool,
    /// The client will ask no more.
    ended: bool,
    /// When it is closed.
    pub deadline: Instant,
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Client {
    /// A connection that was accepted, not blocking.
    pub fn new(stream: TcpStream, now: Instant) -> Client {
        let (inbox, outbox) = (Vec::new(), Vec::new());
        Client { stream, inbox, outbox, busy: false, ended: false, deadline: now + PATIENCE }
    }

    /// Moves bytes in both directions. The error says that there is no more to be done with it.
    pub fn work(&mut self, now: Instant) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(n) => drop(self.outbox.drain(..n)),
                Err(e) if is_pause(&e) => return Ok(()),
                Err(e) => return Err(e),
            }
            self.deadline = now + PATIENCE;
        }
        let mut buffer = [0; 2048];
        // More than the longest packet is not taken before that one is answered.
        while !self.busy && !self.ended && self.inbox.len() <= MAX {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(n) => self.inbox.extend_from_slice(&buffer[..n]),
                Err(e) if is_pause(&e) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The next question, if it may be answered now.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        if self.busy || !self.outbox.is_empty() {
            return None;
        }
        let packet = unframed(&mut self.inbox)?;
        self.busy = true;
        Some(packet)
    }

    /// The answer to the question that was taken last.
    pub fn answer(&mut self, packet: &[u8], now: Instant) {
        self.busy = false;
        self.deadline = now + PATIENCE;
        match frame(packet) {
            Ok(frame) => self.outbox.extend(frame),
            Err(_) => self.ended = true,
        }
    }

    /// Nothing more will come of it.
    pub fn is_over(&self) -> bool {
        self.ended && !self.busy && self.outbox.is_empty()
    }

    /// What it is to be watched for.
    pub fn interest(&self) -> EventFlags {
        match (self.outbox.is_empty(), self.busy || self.ended) {
            (false, _) => EventFlags::OUT,
            (true, false) => EventFlags::IN,
            (true, true) => EventFlags::empty(),
        }
    }
}
