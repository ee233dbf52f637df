//! The server of one container: a descriptor to watch, and work to be done when it is readable.
//!
//! Everything hangs on one epoll instance, whose own descriptor an event loop watches: the two sockets that the container
//! asks, its connections, the sockets of questions under way, and a timer. [`Server::work`] never blocks and does a bounded
//! amount of work. What fails here concerns one question, so nothing is reported: the client asks again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::client::Client;
use crate::endpoints::Network;
use crate::forward::{Exchange, Progress, Transport};
use crate::view::View;
use crate::wire::{self, Answer, Kind, MAX, Packet, Query};
use crate::{Config, Upstream, names};

/// How many questions may be under way; each has a socket. More are refused.
const EXCHANGES: usize = 100;
/// How many connections are served at once; more wait.
const CLIENTS: usize = 32;
/// How many events, and how many datagrams, are handled at a time.
const BATCH: usize = 32;
/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_secs(1);

const UDP: u64 = 0;
const TCP: u64 = 1;
const TIMER: u64 = 2;
/// Numbers of connections and exchanges begin here; none is used twice.
const FIRST: u64 = 3;

/// Answers one container's questions.
#[derive(Debug)]
pub struct Server {
    epoll: OwnedFd,
    timer: OwnedFd,
    udp: UdpSocket,
    tcp: TcpListener,
    upstreams: Vec<Upstream>,
    netns: Option<OwnedFd>,
    view: View,
    clients: BTreeMap<u64, Client>,
    exchanges: BTreeMap<u64, (Exchange, Asker)>,
    next: u64,
    /// Whose turn it is among several addresses of a name, for each family: clients ask for both at once.
    turns: [usize; 2],
    /// Connections are accepted again from then on.
    accept_from: Option<Instant>,
    accepting: bool,
}

/// Who gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Udp(SocketAddr),
    Tcp(u64),
}

impl Asker {
    fn transport(self) -> Transport {
        match self {
            Asker::Udp(_) => Transport::Udp,
            Asker::Tcp(_) => Transport::Tcp,
        }
    }
}

