//! HCL's JSON: documents with places, whose strings are templates.

use super::diagnostic::{Diagnostics, Place};
use super::syntax::{Attribute, Block, Body, Code, Label};

/// Nested values deeper than this are refused.
const DEPTH: usize = 200;
/// What the document itself is called where kinds of blocks are.
const DOCUMENT: &str = "";

/// A value of a document.
#[derive(Debug, Clone)]
pub struct Json {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(String),
    /// The text, and where it starts in the file.
    String(String, usize),
    Array(Vec<Json>),
    Object(Vec<(Label, Json)>),
}

/// A document as a body.
pub fn body(file: usize, text: &str) -> Result<Body, Diagnostics> {
    let mut parser = Parser { file, text, at: 0 };
    let root = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(
            parser.wrong("Extraneous data after value", "Extra characters appear after the JSON value.")
        );
    }
    content(DOCUMENT, &root)
}

/// What is a block within a block of this kind, and how many labels it has; all else is an attribute, as a target's `target` is.
fn within(kind: &str) -> &'static [(&'static str, usize)] {
    match kind {
        DOCUMENT => &[("target", 1), ("group", 1), ("variable", 1), ("function", 1)],
        "variable" => &[("validation", 0)],
        _ => &[],
    }
}

/// What a block of this kind holds.
fn content(kind: &str, value: &Json) -> Result<Body, Diagnostics> {
    let mut body = Body { end: Some(value.place), ..Body::default() };
    let objects = match &value.kind {
        Kind::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    for object in objects {
        let Kind::Object(members) = &object.kind else {
            return Err(Diagnostics::one(
                object.place,
                "Incorrect JSON value type",
                "A JSON object is required, to define arguments and child blocks.",
            ));
        };
        for (name, value) in members {
            // A name of a comment.
            if name.text == "//" {
                continue;
            }
            match within(kind).iter().find(|(kind, _)| *kind == name.text) {
                Some((kind, labels)) => blocks(kind, *labels, name, Vec::new(), value, &mut body.blocks)?,
                None => body.attributes.push(Attribute {
                    name: name.text.clone(),
                    code: Code::Json(value.clone()),
                    name_place: name.place,
                    place: name.place.to(value.place),
                }),
            }
        }
    }
    Ok(body)
}

/// The blocks that a value stands for: by labels first, then as many as a list has.
fn blocks(
    kind: &str,
    missing: usize,
    name: &Label,
    labels: Vec<Label>,
    value: &Json,
    all: &mut Vec<Block>,
) -> Result<(), Diagnostics> {
    match &value.kind {
        Kind::Array(items) => {
            for item in items {
                blocks(kind, missing, name, labels.clone(), item, all)?;
            }
            Ok(())
        }
        Kind::Object(members) if missing > 0 => {
            for (label, value) in members {
                let labels = labels.iter().cloned().chain([label.clone()]).collect();
                blocks(kind, missing - 1, name, labels, value, all)?;
            }
            Ok(())
        }
        Kind::Null => Ok(()),
        _ => {
            let place = labels.last().map_or(name.place, |label| label.place);
            all.push(Block { kind: kind.to_owned(), labels, body: content(kind, value)?, place });
            Ok(())
        }
    }
}

struct Parser<'t> {
    file: usize,
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn place(&self, start: usize) -> Place {
        Place { file: self.file, start, end: self.at }
    }

    /// An error at the next character.
    fn wrong(&self, summary: &str, detail: &str) -> Diagnostics {
        let size = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        let place = Place { file: self.file, start: self.at, end: self.at + size };
        Diagnostics::one(place, summary, detail)
    }

    fn value(&mut self, depth: usize) -> Result<Json, Diagnostics> {
        self.space();
        if depth > DEPTH {
            return Err(self.wrong("Too deep", "JSON values are nested too deeply here."));
        }
        let start = self.at;
        let kind = match self.peek() {
            None => {
                return Err(self.wrong(
                    "Missing JSON value",
                    "A JSON value must start with a brace, a bracket, a number, a string, or a keyword.",
                ));
            }
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => {
                let (text, inside) = self.string()?;
                Kind::String(text, inside)
            }
            Some(b'-' | b'0'..=b'9') => {
                let part = |byte: u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                while self.peek().is_some_and(part) {
                    self.at += 1;
                }
                let digits = &self.text[start..self.at];
                if crate::value::parse(digits).is_none() {
                    self.at = start;
                    return Err(self
                        .wrong("Invalid JSON number", "There is a syntax error in the given JSON number."));
                }
                Kind::Number(digits.to_owned())
            }
            Some(_) => {
                let rest = &self.text[start..];
                let word = [("true", Kind::Bool(true)), ("false", Kind::Bool(false)), ("null", Kind::Null)]
                    .into_iter()
                    .find(|(word, _)| rest.starts_with(word));
                let Some((word, kind)) = word else {
                    return Err(self.wrong(
                        "Invalid start of value",
                        "A JSON value must start with a brace, a bracket, a number, a string, or a keyword.",
                    ));
                };
                self.at += word.len();
                kind
            }
        };
        Ok(Json { place: self.place(start), kind })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, Diagnostics> {
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.space();
            if self.peek() == Some(b'}') && members.is_empty() {
                break;
            }
            let label = self.property_name()?;
            let value = self.value(depth + 1)?;
            members.push((label, value));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                None => return Err(self.unclosed_object()),
                Some(_) => {
                    return Err(self.wrong(
                        "Missing attribute seperator comma",
                        "A comma must appear between each property definition in an object.",
                    ));
                }
            }
        }
        self.at += 1;
        Ok(Kind::Object(members))
    }

    /// The name of an object's property, and the colon behind it.
    fn property_name(&mut self) -> Result<Label, Diagnostics> {
        match self.peek() {
            Some(b'"') => {}
            Some(b'}') => {
                self.at = self.text[..self.at].rfind(',').unwrap_or(self.at);
                return Err(self.wrong(
                    "Trailing comma in object",
                    "JSON does not permit a trailing comma after the final property in an object.",
                ));
            }
            None => return Err(self.unclosed_object()),
            Some(_) => {
                return Err(self
                    .wrong("Invalid object property name", "A JSON object property name must be a string."));
            }
        }
        let start = self.at;
        let (text, _) = self.string()?;
        let label = Label { text, place: self.place(start) };
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.wrong(
                "Missing property value colon",
                "A colon must appear between an object property's name and its value.",
            ));
        }
        self.at += 1;
        Ok(label)
    }

    fn unclosed_object(&self) -> Diagnostics {
        self.wrong("Unclosed object", "No closing brace was found for this JSON object.")
    }

    fn array(&mut self, depth: usize) -> Result<Kind, Diagnostics> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(b']') if items.is_empty() => break,
                Some(b']') => {
                    self.at = self.text[..self.at].rfind(',').unwrap_or(self.at);
                    return Err(self.wrong(
                        "Trailing comma in array",
                        "JSON does not permit a trailing comma after the final value in an array.",
                    ));
                }
                None => {
                    return Err(
                        self.wrong("Unclosed array", "No closing bracket was found for this JSON array.")
                    );
                }
                Some(_) => items.push(self.value(depth + 1)?),
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                None => {
                    return Err(
                        self.wrong("Unclosed array", "No closing bracket was found for this JSON array.")
                    );
                }
                Some(_) => {
                    return Err(self.wrong(
                        "Missing array seperator comma",
                        "A comma must appear between each value in an array.",
                    ));
                }
            }
        }
        self.at += 1;
        Ok(Kind::Array(items))
    }

    /// A string, and where its text starts.
    fn string(&mut self) -> Result<(String, usize), Diagnostics> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => {
                    self.at = start;
                    return Err(self.wrong("Unterminated string", "A JSON string has no end."));
                }
            }
        }
        self.at += 1;
        let raw = self.text.get(start..self.at).unwrap_or_default();
        match serde_json::from_str(raw) {
            Ok(text) => Ok((text, start + 1)),
            Err(_) => {
                self.at = start;
                Err(self.wrong("Invalid JSON string", "There is a syntax error in the given JSON string."))
            }
        }
    }
}
