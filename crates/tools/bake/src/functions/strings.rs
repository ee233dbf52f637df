//! Text. A character is what a reader takes for one: a grapheme.

use oci::path::clean;
use unicode_segmentation::UnicodeSegmentation as _;

use super::{Arguments, Failure, Outcome};
use crate::value::{Value, decode};

pub fn basename(a: &Arguments<'_>) -> Outcome {
    let path = a.text(0);
    let trimmed = path.trim_end_matches('/');
    Ok(match (path, trimmed) {
        ("", _) => ".".into(),
        (_, "") => "/".into(),
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or_default().into(),
    })
}

pub fn dirname(a: &Arguments<'_>) -> Outcome {
    let path = a.text(0);
    let folder = path.rfind('/').map_or("", |at| &path[..=at]);
    Ok(clean(folder).into())
}

/// No expression gives raw bytes.
pub fn no_bytes(a: &Arguments<'_>) -> Outcome {
    let kind = a.at(0).kind().name();
    Err(Failure::of(0, format!("bytes required, but have {kind}")))
}

pub fn chomp(a: &Arguments<'_>) -> Outcome {
    Ok(a.text(0).trim_end_matches(['\r', '\n']).into())
}

pub fn indent(a: &Arguments<'_>) -> Outcome {
    let spaces = usize::try_from(a.whole(0)?).map_err(|_| "the number of spaces is negative")?;
    if spaces > 100_000 {
        return Err("too many spaces".into());
    }
    Ok(a.text(1).replace('\n', &format!("\n{}", " ".repeat(spaces))).into())
}

pub fn join(a: &Arguments<'_>) -> Outcome {
    if a.values.len() < 2 {
        return Err("at least one list is required".into());
    }
    let mut words = Vec::new();
    for at in 1..a.values.len() {
        for (index, item) in a.items(at).iter().enumerate() {
            let Value::String(word) = item else {
                let of = if a.values.len() > 2 { format!(" of list {at}") } else { String::new() };
                let why = format!("element {index}{of} is null; cannot concatenate null values");
                return Err(Failure::of(at, why));
            };
            words.push(word.as_str());
        }
    }
    Ok(words.join(a.text(0)).into())
}

pub fn jsondecode(a: &Arguments<'_>) -> Outcome {
    decode(a.text(0)).map_err(Failure::from)
}

/// An empty text stands between all characters, as in Go.
pub fn replace(a: &Arguments<'_>) -> Outcome {
    Ok(a.text(0).replace(a.text(1), a.text(2)).into())
}

pub fn reverse(a: &Arguments<'_>) -> Outcome {
    Ok(a.text(0).graphemes(true).rev().collect::<String>().into())
}

pub fn sanitize(a: &Arguments<'_>) -> Outcome {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    Ok(a.text(0).chars().map(|c| if fits(c) { c } else { '_' }).collect::<String>().into())
}

pub fn sort(a: &Arguments<'_>) -> Outcome {
    let mut words = Vec::new();
    for (at, item) in a.items(0).iter().enumerate() {
        let Value::String(word) = item else {
            return Err(format!("given list element {at} is null; a null string cannot be sorted").into());
        };
        words.push(word.clone());
    }
    words.sort();
    Ok(Value::strings(words))
}

pub fn split(a: &Arguments<'_>) -> Outcome {
    let (separator, text) = (a.text(0), a.text(1));
    Ok(match separator {
        "" => Value::strings(text.chars().map(String::from)),
        _ => Value::strings(text.split(separator).map(str::to_owned)),
    })
}

pub fn strlen(a: &Arguments<'_>) -> Outcome {
    Ok(a.text(0).graphemes(true).count().into())
}

pub fn substr(a: &Arguments<'_>) -> Outcome {
    let (text, from, length) = (a.text(0), a.whole(1)?, a.whole(2)?);
    let count = text.graphemes(true).count() as i64;
    if from >= 0 && length == 0 {
        return Ok("".into());
    }
    let from = if from < 0 { (from + count).max(0) } else { from };
    let rest = text.graphemes(true).skip(from as usize);
    Ok(match length {
        // Nothing, of what lies behind an offset from the end, is all of it.
        ..=0 => rest.collect::<String>().into(),
        _ => rest.take(length as usize).collect::<String>().into(),
    })
}

pub fn title(a: &Arguments<'_>) -> Outcome {
    Ok(template::letters::title(a.text(0)).into())
}

pub fn trim(a: &Arguments<'_>) -> Outcome {
    Ok(a.text(0).trim_matches(|c| a.text(1).contains(c)).into())
}

pub fn trimprefix(a: &Arguments<'_>) -> Outcome {
    Ok(a.text(0).strip_prefix(a.text(1)).unwrap_or(a.text(0)).into())
}

pub fn trimsuffix(a: &Arguments<'_>) -> Outcome {
    Ok(a.text(0).strip_suffix(a.text(1)).unwrap_or(a.text(0)).into())
}

/// As in the query of a URL.
pub fn urlencode(a: &Arguments<'_>) -> Outcome {
    let mut out = String::new();
    for byte in a.text(0).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(out.into())
}
