//! Cache keys: how an operation is keyed, apart from how it is done, and why a key differs from the last one.
//!
//! A key is the digest of a [`Record`]: what the operation does, the layer stack below it and the content that it reads. The
//! record is kept with the result, so a miss can be explained by comparing records.

use crate::exec::OF_MOUNT;
use crate::graph::{Change, Copy, CopySource, Mkdir, MountKind, Op, OpKind, Own, Run};
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raised whenever the same record would give another result.
const VERSION: u32 = 6;
/// Differences that are told.
const MAX_REASONS: usize = 10;
/// What the names of parts that are variables begin with.
const VARIABLE: &str = "variable ";

/// What a key is the digest of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    platform: String,
    /// The layer stack below.
    parent: Option<ChainId>,
    /// What the operation does, in parts that can be named.
    what: BTreeMap<String, String>,
    /// What it reads, by name.
    inputs: BTreeMap<String, String>,
}

impl Record {
    /// The record of an operation on this stack with these inputs.
    pub fn new(op: &Op, parent: Option<&ChainId>, inputs: BTreeMap<String, String>) -> Self {
        let what = match &op.kind {
            OpKind::Run(run) => run_parts(run),
            OpKind::Copy(copy) => copy_parts(copy),
            OpKind::Mkdir(dir) => mkdir_parts(dir),
            OpKind::Change(changes) => change_parts(changes),
            OpKind::Stack(stack) => BTreeMap::from([("layers".to_string(), json(stack))]),
        };
        Self { version: VERSION, platform: op.platform.to_string(), parent: parent.cloned(), what, inputs }
    }

    /// The layer stack below.
    pub fn parent(&self) -> Option<&ChainId> {
        self.parent.as_ref()
    }

    /// The key.
    pub fn key(&self) -> Digest {
        Digest::sha256(self.text().as_bytes())
    }

    /// A digest of all but the content that is read.
    pub fn shape(&self) -> Digest {
        Digest::sha256(json(&(self.version, &self.platform, &self.parent, &self.what)).as_bytes())
    }

    /// The record as it is kept.
    pub fn text(&self) -> String {
        json(self)
    }

    /// All that differs from an older run, a sentence each.
    pub fn differences(&self, old: &Record) -> Vec<String> {
        let below = (self.parent != old.parent).then(|| "what is below changed".to_owned());
        let work = self.differences_of_work(old);
        below.into_iter().chain(work).chain(self.differences_of_inputs(old)).collect()
    }

    /// What it does otherwise.
    pub fn differences_of_work(&self, old: &Record) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.version != old.version {
            reasons.push("the cache is of another version".to_string());
        }
        if self.platform != old.platform {
            reasons.push(format!("platform {} was {}", self.platform, old.platform));
        }
        changes(&old.what, &self.what, &mut reasons);
        if reasons.is_empty() && self.what != old.what {
            reasons.push("the order of variables changed".to_string());
        }
        reasons
    }

    /// What it reads otherwise.
    pub fn differences_of_inputs(&self, old: &Record) -> Vec<String> {
        let mut reasons = Vec::new();
        let is_summed = |record: &Record| record.files().any(|(_, value)| is_sum(value));
        let names_files = |record: &Record| record.files().next().is_some();
        if is_summed(self) != is_summed(old) || names_files(self) && !names_files(old) {
            // One names files, the other whole directories, or layers.
            reasons.push("the files changed that are read".to_string());
            return reasons;
        }
        changes(&old.inputs, &self.inputs, &mut reasons);
        reasons
    }

    /// Both read files, and none is the same: they belong to different things.
    pub fn shares_nothing(&self, old: &Record) -> bool {
        let mut files = self.files().peekable();
        files.peek().is_some()
            && old.files().next().is_some()
            && !files.any(|(name, value)| old.inputs.get(name) == Some(value))
    }

    fn files(&self) -> impl Iterator<Item = (&String, &String)> {
        self.inputs.iter().filter(|(name, value)| path(name).starts_with('/') && *value != "top")
    }
}

/// The place of a mount and the path below its source, if this is the name of what a mount shows. Layers that stand for all of it
/// have no path.
fn mounted(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(OF_MOUNT).map(|rest| rest.split_once('\n').unwrap_or((rest, "")))
}

/// The path of what is read, if this is the name of a file.
fn path(name: &str) -> &str {
    let path = mounted(name).map_or(name, |(_, path)| path);
    path.split_once('\0').map_or(path, |(shown, _)| shown)
}

/// Whether this stands for all files of a directory.
fn is_sum(value: &str) -> bool {
    value.len() == 64 && !value.contains(' ')
}

/// The first of many reasons.
pub(crate) fn shortened(mut reasons: Vec<String>) -> Vec<String> {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    if more > 0 {
        reasons.truncate(MAX_REASONS);
        reasons.push(format!("and {more} more"));
    }
    reasons
}

fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>, out: &mut Vec<String>) {
    for (name, value) in new {
        match old.get(name) {
            None => out.push(format!("{} is new", called(name, value))),
            Some(before) if without_place(name, before) != without_place(name, value) => {
                out.push(format!("{} changed", called(name, value)));
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    out.extend(gone.map(|(name, value)| format!("{} is gone", called(name, value))));
}

/// A variable's value without its number, which moves with every variable before it.
fn without_place<'v>(name: &str, value: &'v str) -> &'v str {
    let is_variable = name.starts_with(VARIABLE);
    value.split_once(' ').filter(|_| is_variable).map_or(value, |(_, value)| value)
}

/// Paths are files; all else is called what it is.
fn called(name: &str, value: &str) -> String {
    let place = match mounted(name) {
        Some((target, "")) => return format!("what is mounted at {target}"),
        Some((target, _)) => format!(" (mounted at {target})"),
        None => String::new(),
    };
    match path(name) {
        "times up to" => "the time that files are not newer than (SOURCE_DATE_EPOCH)".to_owned(),
        path if path.starts_with('/') && is_sum(value) => format!("what is in directory {path}{place}"),
        path if path.starts_with('/') => format!("file {path}{place}"),
        other => other.to_owned(),
    }
}

fn run_parts(run: &Run) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::from([
        ("command".to_string(), json(&run.argv)),
        ("working directory".to_string(), run.cwd.clone()),
        ("user".to_string(), run.user.clone()),
        ("network".to_string(), json(&run.network)),
        ("security".to_string(), run.insecure.to_string()),
    ]);
    for (i, variable) in run.env.iter().enumerate() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        // The order is part of what a process sees.
        parts.insert(format!("{VARIABLE}{name}"), format!("{i} {value}"));
    }
    for mount in &run.mounts {
        let mut name = match &mount.kind {
            MountKind::Secret { env: Some(variable), .. } if mount.target.is_empty() => {
                format!("secret in variable {variable}")
            }
            _ => format!("mount {}", mount.target),
        };
        while parts.contains_key(&name) {
            name.push_str(" again");
        }
        parts.insert(name, json(mount));
    }
    for device in &run.devices {
        parts.insert(format!("device {device}"), String::new());
    }
    if let Some(hostname) = &run.hostname {
        parts.insert("hostname".into(), hostname.clone());
    }
    if let Some(script) = &run.script {
        parts.insert("script".into(), json(script));
    }
    if run.own != Own::default() {
        parts.insert("own settings".into(), json(&run.own));
    }
    parts
}

fn copy_parts(copy: &Copy) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::from([
        ("destination".to_string(), copy.dest.clone()),
        ("owner".to_string(), json(&copy.chown)),
        ("mode".to_string(), json(&copy.chmod)),
        ("options".to_string(), json(&(copy.is_add, copy.parents, copy.unpack, copy.link, &copy.exclude))),
    ]);
    if copy.whole {
        parts.insert("directories".to_string(), "whole".to_string());
    }
    if copy.replaces {
        parts.insert("what is in the way".to_string(), "replaced".to_string());
    }
    if let Some(time) = copy.time {
        parts.insert("time".to_string(), time.to_string());
    }
    if !copy.include.is_empty() || !copy.required.is_empty() {
        parts.insert("included files".to_string(), json(&(&copy.include, &copy.required)));
    }
    for (i, source) in copy.sources.iter().enumerate() {
        let (name, value) = match source {
            CopySource::Path(path) => (format!("source {i}"), path.clone()),
            CopySource::Inline { name, content } => {
                (format!("inline file {name}"), format!("{i} {}", Digest::sha256(content.as_bytes())))
            }
            CopySource::Url { url, .. } => (format!("source {i}"), url.clone()),
            CopySource::Git { url, keep_git_dir, .. } => {
                (format!("source {i}"), json(&(url, keep_git_dir.unwrap_or_default())))
            }
        };
        parts.insert(name, value);
    }
    parts
}

fn change_parts(changes: &[Change]) -> BTreeMap<String, String> {
    let part = |(i, change): (usize, &Change)| {
        (format!("change of {}", change.path), format!("{i} {}", Digest::sha256(json(change).as_bytes())))
    };
    changes.iter().enumerate().map(part).collect()
}

fn mkdir_parts(dir: &Mkdir) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::from([
        ("directory".to_string(), dir.path.clone()),
        ("owner".to_string(), dir.user.clone()),
    ]);
    parts.extend(dir.time.map(|seconds| ("time".to_string(), seconds.to_string())));
    parts
}

