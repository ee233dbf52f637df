//! Query strings and path segments.

use std::fmt::Write as _;

/// A query string under construction.
#[derive(Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter.
    pub(crate) fn put(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        escape(&mut self.0, name, "");
        self.0.push('=');
        escape(&mut self.0, value, "/:,");
        self
    }

    /// Adds a parameter that has a value.
    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.put(name, value) }
    }

    /// Adds a parameter that is set.
    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        if value { self.put(name, "1") } else { self }
    }

    /// Adds a number that is not zero.
    pub(crate) fn number(self, name: &str, value: i64) -> Self {
        if value == 0 { self } else { self.put(name, &value.to_string()) }
    }

    /// Adds a parameter once for each value.
    pub(crate) fn each(self, name: &str, values: &[String]) -> Self {
        values.iter().fold(self, |query, value| query.put(name, value))
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// A path with the caller's name in it; slashes in the name stay, as Docker's clients leave them.
pub(crate) fn path(before: &str, name: &str, after: &str) -> String {
    let mut path = before.to_owned();
    escape(&mut path, name, "/:@");
    path.push_str(after);
    path
}

fn escape(out: &mut String, text: &str, also: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.as_bytes().contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let query =
            Query::new().put("filters", r#"{"a":1}"#).flag("all", true).flag("x", false).number("n", -1);
        assert_eq!(query.into_string(), "filters=%7B%22a%22:1%7D&all=1&n=-1");
        assert_eq!(path("/images/", "a/b:c?d e", "/json"), "/images/a/b:c%3Fd%20e/json");
    }
}
