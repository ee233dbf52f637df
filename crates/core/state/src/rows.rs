//! From rows to values.

use crate::{Error, Tx};
use oci::Digest;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Params, Row};

/// Column `index` as a digest.
pub(crate) fn digest(row: &Row<'_>, index: usize) -> rusqlite::Result<Digest> {
    parsed(row, index)
}

/// Column `index` as a digest or nothing.
pub(crate) fn digest_or_none(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Digest>> {
    match row.get_ref(index)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => parsed(row, index).map(Some),
    }
}

/// A text column as what its text means.
pub(crate) fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// All rows of a query.
pub(crate) fn list<T>(
    tx: &Tx<'_>,
    sql: &str,
    params: impl Params,
    what: &str,
    map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let query =
        || -> rusqlite::Result<Vec<T>> { tx.sql.prepare_cached(sql)?.query_map(params, map)?.collect() };
    query().map_err(Error::sql("list", what))
}

/// The first row of a query, if there is one.
pub(crate) fn first<T>(
    tx: &Tx<'_>,
    sql: &str,
    params: impl Params,
    what: &str,
    map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    let query = || tx.sql.prepare_cached(sql)?.query_row(params, map).optional();
    query().map_err(Error::sql("find", what))
}

/// Runs a statement; the number of rows that it changed.
pub(crate) fn execute(
    tx: &Tx<'_>,
    sql: &str,
    params: impl Params,
    attempt: &str,
    what: &str,
) -> Result<usize, Error> {
    tx.sql
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params))
        .map_err(Error::sql(attempt, what))
}

/// The digests in the only column of a query.
pub(crate) fn digests(tx: &Tx<'_>, sql: &str, what: &str) -> Result<Vec<Digest>, Error> {
    list(tx, sql, [], what, |row| digest(row, 0))
}
