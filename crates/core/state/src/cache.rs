//! The build cache: which layer stack an operation gave the last time that it ran on the same inputs.
//!
//! The key is the digest of what the operation does and reads; the record (the builder's JSON) says what that was,
//! so that a miss can be explained. A record keeps its layers from being collected.

use crate::rows::{self, execute, first, list};
use crate::{Error, Tx};
use oci::{ChainId, Digest};
use rusqlite::{Row, params};

pub(crate) const SCHEMA: &str = "
CREATE TABLE cache (
    key     TEXT PRIMARY KEY,
    chain   TEXT,
    scope   TEXT NOT NULL,
    record  TEXT NOT NULL,
    created TEXT NOT NULL,
    used    TEXT NOT NULL,
    uses    INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX cache_scope ON cache (scope, used);
CREATE TABLE cache_shapes (
    shape TEXT NOT NULL,
    key   TEXT NOT NULL REFERENCES cache (key) ON DELETE CASCADE,
    PRIMARY KEY (shape, key)
) WITHOUT ROWID, STRICT;
CREATE INDEX cache_shapes_key ON cache_shapes (key);
CREATE TABLE cache_pruned (
    scope TEXT PRIMARY KEY,
    at    TEXT NOT NULL
) WITHOUT ROWID, STRICT;
";

/// Scopes that are remembered as pruned.
const PRUNED: u32 = 1000;

/// What an operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Digest of what the operation does and reads.
    pub key: Digest,
    /// The layer stack that it gave; none for a stack without layers.
    pub chain: Option<ChainId>,
    /// What stays the same between two runs of what a person calls the same step (for example the text of
    /// the instruction): the last record of a scope explains a miss.
    pub scope: String,
    /// The builder's own JSON.
    pub record: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was last used, RFC 3339.
    pub used: String,
    /// How often it was used since it was made.
    pub uses: u64,
}

const COLUMNS: &str = "key, chain, scope, record, created, used, uses";

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: rows::digest(row, 0)?,
        chain: rows::digest_or_none(row, 1)?.map(ChainId),
        scope: row.get(2)?,
        record: row.get(3)?,
        created: row.get(4)?,
        used: row.get(5)?,
        uses: row.get::<_, i64>(6)?.max(0) as u64,
    })
}

/// Keeps an entry; an older one of the same key is replaced.
pub fn put(tx: &Tx<'_>, entry: &Entry) -> Result<(), Error> {
    let chain = entry.chain.as_ref().map(|chain| chain.0.as_str());
    execute(
        tx,
        "INSERT OR REPLACE INTO cache (key, chain, scope, record, created, used, uses)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            entry.key.as_str(),
            chain,
            entry.scope,
            entry.record,
            entry.created,
            entry.used,
            entry.uses.min(i64::MAX as u64) as i64
        ],
        "add cache record",
        entry.key.as_str(),
    )?;
    Ok(())
}

/// Notes of an entry that is kept what its operation is apart from the content that it reads.
pub fn put_shape(tx: &Tx<'_>, shape: &Digest, key: &Digest) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO cache_shapes (shape, key) VALUES (?1, ?2)";
    execute(tx, sql, [shape.as_str(), key.as_str()], "add shape of cache record", key.as_str())?;
    Ok(())
}

/// Whether an entry has this shape: without one no content can make a key that is known.
pub fn has_shape(tx: &Tx<'_>, shape: &Digest) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM cache_shapes WHERE shape = ?1 LIMIT 1";
    Ok(first(tx, sql, [shape.as_str()], shape.as_str(), |row| row.get::<_, i64>(0))?.is_some())
}

/// The entry of this key.
pub fn get(tx: &Tx<'_>, key: &Digest) -> Result<Option<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM cache WHERE key = ?1");
    first(tx, &sql, [key.as_str()], key.as_str(), entry)
}

/// The keys of the entries that the same run of an operation gave as the entry of this key: it may be known in several ways.
pub fn same_run(tx: &Tx<'_>, key: &Digest) -> Result<Vec<Digest>, Error> {
    let sql = "SELECT other.key FROM cache one JOIN cache other
         ON other.scope = one.scope AND other.created = one.created AND other.record = one.record
            AND other.chain IS one.chain
         WHERE one.key = ?1";
    list(tx, sql, [key.as_str()], "cache records", |row| rows::digest(row, 0))
}

/// The entry of this scope that was used last.
pub fn latest(tx: &Tx<'_>, scope: &str) -> Result<Option<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM cache WHERE scope = ?1 ORDER BY used DESC LIMIT 1");
    first(tx, &sql, [scope], scope, entry)
}

/// The entries of this scope that were used last, the last one first.
pub fn recent(tx: &Tx<'_>, scope: &str, limit: u32) -> Result<Vec<Entry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM cache WHERE scope = ?1 ORDER BY used DESC LIMIT ?2");
    list(tx, &sql, params![scope, limit], "cache records", entry)
}

