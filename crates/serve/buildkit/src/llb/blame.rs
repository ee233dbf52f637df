//! What of a client's graph failed, for the client: `errdefs.Source` with the places in its own files, and `errdefs.Solve` with the
//! operation and results that stand for what that worked on. As JSON, in the names of their protocol buffers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard_buildkit_proto::google::protobuf::Any;
use bollard_buildkit_proto::pb::file_action::Action;
use bollard_buildkit_proto::pb::{self, ChownOpt, ExecOp, FileAction, FileOp, op, user_opt};
use engine::Failure;
use engine::builds::{self, ChainId, Loan, Spot};
use serde_json::{Value, json};

use super::lower::Made;
use super::read::Vertex;
use crate::Host;
use crate::build::{self, Build};
use crate::fault;
use crate::left::SOLVE;
use crate::mounts;

/// Bytes of files that an operation writes, which are repeated to who has sent them; of more nothing is.
const DATA_MAX: usize = 64 << 10;

/// A graph of a client's that is built.
pub struct Blame {
    pub vertices: Vec<Vertex>,
    /// What each operation of ours is of.
    pub made: Vec<Made>,
    /// The vertices of images, by the names that they are asked for by.
    pub images: BTreeMap<String, usize>,
}

impl Blame {
    /// The details of an error: its places, and what a client that still talks with us may look at.
    pub async fn details(&self, host: &Host, build: &Build, failure: &Failure) -> Vec<Any> {
        let made = failure.spot.as_ref().and_then(|spot| self.made.get(spot.op));
        let image = failure.image.as_ref().and_then(|name| self.images.get(name));
        let number = made.map(|made| made.vertex).or(image.copied());
        let Some(vertex) = number.and_then(|number| self.vertices.get(number)) else { return Vec::new() };
        // The last one first, as clients unwrap them.
        let places = vertex.places.iter().rev().map(|(info, ranges)| {
            fault::source(&json!({
                "info": fault::information(info),
                "ranges": ranges.iter().map(range).collect::<Vec<_>>(),
            }))
        });
        let mut details: Vec<Any> = places.collect();
        if let (Some(made), Some(spot), true) = (made, &failure.spot, build.is_conversation()) {
            let locals = self.vertices.iter().map(is_local).collect();
            let worked = Worked { host, build, vertex, locals, made, spot };
            details.extend(worked.detail().await);
        }
        details
    }
}

fn is_local(vertex: &Vertex) -> bool {
    matches!(&vertex.op, op::Op::Source(source) if source.identifier.starts_with("local://"))
}

fn range(range: &pb::Range) -> Value {
    let position = |position: &Option<pb::Position>| {
        let position = position.unwrap_or_default();
        json!({ "line": position.line, "character": position.character })
    };
    json!({ "start": position(&range.start), "end": position(&range.end) })
}

/// An operation that failed, and what it worked on.
struct Worked<'a> {
    host: &'a Host,
    build: &'a Build,
    vertex: &'a Vertex,
    /// Which of the graph's vertices are directories of the client.
    locals: Vec<bool>,
    made: &'a Made,
    spot: &'a Spot,
}

impl Worked<'_> {
    /// What was read in vain, or the change of files that failed; processes leave more ([`crate::left`]).
    async fn detail(&self) -> Option<Any> {
        let solve = match (&self.vertex.op, &self.spot.missing) {
            (op::Op::File(op), Some(_)) => {
                let action = op.actions.get(*self.made.actions.first()?)?;
                self.sought(action.secondary_input, 1, json!({ "file": files(op) })).await?
            }
            (op::Op::Exec(op), Some(path)) => {
                let (number, input) = self.mounted(op, path)?;
                self.sought(input, number, json!({ "exec": process(op) })).await?
            }
            (op::Op::File(op), None) => self.changed(op).await?,
            _ => return None,
        };
        Some(Any { type_url: SOLVE.to_owned(), value: solve.to_string().into_bytes() })
    }

    /// The mount of a process that shows this path, by its number among what our operation needs, and the input that it is of.
    fn mounted(&self, op: &ExecOp, path: &str) -> Option<(usize, i64)> {
        // A client's own directories are no layers.
        let is_local = |mount: &&pb::Mount| match self.vertex.input(mount.input) {
            Ok(Some((number, _))) => self.locals.get(number).copied().unwrap_or_default(),
            _ => false,
        };
        let mounts = op.mounts.iter().filter(|mount| mount.dest != "/" && !is_local(mount));
        let (number, mount) = (1..).zip(mounts).find(|(_, mount)| mounts::source(mount) == path)?;
        Some((number, mount.input))
    }

    /// What an input of the vertex was that lacks what was to be read: the needs of our operation count it by this number.
    async fn sought(&self, input: i64, need: usize, op: Value) -> Option<Value> {
        let id = self.result(self.spot.needs.get(need)?.clone()).await.unwrap_or_default();
        Some(json!({ "inputIDs": [id], "op": op, "cache": { "index": input } }))
    }

    async fn changed(&self, op: &FileOp) -> Option<Value> {
        let (change, before) = self.spot.change.clone().unwrap_or_default();
        let number = *self.made.actions.get(change)?;
        let (first, action) = (op.actions.get(*self.made.actions.first()?)?, op.actions.get(number)?);
        let count = self.vertex.inputs.len();
        let mut inputs = vec![String::new(); count];
        let mut outputs = vec![String::new(); op.actions.len()];
        let mut needs = self.spot.needs.iter().cloned();
        let base = self.result(needs.next().flatten()).await.unwrap_or_default();
        outputs[number] = match before {
            Some(before) => self.result(Some(before)).await.unwrap_or_default(),
            None => base.clone(),
        };
        put(&mut inputs, first.input, base);
        if let Some(from) = self.result(needs.next().flatten()).await {
            let index = action.secondary_input;
            put(&mut inputs, index, from.clone());
            put(&mut outputs, index.saturating_sub(count as i64), from);
        }
        Some(json!({
            "inputIDs": inputs,
            "mountIDs": outputs,
            "op": { "file": files(op) },
            "file": { "index": number },
        }))
    }

    /// A result of the build for layers.
    async fn result(&self, layers: Option<ChainId>) -> Option<String> {
        let (engine, layers) = (self.host.engine(), layers?);
        let lent = async {
            let lease = builds::hold(engine).await?;
            let image = builds::layers(engine, lease.clone(), layers).await?;
            Ok(build::Made::of_part(Arc::new(Loan::new(engine, lease)), image))
        };
        let made: engine::Result<_> = lent.await;
        let made = made.inspect_err(|error| tracing::debug!(%error, "what a step worked on is gone")).ok()?;
        self.build.put(made).ok()
    }
}

