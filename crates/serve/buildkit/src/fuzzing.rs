//! What reads the bytes of clients, without a client: the targets of `fuzz/` look whether its promises hold.

use api::build::{BuildOptions, BuildRecord};
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::pb::{Definition, SourceOp};
use engine::builds::graph::Graph;
use engine::builds::received::Received;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;

use crate::control::filters;
use crate::frontend::{attributes, csv, definition};
use crate::llb::{lower, nested, read};
use crate::policy;
use crate::session::files::{ASKED_MAX, Transfer};
use crate::session::packet::Packet;

/// Builds within builds of one graph.
const NESTED_MAX: usize = 8;

/// A client's graph as the builder's, with another one in place of each build within it.
pub fn lower(definition: &Definition, within: &Definition) -> Result<Graph, Status> {
    let mut graph = read::read(definition)?;
    for _ in 0..NESTED_MAX {
        let Some((at, build)) = nested::first(&graph) else { break };
        let (edge, _) = nested::file(&graph.vertices[at], build)?;
        // It is solved to know what the build is.
        lower::lower(&nested::part(&graph, edge))?;
        graph = nested::spliced(graph, at, read::read(within)?)?;
    }
    Ok(lower::lower(&graph)?.graph)
}

/// Receives what a client sends, packet by packet, each behind its length; what is behind the end is left.
pub fn receive(into: Received, sent: &mut &[u8]) -> Result<Received, Status> {
    let (sender, mut asked) = mpsc::channel(ASKED_MAX + 2);
    let mut transfer = Transfer::new(into, sender);
    loop {
        let packet = Packet::decode_length_delimited(&mut *sent);
        if transfer.take(packet.map_err(|e| Status::invalid_argument(e.to_string()))?)? {
            return Ok(transfer.into);
        }
        while asked.try_recv().is_ok() {}
    }
}

/// What an order asks of a build.
pub fn options(order: &SolveRequest) -> Result<BuildOptions, Status> {
    for given in order.frontend_inputs.values() {
        definition::source(given)?;
    }
    attributes::options(&order.frontend_attrs, order)
}

/// The fields of an attribute that is a list.
pub fn fields(text: &str) -> Result<Vec<String>, Status> {
    csv::fields(text)
}

/// The policies of an order, as documents.
pub fn policies(order: &SolveRequest) -> Vec<serde_json::Value> {
    attributes::policies(order.source_policy.as_ref())
}

/// By which name policies know a source.
pub fn name(source: &SourceOp) -> String {
    policy::normal(source)
}

/// Whether filters admit a build.
pub fn admit(texts: &[String], record: &BuildRecord) -> Result<bool, Status> {
    Ok(filters::admit(&filters::parse(texts)?, record))
}
