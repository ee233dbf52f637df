//! Netlink: messages, attributes and a blocking socket (man 7 netlink, rtnetlink; kernel
//! `Documentation/userspace-api/netlink`).
//!
//! Knows framing only: families, message types and attribute numbers belong to the callers. Lengths are
//! bytes; header fields are host order; every message and attribute is padded to four bytes.
//!
//! A batch is sent in one datagram and its answers are collected by sequence number. rtnetlink carries a
//! batch out message by message, nf_tables as one transaction. Nothing here waits for ever: the kernel
//! answers a request before it reads the next, so a missing answer is an error after [`PATIENCE`].

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long an answer of the kernel may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Room for one datagram of a dump: the kernel fills at most 32 KiB of it.
const DATAGRAM: usize = 64 * 1024;

/// Room for the answers of one batch before they are read.
const ANSWERS: usize = 1 << 20;

const HEADER: usize = 16;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// Message types below this belong to netlink itself.
const TYPE_FAMILY: u16 = 16;

/// The message asks the kernel for something.
const REQUEST: u16 = 0x1;
/// The kernel answers also when all is well.
const ACK: u16 = 0x4;
/// The dump was not taken at one moment.
const DUMP_INTERRUPTED: u16 = 0x10;
/// All objects instead of one.
const DUMP: u16 = 0x300;

/// Modifier of a creating request: it is an error when the object exists (`NLM_F_EXCL`).
pub const EXCLUSIVE: u16 = 0x200;
/// Modifier of a creating request: the object is created when it is missing (`NLM_F_CREATE`).
pub const CREATE: u16 = 0x400;
/// Modifier of a creating request: the object goes to the end of its list (`NLM_F_APPEND`).
pub const APPEND: u16 = 0x800;
/// Modifier of a creating request: an existing object is replaced (`NLM_F_REPLACE`).
pub const REPLACE: u16 = 0x100;

