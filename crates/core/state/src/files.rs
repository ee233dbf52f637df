//! Digests of files that builds have read, so that a tree that did not change isn't read again.
//!
//! A file is known by device, inode, size and both times: the change time moves with every write and can't be set
//! back. Rows are hints. A wrong one would be a wrong cache hit, so the reader doesn't record files that changed
//! within the resolution of the clock; a lost one costs one read.

use crate::rows::{self, execute, first};
use crate::{Error, Tx};
use oci::Digest;
use rusqlite::params;

pub(crate) const SCHEMA: &str = "
CREATE TABLE files (
    dev    INTEGER NOT NULL,
    ino    INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    mtime  INTEGER NOT NULL,
    ctime  INTEGER NOT NULL,
    digest TEXT NOT NULL,
    used   TEXT NOT NULL,
    PRIMARY KEY (dev, ino)
) WITHOUT ROWID, STRICT;
CREATE INDEX files_used ON files (used);
";

/// What a file's content is known by. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: i64,
    /// Last change of anything.
    pub ctime: i64,
}

/// The digest of the file that has this stamp.
pub fn get(tx: &Tx<'_>, stamp: &Stamp) -> Result<Option<Digest>, Error> {
    let sql = "SELECT digest FROM files
               WHERE dev = ?1 AND ino = ?2 AND size = ?3 AND mtime = ?4 AND ctime = ?5";
    let keys = params![stamp.dev as i64, stamp.ino as i64, stamp.size as i64, stamp.mtime, stamp.ctime];
    first(tx, sql, keys, "file digest", |row| rows::digest(row, 0))
}

/// Remembers the digest of a file; what was known of the inode before goes.
pub fn put(tx: &Tx<'_>, stamp: &Stamp, digest: &Digest, now: &str) -> Result<(), Error> {
    let sql = "INSERT OR REPLACE INTO files (dev, ino, size, mtime, ctime, digest, used)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        stamp.dev as i64,
        stamp.ino as i64,
        stamp.size as i64,
        stamp.mtime,
        stamp.ctime,
        digest.as_str(),
        now
    ];
    execute(tx, sql, values, "remember file digest", digest.as_str())?;
    Ok(())
}

/// Forgets files that were last read before `time` (RFC 3339); how many.
pub fn forget_before(tx: &Tx<'_>, time: &str) -> Result<usize, Error> {
    execute(tx, "DELETE FROM files WHERE used < ?1", [time], "forget file digests", time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn a_change_of_any_part_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let stamp = Stamp { dev: 1, ino: u64::MAX, size: 3, mtime: -4, ctime: 5 };
        let digest = Digest::sha256(b"content");
        db.write::<_, Error>(|tx| {
            put(tx, &stamp, &digest, "2025-01-01T00:00:00Z")?;
            assert_eq!(get(tx, &stamp)?, Some(digest.clone()));
            for other in [
                Stamp { dev: 2, ..stamp },
                Stamp { ino: 2, ..stamp },
                Stamp { size: 2, ..stamp },
                Stamp { mtime: 2, ..stamp },
                Stamp { ctime: 2, ..stamp },
            ] {
                assert_eq!(get(tx, &other)?, None);
            }
            assert_eq!(forget_before(tx, "2025-01-02T00:00:00Z")?, 1);
            Ok(())
        })
        .unwrap();
    }
}
