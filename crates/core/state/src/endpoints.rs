//! Endpoints: a running container's place in a network. The constraints make addresses race-proof.
//!
//! A row appears when a container starts or is connected, and goes when its network namespace is taken down. A build's
//! step has one too, under a name of its own: so the column `container` refers to no table.

use rusqlite::{Row, params};

use crate::{Error, Tx};

/// Tables of this noun.
pub const SCHEMA: &str = "
CREATE TABLE endpoints (
    id TEXT PRIMARY KEY,
    network TEXT NOT NULL REFERENCES networks (id),
    container TEXT NOT NULL,
    ipv4 TEXT,
    ipv6 TEXT,
    document TEXT NOT NULL,
    UNIQUE (network, container),
    UNIQUE (network, ipv4),
    UNIQUE (network, ipv6)
) STRICT;
CREATE INDEX endpoints_container ON endpoints (container);
";

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// 64 lower case hexadecimal digits.
    pub id: String,
    /// Network id.
    pub network: String,
    /// Container id.
    pub container: String,
    /// IPv4 address without prefix length.
    pub ipv4: Option<String>,
    /// IPv6 address without prefix length.
    pub ipv6: Option<String>,
    /// The engine's document, JSON.
    pub document: String,
}

const COLUMNS: &str = "id, network, container, ipv4, ipv6, document";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    Ok(Endpoint {
        id: row.get(0)?,
        network: row.get(1)?,
        container: row.get(2)?,
        ipv4: row.get(3)?,
        ipv6: row.get(4)?,
        document: row.get(5)?,
    })
}

/// Adds an endpoint; a taken address or a second endpoint of the same container is a constraint error.
pub fn insert(tx: &Tx<'_>, e: &Endpoint) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO endpoints (id, network, container, ipv4, ipv6, document) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![e.id, e.network, e.container, e.ipv4, e.ipv6, e.document])?;
    Ok(())
}

/// The endpoints of a network.
pub fn of_network(tx: &Tx<'_>, network: &str) -> Result<Vec<Endpoint>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM endpoints WHERE network = ? ORDER BY id");
    Ok(tx.prepare_cached(&sql)?.query_map([network], from_row)?.collect::<Result<_, _>>()?)
}

/// The endpoints of a container.
pub fn of_container(tx: &Tx<'_>, container: &str) -> Result<Vec<Endpoint>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM endpoints WHERE container = ? ORDER BY id");
    Ok(tx.prepare_cached(&sql)?.query_map([container], from_row)?.collect::<Result<_, _>>()?)
}

/// All endpoints.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Endpoint>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM endpoints ORDER BY id");
    Ok(tx.prepare_cached(&sql)?.query_map([], from_row)?.collect::<Result<_, _>>()?)
}

/// Replaces the engine's document.
pub fn set_document(tx: &Tx<'_>, id: &str, document: &str) -> Result<(), Error> {
    tx.prepare_cached("UPDATE endpoints SET document = ?2 WHERE id = ?1")?.execute([id, document])?;
    Ok(())
}

/// Removes one endpoint; whether there was one.
pub fn delete(tx: &Tx<'_>, id: &str) -> Result<bool, Error> {
    Ok(tx.prepare_cached("DELETE FROM endpoints WHERE id = ?")?.execute([id])? > 0)
}

/// Removes all endpoints of a container; how many there were.
pub fn delete_of_container(tx: &Tx<'_>, container: &str) -> Result<usize, Error> {
    Ok(tx.prepare_cached("DELETE FROM endpoints WHERE container = ?")?.execute([container])?)
}
