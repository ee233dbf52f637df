//! An image as its archive tells it: configuration, history, and the tree that its layers make.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde_json::Value;

/// What `docker save` writes, read: layers applied onto each other.
pub struct Image {
    /// The document of the configuration.
    pub config: Value,
    /// By path, without a slash at either end.
    pub tree: BTreeMap<String, Entry>,
}

/// A file of any type, as the topmost layer that has it describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `file`, `directory`, `symlink`, `fifo`, `device`.
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    /// Content, or where a link points to, or a device's numbers.
    pub content: Vec<u8>,
    pub attributes: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// Reads the archive of one image.
    pub fn read(archive: &[u8]) -> Self {
        let mut members = BTreeMap::new();
        let mut links = Vec::new();
        for entry in tar::Archive::new(archive).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let name = name(&entry);
            if let Some(target) = entry.link_name().expect("a link") {
                // Docker writes a layer that occurs twice as a link, from the folder that it is in.
                let target = target.to_string_lossy().trim_start_matches("../").to_owned();
                links.push((name, target));
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a member");
            members.insert(name, bytes);
        }
        for (name, target) in links {
            if let Some(bytes) = members.get(&target).cloned() {
                members.insert(name, bytes);
            }
        }
        let document = |name: &str| -> Value { serde_json::from_slice(&members[name]).expect("a document") };
        let manifest = document("manifest.json")[0].clone();
        let text = |value: &Value| value.as_str().expect("a name").to_owned();
        let config = document(&text(&manifest["Config"]));
        let mut tree = BTreeMap::new();
        for layer in manifest["Layers"].as_array().expect("layers") {
            apply(&mut tree, &members[&text(layer)]);
        }
        Self { config, tree }
    }
}

fn name(entry: &tar::Entry<'_, impl Read>) -> String {
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    path.trim_start_matches("./").trim_matches('/').to_owned()
}

fn apply(tree: &mut BTreeMap<String, Entry>, layer: &[u8]) {
    let mut above = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for entry in tar::Archive::new(layer).entries().expect("a layer") {
        let mut entry = entry.expect("an entry");
        let path = name(&entry);
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let within =
            |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if file == ".wh..wh..opq" {
            gone.insert(format!("{folder}/"));
        } else if let Some(hidden) = file.strip_prefix(".wh.") {
            gone.insert(within(hidden));
        } else if !path.is_empty() {
            let described = if entry.header().entry_type() == tar::EntryType::Link {
                let target =
                    String::from_utf8_lossy(&entry.link_name_bytes().expect("a target")).into_owned();
                let target = target.trim_start_matches("./").trim_matches('/').to_owned();
                above.get(&target).or_else(|| tree.get(&target)).cloned().expect("what a hard link names")
            } else {
                described(&mut entry)
            };
            above.insert(path, described);
        }
    }
    tree.retain(|path, _| {
        !gone.iter().any(|hidden| {
            path == hidden
                || path.starts_with(hidden.trim_end_matches('/'))
                    && path[hidden.trim_end_matches('/').len()..].starts_with('/')
        })
    });
    for (path, entry) in above {
        if entry.kind != "directory" {
            let below = format!("{path}/");
            tree.retain(|other, _| !other.starts_with(&below));
        }
        tree.insert(path, entry);
    }
}

fn described(entry: &mut tar::Entry<'_, impl Read>) -> Entry {
    let header = entry.header().clone();
    let mut attributes = BTreeMap::new();
    if let Ok(Some(extensions)) = entry.pax_extensions() {
        for extension in extensions.map_while(Result::ok) {
            if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                attributes.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    let mut content = Vec::new();
    let kind = match header.entry_type() {
        tar::EntryType::Directory => "directory",
        tar::EntryType::Symlink => {
            content = entry.link_name_bytes().expect("a target").into_owned();
            "symlink"
        }
        tar::EntryType::Fifo => "fifo",
        tar::EntryType::Char | tar::EntryType::Block => {
            let number = |part: std::io::Result<Option<u32>>| part.ok().flatten();
            content = format!("{:?} {:?}", number(header.device_major()), number(header.device_minor()))
                .into_bytes();
            "device"
        }
        _ => {
            entry.read_to_end(&mut content).expect("a file");
            "file"
        }
    };
    let owner = (header.uid().expect("a number"), header.gid().expect("a number"));
    // Of a link the mode means nothing.
    let mode = if kind == "symlink" { 0o777 } else { header.mode().expect("a number") & 0o7777 };
    Entry { kind, mode, owner, mtime: header.mtime().expect("a number"), content, attributes }
}