impl AsFd for Server {
    /// Readable when there is work.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Server {
    /// Serves the questions that come to two sockets, of which the second listens. The network namespace is the
    /// container's, for upstreams that are asked from inside.
    pub fn new(config: &Config, udp: OwnedFd, tcp: OwnedFd, netns: Option<OwnedFd>) -> io::Result<Server> {
        let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &udp, EventData::new_u64(UDP), EventFlags::IN)?;
        epoll::add(&epoll, &tcp, EventData::new_u64(TCP), EventFlags::IN)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Server {
            epoll,
            timer,
            udp,
            tcp,
            upstreams: config.upstreams.clone(),
            netns,
            view: View::new(&config.dir, &config.container),
            clients: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            next: FIRST,
            turns: [0; 2],
            accept_from: None,
            accepting: true,
        })
    }

    /// Does what there is to do.
    pub fn work(&mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        // It cannot fail on a descriptor of ours but for a signal.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::default()));
        let now = Instant::now();
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            match data.u64() {
                UDP => self.take_datagrams(now),
                TCP => self.accept(now),
                TIMER => drop(rustix::io::read(&self.timer, &mut [0_u8; 8])),
                number if self.clients.contains_key(&number) => self.client_ready(number, flags, now),
                number => self.exchange_ready(number, now),
            }
        }
        self.times_up(now);
        self.settle(now);
    }

    fn take_datagrams(&mut self, now: Instant) {
        let mut buffer = [0; wire::UDP_MAX as usize];
        for _ in 0..BATCH {
            match self.udp.recv_from(&mut buffer) {
                Ok((n, from)) => self.question(&buffer[..n], Asker::Udp(from), now),
                Err(_) => return,
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        while self.clients.len() < CLIENTS {
            match self.tcp.accept() {
                Ok((stream, _)) => {
                    let number = self.number();
                    let client = Client::new(stream, now);
                    let data = EventData::new_u64(number);
                    if rustix::io::ioctl_fionbio(&client, true).is_ok()
                        && epoll::add(&self.epoll, &client, data, EventFlags::IN).is_ok()
                    {
                        self.clients.insert(number, client);
                    }
                }
                Err(e) if crate::forward::is_pause(&e) => return,
                // Out of descriptors, mostly: the connection stays where it is.
                Err(_) => {
                    self.accept_from = Some(now + PAUSE);
                    return;
                }
            }
        }
    }

    fn client_ready(&mut self, number: u64, flags: EventFlags, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if client.work(now).is_err() || gone {
            return self.forget(number);
        }
        self.serve(number, now);
    }

    /// Answers what a connection has asked, as far as that is possible at once.
    fn serve(&mut self, number: u64, now: Instant) {
        while let Some(packet) = self.clients.get_mut(&number).and_then(Client::next) {
            self.question(&packet, Asker::Tcp(number), now);
        }
        self.watch(number);
    }

    /// Has a connection watched for what it does next, or closes it.
    fn watch(&mut self, number: u64) {
        let Some(client) = self.clients.get(&number) else { return };
        let data = EventData::new_u64(number);
        if client.is_over() || epoll::modify(&self.epoll, client, data, client.interest()).is_err() {
            self.forget(number);
        }
    }

    /// Closes a connection; nobody waits for its answer any more.
    fn forget(&mut self, number: u64) {
        self.clients.remove(&number);
        self.exchanges.retain(|_, (_, asker)| *asker != Asker::Tcp(number));
    }

    fn question(&mut self, packet: &[u8], asker: Asker, now: Instant) {
        let query = match wire::read(packet) {
            Packet::Query(query) => query,
            Packet::Refused(reply) => return self.reply(asker, &reply, now),
            Packet::Noise => {
                if let Asker::Tcp(number) = asker {
                    self.forget(number);
                }
                return;
            }
        };
        let limit = match asker {
            Asker::Udp(_) => query.udp_limit(),
            Asker::Tcp(_) => MAX,
        };
        let networks = self.view.networks();
        if let Some(answer) = answer(&query, networks, &mut self.turns) {
            return self.reply(asker, &query.answer(&answer, limit), now);
        }
        let outward = names::is_outward(networks);
        let failure = |code| query.answer(&Answer::Failure(code), limit);
        if !outward || self.upstreams.is_empty() {
            return self.reply(asker, &failure(ResponseCode::ServFail), now);
        }
        if self.exchanges.len() >= EXCHANGES {
            return self.reply(asker, &failure(ResponseCode::Refused), now);
        }
        match Exchange::new(packet, asker.transport(), &self.upstreams, now) {
            Some(mut exchange) => {
                let progress = exchange.advance(self.netns.as_ref().map(AsFd::as_fd), now);
                let number = self.number();
                self.exchanges.insert(number, (exchange, asker));
                self.progressed(number, progress, now);
            }
            None => self.reply(asker, &failure(ResponseCode::ServFail), now),
        }
    }

    fn exchange_ready(&mut self, number: u64, now: Instant) {
        let netns = self.netns.as_ref().map(AsFd::as_fd);
        let Some((exchange, _)) = self.exchanges.get_mut(&number) else { return };
        let progress = exchange.ready(netns, now);
        self.progressed(number, progress, now);
    }

    fn progressed(&mut self, number: u64, progress: Progress, now: Instant) {
        let Some((exchange, asker)) = self.exchanges.get(&number) else { return };
        let (asker, data) = (*asker, EventData::new_u64(number));
        let watched = match (progress, exchange.socket()) {
            (Progress::Opened(interest), Some(socket)) => epoll::add(&self.epoll, socket, data, interest),
            (Progress::Waiting(interest), Some(socket)) => epoll::modify(&self.epoll, socket, data, interest),
            (Progress::Done(answer), _) => return self.finish(number, asker, answer, now),
            (_, None) => return self.finish(number, asker, None, now),
        };
        if watched.is_err() {
            self.finish(number, asker, None, now);
        }
    }

    fn finish(&mut self, number: u64, asker: Asker, answer: Option<Vec<u8>>, now: Instant) {
        let Some((exchange, _)) = self.exchanges.remove(&number) else { return };
        let reply = match answer {
            Some(answer) => answer,
            None => match wire::read(&exchange.question()) {
                Packet::Query(query) => query.answer(&Answer::Failure(ResponseCode::ServFail), MAX),
                _ => return,
            },
        };
        self.reply(asker, &reply, now);
        if let Asker::Tcp(number) = asker {
            self.watch(number);
        }
    }

    fn reply(&mut self, asker: Asker, packet: &[u8], now: Instant) {
        match asker {
            // As with any datagram: one that is lost is asked for again.
            Asker::Udp(to) => drop(self.udp.send_to(packet, to)),
            Asker::Tcp(number) => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.answer(packet, now);
                }
            }
        }
    }

    fn times_up(&mut self, now: Instant) {
        let late = |(number, (exchange, _)): (&u64, &(Exchange, Asker))| {
            (exchange.deadline <= now).then_some(*number)
        };
        for number in self.exchanges.iter().filter_map(late).collect::<Vec<_>>() {
            let netns = self.netns.as_ref().map(AsFd::as_fd);
            if let Some((exchange, _)) = self.exchanges.get_mut(&number) {
                let progress = exchange.advance(netns, now);
                self.progressed(number, progress, now);
            }
        }
        let idle =
            |(number, client): (&u64, &Client)| (!client.busy && client.deadline <= now).then_some(*number);
        for number in self.clients.iter().filter_map(idle).collect::<Vec<_>>() {
            self.forget(number);
        }
        self.accept_from = self.accept_from.filter(|at| *at > now);
    }

    /// Accepts connections or not, and sets the timer to the next deadline.
    fn settle(&mut self, now: Instant) {
        let accepting = self.clients.len() < CLIENTS && self.accept_from.is_none();
        if accepting != self.accepting {
            let interest = if accepting { EventFlags::IN } else { EventFlags::empty() };
            if epoll::modify(&self.epoll, &self.tcp, EventData::new_u64(TCP), interest).is_ok() {
                self.accepting = accepting;
            }
        }
        let exchanges = self.exchanges.values().map(|(exchange, _)| exchange.deadline);
        let clients = self.clients.values().filter(|client| !client.busy).map(|client| client.deadline);
        let next = exchanges.chain(clients).chain(self.accept_from).min();
        // Zero would stop the timer.
        let after = next.map(|at| at.saturating_duration_since(now).max(Duration::from_millis(1)));
        let after = after.unwrap_or_default();
        let it_value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
        let time = Itimerspec { it_interval: Timespec::default(), it_value };
        // It cannot fail with a sound time.
        let _ = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// What the networks know about it; `None` is for upstreams to answer.
fn answer(query: &Query, networks: &[Network], turns: &mut [usize; 2]) -> Option<Answer> {
    let name = query.name.as_deref().filter(|_| query.internet)?;
    let of_family = |v6| names::addresses(networks, name, |address| address.is_ipv6() == v6);
    let addresses = match query.kind {
        Kind::V4 => in_turn(of_family(false)?, &mut turns[0]),
        Kind::V6 => in_turn(of_family(true)?, &mut turns[1]),
        Kind::Pointer(Some(address)) => return names::name(networks, address).map(Answer::Name),
        Kind::Pointer(None) | Kind::Other => names::addresses(networks, name, |_| false)?,
    };
    Some(Answer::Addresses(addresses))
}

/// Another one is the first each time, as most clients take the first.
fn in_turn(mut addresses: Vec<IpAddr>, turn: &mut usize) -> Vec<IpAddr> {
    if addresses.len() > 1 {
        *turn = turn.wrapping_add(1);
        let first = *turn % addresses.len();
        addresses.rotate_left(first);
    }
    addresses
}

#[cfg(test)]
mod tests;
