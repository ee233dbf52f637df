//! Lists, tuples, maps and objects.

use std::collections::{BTreeMap, BTreeSet};

use super::{Arguments, Failure, Outcome};
use crate::value::{Type, Value, convert, unify};

/// Items as what they came from: elements of one type, or a tuple.
fn like(model: &Value, items: Vec<Value>) -> Value {
    match model {
        Value::List(element, _) | Value::Set(element, _) => Value::List(element.clone(), items),
        _ => Value::Tuple(items),
    }
}

pub fn chunklist(a: &Arguments<'_>) -> Outcome {
    let size = a.whole(1).map_err(|why| format!("invalid size: {why}"))?;
    if size < 0 {
        return Err("the size argument must be positive".into());
    }
    let (items, list) = (a.items(0), a.at(0).kind());
    let chunks = match size {
        _ if items.is_empty() => Vec::new(),
        0 => vec![a.at(0).clone()],
        size => items.chunks(size as usize).map(|chunk| like(a.at(0), chunk.to_vec())).collect(),
    };
    Ok(Value::List(list, chunks))
}

pub fn coalesce(a: &Arguments<'_>) -> Outcome {
    let kinds: Vec<Type> = a.values.iter().map(Value::kind).collect();
    let want = unify(&kinds).ok_or("all arguments must have the same type")?;
    let first = a.values.iter().find(|value| !value.is_null()).ok_or("no non-null arguments")?;
    Ok(convert(first, &want)?)
}

pub fn coalescelist(a: &Arguments<'_>) -> Outcome {
    if a.values.is_empty() {
        return Err("at least one argument is required".into());
    }
    if a.values.iter().any(|value| value.items().is_none() && !value.is_null()) {
        return Err("coalescelist arguments must be lists or tuples".into());
    }
    let full = |value: &&Value| value.items().is_some_and(|items| !items.is_empty());
    a.values.iter().find(full).cloned().ok_or_else(|| "no non-null arguments".into())
}

pub fn compact(a: &Arguments<'_>) -> Outcome {
    let full = |item: &&Value| item.as_str().is_some_and(|text| !text.is_empty());
    Ok(Value::List(Type::String, a.items(0).iter().filter(full).cloned().collect()))
}

/// Lists of one type stay one; all else becomes a tuple.
pub fn concat(a: &Arguments<'_>) -> Outcome {
    if a.values.is_empty() {
        return Err("at least one argument is required".into());
    }
    let (mut all, mut kinds) = (Vec::new(), Vec::new());
    for (at, value) in a.values.iter().enumerate() {
        match value {
            Value::List(element, _) => kinds.push(element.clone()),
            Value::Tuple(_) => {}
            other => {
                let kind = other.kind().name();
                return Err(Failure::of(at, format!("all arguments must be lists or tuples; got {kind}")));
            }
        }
        all.extend(a.items(at).iter().cloned());
    }
    if kinds.len() != a.values.len() {
        return Ok(Value::Tuple(all));
    }
    match unify(&kinds) {
        Some(element) => {
            let items = all.iter().map(|item| convert(item, &element)).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::List(element, items))
        }
        None => Ok(Value::Tuple(all)),
    }
}

pub fn contains(a: &Arguments<'_>) -> Outcome {
    let items = a.at(0).items().ok_or("argument must be list, tuple, or set")?;
    Ok(items.iter().any(|item| item.equals(a.at(1))).into())
}

pub fn distinct(a: &Arguments<'_>) -> Outcome {
    let mut all: Vec<Value> = Vec::new();
    for item in a.items(0) {
        if !all.iter().any(|known| known.equals(item)) {
            all.push(item.clone());
        }
    }
    Ok(like(a.at(0), all))
}

