//! What differs between two images.

use std::collections::{BTreeMap, BTreeSet};

use api::images::{ConfigDifference, FileChange, FileDifference};
use archive::Kind;
use oci::image::ImageConfig;
use serde_json::Value;

use super::layer::Node;
use super::stack::shown;
use crate::error::{Context as _, Result};

type Files = BTreeMap<Vec<u8>, Node>;

/// Paths that one has and the other has not or has otherwise, in order. Times alone are no difference.
pub fn files(before: &Files, after: &Files) -> Vec<FileDifference> {
    let paths: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let differences = paths.into_iter().filter_map(|path| {
        let (old, new) = (before.get(path), after.get(path));
        let size = |node: Option<&Node>| node.map_or(0, |node| node.size);
        let (change, what) = match (old, new) {
            (None, _) => (FileChange::Added, Vec::new()),
            (_, None) => (FileChange::Removed, Vec::new()),
            (Some(old), Some(new)) => (FileChange::Changed, aspects(old, new)),
        };
        let differs = change != FileChange::Changed || !what.is_empty();
        differs.then(|| FileDifference { path: shown(path), change, sizes: vec![size(old), size(new)], what })
    });
    differences.collect()
}

/// In what two nodes of one path differ.
fn aspects(old: &Node, new: &Node) -> Vec<String> {
    let content = |node: &Node| (node.digest, node.link.clone(), node.device);
    // A second name of a file may be its first in the other image: then the contents tell.
    let linked = |node: &Node| node.kind == Kind::HardLink;
    let mut aspects = Vec::new();
    let mut differ = |is: bool, what: &str| aspects.extend(is.then(|| what.to_owned()));
    differ(old.kind != new.kind && !linked(old) && !linked(new), "type");
    differ(old.kind == new.kind && content(old) != content(new), "content");
    differ(linked(old) != linked(new), "links");
    differ(old.mode != new.mode, "mode");
    differ(old.owner != new.owner, "owner");
    aspects
}

/// Settings that differ, each by its name: `Env.PATH`, `Cmd`.
pub fn configurations(before: &ImageConfig, after: &ImageConfig) -> Result<Vec<ConfigDifference>> {
    let (before, after) = (settings(before)?, settings(after)?);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differences = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    Ok(differences
        .map(|name| ConfigDifference {
            name: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect())
}

fn settings(config: &ImageConfig) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::from([("Platform".to_owned(), config.platform().to_string())]);
    let document = serde_json::to_value(&config.config).during("read an image's configuration")?;
    for (name, value) in document.as_object().into_iter().flatten() {
        match value {
            Value::Array(lines) if name == "Env" => {
                for line in lines.iter().filter_map(Value::as_str) {
                    let (name, value) = line.split_once('=').unwrap_or((line, ""));
                    settings.insert(format!("Env.{name}"), value.to_owned());
                }
            }
            Value::Object(entries) => {
                for (key, value) in entries {
                    settings.insert(format!("{name}.{key}"), text(value));
                }
            }
            Value::Null => {}
            value => drop(settings.insert(name.clone(), text(value))),
        }
    }
    Ok(settings)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(entries) if entries.is_empty() => String::new(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: u8, mode: u32) -> Node {
        Node {
            kind: Kind::File,
            mode,
            owner: (0, 0),
            size: u64::from(content),
            mtime: archive::Time::default(),
            link: Vec::new(),
            device: (0, 0),
            digest: Some([content; 32]),
        }
    }

    #[test]
    fn times_are_no_difference() {
        let later = Node { mtime: archive::Time { seconds: 9, nanoseconds: 0 }, ..file(1, 0o644) };
        let before = Files::from([
            (b"same".to_vec(), file(1, 0o644)),
            (b"gone".to_vec(), file(2, 0o644)),
            (b"new-mode".to_vec(), file(3, 0o644)),
            (b"new-text".to_vec(), file(4, 0o644)),
        ]);
        let after = Files::from([
            (b"same".to_vec(), later),
            (b"came".to_vec(), file(2, 0o644)),
            (b"new-mode".to_vec(), file(3, 0o755)),
            (b"new-text".to_vec(), file(5, 0o644)),
        ]);
        let told: Vec<_> = files(&before, &after)
            .into_iter()
            .map(|file| (file.change, file.path, file.sizes, file.what.join(",")))
            .collect();
        let of = |change, path: &str, sizes: [u64; 2], what: &str| {
            (change, path.to_owned(), sizes.to_vec(), what.to_owned())
        };
        assert_eq!(
            told,
            [
                of(FileChange::Added, "/came", [0, 2], ""),
                of(FileChange::Removed, "/gone", [2, 0], ""),
                of(FileChange::Changed, "/new-mode", [3, 3], "mode"),
                of(FileChange::Changed, "/new-text", [4, 5], "content"),
            ]
        );
    }

    #[test]
    fn settings_have_names() {
        let mut before = ImageConfig::default();
        before.config.env = vec!["A=1".into(), "B=2".into()];
        before.config.cmd = Some(vec!["sh".into()]);
        let mut after = before.clone();
        after.config.env = vec!["A=1".into(), "B=3".into()];
        after.config.labels.insert("l".into(), "v".into());
        after.config.cmd = None;
        let told: Vec<_> = configurations(&before, &after)
            .unwrap()
            .into_iter()
            .map(|d| (d.name, d.before, d.after))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("Cmd".to_owned(), some("[\"sh\"]"), None),
                ("Env.B".to_owned(), some("2"), some("3")),
                ("Labels.l".to_owned(), None, some("v")),
            ]
        );
    }
}
