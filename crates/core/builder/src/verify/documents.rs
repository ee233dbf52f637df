//! Two JSON documents, field by field.

use super::Difference;
use serde_json::Value;

/// Text that is longer is cut when it is shown.
const SHOWN: usize = 200;

/// Adds what differs, named by its path: `config: history[3].created`.
pub(super) fn differences(document: &str, one: &Value, two: &Value, found: &mut Vec<Difference>) {
    walk(&mut String::new(), one, two, &mut |path, a, b| {
        let place = match path {
            "" => document.to_string(),
            path => format!("{document}: {path}"),
        };
        let is_time = [a, b].iter().all(|value| is_time(value));
        found.push(Difference { place, what: format!("{}, then {}", shown(a), shown(b)), is_time });
    });
}

fn walk(path: &mut String, one: &Value, two: &Value, tell: &mut dyn FnMut(&str, &Value, &Value)) {
    let here = path.len();
    match (one, two) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                *path += if here == 0 { "" } else { "." };
                *path += name;
                walk(path, &one[name.as_str()], &two[name.as_str()], tell);
                path.truncate(here);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for at in 0..a.len().max(b.len()) {
                *path += &format!("[{at}]");
                walk(path, &one[at], &two[at], tell);
                path.truncate(here);
            }
        }
        _ if one == two => {}
        _ => tell(path, one, two),
    }
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

fn shown(value: &Value) -> String {
    if value.is_null() {
        return "nothing".to_string();
    }
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_named_by_their_path() {
        let one = json!({"created": "2024-01-01T00:00:00Z", "config": {"Env": ["A=1", "B=2"], "User": "x"}});
        let two = json!({"created": "2024-01-01T00:00:01Z", "config": {"Env": ["A=1"], "User": "y"}});
        let mut found = Vec::new();
        differences("config", &one, &two, &mut found);
        let places: Vec<(&str, &str, bool)> =
            found.iter().map(|d| (d.place.as_str(), d.what.as_str(), d.is_time)).collect();
        assert_eq!(
            places,
            [
                ("config: config.Env[1]", "\"B=2\", then nothing", false),
                ("config: config.User", "\"x\", then \"y\"", false),
                ("config: created", "\"2024-01-01T00:00:00Z\", then \"2024-01-01T00:00:01Z\"", true),
            ]
        );
        found.clear();
        differences("config", &one, &one, &mut found);
        assert!(found.is_empty());
    }
}
