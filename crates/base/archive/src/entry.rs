//! One member of an archive.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; its content follows.
    File,
    /// A second name of another entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// Seconds and nanoseconds since 1970; the nanoseconds count forward also before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds, below a thousand million.
    pub nanoseconds: u32,
}

impl Time {
    /// Now, in whole seconds.
    pub fn now() -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: 0 }
    }
}

/// A run of stored bytes in a sparse file; what lies between runs is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// One member of an archive, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name as the archive has it: nothing about it is checked but that it has no NUL.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Size of the file; 0 for all else.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Target of a symbolic or hard link.
    pub link: PathBuf,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// The stored runs of a sparse file.
    pub sparse: Option<Vec<Segment>>,
}

impl Entry {
    /// An entry of root's from 1970.
    pub fn new(path: impl Into<PathBuf>, kind: Kind, mode: u32) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Time::default(),
            link: PathBuf::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// A regular file of this size.
    pub fn file(path: impl Into<PathBuf>, mode: u32, size: u64) -> Entry {
        Entry { size, ..Entry::new(path, Kind::File, mode) }
    }

    /// A directory.
    pub fn directory(path: impl Into<PathBuf>, mode: u32) -> Entry {
        Entry::new(path, Kind::Directory, mode)
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Entry {
        Entry { link: target.into(), ..Entry::new(path, Kind::Symlink, 0o777) }
    }
}
