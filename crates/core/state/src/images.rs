//! Images: one row for each manifest whose content is here, complete.
//!
//! The documents themselves are blobs of the store; a row has what they don't say and what is searched by.

use crate::rows::{self, execute, first, list};
use crate::{Error, Tx};
use oci::Digest;
use rusqlite::{Row, params};

pub(crate) const SCHEMA: &str = "
CREATE TABLE images (
    digest TEXT PRIMARY KEY,
    id     TEXT NOT NULL,
    parent TEXT,
    added  TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX images_id ON images (id);
CREATE INDEX images_parent ON images (parent);
";

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the configuration: what users call the image's id.
    pub id: Digest,
    /// Id of the image that it was committed or built from here.
    pub parent: Option<Digest>,
    /// When it came here, RFC 3339.
    pub added: String,
}

const COLUMNS: &str = "digest, id, parent, added";

fn image(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        digest: rows::digest(row, 0)?,
        id: rows::digest(row, 1)?,
        parent: rows::digest_or_none(row, 2)?,
        added: row.get(3)?,
    })
}

/// Records an image; one that is here stays as it is. Whether it is new.
pub fn put(tx: &Tx<'_>, image: &Image) -> Result<bool, Error> {
    let sql = "INSERT OR IGNORE INTO images (digest, id, parent, added) VALUES (?1, ?2, ?3, ?4)";
    let parent = image.parent.as_ref().map(Digest::as_str);
    let values = params![image.digest.as_str(), image.id.as_str(), parent, image.added];
    Ok(execute(tx, sql, values, "add image", image.digest.as_str())? > 0)
}

/// The image with this manifest.
pub fn get(tx: &Tx<'_>, digest: &Digest) -> Result<Option<Image>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM images WHERE digest = ?1");
    first(tx, &sql, [digest.as_str()], digest.as_str(), image)
}

/// The images with this id; more than one if the same configuration came under several manifests.
pub fn by_id(tx: &Tx<'_>, id: &Digest) -> Result<Vec<Image>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ?1 ORDER BY added, digest");
    list(tx, &sql, [id.as_str()], "images", image)
}

/// The ids that begin with these hexadecimal characters (at most two: one more than is needed to know that
/// the prefix is ambiguous).
pub fn ids_with_prefix(tx: &Tx<'_>, hex: &str) -> Result<Vec<Digest>, Error> {
    let sql = "SELECT DISTINCT id FROM images WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 2";
    // 'g' comes after every hexadecimal character.
    let bounds = [format!("sha256:{hex}"), format!("sha256:{hex}g")];
    list(tx, sql, bounds, "images", |row| rows::digest(row, 0))
}

/// The images that were made from the image with this id.
pub fn children(tx: &Tx<'_>, id: &Digest) -> Result<Vec<Image>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM images WHERE parent = ?1 ORDER BY added, digest");
    list(tx, &sql, [id.as_str()], "images", image)
}

/// All images, oldest first.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Image>, Error> {
    list(tx, &format!("SELECT {COLUMNS} FROM images ORDER BY added, digest"), [], "images", image)
}

/// Forgets the image with this manifest; whether it was there.
pub fn remove(tx: &Tx<'_>, digest: &Digest) -> Result<bool, Error> {
    let sql = "DELETE FROM images WHERE digest = ?1";
    Ok(execute(tx, sql, [digest.as_str()], "remove image", digest.as_str())? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn is_found_by_digest_id_and_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let parent = Digest::sha256(b"parent");
        let made = Image {
            digest: Digest::sha256(b"manifest"),
            id: Digest::sha256(b"config"),
            parent: Some(parent.clone()),
            added: "2025-01-01T00:00:00Z".into(),
        };
        db.write::<_, Error>(|tx| {
            assert!(put(tx, &made)? && !put(tx, &made)?);
            assert_eq!(get(tx, &made.digest)?, Some(made.clone()));
            assert_eq!(by_id(tx, &made.id)?, vec![made.clone()]);
            assert_eq!(children(tx, &parent)?, vec![made.clone()]);
            assert_eq!(ids_with_prefix(tx, made.id.short())?, vec![made.id.clone()]);
            assert_eq!(ids_with_prefix(tx, made.id.hex())?, vec![made.id.clone()]);
            assert_eq!(ids_with_prefix(tx, "")?, vec![made.id.clone()]);
            assert!(remove(tx, &made.digest)? && all(tx)?.is_empty());
            Ok(())
        })
        .unwrap();
    }
}
