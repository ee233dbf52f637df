//! Ages, durations and points in time as Docker's command line writes and reads them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// go-units' `HumanDuration`: about how long.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (duration.as_secs_f64() / 3600.0 + 0.5) as u64;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// How long ago, `5 minutes ago`; a time in the future is now.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let elapsed = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    format!("{} ago", human_duration(elapsed))
}

/// Go's `Time.String()` in the local zone, as the CREATED AT fields show it.
pub fn go_string(at: Timestamp) -> String {
    let zoned = at.to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
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
    fn ages() {
        let hour = 3600;
        let cases: &[(u64, &str)] = &[
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60, "59 minutes"),
            (hour, "About an hour"),
            (89 * 60, "About an hour"),
            (90 * 60, "2 hours"),
            (47 * hour, "47 hours"),
            (48 * hour, "2 days"),
            (13 * 24 * hour, "13 days"),
            (14 * 24 * hour, "2 weeks"),
            (60 * 24 * hour, "2 months"),
            (23 * 30 * 24 * hour, "23 months"),
            (2 * 365 * 24 * hour, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(Duration::from_secs(*seconds)), *text);
        }
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
