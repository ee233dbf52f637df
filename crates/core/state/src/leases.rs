//! Leases: work in progress that content must be kept for. A lease lives as long as its process holds the lock
//! of its file (the store's business); the row is there so that the collector finds leases whose process died.
//!
//! A lease pins content by digest: that of a blob, of a manifest, or a chain id. What is pinned is not collected.

use crate::rows::{digests, execute, list};
use crate::{Error, Tx, images};
use oci::Digest;
use std::collections::HashSet;

pub(crate) const SCHEMA: &str = "
CREATE TABLE leases (
    id      TEXT PRIMARY KEY,
    purpose TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE lease_pins (
    lease  TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    target TEXT NOT NULL,
    PRIMARY KEY (lease, target)
) STRICT, WITHOUT ROWID;
";

/// Records a lease.
pub fn add(tx: &Tx<'_>, id: &str, purpose: &str) -> Result<(), Error> {
    execute(tx, "INSERT INTO leases (id, purpose) VALUES (?1, ?2)", [id, purpose], "add lease", id)?;
    Ok(())
}

/// Pins `target` as long as the lease lives; pinning twice is once.
pub fn pin(tx: &Tx<'_>, id: &str, target: &Digest) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO lease_pins (lease, target) VALUES (?1, ?2)";
    execute(tx, sql, [id, target.as_str()], "pin", target.as_str())?;
    Ok(())
}

/// Forgets a lease with its pins, and the images that were lent and that nobody holds any more; whether there were any.
pub fn remove(tx: &Tx<'_>, id: &str) -> Result<bool, Error> {
    execute(tx, "DELETE FROM leases WHERE id = ?1", [id], "remove lease", id)?;
    images::take_back(tx)
}

/// The ids of all leases.
pub fn ids(tx: &Tx<'_>) -> Result<Vec<String>, Error> {
    list(tx, "SELECT id FROM leases ORDER BY id", [], "leases", |row| row.get(0))
}

/// Everything that some lease pins.
pub fn pinned(tx: &Tx<'_>) -> Result<HashSet<Digest>, Error> {
    digests(tx, "SELECT DISTINCT target FROM lease_pins", "pins").map(HashSet::from_iter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn pins_go_with_their_lease() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        db.write_fleeting::<_, Error>(|tx| {
            add(tx, "1", "pull x")?;
            add(tx, "2", "build")?;
            pin(tx, "1", &a)?;
            pin(tx, "1", &a)?;
            pin(tx, "2", &b)
        })
        .unwrap();
        assert_eq!(db.read(pinned).unwrap(), HashSet::from([a, b.clone()]));
        db.write(|tx| remove(tx, "1")).unwrap();
        assert_eq!(db.read(pinned).unwrap(), HashSet::from([b]));
        assert_eq!(db.read(ids).unwrap(), vec!["2"]);
    }
}
