//! Volumes: names, labels and who uses them. The data is a directory of the engine's root.

use rusqlite::{OptionalExtension, Row, params};

use crate::{Error, Tx};

/// Tables of this noun.
pub const SCHEMA: &str = "
CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
";

/// A volume's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Unique name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Made without a name, for one container.
    pub anonymous: bool,
    /// The engine's document, JSON.
    pub document: String,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Volume> {
    Ok(Volume { name: row.get(0)?, created: row.get(1)?, anonymous: row.get(2)?, document: row.get(3)? })
}

/// Adds a volume unless one of this name exists; whether it was added.
pub fn insert(tx: &Tx<'_>, volume: &Volume) -> Result<bool, Error> {
    let added = tx
        .prepare_cached(
            "INSERT OR IGNORE INTO volumes (name, created, anonymous, document) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![volume.name, volume.created, volume.anonymous, volume.document])?;
    Ok(added > 0)
}

/// The volume of this name.
pub fn get(tx: &Tx<'_>, name: &str) -> Result<Option<Volume>, Error> {
    Ok(tx
        .prepare_cached("SELECT name, created, anonymous, document FROM volumes WHERE name = ?")?
        .query_row([name], from_row)
        .optional()?)
}

/// All volumes by name.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Volume>, Error> {
    Ok(tx
        .prepare_cached("SELECT name, created, anonymous, document FROM volumes ORDER BY name")?
        .query_map([], from_row)?
        .collect::<Result<_, _>>()?)
}

/// Ids of the containers that use a volume, oldest first.
pub fn users(tx: &Tx<'_>, name: &str) -> Result<Vec<String>, Error> {
    Ok(tx
        .prepare_cached(
            "SELECT id FROM container_volumes JOIN containers ON containers.id = container \
             WHERE volume = ? ORDER BY created, id",
        )?
        .query_map([name], |r| r.get(0))?
        .collect::<Result<_, _>>()?)
}

/// Removes a volume that nothing uses; whether there was one. A used one is a constraint error.
pub fn delete(tx: &Tx<'_>, name: &str) -> Result<bool, Error> {
    Ok(tx.prepare_cached("DELETE FROM volumes WHERE name = ?")?.execute([name])? > 0)
}
