//! References to images: `docker.io/library/nginx:latest` → the manifest or index that it names.
//!
//! A reference by digest (`docker.io/library/nginx@sha256:…`) is a row too: it says that the image was seen
//! in that repository.

use crate::rows::{self, execute, first, list};
use crate::{Error, Tx, bases};
use oci::{Digest, Reference};
use rusqlite::{Row, params};

pub(crate) const SCHEMA: &str = "
CREATE TABLE tags (
    reference TEXT PRIMARY KEY,
    target    TEXT NOT NULL,
    updated   TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX tags_target ON tags (target);
";

/// A reference and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// With a tag or a digest, not both.
    pub reference: Reference,
    /// Digest of a manifest or an index.
    pub target: Digest,
    /// When it came to name this, RFC 3339.
    pub updated: String,
}

fn tag(row: &Row<'_>) -> rusqlite::Result<Tag> {
    let text: String = row.get(0)?;
    let reference = Reference::parse_name(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Tag { reference, target: rows::digest(row, 1)?, updated: row.get(2)? })
}

/// Lets `reference` name `target`, whatever a build has found under it for another machine; what it named before, if that was
/// something else.
pub fn put(tx: &Tx<'_>, reference: &Reference, target: &Digest, now: &str) -> Result<Option<Digest>, Error> {
    bases::remove(tx, reference)?;
    let before = get(tx, reference)?.map(|tag| tag.target);
    if before.as_ref() == Some(target) {
        return Ok(None);
    }
    let text = reference.to_string();
    execute(
        tx,
        "INSERT INTO tags (reference, target, updated) VALUES (?1, ?2, ?3)
         ON CONFLICT (reference) DO UPDATE SET target = excluded.target, updated = excluded.updated",
        params![text, target.as_str(), now],
        "tag",
        &text,
    )?;
    Ok(before)
}

/// What `reference` names.
pub fn get(tx: &Tx<'_>, reference: &Reference) -> Result<Option<Tag>, Error> {
    let text = reference.to_string();
    first(tx, "SELECT reference, target, updated FROM tags WHERE reference = ?1", [&text], &text, tag)
}

/// What a reference means that may have both a tag and a digest: names are kept with one of them, and the digest says more.
pub fn meant(tx: &Tx<'_>, reference: &Reference) -> Result<Option<Tag>, Error> {
    match &reference.digest {
        Some(digest) => get(tx, &reference.with_digest(digest.clone())),
        None => get(tx, reference),
    }
}

/// Takes a reference away; whether it was there.
pub fn remove(tx: &Tx<'_>, reference: &Reference) -> Result<bool, Error> {
    let text = reference.to_string();
    Ok(execute(tx, "DELETE FROM tags WHERE reference = ?1", [&text], "untag", &text)? > 0)
}

/// The references that name `target`, sorted.
pub fn of(tx: &Tx<'_>, target: &Digest) -> Result<Vec<Tag>, Error> {
    let sql = "SELECT reference, target, updated FROM tags WHERE target = ?1 ORDER BY reference";
    list(tx, sql, [target.as_str()], "tags", tag)
}

/// All references, sorted.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Tag>, Error> {
    list(tx, "SELECT reference, target, updated FROM tags ORDER BY reference", [], "tags", tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn moves_and_tells_what_it_named_before() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let reference = Reference::parse("x").unwrap();
        db.write::<_, Error>(|tx| {
            assert_eq!(put(tx, &reference, &a, "1")?, None);
            assert_eq!(put(tx, &reference, &a, "2")?, None);
            assert_eq!(put(tx, &reference, &b, "3")?, Some(a.clone()));
            assert_eq!(get(tx, &reference)?.unwrap().updated, "3");
            assert_eq!(of(tx, &a)?, vec![]);
            assert_eq!(of(tx, &b)?.len(), 1);
            assert!(remove(tx, &reference)? && !remove(tx, &reference)?);
            Ok(())
        })
        .unwrap();
    }
}
