//! Conversions: which value becomes which type, and what to say if it does not.

use std::collections::{BTreeMap, BTreeSet};

use super::{Type, Value, number, unify};

/// The value as one of the type.
pub fn convert(value: &Value, want: &Type) -> Result<Value, String> {
    if *want == Type::Any || value.kind() == *want {
        return Ok(value.clone());
    }
    if let Value::Null(kind) = value {
        return match *kind == Type::Any || convertible(kind, want) {
            true => Ok(Value::Null(plain(want))),
            false => Err(mismatch(kind, want)),
        };
    }
    let fail = || mismatch(&value.kind(), want);
    match (value, want) {
        (Value::String(text), Type::Number) => {
            number::parse(text).map(Value::Number).ok_or_else(|| "a number is required".to_owned())
        }
        (Value::String(text), Type::Bool) => truth(text),
        (Value::Number(number), Type::String) => Ok(super::text(number).into()),
        (Value::Bool(truth), Type::String) => Ok(truth.to_string().into()),
        (Value::List(..) | Value::Set(..) | Value::Tuple(_), Type::List(_) | Type::Set(_)) => {
            if !convertible(&value.kind(), want) {
                return Err(fail());
            }
            sequence(value.items().unwrap_or_default(), want)
        }
        (Value::List(_, items), Type::Tuple(kinds)) | (Value::Tuple(items), Type::Tuple(kinds))
            if items.len() == kinds.len() =>
        {
            if !convertible(&value.kind(), want) {
                return Err(fail());
            }
            let items = items.iter().zip(kinds).map(|(item, kind)| convert(item, kind));
            Ok(Value::Tuple(items.collect::<Result<_, _>>()?))
        }
        (Value::Map(..) | Value::Object(_), Type::Map(element)) => {
            if !convertible(&value.kind(), want) {
                return Err(fail());
            }
            let members = value.members().into_iter().flatten();
            let element = match **element {
                Type::Any => common(value.members().into_iter().flat_map(|m| m.values())).ok_or_else(fail)?,
                ref kind => kind.clone(),
            };
            let members = members.map(|(name, value)| Ok((name.clone(), convert(value, &element)?)));
            Ok(Value::Map(element.clone(), members.collect::<Result<_, String>>()?))
        }
        (Value::Map(..) | Value::Object(_), Type::Object(kinds, optional)) => {
            object(value, kinds, optional).unwrap_or_else(|| Err(fail()))
        }
        _ => Err(fail()),
    }
}

/// A type without what only conversions need.
fn plain(want: &Type) -> Type {
    match want {
        Type::Object(kinds, _) => Type::Object(
            kinds.iter().map(|(name, kind)| (name.clone(), plain(kind))).collect(),
            BTreeSet::new(),
        ),
        Type::List(element) => Type::list(plain(element)),
        Type::Set(element) => Type::set(plain(element)),
        Type::Map(element) => Type::map(plain(element)),
        Type::Tuple(kinds) => Type::Tuple(kinds.iter().map(plain).collect()),
        other => other.clone(),
    }
}

fn truth(text: &str) -> Result<Value, String> {
    match text {
        "true" | "1" => Ok(true.into()),
        "false" | "0" => Ok(false.into()),
        _ => Err(match text.to_lowercase().as_str() {
            word @ ("true" | "false") => {
                format!("a bool is required; to convert from string, use lowercase \"{word}\"")
            }
            _ => "a bool is required".to_owned(),
        }),
    }
}

/// The type that all values can have.
fn common<'v>(values: impl Iterator<Item = &'v Value>) -> Option<Type> {
    let kinds: Vec<Type> = values.map(Value::kind).collect();
    if kinds.is_empty() { Some(Type::Any) } else { unify(&kinds) }
}

fn sequence(items: &[Value], want: &Type) -> Result<Value, String> {
    let (element, is_set) = match want {
        Type::Set(element) => (element, true),
        Type::List(element) => (element, false),
        _ => return Err(want.needed() + " required"),
    };
    let noun = if is_set { "set" } else { "list" };
    let element = match **element {
        Type::Any => {
            common(items.iter()).ok_or_else(|| format!("all {noun} elements must have the same type"))?
        }
        ref kind => kind.clone(),
    };
    let items = items.iter().map(|item| convert(item, &element)).collect::<Result<Vec<_>, _>>()?;
    let element = plain(&element);
    Ok(if is_set { Value::set(element, items) } else { Value::List(element, items) })
}

/// `None` if an attribute is missing or can't be converted by its type.
fn object(
    value: &Value,
    kinds: &BTreeMap<String, Type>,
    optional: &BTreeSet<String>,
) -> Option<Result<Value, String>> {
    let members = value.members()?;
    let mut all = BTreeMap::new();
    for (name, kind) in kinds {
        match members.get(name) {
            Some(member) if convertible(&member.kind(), kind) => match convert(member, kind) {
                Ok(member) => all.insert(name.clone(), member),
                Err(why) => return Some(Err(why)),
            },
            Some(_) => return None,
            None if optional.contains(name) => all.insert(name.clone(), Value::Null(plain(kind))),
            None => return None,
        };
    }
    Some(Ok(Value::Object(all)))
}

