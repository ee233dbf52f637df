//! Lists in one string, fields apart by commas, quoted where they hold some (RFC 4180), as BuildKit's attributes have them.

use tonic::Status;

/// The fields.
pub fn fields(text: &str) -> Result<Vec<String>, Status> {
    let mut fields = Vec::new();
    let mut rest = text;
    if rest.is_empty() {
        return Ok(fields);
    }
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted).ok_or_else(|| wrong(text))?,
            None => match rest.split_once(',') {
                Some((field, after)) => (field.to_owned(), Some(after)),
                None => (rest.to_owned(), None),
            },
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A field behind its first quote, and what comes behind the comma after it.
fn quoted_field(text: &str) -> Option<(String, Option<&str>)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None if after.is_empty() => return Some((field, None)),
            None => return Some((field, Some(after.strip_prefix(',')?))),
        }
    }
}

fn wrong(text: &str) -> Status {
    Status::invalid_argument(format!("{text:?} is no list of values"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_may_be_quoted() {
        let read = |text: &str| fields(text).map_err(|e| e.message().to_owned());
        assert_eq!(read("a=1,b=2"), Ok(vec!["a=1".into(), "b=2".into()]));
        assert_eq!(read("\"a=1,2\",b"), Ok(vec!["a=1,2".into(), "b".into()]));
        assert_eq!(read("\"say \"\"hi\"\"\""), Ok(vec!["say \"hi\"".into()]));
        assert_eq!(read(""), Ok(vec![]));
        assert!(read("\"open").is_err() && read("\"a\"b").is_err());
    }
}
