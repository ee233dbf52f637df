//! Which layer a blob is the archive of: that what it decompresses to has this diff id. It was seen once and is true for ever, for
//! both names are digests; so this is memory, and what is lost of it is found out again.

use crate::rows::{self, execute, first};
use crate::{Error, Tx};
use oci::Digest;

pub(crate) const SCHEMA: &str = "
CREATE TABLE archives (
    blob    TEXT PRIMARY KEY,
    diff_id TEXT NOT NULL
) WITHOUT ROWID, STRICT;
";

/// Rows that are kept: some megabytes. Which of too many go is left to chance.
const MOST: u32 = 20_000;

/// Remembers blobs with the digests of what they decompress to.
pub fn put(tx: &Tx<'_>, seen: &[(Digest, Digest)]) -> Result<(), Error> {
    if seen.is_empty() {
        return Ok(());
    }
    for (blob, diff_id) in seen {
        let sql = "INSERT OR REPLACE INTO archives (blob, diff_id) VALUES (?1, ?2)";
        execute(tx, sql, [blob.as_str(), diff_id.as_str()], "remember archive", blob.as_str())?;
    }
    let sql = "DELETE FROM archives WHERE blob IN
        (SELECT blob FROM archives LIMIT max(0, (SELECT count(*) FROM archives) - ?1))";
    execute(tx, sql, [MOST], "forget archives", "the first ones")?;
    Ok(())
}

/// The digest of what `blob` decompresses to, if that is known.
pub fn get(tx: &Tx<'_>, blob: &Digest) -> Result<Option<Digest>, Error> {
    let sql = "SELECT diff_id FROM archives WHERE blob = ?1";
    first(tx, sql, [blob.as_str()], blob.as_str(), |row| rows::digest(row, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn what_was_seen_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let (blob, diff_id) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        db.write::<_, Error>(|tx| {
            assert_eq!(get(tx, &blob)?, None);
            put(tx, &[(blob.clone(), diff_id.clone())])?;
            put(tx, &[(blob.clone(), diff_id.clone())])?;
            assert_eq!(get(tx, &blob)?, Some(diff_id.clone()));
            Ok(())
        })
        .unwrap();
    }
}
