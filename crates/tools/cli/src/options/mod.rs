//! What users write in flags, read into API documents. Pure: files are read by the callers, and every error is
//! Docker's text.

pub mod device;
pub mod env;
pub mod filter;
pub mod keys;
pub mod mount;
pub mod network;
pub mod platform;
pub mod port;
pub mod ulimit;
pub mod volume;
