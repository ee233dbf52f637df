//! Filters of builds of before: `status==error`, `ref~=abc`, `startedAt>2026-01-02T15:04:05Z`, `duration<1m30s`; several joined by
//! commas must all hold, one of several such lists is enough.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use api::build::BuildRecord;
use engine::builds::is_git;
use tonic::Status;

use super::history::RUNNING;
use crate::status::parse_time;

/// One condition.
pub enum Filter {
    Text { field: Field, how: Match, value: String },
    Time { field: Moment, order: Order, value: SystemTime },
    Duration { order: Order, value: Duration },
}

pub enum Field {
    Id,
    Status,
    Repository,
}

pub enum Match {
    Is,
    IsNot,
    Contains,
}

pub enum Moment {
    Started,
    Completed,
}

/// Which results of a comparison are meant.
pub struct Order(&'static [Ordering]);

/// The lists.
pub type Filters = Vec<Vec<Filter>>;

const OPERATORS: [&str; 7] = [">=", "<=", "==", "!=", "~=", ">", "<"];

pub fn parse(texts: &[String]) -> Result<Filters, Status> {
    let lists = texts.iter().filter(|text| !text.is_empty());
    lists.map(|text| text.split(',').map(one).collect()).collect()
}

fn one(text: &str) -> Result<Filter, Status> {
    let wrong = || Status::invalid_argument(format!("filter {text:?} of builds is not supported"));
    let found = OPERATORS.iter().filter_map(|operator| Some((text.find(operator)?, *operator)));
    let (at, operator) = found.min_by_key(|(at, operator)| (*at, 2 - operator.len())).ok_or_else(wrong)?;
    let (field, value) = (text[..at].trim(), text[at + operator.len()..].trim().trim_matches('"'));
    let order = || {
        Ok(Order(match operator {
            ">" => &[Ordering::Greater],
            "<" => &[Ordering::Less],
            ">=" => &[Ordering::Greater, Ordering::Equal],
            "<=" => &[Ordering::Less, Ordering::Equal],
            "==" => &[Ordering::Equal],
            "!=" => &[Ordering::Less, Ordering::Greater],
            _ => return Err(wrong()),
        }))
    };
    let time = |field| {
        let value = parse_time(value).ok_or_else(wrong)?;
        Ok(Filter::Time { field, order: order()?, value })
    };
    let text = |field| {
        let how = match operator {
            "==" => Match::Is,
            "!=" => Match::IsNot,
            "~=" => Match::Contains,
            _ => return Err(wrong()),
        };
        Ok(Filter::Text { field, how, value: value.to_owned() })
    };
    match field {
        "ref" => text(Field::Id),
        "status" => text(Field::Status),
        "repository" => text(Field::Repository),
        "startedAt" | "createdAt" => time(Moment::Started),
        "completedAt" => time(Moment::Completed),
        "duration" => {
            let span: jiff::Span = value.parse().map_err(|_| wrong())?;
            let value = Duration::try_from(span).map_err(|_| wrong())?;
            Ok(Filter::Duration { order: order()?, value })
        }
        _ => Err(wrong()),
    }
}

/// Whether a build is wanted.
pub fn admit(filters: &Filters, record: &BuildRecord) -> bool {
    filters.is_empty() || filters.iter().any(|all| all.iter().all(|filter| holds(filter, record)))
}

/// Where the context of a build comes from, as its client says.
fn repository(record: &BuildRecord) -> &str {
    let said = |key: &str| record.attributes.get(key).map(String::as_str);
    let remote = || said("context").filter(|context| is_git(context));
    said("vcs:source").or_else(remote).unwrap_or_default()
}

fn holds(filter: &Filter, record: &BuildRecord) -> bool {
    let (started, completed) = (parse_time(&record.started_at), parse_time(&record.completed_at));
    match filter {
        Filter::Text { field, how, value } => {
            let status = if record.status == "killed" { "error" } else { &record.status };
            let known = match field {
                Field::Id => &record.id,
                Field::Status => status,
                Field::Repository => repository(record),
            };
            match how {
                Match::Is => known == value,
                Match::IsNot => known != value,
                Match::Contains => known.contains(value.as_str()),
            }
        }
        Filter::Time { field, order, value } => {
            let known = match field {
                Moment::Started => started,
                Moment::Completed => completed,
            };
            known.is_some_and(|known| order.0.contains(&known.cmp(value)))
        }
        Filter::Duration { order, value } => {
            let end = if record.status == RUNNING { Some(SystemTime::now()) } else { completed };
            let known = started.zip(end).map(|(start, end)| end.duration_since(start).unwrap_or_default());
            known.is_some_and(|known| order.0.contains(&known.cmp(value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_picked() {
        let record = BuildRecord {
            id: "abcdefgh".to_owned(),
            status: "error".to_owned(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            completed_at: "2026-01-01T00:01:00Z".to_owned(),
            attributes: [("vcs:source".to_owned(), "https://host/a.git".to_owned())].into(),
            ..BuildRecord::default()
        };
        let admits = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            parse(&texts)
                .map(|filters| admit(&filters, &record))
                .map_err(|status| status.message().to_owned())
        };
        assert!(admits(&[]).unwrap() && admits(&["status==error"]).unwrap());
        assert!(!admits(&["status!=error"]).unwrap() && admits(&["ref~=cde"]).unwrap());
        assert!(admits(&["status==running", "ref==abcdefgh"]).unwrap(), "one list is enough");
        assert!(!admits(&["status==running,ref==abcdefgh"]).unwrap(), "all of a list must hold");
        assert!(admits(&["duration>=1m,duration<61s"]).unwrap());
        assert!(admits(&["startedAt<2026-01-01T00:00:01Z", "completedAt>2027-01-01T00:00:00Z"]).unwrap());
        assert!(!admits(&["repository==x"]).unwrap() && admits(&["repository~=host/a"]).unwrap());
        for wrong in
            ["", "status", "status>error", "size==1", "duration>much", "startedAt~=2026-01-01T00:00:00Z"]
        {
            assert!(wrong.is_empty() || admits(&[wrong]).unwrap_err().contains("not supported"), "{wrong}");
        }
    }
}
