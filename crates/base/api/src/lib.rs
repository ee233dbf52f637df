//! The Docker Engine API's vocabulary: the documents that travel in requests and answers (API 1.24 to
//! 1.51), the query option sets, version gates and the framing of multiplexed output streams.
//!
//! The documents are the domain documents of the whole platform: engine, server, client and command line
//! share them. They have public fields and no behaviour beyond what the format itself defines.
//!
//! Reading is lenient, as Go's decoder is: a missing or `null` field is its default, an unknown one is
//! ignored; of what clients send ([`lenient`]) names may be in any case. Writing is exact: a field is `null`, empty, zero or left out where dockerd does the same.
//!
//! This crate must not know HTTP, files or processes.

#[macro_use]
mod json;

pub mod auth;
pub mod build;
mod cache_filter;
pub mod common;
pub mod containers;
pub mod duration;
pub mod events;
pub mod exec;
pub mod filters;
pub mod images;
pub mod lenient;
pub mod mounts;
pub mod networks;
pub mod stdcopy;
pub mod system;
pub mod time;
pub mod version;
pub mod volumes;

pub use cache_filter::CacheFilter;
pub use common::{ErrorResponse, IdResponse, JsonError, JsonMessage, Progress};
pub use filters::Filters;
