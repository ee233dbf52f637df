//! The steps of nf_tables rules. A rule is a straight line of steps over a file of sixteen 32-bit registers;
//! the first step that finds nothing ends it.

use super::nft::Family;
use sys::netlink::Message;

/// A word of the register file, 0 to 15. A value takes as many words as it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub u32);

impl Register {
    fn number(self) -> u32 {
        8 + self.0
    }
}

/// The destination is an address of this machine.
pub(crate) const LOCAL: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
}

/// One step of a rule. A step that finds nothing ends its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Name of the interface that the packet came in on.
    InputInterface(Register),
    OutputInterface(Register),
    /// Kind of the interface, e.g. `bridge`.
    InputKind(Register),
    OutputKind(Register),
    TransportProtocol(Register),
    Source(Family, Register),
    Destination(Family, Register),
    /// Same place for TCP, UDP and SCTP.
    DestinationPort(Register),
    /// One bit for each state of the connection.
    ConnectionState(Register),
    /// One bit for each thing that happened to the connection.
    ConnectionStatus(Register),
    /// Kind of the destination address (`RTN_*`), e.g. [`LOCAL`].
    DestinationKind(Register),
    /// Puts a value into registers.
    Load(Register, Vec<u8>),
    And(Register, Vec<u8>),
    Equal(Register, Vec<u8>),
    NotEqual(Register, Vec<u8>),
    /// The value in the registers is in the set.
    InSet(&'static str, Register),
    /// The map's data for the value in the first register goes to the second.
    Map(&'static str, Register, Register),
    DestinationNat(Family, Register, Register),
    Masquerade,
    Verdict(Verdict),
}

impl Expression {
    pub(crate) fn write(&self, item: Message) -> Message {
        use Expression as E;
        match self {
            E::InputInterface(to) => meta(item, 6, *to),
            E::OutputInterface(to) => meta(item, 7, *to),
            E::TransportProtocol(to) => meta(item, 16, *to),
            E::InputKind(to) => meta(item, 26, *to),
            E::OutputKind(to) => meta(item, 27, *to),
            E::Source(family, to) => payload(item, 1, family.offsets().0, family.width() as u32, *to),
            E::Destination(family, to) => payload(item, 1, family.offsets().1, family.width() as u32, *to),
            E::DestinationPort(to) => payload(item, 2, 2, 2, *to),
            E::ConnectionState(to) => connection(item, 0, *to),
            E::ConnectionStatus(to) => connection(item, 2, *to),
            E::DestinationKind(to) => destination_kind(item, *to),
            E::Load(to, value) => load(item, *to, value),
            E::And(register, mask) => bitwise(item, *register, mask),
            E::Equal(register, value) => compare(item, 0, *register, value),
            E::NotEqual(register, value) => compare(item, 1, *register, value),
            E::InSet(set, key) => lookup(item, set, *key, None),
            E::Map(set, key, to) => lookup(item, set, *key, Some(*to)),
            E::DestinationNat(family, address, port) => destination_nat(item, *family, *address, *port),
            E::Masquerade => named(item, "masq", |data| data),
            E::Verdict(verdict) => decide(item, *verdict),
        }
    }
}

/// `name` and its attributes.
fn named(item: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    item.text(1, name).nest(2, fill)
}

fn meta(item: Message, key: u32, to: Register) -> Message {
    named(item, "meta", |data| data.be32(1, to.number()).be32(2, key))
}

fn connection(item: Message, key: u32, to: Register) -> Message {
    named(item, "ct", |data| data.be32(1, to.number()).be32(2, key))
}

/// Bases: 1 the IP header, 2 the transport header.
fn payload(item: Message, base: u32, offset: u32, length: u32, to: Register) -> Message {
    named(item, "payload", |data| data.be32(1, to.number()).be32(2, base).be32(3, offset).be32(4, length))
}

fn destination_kind(item: Message, to: Register) -> Message {
    const ADDRESS_TYPE: u32 = 3;
    const OF_DESTINATION: u32 = 2;
    named(item, "fib", |data| data.be32(1, to.number()).be32(2, ADDRESS_TYPE).be32(3, OF_DESTINATION))
}

fn load(item: Message, to: Register, value: &[u8]) -> Message {
    named(item, "immediate", |data| data.be32(1, to.number()).nest(2, |nested| nested.bytes(1, value)))
}

fn bitwise(item: Message, register: Register, mask: &[u8]) -> Message {
    named(item, "bitwise", |data| {
        data.be32(1, register.number())
            .be32(2, register.number())
            .be32(3, mask.len() as u32)
            .nest(4, |nested| nested.bytes(1, mask))
            .nest(5, |nested| nested.bytes(1, &vec![0; mask.len()]))
    })
}

fn compare(item: Message, operator: u32, register: Register, value: &[u8]) -> Message {
    named(item, "cmp", |data| {
        data.be32(1, register.number()).be32(2, operator).nest(3, |nested| nested.bytes(1, value))
    })
}

fn lookup(item: Message, set: &str, key: Register, to: Option<Register>) -> Message {
    named(item, "lookup", |data| {
        let data = data.text(1, set).be32(2, key.number());
        match to {
            Some(to) => data.be32(3, to.number()),
            None => data,
        }
    })
}

fn destination_nat(item: Message, family: Family, address: Register, port: Register) -> Message {
    const DESTINATION: u32 = 1;
    named(item, "nat", |data| {
        data.be32(1, DESTINATION)
            .be32(2, u32::from(family.number()))
            .be32(3, address.number())
            .be32(5, port.number())
    })
}

fn decide(item: Message, verdict: Verdict) -> Message {
    const VERDICT_REGISTER: u32 = 0;
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Return => (-5, None),
    };
    named(item, "immediate", |data| {
        data.be32(1, VERDICT_REGISTER).nest(2, |value| {
            value.nest(2, |nested| {
                let nested = nested.be32(1, code as u32);
                match chain {
                    Some(chain) => nested.text(2, chain),
                    None => nested,
                }
            })
        })
    })
}
