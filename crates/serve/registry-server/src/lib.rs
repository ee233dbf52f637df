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
mod page;
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
mod turns;
mod uploads;
mod upstream;

pub use crate::registry::{BucketConfig, Config, OpenError, Registry};
pub use ::registry::{BucketAddress, Config as ClientConfig, Credentials};
pub use collect::{Collected, Collection, NotCollected};
pub use quota::Limit;
pub use serve::{serve, serve_figures, serve_stream};
pub use storage::Error;
pub use upstream::Upstream;
