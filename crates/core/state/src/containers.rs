//! Containers: the definitions. What happens to a container at run time is its monitor's and stands in files.

use oci::{ChainId, Digest};
use rusqlite::{OptionalExtension, Row, params};

use crate::{Error, Tx};

/// Tables of this noun.
pub const SCHEMA: &str = "
CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    image TEXT NOT NULL,
    image_id TEXT,
    layer TEXT,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX containers_image ON containers (image_id);
CREATE TABLE container_volumes (
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    volume TEXT NOT NULL REFERENCES volumes (name),
    PRIMARY KEY (container, volume)
) STRICT, WITHOUT ROWID;
CREATE INDEX container_volumes_volume ON container_volumes (volume);
";

/// A container's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 64 lower case hexadecimal digits.
    pub id: String,
    /// Unique name, without a slash.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// The image as the user wrote it.
    pub image: String,
    /// Digest of the image's configuration.
    pub image_id: Option<Digest>,
    /// The topmost image layer; `None` for an image without layers.
    pub layer: Option<ChainId>,
    /// The engine's document, JSON.
    pub document: String,
}

const COLUMNS: &str = "id, name, created, image, image_id, layer, document";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Container> {
    let digest = |index: usize| -> rusqlite::Result<Option<Digest>> {
        let text: Option<String> = row.get(index)?;
        text.map(|t| t.parse()).transpose().map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(e))
        })
    };
    Ok(Container {
        id: row.get(0)?,
        name: row.get(1)?,
        created: row.get(2)?,
        image: row.get(3)?,
        image_id: digest(4)?,
        layer: digest(5)?.map(ChainId),
        document: row.get(6)?,
    })
}

/// Adds a container and notes which volumes it uses (they must exist).
///
/// The caller looks for the name first, in the same write transaction; the constraint is the backstop.
pub fn insert(tx: &Tx<'_>, container: &Container, volumes: &[String]) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO containers (id, name, created, image, image_id, layer, document) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        container.id,
        container.name,
        container.created,
        container.image,
        container.image_id.as_ref().map(Digest::as_str),
        container.layer.as_ref().map(|l| l.0.as_str()),
        container.document,
    ])?;
    let mut add =
        tx.prepare_cached("INSERT OR IGNORE INTO container_volumes (container, volume) VALUES (?, ?)")?;
    for volume in volumes {
        add.execute(params![container.id, volume])?;
    }
    Ok(())
}

/// The container of exactly this id.
pub fn get(tx: &Tx<'_>, id: &str) -> Result<Option<Container>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM containers WHERE id = ?");
    Ok(tx.prepare_cached(&sql)?.query_row([id], from_row).optional()?)
}

/// The container of exactly this name.
pub fn by_name(tx: &Tx<'_>, name: &str) -> Result<Option<Container>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM containers WHERE name = ?");
    Ok(tx.prepare_cached(&sql)?.query_row([name], from_row).optional()?)
}

/// At most two containers whose id starts with `prefix`, which must be hexadecimal: enough to see ambiguity.
pub fn by_id_prefix(tx: &Tx<'_>, prefix: &str) -> Result<Vec<Container>, Error> {
    // 'g' sorts after every hexadecimal digit, so this is a range scan of the primary key.
    let sql = format!("SELECT {COLUMNS} FROM containers WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2");
    Ok(tx.prepare_cached(&sql)?.query_map([prefix], from_row)?.collect::<Result<_, _>>()?)
}

/// All containers, newest first.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Container>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM containers ORDER BY created DESC, id");
    Ok(tx.prepare_cached(&sql)?.query_map([], from_row)?.collect::<Result<_, _>>()?)
}

/// All container ids.
pub fn ids(tx: &Tx<'_>) -> Result<Vec<String>, Error> {
    Ok(tx
        .prepare_cached("SELECT id FROM containers")?
        .query_map([], |r| r.get(0))?
        .collect::<Result<_, _>>()?)
}

/// Id and name of each container that was made from this image.
pub fn of_image(tx: &Tx<'_>, image_id: &Digest) -> Result<Vec<(String, String)>, Error> {
    Ok(tx
        .prepare_cached("SELECT id, name FROM containers WHERE image_id = ? ORDER BY created DESC")?
        .query_map([image_id.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?)
}

/// The topmost layers that containers stand on: roots for garbage collection.
pub fn layers(tx: &Tx<'_>) -> Result<Vec<ChainId>, Error> {
    let mut select = tx.prepare_cached("SELECT DISTINCT layer FROM containers WHERE layer IS NOT NULL")?;
    let texts = select.query_map([], |r| r.get::<_, String>(0))?;
    let mut layers = Vec::new();
    for text in texts {
        if let Ok(digest) = text?.parse() {
            layers.push(ChainId(digest));
        }
    }
    Ok(layers)
}

/// Gives a container another name.
pub fn rename(tx: &Tx<'_>, id: &str, name: &str) -> Result<(), Error> {
    tx.prepare_cached("UPDATE containers SET name = ?2 WHERE id = ?1")?.execute([id, name])?;
    Ok(())
}

/// Replaces the engine's document.
pub fn set_document(tx: &Tx<'_>, id: &str, document: &str) -> Result<(), Error> {
    tx.prepare_cached("UPDATE containers SET document = ?2 WHERE id = ?1")?.execute([id, document])?;
    Ok(())
}

/// Removes a container with its endpoints and volume uses; whether there was one.
pub fn delete(tx: &Tx<'_>, id: &str) -> Result<bool, Error> {
    crate::endpoints::delete_of_container(tx, id)?;
    Ok(tx.prepare_cached("DELETE FROM containers WHERE id = ?")?.execute([id])? > 0)
}
