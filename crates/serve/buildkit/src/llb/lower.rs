//! Operations of a client as the builder's. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard_buildkit_proto::pb::{SourceOp, op};
use engine::builds::graph::{Copy, CopySource, Fs, Graph, ImageUse, Op, OpKind, Origin, Stack};
use oci::image::ImageConfig;
use oci::{Digest, Platform};
use tonic::Status;

use super::read::{self, Edge, Vertex};
use super::source::Local;
use super::{bad, exec, file, source};

/// What an operation gives.
#[derive(Clone)]
pub enum Part {
    Fs(Fs),
    /// A client's directory, by its number: it is read where it is, and made layers only where it must be.
    Local(usize),
}

/// A graph, and what it needs besides images.
pub struct Lowered {
    pub graph: Graph,
    pub platform: Platform,
    /// Directories of the client, by the names of the contexts that they are.
    pub locals: Vec<Local>,
    /// Images are to be asked for at their registries.
    pub pull: bool,
    /// Images in the client's content stores, by what stands for them in the graph.
    pub layouts: BTreeMap<String, SourceOp>,
    /// Digests that images must have, by the numbers of these.
    pub checksums: Vec<(usize, Digest)>,
    /// What each operation is of.
    pub made: Vec<Made>,
    /// The vertices that images are of.
    pub image_vertices: Vec<usize>,
}

/// Which of the client's operations one of ours is of.
pub struct Made {
    /// By its number.
    pub vertex: usize,
    /// Which of its changes of files.
    pub actions: Vec<usize>,
}

/// Lowers a definition.
pub fn lower(graph: &read::Graph) -> Result<Lowered, Status> {
    let mut lowering = Lowering {
        ops: Vec::new(),
        images: Vec::new(),
        locals: Vec::new(),
        known: HashMap::new(),
        layers: HashMap::new(),
        layouts: BTreeMap::new(),
        checksums: Vec::new(),
        made: Vec::new(),
        image_vertices: Vec::new(),
        outputs: Vec::with_capacity(graph.vertices.len()),
        pull: false,
    };
    for vertex in &graph.vertices {
        let outputs = lowering.vertex(vertex)?;
        lowering.outputs.push(outputs);
    }
    let result = lowering.fs(graph.result)?;
    let Lowering { ops, images, locals, layouts, checksums, pull, made, image_vertices, .. } = lowering;
    let mut config = ImageConfig::new(&graph.platform);
    config.config.env = vec![format!("PATH={PATH}")];
    config.config.working_dir = "/".to_owned();
    let (history, scan, stages) = (Vec::new(), Default::default(), Default::default());
    let graph = (Graph { images, ops, result, config, history, scan, stages }, graph.platform.clone());
    let (graph, platform) = graph;
    Ok(Lowered { graph, platform, locals, pull, layouts, checksums, made, image_vertices })
}

/// Where programs are, in an image that says nothing of it.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub struct Lowering {
    ops: Vec<Op>,
    images: Vec<ImageUse>,
    locals: Vec<Local>,
    /// Their numbers, by what is wanted of them.
    known: HashMap<Local, usize>,
    /// Directories of the client that were made layers.
    layers: HashMap<usize, Fs>,
    layouts: BTreeMap<String, SourceOp>,
    checksums: Vec<(usize, Digest)>,
    made: Vec<Made>,
    image_vertices: Vec<usize>,
    /// What the operations so far give, by the number of the result.
    outputs: Vec<BTreeMap<i64, Part>>,
    pull: bool,
}

impl Lowering {
    fn vertex(&mut self, vertex: &Vertex) -> Result<BTreeMap<i64, Part>, Status> {
        let one = |fs: Fs| BTreeMap::from([(0, Part::Fs(fs))]);
        match &vertex.op {
            op::Op::Source(op) => Ok(BTreeMap::from([(0, source::lower(self, vertex, op)?)])),
            op::Op::Exec(op) => exec::lower(self, vertex, op),
            op::Op::File(op) => file::lower(self, vertex, op),
            op::Op::Merge(op) => {
                let inputs = op.inputs.iter().map(|input| self.input(vertex, input.input));
                let mut inputs = inputs.collect::<Result<Vec<_>, _>>()?.into_iter();
                let base = inputs.next().unwrap_or(Fs::Scratch);
                let kind = OpKind::Stack(Stack::Merge(inputs.collect()));
                Ok(one(self.push(vertex, base, kind, || "merge".to_owned())))
            }
            op::Op::Diff(op) => {
                let lower = self.input(vertex, op.lower.as_ref().map_or(-1, |lower| lower.input))?;
                let upper = self.input(vertex, op.upper.as_ref().map_or(-1, |upper| upper.input))?;
                let kind = OpKind::Stack(Stack::Diff(lower));
                Ok(one(self.push(vertex, upper, kind, || "diff".to_owned())))
            }
            // They were replaced before.
            op::Op::Build(_) => Err(bad("a build within a build was left")),
        }
    }

