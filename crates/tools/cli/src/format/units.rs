//! Sizes as go-units writes and reads them. Bytes throughout.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

fn scaled(size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = size;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    let sign = if size < 0.0 { "-" } else { "" };
    format!("{sign}{}{}", template::general(size.abs(), digits), units[unit])
}

/// Powers of 1000 with four digits: `1.234MB`.
pub fn human_size(size: f64) -> String {
    scaled(size, 1000.0, &DECIMAL, 4)
}

/// Powers of 1000 with so many digits; images are listed with three.
pub fn human_size_with(size: f64, digits: usize) -> String {
    scaled(size, 1000.0, &DECIMAL, digits)
}

/// Powers of 1024: `1.5GiB`.
pub fn bytes_size(size: f64) -> String {
    scaled(size, 1024.0, &BINARY, 4)
}

/// `512m`, `1g`, `1.5GiB`, `1024`: powers of 1024 whatever the spelling of the suffix.
pub fn ram_in_bytes(text: &str) -> Result<i64, String> {
    let Some(separator) = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ') else {
        return Err(format!("invalid size: '{text}'"));
    };
    let (number, suffix) = match text.as_bytes()[separator] {
        b' ' => (&text[..separator], &text[separator + 1..]),
        _ => text.split_at(separator + 1),
    };
    let size: f64 = match number.parse() {
        Ok(size) if number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-')) => size,
        _ => return Err(format!("strconv.ParseFloat: parsing {}: invalid syntax", template::quote(number))),
    };
    if size < 0.0 {
        return Err(format!("invalid size: '{text}'"));
    }
    let suffix = suffix.to_lowercase();
    let bad = || Err(format!("invalid suffix: '{suffix}'"));
    let power = match suffix.chars().next() {
        None => 0,
        Some('b') if suffix.len() == 1 => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        _ => return bad(),
    };
    if suffix.len() > 1 && !matches!(&suffix[1..], "b" | "ib") {
        return bad();
    }
    Ok((size * 1024f64.powi(power)) as i64)
}

/// A flag of type bytes; `-1` stands for no limit where the flag allows it.
pub fn swap_bytes(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { ram_in_bytes(text) }
}

/// `1.5` CPUs as billionths, exactly: the text is a decimal fraction, not a float.
pub fn nano_cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse {text} as a rational number");
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty()
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
    {
        return Err(bad());
    }
    let significant = fraction.trim_end_matches('0');
    if significant.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let nanos: i64 = format!("{significant:0<9}").parse().map_err(|_| bad())?;
    whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_go_units_writes_them() {
        let cases: &[(f64, &str, &str)] = &[
            (0.0, "0B", "0B"),
            (1.0, "1B", "1B"),
            (999.0, "999B", "999B"),
            (1000.0, "1kB", "1000B"),
            (1024.0, "1.024kB", "1KiB"),
            (1_234_567.0, "1.235MB", "1.177MiB"),
            (3_500_000_000.0, "3.5GB", "3.26GiB"),
            (999_999.0, "1000kB", "976.6KiB"),
            (-1.0, "-1B", "-1B"),
        ];
        for (size, decimal, binary) in cases {
            assert_eq!(human_size(*size), *decimal);
            assert_eq!(bytes_size(*size), *binary);
        }
        assert_eq!(human_size_with(187_654_321.0, 3), "188MB");
        assert_eq!(human_size_with(7_800_000.0, 3), "7.8MB");
    }

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
            ("32bb", "invalid suffix: 'bb'"),
            ("32mm", "invalid suffix: 'mm'"),
            ("1x", "invalid suffix: 'x'"),
            ("1 2 k", "strconv.ParseFloat: parsing \"1 2\": invalid syntax"),
        ];
        for (text, error) in bad {
            assert_eq!(ram_in_bytes(text).unwrap_err(), *error, "{text}");
        }
        assert_eq!(swap_bytes("-1"), Ok(-1));
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!(nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(nano_cpus("0.1"), Ok(100_000_000));
        assert_eq!(nano_cpus("2"), Ok(2_000_000_000));
        assert_eq!(nano_cpus(".5"), Ok(500_000_000));
        assert_eq!(nano_cpus("x").unwrap_err(), "failed to parse x as a rational number");
        assert_eq!(nano_cpus("0.0000000001").unwrap_err(), "value is too precise");
    }
}
