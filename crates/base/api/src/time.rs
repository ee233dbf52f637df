//! Times on the wire: RFC 3339 with nanoseconds in UTC, and the forms that `since` and `until` take.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::duration;

/// Go's zero time: "never".
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// A text that names no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse value as time or duration: {0:?}")]
pub struct Error(pub String);

/// Writes a time; trailing zeros of the fraction are left out, as in Go.
pub fn rfc3339(at: Timestamp) -> String {
    at.to_string()
}

/// The present time.
pub fn now() -> String {
    rfc3339(Timestamp::now())
}

/// Writes a time with all nine digits, as log lines carry it.
pub fn rfc3339_fixed(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// Reads a time of a document; "never" and nonsense are `None`.
pub fn parse(text: &str) -> Option<Timestamp> {
    if text == ZERO { None } else { text.parse().ok() }
}

/// Reads `since` or `until`: Unix seconds with an optional fraction, a Go duration before `now`, an RFC 3339
/// time, or one without zone or time of day (in `zone`).
pub fn parse_instant(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Error> {
    let fail = || Error(text.into());
    if let Some(at) = unix_seconds(text) {
        return at.ok_or_else(fail);
    }
    if let Ok(nanos) = duration::parse(text) {
        let back = now.as_nanosecond() - i128::from(nanos);
        return Timestamp::from_nanosecond(back).map_err(|_| fail());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let (text_local, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(bare) => (bare, &TimeZone::UTC),
        None => (text, zone),
    };
    let local = local_time(text_local).ok_or_else(fail)?;
    zone.to_timestamp(local).map_err(|_| fail())
}

/// `Some(None)` is a number outside of the calendar.
fn unix_seconds(text: &str) -> Option<Option<Timestamp>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let magnitude = whole.strip_prefix('-').unwrap_or(whole);
    if magnitude.is_empty() || !digits(magnitude) || !digits(fraction) {
        return None;
    }
    let nanos = format!("{fraction:0<9}");
    let seconds = whole.parse::<i64>().ok();
    Some(seconds.and_then(|seconds| {
        let nanos: i32 = nanos.get(..9)?.parse().ok()?;
        Timestamp::new(seconds, if whole.starts_with('-') { -nanos } else { nanos }).ok()
    }))
}

fn local_time(text: &str) -> Option<DateTime> {
    if let Ok(at) = text.parse::<DateTime>() {
        return Some(at);
    }
    ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d"].iter().find_map(|form| {
        let broken = jiff::fmt::strtime::parse(form, text).ok()?;
        broken.to_datetime().or_else(|_| broken.to_date().map(|d| d.at(0, 0, 0, 0))).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> String {
        let now: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        parse_instant(text, now, &TimeZone::UTC).map_or_else(|e| e.to_string(), rfc3339)
    }

    #[test]
    fn reads_every_form() {
        assert_eq!(at("0"), "1970-01-01T00:00:00Z");
        assert_eq!(at("1136073600.000000001"), "2006-01-01T00:00:00.000000001Z");
        assert_eq!(at("10m"), "2024-06-01T11:50:00Z");
        assert_eq!(at("-10m"), "2024-06-01T12:10:00Z");
        assert_eq!(at("2006-01-02T15:04:05Z"), "2006-01-02T15:04:05Z");
        assert_eq!(at("2006-01-02T15:04:05.999999999+02:00"), "2006-01-02T13:04:05.999999999Z");
        assert_eq!(at("2006-01-02T15:04:05"), "2006-01-02T15:04:05Z");
        assert_eq!(at("2006-01-02T15:04"), "2006-01-02T15:04:00Z");
        assert_eq!(at("2006-01-02T15"), "2006-01-02T15:00:00Z");
        assert_eq!(at("2006-01-02"), "2006-01-02T00:00:00Z");
        assert_eq!(at("2006-01-02Z"), "2006-01-02T00:00:00Z");
        for bad in ["", "x", "99999999999999999999", "2006-13-01", "1.2.3", "-"] {
            assert!(at(bad).starts_with("failed to parse"), "{bad}: {}", at(bad));
        }
    }

    #[test]
    fn writes_as_go() {
        let at: Timestamp = "2024-01-02T03:04:05.120Z".parse().unwrap();
        assert_eq!(rfc3339(at), "2024-01-02T03:04:05.12Z");
        assert_eq!(rfc3339_fixed(at), "2024-01-02T03:04:05.120000000Z");
        assert_eq!(parse(ZERO), None);
    }
}
