//! What layers became when they were compressed: the next push then knows, without doing it again, by which name a registry
//! has them. Compressing gives the same bytes each time, so this is memory and no fact: whatever is lost is found out again.

use crate::rows::{self, execute, first, list};
use crate::{Error, Tx};
use oci::Digest;
use rusqlite::params;

pub(crate) const SCHEMA: &str = "
CREATE TABLE packed (
    source TEXT NOT NULL,
    method TEXT NOT NULL,
    digest TEXT NOT NULL,
    size   INTEGER NOT NULL,
    PRIMARY KEY (source, method)
) WITHOUT ROWID, STRICT;
CREATE INDEX packed_digest ON packed (digest);
";

/// Rows that are kept: some megabytes. Which of too many go is left to chance.
const MOST: u32 = 20_000;

/// A layer that was compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

/// Remembers what `source` is when it is compressed by this method.
pub fn put(tx: &Tx<'_>, source: &Digest, method: &str, packed: &Packed) -> Result<(), Error> {
    let sql = "INSERT OR REPLACE INTO packed (source, method, digest, size) VALUES (?1, ?2, ?3, ?4)";
    let size = packed.size as i64;
    let row = params![source.as_str(), method, packed.digest.as_str(), size];
    execute(tx, sql, row, "remember packed layer", source.as_str())?;
    let sql = "DELETE FROM packed WHERE (source, method) IN
        (SELECT source, method FROM packed LIMIT max(0, (SELECT count(*) FROM packed) - ?1))";
    execute(tx, sql, [MOST], "forget packed layers", "the first ones")?;
    Ok(())
}

/// What `source` is when it is compressed by this method, if that is known.
pub fn get(tx: &Tx<'_>, source: &Digest, method: &str) -> Result<Option<Packed>, Error> {
    let sql = "SELECT digest, size FROM packed WHERE source = ?1 AND method = ?2";
    first(tx, sql, [source.as_str(), method], source.as_str(), |row| {
        Ok(Packed { digest: rows::digest(row, 0)?, size: row.get::<_, i64>(1)?.unsigned_abs() })
    })
}

/// What is known to be `digest` when it is compressed.
pub fn sources(tx: &Tx<'_>, digest: &Digest) -> Result<Vec<Digest>, Error> {
    let sql = "SELECT source FROM packed WHERE digest = ?1";
    list(tx, sql, [digest.as_str()], "packed layers", |row| rows::digest(row, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn methods_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let packed = Packed { digest: b.clone(), size: 7 };
        db.write::<_, Error>(|tx| {
            assert_eq!(get(tx, &a, "gzip")?, None);
            put(tx, &a, "gzip", &packed)?;
            put(tx, &a, "gzip", &packed)?;
            assert_eq!(get(tx, &a, "zstd")?, None);
            assert_eq!(get(tx, &a, "gzip")?, Some(packed.clone()));
            assert_eq!(sources(tx, &b)?, std::slice::from_ref(&a));
            Ok(())
        })
        .unwrap();
    }
}
