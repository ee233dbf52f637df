//! `format` and `formatlist`: C's printf for values.
//!
//! A verb is `%`, flags (`0 # - + space`), a width, `.` and a precision, the index of an argument in brackets, and a letter.

use unicode_segmentation::UnicodeSegmentation as _;

use super::{Arguments, Failure, Outcome};
use crate::value::{self, Number, Type, Value, compact, convert, encode, exponential, fixed};

/// Widths and precisions beyond this are refused: they would take all memory.
const LIMIT: usize = 100_000;

#[derive(Default)]
struct Verb<'f> {
    raw: &'f str,
    offset: usize,
    argument: usize,
    letter: char,
    zero: bool,
    sharp: bool,
    plus: bool,
    minus: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub fn format(a: &Arguments<'_>) -> Outcome {
    Ok(formatted(a.text(0), a.values.get(1..).unwrap_or_default())?.into())
}

/// One result for each element of the lists among the arguments.
pub fn formatlist(a: &Arguments<'_>) -> Outcome {
    let given = a.values.get(1..).unwrap_or_default();
    let mut count: Option<(usize, usize)> = None;
    for (at, value) in given.iter().enumerate() {
        let Some(items) = value.items() else { continue };
        match count {
            None => count = Some((items.len(), at)),
            Some((length, first)) if length != items.len() => {
                let (at, have, first) = (at + 1, items.len(), first + 1);
                let why = format!(
                    "argument {at} has length {have}, which is inconsistent with argument {first} of length {length}"
                );
                return Err(Failure::of(at, why));
            }
            Some(_) => {}
        }
    }
    let count = count.map_or(1, |(length, _)| length);
    let one = |at: usize| {
        let pick = |value: &Value| value.items().map_or_else(|| value.clone(), |items| items[at].clone());
        let arguments: Vec<Value> = given.iter().map(pick).collect();
        formatted(a.text(0), &arguments)
            .map_err(|error| Failure::from(format!("error on format iteration {at}: {}", error.message)))
    };
    Ok(Value::strings((0..count).map(one).collect::<Result<Vec<_>, _>>()?))
}

fn formatted(pattern: &str, arguments: &[Value]) -> Result<String, Failure> {
    let (mut out, mut rest, mut next, mut highest) = (String::new(), pattern, 1, 0);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("%%") {
            out.push('%');
            rest = after;
            continue;
        }
        let verb = read(pattern, pattern.len() - rest.len(), next)?;
        rest = &rest[verb.raw.len()..];
        highest = highest.max(verb.argument);
        next = verb.argument + 1;
        let Some(value) = arguments.get(verb.argument - 1) else {
            let (raw, offset, need, have) = (verb.raw, verb.offset, verb.argument, arguments.len());
            let why = format!(
                "not enough arguments for {raw:?} at {offset}: need index {need} but have {have} total"
            );
            return Err(why.into());
        };
        out.push_str(&shown(&verb, value)?);
    }
    out.push_str(rest);
    if highest < arguments.len() {
        let why = match highest {
            0 => "too many arguments; no verbs in format string".to_owned(),
            used => format!("too many arguments; only {used} used by format string"),
        };
        return Err(Failure::of(highest + 1, why));
    }
    Ok(out)
}

/// The verb that stands at the offset.
fn read(pattern: &str, offset: usize, next: usize) -> Result<Verb<'_>, String> {
    let mut verb = Verb { offset, argument: next, ..Verb::default() };
    let letters: Vec<(usize, char)> = pattern[offset..].char_indices().skip(1).collect();
    let mut at = 0;
    let peek = |at: usize| letters.get(at).map(|(_, letter)| *letter);
    while let Some(flag @ ('0' | '#' | '-' | '+' | ' ')) = peek(at) {
        match flag {
            '0' => verb.zero = true,
            '#' => verb.sharp = true,
            '-' => verb.minus = true,
            '+' => verb.plus = true,
            _ => verb.space = true,
        }
        at += 1;
    }
    let digits = |at: &mut usize| -> Result<Option<usize>, String> {
        let mut number = None;
        while let Some(digit) = peek(*at).and_then(|letter| letter.to_digit(10)) {
            let more = number.unwrap_or(0) * 10 + digit as usize;
            if more > LIMIT {
                return Err(format!("the number at offset {} is too large", offset + 1));
            }
            number = Some(more);
            *at += 1;
        }
        Ok(number)
    };
    verb.width = digits(&mut at)?;
    if peek(at) == Some('.') {
        at += 1;
        verb.precision = Some(digits(&mut at)?.unwrap_or(0));
    }
    let wrong = |at: usize| match letters.get(at) {
        Some((place, letter)) => {
            format!("unrecognized format character {letter:?} at offset {}", offset + place)
        }
        None => format!("invalid format string starting at offset {}", pattern.len()),
    };
    if peek(at) == Some('[') {
        at += 1;
        let start = at;
        verb.argument = digits(&mut at)?.filter(|index| *index > 0).ok_or_else(|| wrong(start))?;
        if peek(at) != Some(']') {
            return Err(wrong(at));
        }
        at += 1;
    }
    match letters.get(at) {
        Some((place, letter)) if letter.is_ascii_alphabetic() => {
            verb.letter = *letter;
            verb.raw = &pattern[offset..=offset + place];
            Ok(verb)
        }
        _ => Err(wrong(at)),
    }
}

