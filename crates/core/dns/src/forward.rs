//! One question on its way to the upstreams, and the answer on its way back.
//!
//! A question travels as it came, but for its id. Each attempt has a socket of its own, connected to one server, so the
//! kernel passes answers of nobody else, and the source port is a random one; with the random id an answer cannot be
//! guessed (RFC 5452). Servers are asked one after the other; one that cannot help (SERVFAIL, REFUSED, NOTIMP) is asked
//! no more, and what it said is the answer only if no other does better. The way of the client is kept: over TCP what came
//! over TCP, so that a truncated answer is repeated in full.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::Upstream;
use crate::wire::{self, HEADER, MAX};

/// How many servers are asked at most: Docker's bound.
const SERVERS: usize = 3;
/// How long an attempt may take. Clients give up after five seconds and ask again.
const UDP_PATIENCE: Duration = Duration::from_secs(2);
const TCP_PATIENCE: Duration = Duration::from_secs(4);

/// Over what a question came, and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Packets with two bytes of length before them.
    Tcp,
}

/// A question under way.
#[derive(Debug)]
pub struct Exchange {
    transport: Transport,
    /// With our id.
    query: Vec<u8>,
    /// The client's id.
    id: [u8; 2],
    /// Where the question ends; its type and class are the last four bytes.
    end: usize,
    /// Who is to be asked, the next last.
    left: Vec<Upstream>,
    socket: Option<Socket>,
    /// When the attempt is given up.
    pub deadline: Instant,
    /// What a server said that could not help.
    refusal: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, sent: usize, inbox: Vec<u8> },
}

/// What became of an exchange for now.
#[derive(Debug)]
pub enum Progress {
    /// A new socket is to be watched for this.
    Opened(EventFlags),
    /// The same socket is to be watched for this from now on.
    Waiting(EventFlags),
    /// This is the answer, with the client's id; `None` if nobody gave one.
    Done(Option<Vec<u8>>),
}

impl Exchange {
    /// A sound question for these servers. Nothing is sent yet: [`Exchange::advance`] does.
    pub fn new(
        packet: &[u8],
        transport: Transport,
        upstreams: &[Upstream],
        now: Instant,
    ) -> Option<Exchange> {
        let end = wire::question_end(packet)?;
        let mut query = packet.to_vec();
        let id = [query[0], query[1]];
        query[..2].copy_from_slice(&random()?);
        let mut left: Vec<Upstream> = upstreams.iter().take(SERVERS).cloned().collect();
        if let (Transport::Udp, [only]) = (transport, left.as_slice()) {
            // A datagram may be lost.
            left.push(only.clone());
        }
        left.reverse();
        Some(Exchange { transport, query, id, end, left, socket: None, deadline: now, refusal: None })
    }

    /// Gives the present attempt up and begins the next.
    pub fn advance(&mut self, netns: Option<BorrowedFd<'_>>, now: Instant) -> Progress {
        while let Some(upstream) = self.left.pop() {
            match self.open(&upstream, netns) {
                Ok(interest) => {
                    let patience = match self.transport {
                        Transport::Udp => UDP_PATIENCE,
                        Transport::Tcp => TCP_PATIENCE,
                    };
                    self.deadline = now + patience;
                    return Progress::Opened(interest);
                }
                // No route, no memory: the next one may be reached.
                Err(_) => self.socket = None,
            }
        }
        self.socket = None;
        Progress::Done(self.refusal.take())
    }

