//! Builds within a build: an operation whose definition is a file that other operations give. That file is made first, and the
//! operations in it take the place of the one that asked for them.

use std::path::PathBuf;

use bollard_buildkit_proto::pb::{BuildOp, Definition, op};
use engine::images::View;
use prost::Message as _;
use tonic::Status;

use super::read::{Edge, Graph, Vertex, read};
use super::solve::run;
use super::{bad, unsupported};
use crate::build::Build;
use crate::frontend::attributes::Attributes;
use crate::{Host, MESSAGE_MAX, fault};

/// The input that has the file.
const INPUT: &str = "buildkit.llb.definition";
/// What names the file, and what it is called without.
const FILENAME: (&str, &str) = ("llb.definition.filename", "buildkit.llb.definition");
/// That the definition is a graph, and not one of another builder's.
const LLB: i64 = -1;
/// Builds within one another.
const DEPTH_MAX: usize = 64;
/// Builds within a build, all together.
const NESTED_MAX: usize = 1000;

/// The same graph without builds in it.
pub async fn expand(
    host: &Host,
    build: &Build,
    mut graph: Graph,
    attributes: &Attributes,
) -> Result<Graph, Status> {
    for _ in 0..NESTED_MAX {
        let Some((at, nested)) = first(&graph) else { return Ok(graph) };
        let (edge, name) = file(&graph.vertices[at], nested)?;
        let made = run(host, build, part(&graph, edge), attributes, true).await?;
        let manifest = made.details.images.first().and_then(|image| image.manifest.as_ref());
        let missing = || Status::internal("the build gave no file system");
        let digest = manifest.ok_or_else(missing)?.digest.to_string();
        let view = View::open(host.engine(), digest).await.map_err(fault::status)?;
        let bytes = tokio::task::spawn_blocking(move || view.read(&name, 0, None, MESSAGE_MAX as u64)).await;
        let bytes = bytes.map_err(|e| Status::internal(format!("read a definition: {e}")))?;
        let definition = Definition::decode(bytes.map_err(fault::status)?.as_slice());
        let definition = definition.map_err(|e| bad(format!("of a build within a build: {e}")))?;
        graph = spliced(graph, at, read(&definition)?)?;
    }
    Err(bad(format!("it has more than {NESTED_MAX} builds within builds")))
}

pub fn first(graph: &Graph) -> Option<(usize, &BuildOp)> {
    graph.vertices.iter().enumerate().find_map(|(at, vertex)| match &vertex.op {
        op::Op::Build(nested) => Some((at, nested)),
        _ => None,
    })
}

/// What gives the definition, and its name there.
pub fn file(vertex: &Vertex, nested: &BuildOp) -> Result<(Edge, PathBuf), Status> {
    if nested.builder != LLB {
        return Err(unsupported("a build within a build by another builder than LLB's own"));
    }
    let input = nested.inputs.get(INPUT).ok_or_else(|| bad(format!("a build has no input {INPUT}")))?;
    let edge = vertex.input(input.input)?.ok_or_else(|| bad(format!("{INPUT} is no input")))?;
    let name = nested.attrs.get(FILENAME.0).map_or(FILENAME.1, String::as_str);
    Ok((edge, PathBuf::from("/").join(name)))
}

/// What an edge needs of a graph.
pub fn part(graph: &Graph, result: Edge) -> Graph {
    let mut needed = vec![false; result.0 + 1];
    needed[result.0] = true;
    // What an operation needs comes before it.
    for at in (0..needed.len()).rev() {
        if needed[at] {
            graph.vertices[at].inputs.iter().for_each(|(number, _)| needed[*number] = true);
        }
    }
    let mut places = vec![0; needed.len()];
    let mut vertices: Vec<Vertex> = Vec::new();
    for (at, vertex) in graph.vertices.iter().enumerate().take(needed.len()).filter(|(at, _)| needed[*at]) {
        places[at] = vertices.len();
        let inputs = vertex.inputs.iter().map(|(number, index)| (places[*number], *index)).collect();
        vertices.push(Vertex { inputs, ..vertex.clone() });
    }
    let platform = graph.vertices[result.0].platform.clone();
    Graph { vertices, result: (places[result.0], result.1), platform, bytes: graph.bytes }
}

