//! Readiness and deadlines: epoll with named tokens, and a handful of timers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::event::{Timespec, epoll::EventFlags};
use rustix::io::Errno;

use crate::stdcopy::Stream;

/// How many events are taken at once.
const BATCH: usize = 32;

/// What a registered descriptor is. Numbers are never used twice, so an event that comes too late finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The listening socket.
    Listener,
    /// A connection.
    Connection(u32),
    /// A session's output.
    Output(u32, Stream),
    /// A session's input.
    Input(u32),
    /// A session's process.
    Process(u32),
    /// The clean-up process.
    Cleanup,
    /// The control group's memory events.
    Oom,
    /// The container asks for a name, or an answer comes.
    Names,
}

impl Token {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Token::Listener => (0, 0),
            Token::Connection(n) => (1, n),
            Token::Output(n, Stream::Stdout) => (2, n),
            Token::Output(n, Stream::Stderr) => (3, n),
            Token::Input(n) => (4, n),
            Token::Process(n) => (5, n),
            Token::Cleanup => (6, 0),
            Token::Oom => (7, 0),
            Token::Names => (8, 0),
        };
        kind << 32 | u64::from(number)
    }

    fn decode(value: u64) -> Option<Token> {
        let number = value as u32;
        Some(match value >> 32 {
            0 => Token::Listener,
            1 => Token::Connection(number),
            2 => Token::Output(number, Stream::Stdout),
            3 => Token::Output(number, Stream::Stderr),
            4 => Token::Input(number),
            5 => Token::Process(number),
            6 => Token::Cleanup,
            7 => Token::Oom,
            8 => Token::Names,
            _ => return None,
        })
    }
}

/// The descriptors that are watched, level-triggered.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    /// Watches a descriptor; errors and hang-ups are always reported.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.encode()), interest)?)
    }

    /// Changes what a descriptor is watched for.
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token.encode()), interest)?)
    }

    /// Stops watching a descriptor; one that is not watched is fine.
    pub fn delete(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something happens or time is up.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<(Token, EventFlags)>> {
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
        let event = |event: &Event| {
            // The struct is packed: fields are copied, not borrowed.
            let (data, flags) = (event.data, event.flags);
            Some((Token::decode(data.u64())?, flags))
        };
        Ok(self.events.iter().filter_map(event).collect())
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A stop's patience is over.
    Kill,
    /// The pause before a restart is over.
    Restart,
    /// The next health probe is due.
    Probe,
    /// The running health probe took too long.
    ProbeTimeout,
    /// A session's process has exited, but somebody still holds its output open.
    Drain(u32),
    /// Look for clients that hold a container up.
    Stall,
    /// The clean-up takes so long that waiters are answered before its end.
    Cleanup,
    /// The start is long over, and from then on the monitor mostly waits.
    Settled,
}

/// Pending deadlines.
#[derive(Debug, Default)]
pub struct Timers {
    pending: Vec<(Instant, Timer)>,
}

impl Timers {
    /// Sets a deadline, instead of the one that the timer had.
    pub fn set(&mut self, timer: Timer, after: Duration) {
        self.cancel(timer);
        // A deadline beyond the clock's range is never reached.
        if let Some(at) = Instant::now().checked_add(after) {
            self.pending.push((at, timer));
        }
    }

    /// Sets a deadline unless the timer has an earlier one.
    pub fn set_at_most(&mut self, timer: Timer, after: Duration) {
        let at = Instant::now().checked_add(after);
        if !self.pending.iter().any(|&(pending, t)| t == timer && Some(pending) <= at) {
            self.set(timer, after);
        }
    }

    /// Forgets a deadline.
    pub fn cancel(&mut self, timer: Timer) {
        self.pending.retain(|&(_, t)| t != timer);
    }

    /// Whether a deadline is set.
    pub fn is_set(&self, timer: Timer) -> bool {
        self.pending.iter().any(|&(_, t)| t == timer)
    }

    /// How long until the next deadline.
    pub fn until_next(&self) -> Option<Duration> {
        self.pending.iter().map(|&(at, _)| at.saturating_duration_since(Instant::now())).min()
    }

    /// Takes a deadline that has passed.
    pub fn take_due(&mut self) -> Option<Timer> {
        let now = Instant::now();
        let due = self.pending.iter().position(|&(at, _)| at <= now)?;
        Some(self.pending.swap_remove(due).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Listener,
            Token::Connection(u32::MAX),
            Token::Output(7, Stream::Stdout),
            Token::Output(7, Stream::Stderr),
            Token::Input(1),
            Token::Process(0),
            Token::Cleanup,
            Token::Oom,
        ] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
    }

    #[test]
    fn a_timer_has_one_deadline() {
        let mut timers = Timers::default();
        timers.set(Timer::Kill, Duration::from_secs(100));
        timers.set_at_most(Timer::Kill, Duration::from_secs(200));
        assert!(timers.until_next().unwrap() <= Duration::from_secs(100));
        assert_eq!(timers.take_due(), None);
        timers.set_at_most(Timer::Kill, Duration::ZERO);
        assert_eq!(timers.take_due(), Some(Timer::Kill));
        assert_eq!(timers.until_next(), None);
        timers.set(Timer::Restart, Duration::MAX);
        assert_eq!(timers.until_next(), None);
    }
}
