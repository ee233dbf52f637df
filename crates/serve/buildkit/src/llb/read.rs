//! A definition as operations in an order in which each only refers to those before it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard_buildkit_proto::pb::{self, Definition, Location, Locations, OpMetadata, Range, SourceInfo, op};
use oci::{Digest, Platform};
use prost::Message as _;
use tonic::Status;

use super::bad;

/// Operations of one definition.
pub const OPS_MAX: usize = 10_000;
/// Changes of files, each an action of some operation.
const ACTIONS_MAX: usize = 10_000;
/// Bytes of operations. One definition has what a message has; builds within it bring theirs.
const BYTES_MAX: usize = 64 << 20;

/// Places of one operation that are told.
const PLACES_MAX: usize = 10;

/// An output of an operation: its number, and which of its results.
pub type Edge = (usize, i64);

/// One operation.
#[derive(Clone)]
pub struct Vertex {
    pub op: op::Op,
    pub inputs: Vec<Edge>,
    pub platform: Platform,
    pub metadata: OpMetadata,
    /// Where it stands in the client's own files.
    pub places: Vec<(Arc<SourceInfo>, Vec<Range>)>,
    /// In how many builds within builds it is.
    pub depth: usize,
}

/// A definition.
pub struct Graph {
    pub vertices: Vec<Vertex>,
    pub result: Edge,
    /// For which platform the result is.
    pub platform: Platform,
    /// What its operations had as they came, in bytes.
    pub bytes: usize,
}

impl Graph {
    /// The same, unless it is too large.
    pub fn bounded(self) -> Result<Graph, Status> {
        let actions = |vertex: &Vertex| match &vertex.op {
            op::Op::File(files) => files.actions.len(),
            _ => 0,
        };
        let actions: usize = self.vertices.iter().map(actions).sum();
        for (count, max, what) in [
            (self.vertices.len(), OPS_MAX, "operations"),
            (actions, ACTIONS_MAX, "changes of files"),
            (self.bytes, BYTES_MAX, "bytes"),
        ] {
            if count > max {
                return Err(bad(format!("it has more than {max} {what}")));
            }
        }
        Ok(self)
    }
}

/// Reads a definition, whose last operation only points at the result.
pub fn read(definition: &Definition) -> Result<Graph, Status> {
    if definition.def.len() > OPS_MAX {
        return Err(bad(format!("it has more than {OPS_MAX} operations")));
    }
    if definition.def.is_empty() {
        return Err(bad("invalid nil input definition to definition op"));
    }
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut vertices: Vec<Vertex> = Vec::with_capacity(definition.def.len());
    let mut result = None;
    let files = Files::of(definition);
    for bytes in &definition.def {
        let op = pb::Op::decode(bytes.as_slice()).map_err(|e| bad(e.to_string()))?;
        let edge = |input: &pb::Input| match known.get(&input.digest) {
            Some(number) => Ok((*number, input.index)),
            None => Err(bad(format!("an input is no operation before it: {}", input.digest))),
        };
        let inputs = op.inputs.iter().map(edge).collect::<Result<Vec<_>, _>>()?;
        let Some(what) = op.op else {
            let [only] = inputs.as_slice() else { return Err(bad("the result is not one operation's")) };
            result = Some(*only);
            continue;
        };
        let digest = Digest::sha256(bytes).to_string();
        let metadata = definition.metadata.get(&digest).cloned().unwrap_or_default();
        let platform = op.platform.as_ref().map_or_else(Platform::host, platform);
        let places = files.places(&digest);
        known.insert(digest, vertices.len());
        vertices.push(Vertex { op: what, inputs, platform, metadata, places, depth: 0 });
    }
    let result = result.ok_or_else(|| bad("it names no result"))?;
    let platform = vertices[result.0].platform.clone();
    let bytes = definition.def.iter().map(Vec::len).sum();
    Graph { vertices, result, platform, bytes }.bounded()
}

