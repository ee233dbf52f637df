//! `--filter` of lists of builds, as buildx has it: `ref`, `repository` and `status` are compared by `=` and `!=`, `startedAt`,
//! `completedAt` and `duration` by `<`, `<=`, `>` and `>=`. All of several have to hold.

use std::cmp::Ordering;

use api::build::BuildRecord;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::error::Error;

#[derive(Debug)]
pub struct Filter(Vec<Condition>);

#[derive(Debug)]
enum Condition {
    Text { field: Text, value: String, is_equal: bool },
    Time { field: Time, than: Timestamp, order: Order },
    Duration { than: SignedDuration, order: Order },
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Ref,
    Repository,
    Status,
}

#[derive(Debug, Clone, Copy)]
enum Time {
    Started,
    Completed,
}

/// Which results of a comparison are meant.
type Order = &'static [Ordering];

impl Filter {
    /// Reads what was given; a time that is a duration is so long before `now`.
    pub fn parse(texts: &[String], now: Timestamp) -> Result<Filter, Error> {
        texts.iter().map(|text| condition(text, now)).collect::<Result<_, _>>().map(Filter)
    }

    pub fn admits(&self, record: &BuildRecord) -> bool {
        self.0.iter().all(|condition| condition.holds(record))
    }
}

fn condition(text: &str, now: Timestamp) -> Result<Condition, Error> {
    let wrong = |why: String| Error::new(format!("invalid filter {}: {why}", template::quote(text)));
    let operators = ["!=", "<=", ">=", "=", "<", ">"];
    let found = operators.iter().filter_map(|operator| Some((text.find(operator)?, *operator)));
    let Some((at, operator)) = found.min_by_key(|(at, operator)| (*at, std::cmp::Reverse(operator.len())))
    else {
        return Err(wrong("there is none of =, !=, <, <=, > and >=".to_owned()));
    };
    let (name, value) = (&text[..at], &text[at + operator.len()..]);
    let field = match name {
        "ref" => Some(Text::Ref),
        "repository" => Some(Text::Repository),
        "status" => Some(Text::Status),
        _ => None,
    };
    if let Some(field) = field {
        return match operator {
            "=" | "!=" => {
                Ok(Condition::Text { field, value: value.to_lowercase(), is_equal: operator == "=" })
            }
            other => Err(wrong(format!("{name} is compared by = and !=, not by {other}"))),
        };
    }
    if !matches!(name, "startedAt" | "completedAt" | "duration") {
        let known = "ref, repository, status, startedAt, completedAt and duration";
        return Err(wrong(format!("there are {known}")));
    }
    let order: Order = match operator {
        ">" => &[Ordering::Greater],
        ">=" => &[Ordering::Greater, Ordering::Equal],
        "<" => &[Ordering::Less],
        "<=" => &[Ordering::Less, Ordering::Equal],
        other => return Err(wrong(format!("{name} is compared by <, <=, > and >=, not by {other}"))),
    };
    let than = api::time::parse_instant(value, now, &TimeZone::system()).map_err(|e| wrong(e.to_string()))?;
    Ok(match name {
        "duration" => Condition::Duration { than: now.duration_since(than), order },
        "startedAt" => Condition::Time { field: Time::Started, than, order },
        _ => Condition::Time { field: Time::Completed, than, order },
    })
}

impl Condition {
    fn holds(&self, record: &BuildRecord) -> bool {
        let (started, completed) =
            (api::time::parse(&record.started_at), api::time::parse(&record.completed_at));
        match self {
            Condition::Text { field, value, is_equal } => {
                let fits = match field {
                    Text::Ref => record.id.starts_with(value.as_str()),
                    Text::Repository => record.name.to_lowercase() == *value,
                    Text::Status => record.status == *value,
                };
                fits == *is_equal
            }
            Condition::Time { field, than, order } => {
                let at = match field {
                    Time::Started => started,
                    Time::Completed => completed,
                };
                at.is_some_and(|at| order.contains(&at.cmp(than)))
            }
            Condition::Duration { than, order } => {
                let took =
                    started.zip(completed).map(|(started, completed)| completed.duration_since(started));
                took.is_some_and(|took| order.contains(&took.cmp(than)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let record = BuildRecord {
            id: "abc123".into(),
            name: "https://example.com/r.git".into(),
            status: "error".into(),
            started_at: "2026-01-01T11:00:00Z".into(),
            completed_at: "2026-01-01T11:00:40Z".into(),
            ..BuildRecord::default()
        };
        let admits = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            Filter::parse(&texts, now).unwrap().admits(&record)
        };
        for (text, wanted) in [
            ("status=error", true),
            ("status=Error", true),
            ("status!=completed", true),
            ("status=completed", false),
            ("ref=abc", true),
            ("ref!=abc123", false),
            ("repository=https://example.com/r.git", true),
            ("repository=https://example.com/other.git?a=b", false),
            ("duration>30s", true),
            ("duration<30s", false),
            ("duration<1m", true),
            ("duration<=40s", true),
            ("duration>=41s", false),
            ("startedAt>=2026-01-01T11:00:00Z", true),
            ("startedAt>2h", true),
            ("startedAt>30m", false),
            ("startedAt<2026-01-01T11:30:00Z", true),
            ("completedAt>2026-01-01T11:00:10Z", true),
        ] {
            assert_eq!(admits(&[text]), wanted, "{text}");
        }
        assert!(
            admits(&[]) && admits(&["status=error", "duration>30s"]) && !admits(&["status=error", "ref=x"])
        );
        for (text, why) in [
            ("status", "there is none of"),
            ("bogus=1", "there are ref, repository"),
            ("status>1", "is compared by = and !="),
            ("duration=1s", "is compared by <, <=, > and >="),
            ("duration>long", "invalid filter \"duration>long\""),
        ] {
            let error = Filter::parse(&[text.to_owned()], now).unwrap_err();
            assert!(error.message.contains(why), "{text}: {}", error.message);
        }
    }
}
