//! Variables of bake files: their types, and what the environment says instead of their defaults.

use crate::functions::fields;
use crate::language::{Attribute, Block, Code, Diagnostics, Place, type_of};
use crate::value::{self, Type, Value, convert, encode, parse, typed};

/// A variable as a file declares it.
#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    pub description: String,
    kind: Option<Code>,
    pub default: Option<Attribute>,
    pub validations: Vec<Validation>,
    /// The end of its block.
    pub place: Place,
}

/// A condition that the value must meet, and what to say if it does not.
#[derive(Debug, Clone)]
pub struct Validation {
    pub condition: Code,
    pub message: Code,
}

/// A variable with its value, for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub description: String,
    pub kind: Option<String>,
    pub value: Option<String>,
}

/// What the environment says of a variable.
pub struct Override {
    pub text: String,
    pub json: bool,
}

impl Variable {
    pub fn read(name: &str, block: &Block) -> Result<Variable, Diagnostics> {
        let end = block.body.end.unwrap_or(block.place);
        let description = match block.body.attribute("description").map(|found| &found.code) {
            Some(Code::Native(_, expression)) => expression.as_str().unwrap_or_default().to_owned(),
            Some(Code::Json(json)) => match &json.kind {
                crate::language::JsonKind::String(text, _) => text.clone(),
                _ => String::new(),
            },
            None => String::new(),
        };
        let mut variable = Variable {
            name: name.to_owned(),
            description,
            kind: block.body.attribute("type").map(|found| found.code.clone()),
            default: block.body.attribute("default").cloned(),
            validations: Vec::new(),
            place: end,
        };
        for inner in block.body.blocks.iter().filter(|inner| inner.kind == "validation") {
            let needed = |name: &str| {
                inner.body.attribute(name).map(|found| found.code.clone()).ok_or_else(|| {
                    let detail = format!("The argument {name:?} is required, but no definition was found.");
                    let place = inner.body.end.unwrap_or(inner.place);
                    Diagnostics::one(place, "Missing required argument", detail)
                })
            };
            let (condition, message) = (needed("condition")?, needed("error_message")?);
            variable.validations.push(Validation { condition, message });
        }
        Ok(variable)
    }

    /// The type that it declares; `None` if it declares none.
    pub fn kind(&self) -> Result<Option<Type>, Diagnostics> {
        match &self.kind {
            Some(Code::Native(_, expression)) if expression.is_null() => Ok(None),
            Some(code) => type_of(code).map(Some),
            None => Ok(None),
        }
    }

    /// Its value: `default` is that of its expression, if it has one.
    pub fn value(
        &self,
        default: Option<Value>,
        kind: Option<&Type>,
        given: Option<&Override>,
    ) -> Result<Value, String> {
        let name = &self.name;
        let value = match (&default, kind) {
            (None, Some(kind)) => Value::Null(kind.clone()),
            (None, None) => Value::from(""),
            (Some(value), None) => value.clone(),
            (Some(value), Some(kind)) => convert(value, kind).map_err(|why| {
                format!("invalid type {} for variable {name} default value: {why}", kind.name())
            })?,
        };
        let Some(Override { text, json }) = given else { return Ok(value) };
        match kind {
            Some(kind) if *json => {
                typed(text, kind).map_err(|why| format!("failed to convert variable {name} from JSON: {why}"))
            }
            Some(kind @ (Type::List(_) | Type::Set(_) | Type::Map(_) | Type::Tuple(_))) => {
                separated(name, text, kind)
                    .map_err(|why| format!("failed to convert variable {name} from CSV: {why}"))
            }
            Some(kind) if kind.is_primitive() => primitive(name, text, kind),
            Some(Type::Any) if value.kind().is_primitive() => primitive(name, text, &value.kind()),
            Some(kind) => Err(format!("unsupported type {} for variable {name}", kind.name())),
            None => match value.kind() {
                _ if default.is_none() => Ok(text.as_str().into()),
                Type::Any => Ok(text.as_str().into()),
                kind if kind.is_primitive() => primitive(name, text, &kind),
                kind => Err(format!("unsupported type {} for variable {name}", kind.name())),
            },
        }
    }

    /// As a row of a list.
    pub fn listed(&self, value: &Value, kind: Option<&Type>) -> Listed {
        let text = match (value, kind) {
            (Value::Null(_), _) => None,
            (Value::String(text), Some(Type::String)) => {
                let text = value::escape(text);
                Some(text.trim_matches('"').to_owned())
            }
            (value, None) if value.kind().is_primitive() => match convert(value, &Type::String) {
                Ok(Value::String(text)) => Some(text),
                _ => None,
            },
            (value, _) => Some(encode(value)),
        };
        Listed {
            name: self.name.clone(),
            description: self.description.clone(),
            kind: kind.map(Type::needed),
            value: text,
        }
    }
}

/// A primitive as the environment spells it.
fn primitive(name: &str, text: &str, kind: &Type) -> Result<Value, String> {
    match kind {
        Type::String => Ok(text.into()),
        Type::Bool => match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false.into()),
            _ => Err(format!(
                "failed to parse {name} as bool: strconv.ParseBool: parsing {text:?}: invalid syntax"
            )),
        },
        Type::Number => parse(text).map(Value::Number).ok_or_else(|| {
            format!("failed to parse {name} as number: strconv.ParseFloat: parsing {text:?}: invalid syntax")
        }),
        other => Err(format!("{name} of type {} is not a primitive", other.name())),
    }
}

/// Values that stand in one line, with commas between them.
fn separated(name: &str, text: &str, kind: &Type) -> Result<Value, String> {
    let all = fields(text, ',').map_err(|why| format!("failed to parse {text} as CSV: {why}"))?;
    let unsupported = || format!("unsupported type {} for CSV specification", kind.name());
    let one = |text: &str, element: &Type| {
        primitive(name, text, element)
            .map_err(|why| format!("failed to parse element of type {}: {why}", kind.name()))
    };
    match kind {
        Type::Tuple(kinds) => {
            if kinds.len() != all.len() {
                let (want, have) = (kinds.len(), all.len());
                return Err(format!("{} expects {want} elements but only {have} provided", kind.name()));
            }
            if !kinds.iter().all(Type::is_primitive) {
                return Err(unsupported());
            }
            let items = all.iter().zip(kinds).map(|(text, kind)| one(text, kind));
            Ok(Value::Tuple(items.collect::<Result<_, _>>()?))
        }
        Type::Map(element) if element.is_primitive() => {
            let mut members = std::collections::BTreeMap::new();
            for field in &all {
                let pair = fields(field, ':')
                    .map_err(|why| format!("failed to parse {field} as k/v for variable {name}: {why}"))?;
                let [key, value] = pair.as_slice() else {
                    return Err(format!("expected one k/v pair but got {} pieces from {field}", pair.len()));
                };
                members.insert(key.clone(), one(value, element)?);
            }
            Ok(Value::Map((**element).clone(), members))
        }
        Type::List(element) | Type::Set(element) if element.is_primitive() => {
            let items = all.iter().map(|text| one(text, element)).collect::<Result<Vec<_>, _>>()?;
            Ok(match kind {
                Type::Set(_) => Value::set((**element).clone(), items),
                _ => Value::List((**element).clone(), items),
            })
        }
        _ => Err(unsupported()),
    }
}
