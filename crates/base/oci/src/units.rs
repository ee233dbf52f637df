//! Sizes in bytes as Docker's and BuildKit's options write them (go-units, `RAMInBytes`).

/// Why a text is no size; the words are go-units'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No number begins it, or it is below zero or beyond all numbers.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// What stands before the suffix is no number.
    #[error("strconv.ParseFloat: parsing {0:?}: invalid syntax")]
    Number(String),
    /// There is no such unit.
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
}

/// `512m`, `1g`, `1.5GiB`, `1024`: powers of 1024 whatever the spelling of the suffix.
pub fn ram_in_bytes(text: &str) -> Result<i64, SizeError> {
    let invalid = || SizeError::Size(text.to_owned());
    let separator = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = match text.as_bytes()[separator] {
        b' ' => (&text[..separator], &text[separator + 1..]),
        _ => text.split_at(separator + 1),
    };
    let size: f64 = match number.parse() {
        Ok(size) if number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-')) => size,
        _ => return Err(SizeError::Number(number.to_owned())),
    };
    if size < 0.0 {
        return Err(invalid());
    }
    let suffix = suffix.to_lowercase();
    let power = match suffix.chars().next() {
        None => 0,
        Some('b') if suffix.len() == 1 => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        _ => return Err(SizeError::Suffix(suffix)),
    };
    if suffix.len() > 1 && !matches!(&suffix[1..], "b" | "ib") {
        return Err(SizeError::Suffix(suffix));
    }
    let bytes = size * 1024f64.powi(power);
    // No machine has so much, and it is no number of bytes any more.
    if bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_go_units_reads_them() {
        let good: &[(&str, i64)] = &[
            ("32", 32),
            ("32b", 32),
            ("32k", 32 << 10),
            ("32KB", 32 << 10),
            ("32Kib", 32 << 10),
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("1.5g", 3 << 29),
            ("32 mb", 32 << 20),
            ("1t", 1 << 40),
            ("0", 0),
        ];
        for (text, size) in good {
            assert_eq!(ram_in_bytes(text), Ok(*size), "{text}");
        }
        let bad: &[(&str, &str)] = &[
            ("", "invalid size: ''"),
            ("zz", "invalid size: 'zz'"),
            ("hello", "invalid size: 'hello'"),
            ("-1", "invalid size: '-1'"),
            ("99999999t", "invalid size: '99999999t'"),
            ("1e999", "invalid size: '1e999'"),
            ("32bb", "invalid suffix: 'bb'"),
            ("32mm", "invalid suffix: 'mm'"),
            ("1x", "invalid suffix: 'x'"),
            ("1 2 k", "strconv.ParseFloat: parsing \"1 2\": invalid syntax"),
        ];
        for (text, error) in bad {
            assert_eq!(ram_in_bytes(text).unwrap_err().to_string(), *error, "{text}");
        }
    }
}
