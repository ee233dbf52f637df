//! Times: RFC 3339 and seconds since 1970.

use std::collections::BTreeMap;

use jiff::civil::Weekday;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};
use num_bigint::BigInt;

use super::{Arguments, Failure, Outcome};
use crate::value::Value;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn weekday(time: &Zoned) -> &'static str {
    match time.weekday() {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// A time with the offset that stands in its text.
fn parse(text: &str) -> Result<Zoned, String> {
    let wrong = |why: &str| format!("not a valid RFC3339 timestamp: {why}");
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    for (at, want) in shape.iter().enumerate() {
        match (bytes.get(at), want) {
            (None, _) => return Err(wrong(&format!("end of string before {}", part(at)))),
            (Some(found), b'0') if !found.is_ascii_digit() => {
                let rest = text.get(at..).unwrap_or_default();
                return Err(wrong(&format!("cannot use {rest:?} as {}", part(at))));
            }
            (Some(b'T'), b'T') | (Some(_), b'0') => {}
            (Some(_), b'T') => return Err(wrong("missing required time introducer 'T'")),
            (Some(found), want) if found != want => {
                let (rest, want) = (text.get(at..).unwrap_or_default(), char::from(*want).to_string());
                return Err(wrong(&format!("found {rest:?} where {want:?} is expected")));
            }
            _ => {}
        }
    }
    let zone = text[shape.len()..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = offset(zone).ok_or_else(|| match zone {
        "" => wrong("end of string before UTC offset"),
        zone => wrong(&format!("cannot use {zone:?} as UTC offset")),
    })?;
    let hour: u8 = text[11..13].parse().unwrap_or(99);
    if hour > 23 {
        return Err(wrong("hour must be between 0 and 23 inclusive"));
    }
    let instant: Timestamp = text.parse().map_err(|_| wrong("day, hour, minute or second out of range"))?;
    Ok(instant.to_zoned(TimeZone::fixed(offset)))
}

fn part(at: usize) -> &'static str {
    match at {
        0..5 => "year",
        5..8 => "month",
        8..10 => "day of month",
        10 => "time introducer 'T'",
        11..14 => "hour",
        14..17 => "minute",
        _ => "second",
    }
}

fn offset(zone: &str) -> Option<Offset> {
    if zone == "Z" {
        return Some(Offset::UTC);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// The offset as `+01:00`, with what stands between hours and minutes.
fn zone(time: &Zoned, between: &str) -> String {
    let seconds = time.offset().seconds();
    let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    format!("{sign}{:02}{between}{:02}", seconds / 3600, seconds / 60 % 60)
}

fn rfc3339(time: &Zoned) -> String {
    let zone = if time.offset().seconds() == 0 { "Z".to_owned() } else { zone(time, ":") };
    format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

pub fn timestamp(_: &Arguments<'_>) -> Outcome {
    Ok(rfc3339(&Timestamp::now().to_zoned(TimeZone::UTC)).into())
}

pub fn formatdate(a: &Arguments<'_>) -> Outcome {
    let time = parse(a.text(1)).map_err(|why| Failure::of(1, why))?;
    dated(a.text(0), &time).map(Value::String).map_err(|why| Failure::of(0, why))
}

pub fn formattimestamp(a: &Arguments<'_>) -> Outcome {
    let time = match a.at(1) {
        Value::String(text) if a.text(0) == "X" => {
            parse(text).map_err(|_| Failure::of(1, "timestamp string must be RFC3339"))?
        }
        Value::String(text) => parse(text).map_err(|why| Failure::of(1, why))?,
        Value::Number(_) => unix(a, 1)?,
        _ => return Err(Failure::of(1, "must be a string timestamp or a unix timestamp number")),
    };
    match a.text(0) {
        "X" => Ok(time.timestamp().as_second().to_string().into()),
        pattern => dated(pattern, &time).map(Value::String).map_err(|why| Failure::of(0, why)),
    }
}

/// A time as the pattern says: letters are verbs, what stands in single quotes is text.
fn dated(pattern: &str, time: &Zoned) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), pattern);
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            rest = literal(&rest[1..], &mut out).ok_or("unterminated literal '")?;
            continue;
        }
        let end = match first.is_ascii_alphabetic() {
            true => rest.find(|c| c != first),
            false => rest.find(|c: char| c.is_ascii_alphabetic() || c == '\''),
        };
        let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
        match first.is_ascii_alphabetic() {
            true => out.push_str(&verb(token, time)?),
            false => out.push_str(token),
        }
        rest = after;
    }
    Ok(out)
}

/// What stands in quotes, two of which are one; what follows.
fn literal<'p>(text: &'p str, out: &mut String) -> Option<&'p str> {
    if let Some(after) = text.strip_prefix('\'') {
        out.push('\'');
        return Some(after);
    }
    let mut rest = text;
    loop {
        let end = rest.find('\'')?;
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                out.push('\'');
                rest = after;
            }
            None => return Some(rest),
        }
    }
}

