//! One client: messages in, messages and stream out, never blocking.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};
use serde::Serialize;

use crate::detach::Matcher;
use crate::protocol::{self, FrameError, Request};
use crate::stdcopy::{self, Stream};

/// How much is read at once.
const READ: usize = 16 * 1024;

/// What a connection is for at the moment.
#[derive(Debug)]
pub enum Role {
    /// The next request is expected.
    Requests,
    /// A request is under way; nothing is read until it is answered.
    Pending,
    /// A stream to a session.
    Stream(Subscriber),
}

/// What a stream connection wants of its session.
#[derive(Debug)]
pub struct Subscriber {
    /// The session.
    pub session: u32,
    /// It feeds the input, and has not ended it yet.
    pub stdin: bool,
    /// It gets standard output.
    pub stdout: bool,
    /// It gets standard error.
    pub stderr: bool,
    /// Looks for the detach keys, if there is a terminal.
    pub keys: Matcher,
    /// Whether its output is unframed; `None` is as the session's terminal says.
    pub raw: Option<bool>,
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    /// What it is for.
    pub role: Role,
    inbox: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    outbox: VecDeque<u8>,
    /// Close it as soon as everything is sent.
    pub closing: bool,
    /// It has taken nothing for so long that its session does not wait for it any more.
    pub stalled: bool,
    /// When it last took something, or had nothing to take.
    pub progress: Instant,
    /// What the poll watches it for.
    pub interest: EventFlags,
}

