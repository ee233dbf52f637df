//! fs-verity: files that the kernel checks, whenever they are read, against a tree of hashes made once, and that nobody can
//! change any more (Linux 5.4, Documentation/filesystems/fsverity.rst). ext4 and f2fs have it where it was asked for when they
//! were made, btrfs has it always.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `struct fsverity_enable_arg`.
#[repr(C)]
#[derive(Default)]
struct Enable {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

const ENABLE: libc::c_ulong = 0x4080_6685;
const SHA256: u32 = 1;

/// Has the kernel seal a file that is whole and open for reading; that it is sealed already is fine. Whether it is sealed now:
/// not every file system can do that, nor every kernel, and none while somebody has the file open for writing.
pub fn seal(file: &File) -> io::Result<bool> {
    let arg = Enable { version: 1, hash_algorithm: SHA256, block_size: 4096, ..Enable::default() };
    // SAFETY: the ioctl reads a struct of the size that is part of its number, and `arg` is one; its pointers are null with
    // lengths of zero.
    if unsafe { libc::ioctl(file.as_raw_fd(), ENABLE as _, &raw const arg) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EEXIST) => Ok(true),
        Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ETXTBSY) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_sealed_where_that_is_possible_and_stays_readable() {
        assert_eq!(size_of::<Enable>(), 128);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let sealed = seal(&File::open(&path).unwrap()).unwrap();
        // Where it is sealed, writing is refused; where not, nothing has changed.
        assert_eq!(File::options().write(true).open(&path).is_err(), sealed);
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert_eq!(seal(&File::open(&path).unwrap()).unwrap(), sealed);
    }
}