fn verb(token: &str, time: &Zoned) -> Result<String, String> {
    let wrong = |why: &str| format!("invalid date format verb {token:?}{why}");
    let number = |value: i64, why: &str| match token.len() {
        1 => Ok(value.to_string()),
        2 => Ok(format!("{value:02}")),
        _ => Err(wrong(why)),
    };
    let month = MONTHS[usize::from(time.month().unsigned_abs()).clamp(1, 12) - 1];
    let hour = i64::from(time.hour());
    match (&token[..1], token.len()) {
        ("Y", 2) => Ok(format!("{:02}", time.year().rem_euclid(100))),
        ("Y", 4) => Ok(format!("{:04}", time.year())),
        ("Y", _) => Err(wrong(": year must either be \"YY\" or \"YYYY\"")),
        ("M", 3) => Ok(month[..3].to_owned()),
        ("M", 4) => Ok(month.to_owned()),
        ("M", _) => number(time.month().into(), ": month must be \"M\", \"MM\", \"MMM\", or \"MMMM\""),
        ("D", _) => number(time.day().into(), ": day of month must either be \"D\" or \"DD\""),
        ("E", 3) => Ok(weekday(time)[..3].to_owned()),
        ("E", 4) => Ok(weekday(time).to_owned()),
        ("E", _) => Err(wrong(": day of week must either be \"EEE\" or \"EEEE\"")),
        ("h", _) => number(hour, ": 24-hour must either be \"h\" or \"hh\""),
        ("H", _) => number((hour + 11) % 12 + 1, ": 12-hour must either be \"H\" or \"HH\""),
        ("A", 2) => Ok(if hour < 12 { "AM" } else { "PM" }.to_owned()),
        ("a", 2) => Ok(if hour < 12 { "am" } else { "pm" }.to_owned()),
        (letter @ ("A" | "a"), _) => Err(wrong(&format!(": must be \"{letter}{letter}\""))),
        ("m", _) => number(time.minute().into(), ": minute must either be \"m\" or \"mm\""),
        ("s", _) => number(time.second().into(), ": second must either be \"s\" or \"ss\""),
        ("Z", 1) if time.offset().seconds() == 0 => Ok("Z".to_owned()),
        ("Z", 3) if time.offset().seconds() == 0 => Ok("UTC".to_owned()),
        ("Z", 1 | 5) => Ok(zone(time, ":")),
        ("Z", 3 | 4) => Ok(zone(time, "")),
        ("Z", _) => Err(wrong(": timezone must be Z, ZZZZ, or ZZZZZ")),
        _ => Err(wrong("")),
    }
}

pub fn timeadd(a: &Arguments<'_>) -> Outcome {
    let time = parse(a.text(0)).map_err(|why| Failure::of(0, why))?;
    let duration = duration(a.text(1))?;
    let sum = time.checked_add(duration).map_err(|_| "the time is out of range")?;
    Ok(rfc3339(&sum).into())
}

/// `1h30m`, as Go reads it.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut all = BigInt::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (before, behind) = number.split_once('.').unwrap_or((number, ""));
        let digits: BigInt = format!("0{before}{behind}").parse().map_err(|_| wrong())?;
        if end == 0 {
            return Err(wrong());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanoseconds: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        all += digits * nanoseconds / BigInt::from(10).pow(behind.len() as u32);
        rest = after;
    }
    let nanoseconds = i64::try_from(all).map_err(|_| wrong())?;
    Ok(SignedDuration::from_nanos(if negative { -nanoseconds } else { nanoseconds }))
}

fn unix(a: &Arguments<'_>, at: usize) -> Result<Zoned, Failure> {
    let wrong = || Failure::of(at, "unix timestamp must be an integer");
    let seconds = crate::value::whole(&a.number(at)).ok_or_else(wrong)?;
    let instant =
        Timestamp::from_second(seconds).map_err(|_| Failure::of(at, "unix timestamp is out of range"))?;
    Ok(instant.to_zoned(TimeZone::UTC))
}

pub fn unixtimestampparse(a: &Arguments<'_>) -> Outcome {
    let time = unix(a, 0)?;
    let week = time.date().iso_week_date();
    let number = |value: i64| Value::from(value);
    let members: [(&str, Value); 13] = [
        ("year", number(time.year().into())),
        ("year_day", number(time.day_of_year().into())),
        ("day", number(time.day().into())),
        ("month", number(time.month().into())),
        ("month_name", MONTHS[usize::from(time.month().unsigned_abs()).clamp(1, 12) - 1].into()),
        ("weekday", number(time.weekday().to_sunday_zero_offset().into())),
        ("weekday_name", weekday(&time).into()),
        ("hour", number(time.hour().into())),
        ("minute", number(time.minute().into())),
        ("second", number(time.second().into())),
        ("rfc3339", rfc3339(&time).into()),
        ("iso_year", number(week.year().into())),
        ("iso_week", number(week.week().into())),
    ];
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
    Ok(Value::Object(members.collect::<BTreeMap<_, _>>()))
}