pub fn element(a: &Arguments<'_>) -> Outcome {
    let items = match a.at(0) {
        Value::List(_, items) | Value::Tuple(items) => items,
        other => return Err(format!("cannot read elements from {}", other.kind().name()).into()),
    };
    let at = a.whole(1).map_err(|why| format!("invalid index: {why}"))?;
    if items.is_empty() {
        return Err("cannot use element function with an empty list".into());
    }
    Ok(items[at.rem_euclid(items.len() as i64) as usize].clone())
}

pub fn flatten(a: &Arguments<'_>) -> Outcome {
    fn into(items: &[Value], all: &mut Vec<Value>) {
        for item in items {
            match item.items() {
                Some(inner) => into(inner, all),
                None => all.push(item.clone()),
            }
        }
    }
    let mut all = Vec::new();
    into(a.at(0).items().ok_or("can only flatten lists, sets and tuples")?, &mut all);
    Ok(Value::Tuple(all))
}

/// The element of a key, if the collection has it.
fn indexed<'v>(collection: &'v Value, key: &Value) -> Option<&'v Value> {
    match (collection, key) {
        (Value::Map(_, members), Value::String(key)) => members.get(key),
        (Value::List(_, items) | Value::Tuple(items), Value::Number(at)) => {
            items.get(usize::try_from(crate::value::whole(at)?).ok()?)
        }
        _ => None,
    }
}

pub fn hasindex(a: &Arguments<'_>) -> Outcome {
    match a.at(0) {
        Value::List(..) | Value::Tuple(_) | Value::Map(..) => Ok(indexed(a.at(0), a.at(1)).is_some().into()),
        _ => Err("collection must be a list, a map or a tuple".into()),
    }
}

pub fn index(a: &Arguments<'_>) -> Outcome {
    match (a.at(0), a.at(1)) {
        (Value::Tuple(items), Value::Number(_)) => {
            let why = format!("key must be between 0 and {} inclusive", items.len());
            indexed(a.at(0), a.at(1)).cloned().ok_or_else(|| why.into())
        }
        (Value::Tuple(_), _) => Err("key for tuple must be number".into()),
        (Value::List(..), Value::Number(_)) | (Value::Map(..), Value::String(_)) => {
            indexed(a.at(0), a.at(1)).cloned().ok_or_else(|| "invalid index".into())
        }
        (Value::List(..), _) => Err("key for list must be number".into()),
        (Value::Map(..), _) => Err("key for map must be string".into()),
        _ => Err("collection must be a list, a map or a tuple".into()),
    }
}

pub fn indexof(a: &Arguments<'_>) -> Outcome {
    let items = match a.at(0) {
        Value::List(_, items) | Value::Tuple(items) => items,
        _ => return Err("argument must be a list or tuple".into()),
    };
    if items.is_empty() {
        return Err("cannot search an empty list".into());
    }
    items.iter().position(|item| item.equals(a.at(1))).map(Value::from).ok_or_else(|| "item not found".into())
}

pub fn keys(a: &Arguments<'_>) -> Outcome {
    let names = |members: &BTreeMap<String, Value>| members.keys().cloned().map(Value::String).collect();
    match a.at(0) {
        Value::Map(_, members) => Ok(Value::List(Type::String, names(members))),
        Value::Object(members) => Ok(Value::Tuple(names(members))),
        _ => Err(Failure::of(0, "must have map or object type")),
    }
}

pub fn values(a: &Arguments<'_>) -> Outcome {
    match a.at(0) {
        Value::Map(element, members) => Ok(Value::List(element.clone(), members.values().cloned().collect())),
        Value::Object(members) => Ok(Value::Tuple(members.values().cloned().collect())),
        _ => Err("values() requires a map as the first argument".into()),
    }
}

pub fn length(a: &Arguments<'_>) -> Outcome {
    match a.at(0) {
        Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => Ok(items.len().into()),
        Value::Map(_, members) => Ok(members.len().into()),
        _ => Err("collection must be a list, a map or a tuple".into()),
    }
}