/// A graph with another one in place of an operation, whose one result is that of the other.
pub fn spliced(graph: Graph, at: usize, inner: Graph) -> Result<Graph, Status> {
    let added = inner.vertices.len();
    let depth = graph.vertices[at].depth + 1;
    if depth > DEPTH_MAX {
        return Err(bad(format!("it has more than {DEPTH_MAX} builds within one another")));
    }
    let within = (inner.result.0 + at, inner.result.1);
    let moved = |(number, index): Edge| match number.cmp(&at) {
        std::cmp::Ordering::Less => Ok((number, index)),
        std::cmp::Ordering::Equal if index == 0 => Ok(within),
        std::cmp::Ordering::Equal => Err(bad(format!("an operation has no output {index}"))),
        std::cmp::Ordering::Greater => Ok((number + added - 1, index)),
    };
    let mut vertices = Vec::with_capacity(graph.vertices.len() + added);
    let bytes = graph.bytes + inner.bytes;
    let mut inner = Some(inner.vertices);
    for (number, vertex) in graph.vertices.into_iter().enumerate() {
        if number == at {
            vertices.extend(inner.take().into_iter().flatten().map(|vertex| Vertex {
                inputs: vertex.inputs.iter().map(|(number, index)| (number + at, *index)).collect(),
                depth,
                ..vertex
            }));
            continue;
        }
        let inputs = vertex.inputs.iter().map(|edge| moved(*edge)).collect::<Result<Vec<_>, _>>()?;
        vertices.push(Vertex { inputs, ..vertex });
    }
    Graph { vertices, result: moved(graph.result)?, platform: graph.platform, bytes }.bounded()
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{definition, source};
    use super::*;
    use bollard_buildkit_proto::pb::{BuildInput, MergeInput, MergeOp};
    use std::collections::BTreeMap;

    fn nested() -> op::Op {
        let inputs = BTreeMap::from([(INPUT.to_owned(), BuildInput { input: 0 })]);
        op::Op::Build(BuildOp { builder: LLB, inputs, ..BuildOp::default() })
    }

    fn merge(count: i64) -> op::Op {
        op::Op::Merge(MergeOp { inputs: (0..count).map(|input| MergeInput { input }).collect() })
    }

    /// `a`; `b`; a build by what `b` gives; the build and `a` merged.
    fn graph() -> Graph {
        let ops = [
            (source("docker-image://a"), &[][..]),
            (source("docker-image://b"), &[]),
            (nested(), &[(1, 0)]),
            (merge(2), &[(2, 0), (0, 0)]),
        ];
        read(&definition(&ops, (3, 0))).unwrap()
    }

    fn names(graph: &Graph) -> Vec<String> {
        let name = |vertex: &Vertex| match &vertex.op {
            op::Op::Source(source) => source.identifier.trim_start_matches("docker-image://").to_owned(),
            _ => format!("{:?}", vertex.inputs),
        };
        graph.vertices.iter().map(name).collect()
    }

    #[test]
    fn the_inner_operations_take_the_place_of_the_outer() {
        let outer = graph();
        let (at, op) = first(&outer).unwrap();
        let (edge, name) = file(&outer.vertices[at], op).unwrap();
        assert_eq!((at, edge, name), (2, (1, 0), PathBuf::from("/buildkit.llb.definition")));
        let before = part(&outer, edge);
        assert_eq!((names(&before), before.result), (vec!["b".to_owned()], (0, 0)));
        let ops =
            [(source("docker-image://x"), &[][..]), (source("docker-image://y"), &[]), (merge(1), &[(1, 0)])];
        let whole = spliced(outer, at, read(&definition(&ops, (2, 0))).unwrap()).unwrap();
        assert_eq!(names(&whole), ["a", "b", "x", "y", "[(3, 0)]", "[(4, 0), (0, 0)]"]);
        assert_eq!(whole.result, (5, 0));
        let depths: Vec<_> = whole.vertices.iter().map(|vertex| vertex.depth).collect();
        assert_eq!(depths, [0, 0, 1, 1, 1, 0]);
        assert!(first(&whole).is_none());
    }

    #[test]
    fn depth_is_bounded() {
        let inner = || read(&definition(&[(source("docker-image://x"), &[])], (0, 0))).unwrap();
        let mut outer = graph();
        outer.vertices[2].depth = DEPTH_MAX - 1;
        assert!(spliced(outer, 2, inner()).is_ok());
        let mut outer = graph();
        outer.vertices[2].depth = DEPTH_MAX;
        let error = spliced(outer, 2, inner()).err().unwrap();
        assert!(error.message().contains("64 builds within one another"));
    }

    #[test]
    fn what_is_no_build_is_refused() {
        let mut ops = [(source("docker-image://a"), &[][..]), (nested(), &[(0, 0)])];
        let why = |ops: &[(op::Op, &[Edge])]| {
            let graph = read(&definition(ops, (1, 0))).unwrap();
            let (at, op) = first(&graph).unwrap();
            file(&graph.vertices[at], op).unwrap_err().message().to_owned()
        };
        ops[1].0 = op::Op::Build(BuildOp { builder: 7, ..BuildOp::default() });
        assert!(why(&ops).contains("another builder"));
        ops[1].0 = op::Op::Build(BuildOp { builder: LLB, ..BuildOp::default() });
        assert!(why(&ops).contains("no input buildkit.llb.definition"));
        ops[1] = (nested(), &[]);
        assert!(why(&ops).contains("no input 0"));
        let outer =
            read(&definition(&[(source("docker-image://a"), &[]), (nested(), &[(0, 0)])], (1, 3))).unwrap();
        let inner = read(&definition(&[(source("docker-image://x"), &[])], (0, 0))).unwrap();
        assert!(spliced(outer, 1, inner).err().unwrap().message().contains("no output 3"));
    }
}
