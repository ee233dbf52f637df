//! nf_tables requests (`linux/netfilter/nf_tables.h`). Numbers are network order unless the register or set
//! that they are compared with says otherwise.
//!
//! Knows how a table, chain, set, rule and element are written, not which ones there are.

use super::expression::Expression;
use sys::netlink::{APPEND, CREATE, Message};

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const GET_GENERATION: u16 = SUBSYSTEM | 16;

/// Size of the fixed header `nfgenmsg`.
pub(crate) const HEADER: usize = 4;

/// The name of our table in each family.
pub(crate) const TABLE: &str = "dhow";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The address family's number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Bytes of an address.
    pub(crate) fn width(self) -> usize {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// Where source and destination stand in the IP header.
    pub(crate) fn offsets(self) -> (u32, u32) {
        match self {
            Family::V4 => (12, 16),
            Family::V6 => (8, 24),
        }
    }
}

fn header(family: Family) -> [u8; HEADER] {
    [family.number(), 0, 0, 0]
}

/// The brackets of a transaction. It is refused with ERESTART unless the rule set's generation is the given
/// one.
pub(crate) fn brackets(generation: Option<u32>) -> (Message, Message) {
    const BEGIN: u16 = 16;
    const END: u16 = 17;
    const GENERATION: u16 = 1;
    let header = [0, 0, 0, 10];
    let begin = Message::new(BEGIN, 0, &header);
    let begin = match generation {
        Some(generation) => begin.be32(GENERATION, generation),
        None => begin,
    };
    (begin, Message::new(END, 0, &header))
}

/// Asks for the generation, which each transaction raises.
pub(crate) fn generation() -> Message {
    Message::new(GET_GENERATION, 0, &[0; HEADER])
}

pub(crate) fn table(family: Family) -> Message {
    const NAME: u16 = 1;
    Message::new(NEW_TABLE, CREATE, &header(family)).text(NAME, TABLE)
}

pub(crate) fn table_removal(family: Family) -> Message {
    const NAME: u16 = 1;
    Message::new(DELETE_TABLE, 0, &header(family)).text(NAME, TABLE)
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    pub number: u32,
    pub priority: i32,
}

pub(crate) const PREROUTING: u32 = 0;
pub(crate) const FORWARD: u32 = 2;
pub(crate) const OUTPUT: u32 = 3;
pub(crate) const POSTROUTING: u32 = 4;

/// A chain; a base chain accepts what its rules do not decide.
pub(crate) fn chain(family: Family, name: &str, hook: Option<Hook>) -> Message {
    const CHAIN_TABLE: u16 = 1;
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const TYPE: u16 = 7;
    const ACCEPT: u32 = 1;
    let message = Message::new(NEW_CHAIN, CREATE, &header(family)).text(CHAIN_TABLE, TABLE).text(NAME, name);
    match hook {
        None => message,
        Some(hook) => message
            .nest(HOOK, |nested| nested.be32(1, hook.number).be32(2, hook.priority as u32))
            .be32(POLICY, ACCEPT)
            .text(TYPE, hook.kind),
    }
}

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
pub(crate) const RULE_USERDATA: u16 = 7;

/// A rule at the end of a chain.
pub(crate) fn rule(family: Family, chain: &str, comment: &str, expressions: Vec<Expression>) -> Message {
    Message::new(NEW_RULE, CREATE | APPEND, &header(family))
        .text(RULE_TABLE, TABLE)
        .text(RULE_CHAIN, chain)
        .nest(RULE_EXPRESSIONS, |list| {
            expressions.iter().fold(list, |list, expression| list.nest(1, |item| expression.write(item)))
        })
        .bytes(RULE_USERDATA, &userdata(comment))
}

/// Takes all rules out of a chain.
pub(crate) fn flush(family: Family, chain: &str) -> Message {
    Message::new(DELETE_RULE, 0, &header(family)).text(RULE_TABLE, TABLE).text(RULE_CHAIN, chain)
}

/// Asks for the rules of a chain.
pub(crate) fn rules(family: Family, chain: &str) -> Message {
    Message::new(GET_RULE, 0, &header(family)).text(RULE_TABLE, TABLE).text(RULE_CHAIN, chain)
}

/// A comment as the `nft` program writes and shows it.
fn userdata(comment: &str) -> Vec<u8> {
    const COMMENT: u8 = 0;
    let mut bytes = vec![COMMENT, (comment.len() + 1) as u8];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

/// The comment in the user data of a rule or an element.
pub(crate) fn comment(userdata: &[u8]) -> Option<String> {
    let [0, length, rest @ ..] = userdata else { return None };
    Some(sys::netlink::text(rest.get(..usize::from(*length))?))
}

/// What a part of a set's key is, by `nft`'s numbers; the kernel only keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Address,
    Protocol,
    Port,
    Interface,
}

impl Part {
    fn number(self, family: Family) -> u32 {
        match (self, family) {
            (Part::Address, Family::V4) => 7,
            (Part::Address, Family::V6) => 8,
            (Part::Protocol, _) => 12,
            (Part::Port, _) => 13,
            (Part::Interface, _) => 41,
        }
    }

    /// Bytes in a key or a register: whole 32-bit words.
    fn width(self, family: Family) -> u32 {
        match self {
            Part::Address => family.width() as u32,
            Part::Protocol | Part::Port => 4,
            Part::Interface => 16,
        }
    }
}

/// A set, or a map when it has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub name: &'static str,
    pub key: &'static [Part],
    pub data: &'static [Part],
    /// Whether an element stands for a range of each part of its key.
    pub ranges: bool,
}

