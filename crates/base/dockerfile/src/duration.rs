//! Go's `time.ParseDuration`, as the healthcheck flags use it.

use std::time::Duration;

/// Parses `1h30m`, `1.5s`, `100ms`, `0`. The error text is Go's.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() || text.len() > 64 {
        return Err(invalid());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            unknown => return Err(format!("time: unknown unit {unknown:?} in duration {text:?}")),
        };
        total += number * seconds;
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).ok().filter(|d| d.as_secs() < 1 << 33).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (text, want) in [
            ("30s", Ok(Duration::from_secs(30))),
            ("1m30s", Ok(Duration::from_secs(90))),
            ("1.5h", Ok(Duration::from_secs(5400))),
            ("100ms", Ok(Duration::from_millis(100))),
            ("0", Ok(Duration::ZERO)),
            ("30", Err("time: missing unit in duration \"30\"")),
            ("3x", Err("time: unknown unit \"x\" in duration \"3x\"")),
            ("-1s", Err("time: invalid duration \"-1s\"")),
            ("", Err("time: invalid duration \"\"")),
        ] {
            assert_eq!(parse(text), want.map_err(String::from), "{text}");
        }
    }
}