/// Serialising these values cannot fail: they hold no maps with keys that are no strings.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Fs, Mount, Origin};
    use dockerfile::Span;
    use oci::Platform;

    fn op(kind: OpKind) -> Op {
        Op {
            base: Fs::Scratch,
            kind,
            name: String::new(),
            stage: String::new(),
            instruction: String::new(),
            span: Span::default(),
            no_cache: false,
            platform: Platform::new("linux", "amd64", None),
        }
    }

    fn run(env: &[&str], proxies: &[&str]) -> Op {
        op(OpKind::Run(Box::new(Run {
            argv: vec!["x".into()],
            env: env.iter().map(|e| e.to_string()).collect(),
            cwd: "/".into(),
            user: String::new(),
            network: None,
            insecure: false,
            devices: Vec::new(),
            mounts: Vec::new(),
            hostname: None,
            script: None,
            proxies: proxies.iter().map(|e| e.to_string()).collect(),
            own: Default::default(),
        })))
    }

    #[test]
    fn what_counts_and_what_does_not() {
        let key = |op: &Op| Record::new(op, None, BTreeMap::new()).key();
        assert_eq!(key(&run(&["A=1"], &[])), key(&run(&["A=1"], &["http_proxy=x"])));
        assert_ne!(key(&run(&["A=1"], &[])), key(&run(&["A=2"], &[])));
        let mut elsewhere = run(&["A=1"], &[]);
        elsewhere.span.line = 7;
        elsewhere.stage = "other".into();
        assert_eq!(key(&run(&["A=1"], &[])), key(&elsewhere));
        let parent = ChainId(Digest::sha256(b"p"));
        assert_ne!(
            Record::new(&elsewhere, Some(&parent), BTreeMap::new()).key(),
            Record::new(&elsewhere, None, BTreeMap::new()).key()
        );
    }

    #[test]
    fn mounts_and_secrets_count_each() {
        let secret = |id: &str, variable: &str| Mount {
            kind: MountKind::Secret {
                id: id.into(),
                required: true,
                mode: 0o400,
                uid: 0,
                gid: 0,
                env: Some(variable.into()),
            },
            from: Origin::Fs(Fs::Scratch),
            source: String::new(),
            target: String::new(),
            readonly: true,
            span: Span::default(),
        };
        let with = |mounts: &[Mount]| {
            let mut op = run(&[], &[]);
            let OpKind::Run(run) = &mut op.kind else { unreachable!("it is one") };
            run.mounts = mounts.to_vec();
            Record::new(&op, None, BTreeMap::new())
        };
        let two = with(&[secret("a", "A"), secret("b", "B")]);
        let other = with(&[secret("c", "A"), secret("b", "B")]);
        assert_ne!(two.key(), other.key());
        assert_eq!(other.differences(&two), ["secret in variable A changed"]);
        let same = |first: &str| with(&[secret(first, "A"), secret("b", "A")]).key();
        assert_ne!(same("a"), same("c"), "the last of two for one variable");
    }

    #[test]
    fn the_place_of_a_stage_in_the_file_does_not_count() {
        let copy = |from: usize| {
            let from = Origin::Fs(Fs::Op(from));
            op(OpKind::Copy(Box::new(Copy::plain(from, CopySource::Path("/x".into()), "/"))))
        };
        let key = |op: &Op| Record::new(op, None, BTreeMap::new()).key();
        assert_eq!(key(&copy(1)), key(&copy(2)));
    }

    #[test]
    fn all_that_is_said_of_a_copy_counts() {
        let key = |change: fn(&mut Copy)| {
            let mut copy = Copy::plain(Origin::Fs(Fs::Op(0)), CopySource::Path("/x".into()), "/");
            change(&mut copy);
            Record::new(&op(OpKind::Copy(Box::new(copy))), None, BTreeMap::new()).key()
        };
        let plain = key(|_| ());
        let changes: [fn(&mut Copy); 9] = [
            |copy| copy.time = Some(0),
            |copy| copy.whole = true,
            |copy| copy.replaces = true,
            |copy| copy.parents = true,
            |copy| copy.link = true,
            |copy| copy.is_add = true,
            |copy| copy.exclude.push("a".into()),
            |copy| copy.include.push("a".into()),
            |copy| copy.required.push("a".into()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(key(change), plain, "{number}");
        }
    }

    #[test]
    fn misses_are_explained() {
        let record = |env: &[&str], files: &[(&str, &str)]| {
            let inputs = files.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            Record::new(&run(env, &[]), None, inputs)
        };
        let old = record(&["A=1", "B=2"], &[("/a", "1"), ("/b", "1")]);
        let new = record(&["A=2", "C=2"], &[("/a", "2"), ("/c", "1")]);
        assert_eq!(
            new.differences(&old),
            [
                "variable A changed",
                "variable C is new",
                "variable B is gone",
                "file /a changed",
                "file /c is new",
                "file /b is gone"
            ]
        );
        let more = record(&["C=1", "A=1", "B=2"], &[("/a", "1"), ("/b", "1")]);
        assert_eq!(more.differences(&old), ["variable C is new"], "the others have only moved");
        let turned = record(&["B=2", "A=1"], &[("/a", "1"), ("/b", "1")]);
        assert_eq!(turned.differences(&old), ["the order of variables changed"]);
        let summed = record(&["A=1", "B=2"], &[("/d", &"0".repeat(64))]);
        assert_eq!(summed.differences(&old), ["the files changed that are read"]);
        assert!(!new.shares_nothing(&record(&[], &[("/a", "2"), ("/z", "1")])));
        assert!(new.shares_nothing(&record(&[], &[("/a", "3"), ("/z", "1")])));
        let again: Record = serde_json::from_str(&old.text()).unwrap();
        assert_eq!(again.key(), old.key());
        assert!(old.differences(&again).is_empty());
    }
}