impl Set {
    pub(crate) const fn exact(name: &'static str, key: &'static [Part]) -> Set {
        Set { name, key, data: &[], ranges: false }
    }

    pub(crate) const fn ranges(name: &'static str, key: &'static [Part]) -> Set {
        Set { ranges: true, ..Set::exact(name, key) }
    }

    pub(crate) const fn map(name: &'static str, key: &'static [Part], data: &'static [Part]) -> Set {
        Set { data, ..Set::exact(name, key) }
    }

    fn flags(&self) -> u32 {
        const INTERVAL: u32 = 4;
        const MAP: u32 = 8;
        const CONCATENATION: u32 = 0x80;
        let ranges = if self.ranges { INTERVAL | CONCATENATION } else { 0 };
        ranges | if self.data.is_empty() { 0 } else { MAP }
    }
}

fn concatenation(parts: &[Part], family: Family) -> (u32, u32) {
    let kind = parts.iter().fold(0, |kind, part| kind << 6 | part.number(family));
    // A single part has its own size; the parts of a concatenation are padded.
    let width = match parts {
        [Part::Protocol] => 1,
        [Part::Port] => 2,
        _ => parts.iter().map(|part| part.width(family)).sum(),
    };
    (kind, width)
}

/// `number` tells the sets of one transaction apart.
pub(crate) fn set(family: Family, set: &Set, number: u32) -> Message {
    const SET_TABLE: u16 = 1;
    const NAME: u16 = 2;
    const FLAGS: u16 = 3;
    const KEY_TYPE: u16 = 4;
    const KEY_LENGTH: u16 = 5;
    const DATA_TYPE: u16 = 6;
    const DATA_LENGTH: u16 = 7;
    const DESCRIPTION: u16 = 9;
    const ID: u16 = 10;
    const USERDATA: u16 = 13;
    let (key_type, key_length) = concatenation(set.key, family);
    let mut message = Message::new(NEW_SET, CREATE, &header(family))
        .text(SET_TABLE, TABLE)
        .text(NAME, set.name)
        .be32(FLAGS, set.flags())
        .be32(KEY_TYPE, key_type)
        .be32(KEY_LENGTH, key_length)
        .be32(ID, number);
    if set.key == [Part::Interface] {
        message = message.bytes(USERDATA, &text_key());
    }
    if set.ranges {
        let widths = set.key.iter().map(|part| part.width(family));
        message = message.nest(DESCRIPTION, |description| {
            description
                .nest(2, |list| widths.fold(list, |list, width| list.nest(1, |item| item.be32(1, width))))
        });
    }
    if set.data.is_empty() {
        return message;
    }
    let (data_type, data_length) = concatenation(set.data, family);
    message.be32(DATA_TYPE, data_type).be32(DATA_LENGTH, data_length)
}

/// Tells the `nft` program that the bytes of a key stand in the order of a text.
fn text_key() -> [u8; 6] {
    const KEY_BYTE_ORDER: u8 = 0;
    const HOST: u32 = 1;
    let [a, b, c, d] = HOST.to_ne_bytes();
    [KEY_BYTE_ORDER, 4, a, b, c, d]
}

/// An element of a set or a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Element {
    pub key: Vec<u8>,
    /// The end of the range that starts with the key; empty when the element is no range.
    pub end: Vec<u8>,
    /// Empty in a set.
    pub data: Vec<u8>,
    /// Whose it is: the id of an endpoint or a network.
    pub owner: String,
}

impl Element {
    pub(crate) fn exact(key: Vec<u8>, owner: &str) -> Element {
        Element { key, end: vec![], data: vec![], owner: owner.to_owned() }
    }

    fn write_key(&self, item: Message) -> Message {
        let item = item.nest(ELEMENT_KEY, |nested| nested.bytes(VALUE, &self.key));
        match self.end.as_slice() {
            [] => item,
            end => item.nest(ELEMENT_END, |nested| nested.bytes(VALUE, end)),
        }
    }
}

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
pub(crate) const LIST_ELEMENTS: u16 = 3;
pub(crate) const ELEMENT_KEY: u16 = 1;
pub(crate) const ELEMENT_DATA: u16 = 2;
pub(crate) const ELEMENT_USERDATA: u16 = 6;
pub(crate) const ELEMENT_END: u16 = 10;
pub(crate) const VALUE: u16 = 1;

/// Adds an element; one that is there already with the same data is no error.
pub(crate) fn element(family: Family, set: &str, element: &Element) -> Message {
    element_message(NEW_ELEMENT, CREATE, family, set).nest(LIST_ELEMENTS, |list| {
        list.nest(1, |item| {
            let item = element.write_key(item);
            let item = match element.data.as_slice() {
                [] => item,
                data => item.nest(ELEMENT_DATA, |nested| nested.bytes(VALUE, data)),
            };
            item.bytes(ELEMENT_USERDATA, &userdata(&element.owner))
        })
    })
}

/// Removes an element, which must be there; the data does not matter.
pub(crate) fn element_removal(family: Family, set: &str, element: &Element) -> Message {
    element_message(DELETE_ELEMENT, 0, family, set)
        .nest(LIST_ELEMENTS, |list| list.nest(1, |item| element.write_key(item)))
}

/// Asks for the elements of a set.
pub(crate) fn elements(family: Family, set: &str) -> Message {
    element_message(GET_ELEMENT, 0, family, set)
}

fn element_message(kind: u16, modifiers: u16, family: Family, set: &str) -> Message {
    Message::new(kind, modifiers, &header(family)).text(LIST_TABLE, TABLE).text(LIST_SET, set)
}
