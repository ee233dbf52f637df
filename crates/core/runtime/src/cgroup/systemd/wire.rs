//! D-Bus messages as bytes: as much of the D-Bus specification (version 1, "Message Protocol") as calls of systemd need,
//! little-endian. What a peer sends is checked, whoever it is: a message that breaks the rules is [`Malformed`].

/// A message that isn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(&'static str);

/// No answer of systemd's is nearly as long.
const LONGEST: u32 = 1 << 20;

/// The fixed part of a header with the length of its fields.
pub const PRELUDE: usize = 16;

const CALL: u8 = 1;

/// What a property of a unit can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Bytes(Vec<u8>),
    U32s(Vec<u32>),
    Texts(Vec<String>),
    /// Two texts each.
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Text(_) => "s",
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Bytes(_) => "ay",
            Value::U32s(_) => "au",
            Value::Texts(_) => "as",
            Value::Pairs(_) => "a(ss)",
        }
    }
}

/// Appends values, each at its alignment.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// A string or an object path.
    pub fn text(&mut self, value: &str) {
        self.u32(value.len() as u32);
        self.bytes.extend(value.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, value: &str) {
        self.byte(value.len() as u8);
        self.bytes.extend(value.as_bytes());
        self.byte(0);
    }

    /// Elements that are aligned to `alignment`. Their length doesn't count the gap before the first.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Text(text) => self.text(text),
            Value::Bool(value) => self.bool(*value),
            Value::I32(value) => self.u32(*value as u32),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.u64(*value as u64),
            Value::U64(value) => self.u64(*value),
            Value::Bytes(bytes) => self.array(1, |w| w.bytes.extend(bytes)),
            Value::U32s(numbers) => self.array(4, |w| numbers.iter().for_each(|n| w.u32(*n))),
            Value::Texts(texts) => self.array(4, |w| texts.iter().for_each(|text| w.text(text))),
            Value::Pairs(pairs) => self.array(8, |w| {
                for (first, second) in pairs {
                    w.align(8);
                    w.text(first);
                    w.text(second);
                }
            }),
        }
    }

    /// `a(sv)`.
    pub fn properties(&mut self, properties: &[(String, Value)]) {
        self.array(8, |w| {
            for (name, value) in properties {
                w.align(8);
                w.text(name);
                w.variant(value);
            }
        });
    }

    /// `a(sa(sv))` without elements.
    pub fn no_units(&mut self) {
        self.array(8, |_| {});
    }
}

/// A method call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    /// Of the body.
    pub signature: &'a str,
    pub body: &'a [u8],
}

impl Call<'_> {
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let fields = [
            (1, "o", self.path),
            (2, "s", self.interface),
            (3, "s", self.member),
            (6, "s", self.destination),
            (8, "g", self.signature),
        ];
        encode(CALL, serial, None, &fields, self.body)
    }
}

/// A message with those of the fields that have a value.
pub(super) fn encode(
    kind: u8,
    serial: u32,
    answers: Option<u32>,
    fields: &[(u8, &str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut w = Writer { bytes: vec![b'l', kind, 0, 1] };
    w.u32(body.len() as u32);
    w.u32(serial);
    w.array(8, |w| {
        for (code, signature, value) in fields.iter().filter(|(_, _, value)| !value.is_empty()) {
            w.align(8);
            w.byte(*code);
            w.signature(signature);
            if *signature == "g" { w.signature(value) } else { w.text(value) }
        }
        if let Some(serial) = answers {
            w.align(8);
            w.byte(5);
            w.signature("u");
            w.u32(serial);
        }
    });
    w.align(8);
    w.bytes.extend(body);
    w.into_bytes()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Call,
    Reply,
    Error,
    Signal,
    /// To be ignored, as the specification has it.
    Other,
}

/// A message that has come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub serial: u32,
    pub answers: Option<u32>,
    pub interface: String,
    pub member: String,
    /// The name of an error.
    pub error: String,
    pub signature: String,
    pub body: Vec<u8>,
}

/// How long a message is whose first [`PRELUDE`] bytes are these.
pub fn length(prelude: &[u8; PRELUDE]) -> Result<usize, Malformed> {
    let number =
        |at: usize| u32::from_le_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
    match prelude {
        [b'l', _, _, 1, ..] => {}
        _ => return Err(Malformed("an unknown byte order or version")),
    }
    let (body, fields) = (number(4), number(12));
    if body > LONGEST || fields > LONGEST {
        return Err(Malformed("it is too long"));
    }
    Ok((PRELUDE + fields as usize).next_multiple_of(8) + body as usize)
}

impl Message {
    /// Of as many bytes as [`length`] says.
    pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
        let mut r = Reader { bytes, at: 0 };
        let [_, kind, _, _] = r.take::<4>()?;
        let (body, serial, fields) = (r.u32()? as usize, r.u32()?, r.u32()? as usize);
        let mut message = Message {
            kind: match kind {
                CALL => Kind::Call,
                2 => Kind::Reply,
                3 => Kind::Error,
                4 => Kind::Signal,
                _ => Kind::Other,
            },
            serial,
            answers: None,
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            signature: String::new(),
            body: Vec::new(),
        };
        let end = PRELUDE + fields;
        while r.at < end {
            r.align(8)?;
            message.field(&mut r)?;
        }
        r.align(8)?;
        let found = &bytes[r.at..];
        if r.at < end || found.len() != body {
            return Err(Malformed("its lengths contradict each other"));
        }
        message.body = found.to_vec();
        Ok(message)
    }

    fn field(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let [code] = r.take::<1>()?;
        match (code, r.signature()?.as_str()) {
            (2, "s") => self.interface = r.text()?,
            (3, "s") => self.member = r.text()?,
            (4, "s") => self.error = r.text()?,
            (5, "u") => self.answers = Some(r.u32()?),
            (8, "g") => self.signature = r.signature()?,
            (_, "s" | "o") => drop(r.text()?),
            (_, "g") => drop(r.signature()?),
            (_, "u") => drop(r.u32()?),
            _ => return Err(Malformed("a header field of an unknown type")),
        }
        Ok(())
    }

    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }

    /// The text that an error begins with, if it has one.
    pub fn words(&self) -> String {
        let text = self.signature.starts_with('s').then(|| self.reader().text().ok()).flatten();
        text.unwrap_or_default()
    }
}

