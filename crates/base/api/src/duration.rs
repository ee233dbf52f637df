//! Go's duration texts: `1h30m`, `300ms`, `-1.5h`. Values are nanoseconds in an `i64`, as in Go. And Docker's rough words for
//! how long ago something was.

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
}

const SECOND: i64 = 1_000_000_000;

/// Reads a duration in nanoseconds.
pub fn parse(text: &str) -> Result<i64, Error> {
    let invalid = || Error::Invalid(text.into());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let scale = scale(unit, text)?;
        total += nanos(number, scale).ok_or_else(invalid)?;
        if total > i128::from(i64::MAX) + 1 {
            return Err(invalid());
        }
        rest = next;
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map_err(|_| invalid())
}

fn scale(unit: &str, text: &str) -> Result<i64, Error> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        "" => return Err(Error::MissingUnit(text.into())),
        _ => return Err(Error::UnknownUnit { unit: unit.into(), text: text.into() }),
    })
}

fn nanos(number: &str, scale: i64) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let mut total = whole * i128::from(scale);
    let mut weight = i128::from(scale);
    for digit in fraction.bytes() {
        weight /= 10;
        total += i128::from(digit - b'0') * weight;
    }
    Some(total)
}

/// Writes nanoseconds as Go does: `1h30m0s`, `1.5s`, `300ms`, `0s`.
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let second = SECOND.unsigned_abs();
    if total == 0 {
        return "0s".into();
    }
    if total < second {
        let (unit, scale) = match total {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(total, scale));
    }
    let (hours, minutes) = (total / (3600 * second), total / (60 * second) % 60);
    let seconds = decimal(total % (60 * second), second);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn decimal(value: u64, scale: u64) -> String {
    let digits = scale.ilog10() as usize;
    let fraction = format!("{:0digits$}", value % scale);
    let fraction = fraction.trim_end_matches('0');
    if digits == 0 || fraction.is_empty() {
        (value / scale).to_string()
    } else {
        format!("{}.{fraction}", value / scale)
    }
}

/// A duration in Docker's rough words: `Less than a second`, `About a minute`, `3 weeks`.
pub fn human(d: std::time::Duration) -> String {
    let seconds = d.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => return "Less than a second".to_owned(),
        1 => return "1 second".to_owned(),
        2..60 => return format!("{seconds} seconds"),
        _ => {}
    }
    match minutes {
        1 => return "About a minute".to_owned(),
        2..60 => return format!("{minutes} minutes"),
        _ => {}
    }
    match hours {
        0..=1 => "About an hour".to_owned(),
        2..48 => format!("{hours} hours"),
        48..336 => format!("{} days", hours / 24),
        336..1440 => format!("{} weeks", hours / 24 / 7),
        1440..17520 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_gos_forms() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5 * SECOND),
            ("-5s", -5 * SECOND),
            ("1h30m", 5400 * SECOND),
            ("1.5h", 5400 * SECOND),
            (".5s", SECOND / 2),
            ("300ms", 300_000_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("7ns", 7),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        for bad in ["", "-", "5", "s", ".s", "1..5s", "1x", "9223372036854775808ns", "1h30", "1 s", "١s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn writes_gos_forms() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (60 * SECOND, "1m0s"),
            (5400 * SECOND, "1h30m0s"),
            (-SECOND, "-1s"),
        ] {
            assert_eq!(format(nanos), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanos in any::<i64>()) {
            prop_assert_eq!(parse(&format(nanos)), Ok(nanos));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn words_are_dockers() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (3600 + 1799, "About an hour"),
            (3600 + 1800, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 24 * 3600, "13 days"),
            (14 * 24 * 3600, "2 weeks"),
            (59 * 24 * 3600, "8 weeks"),
            (60 * 24 * 3600, "2 months"),
            (729 * 24 * 3600, "24 months"),
            (730 * 24 * 3600, "2 years"),
        ];
        for (seconds, words) in cases {
            assert_eq!(human(std::time::Duration::from_secs(seconds)), words, "{seconds}");
        }
    }
}
