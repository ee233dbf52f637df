//! What is attached to images that are here: signatures, lists of packages, anything that came with them. A row says which
//! manifest it is attached to, and under which tag it is found where it doesn't say so itself (cosign's). It stays as long as
//! that manifest.

use std::collections::HashSet;

use oci::Digest;
use rusqlite::{Row, params};

use crate::rows::{self, digests, execute, list};
use crate::{Error, Tx};

pub(crate) const SCHEMA: &str = "
CREATE TABLE attached (
    subject  TEXT NOT NULL,
    artifact TEXT NOT NULL,
    tag      TEXT NOT NULL,
    PRIMARY KEY (subject, artifact, tag)
) WITHOUT ROWID, STRICT;
";

/// Something that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Digest of its manifest.
    pub artifact: Digest,
    /// The tag that it is found under; none where it names its subject itself.
    pub tag: Option<String>,
}

fn attached(row: &Row<'_>) -> rusqlite::Result<Attached> {
    let tag: String = row.get(1)?;
    Ok(Attached { artifact: rows::digest(row, 0)?, tag: (!tag.is_empty()).then_some(tag) })
}

/// Attaches something to a manifest. Under a tag there is one thing: what was there before is attached no more.
pub fn put(tx: &Tx<'_>, subject: &Digest, new: &Attached) -> Result<(), Error> {
    let tag = new.tag.as_deref().unwrap_or_default();
    if !tag.is_empty() {
        let sql = "DELETE FROM attached WHERE subject = ?1 AND tag = ?2";
        execute(tx, sql, params![subject.as_str(), tag], "detach", tag)?;
    }
    let sql = "INSERT OR IGNORE INTO attached (subject, artifact, tag) VALUES (?1, ?2, ?3)";
    let values = params![subject.as_str(), new.artifact.as_str(), tag];
    execute(tx, sql, values, "attach", new.artifact.as_str())?;
    Ok(())
}

/// What is attached to a manifest.
pub fn to(tx: &Tx<'_>, subject: &Digest) -> Result<Vec<Attached>, Error> {
    let sql = "SELECT artifact, tag FROM attached WHERE subject = ?1 ORDER BY artifact, tag";
    list(tx, sql, [subject.as_str()], "attached", attached)
}

/// Everything that something is attached to.
pub fn subjects(tx: &Tx<'_>) -> Result<Vec<Digest>, Error> {
    digests(tx, "SELECT DISTINCT subject FROM attached", "attached")
}

/// Forgets what is attached to manifests that are not among these.
pub fn retain(tx: &Tx<'_>, manifests: &HashSet<Digest>) -> Result<(), Error> {
    for subject in subjects(tx)? {
        if !manifests.contains(&subject) {
            let sql = "DELETE FROM attached WHERE subject = ?1";
            execute(tx, sql, [subject.as_str()], "detach", subject.as_str())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn what_is_attached_goes_with_its_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let [image, list, first, second] = [b"i", b"l", b"1", b"2"].map(|bytes| Digest::sha256(bytes));
        let of = |artifact: &Digest, tag: Option<&str>| Attached {
            artifact: artifact.clone(),
            tag: tag.map(str::to_owned),
        };
        db.write::<_, Error>(|tx| {
            put(tx, &image, &of(&list, None))?;
            put(tx, &image, &of(&list, None))?;
            put(tx, &image, &of(&first, Some("sha256-i.sig")))?;
            put(tx, &image, &of(&second, Some("sha256-i.sig")))?;
            put(tx, &list, &of(&first, None))?;
            let all = to(tx, &image)?;
            assert_eq!(all.len(), 2, "{all:?}");
            assert!(all.contains(&of(&list, None)) && all.contains(&of(&second, Some("sha256-i.sig"))));
            retain(tx, &HashSet::from([list.clone()]))?;
            assert_eq!((to(tx, &image)?, to(tx, &list)?), (vec![], vec![of(&first, None)]));
            Ok(())
        })
        .unwrap();
    }
}
