//! What a build reads of contexts that its client sends: the paths that `COPY`, `ADD` and mounts name.
//!
//! Clients are asked for paths as BuildKit asks them: each is a pattern of an ignore file to them, and links in it are followed.
//! Where such a pattern could mean less than what a Dockerfile means, all of the directory above is asked for.

use crate::graph::{Copy, CopySource, Graph, MountKind, OpKind, Origin};
use oci::path::clean;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of paths after which a client is asked for everything: they travel as headers, each with some bytes besides.
const LONGEST: usize = 32 << 10;
const BESIDES: usize = 32;

/// What of a context's files a build reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// All of them.
    All,
    /// What is at these paths and below, from the top of the context; they may be patterns.
    Paths(BTreeSet<String>),
}

impl Reads {
    fn add(&mut self, path: &str) {
        let Reads::Paths(paths) = self else { return };
        match plain(path) {
            Some(path) => drop(paths.insert(path)),
            None => *self = Reads::All,
        }
    }

    fn bounded(self) -> Reads {
        match self {
            Reads::Paths(paths) if paths.iter().map(|path| path.len() + BESIDES).sum::<usize>() > LONGEST => {
                Reads::All
            }
            other => other,
        }
    }
}

/// What graphs read of each context; none is the main one. One that is not among them is not read.
pub(crate) fn reads<'g>(graphs: impl Iterator<Item = &'g Graph>) -> BTreeMap<Option<String>, Reads> {
    let mut all: BTreeMap<Option<String>, Reads> = BTreeMap::new();
    let mut add = |origin: &Origin, path: &str| {
        if let Origin::Context(name) = origin {
            all.entry(name.clone()).or_insert_with(|| Reads::Paths(BTreeSet::new())).add(path);
        }
    };
    for op in graphs.flat_map(|graph| &graph.ops) {
        match &op.kind {
            OpKind::Copy(copy) => paths(copy).for_each(|path| add(&copy.from, path)),
            OpKind::Run(run) => {
                for mount in &run.mounts {
                    if matches!(mount.kind, MountKind::Bind | MountKind::Kept | MountKind::Cache { .. }) {
                        add(&mount.from, &mount.source);
                    }
                }
            }
            OpKind::Mkdir(_) | OpKind::Change(_) | OpKind::Stack(_) => {}
        }
    }
    all.into_iter().map(|(name, reads)| (name, reads.bounded())).collect()
}

/// The paths that a copy may read: which reading of a trailing comment is meant, only the files tell.
fn paths(copy: &Copy) -> impl Iterator<Item = &str> {
    let literal = copy.literal.iter().flat_map(|literal| &literal.sources);
    copy.sources.iter().chain(literal).filter_map(|source| match source {
        CopySource::Path(path) => Some(path.as_str()),
        CopySource::Inline { .. } | CopySource::Url { .. } | CopySource::Git { .. } => None,
    })
}

/// As clients want it, none for the top: without what is odd in it and all that follows.
fn plain(path: &str) -> Option<String> {
    let clean = clean(&format!("/{path}"));
    let mut parts = Vec::new();
    for part in clean.split('/').skip(1) {
        let is_odd = is_malformed(part) || (parts.is_empty() && part.starts_with('!'));
        if is_odd {
            break;
        }
        parts.push(part);
    }
    let path = parts.join("/");
    let path = if path.trim() == path { path } else { parent(&path, parts.len()) };
    (!path.is_empty()).then_some(path)
}

/// Clients take white space off both ends of a pattern.
fn parent(path: &str, parts: usize) -> String {
    let is_first_odd = path.starts_with(char::is_whitespace);
    let mut kept: Vec<&str> = path.split('/').take(if is_first_odd { 0 } else { parts - 1 }).collect();
    while kept.last().is_some_and(|part| part.ends_with(char::is_whitespace)) {
        kept.pop();
    }
    kept.join("/")
}

/// Whether a name could mean another thing as a pattern of an ignore file than as one of a `COPY`.
fn is_malformed(part: &str) -> bool {
    let mut chars = part.chars().peekable();
    let is_pattern = part.contains(['*', '?', '[']);
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return true,
            // Taken for the beginning of the name there.
            '^' if is_pattern => return true,
            ']' => return true,
            '[' => {
                chars.next_if_eq(&'^');
                let mut empty = true;
                loop {
                    match chars.next() {
                        None => return true,
                        Some(']') if empty => return true,
                        Some(']') => break,
                        Some('\\') if chars.next().is_none() => return true,
                        Some(_) => empty = false,
                    }
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_clients_want_them() {
        for (path, wanted) in [
            ("src", Some("src")),
            ("./src//a/../b/", Some("src/b")),
            ("/../x", Some("x")),
            ("a/./b/*.c", Some("a/b/*.c")),
            ("g[[]1]", None),
            ("d/g[[]1/x", Some("d/g[[]1/x")),
            ("d/[a-z]*", Some("d/[a-z]*")),
            ("d/[a", Some("d")),
            ("d/[a/b", Some("d")),
            ("[", None),
            ("d/x^*", Some("d")),
            ("d/x^", Some("d/x^")),
            ("k\\*", Some("k\\*")),
            ("d/k\\", Some("d")),
            ("!x", None),
            ("d/!x", Some("d/!x")),
            ("d/x ", Some("d")),
            (" x/y", None),
            ("a /b ", None),
            ("a b", Some("a b")),
            (".", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(plain(path).as_deref(), wanted, "{path:?}");
        }
    }

    #[test]
    fn one_that_reads_the_top_reads_all() {
        let mut reads = Reads::Paths(BTreeSet::new());
        reads.add("a");
        reads.add("b/../a/");
        assert_eq!(reads, Reads::Paths(BTreeSet::from(["a".to_owned()])));
        reads.add(".");
        reads.add("c");
        assert_eq!(reads, Reads::All);
    }
}
