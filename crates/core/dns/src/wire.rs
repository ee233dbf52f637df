//! Packets (RFC 1035 section 4, RFC 6891): questions in, answers out. Whatever comes in, nothing here panics.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Bytes of the fixed header.
pub const HEADER: usize = 12;
/// The largest packet that has a length of two bytes before it.
pub const MAX: usize = 65535;
/// What fits into a UDP answer unless the question says more.
const UDP: usize = 512;
/// What we take by UDP, and the most that we send by it: it never leaves the machine.
pub const UDP_MAX: u16 = 4096;
/// Seconds for which an answer may be kept: Docker's.
const TTL: u32 = 600;

/// What a packet turned out to be.
#[derive(Debug)]
pub enum Packet {
    /// A question.
    Query(Box<Query>),
    /// None that we answer; this is to be said about it.
    Refused(Vec<u8>),
    /// An answer, or no packet at all: saying something about it could go on for ever.
    Noise,
}

/// A question.
#[derive(Debug)]
pub struct Query {
    message: Message,
    /// Its class is the Internet's.
    pub internet: bool,
    /// The name in lower case, without a dot at its end; `None` for one with bytes that no name of ours has.
    pub name: Option<String>,
    /// What is asked.
    pub kind: Kind,
}

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A
    V4,
    /// AAAA
    V6,
    /// PTR, of this address if the name stands for one
    Pointer(Option<IpAddr>),
    /// Any other type
    Other,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses of the question's family; may be none.
    Addresses(Vec<IpAddr>),
    /// The name of the address.
    Name(String),
    /// The question cannot be answered.
    Failure(ResponseCode),
}

/// Reads a packet.
pub fn read(packet: &[u8]) -> Packet {
    if packet.len() < HEADER || packet[2] & 0x80 != 0 {
        return Packet::Noise;
    }
    let refused = |code| Packet::Refused(refusal([packet[0], packet[1]], packet[2] & 0x79, code));
    if packet[2] >> 3 & 0xf != 0 {
        return refused(ResponseCode::NotImp);
    }
    let Ok(message) = Message::from_vec(packet) else { return refused(ResponseCode::FormErr) };
    if question_end(packet).is_none() || message.metadata.message_type != MessageType::Query {
        return refused(ResponseCode::FormErr);
    }
    let [question] = message.queries.as_slice() else { return refused(ResponseCode::FormErr) };
    let name = dotted(question.name());
    let kind = match question.query_type() {
        RecordType::A => Kind::V4,
        RecordType::AAAA => Kind::V6,
        RecordType::PTR => Kind::Pointer(name.as_deref().and_then(address_of)),
        _ => Kind::Other,
    };
    let internet = question.query_class() == DNSClass::IN;
    Packet::Query(Box::new(Query { internet, name, kind, message }))
}

/// Where the only question ends; `None` if there is not just one, or its name is compressed: nothing is before it that it
/// could repeat.
pub fn question_end(packet: &[u8]) -> Option<usize> {
    if packet.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER;
    loop {
        match packet.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(*length),
            _ => return None,
        }
    }
    // Type and class.
    (at + 5 <= packet.len()).then_some(at + 5)
}

/// A header that says why there is no answer, and nothing else: nothing else of the question may be sound. `kept` are
/// the operation and the wish for recursion, from the question's third byte.
fn refusal(id: [u8; 2], kept: u8, code: ResponseCode) -> Vec<u8> {
    vec![id[0], id[1], 0x80 | kept, 0x80 | code.low(), 0, 0, 0, 0, 0, 0, 0, 0]
}

/// A name as text; labels with dots or bytes beyond ASCII have none.
fn dotted(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            return None;
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    Some(text)
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(reversed) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = reversed.rsplit('.');
        for octet in &mut octets {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let mut labels = name.strip_suffix(".ip6.arpa")?.rsplit('.');
    let mut bits = 0_u128;
    for _ in 0..32 {
        let label = labels.next()?;
        let digit = u8::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        bits = bits << 4 | u128::from(digit);
    }
    labels.next().is_none().then(|| IpAddr::from(bits.to_be_bytes()))
}

impl Query {
    /// The most that an answer by UDP may have.
    pub fn udp_limit(&self) -> usize {
        usize::from(self.message.max_payload().min(UDP_MAX)).max(UDP)
    }

    /// The answer's packet, of at most `limit` bytes: what does not fit is left out, and the answer says so.
    pub fn answer(&self, answer: &Answer, limit: usize) -> Vec<u8> {
        let mut reply = Message::response(self.message.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = self.message.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.queries.clone_from(&self.message.queries);
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MAX).set_version(0);
            reply.set_edns(edns);
        }
        match answer {
            Answer::Failure(code) => reply.metadata.response_code = *code,
            Answer::Addresses(addresses) => reply.answers = self.records(addresses.iter().map(|a| data(*a))),
            Answer::Name(name) => {
                let labels = name.split('.').map(str::as_bytes);
                // A name that is too long for the protocol cannot be told.
                let name = Name::from_labels(labels).ok();
                reply.answers = self.records(name.map(|name| RData::PTR(PTR(name))).into_iter());
            }
        }
        let mut most = limit / self.record_size();
        loop {
            if reply.answers.len() > most {
                reply.metadata.truncation = true;
                reply.answers.truncate(most);
            }
            let count = reply.answers.len();
            most = match reply.to_vec() {
                Ok(packet) if packet.len() <= limit || count == 0 => return packet,
                Ok(packet) => (count * limit / packet.len()).min(count - 1),
                // The bound of the protocol. Not all names are compressed, so it is met early.
                Err(_) if count > 0 => count - count.div_ceil(16),
                Err(_) => return refusal(reply.metadata.id.to_be_bytes(), 0, ResponseCode::ServFail),
            };
        }
    }

    /// The least that a record takes, its name being a reference to the question's.
    fn record_size(&self) -> usize {
        match self.kind {
            Kind::V4 => 12 + 4,
            Kind::V6 => 12 + 16,
            Kind::Pointer(_) | Kind::Other => 12,
        }
    }

    fn records(&self, data: impl Iterator<Item = RData>) -> Vec<Record> {
        let name = self.message.queries.first().map(|question| question.name().clone()).unwrap_or_default();
        data.map(|data| Record::from_rdata(name.clone(), TTL, data)).collect()
    }
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

#[cfg(test)]
mod tests;
