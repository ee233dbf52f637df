//! Expressions that name types: `list(string)`, `object({a = optional(number)})`.

use std::collections::{BTreeMap, BTreeSet};

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, FuncCall, ObjectKey};

use super::diagnostic::{Diagnostics, Place};
use super::json::Kind;
use super::syntax::Code;
use crate::value::Type;

const SUMMARY: &str = "Invalid type specification";

/// The type that an attribute names.
pub fn type_of(code: &Code) -> Result<Type, Diagnostics> {
    match code {
        Code::Native(file, expression) => type_of_expression(expression, &|expression| {
            let span = expression.span().unwrap_or_default();
            Place { file: *file, start: span.start, end: span.end }
        }),
        Code::Json(json) => match &json.kind {
            Kind::String(text, _) => match hcl_edit::parser::parse_expr(text) {
                Ok(expression) => type_of_expression(&expression, &|_| json.place),
                Err(error) => Err(Diagnostics::one(json.place, SUMMARY, error.message().to_owned())),
            },
            _ => Err(Diagnostics::one(
                json.place,
                SUMMARY,
                "A type specification is either a primitive type keyword (bool, number, string) or a complex type \
                 constructor call, like list(string).",
            )),
        },
    }
}

pub(super) fn type_of_expression(
    expression: &Expression,
    place: &dyn Fn(&Expression) -> Place,
) -> Result<Type, Diagnostics> {
    let at = place(expression);
    match expression {
        Expression::Parenthesis(inner) => type_of_expression(inner.inner(), place),
        Expression::Variable(word) => keyword(word.as_str(), at),
        Expression::FuncCall(call) => constructed(call, at, place),
        _ => Err(Diagnostics::one(
            at,
            SUMMARY,
            "A type specification is either a primitive type keyword (bool, number, string) or a complex type \
             constructor call, like list(string).",
        )),
    }
}

/// What a constructor lacks.
fn lacks(word: &str) -> Option<String> {
    Some(match word {
        "list" | "map" | "set" => {
            format!("The {word} type constructor requires one argument specifying the element type.")
        }
        "object" => {
            "The object type constructor requires one argument specifying the attribute types and values as a map."
                .to_owned()
        }
        "tuple" => {
            "The tuple type constructor requires one argument specifying the element types as a list.".to_owned()
        }
        _ => return None,
    })
}

fn keyword(word: &str, at: Place) -> Result<Type, Diagnostics> {
    match word {
        "bool" => Ok(Type::Bool),
        "string" => Ok(Type::String),
        "number" => Ok(Type::Number),
        "any" => Ok(Type::Any),
        other => {
            let why = lacks(other)
                .unwrap_or_else(|| format!("The keyword {other:?} is not a valid type specification."));
            Err(Diagnostics::one(at, SUMMARY, why))
        }
    }
}

fn constructed(
    call: &FuncCall,
    at: Place,
    place: &dyn Fn(&Expression) -> Place,
) -> Result<Type, Diagnostics> {
    let name = call.name.name.as_str();
    let wrong = |why: String| Err(Diagnostics::one(at, SUMMARY, why));
    match name {
        "bool" | "string" | "number" => {
            return wrong(format!("Primitive type keyword {name:?} does not expect arguments."));
        }
        "any" => return wrong(format!("Type constraint keyword {name:?} does not expect arguments.")),
        "optional" => {
            return wrong(format!(
                "Keyword {name:?} is valid only as a modifier for object type attributes."
            ));
        }
        _ => {}
    }
    let Some(lacking) = lacks(name) else {
        return wrong(format!("Keyword {name:?} is not a valid type constructor."));
    };
    let (Some(argument), 1) = (call.args.iter().next(), call.args.len()) else {
        return wrong(lacking);
    };
    match (name, argument) {
        ("list", element) => type_of_expression(element, place).map(Type::list),
        ("set", element) => type_of_expression(element, place).map(Type::set),
        ("map", element) => type_of_expression(element, place).map(Type::map),
        ("tuple", Expression::Array(items)) => {
            let kinds = items.iter().map(|item| type_of_expression(item, place));
            kinds.collect::<Result<Vec<_>, _>>().map(Type::Tuple)
        }
        ("tuple", _) => wrong("Tuple type constructor requires a list of element types.".to_owned()),
        (_, Expression::Object(object)) => {
            let (mut kinds, mut optional) = (BTreeMap::new(), BTreeSet::new());
            for (key, value) in object.iter() {
                let name = match key {
                    ObjectKey::Ident(name) => name.as_str(),
                    ObjectKey::Expression(Expression::Variable(name)) => name.as_str(),
                    ObjectKey::Expression(_) => {
                        return wrong("Object constructor map keys must be attribute names.".to_owned());
                    }
                };
                let (kind, may_lack) = member(value.expr(), place)?;
                kinds.insert(name.to_owned(), kind);
                if may_lack {
                    optional.insert(name.to_owned());
                }
            }
            Ok(Type::Object(kinds, optional))
        }
        _ => wrong(
            "Object type constructor requires a map whose keys are attribute names and whose values are the \
             corresponding attribute types."
                .to_owned(),
        ),
    }
}

/// An attribute's type, and whether it may be missing.
fn member(
    expression: &Expression,
    place: &dyn Fn(&Expression) -> Place,
) -> Result<(Type, bool), Diagnostics> {
    let Expression::FuncCall(call) = expression else {
        return Ok((type_of_expression(expression, place)?, false));
    };
    if call.name.name.as_str() != "optional" {
        return Ok((type_of_expression(expression, place)?, false));
    }
    match (call.args.iter().next(), call.args.len()) {
        (Some(kind), 1) => Ok((type_of_expression(kind, place)?, true)),
        (None, _) => Err(Diagnostics::one(
            place(expression),
            SUMMARY,
            "Optional attribute modifier requires the attribute type as its argument.",
        )),
        _ => Err(Diagnostics::one(
            place(expression),
            SUMMARY,
            "Optional attribute modifier expects only one argument: the attribute type.",
        )),
    }
}
