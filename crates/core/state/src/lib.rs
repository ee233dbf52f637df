//! The one database: schema, migrations and transactions.
