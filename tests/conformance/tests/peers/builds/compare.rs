//! Two images of the same Dockerfile, field by field.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::cases::Peer;
use super::image::{Entry, Image};

/// Files are as old as those of the context, or as the build.
const OLD: u64 = 1_600_000_000;

/// One thing that is not the same: its name, and both sides.
pub struct Difference {
    pub subject: String,
    pub sides: String,
}

/// All that is not the same as at `peer`.
pub fn compare(ours: &Image, theirs: &Image, peer: Peer) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |subject: String, ours: String, theirs: String| {
        if ours != theirs {
            let sides = format!("ours {ours}, theirs {theirs}");
            found.push(Difference { subject, sides });
        }
    };
    let paths: BTreeSet<&String> = ours.tree.keys().chain(theirs.tree.keys()).collect();
    for path in paths {
        match (ours.tree.get(path), theirs.tree.get(path)) {
            (Some(ours), Some(theirs)) => {
                for (field, ours, theirs) in fields(ours, theirs) {
                    note(format!("{field} of /{path}"), ours, theirs);
                }
            }
            (ours, theirs) => {
                let kind = |entry: Option<&Entry>| entry.map_or("nothing", |entry| entry.kind).to_owned();
                note(format!("/{path}"), kind(ours), kind(theirs));
            }
        }
    }
    for key in ["architecture", "os", "author"] {
        note(key.to_owned(), said(&ours.config[key]), said(&theirs.config[key]));
    }
    for key in CONFIG {
        note((*key).to_owned(), said(&ours.config["config"][key]), said(&theirs.config["config"][key]));
    }
    note("history".to_owned(), history(ours, peer).join("; "), history(theirs, peer).join("; "));
    found
}

const CONFIG: &[&str] = &[
    "Env",
    "Cmd",
    "Entrypoint",
    "WorkingDir",
    "User",
    "Volumes",
    "ExposedPorts",
    "Labels",
    "StopSignal",
    "Healthcheck",
    "Shell",
    "OnBuild",
];

fn fields(ours: &Entry, theirs: &Entry) -> Vec<(&'static str, String, String)> {
    let mut fields = vec![
        ("type", ours.kind.to_owned(), theirs.kind.to_owned()),
        ("mode", format!("{:o}", ours.mode), format!("{:o}", theirs.mode)),
        ("owner", format!("{:?}", ours.owner), format!("{:?}", theirs.owner)),
        ("attributes", format!("{:?}", ours.attributes), format!("{:?}", theirs.attributes)),
    ];
    if let Some(at) = first_difference(&ours.content, &theirs.content) {
        let content = |entry: &Entry| {
            let shown = &entry.content[at..];
            format!("\"{}\" at byte {at}", shown[..shown.len().min(200)].escape_ascii())
        };
        fields.push(("content", content(ours), content(theirs)));
    }
    let age = |entry: &Entry| if entry.mtime > OLD { "now".to_owned() } else { entry.mtime.to_string() };
    let is_directory = ours.kind == "directory" && theirs.kind == "directory";
    fields.push((if is_directory { "directory time" } else { "time" }, age(ours), age(theirs)));
    fields
}

/// From where on contents are not the same.
fn first_difference(ours: &[u8], theirs: &[u8]) -> Option<usize> {
    let within = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
    within.or_else(|| (ours.len() != theirs.len()).then(|| ours.len().min(theirs.len())))
}

/// A value as text; what says nothing is nothing.
fn said(value: &Value) -> String {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(set) => !set,
    };
    if empty {
        return "nothing".to_owned();
    }
    // Fields of a document in it that say nothing are left out as well.
    let Value::Object(fields) = value else { return value.to_string() };
    let told: Map<String, Value> = fields
        .iter()
        .filter(|(_, value)| value.is_object() || said(value) != "nothing")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Value::Object(told).to_string()
}

/// What made each step, without the marks that builders leave in it, and whether it made a layer. Buildah writes what the
/// Dockerfile says, before it is expanded, and makes one layer of all: of its steps the instructions are compared.
fn history(image: &Image, peer: Peer) -> Vec<String> {
    let steps = image.config["history"].as_array().expect("a history");
    let told = steps.iter().map(|step| {
        let by = step["created_by"].as_str().unwrap_or_default();
        let by = by.trim_end_matches(" # buildkit");
        let by = by.split_once("#(nop) ").map_or(by, |(_, instruction)| instruction).trim();
        let word = by.split(' ').next().unwrap_or_default().to_owned();
        let run = by.starts_with(['/', '|']) || word == "RUN";
        let layer = if step["empty_layer"] == true { "no layer" } else { "layer" };
        match (peer, run) {
            (Peer::Buildah, true) => "RUN".to_owned(),
            (Peer::Buildah, false) => word,
            // Of files one builder tells the names and the other a digest.
            (Peer::Docker, _) if word == "COPY" || word == "ADD" => format!("{word} ({layer})"),
            (Peer::Docker, _) => format!("{} ({layer})", by.strip_prefix("RUN ").unwrap_or(by)),
        }
    });
    told.collect()
}
