//! Names of containers on user-defined networks, as Docker's embedded DNS server resolves them.
//!
//! Two sides meet in the files of [`endpoints`]: an engine writes who has which names and addresses in a network, and
//! the [`Server`] of each container answers from the files of the networks that the container is in. What the files
//! do not know goes to the servers of [`Config::upstreams`], unless all of the container's networks are internal.
//!
//! # What is answered (RFC 1034, 1035, 6891)
//!
//! | question | answer |
//! | --- | --- |
//! | A, AAAA of a name in the files | its addresses of that family, in turns; none of that family: no error, no records |
//! | any other type of such a name | no error, no records: the name exists, and only here |
//! | PTR of an address in the files | `<name>.<network>` |
//! | anything else | what the upstreams say, untouched |
//! | … with nobody to ask | SERVFAIL, as from Docker |
//!
//! A name is the container's, its host name, its short id, or an alias in the network; `<name>.<network>` means the one in
//! that network. Case does not matter. A name that several networks know means the first of these by name, so that it
//! does not change from one question to the next.
//!
//! It must not know engines, containers' life or where its sockets come from.

mod client;
pub mod endpoints;
mod forward;
mod names;
mod server;
mod view;
pub mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use server::Server;

/// What a server needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Where the files of [`endpoints`] are.
    pub dir: PathBuf,
    /// The container that is served: it sees the networks that have it as an endpoint.
    pub container: String,
    /// Who is asked about other names, in this order.
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
}

/// A server that knows other names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Over UDP and TCP.
    pub address: SocketAddr,
    /// It is asked from within the container's network namespace: a loopback address means the container's.
    #[serde(default)]
    pub inside: bool,
}
