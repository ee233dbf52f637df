//! Ages, durations and points in time as Docker's command line writes and reads them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How long ago, `5 minutes ago`; a time in the future is now.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let elapsed = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    format!("{} ago", api::duration::human(elapsed))
}

/// Go's `Time.String()` in the local zone, as the CREATED AT fields show it.
pub fn go_string(at: Timestamp) -> String {
    let zoned = at.to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// Go's `Time.String()` of a time that came as text: in UTC, with as many digits as there are.
pub fn go_string_utc(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
}

/// A point in time for `--since` and `--until` in the API's form (seconds, a dot, nanoseconds): a Unix time,
/// a date with or without time and zone, or a duration before `now`. Nothing stays nothing.
pub fn moment(text: &str, now: Timestamp) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let at = api::time::parse_instant(text, now, &TimeZone::system()).map_err(|error| error.to_string())?;
    let nanos = at.as_nanosecond();
    Ok(format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_is_now() {
        let now: Timestamp = "2024-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(ago(now, "2024-01-02T02:04:05Z".parse().unwrap()), "About an hour ago");
        assert_eq!(ago(now, "2025-01-02T03:04:05Z".parse().unwrap()), "Less than a second ago");
    }

    #[test]
    fn moments() {
        let now: Timestamp = "2024-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(moment("10m", now).as_deref(), Ok("1704164045.000000000"));
        assert_eq!(moment("2024-01-02T03:04:05.25Z", now).as_deref(), Ok("1704164645.250000000"));
        assert_eq!(moment("", now).as_deref(), Ok(""));
        assert!(moment("yesterday", now).is_err());
    }
}
