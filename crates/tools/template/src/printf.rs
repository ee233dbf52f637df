//! Go's `fmt.Sprintf`, `Sprint` and `Sprintln` for JSON values.

use serde_json::Value;

use crate::display::{display, display_float, go_exponent, type_name};

/// Widths and precisions beyond this are cut: a format string must not be able to fill the memory.
const WIDEST: usize = 4096;

/// `Sprint`: a space between two operands when neither is a string.
pub(crate) fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 && !argument.is_string() && !arguments[index - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&display(argument));
    }
    out
}

pub(crate) fn println(arguments: &[Value]) -> String {
    let words: Vec<String> = arguments.iter().map(display).collect();
    format!("{}\n", words.join(" "))
}

#[derive(Default, Clone, Copy)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub(crate) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            chars.next();
        }
        flags.width = count(&mut chars, arguments, &mut next);
        if chars.next_if_eq(&'.').is_some() {
            flags.precision = Some(count(&mut chars, arguments, &mut next).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.get(next) {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(argument) => {
                    next += 1;
                    out.push_str(&one(verb, flags, argument));
                }
            },
        }
    }
    if next < arguments.len() {
        let extra: Vec<String> = arguments[next..]
            .iter()
            .map(|argument| match argument {
                Value::Null => "<nil>".to_owned(),
                argument => format!("{}={}", type_name(argument), display(argument)),
            })
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// A width or precision: digits, or `*` for the next argument.
fn count(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    arguments: &[Value],
    next: &mut usize,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        let value = arguments.get(*next).and_then(Value::as_u64);
        *next += 1;
        return value.map(|value| (value as usize).min(WIDEST));
    }
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        value = Some((value.unwrap_or(0) * 10 + digit as usize).min(WIDEST));
        chars.next();
    }
    value
}

fn one(verb: char, flags: Flags, value: &Value) -> String {
    if verb == 'T' {
        return pad(type_name(value), flags);
    }
    if verb == 'v' {
        return match value {
            Value::String(text) if flags.sharp => pad(&quote(text), flags),
            Value::Number(number) if !number.is_f64() => integer(verb, flags, value),
            value => pad(&display(value), flags),
        };
    }
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| one(verb, flags, item)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut items: Vec<String> =
                map.iter().map(|(key, item)| format!("{key}:{}", one(verb, flags, item))).collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        Value::String(text) => match verb {
            's' => pad(cut(text, flags), flags),
            'q' if flags.sharp && !text.contains('`') => pad(&format!("`{text}`"), flags),
            'q' => pad(&quote(cut(text, flags)), flags),
            'x' | 'X' => {
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                pad(&if verb == 'X' { hex.to_uppercase() } else { hex }, flags)
            }
            _ => bad(verb, value),
        },
        Value::Bool(flag) if verb == 't' => pad(&flag.to_string(), flags),
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(float) if matches!(verb, 'e' | 'E' | 'f' | 'F' | 'g' | 'G') => real(verb, flags, float),
            _ => bad(verb, value),
        },
        Value::Number(_) => integer(verb, flags, value),
        _ => bad(verb, value),
    }
}

fn bad(verb: char, value: &Value) -> String {
    match value {
        Value::Null => format!("%!{verb}(<nil>)"),
        value => format!("%!{verb}({}={})", type_name(value), display(value)),
    }
}

fn cut(text: &str, flags: Flags) -> &str {
    match flags.precision.and_then(|limit| text.char_indices().nth(limit)) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn integer(verb: char, flags: Flags, value: &Value) -> String {
    let (negative, magnitude) = match (value.as_u64(), value.as_i64()) {
        (Some(number), _) => (false, number),
        (_, Some(number)) => (true, number.unsigned_abs()),
        _ => return bad(verb, value),
    };
    let as_char =
        u32::try_from(magnitude).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    let digits = match verb {
        'd' | 'v' => magnitude.to_string(),
        'x' => format!("{}{magnitude:x}", if flags.sharp { "0x" } else { "" }),
        'X' => format!("{}{magnitude:X}", if flags.sharp { "0X" } else { "" }),
        'o' => format!("{}{magnitude:o}", if flags.sharp { "0" } else { "" }),
        'O' => format!("0o{magnitude:o}"),
        'b' => format!("{}{magnitude:b}", if flags.sharp { "0b" } else { "" }),
        'c' => return pad(&as_char.to_string(), flags),
        'q' => return pad(&format!("'{as_char}'"), flags),
        'U' => return pad(&format!("U+{magnitude:04X}"), flags),
        _ => return bad(verb, value),
    };
    let digits = match flags.precision {
        Some(least) => format!("{digits:0>least$}"),
        None => digits,
    };
    signed(negative, &digits, flags)
}

fn real(verb: char, flags: Flags, float: f64) -> String {
    let magnitude = float.abs();
    let digits = match (verb, flags.precision) {
        ('f' | 'F', precision) => format!("{magnitude:.*}", precision.unwrap_or(6)),
        ('e' | 'E', precision) => go_exponent(&format!("{magnitude:.*e}", precision.unwrap_or(6))),
        (_, None) => display_float(magnitude),
        (_, Some(precision)) => general(magnitude, precision.max(1)),
    };
    let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    signed(float.is_sign_negative() && float != 0.0, &digits, flags)
}

/// `%.Ng`: N significant digits, exponent form when the exponent is below -4 or not below N.
pub fn general(magnitude: f64, precision: usize) -> String {
    let scientific = format!("{magnitude:.*e}", precision - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let strip = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= precision as i32 {
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return go_exponent(&format!("{}e{exponent}", strip(mantissa)));
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    strip(&format!("{magnitude:.decimals$}"))
}

fn signed(negative: bool, digits: &str, flags: Flags) -> String {
    let sign = match negative {
        true => "-",
        false if flags.plus => "+",
        false if flags.space => " ",
        false => "",
    };
    if flags.zero && !flags.minus {
        let width = flags.width.unwrap_or(0).saturating_sub(sign.len());
        return format!("{sign}{digits:0>width$}");
    }
    pad(&format!("{sign}{digits}"), flags)
}

fn pad(text: &str, flags: Flags) -> String {
    let width = flags.width.unwrap_or(0);
    match flags.minus {
        true => format!("{text:<width$}"),
        false => format!("{text:>width$}"),
    }
}

/// Go's `%q`.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
