//! Query strings as Go's `url.ParseQuery` and dockerd's form helpers read them.

use crate::error::Failure;
use api::Filters;

/// The parameters of a request, in their order.
#[derive(Debug, Default, Clone)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URL behind the question mark.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?, decode(value, true)?))
        });
        pairs.collect::<Result<_, Failure>>().map(Self)
    }

    /// The first value; empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// True when the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// All values.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
    }

    /// Anything but nothing, `0`, `no`, `false` and `none` is true.
    pub fn flag(&self, name: &str) -> bool {
        !matches!(self.text(name).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// Like [`Query::flag`], with a value for an absent parameter.
    pub fn flag_or(&self, name: &str, absent: bool) -> bool {
        if self.has(name) { self.flag(name) } else { absent }
    }

    /// A number; absent is `None`.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "invalid value {text:?} of query parameter {name}: not a valid number"
                ))
            }),
        }
    }

    /// The `filters` parameter.
    pub fn filters(&self) -> Result<Filters, Failure> {
        Filters::parse(self.text("filters")).map_err(|e| Failure::bad_request(e.to_string()))
    }
}

/// Undoes percent encoding; `+` is a space in queries only. What is not UTF-8 then is refused.
pub fn decode(text: &str, plus: bool) -> Result<String, Failure> {
    let bad = || Failure::bad_request(format!("invalid URL escape in {text:.100?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let (pair, tail) = tail.split_at_checked(2).ok_or_else(bad)?;
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
                bytes.push(digit(pair[0]).ok_or_else(bad)? << 4 | digit(pair[1]).ok_or_else(bad)?);
                rest = tail;
            }
            b'+' if plus => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    if bytes.contains(&0) {
        return Err(bad());
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            if let Ok(query) = Query::parse(&text) {
                let _ = (query.filters(), query.number::<i64>("a"), query.flag("a"));
            }
        }

        #[test]
        fn what_is_escaped_reads_back(name in "[a-z]{1,5}", value in "[^\0]{0,20}") {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let query = Query::parse(&format!("{name}={escaped}")).unwrap();
            prop_assert_eq!(query.text(&name), value);
        }
    }

    #[test]
    fn reads_as_go_does() {
        let query = Query::parse("all=1&t=a%2Fb&t=c+d&empty&no=False&n=-5&&x=%7B%7D").unwrap();
        assert!(query.flag("all") && !query.flag("no") && !query.flag("empty") && query.has("empty"));
        assert_eq!(query.all("t"), ["a/b", "c d"]);
        assert_eq!(query.text("x"), "{}");
        assert_eq!(query.number::<i64>("n").unwrap(), Some(-5));
        assert!(query.number::<u32>("n").is_err());
        assert!(query.flag_or("absent", true));
    }

    #[test]
    fn hostile_escapes_are_refused() {
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%+1=a"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
