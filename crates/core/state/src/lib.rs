//! The one database: schema, migrations and transactions. The only crate that knows SQL.
//!
//! One SQLite file in WAL mode, opened by many processes at once. It holds definitions and relations: names,
//! configurations, references, leases. It holds no fact that a file already tells: whether a blob or a layer
//! exists is a question for the store, whether a container runs is one for its monitor.
//!
//! One noun is one file: its `SCHEMA` and the typed functions over a [`Tx`]. To add a noun, write its file and
//! list its schema in `SCHEMAS` below. A transaction is atomic and, once [`Db::write`] has returned, durable; the
//! write transaction is also the lock that publishing and collecting content exclude each other with.
//!
//! Failure: [`Error`] names the attempt; a uniqueness constraint that didn't hold is [`Error::Conflict`].

pub mod archives;
pub mod attached;
pub mod bases;
pub mod cache;
pub mod containers;
mod db;
pub mod endpoints;
mod error;
pub mod images;
pub mod leases;
pub mod networks;
pub mod packed;
mod rows;
pub mod signatures;
pub mod tags;
pub mod volumes;

pub use db::{Db, Life, Tx};
pub use error::Error;

/// What a new database is made from, in order; one entry a noun.
const SCHEMAS: &[&str] = &[
    images::SCHEMA,
    tags::SCHEMA,
    leases::SCHEMA,
    cache::SCHEMA,
    volumes::SCHEMA,
    containers::SCHEMA,
    networks::SCHEMA,
    endpoints::SCHEMA,
    packed::SCHEMA,
    signatures::SCHEMA,
    archives::SCHEMA,
    attached::SCHEMA,
    bases::SCHEMA,
];

/// The steps from each released schema version to the next; the first makes version 1 a version 2.
const MIGRATIONS: &[&str] = &[
    // What is known of files lies in one file for each context.
    "DROP TABLE IF EXISTS files;",
    // Entries from before have no shape: the first build that has one of them anew does its copies once more.
    "CREATE TABLE cache_shapes (
        shape TEXT NOT NULL,
        key   TEXT NOT NULL REFERENCES cache (key) ON DELETE CASCADE,
        PRIMARY KEY (shape, key)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX cache_shapes_key ON cache_shapes (key);",
    "CREATE TABLE cache_pruned (
        scope TEXT PRIMARY KEY,
        at    TEXT NOT NULL
    ) WITHOUT ROWID, STRICT;",
    packed::SCHEMA,
    signatures::SCHEMA,
    archives::SCHEMA,
    attached::SCHEMA,
    images::LENT,
    bases::SCHEMA,
];
