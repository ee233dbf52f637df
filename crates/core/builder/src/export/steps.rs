//! The steps of a build as the SLSA predicate tells them: BuildKit's operations, numbered, with what goes into each, the lines of
//! the Dockerfile behind it and the layers that came of it. Pure.
//!
//! Nodes have the numbers of the graph: images first, then what is read from elsewhere, then operations.

use super::provenance::is_secret;
use crate::graph::{
    Change, ChangeKind, Copy, CopySource, Fs, Graph, ImageUse, MountKind, NetKind, Op, OpKind, Origin, Run,
    Stack,
};
use crate::mode::Change as Mode;
use crate::request::Image;
use base64::Engine as _;
use dockerfile::Span;
use oci::Platform;
use oci::address::without_userinfo;
use oci::image::Descriptor;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// BuildKit's numbers of kinds of mounts, networks and security modes (`solver/pb/ops.proto`).
const SECRET: u8 = 1;
const SSH: u8 = 2;
const CACHE: u8 = 3;
const TMPFS: u8 = 4;
const HOST: u8 = 1;
const NONE: u8 = 2;
const INSECURE: u8 = 1;
/// What stands for no input.
const NO_INPUT: i64 = -1;

/// The layers up to a node of a graph, for those nodes that the result is on top of: images before operations.
pub(crate) type Layers<'a> = BTreeMap<usize, &'a [Descriptor]>;

/// What is told of steps.
pub(super) struct Steps {
    /// The steps in an order in which they could run.
    pub definition: Vec<Value>,
    /// Their places in the Dockerfile, by their names.
    pub locations: Map<String, Value>,
    /// The layers that they gave, by the names of their outputs.
    pub layers: Map<String, Value>,
}

/// Tells the steps of a graph on these images.
pub(super) fn steps(graph: &Graph, images: &[Image], layers: &Layers<'_>) -> Steps {
    let numbers = Numbers { graph, sources: sources(graph) };
    let mut all = Steps { definition: Vec::new(), locations: Map::new(), layers: Map::new() };
    for (number, used) in graph.images.iter().enumerate() {
        let mut identifier = format!("docker-image://{}", ImageUse::shown(&used.reference));
        if let Some(image) = images.get(number).filter(|_| !used.reference.contains('@')) {
            identifier = format!("{identifier}@{}", image.root);
        }
        all.add(number, &source(&identifier), Some(&used.platform), Vec::new(), Some(used.span));
    }
    for (number, (identifier, span)) in numbers.sources.iter().enumerate() {
        all.add(graph.images.len() + number, &source(identifier), None, Vec::new(), *span);
    }
    for (number, op) in graph.ops.iter().enumerate() {
        let mut inputs = Inputs { numbers: &numbers, all: Vec::new() };
        let told = inputs.op(op);
        all.add(numbers.op(number), &told, Some(&op.platform), inputs.all, Some(op.span));
    }
    for (node, descriptors) in layers {
        let step = node.checked_sub(graph.images.len()).map_or(*node, |op| numbers.op(op));
        all.layers.insert(output(step), json!([descriptors]));
    }
    all
}

/// The steps that give a file of a client's directory.
pub(super) fn of_directory(name: &str, file: &str) -> Value {
    let mut from = source(&format!("local://{name}"));
    from["source"]["attrs"] = json!({ "local.followpaths": json!([file]).to_string() });
    json!([
        { "id": "step0", "op": { "Op": from, "constraints": {} } },
        { "id": "step1", "op": { "Op": null }, "inputs": [output(0)] },
    ])
}

fn output(step: usize) -> String {
    format!("step{step}:0")
}

fn source(identifier: &str) -> Value {
    json!({ "source": { "identifier": identifier } })
}

/// Lines of a step that are told.
const LINES_MAX: usize = 100;

impl Steps {
    fn add(
        &mut self,
        step: usize,
        op: &Value,
        platform: Option<&Platform>,
        inputs: Vec<String>,
        span: Option<Span>,
    ) {
        let mut told = json!({ "Op": op, "constraints": {} });
        if let Some(Platform { architecture, os, variant, .. }) = platform {
            told["platform"] = json!({ "Architecture": architecture, "OS": os });
            if let Some(variant) = variant {
                told["platform"]["Variant"] = variant.clone().into();
            }
        }
        let mut one = json!({ "id": format!("step{step}"), "op": told });
        if !inputs.is_empty() {
            one["inputs"] = inputs.into();
        }
        self.definition.push(one);
        let range = |span: Span| json!([{ "ranges": span.ranges(LINES_MAX) }]);
        let places = json!({ "locations": span.map_or_else(|| json!([]), range) });
        self.locations.insert(format!("step{step}"), places);
    }
}

