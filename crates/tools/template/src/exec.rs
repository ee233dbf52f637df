//! Walks the tree with the data.

use serde_json::Value;

use crate::display::{display, type_name};
use crate::parse::{Branch, Command, Node, Operand, Pipe, What};
use crate::{Error, Template, functions};

/// Templates may call each other; Go's limit is far higher, but nobody formats that deep.
const CALLS: usize = 100;

pub(crate) fn execute(template: &Template, data: &Value) -> Result<String, Error> {
    let mut run =
        Run { template, out: String::new(), variables: vec![("$".to_owned(), data.clone())], calls: 0 };
    run.list(&template.root, data)?;
    Ok(run.out)
}

struct Run<'a> {
    template: &'a Template,
    out: String,
    variables: Vec<(String, Value)>,
    calls: usize,
}

#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl Run<'_> {
    /// Go's location: line, byte in the line, the operand as it was written.
    fn error(&self, at: usize, what: &dyn std::fmt::Display, message: impl std::fmt::Display) -> Error {
        let before = &self.template.source[..at.min(self.template.source.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        Error(format!("template: :{line}:{column}: executing \"\" at <{what}>: {message}"))
    }

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Error> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    match value {
                        Value::Null => self.out.push_str(self.null(pipe)),
                        value => self.out.push_str(&display(&value)),
                    }
                }
            }
            Node::If(branch) => return self.branch(branch, dot, false),
            Node::With(branch) => return self.branch(branch, dot, true),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template { at, name, pipe } => self.invoke(*at, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// What nothing prints as, by the name of the field that it is the value of.
    fn null(&self, pipe: &Pipe) -> &'static str {
        let field = match pipe.commands.as_slice() {
            [Command { operands }] => match operands.as_slice() {
                [Operand { what: What::Field(names), .. }] => names.last(),
                _ => None,
            },
            _ => None,
        };
        let known = |name: &String| self.template.options.null.and_then(|null| null(name));
        field.and_then(known).unwrap_or("<no value>")
    }

    fn branch(&mut self, branch: &Branch, dot: &Value, with: bool) -> Result<Flow, Error> {
        let mark = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = match functions::truth(&value) {
            true => self.list(&branch.body, if with { &value } else { dot }),
            false => self.list(&branch.otherwise, dot),
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, Error> {
        let mark = self.variables.len();
        let value = self.pipe_value(&branch.pipe, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Null => Vec::new(),
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(index, item)| (Value::from(index), item)).collect()
            }
            Value::Object(map) => {
                let mut items: Vec<(String, Value)> = map.into_iter().collect();
                items.sort_by(|left, right| left.0.cmp(&right.0));
                items.into_iter().map(|(key, item)| (Value::from(key), item)).collect()
            }
            Value::Number(number) if number.is_u64() => {
                // Bounded: a format string must not be able to fill the memory.
                let count = number.as_u64().unwrap_or_default().min(1 << 20);
                (0..count).map(|index| (Value::from(index), Value::from(index))).collect()
            }
            other => {
                let (at, what) = self.place(&branch.pipe);
                let message = format!("range can't iterate over {}", display(&other));
                return Err(self.error(at, &what, message));
            }
        };
        if items.is_empty() {
            let flow = self.list(&branch.otherwise, dot);
            self.variables.truncate(mark);
            return flow;
        }
        for (index, item) in items {
            match branch.pipe.variables.as_slice() {
                [] => {}
                [one] => self.bind(one, item.clone(), branch.pipe.assign),
                [first, second, ..] => {
                    self.bind(first, index, branch.pipe.assign);
                    self.bind(second, item.clone(), branch.pipe.assign);
                }
            }
            let flow = self.list(&branch.body, &item)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn invoke(&mut self, at: usize, name: &str, pipe: Option<&Pipe>, dot: &Value) -> Result<(), Error> {
        let template = self.template;
        let Some(body) = template.defined.get(name) else {
            let message = format!("template {} not defined", crate::printf::quote(name));
            return Err(self.error(at, &format!("{{{{template {}}}}}", crate::printf::quote(name)), message));
        };
        if self.calls == CALLS {
            return Err(self.error(at, &name, "exceeded maximum template depth"));
        }
        let data = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Null,
        };
        self.calls += 1;
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
        let flow = self.list(body, &data);
        self.variables = outer;
        self.calls -= 1;
        flow.map(|_| ())
    }

    fn bind(&mut self, name: &str, value: Value, assign: bool) {
        if assign && let Some(slot) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            slot.1 = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Error> {
        let value = self.pipe_value(pipe, dot)?;
        for name in &pipe.variables {
            self.bind(name, value.clone(), pipe.assign);
        }
        Ok(value)
    }

    fn pipe_value(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Error> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::Null))
    }

    fn place(&self, pipe: &Pipe) -> (usize, String) {
        let at = pipe.commands.first().map_or(0, |command| command.operands[0].at);
        (at, pipe.to_string())
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, Error> {
        let (first, rest) = (&command.operands[0], &command.operands[1..]);
        match &first.what {
            What::Function(name) => self.function(name, first, command, dot, last),
            What::Field(_) | What::Variable(..) | What::Pipe(..) => {
                let mut arguments = Vec::new();
                for operand in rest {
                    arguments.push(self.operand(operand, dot)?);
                }
                arguments.extend(last);
                self.chain(first, dot, &arguments)
            }
            _ if rest.is_empty() && last.is_none() => self.operand(first, dot),
            What::Nil => Err(self.error(first.at, first, "nil is not a command")),
            _ => Err(self.error(first.at, first, format!("can't give argument to non-function {first}"))),
        }
    }

    fn function(
        &mut self,
        name: &str,
        at: &Operand,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let mut arguments = Vec::new();
        // `and` and `or` stop at the first argument that decides.
        let decides = match name {
            "and" => Some(false),
            "or" => Some(true),
            _ => None,
        };
        for operand in &command.operands[1..] {
            let value = self.operand(operand, dot)?;
            if decides == Some(functions::truth(&value)) {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(last);
        functions::call(name, arguments, &self.template.options).map_err(|failure| match failure {
            functions::Failure::Arguments { want, got } => {
                let message = format!("wrong number of args for {name}: want {want} got {got}");
                self.error(at.at, at, message)
            }
            functions::Failure::Call(message) => {
                self.error(at.at, command, format!("error calling {name}: {message}"))
            }
        })
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Error> {
        Ok(match &operand.what {
            What::Dot => dot.clone(),
            What::Nil => Value::Null,
            What::Bool(flag) => Value::Bool(*flag),
            What::Number(number) => Value::Number(number.clone()),
            What::Text(text) => Value::String(text.clone()),
            What::Field(_) | What::Variable(..) | What::Pipe(..) => return self.chain(operand, dot, &[]),
            What::Function(name) => {
                let command = Command { operands: vec![operand.clone()] };
                return self.function(name, operand, &command, dot, None);
            }
        })
    }

    /// A value followed by field accesses; `arguments` go to a method at the end of the chain.
    fn chain(&mut self, operand: &Operand, dot: &Value, arguments: &[Value]) -> Result<Value, Error> {
        let evaluated;
        let (start, names): (&Value, &[String]) = match &operand.what {
            What::Variable(name, names) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let found = found.ok_or_else(|| self.error(operand.at, operand, "undefined variable"))?;
                evaluated = found.1.clone();
                (&evaluated, names)
            }
            What::Pipe(pipe, names) => {
                evaluated = self.pipe(pipe, dot)?;
                (&evaluated, names)
            }
            What::Field(names) => (dot, names),
            _ => (dot, &[]),
        };
        let Some((last, middle)) = names.split_last() else {
            if !arguments.is_empty() {
                let message = format!("can't give argument to non-function {operand}");
                return Err(self.error(operand.at, operand, message));
            }
            return Ok(start.clone());
        };
        let mut value = std::borrow::Cow::Borrowed(start);
        for name in middle {
            value = match value {
                std::borrow::Cow::Borrowed(value) => self.field(operand, value, name)?,
                std::borrow::Cow::Owned(value) => {
                    std::borrow::Cow::Owned(self.field(operand, &value, name)?.into_owned())
                }
            };
        }
        if let Some((_, method)) = self.template.options.methods.iter().find(|(name, _)| name == last) {
            return method(&value, arguments).map_err(|message| {
                self.error(operand.at, operand, format!("error calling {last}: {message}"))
            });
        }
        if !arguments.is_empty() {
            let message = format!("{last} has arguments but cannot be invoked as function");
            return Err(self.error(operand.at, operand, message));
        }
        Ok(self.field(operand, &value, last)?.into_owned())
    }

    fn field<'v>(
        &self,
        operand: &Operand,
        value: &'v Value,
        name: &str,
    ) -> Result<std::borrow::Cow<'v, Value>, Error> {
        use std::borrow::Cow;
        match value {
            Value::Object(map) => {
                if let Some(found) = map.get(name) {
                    return Ok(Cow::Borrowed(found));
                }
                if name.starts_with(|first: char| first.is_ascii_uppercase())
                    && let Some((_, found)) = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))
                {
                    return Ok(Cow::Borrowed(found));
                }
                if let Some(zero) = self.template.options.zero.and_then(|zero| zero(name)) {
                    return Ok(Cow::Owned(zero));
                }
                if self.template.options.lenient {
                    return Ok(Cow::Owned(Value::Null));
                }
                let message = format!("map has no entry for key {}", crate::printf::quote(name));
                Err(self.error(operand.at, operand, message))
            }
            Value::Null if self.template.options.lenient => Ok(Cow::Owned(Value::Null)),
            Value::Null => {
                Err(self.error(operand.at, operand, format!("nil pointer evaluating interface {{}}.{name}")))
            }
            other => {
                let message = format!("can't evaluate field {name} in type {}", type_name(other));
                Err(self.error(operand.at, operand, message))
            }
        }
    }
}