/// Set on the type of an attribute that contains attributes.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are not flags.
const TYPE_MASK: u16 = 0x3fff;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open netlink socket")]
    Open(#[source] Errno),
    #[error("send netlink request")]
    Send(#[source] Errno),
    #[error("receive netlink answer")]
    Receive(#[source] Errno),
    /// The kernel's own refusal of one message of a batch, with its reason in words when it gave one.
    #[error("kernel refused request{}", reason(.message))]
    Refused {
        /// Position in the batch.
        index: usize,
        #[source]
        errno: Errno,
        message: Option<String>,
    },
    #[error("kernel sent a malformed netlink message")]
    Malformed,
    #[error("netlink answer is longer than {DATAGRAM} bytes")]
    Truncated,
    #[error("objects changed during each of {0} dumps")]
    Unsteady(usize),
}

fn reason(message: &Option<String>) -> String {
    message.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

impl Error {
    /// The errno of a refusal, for callers to whom some refusals are good news.
    pub fn refusal(&self) -> Option<Errno> {
        match self {
            Error::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// The kernel side of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

/// A request under construction: netlink header, the family's fixed header, attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// `kind` and `modifiers` as the family defines them; `header` is its fixed header.
    pub fn new(kind: u16, modifiers: u16, header: &[u8]) -> Message {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(REQUEST | modifiers).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        pad(&mut bytes);
        Message { bytes }
    }

    /// Appends one attribute.
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Message {
        attribute(&mut self.bytes, kind, value);
        self
    }

    /// Appends a number in the machine's order.
    pub fn u32(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Appends a number in network order, as netfilter wants them.
    pub fn be32(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Appends a NUL-terminated string.
    pub fn text(self, kind: u16, value: &str) -> Message {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Appends an attribute that contains what `fill` adds.
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Message) -> Message) -> Message {
        let start = self.bytes.len();
        attribute(&mut self.bytes, kind | NESTED, &[]);
        let mut filled = fill(self);
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Appends bytes as they are: the fixed header inside of a nested attribute (`VETH_INFO_PEER`).
    pub fn raw(mut self, value: &[u8]) -> Message {
        self.bytes.extend_from_slice(value);
        pad(&mut self.bytes);
        self
    }

    /// The message type, for tests and logs.
    pub fn kind(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[4], self.bytes[5]])
    }

    /// Everything after the netlink header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    fn seal(&mut self, sequence: u32, extra: u16) {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | extra;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    pad(bytes);
}

/// One object from the kernel: the message's type and everything after its netlink header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub kind: u16,
    pub payload: Vec<u8>,
}

impl Received {
    /// The attributes behind a fixed header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'_> {
        attributes(self.payload.get(header.next_multiple_of(4)..).unwrap_or_default())
    }
}

/// The attributes in `bytes`; stops at the first malformed one.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// Iterator over (type without flags, value).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The value of the first attribute of this type.
    pub fn find_kind(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.rest, 0)?);
        let kind = u16_at(self.rest, 2)? & TYPE_MASK;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The string in a NUL-terminated attribute.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A conversation with the kernel in the network namespace where the socket was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Socket, Error> {
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let open = || {
            let fd = rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                number,
            )?;
            rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
            // A connected netlink socket refuses datagrams of other processes.
            rustix::net::connect(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
            sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
            // The limit of net.core.rmem_max does not apply to root; others get what it allows.
            if sockopt::set_socket_recv_buffer_size_force(&fd, ANSWERS).is_err() {
                sockopt::set_socket_recv_buffer_size(&fd, ANSWERS)?;
            }
            Ok(fd)
        };
        let fd = open().map_err(Error::Open)?;
        explain_errors(&fd);
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends `batch` in one datagram and waits for the answer to each of its messages. All messages are
    /// tried, also behind a refused one; the result is the first refusal.
    pub fn execute(&mut self, batch: Vec<Message>) -> Result<(), Error> {
        let answers = self.answers(batch, Bracket::None)?;
        first_refusal(answers)
    }

    /// Sends `batch` as one transaction between `begin` and `end`, which the kernel does not answer
    /// unless it refuses the transaction as a whole. The result has one entry a message.
    pub fn transact(
        &mut self,
        begin: Message,
        batch: Vec<Message>,
        end: Message,
    ) -> Result<Vec<Answer>, Error> {
        self.answers(batch, Bracket::Around(begin, end))
    }

    fn answers(&mut self, batch: Vec<Message>, bracket: Bracket) -> Result<Vec<Answer>, Error> {
        let mut datagram = Vec::with_capacity(4096);
        let mut push = |message: &mut Message, sequence: &mut u32, extra: u16| {
            *sequence = sequence.wrapping_add(1);
            message.seal(*sequence, extra);
            datagram.extend_from_slice(&message.bytes);
            *sequence
        };
        let count = batch.len();
        let (begin, end) = match bracket {
            Bracket::None => (None, None),
            Bracket::Around(begin, end) => (Some(begin), Some(end)),
        };
        let opening = begin.map(|mut message| push(&mut message, &mut self.sequence, 0));
        let first = self.sequence.wrapping_add(1);
        for mut message in batch {
            push(&mut message, &mut self.sequence, ACK);
        }
        if let Some(mut message) = end {
            push(&mut message, &mut self.sequence, 0);
        }
        self.make_room(datagram.len(), count)?;
        rustix::net::send(&self.fd, &datagram, SendFlags::empty()).map_err(Error::Send)?;
        self.collect(first, count, opening)
    }

    /// Room for a datagram and its answers, of which all may wait at once, where they may be more than a socket has.
    fn make_room(&self, length: usize, answers: usize) -> Result<(), Error> {
        /// What the kernel charges for one answer, at most.
        const ANSWER: usize = 1024;
        /// Below this every socket has room for what it sends.
        const USUAL: usize = 64 << 10;
        if length > USUAL {
            sockopt::set_socket_send_buffer_size_force(&self.fd, 2 * length).map_err(Error::Send)?;
        }
        if answers * ANSWER > ANSWERS {
            sockopt::set_socket_recv_buffer_size_force(&self.fd, answers * ANSWER).map_err(Error::Send)?;
        }
        Ok(())
    }

    fn collect(&mut self, first: u32, count: usize, opening: Option<u32>) -> Result<Vec<Answer>, Error> {
        let mut answers: Vec<Option<Answer>> = vec![None; count];
        let mut missing = count;
        let mut buffer = vec![0; DATAGRAM];
        while missing > 0 {
            let length = self.receive(&mut buffer)?;
            for frame in frames(&buffer[..length]) {
                let frame = frame?;
                if frame.kind != TYPE_ERROR {
                    continue;
                }
                let answer = answer(&frame)?;
                if Some(frame.sequence) == opening {
                    let errno = answer.errno.ok_or(Error::Malformed)?;
                    return Err(Error::Refused { index: 0, errno, message: answer.message });
                }
                let index = frame.sequence.wrapping_sub(first) as usize;
                if let Some(slot @ None) = answers.get_mut(index) {
                    *slot = Some(answer);
                    missing -= 1;
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// All objects that `request` selects, taken again when they changed while they were read.
    pub fn dump(&mut self, request: &Message) -> Result<Vec<Received>, Error> {
        const TRIES: usize = 20;
        for _ in 0..TRIES {
            if let Some(objects) = self.dump_once(request.clone())? {
                return Ok(objects);
            }
        }
        Err(Error::Unsteady(TRIES))
    }

    fn dump_once(&mut self, mut request: Message) -> Result<Option<Vec<Received>>, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        request.seal(self.sequence, DUMP);
        rustix::net::send(&self.fd, &request.bytes, SendFlags::empty()).map_err(Error::Send)?;
        let mut objects = Vec::new();
        let mut steady = true;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = self.receive(&mut buffer)?;
            for frame in frames(&buffer[..length]) {
                let frame = frame?;
                if frame.sequence != self.sequence {
                    continue;
                }
                steady &= frame.flags & DUMP_INTERRUPTED == 0;
                match frame.kind {
                    TYPE_DONE => return finish(&frame, objects, steady),
                    TYPE_ERROR => refuse(&frame)?,
                    kind if kind >= TYPE_FAMILY => {
                        objects.push(Received { kind, payload: frame.payload.to_vec() });
                    }
                    _ => {}
                }
            }
        }
    }

    /// The one object that `request` names.
    pub fn get(&mut self, mut request: Message) -> Result<Received, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        request.seal(self.sequence, 0);
        rustix::net::send(&self.fd, &request.bytes, SendFlags::empty()).map_err(Error::Send)?;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = self.receive(&mut buffer)?;
            for frame in frames(&buffer[..length]) {
                let frame = frame?;
                if frame.sequence != self.sequence {
                    continue;
                }
                match frame.kind {
                    TYPE_ERROR => refuse(&frame)?,
                    kind if kind >= TYPE_FAMILY => {
                        return Ok(Received { kind, payload: frame.payload.to_vec() });
                    }
                    _ => {}
                }
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::TRUNC) {
                Ok((length, whole)) if whole > length => return Err(Error::Truncated),
                Ok((length, _)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Receive(errno)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

enum Bracket {
    None,
    Around(Message, Message),
}

/// The kernel's word on one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `None` when it was carried out.
    pub errno: Option<Errno>,
    /// The kernel's explanation, when it has one.
    pub message: Option<String>,
}

/// The first refusal among the answers as an error.
pub fn first_refusal(answers: Vec<Answer>) -> Result<(), Error> {
    for (index, answer) in answers.into_iter().enumerate() {
        if let Some(errno) = answer.errno {
            return Err(Error::Refused { index, errno, message: answer.message });
        }
    }
    Ok(())
}

/// The end of a dump carries an errno of its own: 0, or why the kernel stopped early.
fn finish(frame: &Frame<'_>, objects: Vec<Received>, steady: bool) -> Result<Option<Vec<Received>>, Error> {
    let code = u32_at(frame.payload, 0).unwrap_or(0) as i32;
    match code {
        0 => Ok(steady.then_some(objects)),
        // EINTR of nf_tables: the rule set's generation changed.
        code if -code == libc::EINTR => Ok(None),
        code => Err(Error::Refused { index: 0, errno: Errno::from_raw_os_error(-code), message: None }),
    }
}

fn refuse(frame: &Frame<'_>) -> Result<(), Error> {
    first_refusal(vec![answer(frame)?])
}

fn answer(frame: &Frame<'_>) -> Result<Answer, Error> {
    /// The human-readable reason in an extended acknowledgement.
    const REASON: u16 = 1;
    /// The original message is left out of the answer; only its header follows.
    const CAPPED: u16 = 0x100;
    const EXTENDED: u16 = 0x200;
    let code = u32_at(frame.payload, 0).ok_or(Error::Malformed)? as i32;
    let mut message = None;
    if frame.flags & EXTENDED != 0 {
        let original = match frame.flags & CAPPED {
            0 => u32_at(frame.payload, 4).ok_or(Error::Malformed)? as usize,
            _ => HEADER,
        };
        let extension = frame.payload.get(4 + original.next_multiple_of(4)..).unwrap_or_default();
        message = attributes(extension).find_kind(REASON).map(text);
    }
    let errno = (code != 0).then(|| Errno::from_raw_os_error(code.wrapping_neg()));
    Ok(Answer { errno, message })
}

struct Frame<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of one datagram; a malformed one ends them.
fn frames(datagram: &[u8]) -> Frames<'_> {
    Frames { rest: datagram }
}

struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = take_frame(&mut self.rest);
        if frame.is_none() {
            self.rest = &[];
        }
        Some(frame.ok_or(Error::Malformed))
    }
}

fn take_frame<'a>(rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    let length = u32_at(rest, 0)? as usize;
    let frame = Frame {
        kind: u16_at(rest, 4)?,
        flags: u16_at(rest, 6)?,
        sequence: u32_at(rest, 8)?,
        payload: rest.get(HEADER..length)?,
    };
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(frame)
}

/// Asks the kernel to say in words what it dislikes and not to send our message back. Old kernels cannot;
/// their refusals are understood without.
#[allow(unsafe_code)]
fn explain_errors(fd: &OwnedFd) {
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        let on: libc::c_int = 1;
        // SAFETY: the pointer is to a live c_int and the length is its size; the descriptor is open.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                std::ptr::from_ref(&on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_the_round_trip() {
        let message = Message::new(16, CREATE, &[0; 16])
            .text(3, "eth0")
            .nest(18, |inner| inner.u32(1, 7).bytes(2, &[1, 2, 3]));
        let received = Received { kind: 16, payload: message.payload().to_vec() };
        let outer: Vec<_> = received.attributes(16).collect();
        assert_eq!(outer.len(), 2);
        assert_eq!(text(outer[0].1), "eth0");
        let inner: Vec<_> = attributes(outer[1].1).collect();
        assert_eq!(inner, [(1, &7u32.to_ne_bytes()[..]), (2, &[1, 2, 3][..])]);
    }

    #[test]
    fn malformed_attributes_end_the_iteration() {
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[8, 0]).count(), 0);
    }

    #[test]
    fn loopback_is_listed() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let links = socket.dump(&Message::new(18, 0, &[0; 16])).unwrap();
        let names: Vec<_> =
            links.iter().filter_map(|link| link.attributes(16).find_kind(3)).map(text).collect();
        assert!(names.contains(&"lo".to_owned()), "{names:?}");
    }

    #[test]
    fn a_refusal_names_its_message() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        // RTM_DELLINK of a name that no machine has.
        let request = Message::new(17, 0, &[0; 16]).text(3, "nosuchlink");
        let error = socket.execute(vec![request]).unwrap_err();
        assert_eq!(error.refusal(), Some(Errno::NODEV));
    }
}
