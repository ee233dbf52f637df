//! How Go's `fmt` prints values by default (`%v`).

use serde_json::{Number, Value};

/// The text of a value inside another value or as an operand: Go's `%v`.
pub fn display(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&display_number(number)),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().filter(|key| !is_hidden(key)).collect();
            keys.sort();
            // Documents write sets so, such as of ports: Go has the empty struct there.
            let is_empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
            let is_set = keys.iter().all(|key| is_empty(&map[*key]));
            out.push_str("map[");
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                match is_set {
                    true => out.push_str("{}"),
                    false => write(out, &map[key]),
                }
            }
            out.push(']');
        }
    }
}

/// A field for methods only: its name begins with NUL, and it is never printed.
pub(crate) fn is_hidden(key: &str) -> bool {
    key.starts_with('\0')
}

pub(crate) fn display_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => display_float(float),
        _ => number.to_string(),
    }
}

/// Go's `%v` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e21.
pub(crate) fn display_float(float: f64) -> String {
    if float == 0.0 {
        return "0".to_owned();
    }
    let magnitude = float.abs();
    if (1e-4..1e21).contains(&magnitude) {
        return format!("{float}");
    }
    go_exponent(&format!("{float:e}"))
}

/// Rust writes `1.5e-7`, Go `1.5e-07`.
pub(crate) fn go_exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent.trim_start_matches('+')),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Go's name of the type that such a value has after decoding JSON.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
