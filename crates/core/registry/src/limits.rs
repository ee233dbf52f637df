//! How long a registry wants us to wait (RFC 9110 section 10.2.3), and what it says of its limits.
//!
//! `RateLimit-Limit: 100;w=21600` is a hundred requests in six hours, as Docker Hub says it.

use std::time::{Duration, SystemTime};

use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::exchange::header;

/// A registry that is unwell, and wants us to wait longer, is out of order for now.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// A registry that has had enough of us is waited for as long as this, all times of a request together.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How long to wait before an answer may be another one; `None` when it will not be.
pub(crate) fn pause(response: &Response, usual: Duration, waited: Duration) -> Option<Duration> {
    let asked = asked(response.headers(), SystemTime::now());
    match response.status().as_u16() {
        // A limit of hours is told without a time.
        429 => asked.filter(|wait| is_bearable(*wait, waited)),
        status if may_pass(status) => Some(asked.unwrap_or(usual)).filter(|wait| *wait <= LONGEST_PAUSE),
        _ => None,
    }
}

/// Whether a status means that the host is out of order for now: a full disk, for one, stays full.
pub(crate) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 500 | 502 | 503 | 504)
}

/// Whether a registry that has had enough of us is waited for so long, after what was waited before.
pub(crate) fn is_bearable(wait: Duration, waited: Duration) -> bool {
    waited.saturating_add(wait) <= LONGEST_WAIT
}

/// `Retry-After`, as seconds or as a date.
pub(crate) fn asked(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = header(headers, RETRY_AFTER.as_str())?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What the headers say of the limit, for people.
pub(crate) fn told(headers: &HeaderMap) -> Option<String> {
    let number = |name: &str| {
        let value = header(headers, name)?;
        let (number, rest) = value.split_once(';').unwrap_or((value, ""));
        let window = rest.split(';').find_map(|part| part.trim().strip_prefix("w=")?.parse::<u64>().ok());
        Some((number.trim().parse::<u64>().ok()?, window))
    };
    let mut parts = Vec::new();
    if let Some((limit, window)) = number("ratelimit-limit") {
        let window = window.map(|seconds| format!(" in {}", period(seconds))).unwrap_or_default();
        parts.push(format!("the limit is {limit} requests{window}"));
    }
    if let Some((left, _)) = number("ratelimit-remaining") {
        parts.push(format!("{left} are left"));
    }
    if let Some(source) = header(headers, "docker-ratelimit-source") {
        let source: String = source.chars().filter(char::is_ascii_graphic).take(64).collect();
        parts.push(format!("counted for {source}"));
    }
    if let Some(wait) = asked(headers, SystemTime::now()) {
        parts.push(format!("the registry wants us to come back in {}", period(wait.as_secs())));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A time for people: `6 hours`, `90 seconds`.
pub(crate) fn period(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7199 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3600), "hour"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_the_hub_says() {
        let hub = headers(&[
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "0;w=21600"),
            ("docker-ratelimit-source", "192.0.2.7"),
        ]);
        assert_eq!(
            told(&hub).unwrap(),
            "the limit is 100 requests in 6 hours, 0 are left, counted for 192.0.2.7"
        );
        assert_eq!(told(&headers(&[("ratelimit-limit", "nonsense")])), None);
        let later = headers(&[("retry-after", "2400")]);
        assert_eq!(told(&later).unwrap(), "the registry wants us to come back in 40 minutes");
    }

    #[test]
    fn times_to_wait() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 12:00:00 GMT").unwrap();
        let wait = |text: &'static str| asked(&headers(&[("retry-after", text)]), now);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sat, 21 Nov 2026 12:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(wait("Sat, 21 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        for text in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
