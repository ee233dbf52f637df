//! What clients of BuildKit's protocols send: graphs, files, attributes, policies, filters.

use std::sync::{Mutex, OnceLock, PoisonError};

use api::build::BuildRecord;
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::pb::{Definition, Op, op};
use buildkit::fuzzing;
use engine::builds::graph::Fs;
use engine::builds::received::Received;
use engine::builds::{Policies, Source};
use engine::{Config, Engine};
use oci::Digest;
use prost::Message as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What lies beside an engine's files and must stay as it is.
const SECRET: &str = "what no client may change";

/// The definition with inputs that are there: the first byte of what an input says counts the operations before it.
fn linked(mut definition: Definition) -> Definition {
    let mut known: Vec<String> = Vec::new();
    for bytes in &mut definition.def {
        let Ok(mut op) = Op::decode(&**bytes) else { continue };
        for input in &mut op.inputs {
            let place = input.digest.bytes().next().map(usize::from);
            if let Some(digest) = place.and_then(|place| known.get(place % known.len().max(1))) {
                input.digest.clone_from(digest);
            }
        }
        *bytes = op.encode_to_vec();
        if op.op.is_some() {
            known.push(Digest::sha256(bytes).to_string());
        }
    }
    definition
}

/// A graph: operations refer to those before them alone.
pub fn llb(data: &[u8]) {
    let Ok(definition) = Definition::decode(data) else { return };
    let definition = linked(definition);
    // In itself, too.
    let _ = fuzzing::lower(&definition, &definition);
    let Ok(graph) = fuzzing::lower(&definition, &Definition::default()) else { return };
    let is_known = |fs: &Fs, before: usize| match fs {
        Fs::Scratch => true,
        Fs::Image(number) => *number < graph.images.len(),
        Fs::Op(number) => *number < before,
    };
    for (number, op) in graph.ops.iter().enumerate() {
        assert!(op.needs().into_iter().all(|fs| is_known(fs, number)), "operation {number} of {graph:?}");
    }
    assert!(is_known(&graph.result, graph.ops.len()), "{graph:?}");
}

struct Place {
    runtime: Runtime,
    engine: Engine,
    folder: TempDir,
}

impl Place {
    fn make() -> Place {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        std::fs::write(folder.path().join("secret"), SECRET).expect("write");
        let [root, run] = ["root", "run"].map(|name| folder.path().join(name));
        let engine = runtime.block_on(Engine::open(Config::new(root, run, "/proc/self/exe")));
        Place { runtime, engine: engine.expect("an engine"), folder }
    }

    /// A directory that holds what came before.
    fn received(&self) -> Received {
        self.runtime.block_on(Received::again(&self.engine, "fuzz".to_owned())).expect("a directory")
    }
}

/// Files of a client, and what it sends of them the next time: nothing beside the directory is changed.
pub fn packets(data: &[u8]) {
    static PLACE: OnceLock<Mutex<Place>> = OnceLock::new();
    let place = PLACE.get_or_init(|| Mutex::new(Place::make()));
    let place = place.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sent = data;
    while !sent.is_empty() && fuzzing::receive(place.received(), &mut sent).is_ok() {}
    let root = place.folder.path();
    assert_eq!(std::fs::read_to_string(root.join("secret")).expect("the secret"), SECRET);
    let mut beside: Vec<_> =
        std::fs::read_dir(root).expect("the folder").flatten().map(|e| e.file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["root", "run", "secret"]);
    // The next input finds nothing of this one.
    let came = root.join("root/contexts");
    if came.exists() {
        std::fs::remove_dir_all(came).expect("what came");
    }
}

/// An order with attributes, exporters and caches. A list says the same when each of its fields is quoted.
pub fn attributes(data: &[u8]) {
    let Ok(order) = SolveRequest::decode(data) else { return };
    let _ = fuzzing::options(&order);
    for text in order.frontend_attrs.values() {
        let Ok(fields) = fuzzing::fields(text) else { continue };
        let quoted: Vec<String> =
            fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
        assert_eq!(fuzzing::fields(&quoted.join(",")).expect("what was written"), fields, "{text:?}");
    }
}

/// The policy of an order, and sources of a graph. A source has one name; what all is denied to is denied.
pub fn policy(data: &[u8]) {
    let Ok(order) = SolveRequest::decode(data) else { return };
    let documents = fuzzing::policies(&order);
    let nothing = serde_json::json!({ "rules": [{ "action": "DENY", "selector": { "identifier": "*" } }] });
    let Ok(policies) = Policies::read(&documents) else { return };
    let denying = Policies::read(&[documents, vec![nothing]].concat()).expect("the same and one more");
    let ops = order.definition.iter().flat_map(|definition| &definition.def);
    for op in ops.filter_map(|bytes| Op::decode(&**bytes).ok()?.op) {
        let op::Op::Source(mut source) = op else { continue };
        let name = fuzzing::name(&source);
        let attributes = std::mem::take(&mut source.attrs);
        source.identifier.clone_from(&name);
        assert_eq!(fuzzing::name(&source), name);
        let source = || Source { attributes: attributes.clone(), ..Source::named(name.clone()) };
        let _ = policies.apply(&mut source());
        assert!(denying.apply(&mut source()).is_err(), "{name:?}");
    }
}

/// Filters of builds of before, one a line: who admits a build by two of them admits it by one.
pub fn filters(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let texts: Vec<String> = text.lines().map(str::to_owned).collect();
    let record = BuildRecord {
        id: "abcdefgh".to_owned(),
        status: "error".to_owned(),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        completed_at: "2026-01-01T00:01:00Z".to_owned(),
        ..BuildRecord::default()
    };
    let Ok(admitted) = fuzzing::admit(&texts, &record) else { return };
    let mut each = texts.iter().filter(|text| !text.is_empty()).peekable();
    let admits =
        |text: &String| fuzzing::admit(std::slice::from_ref(text), &record).expect("part of what is one");
    assert_eq!(admitted, each.peek().is_none() || each.any(admits), "{texts:?}");
}
