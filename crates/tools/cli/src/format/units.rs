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

/// A flag of type bytes.
pub fn ram_in_bytes(text: &str) -> Result<i64, String> {
    oci::units::ram_in_bytes(text).map_err(|error| error.to_string())
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
    fn no_limit_is_a_size_where_the_flag_allows_it() {
        assert_eq!((swap_bytes("-1"), swap_bytes("1.5g")), (Ok(-1), Ok(3 << 29)));
        assert_eq!(swap_bytes("-2").unwrap_err(), "invalid size: '-2'");
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