/// The entries whose scope begins so that were used last, the last one first.
pub fn recent_below(tx: &Tx<'_>, prefix: &str, limit: u32) -> Result<Vec<Entry>, Error> {
    // The index alone says which: records can be long.
    let sql = format!(
        "SELECT {COLUMNS} FROM cache WHERE key IN (
            SELECT key FROM cache WHERE scope >= ?1 AND scope < ?1 || char(0x10ffff) ORDER BY used DESC LIMIT ?2
         ) ORDER BY used DESC"
    );
    list(tx, &sql, params![prefix, limit], "cache records", entry)
}

/// Notes that the entries of a scope were pruned.
pub fn put_pruned(tx: &Tx<'_>, scope: &str, now: &str) -> Result<(), Error> {
    execute(
        tx,
        "INSERT OR REPLACE INTO cache_pruned (scope, at) VALUES (?1, ?2)",
        [scope, now],
        "note pruned cache record",
        scope,
    )?;
    Ok(())
}

/// Forgets what was pruned longest ago, beyond what is remembered.
pub fn forget_pruned(tx: &Tx<'_>) -> Result<(), Error> {
    let sql = "DELETE FROM cache_pruned WHERE scope IN (
                   SELECT scope FROM cache_pruned ORDER BY at DESC LIMIT -1 OFFSET ?1
               )";
    execute(tx, sql, [PRUNED], "forget pruned cache records", "")?;
    Ok(())
}

/// Whether entries of this scope were pruned.
pub fn was_pruned(tx: &Tx<'_>, scope: &str) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM cache_pruned WHERE scope = ?1";
    Ok(first(tx, sql, [scope], scope, |row| row.get::<_, i64>(0))?.is_some())
}

/// Notes that an entry was used.
pub fn touch(tx: &Tx<'_>, key: &Digest, now: &str) -> Result<(), Error> {
    let sql = "UPDATE cache SET used = ?2, uses = uses + 1 WHERE key = ?1";
    execute(tx, sql, [key.as_str(), now], "touch cache record", key.as_str())?;
    Ok(())
}

/// Forgets an entry; whether it was there.
pub fn remove(tx: &Tx<'_>, key: &Digest) -> Result<bool, Error> {
    let sql = "DELETE FROM cache WHERE key = ?1";
    Ok(execute(tx, sql, [key.as_str()], "remove cache record", key.as_str())? > 0)
}

/// All entries, the one that was used longest ago first.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Entry>, Error> {
    list(tx, &format!("SELECT {COLUMNS} FROM cache ORDER BY used, key"), [], "cache records", entry)
}

/// The layer stacks of all entries.
pub fn chains(tx: &Tx<'_>) -> Result<Vec<ChainId>, Error> {
    let sql = "SELECT DISTINCT chain FROM cache WHERE chain IS NOT NULL";
    Ok(rows::digests(tx, sql, "cache records")?.into_iter().map(ChainId).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    fn made(key: &[u8], used: &str) -> Entry {
        Entry {
            key: Digest::sha256(key),
            chain: Some(ChainId(Digest::sha256(b"chain"))),
            scope: "RUN make".into(),
            record: "{}".into(),
            created: used.into(),
            used: used.into(),
            uses: 0,
        }
    }

    #[test]
    fn remembers_use_and_finds_the_last_of_a_scope() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let (old, new) = (made(b"1", "2025-01-01T00:00:00Z"), made(b"2", "2025-01-02T00:00:00Z"));
        db.write::<_, Error>(|tx| {
            put(tx, &old)?;
            put(tx, &new)?;
            assert_eq!(latest(tx, "RUN make")?, Some(new.clone()));
            touch(tx, &old.key, "2025-01-03T00:00:00Z")?;
            let touched = latest(tx, "RUN make")?.unwrap();
            assert_eq!((touched.key, touched.uses), (old.key.clone(), 1));
            let keys = |found: Vec<Entry>| found.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
            assert_eq!(keys(recent(tx, "RUN make", 5)?), [old.key.clone(), new.key.clone()]);
            assert_eq!(keys(recent_below(tx, "RUN ", 1)?), *std::slice::from_ref(&old.key));
            assert!(recent_below(tx, "COPY ", 5)?.is_empty());
            assert!(!was_pruned(tx, "RUN make")?);
            put_pruned(tx, "RUN make", "2025-01-03T00:00:00Z")?;
            forget_pruned(tx)?;
            assert!(was_pruned(tx, "RUN make")?);
            assert_eq!(chains(tx)?.len(), 1);
            let shape = Digest::sha256(b"shape");
            put_shape(tx, &shape, &old.key)?;
            assert!(has_shape(tx, &shape)?);
            assert!(remove(tx, &old.key)? && get(tx, &old.key)?.is_none());
            assert!(!has_shape(tx, &shape)?);
            Ok(())
        })
        .unwrap();
    }
}
