//! DL3053: a label is a time.

use super::labels;
use crate::config::{LabelType, Settings};
use crate::rule::{Rule, Severity, Told};
use crate::view::View;

pub(super) const RULE: Rule = Rule { id: "DL3053", severity: Severity::Warning, check };

fn check(view: &View<'_>, settings: &Settings, told: &mut Vec<Told>) {
    labels(view, settings, told, LabelType::Rfc3339, "is no time of RFC 3339", is_time);
}

/// `2026-01-31T12:00:00.5Z`.
fn is_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't', ' ']) else { return false };
    let Some(zone) = time.find(['Z', 'z', '+', '-']) else { return false };
    let (clock, zone) = time.split_at(zone);
    let clock = match clock.split_once('.') {
        Some((clock, part)) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => clock,
        Some(_) => return false,
        None => clock,
    };
    let zone =
        zone.eq_ignore_ascii_case("z") || numbers(&zone[1..], ':', &[(2, 0, 23), (2, 0, 59)]).is_some();
    let date = numbers(date, '-', &[(4, 0, 9999), (2, 1, 12), (2, 1, 31)]);
    let is_day = date.is_some_and(|d| d[2] <= days(d[0], d[1]));
    is_day && zone && numbers(clock, ':', &[(2, 0, 23), (2, 0, 59), (2, 0, 60)]).is_some()
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Numbers of so many digits and between these bounds.
fn numbers(text: &str, between: char, wanted: &[(usize, u32, u32)]) -> Option<Vec<u32>> {
    let parts: Vec<&str> = text.split(between).collect();
    if parts.len() != wanted.len() {
        return None;
    }
    let read = |(part, (digits, low, high)): (&&str, &(usize, u32, u32))| {
        let is_number = part.len() == *digits && part.bytes().all(|b| b.is_ascii_digit());
        let number: u32 = part.parse().ok().filter(|_| is_number)?;
        (*low..=*high).contains(&number).then_some(number)
    };
    parts.iter().zip(wanted).map(read).collect()
}
