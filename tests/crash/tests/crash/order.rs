//! The order in which things reach the disk: what gets a name among blobs and layers has been synced since it was last written
//! to, and what records an image comes after the names of its parts are on the disk. So a power cut at any moment finds nothing
//! that is half there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use testkit::{DockerRegistry, Host, Mode};

use crate::operation;
use crate::trace::{self, Class, Fault, Plan, Point};

#[test]
fn what_is_loaded_is_on_the_disk_before_it_is_seen() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    operation::prepare(&host);
    let named = in_order(&host, &["load", "-i", "image.tar"]);
    // Manifest, configuration, a layer's archive; and layers.
    assert!(named.0 >= 3 && named.1 >= 2, "{named:?}");
}

#[test]
fn what_is_pulled_is_on_the_disk_before_it_is_seen() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    operation::prepare(&host);
    host.type_in("load -i image.tar").ok();
    let registry = DockerRegistry::start(&host);
    let name = "127.0.0.1:5000/order:1";
    for line in [&format!("tag loaded {name}"), &format!("push {name}"), &format!("rmi loaded {name}")] {
        host.type_in(line).ok();
    }
    host.type_in("system prune -af").ok();
    let named = in_order(&host, &["pull", name]);
    drop(registry);
    assert!(named.0 >= 4 && named.1 >= 2, "{named:?}");
}

/// Runs a command, looks at the order, and counts the blobs and layers that got their names.
fn in_order(host: &Host, line: &[&str]) -> (usize, usize) {
    let mut command = host.command();
    command.args(line);
    let (scratch, data) = (host.home(), &*host.root());
    let run = trace::run(&command, &Plan { at: usize::MAX, fault: Fault::Kill, scratch, data, others: &[] });
    assert_eq!(run.code, 0, "{}", run.stderr);
    let mut disk = Disk { root: host.root(), ..Disk::default() };
    run.trail.iter().for_each(|point| disk.meets(point));
    assert!(disk.unsynced_names.is_empty(), "named last and not synced: {:?}", disk.unsynced_names);
    assert!(disk.recorded, "nothing was recorded");
    (disk.blobs, disk.layers)
}

/// What a power cut would find.
#[derive(Default)]
struct Disk {
    root: PathBuf,
    /// Files that have been written to since they were last synced.
    dirty: BTreeSet<PathBuf>,
    /// Folders with new names that may not last.
    unsynced_names: BTreeSet<PathBuf>,
    blobs: usize,
    layers: usize,
    recorded: bool,
}

impl Disk {
    fn meets(&mut self, point: &Point) {
        let object = PathBuf::from(&point.object);
        match (point.class, point.call) {
            (Class::Space, _) => drop(self.dirty.insert(object)),
            (Class::Sync, "syncfs") => {
                self.dirty.clear();
                self.unsynced_names.clear();
            }
            (Class::Sync, _) => {
                if object.ends_with("state.db-wal") {
                    // What it says of images is true after a power cut, too.
                    assert!(self.unsynced_names.is_empty(), "recorded before {:?}", self.unsynced_names);
                    self.recorded |= self.blobs > 0;
                }
                self.dirty.remove(&object);
                self.unsynced_names.remove(&object);
            }
            (Class::Name, call) if call.starts_with("rename") => self.moves(point, &object),
            _ => {}
        }
    }

    fn moves(&mut self, point: &Point, to: &Path) {
        let Some(folder) = to.parent().filter(|_| !point.from.is_empty()) else { return };
        let is_layer = folder == self.root.join("layers");
        if !is_layer && !folder.starts_with(self.root.join("blobs")) {
            return;
        }
        let dirty = self.dirty.iter().find(|path| path.starts_with(&point.from));
        assert_eq!(dirty, None, "{point} is not on the disk yet");
        self.unsynced_names.insert(folder.to_path_buf());
        *(if is_layer { &mut self.layers } else { &mut self.blobs }) += 1;
    }
}
