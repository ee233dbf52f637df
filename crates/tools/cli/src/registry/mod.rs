//! Registries: credentials and search.

pub mod credentials;
pub mod login;
pub mod logout;
pub mod search;