/// What is read from elsewhere, each once, and where it is named; contexts have no place.
fn sources(graph: &Graph) -> Vec<(String, Option<Span>)> {
    let mut all: Vec<(String, Option<Span>)> = Vec::new();
    for op in &graph.ops {
        let found = match &op.kind {
            OpKind::Copy(copy) => copied(copy, op.span),
            OpKind::Run(run) => {
                run.mounts.iter().filter_map(|mount| Some((context(&mount.from)?, None))).collect()
            }
            OpKind::Mkdir(_) | OpKind::Change(_) | OpKind::Stack(_) => Vec::new(),
        };
        for source in found {
            if all.iter().all(|(known, _)| *known != source.0) {
                all.push(source);
            }
        }
    }
    all
}

fn copied(copy: &Copy, span: Span) -> Vec<(String, Option<Span>)> {
    let source = |source: &CopySource| match source {
        CopySource::Path(_) => context(&copy.from).map(|context| (context, None)),
        other => elsewhere(other).map(|address| (address, Some(span))),
    };
    copy.sources.iter().filter_map(source).collect()
}

fn context(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Context(name) => Some(format!("local://{}", name.as_deref().unwrap_or("context"))),
        Origin::Fs(_) => None,
    }
}

fn elsewhere(source: &CopySource) -> Option<String> {
    match source {
        CopySource::Url { url, .. } => Some(without_userinfo(url)),
        CopySource::Git { url, .. } => Some(format!("git://{}", without_userinfo(url))),
        CopySource::Path(_) | CopySource::Inline { .. } => None,
    }
}

/// Which step stands for what.
struct Numbers<'a> {
    graph: &'a Graph,
    sources: Vec<(String, Option<Span>)>,
}

impl Numbers<'_> {
    fn op(&self, op: usize) -> usize {
        self.graph.images.len() + self.sources.len() + op
    }

    fn fs(&self, fs: &Fs) -> Option<usize> {
        match fs {
            Fs::Scratch => None,
            Fs::Image(image) => Some(*image),
            Fs::Op(op) => Some(self.op(*op)),
        }
    }

    fn source(&self, identifier: &str) -> Option<usize> {
        let found = self.sources.iter().position(|(known, _)| known == identifier);
        found.map(|number| self.graph.images.len() + number)
    }

    fn origin(&self, origin: &Origin) -> Option<usize> {
        match origin {
            Origin::Fs(fs) => self.fs(fs),
            Origin::Context(_) => self.source(&context(origin)?),
        }
    }
}

/// What goes into one step.
struct Inputs<'a> {
    numbers: &'a Numbers<'a>,
    all: Vec<String>,
}

impl Inputs<'_> {
    /// The number of an input among those of the step.
    fn take(&mut self, step: Option<usize>) -> i64 {
        let Some(name) = step.map(output) else { return NO_INPUT };
        let known = self.all.iter().position(|known| *known == name);
        let place = known.unwrap_or_else(|| {
            self.all.push(name);
            self.all.len() - 1
        });
        i64::try_from(place).unwrap_or(NO_INPUT)
    }

    fn op(&mut self, op: &Op) -> Value {
        let base = self.take(self.numbers.fs(&op.base));
        match &op.kind {
            OpKind::Run(run) => self.exec(run, base),
            OpKind::Copy(copy) => self.copy(copy, base),
            OpKind::Mkdir(dir) => {
                let mut made = json!({ "path": dir.path, "mode": 0o755, "makeParents": true });
                if let Some(seconds) = dir.time {
                    made["timestamp"] = seconds.saturating_mul(1_000_000_000).into();
                }
                file([action(base, NO_INPUT, &json!({ "mkdir": made }))])
            }
            OpKind::Change(changes) => file(changes.iter().map(|change| changed(change, base))),
            OpKind::Stack(Stack::Merge(others)) => {
                let others = others.iter().map(|fs| self.take(self.numbers.fs(fs)));
                let all: Vec<Value> =
                    std::iter::once(base).chain(others).map(|input| json!({ "input": input })).collect();
                json!({ "merge": { "inputs": all } })
            }
            OpKind::Stack(Stack::Diff(lower)) => {
                let lower = self.take(self.numbers.fs(lower));
                json!({ "diff": { "lower": { "input": lower }, "upper": { "input": base } } })
            }
            OpKind::Stack(Stack::Mount(_)) => json!({ "merge": { "inputs": [{ "input": base }] } }),
        }
    }

    fn exec(&mut self, run: &Run, base: i64) -> Value {
        let mut mounts = vec![json!({ "input": base, "dest": "/" })];
        for mount in &run.mounts {
            let input = self.take(self.numbers.origin(&mount.from));
            let mut told = json!({ "input": NO_INPUT, "dest": mount.target, "output": NO_INPUT });
            match &mount.kind {
                MountKind::Bind | MountKind::Kept => {
                    (told["input"], told["selector"]) = (input.into(), mount.source.clone().into());
                }
                MountKind::Cache { id, .. } => {
                    (told["mountType"], told["cacheOpt"]) = (CACHE.into(), json!({ "ID": id }));
                }
                MountKind::Tmpfs { size } => {
                    (told["mountType"], told["TmpfsOpt"]) = (TMPFS.into(), json!({ "size": size }));
                }
                MountKind::Secret { id, required, mode, uid, gid, .. } => {
                    let options = owned(id, *required, (*mode, *uid, *gid));
                    (told["mountType"], told["secretOpt"]) = (SECRET.into(), options);
                }
                MountKind::Ssh { id, required, mode, uid, gid } => {
                    let options = owned(id, *required, (*mode, *uid, *gid));
                    (told["mountType"], told["SSHOpt"]) = (SSH.into(), options);
                }
            }
            if mount.readonly {
                told["readonly"] = true.into();
            }
            mounts.push(told);
        }
        let is_told = |variable: &&String| !is_secret(variable.split('=').next().unwrap_or_default());
        let env = run.env.iter().filter(is_told).collect::<Vec<_>>();
        let mut meta = json!({ "args": run.argv, "env": env, "cwd": run.cwd });
        if !run.user.is_empty() {
            meta["user"] = run.user.clone().into();
        }
        let mut exec = json!({ "meta": meta, "mounts": mounts });
        match run.network {
            Some(NetKind::None) => exec["network"] = NONE.into(),
            Some(NetKind::Host) => exec["network"] = HOST.into(),
            None => {}
        }
        if run.insecure {
            exec["security"] = INSECURE.into();
        }
        json!({ "exec": exec })
    }

    fn copy(&mut self, copy: &Copy, base: i64) -> Value {
        let mut actions = Vec::with_capacity(copy.sources.len());
        for source in &copy.sources {
            let (from, src) = match source {
                CopySource::Path(path) => (self.numbers.origin(&copy.from), path.as_str()),
                CopySource::Inline { name, content } => {
                    let data = base64::engine::general_purpose::STANDARD.encode(content);
                    let path =
                        if copy.dest.ends_with('/') { copy.dest.clone() + name } else { copy.dest.clone() };
                    let made = json!({ "mkfile": { "path": path, "mode": 0o644, "data": data } });
                    actions.push(action(base, NO_INPUT, &made));
                    continue;
                }
                other => (elsewhere(other).and_then(|address| self.numbers.source(&address)), "/"),
            };
            let from = self.take(from);
            actions.push(action(base, from, &json!({ "copy": copied_by(copy, src, base) })));
        }
        file(actions)
    }
}

