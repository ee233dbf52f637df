//! Tokens to a tree. The grammar is text/template's; each operand keeps its offset and its source text for
//! the errors of execution.

use std::collections::HashMap;
use std::fmt;

use serde_json::Number;

use crate::Error;
use crate::lex::{Kind, Token, lex, parse_error};

pub(crate) struct Parsed {
    pub root: Vec<Node>,
    pub defined: HashMap<String, Vec<Node>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { at: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub pipe: Pipe,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    /// Variables on the left of `:=` or `=`.
    pub variables: Vec<String>,
    pub assign: bool,
    pub commands: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub at: usize,
    pub what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text(String),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>, Vec<String>),
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if index > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, operand) in self.operands.iter().enumerate() {
            write!(f, "{}{operand}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[String]| {
            fields.iter().try_for_each(|field| write!(f, ".{field}"))
        };
        match &self.what {
            What::Dot => f.write_str("."),
            What::Nil => f.write_str("nil"),
            What::Bool(flag) => write!(f, "{flag}"),
            What::Number(number) => write!(f, "{number}"),
            What::Text(text) => f.write_str(&crate::printf::quote(text)),
            What::Field(names) => fields(f, names),
            What::Variable(name, names) => f.write_str(name).and_then(|()| fields(f, names)),
            What::Function(name) => f.write_str(name),
            What::Pipe(pipe, names) => write!(f, "({pipe})").and_then(|()| fields(f, names)),
        }
    }
}

pub(crate) fn parse(source: &str) -> Result<Parsed, Error> {
    let mut parser = Parser {
        source,
        tokens: lex(source)?,
        next: 0,
        defined: HashMap::new(),
        scope: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
    };
    let mut root = Vec::new();
    match parser.list(&mut root)? {
        Stop::End => Ok(Parsed { root, defined: parser.defined }),
        stop => Err(parser.error(format!("unexpected {{{{{}}}}}", stop.word()))),
    }
}

/// Nesting above this is refused: the parser and the executor are recursive.
const DEPTH: usize = 200;