/// Takes values, each from its alignment.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        self.at = self.at.next_multiple_of(to);
        if self.at <= self.bytes.len() { Ok(()) } else { Err(Malformed("it ends too early")) }
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed("a length without end"))?;
        let found = self.bytes.get(self.at..end).ok_or(Malformed("it ends too early"))?;
        self.at = end;
        Ok(found)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(N)?);
        Ok(array)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        self.take().map(u32::from_le_bytes)
    }

    fn terminated(&mut self, length: usize) -> Result<String, Malformed> {
        let text = String::from_utf8(self.slice(length)?.to_vec());
        let text = text.map_err(|_| Malformed("a string that isn't UTF-8"))?;
        if self.take::<1>()? != [0] || text.contains('\0') {
            return Err(Malformed("a string without its end"));
        }
        Ok(text)
    }

    /// A string or an object path.
    pub fn text(&mut self) -> Result<String, Malformed> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let [length] = self.take::<1>()?;
        self.terminated(length.into())
    }

    /// A variant that must be a string.
    pub fn text_variant(&mut self) -> Result<String, Malformed> {
        match self.signature()?.as_str() {
            "s" => self.text(),
            _ => Err(Malformed("a property that is no string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Vec<u8> {
        let mut body = Writer::default();
        body.text("x.scope");
        body.properties(&[("PIDs".to_owned(), Value::U32s(vec![7])), ("TasksMax".to_owned(), Value::U64(9))]);
        let body = body.into_bytes();
        Call {
            destination: "d.e",
            path: "/o",
            interface: "i.f",
            member: "Do",
            signature: "sa(sv)",
            body: &body,
        }
        .encode(5)
    }

    #[test]
    fn a_call_as_the_specification_lays_it_out() {
        let bytes = call();
        assert_eq!(&bytes[..4], b"l\x01\x00\x01");
        // Path, which is a struct at 16: code, signature, aligned length, text.
        assert_eq!(&bytes[16..27], b"\x01\x01o\0\x02\0\0\0/o\0");
        // The next struct is at the next multiple of eight.
        assert_eq!(&bytes[32..36], b"\x02\x01s\0");
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.kind, message.serial), (Kind::Call, 5));
        assert_eq!((message.interface.as_str(), message.member.as_str()), ("i.f", "Do"));
        let expected = [
            &b"\x07\0\0\0x.scope\0"[..],
            // The array: its length, the gap to eight.
            b"\x30\0\0\0",
            b"\x04\0\0\0PIDs\0\x02au\0\0\0\0\x04\0\0\0\x07\0\0\0",
            b"\x08\0\0\0TasksMax\0\x01t\0\x09\0\0\0\0\0\0\0",
        ]
        .concat();
        assert_eq!(message.body, expected);
    }

    #[test]
    fn the_length_is_told_by_the_prelude() {
        let bytes = call();
        assert_eq!(length(bytes[..PRELUDE].try_into().unwrap()), Ok(bytes.len()));
        let mut strange = bytes.clone();
        strange[0] = b'B';
        assert!(length(strange[..PRELUDE].try_into().unwrap()).is_err());
        let mut endless = bytes;
        endless[7] = 0xff;
        assert!(length(endless[..PRELUDE].try_into().unwrap()).is_err());
    }

    #[test]
    fn no_message_is_trusted() {
        let bytes = call();
        for cut in 0..bytes.len() {
            assert!(Message::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        // Whatever a byte becomes: an answer, and no panic.
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Ok(message) = Message::decode(&changed) {
                    let mut reader = message.reader();
                    let _ = (reader.text(), reader.u32(), reader.text_variant(), message.words());
                }
            }
        }
    }
}
