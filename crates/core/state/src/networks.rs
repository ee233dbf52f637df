//! Networks: names and definitions. What the kernel has is told by the kernel.

use rusqlite::{OptionalExtension, Row, params};

use crate::{Error, Tx};

/// Tables of this noun.
pub const SCHEMA: &str = "
CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
";

/// A network's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// 64 lower case hexadecimal digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// The engine's document, JSON.
    pub document: String,
}

const COLUMNS: &str = "id, name, created, document";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Network> {
    Ok(Network { id: row.get(0)?, name: row.get(1)?, created: row.get(2)?, document: row.get(3)? })
}

/// Adds a network unless one of this name exists; whether it was added.
pub fn insert(tx: &Tx<'_>, network: &Network) -> Result<bool, Error> {
    let added = tx
        .prepare_cached(
            "INSERT INTO networks (id, name, created, document) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        )?
        .execute(params![network.id, network.name, network.created, network.document])?;
    Ok(added > 0)
}

/// The network of exactly this id.
pub fn get(tx: &Tx<'_>, id: &str) -> Result<Option<Network>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE id = ?");
    Ok(tx.prepare_cached(&sql)?.query_row([id], from_row).optional()?)
}

/// The network of exactly this name.
pub fn by_name(tx: &Tx<'_>, name: &str) -> Result<Option<Network>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE name = ?");
    Ok(tx.prepare_cached(&sql)?.query_row([name], from_row).optional()?)
}

/// At most two networks whose id starts with `prefix`, which must be hexadecimal.
pub fn by_id_prefix(tx: &Tx<'_>, prefix: &str) -> Result<Vec<Network>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2");
    Ok(tx.prepare_cached(&sql)?.query_map([prefix], from_row)?.collect::<Result<_, _>>()?)
}

/// All networks, oldest first.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Network>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM networks ORDER BY created, name");
    Ok(tx.prepare_cached(&sql)?.query_map([], from_row)?.collect::<Result<_, _>>()?)
}

/// Replaces the engine's document.
pub fn set_document(tx: &Tx<'_>, id: &str, document: &str) -> Result<(), Error> {
    tx.prepare_cached("UPDATE networks SET document = ?2 WHERE id = ?1")?.execute([id, document])?;
    Ok(())
}

/// Removes a network that has no endpoints; whether there was one. One with endpoints is a constraint error.
pub fn delete(tx: &Tx<'_>, id: &str) -> Result<bool, Error> {
    Ok(tx.prepare_cached("DELETE FROM networks WHERE id = ?")?.execute([id])? > 0)
}
