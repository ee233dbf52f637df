//! A stream that ends with an error when it is longer than allowed or nobody wants it any more: a kilobyte can decompress to
//! hours of zeros.

use crate::Error;
use std::io::{self, Read};

/// Reads from another stream within limits. Whether it is still wanted is asked at each read.
pub struct Guard<R, F> {
    inner: R,
    limit: u64,
    left: u64,
    is_over: F,
}

/// Why the work on an archive ends that is unwanted.
pub(crate) const UNWANTED: &str = "nobody waits for it any more";

/// Ends the work on an archive with an error if it `is_over`.
pub fn wanted(is_over: bool) -> io::Result<()> {
    if is_over { Err(io::Error::other(UNWANTED)) } else { Ok(()) }
}

impl<R: Read, F: Fn() -> bool> Guard<R, F> {
    /// At most `limit` bytes, as long as `is_over` says no.
    pub fn new(inner: R, limit: u64, is_over: F) -> Guard<R, F> {
        Guard { inner, limit, left: limit, is_over }
    }
}

impl<R: Read, F: Fn() -> bool> Read for Guard<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wanted((self.is_over)())?;
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other(Error::TooLarge { limit: self.limit, unit: "bytes" }))?;
        Ok(count)
    }
}
