//! Templates: text with interpolations and directives in it.

use std::collections::BTreeMap;

use hcl_edit::template::{Directive, Element, ForDirective, IfDirective, Template};

use super::diagnostic::{Diagnostics, Place};
use super::evaluate::{Locals, Outcome, Scope};
use crate::value::{Type, Value, convert};

/// Where white space at the ends of text goes.
#[derive(Clone, Copy)]
struct Trim {
    start: bool,
    end: bool,
    /// The text is a heredoc, each line of which stands for itself.
    lines: bool,
}

impl Scope<'_> {
    /// A template that is one interpolation is its value; others are text.
    pub(super) fn template(&self, template: &Template, lines: bool) -> Outcome {
        if let Some(Element::Interpolation(only)) = template.as_single_element() {
            return self.value(&only.expr);
        }
        self.text_of(template, Trim { start: false, end: false, lines }).map(Value::String)
    }

    fn text_of(&self, template: &Template, trim: Trim) -> Result<String, Diagnostics> {
        let elements: Vec<&Element> = template.iter().collect();
        let (mut out, mut wrong) = (String::new(), Diagnostics::default());
        for (at, element) in elements.iter().enumerate() {
            let start = if at == 0 { trim.start } else { strips(elements[at - 1]).1 };
            let end = elements.get(at + 1).map_or(trim.end, |next| strips(next).0);
            let part = match element {
                Element::Literal(text) => Ok(trimmed(text, Trim { start, end, ..trim }).to_owned()),
                Element::Interpolation(part) => {
                    self.value(&part.expr).and_then(|value| self.shown(&value, self.place(&part.expr)))
                }
                Element::Directive(directive) => match &**directive {
                    Directive::If(choice) => self.choice(choice, trim.lines),
                    Directive::For(each) => self.repeated(each, trim.lines),
                },
            };
            match part {
                Ok(text) => out.push_str(&text),
                Err(diagnostics) => wrong = wrong.and(diagnostics),
            }
        }
        if wrong.0.is_empty() { Ok(out) } else { Err(wrong) }
    }

    fn shown(&self, value: &Value, place: Place) -> Result<String, Diagnostics> {
        let summary = "Invalid template interpolation value";
        match convert(value, &Type::String) {
            Ok(Value::String(text)) => Ok(text),
            Ok(_) => self.wrong(
                place,
                summary,
                "The expression result is null. Cannot include a null value in a string template.",
            ),
            Err(why) => {
                let detail = format!("Cannot include the given value in a string template: {why}.");
                self.wrong(place, summary, detail)
            }
        }
    }

    fn choice(&self, choice: &IfDirective, lines: bool) -> Result<String, Diagnostics> {
        let (head, tail) = (&choice.if_expr, &choice.endif_expr);
        let place = self.place(&head.cond_expr);
        let condition = self.value(&head.cond_expr)?;
        let truth = match convert(&condition, &Type::Bool) {
            Ok(Value::Bool(truth)) => truth,
            Ok(_) => {
                let detail = "The condition value is null. Conditions must either be true or false.";
                return self.wrong(place, "Null condition", detail);
            }
            Err(_) => {
                let detail = "The condition expression must be of type bool.";
                return self.wrong(place, "Incorrect condition type", detail);
            }
        };
        match (truth, &choice.else_expr) {
            (true, other) => {
                let next = other.as_ref().map_or(tail.strip, |other| other.strip);
                let trim = Trim { start: head.strip.strip_end(), end: next.strip_start(), lines };
                self.text_of(&head.template, trim)
            }
            (false, Some(other)) => {
                let trim = Trim { start: other.strip.strip_end(), end: tail.strip.strip_start(), lines };
                self.text_of(&other.template, trim)
            }
            (false, None) => Ok(String::new()),
        }
    }

    fn repeated(&self, each: &ForDirective, lines: bool) -> Result<String, Diagnostics> {
        let (head, tail) = (&each.for_expr, &each.endfor_expr);
        let trim = Trim { start: head.strip.strip_end(), end: tail.strip.strip_start(), lines };
        let mut out = String::new();
        for (key, value) in self.pairs(&head.collection_expr)? {
            let mut values = BTreeMap::from([(head.value_var.as_str().to_owned(), value)]);
            if let Some(name) = &head.key_var {
                values.insert(name.as_str().to_owned(), key);
            }
            let locals = Locals { values, parent: self.locals };
            out.push_str(&self.inner(&locals).text_of(&head.template, trim)?);
        }
        Ok(out)
    }
}

/// Whether an element takes white space away from what is before and behind it.
fn strips(element: &Element) -> (bool, bool) {
    match element {
        Element::Literal(_) => (false, false),
        Element::Interpolation(part) => (part.strip.strip_start(), part.strip.strip_end()),
        Element::Directive(directive) => match &**directive {
            Directive::If(choice) => {
                (choice.if_expr.strip.strip_start(), choice.endif_expr.strip.strip_end())
            }
            Directive::For(each) => (each.for_expr.strip.strip_start(), each.endfor_expr.strip.strip_end()),
        },
    }
}

fn trimmed(text: &str, trim: Trim) -> &str {
    let mut text = text;
    if trim.start {
        let line = if trim.lines { text.find('\n').map_or(text.len(), |at| at + 1) } else { text.len() };
        let kept = text[..line].trim_start().len();
        text = &text[line - kept..];
    }
    if trim.end {
        let inside = text.strip_suffix('\n').unwrap_or(text);
        let line = match (trim.lines, text.ends_with('\n')) {
            (true, true) => inside.rfind('\n').map_or(0, |at| at + 1),
            (true, false) => text.rfind('\n').map_or(0, |at| at + 1),
            (false, _) => 0,
        };
        text = &text[..line + text[line..].trim_end().len()];
    }
    text
}
