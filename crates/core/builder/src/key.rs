//! Cache keys: how an operation is keyed, apart from how it is done, and why a key differs from the last one.
//!
//! A key is the digest of a [`Record`]: what the operation does, the layer stack below it and the content that it reads. The
//! record is kept with the result, so a miss can be explained by comparing records.

use crate::graph::{Copy, CopySource, Mkdir, Op, OpKind, Run};
use oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raised whenever the same record would give another result.
const VERSION: u32 = 4;
/// Differences that are told.
const MAX_REASONS: usize = 10;

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

    /// What changed since an older run of the same step.
    pub fn differences(&self, old: &Record) -> Vec<String> {
        let mut reasons = self.of_work(old);
        changes(&old.inputs, &self.inputs, &mut reasons);
        shortened(reasons)
    }

    /// The same with the files that are known to have changed in place of what is read.
    pub fn differences_with(&self, old: &Record, files: Vec<String>) -> Vec<String> {
        let mut reasons = self.of_work(old);
        reasons.extend(files);
        shortened(reasons)
    }

    /// The same without what is read.
    pub fn differences_of_work(&self, old: &Record) -> Vec<String> {
        shortened(self.of_work(old))
    }

    fn of_work(&self, old: &Record) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.version != old.version {
            reasons.push("the cache is of another version".to_string());
        }
        if self.parent != old.parent {
            reasons.push("the step before changed".to_string());
        }
        if self.platform != old.platform {
            reasons.push(format!("platform {} was {}", self.platform, old.platform));
        }
        changes(&old.what, &self.what, &mut reasons);
        reasons
    }
}

fn shortened(mut reasons: Vec<String>) -> Vec<String> {
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
            None => out.push(format!("{} is new", called(name))),
            Some(before) if before != value => out.push(format!("{} changed", called(name))),
            Some(_) => {}
        }
    }
    out.extend(old.keys().filter(|n| !new.contains_key(*n)).map(|n| format!("{} is gone", called(n))));
}

/// Paths are files; all else is called what it is.
fn called(name: &str) -> String {
    if name.starts_with('/') { format!("file {name}") } else { name.to_string() }
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
        parts.insert(format!("variable {name}"), format!("{i} {value}"));
    }
    for mount in &run.mounts {
        parts.insert(format!("mount {}", mount.target), json(mount));
    }
    if let Some(hostname) = &run.hostname {
        parts.insert("hostname".into(), hostname.clone());
    }
    if let Some(script) = &run.script {
        parts.insert("script".into(), json(script));
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

fn mkdir_parts(dir: &Mkdir) -> BTreeMap<String, String> {
    BTreeMap::from([("directory".to_string(), dir.path.clone()), ("owner".to_string(), dir.user.clone())])
}

/// Serialising these values cannot fail: they hold no maps with keys that are no strings.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Fs, Origin};
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
            mounts: Vec::new(),
            hostname: None,
            script: None,
            proxies: proxies.iter().map(|e| e.to_string()).collect(),
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
    fn the_place_of_a_stage_in_the_file_does_not_count() {
        let copy = |from: usize| {
            op(OpKind::Copy(Box::new(Copy {
                is_add: false,
                from: Origin::Fs(Fs::Op(from)),
                sources: vec![CopySource::Path("/x".into())],
                dest: "/".into(),
                chown: None,
                chmod: None,
                parents: false,
                link: false,
                exclude: Vec::new(),
                unpack: None,
                literal: None,
            })))
        };
        let key = |op: &Op| Record::new(op, None, BTreeMap::new()).key();
        assert_eq!(key(&copy(1)), key(&copy(2)));
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
        let again: Record = serde_json::from_str(&old.text()).unwrap();
        assert_eq!(again.key(), old.key());
        assert!(old.differences(&again).is_empty());
    }
}
