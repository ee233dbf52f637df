//! Who is connected: accepting, greeting, answering, and letting go.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::epoll::EventFlags;

use super::Monitor;
use super::connection::{Connection, Read, Role};
use super::poll::{Timer, Token};
use crate::protocol::{Condition, Exit, Failure, FailureKind, PROTOCOL_VERSION, Reply};

/// A client with more than this in its backlog holds its session up …
pub const FULL: usize = 1 << 20;
/// … until this little is left.
const ROOM: usize = FULL / 2;
/// A client that has taken nothing for this long holds nothing up any more …
const STALLED: Duration = Duration::from_secs(30);
/// … but with more than this it is cut off.
const HOPELESS: usize = 8 << 20;
/// How often clients that hold something up are looked at.
const LOOK: Duration = Duration::from_secs(5);

impl Monitor {
    /// Accepts whoever has connected. True if somebody is connected now.
    pub(super) fn accept_all(&mut self) -> io::Result<bool> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    if is_trusted(&socket) {
                        self.welcome(Connection::new(socket)?)?;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(!self.connections.is_empty()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The client has gone again, or we have run out of descriptors: neither is a reason to end.
                Err(_) => return Ok(true),
            }
        }
    }

    /// Takes a connection into the books and says so.
    pub(super) fn welcome(&mut self, mut connection: Connection) -> io::Result<()> {
        let id = self.number();
        connection.queue_message(&Reply::Hello { version: PROTOCOL_VERSION });
        if connection.flush().is_ok() {
            connection.interest = connection.wanted_interest(false);
            self.poll.add(&connection, Token::Connection(id), connection.interest)?;
            self.connections.insert(id, connection);
        }
        Ok(())
    }

    pub(super) fn connection_ready(&mut self, id: u32, flags: EventFlags) {
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if flags.contains(EventFlags::OUT) && connection.flush().is_err() {
            return self.drop_connection(id);
        }
        if flags.contains(EventFlags::IN) || gone {
            match connection.role {
                Role::Requests => self.receive_requests(id),
                Role::Pending => {}
                Role::Stream(_) => self.read_client(id, gone),
            }
        }
        if gone {
            self.drop_connection(id);
        }
    }

    fn receive_requests(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.receive() {
            Ok(Read::Bytes(_)) => self.serve_requests(id),
            Ok(Read::Nothing) => {}
            Ok(Read::End) | Err(_) => self.drop_connection(id),
        }
    }

    /// Serves the whole requests that a connection has received, until one is under way.
    fn serve_requests(&mut self, id: u32) {
        while let Some(connection) = self.connections.get_mut(&id) {
            if !matches!(connection.role, Role::Requests) {
                return;
            }
            match connection.next_request() {
                Ok(None) => return,
                Ok(Some(request)) => match self.handle(id, request) {
                    Ok(Some(reply)) => self.answer(id, &reply),
                    Ok(None) => {}
                    Err(failure) => self.answer(id, &Reply::Failed(failure)),
                },
                Err(e) => {
                    let message = crate::chain(&e);
                    connection.closing = true;
                    let failure = Failure { kind: FailureKind::Invalid, message, exit_code: None };
                    return connection.queue_message(&Reply::Failed(failure));
                }
            }
        }
    }

    /// Answers the request that is under way; the next one may follow. What the reply cannot reach has gone.
    pub(super) fn answer(&mut self, id: u32, reply: &Reply) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.role = Role::Requests;
            connection.queue_message(reply);
        }
    }

    /// Answers those who wait for the container's exit, and those who stop it.
    pub(super) fn answer_waiters(&mut self) {
        self.timers.cancel(Timer::Cleanup);
        let exit = Exit { exit_code: self.status.exit_code, error: None };
        for waiter in std::mem::take(&mut self.waiters) {
            match waiter.condition {
                Condition::NotRunning => self.answer(waiter.connection, &Reply::Exit(exit.clone())),
                Condition::NextExit if !waiter.early => {
                    self.answer(waiter.connection, &Reply::Exit(exit.clone()))
                }
                Condition::NextExit | Condition::Removed => self.waiters.push(waiter),
            }
        }
        for id in std::mem::take(&mut self.stoppers) {
            self.answer(id, &Reply::Done);
        }
    }

    /// Answers everybody who waits: after the removal nothing else can happen.
    pub(super) fn answer_removed(&mut self, error: Option<&str>) {
        let exit = Exit { exit_code: self.status.exit_code, error: error.map(str::to_owned) };
        for waiter in std::mem::take(&mut self.waiters) {
            self.answer(waiter.connection, &Reply::Exit(exit.clone()));
        }
    }

    /// Sends what is queued, and brings what each connection is watched for up to date.
    pub(super) fn settle_connections(&mut self) {
        let asking: Vec<u32> =
            self.connections.iter().filter(|(_, c)| c.has_request()).map(|(&id, _)| id).collect();
        for id in asking {
            self.serve_requests(id);
        }
        let mut gone = Vec::new();
        for (&id, connection) in &mut self.connections {
            if connection.flush().is_err() || (connection.closing && connection.backlog() == 0) {
                gone.push(id);
                continue;
            }
            let input = match &connection.role {
                Role::Stream(subscriber) => {
                    self.sessions.get(&subscriber.session).is_some_and(|session| session.reads_input())
                }
                _ => false,
            };
            let wanted = connection.wanted_interest(input);
            if wanted != connection.interest {
                connection.interest = wanted;
                if self.poll.modify(&*connection, Token::Connection(id), wanted).is_err() {
                    gone.push(id);
                }
            }
        }
        for id in gone {
            self.drop_connection(id);
        }
        self.release_throttled();
    }

    /// Lets a client go; whatever it waited for goes with it.
    pub(super) fn drop_connection(&mut self, id: u32) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.poll.delete(&connection);
        self.waiters.retain(|waiter| waiter.connection != id);
        self.cleaner_has_gone(id);
        self.pause_holder_has_gone(id);
        self.stoppers.retain(|&stopper| stopper != id);
        if let Role::Stream(subscriber) = &connection.role {
            let (session, fed) = (subscriber.session, subscriber.stdin);
            if let Some(session) = self.sessions.get_mut(&session) {
                session.clients.retain(|&client| client != id);
            }
            if fed {
                self.client_input_ended(session);
            }
        }
        connection.close();
    }

    /// Whether one of a session's clients is so full that its process has to wait.
    pub(super) fn is_held_up(&self, session: u32, limit: usize) -> bool {
        let Some(session) = self.sessions.get(&session) else { return false };
        session
            .clients
            .iter()
            .filter_map(|id| self.connections.get(id))
            .any(|c| !c.stalled && !c.closing && c.backlog() >= limit)
    }

    fn release_throttled(&mut self) {
        let throttled: Vec<u32> =
            self.sessions.iter().filter(|(_, s)| s.throttled).map(|(&id, _)| id).collect();
        for id in throttled {
            if !self.is_held_up(id, ROOM) {
                self.unthrottle(id);
            }
        }
    }

    pub(super) fn look_for_stalled_clients(&mut self) {
        for connection in self.connections.values_mut() {
            if connection.backlog() >= ROOM && connection.progress.elapsed() >= STALLED {
                connection.stalled = true;
            }
        }
        if self.sessions.values().any(|session| session.throttled) {
            self.timers.set(Timer::Stall, LOOK);
        }
    }

    /// Notes that a session is held up.
    pub(super) fn watch_for_stalls(&mut self) {
        self.timers.set_at_most(Timer::Stall, LOOK);
    }
}

/// Whether a client has so much waiting that it is cut off.
pub fn is_hopeless(connection: &Connection) -> bool {
    connection.stalled && connection.backlog() > HOPELESS
}

/// Only root and our own user may talk to a monitor, whatever the socket's mode has become.
fn is_trusted(socket: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(socket)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
