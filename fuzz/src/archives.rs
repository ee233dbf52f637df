//! Archives: compression formats, tar in all its forms, unpacking below a root.

use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use archive::{Limits, Options, Packer, Semantics, Stats, Tree};
use sys::root::Root;
use tempfile::TempDir;

/// A file that holds no secret, beside the root that archives are unpacked into.
const CANARY: &str = "alive";

/// Unpacks as a layer and as plain files. What was unpacked can be packed, and nothing beside the root has changed.
pub fn unpack(data: &[u8]) {
    static JAIL: OnceLock<TempDir> = OnceLock::new();
    let jail = JAIL.get_or_init(|| {
        // In memory where the machine lets us.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
        std::fs::create_dir(dir.path().join("root")).expect("a directory");
        std::fs::write(dir.path().join("canary"), CANARY).expect("a file");
        dir
    });
    let limits = Limits { bytes: 1 << 20, entries: 1000, ..Limits::default() };
    for semantics in [Semantics::Layer, Semantics::Plain { replace_kind: true }] {
        let root = Root::open(jail.path().join("root")).expect("the root");
        let options = Options { semantics, owner: None, devices: true, limits };
        let unpacked = archive::unpack(data, &root, &options);
        if semantics == Semantics::Layer {
            image(data, limits, &unpacked);
        }
        if unpacked.is_ok() {
            let layer = semantics == Semantics::Layer;
            let mut packer = Packer::new(std::io::sink());
            let tree = Tree { root: &root, path: Path::new(""), name: Path::new(""), layer };
            archive::pack_tree(&mut packer, tree).and_then(|_| packer.finish()).expect("pack it again");
        }
        let beside = std::fs::read_dir(jail.path()).expect("the directory").count();
        assert_eq!(beside, 2, "something was made beside the root");
        let canary = std::fs::read_to_string(jail.path().join("canary")).expect("the canary");
        assert_eq!(canary, CANARY, "a file beside the root has changed");
        root.remove_contents("").expect("what was unpacked can be removed");
    }
}

/// An image of the same layer is made or refused as the directory was.
fn image(data: &[u8], limits: Limits, unpacked: &Result<Stats, archive::Error>) {
    let file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).expect("a file");
    let image = archive::unpack_image(&mut &*data, file, limits).and_then(|draft| {
        let stats = draft.stats.clone();
        draft.finish([0; 16]).map(|_| stats)
    });
    match (unpacked, image) {
        (Ok(directory), Ok(image)) => assert_eq!(*directory, image, "an image of something else"),
        (Err(_), Err(_)) => {}
        (directory, image) => panic!("a directory gives {directory:?}, an image {image:?}"),
    }
}

/// Decompresses the first megabyte.
pub fn decompress(data: &[u8]) {
    if let Ok(stream) = archive::decompress(data) {
        // What cannot be read is an error of the stream.
        let _ = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
    }
}
