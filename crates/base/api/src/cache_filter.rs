//! Filters of the build cache (`buildx du --filter`, `builder prune --filter`).
//!
//! Texts are compared by `=`, by `!=` and, with a regular expression, by `~=`; the sign before the `=` comes at the end of the key.

use jiff::Timestamp;
use regex::Regex;

use crate::build::CacheRecord;
use crate::filters::{Error, Filters};

const TEXTS: [&str; 4] = ["id", "type", "description", "parents"];
const FLAGS: [&str; 5] = ["inuse", "shared", "private", "mutable", "immutable"];
/// What was not used for so long, and the word for it that Docker's settings have.
const UNTIL: [&str; 2] = ["until", "unused-for"];
/// The type of the directories of cache mounts.
const MOUNT: &str = "exec.cachemount";
/// That of contexts that clients sent.
const CONTEXT: &str = "source.local";

/// Which records are meant.
#[derive(Debug, Default)]
pub struct CacheFilter {
    texts: [Text; 4],
    flags: [Option<bool>; 5],
    unused_since: Option<Timestamp>,
}

impl CacheFilter {
    /// Reads filters; those that there are not, and values that mean nothing, are errors.
    pub fn read(filters: &Filters) -> Result<Self, Error> {
        let is_text = |key: &str| TEXTS.contains(&key.strip_suffix(['!', '~']).unwrap_or(key));
        let known = |key: &str| is_text(key) || FLAGS.contains(&key) || UNTIL.contains(&key);
        if let Some(key) = filters.0.keys().find(|key| !known(key)) {
            return Err(Error::Unknown(key.clone()));
        }
        let mut found = Self { unused_since: filters.instant(&UNTIL)?, ..Self::default() };
        for (text, key) in found.texts.iter_mut().zip(TEXTS) {
            *text = Text::read(filters, key)?;
        }
        for (flag, key) in found.flags.iter_mut().zip(FLAGS) {
            *flag = filters.boolean(key)?;
        }
        Ok(found)
    }

    /// Only what was not used since then.
    pub fn unused_since(&self) -> Option<Timestamp> {
        self.unused_since
    }

    /// Whether a record is meant.
    pub fn admits(&self, record: &CacheRecord) -> bool {
        let [id, kind, description, parents] = &self.texts;
        let is_mutable = record.typ == MOUNT || record.typ == CONTEXT;
        let flags = [record.in_use, record.shared, !record.shared, is_mutable, !is_mutable];
        id.admits(&record.id, |value| record.id.starts_with(value))
            && kind.admits(&record.typ, |value| record.typ == value)
            && description.admits(&record.description, |value| record.description == value)
            && parents
                .admits(&record.parents.join(";"), |value| record.parents.iter().any(|one| one == value))
            && self.flags.iter().zip(flags).all(|(wanted, is)| wanted.is_none_or(|wanted| wanted == is))
            && self.unused_since.is_none_or(|since| was_used(record).is_none_or(|used| used < since))
    }
}

fn was_used(record: &CacheRecord) -> Option<Timestamp> {
    crate::time::parse(record.last_used_at.as_deref()?)
}

/// What is asked of one text.
#[derive(Debug, Default)]
struct Text {
    /// One of these, if there are any.
    equal: Vec<String>,
    different: Vec<String>,
    like: Vec<Regex>,
}

impl Text {
    fn read(filters: &Filters, key: &str) -> Result<Self, Error> {
        let values = |sign: &str| filters.get(&format!("{key}{sign}")).map(str::to_owned).collect::<Vec<_>>();
        let regex = |text: String| {
            let wrong = |_| Error::Value { key: format!("{key}~"), values: vec![text.clone()] };
            Regex::new(&text).map_err(wrong)
        };
        let like = values("~").into_iter().map(regex).collect::<Result<_, _>>()?;
        Ok(Self { equal: values(""), different: values("!"), like })
    }

    fn admits(&self, text: &str, is: impl Fn(&str) -> bool) -> bool {
        (self.equal.is_empty() || self.equal.iter().any(|value| is(value)))
            && !self.different.iter().any(|value| is(value))
            && self.like.iter().all(|regex| regex.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<CacheFilter, Error> {
        let mut filters = Filters::default();
        pairs.iter().for_each(|(key, value)| filters.add(*key, *value));
        CacheFilter::read(&filters)
    }

    #[test]
    fn records_are_chosen() {
        let record = CacheRecord {
            id: "abcd".to_owned(),
            typ: "regular".to_owned(),
            description: "COPY a b".to_owned(),
            shared: true,
            last_used_at: Some((Timestamp::now() - jiff::SignedDuration::from_hours(2)).to_string()),
            ..CacheRecord::default()
        };
        for (key, value, is_meant) in [
            ("id", "ab", true),
            ("id", "b", false),
            ("id~", "c", true),
            ("id!", "a", false),
            ("type", "regular", true),
            ("type!", "regular", false),
            ("type!", "exec.cachemount", true),
            ("description", "COPY", false),
            ("description~", "^COPY a", true),
            ("description~", "RUN|ADD", false),
            ("parents", "x", false),
            ("parents!", "x", true),
            ("shared", "true", true),
            ("private", "1", false),
            ("mutable", "0", true),
            ("immutable", "false", false),
            ("inuse", "false", true),
            ("until", "1h", true),
            ("unused-for", "3h", false),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap().admits(&record), is_meant, "{key}={value}");
        }
        assert!(read(&[("id", "x"), ("id", "a")]).unwrap().admits(&record), "one of them is enough");
        assert!(!read(&[("id~", "x"), ("id~", "a")]).unwrap().admits(&record), "all of these have to fit");
    }

    #[test]
    fn what_is_no_filter() {
        let error = |key: &str, value: &str| read(&[(key, value)]).unwrap_err().to_string();
        assert_eq!(error("no", "such"), "invalid filter 'no'");
        assert_eq!(error("inuse~", "1"), "invalid filter 'inuse~'");
        assert_eq!(error("id!!", "1"), "invalid filter 'id!!'");
        assert_eq!(error("description~", "("), "invalid filter 'description~=[(]'");
        assert_eq!(error("until", "soon"), "failed to parse value as time or duration: \"soon\"");
        let twice = read(&[("until", "1h"), ("unused-for", "2h")]).unwrap_err().to_string();
        assert_eq!(twice, "more than one unused-for filter specified");
    }
}
