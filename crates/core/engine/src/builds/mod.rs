//! Builds: the `builder` crate joined with images, networks and the client's context.
//!
//! ```text
//! <root>/builds/<id>/        record and log of a build; locked by its process while it runs
//! <run>/builds/<id>          a lock that a build holds while its steps have a network; the id names them as a container's
//!                            would in the endpoints' table
//! <run>/builds/parent-<…>    a control group that builds were told to use; held shared by them
//! <run>/build/<lease>-<n>/   secrets of a step that runs
//! ```

mod agent;
mod asked;
pub mod attached;
mod bases;
mod build;
mod cache;
mod caches;
mod clip;
mod contents;
mod definition;
mod entitled;
mod event;
mod export;
mod fetch;
mod groups;
pub mod history;
mod layout;
mod left;
pub(crate) mod leftovers;
mod lent;
mod mistake;
mod network;
mod outlet;
mod policy;
mod reach;
pub mod received;
mod sandbox;
mod shell;
mod sources;
mod under_way;

pub use agent::AgentSocket;
pub use build::{AskCredentials, ContextSource, Order, Questions, Record, build, check, is_remote};
pub(crate) use cache::{directories, entries, forget, records as cache_records};
pub use cache::{list as cache_list, prune};
pub use caches::classic;
pub use contents::{Contents, load_from, send_to};
pub use definition::definition;
pub use event::document;
pub use export::details;
pub use layout::by_platform;
pub use left::{layers, left};
pub use leftovers::forget_at_start;
pub(crate) use lent::Lent;
pub use lent::{Handout, Loan, end_handouts, give_back, hold};
pub use mistake::{check_text, mistake};
pub(crate) use network::is_alive;
pub use policy::{AskPolicy, Policies, Verdict};
pub use reach::Reach;
pub use sandbox::{Command, Control, Mount, MountKind, Part, Process, Sandbox, Surroundings};
pub use shell::shell;
pub use sources::{Opening, Reader, file_facts, repository_facts};
pub use under_way::are_under_way;

pub use builder::{
    Agents, BoxError, Bring, Built, CHECKSUM, COMMIT, Earlier, Event, FailedProcess, FileFacts, Held, Left,
    Line, LineKind, Owner, Place, Reads, RepositoryFacts, Secrets, Sent, Source, Spot, Stream, Teller,
    is_git, repository_secrets, runs,
};
pub use oci::image::Descriptor;
pub use oci::{ChainId, Digest};
pub use store::{Lease, side_by_side};

/// Graphs that stand for a Dockerfile.
pub mod graph {
    pub use builder::graph::{
        Asking, Change, ChangeKind, Copy, CopySource, Fs, Graph, HistoryItem, ImageUse, Mount, MountKind,
        NetKind, Op, OpKind, Origin, Own, Run, Sharing, Stack,
    };
    pub use builder::{Claims, CommitId, Given, GivenGraph, Statement, Subject};
    pub use oci::runtime::Rlimit;
}
