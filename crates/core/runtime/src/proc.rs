//! Reading proc(5).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than most files there have.
const USUAL: usize = 16 << 10;

/// A file below `/proc`. Those have no size to go by: read in growing steps, as the standard library does, each step has
/// the kernel write them anew.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(USUAL);
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}
