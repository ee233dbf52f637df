//! Building images from Dockerfiles.
//!
//! A build is a graph: the syntax tree ([`dockerfile`]) is lowered to operations ([`lower`], pure), whose keys are digests
//! of what an operation does and of the content it reads (`key`); a solver ([`solve`]) runs what is not in the cache, side by
//! side; the result is written to the store as a manifest, never as a tar (`export`).
//!
//! Synchronous; steps run on threads. Knows layers and images, no containers, no HTTP. Networks, base images and URLs come
//! through closures of [`Env`]. Nothing prints: progress goes to the caller as [`Event`]s.

mod build;
mod context;
mod definition;
mod epoch;
mod error;
mod event;
mod exec;
mod explain;
mod export;
mod files;
pub mod graph;
mod idle;
mod key;
mod lines;
pub mod lower;
mod mirror;
mod mistake;
mod mode;
mod platforms;
mod policy;
mod progress;
mod promise;
mod request;
mod scan;
mod session;
mod shared_output;
pub mod solve;
mod source;
mod squash;
mod stack;
mod step;
mod transfer;
mod turn;
mod usage;
mod users;
mod verify;

pub use build::{Claims, Given, GivenGraph, build, build_graph};
pub use context::Reads;
pub use definition::{Definition, definition};
pub use error::{BoxError, Error, FailedProcess, Left, Place, Spot, StepError, no_room};
pub use event::{Event, Line, LineKind, Stream, Teller};
pub use exec::{
    Kept, Owner, Relay, cache_directory, forget_kept, kept, kept_steps, open_mounted, with_mounts,
};
pub use export::emulation::runs;
pub use export::options::{Options as Export, Provenance, Slsa};
pub use export::statement::{Statement, Subject};
pub use files::copy::carries_attribute;
pub use lower::AllowedDevices;
pub use mirror::Mirror;
pub use mistake::mistake;
pub use policy::{CHECKSUM, COMMIT, Policy, Source};
pub use request::{
    Agents, Bring, Built, BuiltImage, BuiltResult, CancelToken, Context, DockerfileSource, Env, Fetch,
    FetchRequest, Fetched, HasLayers, Held, Image, ImageRequest, Images, LayersOf, LeftLayer, Limits,
    NamedContext, NetHandle, NetMode, Networks, Outlet, Request, Secrets, SendResult, Sent,
};
pub use solve::{Gate, workers};
pub use source::CommitId;
pub use source::facts::{FileFacts, Looking, file as file_facts, repository as repository_facts};
pub use source::git::RepositoryFacts;
pub use source::git_url::{is_git, repository_secrets};
pub use transfer::{
    Blobs, CacheOrigin, CacheTarget, DOCUMENT_MAX, DOCUMENT_TYPE, Earlier, Form as CacheForm, INLINE_KEY,
    Opened as OpenedCache, Taker as CacheTaker,
};
pub use usage::{CacheEntry, CacheKind, Prune, entries, prune};
pub use verify::Difference;
