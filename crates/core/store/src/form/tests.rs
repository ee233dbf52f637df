//! Layers as images do what layers as directories do.

use super::*;
use crate::tests::{gzip, layer, tar};
use crate::{Change, ChangeKind, Error};
use archive::{Entry, Limits, Packer};
use oci::Digest;
use state::Db;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

fn store(form: Form) -> (TempDir, Store) {
    // On a disk: the kernel mounts no file in memory.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let db = Db::open(dir.path().join("state.db")).unwrap();
    let store = Store::open_as(dir.path(), &db, Limits::default(), form).unwrap();
    (dir, store)
}

fn text(root: &sys::root::Root, path: &str) -> Option<String> {
    let mut text = String::new();
    root.open_file(path).ok()?.read_to_string(&mut text).unwrap();
    Some(text)
}

#[test]
fn forms_have_names() {
    for (text, form) in [("auto", Form::Auto), ("directories", Form::Directories), ("erofs", Form::Images)] {
        assert_eq!(text.parse(), Ok(form));
    }
    assert_eq!("xfs".parse::<Form>(), Err("must be auto, directories or erofs: xfs".to_owned()));
}

#[test]
fn an_image_is_a_layer_like_others() {
    let (_dir, store) = store(Form::Images);
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a", "b", "d/x"]);
    assert!(bottom.is_image);
    assert_eq!(bottom.diff_id, Digest::sha256(&tar(&["a", "b", "d/x"])));
    let diff = gzip(&tar(&[".wh.a", "c", "d/.wh..wh..opq", "d/y"]));
    let top = store.apply_layer(&lease, Some(&bottom.chain_id), &diff[..], None).unwrap();
    let dirs = store.layer_dirs(&top.chain_id).unwrap();
    assert!(dirs.len() == 2 && dirs.iter().all(|path| path.ends_with("layer.erofs") && path.is_file()));

    let mount = store.overlay(Some(&top.chain_id), None, None).unwrap().mount().unwrap();
    let root = sys::root::Root::from_fd(mount).unwrap();
    assert_eq!(text(&root, "b").as_deref(), Some("b"));
    assert_eq!(text(&root, "d/y").as_deref(), Some("d/y"));
    assert!(text(&root, "a").is_none() && text(&root, "d/x").is_none());
    // All is on one device, so that who stays on one sees all.
    assert_eq!(root.lstat("b").unwrap().st_dev, root.lstat("").unwrap().st_dev);

    // One alone is mounted without an overlay.
    let alone = store.overlay(Some(&bottom.chain_id), None, None).unwrap().mount().unwrap();
    assert_eq!(text(&sys::root::Root::from_fd(alone).unwrap(), "a").as_deref(), Some("a"));
    // The same again is the same layer.
    assert_eq!(layer(&store, &lease, None, &["a", "b", "d/x"]), bottom);
}

#[test]
fn a_container_writes_over_images() {
    let (dir, store) = store(Form::Images);
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a", "b", "c"]);
    let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
    std::fs::create_dir(&upper).unwrap();
    std::fs::create_dir(&work).unwrap();
    let overlay = store.overlay(Some(&bottom.chain_id), Some(&upper), Some(&work)).unwrap();
    let root = sys::root::Root::from_fd(overlay.mount().unwrap()).unwrap();
    root.unlink("a").unwrap();
    root.chmod("b", 0o600).unwrap();
    root.create_file("new", 0o644).unwrap();
    drop(root);
    let changes = store.changes(Some(&bottom.chain_id), &upper).unwrap();
    let change = |path: &str, kind| Change { path: path.into(), kind };
    assert_eq!(
        changes,
        [
            change("/a", ChangeKind::Deleted),
            change("/b", ChangeKind::Modified),
            change("/new", ChangeKind::Added)
        ]
    );
    // What is made here is a directory, on images or not.
    let made = store.layer_from_dir(&lease, Some(&bottom.chain_id), &upper).unwrap();
    assert!(!made.is_image);
    assert_eq!(store.rebase(&lease, &bottom, Some(&made.chain_id)).unwrap().size, bottom.size);
    let moved = store.rebase(&lease, &bottom, Some(&made.chain_id)).unwrap();
    assert_eq!(text(&store.layer_root(&moved).unwrap(), "a").as_deref(), Some("a"));
}

