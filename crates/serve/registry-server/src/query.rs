//! Parameters of a request's query.

use std::borrow::Cow;

use crate::answer::Result;
use crate::error::{Code, Failure};

/// The pairs of a query, decoded.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let owned = |(key, value): (Cow<'_, str>, Cow<'_, str>)| (key.into_owned(), value.into_owned());
        Query(form_urlencoded::parse(text.as_bytes()).map(owned).collect())
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a name.
    pub(crate) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How many entries a list may have: `n`, but never more than `most`, whatever is asked for.
    pub(crate) fn count(&self, most: usize) -> Result<usize> {
        let Some(text) = self.get("n").filter(|text| !text.is_empty()) else { return Ok(most) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        // Digits that are no number are too large a one.
        match digits {
            true => Ok(text.parse().unwrap_or(most).min(most)),
            false => Err(Failure::new(Code::PaginationNumberInvalid).about(serde_json::json!({ "n": text }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded() {
        let count = |text: &str| Query::parse(text).count(100).map_err(|failure| failure.code);
        assert_eq!(count(""), Ok(100));
        assert_eq!(count("n=5&n=7"), Ok(5));
        assert_eq!(count("n=0"), Ok(0));
        assert_eq!(count("n=999999999"), Ok(100));
        assert_eq!(count("n=99999999999999999999999999"), Ok(100));
        for text in ["n=-1", "n=x", "n=1e3", "n=%2b1"] {
            assert_eq!(count(text), Err(Code::PaginationNumberInvalid), "{text}");
        }
    }
}
