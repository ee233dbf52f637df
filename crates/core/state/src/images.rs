//! Images: one row for each manifest whose content is here, complete.
//!
//! The documents themselves are blobs of the store; a row has what they don't say and what is searched by.
//!
//! An image may be there only for somebody who hands it on, who holds it by a lease: it is *lent*, until somebody keeps it. It
//! goes with the last lease that pins it, whatever became of the processes that had them.

use crate::rows::{self, execute, first, list};
use crate::{Error, Tx};
use oci::Digest;
use rusqlite::{Row, params};

pub(crate) const SCHEMA: &str = "
CREATE TABLE images (
    digest TEXT PRIMARY KEY,
    id     TEXT NOT NULL,
    parent TEXT,
    added  TEXT NOT NULL,
    lent   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID, STRICT;
CREATE INDEX images_id ON images (id);
CREATE INDEX images_parent ON images (parent);
CREATE INDEX images_lent ON images (digest) WHERE lent;
";

/// The same for images of before, all of which somebody keeps.
pub(crate) const LENT: &str = "
ALTER TABLE images ADD COLUMN lent INTEGER NOT NULL DEFAULT 0;
CREATE INDEX images_lent ON images (digest) WHERE lent;
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
    /// It is only lent.
    pub lent: bool,
}

const COLUMNS: &str = "digest, id, parent, added, lent";

fn image(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        digest: rows::digest(row, 0)?,
        id: rows::digest(row, 1)?,
        parent: rows::digest_or_none(row, 2)?,
        added: row.get(3)?,
        lent: row.get(4)?,
    })
}

/// Records an image; one that is here stays as it is, but that it is kept if this one is. Whether it is new.
pub fn put(tx: &Tx<'_>, image: &Image) -> Result<bool, Error> {
    let sql = "INSERT OR IGNORE INTO images (digest, id, parent, added, lent) VALUES (?1, ?2, ?3, ?4, ?5)";
    let parent = image.parent.as_ref().map(Digest::as_str);
    let values = params![image.digest.as_str(), image.id.as_str(), parent, image.added, image.lent];
    let is_new = execute(tx, sql, values, "add image", image.digest.as_str())? > 0;
    if !is_new && !image.lent {
        keep(tx, &image.digest)?;
    }
    Ok(is_new)
}

/// Keeps an image that may have been lent.
pub fn keep(tx: &Tx<'_>, digest: &Digest) -> Result<(), Error> {
    let sql = "UPDATE images SET lent = 0 WHERE digest = ?1 AND lent";
    execute(tx, sql, [digest.as_str()], "keep image", digest.as_str())?;
    Ok(())
}

/// Forgets the images that are lent and that no lease pins and no container uses; whether there were any.
pub fn take_back(tx: &Tx<'_>) -> Result<bool, Error> {
    let sql = "DELETE FROM images WHERE lent
        AND digest NOT IN (SELECT target FROM lease_pins)
        AND id NOT IN (SELECT image_id FROM containers WHERE image_id IS NOT NULL)";
    Ok(execute(tx, sql, [], "take images back", "")? > 0)
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
    use crate::{Db, containers, leases};

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
            lent: false,
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

    #[test]
    fn what_is_lent_goes_with_the_last_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("state.db")).unwrap();
        let of = |name: &str, lent: bool| Image {
            digest: Digest::sha256(name.as_bytes()),
            id: Digest::sha256(name.to_uppercase().as_bytes()),
            parent: None,
            added: "2025-01-01T00:00:00Z".into(),
            lent,
        };
        let here = |tx: &Tx<'_>| -> Result<Vec<Digest>, Error> {
            Ok(all(tx)?.into_iter().map(|image| image.digest).collect())
        };
        let [handed, found, used, own] = [("handed", true), ("found", true), ("used", true), ("own", false)]
            .map(|(name, lent)| of(name, lent));
        db.write::<_, Error>(|tx| {
            for (lease, pinned) in [("1", vec![&handed, &found, &used, &own]), ("2", vec![&handed, &own])] {
                leases::add(tx, lease, "result")?;
                for image in pinned {
                    leases::pin(tx, lease, &image.digest)?;
                    put(tx, image)?;
                }
            }
            // Who finds it without handing it on keeps it; lending it again does not change that.
            put(tx, &Image { lent: false, ..found.clone() })?;
            assert!(!put(tx, &found)?);
            let container = containers::Container {
                id: "c".into(),
                name: "c".into(),
                created: 0,
                image: "used".into(),
                image_id: Some(used.id.clone()),
                layer: None,
                document: "{}".into(),
            };
            containers::insert(tx, &container, &[])?;
            assert!(!leases::remove(tx, "1")?, "others hold them");
            assert_eq!(here(tx)?.len(), 4);
            assert!(leases::remove(tx, "2")?);
            assert!(!here(tx)?.contains(&handed.digest));
            assert!(!take_back(tx)?);
            containers::delete(tx, "c")?;
            assert!(take_back(tx)?);
            let mut left = [found.digest.clone(), own.digest.clone()];
            left.sort();
            assert_eq!(here(tx)?, left);
            Ok(())
        })
        .unwrap();
    }
}
