use super::*;
use crate::runtime::{Namespace, Process, Resources, Spec};

/// Every field of the runtime's configuration may be `null`, as Go reads and writes it.
#[test]
fn null_is_zero_in_every_field() {
    let full = include_str!("every_field.json");
    let full: Value = serde_json::from_str(full).unwrap();
    from_value::<Spec>(&full).unwrap();
    let mut places = Vec::new();
    pointers(&full, String::new(), &mut places);
    assert!(places.len() > 150, "{}", places.len());
    for place in places {
        let mut document = full.clone();
        *document.pointer_mut(&place).unwrap() = Value::Null;
        let read = from_value::<Spec>(&document);
        // Words of a closed set: an empty one is none of them, and runc refuses it a step later.
        let word = ["type", "namespaces/0", "defaultAction", "action", "op"];
        let is_word = word.iter().any(|name| place.ends_with(&format!("/{name}")));
        assert!(read.is_ok() || is_word, "{place}: {}", read.unwrap_err());
    }
}

/// The places of all values below one.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| pointers(value, format!("{at}/{key}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| pointers(value, format!("{at}/{n}"), found))
        }
        _ => {}
    }
    found.push(at);
}

#[test]
fn a_namespace_without_a_path_is_a_new_one() {
    for path in ["", r#", "path": """#, r#", "path": null"#] {
        let namespace: Namespace = from_file(format!(r#"{{"type": "ipc"{path}}}"#).as_bytes()).unwrap();
        assert_eq!(namespace.path, None, "{path}");
    }
}

#[test]
fn a_file_may_have_more_than_the_document() {
    assert_eq!(from_file::<Resources>(b"null").unwrap(), Resources::default());
    let process: Process = from_file(br#"{"ARGS": ["a"], "Cwd": "/", "user": null} and more"#).unwrap();
    assert_eq!((process.args.as_slice(), process.cwd.as_str()), (&["a".to_owned()][..], "/"));
    assert!(from_file::<Resources>(b"").is_err());
    assert!(from_slice::<Resources>(b"{} x").is_err());
}