/// Whether values of the one type may become the other; a string's text decides later whether it is a number.
pub fn convertible(got: &Type, want: &Type) -> bool {
    if got == want || *want == Type::Any || *got == Type::Any {
        return true;
    }
    match (got, want) {
        (Type::String, Type::Number | Type::Bool) | (Type::Number | Type::Bool, Type::String) => true,
        (Type::List(a) | Type::Set(a), Type::List(b) | Type::Set(b)) => convertible(a, b),
        (Type::Map(a), Type::Map(b)) => convertible(a, b),
        (Type::Tuple(kinds), Type::List(element) | Type::Set(element)) => every(kinds.iter(), element),
        (Type::Tuple(kinds), Type::Tuple(wants)) => {
            kinds.len() == wants.len() && kinds.iter().zip(wants).all(|(kind, want)| convertible(kind, want))
        }
        (Type::List(element), Type::Tuple(wants)) => wants.iter().all(|want| convertible(element, want)),
        (Type::Object(kinds, _), Type::Map(element)) => every(kinds.values(), element),
        (Type::Object(kinds, _), Type::Object(wants, optional)) => wants.iter().all(|(name, want)| {
            kinds.get(name).map_or_else(|| optional.contains(name), |kind| convertible(kind, want))
        }),
        (Type::Map(element), Type::Object(wants, _)) => wants.values().all(|want| convertible(element, want)),
        _ => false,
    }
}

fn every<'t>(kinds: impl Iterator<Item = &'t Type> + Clone, want: &Type) -> bool {
    match want {
        Type::Any => {
            let kinds: Vec<Type> = kinds.cloned().collect();
            kinds.is_empty() || unify(&kinds).is_some()
        }
        _ => kinds.into_iter().all(|kind| convertible(kind, want)),
    }
}

/// Why a value of the one type is none of the other.
pub fn mismatch(got: &Type, want: &Type) -> String {
    match (got, want) {
        (Type::Object(kinds, _), Type::Object(wants, optional)) => attributes(kinds, wants, optional),
        (Type::Tuple(_), Type::List(element)) if **element == Type::Any => {
            "all list elements must have the same type".to_owned()
        }
        (Type::Tuple(_), Type::Set(element)) if **element == Type::Any => {
            "all set elements must have the same type".to_owned()
        }
        (Type::Object(..), Type::Map(element)) if **element == Type::Any => {
            "all map elements must have the same type".to_owned()
        }
        (Type::Tuple(kinds), Type::List(element) | Type::Set(element)) => {
            let wrong = kinds.iter().enumerate().find(|(_, kind)| !convertible(kind, element));
            match wrong {
                Some((at, kind)) => format!("element {at}: {}", mismatch(kind, element)),
                None => format!("all elements must be {}", element.needed()),
            }
        }
        (Type::Object(kinds, _), Type::Map(element)) => {
            match kinds.iter().find(|(_, kind)| !convertible(kind, element)) {
                Some((name, kind)) => format!("element {name:?}: {}", mismatch(kind, element)),
                None => format!("all elements must be {}", element.needed()),
            }
        }
        (Type::Tuple(_) | Type::Object(..), want) if want.is_collection() => {
            format!("{} required", want.needed())
        }
        (got, want) if got.is_collection() && want.is_collection() => collections(got, want),
        (got, want) if !confusing(got, want) => format!("{} required, but have {}", want.name(), got.name()),
        (_, want) => format!("{} required", want.needed()),
    }
}

fn collections(got: &Type, want: &Type) -> String {
    let (noun, fits) = match want {
        Type::List(_) => ("list element type", !matches!(got, Type::Map(_))),
        Type::Set(_) => ("set element type", !matches!(got, Type::Map(_))),
        _ => ("map element type", matches!(got, Type::Map(_))),
    };
    match (fits, got.element(), want.element()) {
        (true, Some(got), Some(want)) => format!("incorrect {noun}: {}", mismatch(got, want)),
        _ => format!("{} required", want.needed()),
    }
}

fn attributes(
    kinds: &BTreeMap<String, Type>,
    wants: &BTreeMap<String, Type>,
    optional: &BTreeSet<String>,
) -> String {
    let missing: Vec<String> = wants
        .keys()
        .filter(|name| !kinds.contains_key(*name) && !optional.contains(*name))
        .map(|name| format!("{name:?}"))
        .collect();
    match missing.as_slice() {
        [] => {}
        [one] => return format!("attribute {one} is required"),
        [one, two] => return format!("attributes {one} and {two} are required"),
        [some @ .., last] => return format!("attributes {}, and {last} are required", some.join(", ")),
    }
    let wrong = wants.iter().find_map(|(name, want)| {
        let kind = kinds.get(name)?;
        (!convertible(kind, want)).then(|| format!("attribute {name:?}: {}", mismatch(kind, want)))
    });
    wrong.unwrap_or_else(|| "incorrect object attributes".to_owned())
}

/// Whether naming both types would explain less than naming the one that is needed.
fn confusing(got: &Type, want: &Type) -> bool {
    if got.is_primitive() != want.is_primitive() || *want == Type::String {
        return false;
    }
    !matches!(
        (got, want),
        (Type::Number, Type::Bool) | (Type::Bool, Type::Number) | (Type::Tuple(_), Type::Object(..))
    )
}