#[test]
fn what_layers_below_decide_is_in_the_image() {
    for form in [Form::Images, Form::Directories] {
        let (_dir, store) = store(form);
        let lease = store.lease("test").unwrap();
        let mut packer = Packer::new(Vec::new());
        packer.append(&Entry { uid: 5, gid: 6, ..Entry::directory("d", 0o1770) }).unwrap();
        packer.append(&Entry::directory("e", 0o700)).unwrap();
        let bottom = store.apply_layer(&lease, None, &packer.finish().unwrap()[..], None).unwrap();
        // No entry for the directory.
        let top = store.apply_layer(&lease, Some(&bottom.chain_id), &tar(&["d/f"])[..], None).unwrap();
        assert_eq!(top.is_image, form == Form::Images);
        let stat = store.layer_root(&top).unwrap().lstat("d").unwrap();
        assert_eq!((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777), (5, 6, 0o1770), "{form:?}");
        let cleared = tar(&[".wh..wh..opq", "e"]);
        let cleared = store.apply_layer(&lease, Some(&bottom.chain_id), &cleared[..], None).unwrap();
        let mount = store.overlay(Some(&cleared.chain_id), None, None).unwrap().mount().unwrap();
        let root = sys::root::Root::from_fd(mount).unwrap();
        assert!(root.lstat("d").is_err() && text(&root, "e").as_deref() == Some("e"), "{form:?}");
    }
}

#[test]
fn a_damaged_image_is_found_and_made_anew() {
    let (_dir, store) = store(Form::Images);
    let lease = store.lease("test").unwrap();
    let large = "x".repeat(10_000);
    let mut packer = Packer::new(Vec::new());
    packer.append_bytes(&Entry::file("f", 0o644, 0), large.as_bytes()).unwrap();
    let bytes = packer.finish().unwrap();
    let made = store.apply_layer(&lease, None, &bytes[..], None).unwrap();
    let archive = store.put_blob(&lease, &bytes).unwrap();
    let copy = || store.copy_of(&made, &archive).unwrap().unwrap();
    assert_eq!(store.differs(&made, &copy()).unwrap(), None);
    let image = store.files(&made);
    std::fs::set_permissions(&image, PermissionsExt::from_mode(0o600)).unwrap();
    let damaged = std::fs::read(&image).unwrap();
    let at = damaged.windows(8).position(|bytes| bytes == b"xxxxxxxx").unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &File::options().write(true).open(&image).unwrap(),
        b"y",
        at as u64,
    )
    .unwrap();
    let again = copy();
    let found = store.differs(&made, &again).unwrap();
    assert!(found.is_some_and(|text| text.starts_with("the content of /f is not as in its archive")));
    store.restore(&made, again).unwrap();
    assert_eq!(store.differs(&made, &copy()).unwrap(), None);
    // One that the kernel doesn't take any more.
    File::options().write(true).open(&image).unwrap().set_len(512).unwrap();
    let again = copy();
    let found = store.differs(&made, &again).unwrap();
    assert!(found.is_some_and(|text| text.starts_with("its image cannot be read: ")));
    store.restore(&made, again).unwrap();
    assert_eq!(store.differs(&made, &copy()).unwrap(), None);
    std::fs::remove_file(&image).unwrap();
    assert!(matches!(store.layer_root(&made), Err(Error::Io { .. })));
}

#[test]
fn images_are_counted_and_collected() {
    let (_dir, store) = store(Form::Images);
    let lease = store.lease("test").unwrap();
    let made = layer(&store, &lease, None, &["a", "bc"]);
    assert_eq!(store.usage().unwrap().layers, 3);
    assert!(store.check(false).unwrap().is_empty());
    drop(lease);
    let collected = store.gc().unwrap();
    assert_eq!((collected.layers, collected.bytes), (1, 3));
    assert_eq!(store.layer(&made.chain_id).unwrap(), None);
    assert_eq!(std::fs::read_dir(store.root().join("ingest")).unwrap().count(), 0);
}
