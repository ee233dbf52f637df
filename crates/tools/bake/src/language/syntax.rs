//! Files as bodies: attributes and blocks with their places.

use hcl_edit::expr::Expression;
use hcl_edit::structure::{BlockLabel, Structure};
use hcl_edit::{Decorate as _, Span as _};

use super::diagnostic::{Diagnostics, Place, Source};
use super::json::{self, Json};

/// What stands between braces, or in a whole file.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pub attributes: Vec<Attribute>,
    pub blocks: Vec<Block>,
    /// Where something that is missing could stand.
    pub end: Option<Place>,
}

impl Body {
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// `name = expression`.
#[derive(Debug, Clone)]
pub struct Attribute {
    pub name: String,
    pub code: Code,
    pub name_place: Place,
    pub place: Place,
}

/// `kind "label" { … }`.
#[derive(Debug, Clone)]
pub struct Block {
    pub kind: String,
    pub labels: Vec<Label>,
    pub body: Body,
    /// Its head.
    pub place: Place,
}

#[derive(Debug, Clone)]
pub struct Label {
    pub text: String,
    pub place: Place,
}

/// An expression that is not evaluated yet.
#[derive(Debug, Clone)]
pub enum Code {
    /// Of a file.
    Native(usize, Box<Expression>),
    Json(Json),
}

impl Code {
    pub fn place(&self) -> Place {
        match self {
            Code::Native(file, expression) => {
                let span = expression.span().unwrap_or_default();
                Place { file: *file, start: span.start, end: span.end }
            }
            Code::Json(json) => json.place,
        }
    }

    /// Where it begins.
    pub fn start(&self) -> Place {
        match self {
            Code::Native(file, expression) => super::evaluate::start(expression, &|span| place(*file, span)),
            Code::Json(json) => json.place,
        }
    }
}

/// Reads a file: JSON if its name says so, HCL if its name says that, else what fits.
pub fn parse(file: usize, source: &Source) -> Result<Body, Diagnostics> {
    match source.name.rsplit('.').next() {
        Some("json") if source.name.contains('.') => json::body(file, &source.text),
        Some("hcl") if source.name.contains('.') => native(file, &source.text),
        _ => native(file, &source.text).or_else(|error| json::body(file, &source.text).map_err(|_| error)),
    }
}

fn native(file: usize, text: &str) -> Result<Body, Diagnostics> {
    let parsed = hcl_edit::parser::parse_body(text).map_err(|error| wrong(file, text, &error))?;
    let mut body = Body { end: Some(Place { file, start: text.len(), end: text.len() }), ..Body::default() };
    for structure in parsed {
        add(file, text, structure, &mut body);
    }
    Ok(body)
}

fn place(file: usize, span: Option<std::ops::Range<usize>>) -> Place {
    let span = span.unwrap_or_default();
    Place { file, start: span.start, end: span.end }
}

fn add(file: usize, text: &str, structure: Structure, body: &mut Body) {
    match structure {
        Structure::Attribute(attribute) => {
            let name_place = place(file, attribute.key.span());
            let whole = place(file, attribute.span());
            body.attributes.push(Attribute {
                name: attribute.key.to_string().trim().to_owned(),
                name_place,
                place: if whole.end == 0 { name_place } else { whole },
                code: Code::Native(file, Box::new(attribute.value)),
            });
        }
        Structure::Block(mut block) => {
            block.ident.decor_mut().clear();
            let mut head = place(file, block.ident.span());
            let labels: Vec<Label> = block
                .labels
                .iter()
                .map(|label| {
                    let span = match label {
                        BlockLabel::Ident(name) => name.span(),
                        BlockLabel::String(text) => text.span(),
                    };
                    Label { text: label.as_str().to_owned(), place: place(file, span) }
                })
                .collect();
            head.end = labels.last().map_or(head.end, |label| label.place.end);
            let end = place(file, block.span()).end.max(head.end);
            let mut inside = Body::default();
            let kind = block.ident.to_string();
            for structure in block.body {
                add(file, text, structure, &mut inside);
            }
            // What is missing could stand at the brace; of a block in one line, at its attribute.
            let whole = text.get(head.end..end).unwrap_or_default();
            let brace = head.end + whole.find('{').unwrap_or(0);
            let first = inside.attributes.first().filter(|_| !whole.contains('\n'));
            let at = first.map_or(brace, |attribute| attribute.name_place.start);
            inside.end = Some(Place { file, start: at, end: at });
            body.blocks.push(Block { kind, labels, body: inside, place: head });
        }
    }
}

/// What the parser stumbled over, in HCL's words where they can be told from what stands there.
fn wrong(file: usize, text: &str, error: &hcl_edit::parser::Error) -> Diagnostics {
    let start = text.floor_char_boundary(error.location().offset().min(text.len()));
    if let (true, Some(open)) = (text[start..].trim().is_empty(), unclosed(&text[..start])) {
        return Diagnostics::one(
            Place { file, start: open, end: open + 1 },
            "Unclosed configuration block",
            "There is no closing brace for this block before the end of the file. This may be caused by incorrect \
             brace nesting elsewhere in this file.",
        );
    }
    let next = text[start..].chars().next();
    let end = start + next.map_or(0, char::len_utf8);
    let at = Place { file, start, end };
    let before = text[..start].trim_end_matches([' ', '\t']);
    let (summary, detail) = match (before.chars().next_back(), next) {
        _ if error.message().contains("duplicate") || error.message().contains("redefine") => {
            ("Attribute redefined", error.message().to_owned())
        }
        (Some('=' | '[' | '(' | '{' | ',' | '+' | '-' | '*' | '/' | '?' | ':'), _) => (
            "Invalid expression",
            "Expected the start of an expression, but found an invalid expression token.".to_owned(),
        ),
        (_, Some('\n')) if is_one_line_block(before) => (
            "Invalid single-argument block definition",
            "An argument definition on the same line as its containing block creates a single-line block definition, \
             which must also be closed on the same line. Place the block's closing brace immediately after the argument \
             definition."
                .to_owned(),
        ),
        (_, Some('\n')) => (
            "Invalid multi-line string",
            "Quoted strings may not be split over multiple lines. To produce a multi-line string, either use the \\n \
             escape to represent a newline character or use the \"heredoc\" multi-line template syntax."
                .to_owned(),
        ),
        _ => ("Invalid expression", error.message().to_owned()),
    };
    Diagnostics::one(at, summary, detail)
}

/// Whether a line ends here that began a block and defines an argument: no string is open in it, but a brace is.
fn is_one_line_block(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
    let head = line.split('{').next().unwrap_or_default();
    quotes.is_multiple_of(2) && unclosed(line).is_some() && !head.contains('=')
}

/// The last brace that is not closed; those in strings and comments count too.
fn unclosed(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open.push(at),
            b'}' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

#[cfg(test)]
mod tests {
    use super::is_one_line_block;

    #[test]
    fn a_block_in_one_line_is_no_open_string() {
        assert!(is_one_line_block(r#"target "_c" { labels = { "a" = "x" }"#));
        assert!(is_one_line_block("x = 1\ntarget \"t\" { pull = true"));
        assert!(!is_one_line_block(r#"  name = "open"#));
        assert!(!is_one_line_block(r#"target "t" { name = "open"#));
        assert!(!is_one_line_block(r#"labels = { a = 1"#));
    }
}