fn shown(verb: &Verb<'_>, value: &Value) -> Result<String, String> {
    let unsupported = |why: String| format!("unsupported value for {:?} at {}: {why}", verb.raw, verb.offset);
    if verb.letter != 'v' && value.is_null() {
        return Err(unsupported("null value cannot be formatted".to_owned()));
    }
    let to = |kind: Type| convert(value, &kind).map_err(unsupported);
    match verb.letter {
        'v' => Ok(padded(
            verb,
            match value {
                Value::String(text) if !verb.sharp => text.clone(),
                Value::Number(number) if !verb.sharp => compact(number, false, None),
                other => encode(other),
            },
        )),
        't' => Ok((to(Type::Bool)? == Value::Bool(true)).to_string()),
        's' | 'q' => {
            let text = to(Type::String)?;
            let text = text.as_str().unwrap_or_default();
            let text = match verb.precision {
                Some(precision) if precision > 0 => text.graphemes(true).take(precision).collect(),
                _ => text.to_owned(),
            };
            Ok(padded(verb, if verb.letter == 'q' { value::escape(&text) } else { text }))
        }
        'b' | 'd' | 'o' | 'x' | 'X' => match to(Type::Number)? {
            Value::Number(number) if number.is_integer() => Ok(integer(verb, &number)),
            _ => Err(unsupported("an integer is required".to_owned())),
        },
        'e' | 'E' | 'f' | 'g' | 'G' => match to(Type::Number)? {
            Value::Number(number) => Ok(float(verb, &number)),
            _ => Err(unsupported("a number is required".to_owned())),
        },
        other => {
            Err(format!("unsupported format verb {other:?} in {:?} at offset {}", verb.raw, verb.offset))
        }
    }
}

fn padded(verb: &Verb<'_>, text: String) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(text.graphemes(true).count());
    let pad = if verb.zero { "0" } else { " " }.repeat(missing);
    if verb.minus { text + &pad } else { pad + &text }
}

fn sign(verb: &Verb<'_>, negative: bool) -> &'static str {
    match () {
        () if negative => "-",
        () if verb.plus => "+",
        () if verb.space => " ",
        () => "",
    }
}

fn integer(verb: &Verb<'_>, number: &Number) -> String {
    let whole = number.truncated().unwrap_or_default();
    let (radix, prefix) = match verb.letter {
        'b' => (2, "0b"),
        'o' => (8, "0"),
        'x' => (16, "0x"),
        'X' => (16, "0X"),
        _ => (10, ""),
    };
    let mut digits = whole.magnitude().to_str_radix(radix);
    if verb.letter == 'X' {
        digits = digits.to_uppercase();
    }
    if let Some(precision) = verb.precision {
        digits = match (precision, digits.as_str()) {
            (0, "0") => return padded(&Verb { zero: false, raw: "", ..*verb }, String::new()),
            _ => "0".repeat(precision.saturating_sub(digits.len())) + &digits,
        };
    }
    let head = format!("{}{}", sign(verb, number.is_negative()), if verb.sharp { prefix } else { "" });
    laid(verb, &head, &digits, verb.precision.is_none())
}

fn float(verb: &Verb<'_>, number: &Number) -> String {
    let plain = number.absolute();
    let digits = match verb.letter {
        'f' => fixed(&plain, verb.precision),
        'g' | 'G' => compact(&plain, verb.letter == 'G', verb.precision),
        letter => exponential(&plain, letter == 'E', verb.precision),
    };
    // An infinity always has a sign, and no zeros before it.
    let (sign, digits) = match digits.strip_prefix('+') {
        Some(infinity) if sign(verb, number.is_negative()).is_empty() => ("+", infinity),
        Some(infinity) => (sign(verb, number.is_negative()), infinity),
        None => (sign(verb, number.is_negative()), digits.as_str()),
    };
    laid(verb, sign, digits, !number.is_infinite())
}

/// A sign and digits in the width; zeros stand between both.
fn laid(verb: &Verb<'_>, head: &str, digits: &str, zeros: bool) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(head.len() + digits.len());
    match () {
        () if verb.minus => format!("{head}{digits}{}", " ".repeat(missing)),
        () if verb.zero && zeros => format!("{head}{}{digits}", "0".repeat(missing)),
        () => format!("{}{head}{digits}", " ".repeat(missing)),
    }
}
