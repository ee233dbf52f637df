//! `--annotation key=value`.

use crate::error::Error;

/// The names and values of all annotations, in order.
pub fn read(texts: &[String]) -> Result<Vec<(String, String)>, Error> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::new(format!("invalid annotation {text}: expected key=value"))),
    };
    texts.iter().map(pair).collect()
}