    /// The file system that an operation works on; an input below 0 is empty.
    pub fn input(&mut self, vertex: &Vertex, index: i64) -> Result<Fs, Status> {
        match vertex.input(index)? {
            Some(edge) => self.fs(edge),
            None => Ok(Fs::Scratch),
        }
    }

    /// What an edge gives.
    pub fn part(&self, (number, output): Edge) -> Result<Part, Status> {
        let part = self.outputs.get(number).and_then(|outputs| outputs.get(&output));
        part.cloned().ok_or_else(|| bad(format!("an operation has no output {output}")))
    }

    /// The same as a file system.
    pub fn fs(&mut self, edge: Edge) -> Result<Fs, Status> {
        match self.part(edge)? {
            Part::Fs(fs) => Ok(fs),
            Part::Local(number) => Ok(self.layer(number)),
        }
    }

    /// A client's directory as a layer.
    fn layer(&mut self, number: usize) -> Fs {
        if let Some(fs) = self.layers.get(&number) {
            return fs.clone();
        }
        let local = &self.locals[number];
        let copy = Copy::plain(self.origin(&Part::Local(number)), CopySource::Path("/".to_owned()), "/");
        let name = format!("local://{}", local.name);
        let op = operation(Fs::Scratch, OpKind::Copy(Box::new(copy)), name, Platform::host());
        let fs = self.add(op);
        self.layers.insert(number, fs.clone());
        fs
    }

    /// Where files are read from.
    pub fn origin(&self, part: &Part) -> Origin {
        match part {
            Part::Fs(fs) => Origin::Fs(fs.clone()),
            Part::Local(number) => Origin::Context(Some(self.locals[*number].context.clone())),
        }
    }

    /// Adds an operation.
    pub fn push(&mut self, vertex: &Vertex, base: Fs, kind: OpKind, what: impl FnOnce() -> String) -> Fs {
        let mut op = operation(base, kind, vertex.name(what), vertex.platform.clone());
        op.no_cache = vertex.metadata.ignore_cache;
        self.add(op)
    }

    /// Says which changes of files the operation is that was added last.
    pub fn acts(&mut self, actions: Vec<usize>) {
        if let Some(made) = self.made.last_mut() {
            made.actions = actions;
        }
    }

    fn add(&mut self, op: Op) -> Fs {
        self.ops.push(op);
        // Those before are done.
        self.made.push(Made { vertex: self.outputs.len(), actions: Vec::new() });
        Fs::Op(self.ops.len() - 1)
    }

    /// An image.
    pub fn image(&mut self, reference: String, vertex: &Vertex, name: String, pull: bool) -> Fs {
        self.pull |= pull;
        let platform = vertex.platform.clone();
        let same = |known: &ImageUse| known.reference == reference && known.platform == platform;
        if let Some(index) = self.images.iter().position(same) {
            return Fs::Image(index);
        }
        let (stage, span) = (String::new(), Default::default());
        self.images.push(ImageUse { reference, platform, name, stage, span });
        self.image_vertices.push(self.outputs.len());
        Fs::Image(self.images.len() - 1)
    }

    /// An image must have a digest.
    pub fn expect(&mut self, image: &Fs, checksum: Digest) {
        if let Fs::Image(number) = image {
            self.checksums.push((*number, checksum));
        }
    }

    /// An image in a content store of the client.
    pub fn layout(&mut self, placeholder: String, op: &SourceOp) {
        self.layouts.insert(placeholder, op.clone());
    }

    /// A directory of the client, once for all that want the same of it.
    pub fn local(&mut self, local: Local, title: String) -> Part {
        let next = self.locals.len();
        let number = *self.known.entry(local).or_insert_with_key(|local| {
            self.locals.push(Local { context: format!("local-{next}"), title, ..local.clone() });
            next
        });
        Part::Local(number)
    }
}