pub fn lookup(a: &Arguments<'_>) -> Outcome {
    match a.at(0) {
        Value::Object(members) => Ok(members.get(a.text(1)).unwrap_or(a.at(2)).clone()),
        Value::Map(element, members) => {
            let default = convert(a.at(2), element);
            let default = default.map_err(|_| {
                Failure::of(2, "the default value must have the same type as the map elements")
            })?;
            Ok(members.get(a.text(1)).cloned().unwrap_or(default))
        }
        _ => Err(Failure::of(0, "lookup() requires a map as the first argument")),
    }
}

/// Maps of one type stay one; all else becomes an object.
pub fn merge(a: &Arguments<'_>) -> Outcome {
    let (mut all, mut kinds) = (BTreeMap::new(), Vec::new());
    for value in a.values {
        match value {
            Value::Map(..) | Value::Object(_) => all.extend(value.members().cloned().unwrap_or_default()),
            Value::Null(Type::Any | Type::Map(_) | Type::Object(..)) => {}
            other => {
                let kind = other.kind().name();
                return Err(format!("arguments must be maps or objects, got {kind:?}").into());
            }
        }
        kinds.push(value.kind());
    }
    Ok(match kinds.as_slice() {
        [Type::Map(element), rest @ ..] if rest.iter().all(|kind| *kind == kinds[0]) => {
            Value::Map((**element).clone(), all)
        }
        _ => Value::Object(all),
    })
}

pub fn reverselist(a: &Arguments<'_>) -> Outcome {
    let Some(items) = a.at(0).items() else {
        let kind = a.at(0).kind().name();
        return Err(Failure::of(0, format!("can only reverse list or tuple values, not {kind}")));
    };
    Ok(like(a.at(0), items.iter().rev().cloned().collect()))
}

pub fn slice(a: &Arguments<'_>) -> Outcome {
    let items = match a.at(0) {
        Value::List(_, items) | Value::Tuple(items) => items,
        Value::Set(..) => {
            return Err(Failure::of(
                0,
                "cannot slice a set, because its elements do not have indices; explicitly convert to a list if the \
                 ordering of the result is not important",
            ));
        }
        _ => return Err(Failure::of(0, "must be a list or tuple value")),
    };
    let limit = |at: usize, name: &str| {
        let index = a.whole(at).map_err(|why| Failure::of(at, format!("invalid {name} index: {why}")))?;
        let index = usize::try_from(index)
            .map_err(|_| Failure::of(at, format!("{name} index must not be less than zero")))?;
        match index > items.len() {
            true => {
                Err(Failure::of(at, format!("{name} index must not be greater than the length of the list")))
            }
            false => Ok(index),
        }
    };
    let (from, to) = (limit(1, "start")?, limit(2, "end")?);
    match items.get(from..to) {
        Some(part) => Ok(like(a.at(0), part.to_vec())),
        None => Err(Failure::of(1, "start index must not be greater than end index")),
    }
}

pub fn zipmap(a: &Arguments<'_>) -> Outcome {
    let names = a.items(0);
    let (items, element) = match a.at(1) {
        Value::List(element, items) => (items, Some(element)),
        Value::Tuple(items) => (items, None),
        _ => return Err("values argument must be a list or tuple value".into()),
    };
    if names.len() != items.len() {
        let (names, items) = (names.len(), items.len());
        return Err(format!("number of keys ({names}) does not match number of values ({items})").into());
    }
    let mut all = BTreeMap::new();
    for (at, (name, item)) in names.iter().zip(items).enumerate() {
        let name = name.as_str().ok_or_else(|| format!("keys list has null value at index {at}"))?;
        all.insert(name.to_owned(), item.clone());
    }
    Ok(match element {
        Some(element) => Value::Map(element.clone(), all),
        None => Value::Object(all),
    })
}

/// An object's type, of strings only.
pub fn strings_object<'n>(names: impl Iterator<Item = &'n str>) -> Type {
    Type::Object(names.map(|name| (name.to_owned(), Type::String)).collect(), BTreeSet::new())
}
