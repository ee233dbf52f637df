//! Moving bytes between processes, their clients and the log.
//!
//! Output goes to the log first, then to every client that wants it. A full client stops the reading, so that the process
//! waits as it would on any full pipe; see [`super::clients`] for how long.

use jiff::Timestamp;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::clients::{FULL, is_hopeless};
use super::connection::{Read, Role};
use super::notices::complain;
use super::poll::{Timer, Token};
use super::session::{self, Owner, Session};
use super::{INIT, Monitor};
use crate::health;
use crate::stdcopy::Stream;

/// How many times in a row one output is read before others get their turn.
const TURN: usize = 16;
/// How many times what an exited process has left behind is read: a full pipe several times over, though not for ever if
/// somebody else still writes.
const LEFT_BEHIND: usize = 256;

/// Reads once. EIO is how a terminal says that nobody has it open any more, but Linux looks for what is there to read
/// first and then whether it was closed: what came in between is told by the next read alone.
fn read_output(mut read: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    match read() {
        Err(Errno::IO) => read(),
        other => other,
    }
}

impl Monitor {
    /// Watches a session's descriptors.
    pub(super) fn watch(&mut self, id: u32) -> std::io::Result<()> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(fd) = &session.outputs[session::index(stream)] {
                self.poll.add(fd, Token::Output(id, stream), EventFlags::IN)?;
            }
        }
        if let Some(fd) = &session.input {
            self.poll.add(fd, Token::Input(id), EventFlags::empty())?;
        }
        if let Some(fd) = &session.pidfd {
            self.poll.add(fd, Token::Process(id), EventFlags::IN)?;
        }
        Ok(())
    }

    pub(super) fn output_ready(&mut self, id: u32, stream: Stream) {
        self.pump_output(id, stream, TURN);
        let exited =
            self.sessions.get(&id).is_some_and(|session| session.pidfd.is_none() && session.is_drained());
        if exited && self.timers.is_set(Timer::Drain(id)) {
            self.stop_draining(id);
        } else if exited {
            self.close_session(id);
        } else if self.is_held_up(id, FULL) {
            self.throttle(id);
        }
    }

    /// Reads an output up to `turns` times, or until it is empty or at its end.
    pub(super) fn pump_output(&mut self, id: u32, stream: Stream, turns: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..turns {
            let Some(session) = self.sessions.get_mut(&id) else { break };
            let output = &mut session.outputs[session::index(stream)];
            let Some(fd) = &output else { break };
            match read_output(|| rustix::io::read(fd, &mut *buffer)) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Ok(0) | Err(_) => {
                    self.poll.delete(fd);
                    *output = None;
                    break;
                }
                Ok(n) => self.deliver(id, stream, &buffer[..n]),
            }
        }
        self.buffer = buffer;
    }

    fn deliver(&mut self, id: u32, stream: Stream, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match session.owner {
            Owner::Init => {
                if let Some(container) = &mut self.container
                    && let Some(log) = &mut container.log
                    && let Err(e) = log.write(stream, bytes, Timestamp::now())
                    && !std::mem::replace(&mut container.log_failed, true)
                {
                    complain(&e);
                }
            }
            Owner::Probe => {
                // One byte more than is kept shows that something was cut.
                let room = (health::OUTPUT + 1).saturating_sub(session.captured.len());
                session.captured.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Owner::Exec(_) => {}
        }
        let mut hopeless = Vec::new();
        for &client in &session.clients {
            let Some(connection) = self.connections.get_mut(&client) else { continue };
            if connection.wants(stream) {
                connection.queue_output(stream, bytes, session.tty);
                if connection.flush().is_err() || is_hopeless(connection) {
                    hopeless.push(client);
                }
            }
        }
        for client in hopeless {
            self.drop_connection(client);
        }
    }

    fn throttle(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !std::mem::replace(&mut session.throttled, true) {
            // Not watched at all, as a hang-up would be reported over and over.
            session.outputs.iter().flatten().for_each(|fd| self.poll.delete(fd));
            self.watch_for_stalls();
        }
    }

    pub(super) fn unthrottle(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.throttled = false;
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(fd) = &session.outputs[session::index(stream)]
                && let Err(e) = self.poll.add(fd, Token::Output(id, stream), EventFlags::IN)
            {
                complain(&e);
            }
        }
    }

    pub(super) fn input_ready(&mut self, id: u32, flags: EventFlags) {
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.close_input(id);
        } else {
            self.feed(id);
        }
    }

    /// Gives a process what input there is, and ends it if it is to end.
    pub(super) fn feed(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // Before the start the queue waits for its process.
        if session.pidfd.is_none() {
            return;
        }
        let done = session.feed().is_err() || (session.queue.is_empty() && session.input_ends);
        if done {
            return self.close_input(id);
        }
        if let Some(fd) = &session.input {
            let interest = if session.queue.is_empty() { EventFlags::empty() } else { EventFlags::OUT };
            if let Err(e) = self.poll.modify(fd, Token::Input(id), interest) {
                complain(&e);
            }
        }
    }

    fn close_input(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.queue.clear();
        // A terminal has no end of input: its clients' bytes are thrown away from here on.
        if let Some(fd) = session.input.take() {
            self.poll.delete(fd);
        }
    }

    /// Reads what a client types. `gone` takes everything that is left, as nobody will be there to ask again.
    pub(super) fn read_client(&mut self, id: u32, gone: bool) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let Role::Stream(subscriber) = &connection.role else { return };
            let (session, fed) = (subscriber.session, subscriber.stdin);
            if !fed || !(gone || self.sessions.get(&session).is_some_and(Session::reads_input)) {
                return;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = connection.read(&mut buffer);
            if let Ok(Read::Bytes(n)) = read {
                self.type_in(id, &buffer[..n]);
            }
            self.buffer = buffer;
            match read {
                Ok(Read::Bytes(_)) if gone => {}
                Ok(Read::End) | Err(_) => return self.client_ended_input(id, session),
                _ => return,
            }
        }
    }

    /// Passes on what a client typed, unless it was the detach keys.
    pub(super) fn type_in(&mut self, id: u32, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Role::Stream(subscriber) = &mut connection.role else { return };
        let number = subscriber.session;
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let mut forward = Vec::with_capacity(bytes.len());
        let detached = subscriber.keys.feed(bytes, &mut forward);
        if session.keeps_input() {
            session.queue.extend(forward);
        }
        if detached {
            subscriber.stdin = false;
            connection.closing = true;
            let owner = session.owner.clone();
            self.detached(owner);
        }
        self.feed(number);
    }

    fn detached(&self, owner: Owner) {
        match owner {
            Owner::Exec(id) => self.event("exec_detach", &[("execID", id)]),
            Owner::Init | Owner::Probe => self.event("detach", &[]),
        }
    }

    fn client_ended_input(&mut self, id: u32, session: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Role::Stream(subscriber) = &mut connection.role else { return };
        subscriber.stdin = false;
        let held = subscriber.keys.finish().to_vec();
        let Some(state) = self.sessions.get_mut(&session) else { return };
        if state.keeps_input() {
            state.queue.extend(held);
        }
        // As in Docker: who ends his input, but not that of the process, has no further business with it.
        if !state.input_once && !state.tty && state.accepts_input {
            connection.closing = true;
        }
        self.client_input_ended(session);
    }

    /// A client feeds a session no more; if that ends the process' input, so be it.
    pub(super) fn client_input_ended(&mut self, id: u32) {
        if let Some(session) = self.sessions.get_mut(&id) {
            // Before the start nobody knows what that means; the start decides.
            session.input_ends |= session.pidfd.is_none() || (session.input_once && !session.tty);
        }
        self.feed(id);
    }

    /// After the exit: reads all that is left, and gives up the rest of what others keep open.
    pub(super) fn drain(&mut self, id: u32) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.pump_output(id, stream, LEFT_BEHIND);
        }
    }

    /// Lets a session's clients go when they have everything. What still comes, from whoever the process has left behind with
    /// its output, is read and thrown away: a daemon that somebody started by `exec` must not die of a broken pipe.
    pub(super) fn abandon_session(&mut self, id: u32) {
        self.timers.cancel(Timer::Drain(id));
        self.close_input(id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for client in std::mem::take(&mut session.clients) {
            if let Some(connection) = self.connections.get_mut(&client) {
                connection.closing = true;
            }
        }
    }

    /// Closes a session's descriptors as well.
    pub(super) fn close_session(&mut self, id: u32) {
        self.abandon_session(id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for fd in session.outputs.iter_mut().filter_map(Option::take) {
            self.poll.delete(fd);
        }
        if id == INIT {
            self.sessions.insert(INIT, Session::new(Owner::Init));
        } else {
            self.sessions.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_got_right_before_it_was_closed_is_read() {
        let said = |answers: &[Result<usize, Errno>]| {
            let mut answers = answers.iter().copied();
            read_output(|| answers.next().unwrap())
        };
        assert_eq!(said(&[Err(Errno::IO), Ok(7)]), Ok(7));
        assert_eq!(said(&[Err(Errno::IO), Err(Errno::IO)]), Err(Errno::IO));
        assert_eq!(said(&[Ok(0)]), Ok(0));
        assert_eq!(said(&[Err(Errno::AGAIN)]), Err(Errno::AGAIN));
    }
}
