//! Decompressing members of gzip (RFC 1952) that are in memory as a whole: libdeflate needs half to two thirds of the time that a
//! decompressor of streams does.
//!
//! Its safe binding does not say how much of its input a member was, which one has to know to find the next.

use std::ptr::NonNull;

use libdeflate_sys as ffi;

/// A decompressor for one member after the other.
pub struct Inflater(NonNull<ffi::libdeflate_decompressor>);

// SAFETY: it is memory that belongs to whoever has it; libdeflate has no state of threads.
unsafe impl Send for Inflater {}

impl Inflater {
    /// None without memory.
    pub fn new() -> Option<Inflater> {
        // SAFETY: no arguments; null says that there is no memory.
        NonNull::new(unsafe { ffi::libdeflate_alloc_decompressor() }).map(Inflater)
    }

    /// Decompresses the member that `from` begins with: its length there and the length of what it became. None if it is damaged,
    /// not all there, or becomes more than there is room for.
    pub fn member(&mut self, from: &[u8], to: &mut [u8]) -> Option<(usize, usize)> {
        let (mut read, mut written) = (0, 0);
        // SAFETY: the decompressor is one that was allocated and is used here alone; it reads and writes no more than the lengths
        // of the two slices, which don't overlap, and two numbers that live here.
        let result = unsafe {
            ffi::libdeflate_gzip_decompress_ex(
                self.0.as_ptr(),
                from.as_ptr().cast(),
                from.len(),
                to.as_mut_ptr().cast(),
                to.len(),
                &raw mut read,
                &raw mut written,
            )
        };
        (result == ffi::libdeflate_result_LIBDEFLATE_SUCCESS).then_some((read, written))
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: it was allocated by the function's counterpart and nobody uses it any more.
        unsafe { ffi::libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two members, "one" and "two", the second of which has a wrong sum.
    const TWO: [u8; 46] = [
        31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 207, 75, 5, 0, 241, 134, 108, 122, 3, 0, 0, 0, 31, 139, 8, 0,
        0, 0, 0, 0, 0, 3, 43, 41, 207, 7, 0, 0, 0, 0, 0, 3, 0, 0, 0,
    ];

    #[test]
    fn a_member_ends_where_the_next_begins() {
        let mut inflater = Inflater::new().unwrap();
        let mut room = [0; 3];
        assert_eq!(inflater.member(&TWO, &mut room), Some((23, 3)));
        assert_eq!(&room, b"one");
        // Too little room, a part, and a sum that is wrong.
        assert_eq!(inflater.member(&TWO, &mut [0; 2]), None);
        assert_eq!(inflater.member(&TWO[..20], &mut room), None);
        assert_eq!(inflater.member(&TWO[23..], &mut room), None);
        assert_eq!(inflater.member(&[], &mut room), None);
    }
}