/// What is given to a step for its owner.
fn owned(id: &str, required: bool, (mode, uid, gid): (u32, u32, u32)) -> Value {
    json!({ "ID": id, "uid": uid, "gid": gid, "mode": mode, "optional": !required })
}

/// How one source is copied: fields that say nothing are left out.
fn copied_by(copy: &Copy, src: &str, base: i64) -> Value {
    let mut told = json!({
        "src": src,
        "dest": copy.dest,
        "mode": -1,
        "followSymlink": true,
        "dirCopyContents": !copy.whole,
        "createDestPath": true,
        "allowWildcard": true,
    });
    if let Some(text) = &copy.chmod {
        match Mode::parse(text) {
            Ok(Mode::Absolute(bits)) => told["mode"] = bits.into(),
            Ok(Mode::Symbolic(_)) | Err(_) => told["modeStr"] = text.clone().into(),
        }
    }
    if let Some(owner) = &copy.chown {
        let (user, group) =
            owner.split_once(':').map_or((&**owner, None), |(user, group)| (user, Some(group)));
        let who = |name: &str| match name.parse::<u32>() {
            Ok(id) => json!({ "User": { "byId": id } }),
            Err(_) => json!({ "User": { "byName": { "name": name, "input": base } } }),
        };
        told["owner"] = json!({ "user": who(user) });
        group.into_iter().for_each(|group| told["owner"]["group"] = who(group));
    }
    if copy.unpack.unwrap_or(copy.is_add) {
        told["attemptUnpackDockerCompatibility"] = true.into();
    }
    let lists = [
        ("include_patterns", &copy.include),
        ("exclude_patterns", &copy.exclude),
        ("required_paths", &copy.required),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        told[name] = json!(list);
    }
    told
}

fn file(actions: impl IntoIterator<Item = Value>) -> Value {
    json!({ "file": { "actions": actions.into_iter().collect::<Vec<_>>() } })
}

fn action(input: i64, secondary: i64, action: &Value) -> Value {
    json!({ "input": input, "secondaryInput": secondary, "output": 0, "Action": action })
}

fn changed(change: &Change, base: i64) -> Value {
    let path = &change.path;
    let told = match &change.kind {
        ChangeKind::File { mode, .. } => json!({ "mkfile": { "path": path, "mode": mode } }),
        ChangeKind::Directory { mode, parents } => {
            json!({ "mkdir": { "path": path, "mode": mode, "makeParents": parents } })
        }
        ChangeKind::Link { target } => json!({ "symlink": { "oldpath": target, "newpath": path } }),
        ChangeKind::Gone { optional, pattern } => {
            json!({ "rm": { "path": path, "allowNotFound": optional, "allowWildcard": pattern } })
        }
    };
    action(base, NO_INPUT, &told)
}