/// What ended a list of nodes.
enum Stop {
    End,
    EndAction,
    /// `{{else}}`, or `{{else if …}}`/`{{else with …}}` with the word that follows.
    Else(Option<&'static str>),
}

impl Stop {
    fn word(&self) -> &'static str {
        match self {
            Stop::End => "EOF",
            Stop::EndAction => "end",
            Stop::Else(_) => "else",
        }
    }
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    next: usize,
    defined: HashMap<String, Vec<Node>>,
    scope: Vec<String>,
    loops: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn spaces(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn error(&self, message: impl fmt::Display) -> Error {
        parse_error(self.source, self.peek().at, message)
    }

    fn unexpected(&self, context: &str) -> Error {
        let token = self.peek();
        match token.kind {
            Kind::End => self.error("unexpected EOF"),
            _ => self.error(format!("unexpected <{}> in {context}", token.source)),
        }
    }

    fn list(&mut self, nodes: &mut Vec<Node>) -> Result<Stop, Error> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error("template is nested too deeply"));
        }
        let stop = loop {
            let token = self.take();
            match token.kind {
                Kind::End => break Stop::End,
                Kind::Text(text) => nodes.push(Node::Text(text)),
                _ => {
                    if let Some(stop) = self.action(nodes)? {
                        break stop;
                    }
                }
            }
        };
        self.depth -= 1;
        Ok(stop)
    }

    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Stop>, Error> {
        self.spaces();
        let word = match &self.peek().kind {
            Kind::Identifier(word) => word.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "if" | "with" | "range" | "define" | "template" | "block" | "break" | "continue" | "end"
            | "else" => {
                self.next += 1;
                self.spaces();
            }
            _ => {
                let pipe = self.pipe("command", &Kind::Close)?;
                nodes.push(Node::Action(pipe));
                return Ok(None);
            }
        }
        match word.as_str() {
            "if" => nodes.push(Node::If(self.branch("if")?)),
            "with" => nodes.push(Node::With(self.branch("with")?)),
            "range" => nodes.push(Node::Range(self.branch("range")?)),
            "define" => self.define()?,
            "template" => nodes.push(self.invoke()?),
            "block" => nodes.push(self.block()?),
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.close(&word)?;
                nodes.push(if word == "break" { Node::Break } else { Node::Continue });
            }
            "end" => {
                self.close("end")?;
                return Ok(Some(Stop::EndAction));
            }
            _ => return self.otherwise().map(Some),
        }
        Ok(None)
    }

    fn otherwise(&mut self) -> Result<Stop, Error> {
        let follow = match &self.peek().kind {
            Kind::Identifier(word) if word == "if" => Some("if"),
            Kind::Identifier(word) if word == "with" => Some("with"),
            _ => None,
        };
        match follow {
            Some(_) => {
                self.next += 1;
                self.spaces();
            }
            None => self.close("else")?,
        }
        Ok(Stop::Else(follow))
    }

    fn close(&mut self, context: &str) -> Result<(), Error> {
        self.spaces();
        match self.peek().kind {
            Kind::Close => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.unexpected(context)),
        }
    }

    fn branch(&mut self, word: &str) -> Result<Branch, Error> {
        let scope = self.scope.len();
        let pipe = self.pipe(word, &Kind::Close)?;
        let mut body = Vec::new();
        self.loops += usize::from(word == "range");
        let stop = self.list(&mut body)?;
        self.loops -= usize::from(word == "range");
        let mut otherwise = Vec::new();
        match stop {
            Stop::End => return Err(self.error("unexpected EOF")),
            Stop::EndAction => {}
            // `{{else if x}}` is `{{else}}{{if x}}` with one `{{end}}` for both.
            Stop::Else(Some(follow)) if word == follow => {
                let nested = self.branch(follow)?;
                otherwise.push(if follow == "if" { Node::If(nested) } else { Node::With(nested) });
            }
            Stop::Else(Some(follow)) => return Err(self.error(format!("unexpected <{follow}> in else"))),
            Stop::Else(None) => match self.list(&mut otherwise)? {
                Stop::EndAction => {}
                Stop::End => return Err(self.error("unexpected EOF")),
                Stop::Else(_) => return Err(self.error("expected end; found {{else}}")),
            },
        }
        self.scope.truncate(scope);
        Ok(Branch { pipe, body, otherwise })
    }

    fn name(&mut self, context: &str) -> Result<String, Error> {
        match self.peek().kind.clone() {
            Kind::Literal(name) => {
                self.next += 1;
                self.spaces();
                Ok(name)
            }
            _ => Err(self.unexpected(&format!("{context} clause"))),
        }
    }

    fn body_of(&mut self, name: String) -> Result<(), Error> {
        let scope = std::mem::replace(&mut self.scope, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let mut body = Vec::new();
        match self.list(&mut body)? {
            Stop::EndAction => {}
            Stop::End => return Err(self.error("unexpected EOF")),
            Stop::Else(_) => return Err(self.error("unexpected {{else}} in define clause")),
        }
        self.scope = scope;
        self.loops = loops;
        self.defined.insert(name, body);
        Ok(())
    }

    fn define(&mut self) -> Result<(), Error> {
        let name = self.name("define")?;
        self.close("define clause")?;
        self.body_of(name)
    }

    fn invoke(&mut self) -> Result<Node, Error> {
        let at = self.peek().at;
        let name = self.name("template")?;
        let pipe = match self.peek().kind {
            Kind::Close => {
                self.next += 1;
                None
            }
            _ => Some(self.pipe("template clause", &Kind::Close)?),
        };
        Ok(Node::Template { at, name, pipe })
    }

    fn block(&mut self) -> Result<Node, Error> {
        let at = self.peek().at;
        let name = self.name("block")?;
        let pipe = self.pipe("block clause", &Kind::Close)?;
        self.body_of(name.clone())?;
        Ok(Node::Template { at, name, pipe: Some(pipe) })
    }

    fn pipe(&mut self, context: &str, end: &Kind) -> Result<Pipe, Error> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error("template is nested too deeply"));
        }
        self.spaces();
        let (variables, assign) = self.declaration(context)?;
        let mut commands = Vec::new();
        loop {
            self.spaces();
            let kind = self.peek().kind.clone();
            if kind == *end {
                self.next += 1;
                break;
            }
            if kind == Kind::Pipe {
                return Err(self.error(format!("missing value for {context}")));
            }
            commands.push(self.command(context)?);
            self.spaces();
            match &self.peek().kind {
                Kind::Pipe => {
                    self.next += 1;
                    self.spaces();
                    if self.peek().kind == *end {
                        return Err(self.error(format!("missing value for {context}")));
                    }
                }
                kind if kind == end => {}
                _ => return Err(self.unexpected(context)),
            }
        }
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for command in commands.iter().skip(1) {
            if let What::Bool(_) | What::Dot | What::Nil | What::Number(_) | What::Text(_) =
                command.operands[0].what
            {
                let text = &command.operands[0];
                return Err(self.error(format!("non executable command in pipeline stage 2: {text}")));
            }
        }
        if !assign {
            self.scope.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipe { variables, assign, commands })
    }

    /// `$x :=`, `$x =` or, for range, `$i, $x :=`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), Error> {
        let start = self.next;
        let mut variables = Vec::new();
        while let Kind::Variable(name) = self.peek().kind.clone() {
            self.next += 1;
            self.spaces();
            variables.push(name);
            match self.peek().kind {
                Kind::Declare => {
                    self.next += 1;
                    return Ok((variables, false));
                }
                Kind::Assign => {
                    self.next += 1;
                    for name in &variables {
                        self.known(name)?;
                    }
                    return Ok((variables, true));
                }
                Kind::Comma if context == "range" && variables.len() < 2 => {
                    self.next += 1;
                    self.spaces();
                }
                Kind::Comma => return Err(self.error(format!("too many declarations in {context}"))),
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn known(&self, name: &str) -> Result<(), Error> {
        match self.scope.iter().any(|known| known == name) {
            true => Ok(()),
            false => Err(self.error(format!("undefined variable {}", crate::printf::quote(name)))),
        }
    }

    fn command(&mut self, context: &str) -> Result<Command, Error> {
        let mut operands = Vec::new();
        loop {
            self.spaces();
            match self.operand()? {
                Some(operand) => operands.push(operand),
                None => break,
            }
            match self.peek().kind {
                Kind::Space => {}
                _ => break,
            }
        }
        if operands.is_empty() {
            return Err(self.unexpected(context));
        }
        Ok(Command { operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>, Error> {
        let token = self.peek().clone();
        let mut at = token.at;
        let what = match token.kind {
            Kind::Dot => What::Dot,
            Kind::Identifier(name) => match name.as_str() {
                "true" => What::Bool(true),
                "false" => What::Bool(false),
                "nil" => What::Nil,
                _ if crate::functions::exists(&name) => What::Function(name),
                _ => return Err(self.error(format!("function {} not defined", crate::printf::quote(&name)))),
            },
            Kind::Field(name) => What::Field(vec![name]),
            Kind::Variable(name) => {
                self.known(&name)?;
                What::Variable(name, Vec::new())
            }
            Kind::Number(number) => What::Number(number),
            Kind::Literal(text) => What::Text(text),
            Kind::LeftParen => {
                self.next += 1;
                let pipe = self.pipe("parenthesized pipeline", &Kind::RightParen)?;
                self.next -= 1;
                What::Pipe(Box::new(pipe), Vec::new())
            }
            _ => return Ok(None),
        };
        self.next += 1;
        let mut chain = Vec::new();
        while let Kind::Field(name) = self.peek().kind.clone() {
            // Go reports a chain at its second link.
            if chain.is_empty() {
                at = self.peek().at;
            }
            chain.push(name);
            self.next += 1;
        }
        let what = match what {
            what if chain.is_empty() => what,
            What::Field(mut names) => {
                names.extend(chain);
                What::Field(names)
            }
            What::Variable(name, _) => What::Variable(name, chain),
            What::Pipe(pipe, _) => What::Pipe(pipe, chain),
            _ => {
                return Err(
                    self.error(format!("unexpected . after term {}", crate::printf::quote(&token.source)))
                );
            }
        };
        Ok(Some(Operand { at, what }))
    }
}
