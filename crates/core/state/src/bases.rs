//! What names stood for in their registries when builds fetched images for other machines: such an image has no name here but
//! its digest, so that the name goes on meaning one for this machine, and the next build finds it by this.

use std::collections::HashSet;

use oci::{Digest, Reference};
use rusqlite::params;

use crate::rows::{self, digests, execute, first};
use crate::{Error, Tx};

pub(crate) const SCHEMA: &str = "
CREATE TABLE bases (
    reference TEXT PRIMARY KEY,
    target    TEXT NOT NULL
) WITHOUT ROWID, STRICT;
";

/// Remembers what a name stood for, in place of what it stood for before.
pub fn put(tx: &Tx<'_>, reference: &Reference, target: &Digest) -> Result<(), Error> {
    let (sql, text) =
        ("INSERT OR REPLACE INTO bases (reference, target) VALUES (?1, ?2)", reference.to_string());
    execute(tx, sql, params![text, target.as_str()], "remember a base image", &text)?;
    Ok(())
}

/// What a name stood for.
pub fn get(tx: &Tx<'_>, reference: &Reference) -> Result<Option<Digest>, Error> {
    let text = reference.to_string();
    first(tx, "SELECT target FROM bases WHERE reference = ?1", [&text], &text, |row| rows::digest(row, 0))
}

/// Forgets what a name stood for.
pub fn remove(tx: &Tx<'_>, reference: &Reference) -> Result<(), Error> {
    let text = reference.to_string();
    execute(tx, "DELETE FROM bases WHERE reference = ?1", [&text], "forget a base image", &text)?;
    Ok(())
}

/// Forgets names that stood for what is not among these.
pub fn retain(tx: &Tx<'_>, documents: &HashSet<Digest>) -> Result<(), Error> {
    for target in digests(tx, "SELECT DISTINCT target FROM bases", "base images")? {
        if !documents.contains(&target) {
            let text = target.as_str();
            execute(tx, "DELETE FROM bases WHERE target = ?1", [text], "forget a base image", text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn names_go_with_what_they_stood_for() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let [x, y, z] = ["x", "y", "z"].map(|name| Reference::parse(name).unwrap());
        db.write::<_, Error>(|tx| {
            put(tx, &x, &a)?;
            put(tx, &x, &b)?;
            put(tx, &y, &a)?;
            put(tx, &z, &b)?;
            remove(tx, &z)?;
            assert_eq!((get(tx, &x)?, get(tx, &y)?, get(tx, &z)?), (Some(b.clone()), Some(a.clone()), None));
            retain(tx, &HashSet::from([b.clone()]))?;
            assert_eq!((get(tx, &x)?, get(tx, &y)?), (Some(b), None));
            Ok(())
        })
        .unwrap();
    }
}