/// The files that a client has made a definition of.
struct Files<'d> {
    infos: Vec<Arc<SourceInfo>>,
    locations: Option<&'d BTreeMap<String, Locations>>,
}

impl Files<'_> {
    fn of(definition: &Definition) -> Files<'_> {
        let source = definition.source.as_ref();
        let infos = source.iter().flat_map(|source| &source.infos).cloned().map(Arc::new).collect();
        Files { infos, locations: source.map(|source| &source.locations) }
    }

    /// Where an operation stands.
    fn places(&self, digest: &str) -> Vec<(Arc<SourceInfo>, Vec<Range>)> {
        let known = self.locations.and_then(|locations| locations.get(digest));
        let place = |location: &Location| {
            let info = self.infos.get(usize::try_from(location.source_index).ok()?)?;
            Some((info.clone(), location.ranges.clone()))
        };
        known.iter().flat_map(|known| &known.locations).take(PLACES_MAX).filter_map(place).collect()
    }
}

fn platform(platform: &pb::Platform) -> Platform {
    let variant = Some(platform.variant.as_str()).filter(|variant| !variant.is_empty());
    Platform::new(&platform.os, &platform.architecture, variant).normalized()
}

impl Vertex {
    /// What people see: the name that the client gave, or what the operation does.
    pub fn name(&self, what: impl FnOnce() -> String) -> String {
        match self.metadata.description.get("llb.customname") {
            Some(name) => name.clone(),
            None => what(),
        }
    }

    /// The edge of an input that an operation counts, if it is one.
    pub fn input(&self, index: i64) -> Result<Option<Edge>, Status> {
        match usize::try_from(index) {
            Err(_) => Ok(None),
            Ok(index) => match self.inputs.get(index) {
                Some(edge) => Ok(Some(*edge)),
                None => Err(bad(format!("an operation has no input {index}"))),
            },
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use bollard_buildkit_proto::pb::{Input, Op, SourceOp};

    /// Marshals operations, each with the numbers of those that it works on.
    pub fn definition(ops: &[(op::Op, &[Edge])], result: Edge) -> Definition {
        let mut digests: Vec<String> = Vec::new();
        let mut def = Vec::new();
        let inputs = |digests: &[String], edges: &[Edge]| {
            let input = |(number, index): &Edge| Input { digest: digests[*number].clone(), index: *index };
            edges.iter().map(input).collect()
        };
        for (op, edges) in ops {
            let op = Op { inputs: inputs(&digests, edges), op: Some(op.clone()), ..Op::default() };
            let bytes = op.encode_to_vec();
            digests.push(Digest::sha256(&bytes).to_string());
            def.push(bytes);
        }
        def.push(Op { inputs: inputs(&digests, &[result]), ..Op::default() }.encode_to_vec());
        Definition { def, ..Definition::default() }
    }

    pub fn source(identifier: &str) -> op::Op {
        op::Op::Source(SourceOp { identifier: identifier.to_owned(), ..SourceOp::default() })
    }

    fn message(definition: &Definition) -> String {
        read(definition).err().map(|status| status.message().to_owned()).unwrap_or_default()
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        let good = definition(&[(source("docker-image://a"), &[])], (0, 0));
        assert!(read(&good).is_ok());
        let mut other = good.clone();
        other.def.swap(0, 1);
        assert!(message(&other).contains("no operation before it"));
        other.def = vec![good.def[0].clone()];
        assert!(message(&other).contains("no result"));
        other.def.clear();
        assert!(message(&other).contains("invalid nil input definition"));
        other.def = vec![vec![0xff, 0xff]];
        assert!(message(&other).contains("definition"));
        other.def = vec![Vec::new(); OPS_MAX + 1];
        assert!(message(&other).contains("more than"));
        let actions = vec![pb::FileAction::default(); ACTIONS_MAX + 1];
        let files = definition(&[(op::Op::File(pb::FileOp { actions }), &[])], (0, 0));
        assert!(message(&files).contains("more than 10000 changes of files"));
    }
}
