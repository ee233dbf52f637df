//! Layers on top of each other: what is seen in the end, and what was brought in vain.

use std::collections::BTreeMap;
use std::ops::Bound;

use api::images::{FileChange, LayerFile, TreeLayer, WastedPath};
use archive::Kind;

use super::layer::{Entries, Node, Says};

/// What is seen of all layers so far.
#[derive(Default)]
pub struct Stack {
    seen: BTreeMap<Vec<u8>, (usize, Node)>,
    layers: Vec<TreeLayer>,
    wasted: BTreeMap<Vec<u8>, WastedPath>,
}

impl Stack {
    /// Lays a layer on top; `files` says whether each of its files is listed.
    pub fn push(&mut self, mut layer: TreeLayer, entries: Entries, files: bool) {
        let number = self.layers.len();
        self.layers.push(TreeLayer::default());
        // What a layer takes away is taken from those below it, wherever it says so.
        for (path, says) in &entries {
            let gone = match says {
                Says::Node(_) => continue,
                Says::Gone => self.take(path, true),
                Says::Opaque => self.take(path, false),
            };
            layer.removed += gone;
            if files && *says == Says::Gone && gone > 0 {
                layer.list.push(listed(path, FileChange::Removed, 0));
            }
        }
        for (path, says) in entries {
            let Says::Node(node) = says else { continue };
            let before = self.replace(&path, &node, number);
            layer.size += node.size;
            if node.kind != Kind::Directory {
                layer.files += 1;
                *(if before { &mut layer.changed } else { &mut layer.added }) += 1;
                if files {
                    let change = if before { FileChange::Changed } else { FileChange::Added };
                    layer.list.push(listed(&path, change, node.size));
                }
            }
            self.seen.insert(path, (number, node));
        }
        layer.wasted = std::mem::take(&mut self.layers[number].wasted);
        self.layers[number] = layer;
    }

    /// Forgets what was there before; true when it was there in a layer below.
    fn replace(&mut self, path: &[u8], new: &Node, number: usize) -> bool {
        let Some((owner, old)) = self.seen.get(path) else { return false };
        let below = *owner != number;
        if old.kind == Kind::Directory && new.kind != Kind::Directory {
            self.take(path, true);
        } else if old.kind != Kind::Directory {
            self.waste(path.to_vec());
        }
        below
    }

    /// Takes away what lies below a directory, and the path itself if `all`; how many there were but directories.
    fn take(&mut self, path: &[u8], all: bool) -> u64 {
        let mut inside = path.to_vec();
        if !path.is_empty() {
            inside.push(b'/');
        }
        let range = (Bound::Included(inside.clone()), Bound::Unbounded);
        let below = self.seen.range::<Vec<u8>, _>(range).take_while(|(path, _)| path.starts_with(&inside));
        let mut gone: Vec<Vec<u8>> = below.map(|(path, _)| path.clone()).collect();
        gone.extend(all.then(|| path.to_vec()));
        let mut count = 0;
        for path in gone {
            let counts = self.seen.get(&path).is_some_and(|(_, node)| node.kind != Kind::Directory);
            count += u64::from(counts);
            if counts {
                self.waste(path.clone());
            }
            self.seen.remove(&path);
        }
        count
    }

    /// Notes that nobody sees the bytes of this path any more.
    fn waste(&mut self, path: Vec<u8>) {
        let Some((owner, node)) = self.seen.get(&path) else { return };
        self.layers[*owner].wasted += node.size;
        let wasted = self.wasted.entry(path).or_default();
        wasted.bytes += node.size;
        wasted.times += 1;
    }

    /// Everything that is seen in the end.
    pub fn into_files(self) -> BTreeMap<Vec<u8>, Node> {
        self.seen.into_iter().map(|(path, (_, node))| (path, node)).collect()
    }

    /// The layers, lowest first, and the paths whose bytes are not seen, the largest first.
    pub fn into_layers(self) -> (Vec<TreeLayer>, Vec<WastedPath>) {
        let seen = self.seen;
        let mut wasted: Vec<WastedPath> = self
            .wasted
            .into_iter()
            .filter(|(_, wasted)| wasted.bytes > 0)
            .map(|(path, wasted)| WastedPath {
                removed: !seen.contains_key(&path),
                path: shown(&path),
                ..wasted
            })
            .collect();
        wasted.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
        (self.layers, wasted)
    }
}

fn listed(path: &[u8], change: FileChange, size: u64) -> LayerFile {
    LayerFile { path: shown(path), change, size }
}

/// A path as it is shown: with the root's slash.
pub fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: Kind, size: u64) -> Says {
        Says::Node(Node {
            kind,
            mode: 0o644,
            owner: (0, 0),
            size,
            mtime: archive::Time::default(),
            link: Vec::new(),
            device: (0, 0),
            digest: None,
        })
    }

    fn stack(layers: &[&[(&str, Says)]]) -> Stack {
        let mut stack = Stack::default();
        for layer in layers {
            let entries = layer.iter().map(|(path, says)| (path.as_bytes().to_vec(), says.clone())).collect();
            stack.push(TreeLayer::default(), entries, true);
        }
        stack
    }

    #[test]
    fn bytes_that_nobody_sees_are_wasted() {
        let file = |size| node(Kind::File, size);
        let directory = || node(Kind::Directory, 0);
        let (layers, wasted) = stack(&[
            &[("d", directory()), ("d/a", file(10)), ("d/b", file(20)), ("e", file(5)), ("dx", file(7))],
            &[("d", directory()), ("d/a", file(11)), ("new", file(1))],
            &[("d", Says::Gone), ("e", file(0))],
        ])
        .into_layers();
        let of = |layer: &TreeLayer| (layer.files, layer.added, layer.changed, layer.removed, layer.wasted);
        assert_eq!(of(&layers[0]), (4, 4, 0, 0, 35), "a, b and e");
        assert_eq!(of(&layers[1]), (2, 1, 1, 0, 11));
        assert_eq!(of(&layers[2]), (1, 0, 1, 2, 0), "dx is not in d");
        let told: Vec<_> = wasted.iter().map(|w| (w.path.as_str(), w.bytes, w.times, w.removed)).collect();
        assert_eq!(told, [("/d/a", 21, 2, true), ("/d/b", 20, 1, true), ("/e", 5, 1, false)]);
        assert_eq!(layers[2].list[0], LayerFile { path: "/d".into(), change: FileChange::Removed, size: 0 });
    }

    #[test]
    fn an_opaque_directory_keeps_its_own() {
        let file = |size| node(Kind::File, size);
        let stack = stack(&[
            &[("d", node(Kind::Directory, 0)), ("d/a", file(10)), ("d/b", file(20))],
            &[("d/b", file(2)), ("d", Says::Opaque)],
        ]);
        let seen = stack.into_files();
        let names: Vec<_> = seen.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        assert_eq!(names, ["d", "d/b"]);
        assert_eq!(seen[&b"d/b"[..]].size, 2);
    }

    #[test]
    fn a_file_in_place_of_a_directory() {
        let (layers, wasted) = stack(&[
            &[("d", node(Kind::Directory, 0)), ("d/a", node(Kind::File, 10))],
            &[("d", node(Kind::File, 3))],
        ])
        .into_layers();
        assert_eq!((layers[0].wasted, wasted[0].path.as_str(), wasted[0].removed), (10, "/d/a", true));
    }
}
