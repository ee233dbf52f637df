//! BuildKit's protocols over the engine's builds: what `docker buildx`, bollard and other clients of BuildKit speak.
//!
//! A client has two connections, both upgraded to HTTP/2: on one ([`Host::serve`], `POST /grpc`) it calls
//! `moby.buildkit.v1.Control` and the gateway `moby.buildkit.v1.frontend.LLBBridge`, and reads the documents that records of
//! builds have with them from `containerd.services.content.v1.Content`; on the other ([`Host::session`],
//! `POST /session`) the roles are swapped, and the server calls the client: for its files, secrets, agents, credentials, and
//! to hand results out.
//!
//! A solve with the frontend `dockerfile.v0` becomes an [`engine::builds::Order`]; one of a graph (LLB) is lowered to the
//! builder's operations.
//!
//! Nothing that a client sends is trusted: messages are bounded, waiting is bounded, its files are written by
//! [`engine::builds::received`] alone, and those of this machine are nobody's to name who may not read them anyway ([`Peer`]). A client that goes away takes its builds with it, for each is a future of its call.
//! This crate must not know containers, the database, or where files are kept.

mod blobs;
mod build;
mod classic;
mod control;
mod export;
mod fault;
mod frontend;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
mod health;
mod host;
mod left;
mod line;
mod llb;
mod mounts;
mod policy;
mod serve;
mod session;
mod sources;
mod status;

pub use classic::Classic;
pub use host::{Host, Opening, Peer, Refused};

/// The longest message, as BuildKit has it.
const MESSAGE_MAX: usize = 16 << 20;

/// Whether a client may call a build so: the name is one of a directory too.
fn is_build_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (8..=64).contains(&id.len()) && id.bytes().all(plain)
}
