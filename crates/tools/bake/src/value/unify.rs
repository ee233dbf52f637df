//! The one type that values of several types can have together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Type, convertible};

/// The type that all can be converted to, if there is one.
pub fn unify(kinds: &[Type]) -> Option<Type> {
    let first = kinds.first()?;
    if kinds.iter().all(|kind| kind == first) {
        return Some(first.clone());
    }
    if kinds.contains(&Type::Any) {
        let known: Vec<Type> = kinds.iter().filter(|kind| **kind != Type::Any).cloned().collect();
        return match known.iter().all(Type::is_primitive) {
            true => unify(&known),
            false => Some(Type::Any),
        };
    }
    let all = |is: fn(&Type) -> bool| kinds.iter().all(is);
    let some = |is: fn(&Type) -> bool| kinds.iter().any(is);
    let elements = || unify(&kinds.iter().filter_map(|kind| kind.element().cloned()).collect::<Vec<_>>());
    if all(|kind| matches!(kind, Type::Map(_))) {
        return elements().map(Type::map);
    }
    if all(|kind| matches!(kind, Type::List(_))) {
        return elements().map(Type::list);
    }
    if all(|kind| matches!(kind, Type::Set(_))) {
        return elements().map(Type::set);
    }
    if all(|kind| matches!(kind, Type::Object(..))) {
        return objects(kinds);
    }
    if all(|kind| matches!(kind, Type::Tuple(_))) {
        return tuples(kinds);
    }
    if all(|kind| matches!(kind, Type::Map(_) | Type::Object(..)))
        && some(|kind| matches!(kind, Type::Map(_)))
    {
        return as_maps(kinds);
    }
    if all(|kind| matches!(kind, Type::List(_) | Type::Tuple(_)))
        && some(|kind| matches!(kind, Type::List(_)))
    {
        return as_lists(kinds);
    }
    preferred(kinds)
}

/// One of the types that all others can become: the more general first.
fn preferred(kinds: &[Type]) -> Option<Type> {
    let mut order: Vec<&Type> = kinds.iter().collect();
    order.sort_by_key(|kind| usize::from(**kind != Type::String));
    let fits = |want: &&Type| {
        kinds.iter().all(|kind| {
            let safe = !matches!((kind, want), (Type::String, Type::Number | Type::Bool));
            kind == *want || (safe && convertible(kind, want))
        })
    };
    order.into_iter().find(fits).cloned()
}

fn objects(kinds: &[Type]) -> Option<Type> {
    let members: Vec<&BTreeMap<String, Type>> = kinds
        .iter()
        .filter_map(|kind| match kind {
            Type::Object(members, _) => Some(members),
            _ => None,
        })
        .collect();
    let first = members.first()?;
    if members.iter().any(|other| !other.keys().eq(first.keys())) {
        return as_maps(kinds);
    }
    let mut all = BTreeMap::new();
    for name in first.keys() {
        let across: Vec<Type> = members.iter().filter_map(|members| members.get(name).cloned()).collect();
        all.insert(name.clone(), unify(&across)?);
    }
    Some(Type::Object(all, BTreeSet::new()))
}

fn tuples(kinds: &[Type]) -> Option<Type> {
    let items: Vec<&Vec<Type>> = kinds
        .iter()
        .filter_map(|kind| match kind {
            Type::Tuple(items) => Some(items),
            _ => None,
        })
        .collect();
    let first = items.first()?;
    if items.iter().any(|other| other.len() != first.len()) {
        return as_lists(kinds);
    }
    let across = |at: usize| items.iter().filter_map(|items| items.get(at).cloned()).collect::<Vec<_>>();
    (0..first.len()).map(|at| unify(&across(at))).collect::<Option<Vec<_>>>().map(Type::Tuple)
}

fn as_maps(kinds: &[Type]) -> Option<Type> {
    let mut all = Vec::new();
    for kind in kinds {
        match kind {
            Type::Object(members, _) => all.extend(members.values().cloned()),
            other => all.extend(other.element().cloned()),
        }
    }
    unify(&all).map(Type::map)
}

fn as_lists(kinds: &[Type]) -> Option<Type> {
    let mut all = Vec::new();
    for kind in kinds {
        match kind {
            Type::Tuple(items) => all.extend(items.iter().cloned()),
            other => all.extend(other.element().cloned()),
        }
    }
    unify(&all).map(Type::list)
}