fn put(ids: &mut [String], index: i64, id: String) {
    if let Some(place) = usize::try_from(index).ok().and_then(|index| ids.get_mut(index)) {
        *place = id;
    }
}

fn process(op: &ExecOp) -> Value {
    let meta = op.meta.clone().unwrap_or_default();
    let mount = |mount: &pb::Mount| {
        json!({
            "input": mount.input,
            "selector": mount.selector,
            "dest": mount.dest,
            "output": mount.output,
            "readonly": mount.readonly,
            "mountType": mount.mount_type,
        })
    };
    json!({
        "meta": { "args": meta.args, "env": meta.env, "cwd": meta.cwd, "user": meta.user },
        "mounts": op.mounts.iter().map(mount).collect::<Vec<_>>(),
    })
}

fn files(op: &FileOp) -> Value {
    let size = |action: &FileAction| match &action.action {
        Some(Action::Mkfile(file)) => file.data.len(),
        _ => 0,
    };
    let is_short = op.actions.iter().map(size).sum::<usize>() <= DATA_MAX;
    json!({ "actions": op.actions.iter().map(|action| one(action, is_short)).collect::<Vec<_>>() })
}

fn one(action: &FileAction, with_data: bool) -> Value {
    let mut document = json!({
        "input": action.input,
        "secondaryInput": action.secondary_input,
        "output": action.output,
    });
    let (kind, what, by) = match &action.action {
        None => return document,
        Some(Action::Mkfile(file)) => {
            let data = if with_data { fault::base64(&file.data) } else { String::new() };
            let what =
                json!({ "path": file.path, "mode": file.mode, "data": data, "timestamp": file.timestamp });
            ("mkfile", what, file.owner.as_ref())
        }
        Some(Action::Mkdir(dir)) => {
            let (path, mode, parents, time) = (&dir.path, dir.mode, dir.make_parents, dir.timestamp);
            let what = json!({ "path": path, "mode": mode, "makeParents": parents, "timestamp": time });
            ("mkdir", what, dir.owner.as_ref())
        }
        Some(Action::Symlink(link)) => {
            let what =
                json!({ "oldpath": link.oldpath, "newpath": link.newpath, "timestamp": link.timestamp });
            ("symlink", what, link.owner.as_ref())
        }
        Some(Action::Rm(gone)) => {
            let (optional, pattern) = (gone.allow_not_found, gone.allow_wildcard);
            let what = json!({ "path": gone.path, "allowNotFound": optional, "allowWildcard": pattern });
            ("rm", what, None)
        }
        Some(Action::Copy(copy)) => {
            let what = json!({
                "src": copy.src,
                "dest": copy.dest,
                "mode": copy.mode,
                "modeStr": copy.mode_str,
                "followSymlink": copy.follow_symlink,
                "dirCopyContents": copy.dir_copy_contents,
                "attemptUnpackDockerCompatibility": copy.attempt_unpack_docker_compatibility,
                "createDestPath": copy.create_dest_path,
                "allowWildcard": copy.allow_wildcard,
                "allowEmptyWildcard": copy.allow_empty_wildcard,
                "timestamp": copy.timestamp,
                "includePatterns": copy.include_patterns,
                "excludePatterns": copy.exclude_patterns,
                "alwaysReplaceExistingDestPaths": copy.always_replace_existing_dest_paths,
                "requiredPaths": copy.required_paths,
            });
            ("copy", what, copy.owner.as_ref())
        }
    };
    document[kind] = what;
    if let Some(owner) = by {
        document[kind]["owner"] = owned(owner);
    }
    document
}

fn owned(owner: &ChownOpt) -> Value {
    let who = |who: &Option<pb::UserOpt>| match who.as_ref().and_then(|who| who.user.as_ref()) {
        Some(user_opt::User::ByName(named)) => {
            json!({ "byName": { "name": named.name, "input": named.input } })
        }
        Some(user_opt::User::ById(id)) => json!({ "byID": id }),
        None => json!({}),
    };
    json!({ "user": who(&owner.user), "group": who(&owner.group) })
}
