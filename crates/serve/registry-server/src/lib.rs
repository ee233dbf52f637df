//! A registry: OCI distribution-spec 1.1 and what Docker's clients want beside it.
//!
//! Keeps what it has in a [`storage`] and knows nothing of images in the engine's store. A client is hostile: names and
//! digests are parsed before they come near a path, documents and heads are bounded, who is slow is cut off, and memory does
//! not grow with what is sent.

mod answer;
pub mod auth;
mod blobs;
mod call;
mod collect;
mod dispatch;
mod error;
mod events;
mod hash;
mod lists;
mod manifests;
mod metrics;
mod name;
mod patient;
mod query;
mod quota;
mod range;
mod referrers;
mod registry;
mod route;
mod serve;
mod spool;
mod storage;
mod tls;
mod uploads;

pub use collect::{Collected, Collection, NotCollected};
pub use quota::Limit;
pub use registry::{Config, OpenError, Registry};
pub use serve::{serve, serve_figures};
pub use storage::Error;