/// What reading has brought.
#[derive(Debug)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end.
    End,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// A new client on a connected socket.
    pub fn new(socket: UnixStream) -> io::Result<Connection> {
        socket.set_nonblocking(true)?;
        Ok(Connection {
            socket,
            role: Role::Requests,
            inbox: Vec::new(),
            descriptors: VecDeque::new(),
            outbox: VecDeque::new(),
            closing: false,
            stalled: false,
            progress: Instant::now(),
            interest: EventFlags::empty(),
        })
    }

    /// Reads what there is of requests, descriptors with them.
    pub fn receive(&mut self) -> Result<Read, io::Error> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(protocol::DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let start = self.inbox.len();
        self.inbox.resize(start + READ, 0);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut self.inbox[start..])],
            &mut control,
            flags,
        );
        self.inbox.truncate(start + got.as_ref().map_or(0, |message| message.bytes));
        let bytes = match got {
            // Those for which this process had no room are lost, and a start without them would be half of one.
            Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) => return Err(Errno::MFILE.into()),
            Ok(message) => message.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Read::Nothing),
            Err(e) => return Err(e.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        Ok(if bytes == 0 { Read::End } else { Read::Bytes(bytes) })
    }

    /// Takes the next whole request out of what was received.
    pub fn next_request(&mut self) -> Result<Option<Request>, FrameError> {
        let Some(header) = self.inbox.first_chunk::<4>() else { return Ok(None) };
        let end = 4 + protocol::body_length(*header)?;
        if self.inbox.len() < end {
            return Ok(None);
        }
        let request = protocol::decode(&self.inbox[4..end])?;
        self.inbox.drain(..end);
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        Ok(Some(request))
    }

    /// Whether a request was received before the one under way was answered.
    pub fn has_request(&self) -> bool {
        matches!(self.role, Role::Requests) && !self.closing && !self.inbox.is_empty()
    }

    /// Takes what was received behind the last request: the beginning of the stream.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox)
    }

    /// Takes the descriptors that came with requests.
    pub fn take_descriptors(&mut self) -> VecDeque<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// Reads stream input.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Read> {
        match rustix::io::read(&self.socket, buffer) {
            Ok(0) => Ok(Read::End),
            Ok(n) => Ok(Read::Bytes(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Read::Nothing),
            Err(e) => Err(e.into()),
        }
    }

    /// How many bytes wait to be sent.
    pub fn backlog(&self) -> usize {
        self.outbox.len()
    }

    /// Whether it gets a stream's bytes.
    pub fn wants(&self, stream: Stream) -> bool {
        match (&self.role, stream) {
            (Role::Stream(subscriber), Stream::Stdout) => subscriber.stdout && !self.closing,
            (Role::Stream(subscriber), Stream::Stderr) => subscriber.stderr && !self.closing,
            _ => false,
        }
    }

    /// Queues a message. One that cannot be encoded is our own mistake, and ends the connection.
    pub fn queue_message(&mut self, message: &impl Serialize) {
        match protocol::encode(message) {
            Ok(frame) => self.queue(&[&frame]),
            Err(_) => self.closing = true,
        }
    }

    /// Queues output of a session, framed unless it is raw: by the client's wish or the session's terminal.
    pub fn queue_output(&mut self, stream: Stream, bytes: &[u8], tty: bool) {
        let raw = match &self.role {
            Role::Stream(subscriber) => subscriber.raw.unwrap_or(tty),
            _ => tty,
        };
        match u32::try_from(bytes.len()) {
            Ok(length) if !raw => self.queue(&[&stdcopy::header(stream, length), bytes]),
            _ => self.queue(&[bytes]),
        }
    }

    fn queue(&mut self, pieces: &[&[u8]]) {
        if self.outbox.is_empty() {
            self.progress = Instant::now();
        }
        self.outbox.extend(pieces.iter().copied().flatten());
    }

    /// Sends what the socket takes. An error means that the client has gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let (front, _) = self.outbox.as_slices();
            match rustix::net::send(&self.socket, front, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.outbox.drain(..sent);
                    self.progress = Instant::now();
                    self.stalled = false;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        // A burst's buffer is not kept for the life of an idle client.
        if self.outbox.capacity() > READ {
            self.outbox = VecDeque::new();
        }
        Ok(())
    }

    /// What it should be watched for; `input` is whether its session takes input now.
    pub fn wanted_interest(&self, input: bool) -> EventFlags {
        let mut interest = EventFlags::empty();
        let reads = match &self.role {
            Role::Requests => true,
            Role::Pending => false,
            Role::Stream(subscriber) => subscriber.stdin && input,
        };
        interest.set(EventFlags::IN, reads && !self.closing);
        interest.set(EventFlags::OUT, !self.outbox.is_empty());
        interest
    }

    /// Ends the connection so that the client sees an orderly end: closing a socket with unread input would reset it.
    pub fn close(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        let mut rest = [0; 1024];
        while matches!(self.read(&mut rest), Ok(Read::Bytes(_))) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Reply;
    use std::io::{Read as _, Write as _};

    fn pair() -> (UnixStream, Connection) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ours, Connection::new(theirs).unwrap())
    }

    #[test]
    fn requests_arrive_in_pieces() {
        let (mut client, mut connection) = pair();
        let frame = protocol::encode(&Request::Pause { held: false }).unwrap();
        client.write_all(&frame[..5]).unwrap();
        connection.receive().unwrap();
        assert!(connection.next_request().unwrap().is_none());
        client.write_all(&frame[5..]).unwrap();
        client.write_all(b"rest").unwrap();
        connection.receive().unwrap();
        assert!(matches!(connection.next_request().unwrap(), Some(Request::Pause { held: false })));
        assert_eq!(connection.take_rest(), b"rest");
    }

    #[test]
    fn a_hostile_request_is_an_error() {
        let (mut client, mut connection) = pair();
        client.write_all(&[3, 0, 0, 0, b'{', b'}', b'x']).unwrap();
        connection.receive().unwrap();
        assert!(connection.next_request().is_err());
    }

    #[test]
    fn output_waits_for_a_client_that_does_not_read() {
        let (mut client, mut connection) = pair();
        let block = vec![b'x'; 1 << 20];
        connection.queue_output(Stream::Stdout, &block, false);
        connection.flush().unwrap();
        assert!(connection.backlog() > 0);
        assert!(connection.wanted_interest(false).contains(EventFlags::OUT));
        let mut got = vec![0; block.len() + stdcopy::HEADER];
        let reader = std::thread::spawn(move || client.read_exact(&mut got).map(|()| got));
        while connection.backlog() > 0 {
            connection.flush().unwrap();
            std::thread::yield_now();
        }
        assert_eq!(&reader.join().unwrap().unwrap()[..8], &stdcopy::header(Stream::Stdout, 1 << 20));
    }

    #[test]
    fn a_closed_connection_ends_in_order_even_with_unread_input() {
        let (mut client, mut connection) = pair();
        client.write_all(b"never read").unwrap();
        connection.queue_message(&Reply::Done);
        connection.flush().unwrap();
        connection.close();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, protocol::encode(&Reply::Done).unwrap());
    }
}
