//! Sets: of elements of one type, sorted.

use super::{Arguments, Failure, Outcome};
use crate::value::{Type, Value, convert, unify};

/// The sets with the one element type that all can have.
fn alike(a: &Arguments<'_>) -> Result<(Type, Vec<Vec<Value>>), Failure> {
    let mut kinds = Vec::new();
    for value in a.values {
        if let Value::Set(element, items) = value
            && !(items.is_empty() && *element == Type::Any)
        {
            kinds.push(element.clone());
        }
    }
    let element = match kinds.as_slice() {
        [] => Type::Any,
        kinds => unify(kinds).ok_or("given sets must all have compatible element types")?,
    };
    let want = Type::set(element.clone());
    let mut all = Vec::new();
    for (at, value) in a.values.iter().enumerate() {
        let value = convert(value, &want).map_err(|why| Failure::of(at, why))?;
        all.push(value.items().unwrap_or_default().to_vec());
    }
    Ok((element, all))
}

fn fold(a: &Arguments<'_>, join: fn(Vec<Value>, Vec<Value>) -> Vec<Value>) -> Outcome {
    let (element, sets) = alike(a)?;
    Ok(Value::set(element, sets.into_iter().reduce(join).unwrap_or_default()))
}

pub fn has(a: &Arguments<'_>) -> Outcome {
    Ok(a.items(0).iter().any(|item| item.equals(a.at(1))).into())
}

pub fn intersection(a: &Arguments<'_>) -> Outcome {
    fold(a, |one, other| one.into_iter().filter(|item| other.contains(item)).collect())
}

pub fn subtract(a: &Arguments<'_>) -> Outcome {
    fold(a, |one, other| one.into_iter().filter(|item| !other.contains(item)).collect())
}

pub fn union(a: &Arguments<'_>) -> Outcome {
    fold(a, |one, other| one.into_iter().chain(other).collect())
}

pub fn symmetric_difference(a: &Arguments<'_>) -> Outcome {
    fold(a, |one, other| {
        let only = |these: &[Value], those: &[Value]| {
            these.iter().filter(|item| !those.contains(item)).cloned().collect::<Vec<_>>()
        };
        [only(&one, &other), only(&other, &one)].concat()
    })
}

/// Elements that `product` gives at most.
const PRODUCT: usize = 1_000_000;

/// Every combination; of lists in their order, else a set.
pub fn product(a: &Arguments<'_>) -> Outcome {
    if a.values.len() < 2 {
        return Err("at least two arguments are required".into());
    }
    let mut kinds = Vec::new();
    let mut sets = Vec::new();
    let mut ordered = true;
    for (at, value) in a.values.iter().enumerate() {
        let (kind, items) = match value {
            Value::List(element, items) => (element.clone(), items.clone()),
            Value::Set(element, items) => {
                ordered = false;
                (element.clone(), items.clone())
            }
            Value::Tuple(items) => {
                let each: Vec<Type> = items.iter().map(Value::kind).collect();
                let kind = if each.is_empty() { Some(Type::Any) } else { unify(&each) };
                (kind.ok_or(Failure::of(at, "all elements must be of the same type"))?, items.clone())
            }
            _ => return Err(Failure::of(at, "a set or a list is required")),
        };
        sets.push(items.iter().map(|item| convert(item, &kind)).collect::<Result<Vec<_>, _>>()?);
        kinds.push(kind);
    }
    let count = sets.iter().try_fold(1_usize, |count, set| count.checked_mul(set.len()));
    if count.is_none_or(|count| count > PRODUCT) {
        return Err("the product has too many elements".into());
    }
    let mut all: Vec<Vec<Value>> = vec![Vec::new()];
    for set in &sets {
        let next = |before: Vec<Value>| {
            set.iter().map(move |item| before.iter().chain([item]).cloned().collect()).collect::<Vec<_>>()
        };
        all = all.into_iter().flat_map(next).collect();
    }
    let (element, items) = (Type::Tuple(kinds), all.into_iter().map(Value::Tuple).collect());
    Ok(if ordered { Value::List(element, items) } else { Value::set(element, items) })
}
