use super::*;
use crate::tests::tar;
use crate::{Fetch, NewImage, Store};
use oci::image::{Descriptor, ImageConfig, Manifest};
use oci::media_types;
use state::Db;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path().join("state.db")).unwrap();
    let store = Store::open(dir.path(), &db).unwrap();
    (dir, store)
}

fn left(store: &Store) -> usize {
    fs::read_dir(store.root().join("ingest")).unwrap().count()
}

/// A layer on top of others, all in the batch.
fn stack(batch: &Batch, store: &Store, archives: &[Vec<u8>]) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for archive in archives {
        let unpacked = store.unpack(batch.lease(), &archive[..]).unwrap();
        let below = layers.last().map(|layer| layer.chain_id.clone());
        layers.push(batch.add_layer(below.as_ref(), unpacked).unwrap());
    }
    layers
}

#[test]
fn nobody_else_sees_a_part_before_all_are_there() {
    let (_dir, store) = store();
    let batch = store.batch(&Arc::new(store.lease("test").unwrap())).unwrap();
    let blob = batch.put_blob(b"of no image").unwrap();
    let layers = stack(&batch, &store, &[tar(&["a"]), tar(&["b"])]);
    let mut config = ImageConfig::new(&oci::Platform::host());
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let bytes = serde_json::to_vec(&config).unwrap();
    let config =
        Descriptor::new(media_types::OCI_CONFIG, batch.put_blob(&bytes).unwrap(), bytes.len() as u64);
    let described = layers.iter().map(|layer| store.descriptor(layer)).collect();
    let manifest = batch.put_blob(&serde_json::to_vec(&Manifest::new(config, described)).unwrap()).unwrap();
    let new = NewImage::of(&manifest);

    // For who has the batch all of it is there.
    assert_eq!(batch.use_blob(&blob).unwrap(), Some(11));
    assert_eq!(batch.read_blob(&blob, 11).unwrap(), b"of no image");
    assert!(batch.document(&manifest).is_ok());
    assert_eq!(batch.use_layer(&layers[1].chain_id).unwrap().as_ref(), Some(&layers[1]));
    assert_eq!((store.blobs().unwrap(), store.layers().unwrap().len()), (Vec::new(), 0));
    assert!(matches!(store.put_image(&new), Err(Error::NoBlob(_))));
    // What is under way is no garbage.
    store.gc().unwrap();
    assert_eq!(store.check(false).unwrap(), []);

    batch.publish().unwrap();
    assert_eq!((store.blobs().unwrap().len(), store.layers().unwrap().len(), left(&store)), (3, 2, 0));
    store.gc().unwrap();
    store.put_image(&new).unwrap();
    drop(batch);
    store.gc().unwrap();
    assert_eq!((store.blobs().unwrap().len(), store.layers().unwrap().len()), (2, 2));
    assert!(store.images().unwrap().iter().all(|(_, image)| image.is_ok()));
}

#[test]
fn what_is_dropped_before_that_is_gone_and_what_came_from_afar_waits() {
    let (_dir, store) = store();
    let lease = Arc::new(store.lease("test").unwrap());
    let batch = store.batch(&lease).unwrap();
    batch.put_blob(b"bytes").unwrap();
    stack(&batch, &store, &[tar(&["a"])]);
    let digest = Digest::sha256(b"from afar");
    let Fetch::Ours(mut partial) = store.fetch(&lease, &digest).unwrap() else { panic!("it is nobody's") };
    partial.write_all(b"from afar").unwrap();
    batch.add_partial(partial).unwrap();
    // Nobody else works on it meanwhile.
    assert_eq!(store.partials().unwrap(), []);
    drop((batch, lease));
    assert_eq!(store.partials().unwrap().len(), 1);
    assert_eq!((left(&store), store.blobs().unwrap().len(), store.layers().unwrap().len()), (1, 0, 0));

    let lease = Arc::new(store.lease("again").unwrap());
    let batch = store.batch(&lease).unwrap();
    let Fetch::Ours(mut partial) = store.fetch(&lease, &digest).unwrap() else { panic!("it is nobody's") };
    assert_eq!(partial.kept(), 9);
    std::io::copy(&mut partial, &mut std::io::sink()).unwrap();
    batch.add_partial(partial).unwrap();
    batch.publish().unwrap();
    assert_eq!(store.read_blob(&digest, 9).unwrap(), b"from afar");
    assert_eq!(left(&store), 0);
}

#[test]
fn what_a_layer_takes_from_those_below_it_takes_from_those_that_wait() {
    let (_dir, store) = store();
    let batch = store.batch(&Arc::new(store.lease("test").unwrap())).unwrap();
    let mut below = archive::Packer::new(Vec::new());
    below.append(&archive::Entry::directory("etc/", 0o700)).unwrap();
    let below = below.finish().unwrap();
    // It has no entry for the folder of its file, and hides all else that the root has below.
    let layers = stack(&batch, &store, &[below, tar(&["etc/a", "b"]), tar(&[".wh..wh..opq"])]);
    batch.publish().unwrap();
    let files = store.layer_dirs(&layers[2].chain_id).unwrap();
    assert_eq!(fs::metadata(files[1].join("etc")).unwrap().permissions().mode() & 0o777, 0o700);
    let hidden: BTreeSet<_> =
        fs::read_dir(&files[0]).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(hidden, ["b", "etc"].map(Into::into).into());
}

#[test]
fn two_who_bring_the_same_end_with_one() {
    let (_dir, store) = store();
    let both = [(); 2].map(|()| store.batch(&Arc::new(store.lease("test").unwrap())).unwrap());
    for batch in &both {
        batch.put_blob(b"bytes").unwrap();
        // Twice the same archive: once on nothing and once on itself; and the first of them again.
        let layers = stack(batch, &store, &[tar(&["a"]), tar(&["a"])]);
        let unpacked = store.unpack(batch.lease(), &tar(&["a"])[..]).unwrap();
        assert_eq!(batch.add_layer(None, unpacked).unwrap(), layers[0]);
    }
    both.iter().for_each(|batch| batch.publish().unwrap());
    assert_eq!((store.blobs().unwrap().len(), store.layers().unwrap().len(), left(&store)), (1, 2, 0));
}

#[test]
fn much_is_written_early_and_its_failures_are_told_at_the_end() {
    let (_dir, store) = store();
    let batch = store.batch(&Arc::new(store.lease("test").unwrap())).unwrap();
    batch.put_blob(b"bytes").unwrap();
    for _ in 0..10 {
        batch.wrote(EARLY);
    }
    *batch.disk.failed.lock().unwrap() = Some(Errno::IO);
    assert!(matches!(batch.publish(), Err(Error::Io { attempt: "sync", .. })));
    assert_eq!((store.blobs().unwrap(), left(&store)), (Vec::new(), 0));
}
