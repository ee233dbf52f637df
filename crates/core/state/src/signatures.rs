//! What was signed of images when they were pulled: whoever may be run only if somebody has signed it is asked for that again
//! when it is run, and the registry may be away then. A document of the engine's for each manifest; it goes with the manifest.

use std::collections::HashSet;

use oci::Digest;
use rusqlite::params;

use crate::rows::{digests, execute, first};
use crate::{Error, Tx};

pub(crate) const SCHEMA: &str = "
CREATE TABLE signatures (
    manifest TEXT PRIMARY KEY,
    document TEXT NOT NULL
) WITHOUT ROWID, STRICT;
";

/// Keeps what was signed of a manifest, in place of what was known before.
pub fn put(tx: &Tx<'_>, manifest: &Digest, document: &str) -> Result<(), Error> {
    let sql = "INSERT OR REPLACE INTO signatures (manifest, document) VALUES (?1, ?2)";
    execute(tx, sql, params![manifest.as_str(), document], "keep signatures", manifest.as_str())?;
    Ok(())
}

/// What was signed of a manifest.
pub fn get(tx: &Tx<'_>, manifest: &Digest) -> Result<Option<String>, Error> {
    let sql = "SELECT document FROM signatures WHERE manifest = ?1";
    first(tx, sql, [manifest.as_str()], manifest.as_str(), |row| row.get(0))
}

/// Forgets those of manifests that are not among these.
pub fn retain(tx: &Tx<'_>, manifests: &HashSet<Digest>) -> Result<(), Error> {
    for known in digests(tx, "SELECT manifest FROM signatures", "signatures")? {
        if !manifests.contains(&known) {
            execute(
                tx,
                "DELETE FROM signatures WHERE manifest = ?1",
                [known.as_str()],
                "forget signatures",
                known.as_str(),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn signatures_go_with_their_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        db.write::<_, Error>(|tx| {
            put(tx, &a, "old")?;
            put(tx, &a, "new")?;
            put(tx, &b, "other")?;
            assert_eq!(get(tx, &a)?.as_deref(), Some("new"));
            retain(tx, &HashSet::from([b.clone()]))?;
            assert_eq!((get(tx, &a)?, get(tx, &b)?.as_deref()), (None, Some("other")));
            Ok(())
        })
        .unwrap();
    }
}