fn operation(base: Fs, kind: OpKind, name: String, platform: Platform) -> Op {
    let instruction = name.clone();
    let (stage, span, no_cache) = (String::new(), Default::default(), false);
    Op { base, kind, name, stage, instruction, span, no_cache, platform }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{definition, source};
    use super::*;
    use bollard_buildkit_proto::pb::{
        DiffOp, ExecOp, FileAction, FileActionCopy, FileActionMkFile, FileOp, LowerDiffInput, MergeInput,
        MergeOp, Meta, Mount, UpperDiffInput, file_action,
    };
    use engine::builds::graph::MountKind;

    fn lowered(ops: &[(op::Op, &[Edge])], result: Edge) -> Result<Lowered, String> {
        let read = read::read(&definition(ops, result)).unwrap();
        lower(&read).map_err(|status| status.message().to_owned())
    }

    fn run(mounts: Vec<Mount>) -> op::Op {
        let meta = Meta { args: vec!["true".to_owned()], cwd: "/".to_owned(), ..Meta::default() };
        op::Op::Exec(ExecOp { meta: Some(meta), mounts, ..ExecOp::default() })
    }

    fn mount(dest: &str, input: i64, output: i64) -> Mount {
        Mount { dest: dest.to_owned(), input, output, ..Mount::default() }
    }

    fn action(input: i64, secondary_input: i64, action: file_action::Action) -> FileAction {
        FileAction { input, secondary_input, output: 0, action: Some(action) }
    }

    #[test]
    fn mounts_of_a_process_are_results_of_their_own() {
        let image = source("docker-image://docker.io/library/a:1");
        let run = run(vec![mount("/", 0, 0), mount("/out", -1, 1), mount("/in", 0, -1)]);
        let graph = lowered(&[(image.clone(), &[]), (run.clone(), &[(0, 0)])], (1, 1)).unwrap().graph;
        assert_eq!(graph.images[0].reference, "docker.io/library/a:1");
        let OpKind::Run(process) = &graph.ops[0].kind else { panic!("no process") };
        assert_eq!(
            process.mounts.iter().map(|m| &m.kind).collect::<Vec<_>>(),
            [&MountKind::Kept, &MountKind::Bind]
        );
        assert_eq!(graph.ops[1].kind, OpKind::Stack(Stack::Mount(0)));
        assert_eq!((&graph.ops[1].base, &graph.result), (&Fs::Op(0), &Fs::Op(1)));
        assert!(lowered(&[(image, &[]), (run, &[(0, 0)])], (1, 2)).err().unwrap().contains("no output 2"));
    }

    #[test]
    fn directories_of_the_client_are_read_where_they_are() {
        let copy = FileActionCopy {
            src: "/a".to_owned(),
            dest: "/b".to_owned(),
            mode: -1,
            timestamp: -1,
            ..FileActionCopy::default()
        };
        let actions = vec![action(-1, 0, file_action::Action::Copy(copy))];
        let copy = op::Op::File(FileOp { actions });
        let lowered_ = lowered(&[(source("local://src"), &[]), (copy, &[(0, 0)])], (1, 0)).unwrap();
        let OpKind::Copy(copy) = &lowered_.graph.ops[0].kind else { panic!("no copy") };
        assert_eq!(copy.from, Origin::Context(Some("local-0".to_owned())));
        assert_eq!(lowered_.graph.ops.len(), 1);
        let alone = lowered(&[(source("local://src"), &[])], (0, 0)).unwrap();
        assert_eq!((alone.graph.ops.len(), alone.graph.result), (1, Fs::Op(0)));
    }

    #[test]
    fn files_in_a_row_are_one_change() {
        let file = |path: &str, input: i64| {
            let file =
                FileActionMkFile { path: path.to_owned(), data: vec![0xff], ..FileActionMkFile::default() };
            action(input, -1, file_action::Action::Mkfile(file))
        };
        let mut actions = vec![file("/a", -1), file("/b", 0)];
        actions[0].output = -1;
        let graph = lowered(&[(op::Op::File(FileOp { actions }), &[])], (0, 0)).unwrap().graph;
        assert_eq!(graph.ops.len(), 1);
        assert!(matches!(&graph.ops[0].kind, OpKind::Change(changes) if changes.len() == 2));
    }

    #[test]
    fn long_rows_of_files_are_moved_and_not_copied() {
        let file = |number: i64, input: i64, output: i64| {
            let (path, data) = (format!("/{number}"), vec![b'x'; 4 << 10]);
            let file = FileActionMkFile { path, data, ..FileActionMkFile::default() };
            FileAction { output, ..action(input, -1, file_action::Action::Mkfile(file)) }
        };
        // All but the last give no output; copies of what each has would be 32 GB.
        const COUNT: i64 = 4000;
        let actions = (0..COUNT).map(|at| file(at, at - 1, if at == COUNT - 1 { 0 } else { -1 })).collect();
        let graph = lowered(&[(op::Op::File(FileOp { actions }), &[])], (0, 0)).unwrap().graph;
        let changes = |op: &Op| match &op.kind {
            OpKind::Change(changes) => changes.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(graph.ops.iter().map(changes).collect::<Vec<_>>(), [COUNT as usize]);
        // What many work on is made once, and not for each of them.
        let actions = (0..COUNT).map(|at| if at == 0 { file(0, -1, -1) } else { file(at, 0, at - 1) });
        let graph = lowered(&[(op::Op::File(FileOp { actions: actions.collect() }), &[])], (0, 0));
        let ops = graph.unwrap().graph.ops;
        assert_eq!(ops.iter().map(changes).collect::<Vec<_>>(), [1; COUNT as usize]);
        assert!(ops[1..].iter().all(|op| op.base == Fs::Op(0)));
    }

    #[test]
    fn one_directory_wanted_twice_comes_once() {
        let local = |excluded: &str| {
            let attrs = [("local.excludepatterns".to_owned(), format!("[{excluded:?}]"))].into();
            op::Op::Source(SourceOp { identifier: "local://src".to_owned(), attrs })
        };
        let merge = MergeOp { inputs: (0..3).map(|input| MergeInput { input }).collect() };
        let ops = [(local("a"), &[][..]), (local("b"), &[]), (local("a"), &[])];
        let (merge, edges) = (op::Op::Merge(merge), [(0, 0), (1, 0), (2, 0)]);
        let all: Vec<_> = ops.into_iter().chain([(merge, &edges[..])]).collect();
        let locals = lowered(&all, (3, 0)).unwrap().locals;
        let known: Vec<_> = locals.iter().map(|l| (l.context.as_str(), l.exclude[0].as_str())).collect();
        assert_eq!(known, [("local-0", "a"), ("local-1", "b")]);
        assert_eq!(locals[1].title, "local://src");
    }

    #[test]
    fn stacks() {
        let merge = op::Op::Merge(MergeOp { inputs: vec![MergeInput { input: 0 }, MergeInput { input: 1 }] });
        let diff = op::Op::Diff(DiffOp {
            lower: Some(LowerDiffInput { input: 0 }),
            upper: Some(UpperDiffInput { input: 1 }),
        });
        let (a, b) = (source("docker-image://a"), source("docker-image://b"));
        let edges: &[Edge] = &[(0, 0), (1, 0)];
        let graph =
            lowered(&[(a, &[]), (b, &[]), (merge, edges), (diff, &[(0, 0), (2, 0)])], (3, 0)).unwrap().graph;
        assert_eq!(graph.ops[0].kind, OpKind::Stack(Stack::Merge(vec![Fs::Image(1)])));
        assert_eq!(graph.ops[1].kind, OpKind::Stack(Stack::Diff(Fs::Image(0))));
        assert_eq!(graph.ops[1].base, Fs::Op(0));
    }

    #[test]
    fn hostile_numbers_are_refused() {
        let merge = op::Op::Merge(MergeOp { inputs: vec![MergeInput { input: 7 }] });
        assert!(lowered(&[(merge, &[])], (0, 0)).err().unwrap().contains("no input 7"));
        let looking =
            FileOp { actions: vec![action(i64::MAX, -1, file_action::Action::Rm(Default::default()))] };
        assert!(lowered(&[(op::Op::File(looking), &[])], (0, 0)).is_err());
        assert!(lowered(&[(op::Op::File(FileOp::default()), &[])], (0, 0)).is_err());
        assert!(lowered(&[(run(Vec::new()), &[])], (0, 0)).is_err());
    }
}