    fn open(&mut self, upstream: &Upstream, netns: Option<BorrowedFd<'_>>) -> io::Result<EventFlags> {
        let (transport, address) = (self.transport, upstream.address);
        let fd = match upstream.inside {
            true => {
                let netns = netns.ok_or(io::ErrorKind::NotConnected)?;
                sys::netns::within(netns, || connected(transport, address))??
            }
            false => connected(transport, address)?,
        };
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::from(fd);
                socket.send(&self.query)?;
                self.socket = Some(Socket::Udp(socket));
                Ok(EventFlags::IN)
            }
            Transport::Tcp => {
                self.socket = Some(Socket::Tcp { stream: fd.into(), sent: 0, inbox: Vec::new() });
                Ok(EventFlags::OUT)
            }
        }
    }

    /// The socket of the present attempt is ready.
    pub fn ready(&mut self, netns: Option<BorrowedFd<'_>>, now: Instant) -> Progress {
        let received = match &mut self.socket {
            Some(Socket::Udp(socket)) => receive_udp(socket),
            Some(Socket::Tcp { stream, sent, inbox }) => exchange_tcp(stream, &self.query, sent, inbox),
            None => return self.advance(netns, now),
        };
        let mut reply = match received {
            Ok(Received::Packet(reply)) => reply,
            Ok(Received::Wait(interest)) => return Progress::Waiting(interest),
            Err(_) => return self.advance(netns, now),
        };
        if !self.is_answer(&reply) {
            return match self.transport {
                // Somebody guesses, or it is late: the true one may come yet.
                Transport::Udp => Progress::Waiting(EventFlags::IN),
                Transport::Tcp => self.advance(netns, now),
            };
        }
        reply[..2].copy_from_slice(&self.id);
        if cannot_help(&reply) {
            self.refusal = Some(reply);
            return self.advance(netns, now);
        }
        self.socket = None;
        Progress::Done(Some(reply))
    }

    /// The question as it came.
    pub fn question(&self) -> Vec<u8> {
        [&self.id, &self.query[2..]].concat()
    }

    /// The socket of the present attempt.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self.socket.as_ref()? {
            Socket::Udp(socket) => Some(socket.as_fd()),
            Socket::Tcp { stream, .. } => Some(stream.as_fd()),
        }
    }

    /// Whether a packet answers this question. A server that does not understand the question may leave it out.
    fn is_answer(&self, reply: &[u8]) -> bool {
        const RESPONSE: u8 = 0x80;
        if reply.len() < HEADER || reply[..2] != self.query[..2] || reply[2] & RESPONSE == 0 {
            return false;
        }
        let name_end = self.end - 4;
        match reply[4..6] {
            [0, 0] => reply[3] & 0xf != 0,
            [0, 1] => {
                reply.len() >= self.end
                    && reply[HEADER..name_end].eq_ignore_ascii_case(&self.query[HEADER..name_end])
                    && reply[name_end..self.end] == self.query[name_end..self.end]
            }
            _ => false,
        }
    }
}

fn random() -> Option<[u8; 2]> {
    let mut bytes = [0; 2];
    let flags = rustix::rand::GetRandomFlags::empty();
    (rustix::rand::getrandom(&mut bytes, flags) == Ok(bytes.len())).then_some(bytes)
}

/// A socket that is connected, or about to be.
fn connected(transport: Transport, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match transport {
        Transport::Udp => SocketType::DGRAM,
        Transport::Tcp => SocketType::STREAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e.into()),
    }
}

enum Received {
    Packet(Vec<u8>),
    Wait(EventFlags),
}

fn receive_udp(socket: &UdpSocket) -> io::Result<Received> {
    let mut buffer = vec![0; MAX];
    match socket.recv(&mut buffer) {
        Ok(n) => {
            buffer.truncate(n);
            Ok(Received::Packet(buffer))
        }
        Err(e) if is_pause(&e) => Ok(Received::Wait(EventFlags::IN)),
        Err(e) => Err(e),
    }
}

fn exchange_tcp(
    stream: &mut TcpStream,
    query: &[u8],
    sent: &mut usize,
    inbox: &mut Vec<u8>,
) -> io::Result<Received> {
    let frame = frame(query)?;
    while *sent < frame.len() {
        match stream.write(&frame[*sent..]) {
            Ok(n) => *sent += n,
            Err(e) if is_pause(&e) => return Ok(Received::Wait(EventFlags::OUT)),
            Err(e) => return Err(e),
        }
    }
    let mut buffer = [0; 4096];
    loop {
        if let Some(packet) = unframed(inbox) {
            return Ok(Received::Packet(packet));
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => inbox.extend_from_slice(&buffer[..n]),
            Err(e) if is_pause(&e) => return Ok(Received::Wait(EventFlags::IN)),
            Err(e) => return Err(e),
        }
    }
}

/// A packet with its length before it.
pub fn frame(packet: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok([&length.to_be_bytes(), packet].concat())
}

/// Takes the first whole packet out of what was received.
pub fn unframed(inbox: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*inbox.first_chunk()?));
    let packet = inbox.get(2..2 + length)?.to_vec();
    inbox.drain(..2 + length);
    Some(packet)
}

/// Nothing for now, or a signal.
pub fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn cannot_help(reply: &[u8]) -> bool {
    const SERVFAIL: u8 = 2;
    const NOTIMP: u8 = 4;
    const REFUSED: u8 = 5;
    matches!(reply[3] & 0xf, SERVFAIL | NOTIMP | REFUSED)
}
