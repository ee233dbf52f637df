//! The store as a whole: publishing, finding, collecting, crashing.

use crate::{Change, ChangeKind, Error, Layer, Lease, NewImage, Store};
use archive::{Compression, Entry, Packer};
use oci::image::{Descriptor, ImageConfig, Index, Manifest};
use oci::{ChainId, Digest, Platform, Reference, media_types};
use state::{Db, cache, images, leases, tags};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

fn open(path: &Path) -> Store {
    Store::open(path, &Db::open(path.join("state.db")).unwrap()).unwrap()
}

/// An archive of files with their names for content.
pub(crate) fn tar(names: &[&str]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    for name in names {
        packer.append_bytes(&Entry::file(name, 0o644, 0), name.as_bytes()).unwrap();
    }
    packer.finish().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut sink = archive::compress(Compression::Gzip, None, Vec::new()).unwrap();
    sink.write_all(bytes).unwrap();
    sink.finish().unwrap()
}

pub(crate) fn layer(store: &Store, lease: &Lease, parent: Option<&Layer>, names: &[&str]) -> Layer {
    store.apply_layer(lease, parent.map(|layer| &layer.chain_id), &tar(names)[..], None).unwrap()
}

fn image(store: &Store, lease: &Lease, layers: &[&Layer], platform: &str, names: &[&str]) -> crate::Image {
    let mut config = ImageConfig::new(&platform.parse().unwrap());
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let descriptors = layers.iter().map(|layer| store.descriptor(layer)).collect();
    let names: Vec<Reference> = names.iter().map(|name| Reference::parse(name).unwrap()).collect();
    store.make_image(lease, &config, descriptors, None, &names).unwrap().image
}

#[test]
fn a_blob_is_what_was_expected_or_nothing() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let digest = store.put_blob(&lease, b"bytes").unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap(), b"bytes");
    assert!(matches!(store.read_blob(&digest, 4), Err(Error::TooLarge { .. })));

    let mut writer = store.ingest(&lease).unwrap();
    writer.write_all(b"other").unwrap();
    assert!(matches!(writer.commit(Some(&digest)), Err(Error::Mismatch { .. })));
    drop(store.ingest(&lease).unwrap());
    assert_eq!(store.blobs().unwrap(), vec![(digest.clone(), 5)]);
    assert_eq!(fs::read_dir(store.root().join("ingest")).unwrap().count(), 0);

    let sha512: Digest = format!("sha512:{}", hex_of_sha512_of_abc()).parse().unwrap();
    let mut writer = store.ingest(&lease).unwrap();
    writer.write_all(b"abc").unwrap();
    assert_eq!(writer.commit(Some(&sha512)).unwrap(), (sha512, 3));
}

fn hex_of_sha512_of_abc() -> &'static str {
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
     2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
}

#[test]
fn layers_stack_and_come_out_as_they_went_in() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a", "b"]);
    assert_eq!(bottom.diff_id, Digest::sha256(&tar(&["a", "b"])));
    assert_eq!(bottom.size, 2);
    let compressed = gzip(&tar(&[".wh.a", "c"]));
    let diff_id = Digest::sha256(&tar(&[".wh.a", "c"]));
    let top = store.apply_layer(&lease, Some(&bottom.chain_id), &compressed[..], Some(&diff_id)).unwrap();
    assert_eq!(ChainId::of(&[bottom.diff_id.clone(), diff_id]), Some(top.chain_id.clone()));
    let dirs = store.layer_dirs(&top.chain_id).unwrap();
    assert_eq!(dirs.len(), 2);
    assert!(dirs[0].join("c").is_file() && dirs[1].join("a").is_file());
    let whiteout = fs::symlink_metadata(dirs[0].join("a")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);

    let wrong = store.apply_layer(&lease, None, &tar(&["x"])[..], Some(&bottom.diff_id));
    assert!(matches!(wrong, Err(Error::Mismatch { .. })));
    assert!(matches!(store.apply_layer(&lease, None, &b"junk"[..], None), Err(Error::Archive { .. })));
    let missing = ChainId(Digest::sha256(b"missing"));
    assert!(matches!(store.layer_dirs(&missing), Err(Error::NoLayer(_))));
}

#[test]
fn an_upper_directory_becomes_a_layer_without_a_copy_and_a_copy_is_the_same_layer() {
    let (dir, store) = store();
    let lease = store.lease("test").unwrap();
    let upper = dir.path().join("upper");
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/conf"), "x".repeat(1000)).unwrap();
    let inode = fs::metadata(upper.join("etc/conf")).unwrap().ino();

    let copied = store.layer_from_copy(&lease, None, &upper).unwrap();
    assert!(upper.exists());
    let bottom = layer(&store, &lease, None, &["a"]);
    let taken = store.layer_from_dir(&lease, Some(&bottom.chain_id), &upper).unwrap();
    assert!(!upper.exists());
    assert_eq!(taken.diff_id, copied.diff_id);
    assert_eq!((taken.size, taken.archive_size), (1000, copied.archive_size));
    let file = store.layer_dirs(&taken.chain_id).unwrap()[0].join("etc/conf");
    assert_eq!(fs::metadata(file).unwrap().ino(), inode);

    let mut bytes = Vec::new();
    store.layer_tar(&taken, &mut bytes).unwrap();
    assert_eq!(Digest::sha256(&bytes), taken.diff_id);
    assert_eq!(Some(bytes.len() as u64), taken.archive_size);
    assert_eq!(layer_again(&store, &lease, &bytes).diff_id, taken.diff_id);
}

fn layer_again(store: &Store, lease: &Lease, bytes: &[u8]) -> Layer {
    store.apply_layer(lease, None, bytes, None).unwrap()
}

#[test]
fn a_layer_that_came_from_elsewhere_can_be_made_here_too() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let first = store.repack(&lease, store.unpack(&lease, &tar(&["a"])[..]).unwrap()).unwrap();
    let mut packed = Vec::new();
    let made = store.publish(&lease, None, first).unwrap();
    store.layer_tar(&made, &mut packed).unwrap();
    fs::remove_dir_all(store.root().join("layers").join(made.chain_id.0.hex())).unwrap();

    let came = store.apply_layer(&lease, None, &packed[..], Some(&made.diff_id)).unwrap();
    assert_eq!(came.archive_size, None);
    let again = store.repack(&lease, store.unpack(&lease, &tar(&["a"])[..]).unwrap()).unwrap();
    assert_eq!(store.publish(&lease, None, again).unwrap(), made);
    assert_eq!(store.layer(&made.chain_id).unwrap(), Some(made));
}

#[test]
fn images_are_found_by_every_name() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a"]);
    let made = image(&store, &lease, &[&bottom], "linux/amd64", &["app:1", "host.io/x/app"]);
    let id = made.id.to_string();
    for name in [
        "app:1",
        "docker.io/library/app:1",
        "host.io/x/app",
        "host.io/x/app:latest",
        &id,
        made.id.hex(),
        made.id.short(),
        &id[..20],
        &made.digest.to_string(),
    ] {
        assert_eq!(store.resolve(name, None).unwrap().digest, made.digest, "{name}");
    }
    for (name, message) in [
        ("app", "No such image: app:latest"),
        ("app:2", "No such image: app:2"),
        ("x.io/app", "No such image: x.io/app:latest"),
        (&format!("app@{}", made.digest), &format!("No such image: app@{}", made.digest)),
        ("APP", "invalid reference format: repository name (library/APP) must be lowercase"),
        ("", "invalid reference format"),
    ] {
        assert_eq!(store.resolve(name, None).unwrap_err().to_string(), message, "{name}");
    }
    let arm: Platform = "linux/arm64".parse().unwrap();
    assert_eq!(
        store.resolve("app:1", Some(&arm)).unwrap_err().to_string(),
        "image with reference app:1 was found but does not provide the specified platform (linux/arm64)"
    );
    let put = store
        .make_image(
            &lease,
            &made.config,
            made.manifest.layers.clone(),
            None,
            &[Reference::parse("app:1").unwrap()],
        )
        .unwrap();
    assert!(!put.new && put.moved.is_empty());
}

#[test]
fn a_short_id_that_two_images_have_is_ambiguous() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a"]);
    let first = image(&store, &lease, &[&bottom], "linux/amd64", &[]);
    let twin = format!("{}{}", &first.id.hex()[..20], "0".repeat(44));
    let record = images::Image {
        digest: Digest::sha256(b"twin"),
        id: Digest::from_hex(&twin).unwrap(),
        parent: None,
        added: String::new(),
        lent: false,
    };
    store.db().write(|tx| images::put(tx, &record)).unwrap();
    assert!(matches!(store.resolve(first.id.short(), None), Err(Error::Ambiguous(_))));
    assert_eq!(store.resolve(&first.id.hex()[..30], None).unwrap().id, first.id);
}

#[test]
fn an_index_means_the_member_for_the_platform() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a"]);
    let host = Platform::host().to_string();
    let ours = image(&store, &lease, &[&bottom], &host, &[]);
    let other = image(&store, &lease, &[&bottom], "linux/s390x", &[]);
    let absent = Descriptor {
        platform: "linux/riscv64".parse().ok(),
        ..Descriptor::of(media_types::OCI_MANIFEST, b"")
    };
    let member = |image: &crate::Image| Descriptor {
        platform: Some(image.config.platform()),
        ..Descriptor::new(media_types::OCI_MANIFEST, image.digest.clone(), 1)
    };
    let index = serde_json::to_vec(&Index::new(vec![absent, member(&other), member(&ours)])).unwrap();
    let index = store.put_blob(&lease, &index).unwrap();
    let tag = Reference::parse("multi").unwrap();
    store.put_image(&NewImage { tags: &[tag], target: Some(&index), ..NewImage::of(&ours.digest) }).unwrap();
    assert_eq!(store.resolve("multi", None).unwrap().digest, ours.digest);
    let of = |platform: &str| store.resolve("multi", Some(&platform.parse().unwrap()));
    assert_eq!(of("linux/s390x").unwrap().digest, other.digest);
    assert!(matches!(of("linux/riscv64"), Err(Error::Platform { .. })));
}

#[test]
fn an_image_is_refused_while_something_of_it_is_missing() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a"]);
    let mut config = ImageConfig::new(&Platform::host());
    config.rootfs.diff_ids = vec![bottom.diff_id.clone(), Digest::sha256(b"missing")];
    let one = vec![store.descriptor(&bottom)];
    let two = vec![one[0].clone(), one[0].clone()];
    let tag = [Reference::parse("x").unwrap()];
    assert!(matches!(
        store.make_image(&lease, &config, one, None, &tag),
        Err(Error::LayerCount { layers: 1, diff_ids: 2 })
    ));
    assert!(matches!(store.make_image(&lease, &config, two, None, &tag), Err(Error::NoLayer(_))));
    assert!(store.images().unwrap().is_empty());
    assert!(matches!(store.resolve("x", None), Err(Error::NoImage(_))));

    let manifest = Manifest::new(Descriptor::of(media_types::OCI_CONFIG, b"nowhere"), Vec::new());
    let manifest = store.put_blob(&lease, &serde_json::to_vec(&manifest).unwrap()).unwrap();
    let new = NewImage::of(&manifest);
    assert!(matches!(store.put_image(&new), Err(Error::NoBlob(_))));
}

#[test]
fn what_nothing_refers_to_is_collected_and_nothing_else() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a"]);
    let top = layer(&store, &lease, Some(&bottom), &["b"]);
    let cached = layer(&store, &lease, Some(&bottom), &["cached"]);
    let loose = layer(&store, &lease, Some(&top), &["loose"]);
    let made = image(&store, &lease, &[&bottom, &top], "linux/amd64", &["app"]);
    let junk = store.put_blob(&lease, b"junk").unwrap();
    let entry = cache::Entry {
        key: Digest::sha256(b"key"),
        chain: Some(cached.chain_id.clone()),
        scope: String::new(),
        record: "{}".into(),
        created: String::new(),
        used: String::new(),
        uses: 0,
    };
    store.db().write(|tx| cache::put(tx, &entry)).unwrap();
    assert_eq!(store.gc().unwrap(), crate::Collected::default(), "the lease holds all of it");

    drop(lease);
    let collected = store.gc().unwrap();
    assert_eq!((collected.blobs, collected.layers), (1, 1));
    assert_eq!(store.blob_size(&junk).unwrap(), None);
    assert_eq!(store.layer(&loose.chain_id).unwrap(), None);
    assert_eq!(store.chain(Some(&top.chain_id)).unwrap().len(), 2);
    assert!(store.layer(&cached.chain_id).unwrap().is_some());

    store.db().write(|tx| cache::remove(tx, &entry.key)).unwrap();
    store.db().write(|tx| tags::remove(tx, &Reference::parse("app").unwrap())).unwrap();
    assert_eq!(store.gc().unwrap().layers, 1, "an image without a name is still an image");
    store.db().write(|tx| images::remove(tx, &made.digest)).unwrap();
    let collected = store.gc().unwrap();
    assert_eq!((collected.blobs, collected.layers), (2, 2));
    assert!(store.blobs().unwrap().is_empty() && store.layers().unwrap().is_empty());
    assert_eq!(fs::read_dir(store.root().join("ingest")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.root().join("leases")).unwrap().count(), 0);
}

#[test]
fn what_a_dead_process_leaves_is_collected() {
    let (dir, store) = store();
    let lease = store.lease("test").unwrap();
    // What a process killed at any instruction can leave: a lease's file and row, half an ingest, a blob and a
    // layer that are published and that no row refers to, and a layer that was moved away to be removed.
    fs::write(dir.path().join("leases/dead"), "").unwrap();
    fs::write(dir.path().join("leases/rowless"), "").unwrap();
    store.db().write(|tx| leases::add(tx, "dead", "pull")).unwrap();
    let blob = store.put_blob(&lease, b"published").unwrap();
    let published = layer(&store, &lease, None, &["a"]);
    store.db().write(|tx| leases::pin(tx, "dead", &blob)).unwrap();
    store.db().write(|tx| leases::pin(tx, "dead", &published.chain_id.0)).unwrap();
    for name in ["dead-0", "dead-1/diff/deep/er", "trash-1/diff", "rowless-0"] {
        fs::create_dir_all(dir.path().join("ingest").join(name)).unwrap();
    }
    fs::create_dir_all(lease.scratch()).unwrap();
    let problems = store.check(false).unwrap();
    assert_eq!(problems.len(), 6, "{problems:?}");
    let mine = format!("{}-", lease.id());

    // Our own lease pins both too; it is only the dead one's that is to go.
    store.gc().unwrap();
    assert!(store.blob_size(&blob).unwrap().is_some());
    let left: Vec<String> = fs::read_dir(dir.path().join("ingest"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| name.starts_with(&mine)), "{left:?}");
    drop(lease);
    assert_eq!(store.gc().unwrap().blobs, 1);
    assert_eq!(store.check(false).unwrap(), vec![]);
    assert_eq!(fs::read_dir(dir.path().join("ingest")).unwrap().count(), 0);
}

#[test]
fn the_next_lease_takes_away_what_a_killed_process_had_in_progress() {
    let (dir, store) = store();
    let living = store.lease("goes on").unwrap();
    let kept = living.scratch();
    fs::write(&kept, "").unwrap();
    fs::write(dir.path().join("leases/dead"), "").unwrap();
    store.db().write(|tx| leases::add(tx, "dead", "pull")).unwrap();
    for name in ["dead-0/diff/deep/er", "deadly-0"] {
        fs::create_dir_all(dir.path().join("ingest").join(name)).unwrap();
    }
    let _lease = store.lease("next").unwrap();
    let exists = |name: &str| dir.path().join(name).exists();
    assert!(!exists("ingest/dead-0") && !exists("leases/dead"));
    assert!(!store.db().read(leases::ids).unwrap().contains(&"dead".to_owned()));
    // Of others it takes nothing: one lives, one has no lease at all and is for the collector to judge.
    assert!(kept.exists() && exists("ingest/deadly-0"));
}

#[test]
fn many_ingest_the_same_while_others_collect() {
    let (dir, _) = store();
    let path = dir.path();
    let archive = tar(&["a", "b", "c"]);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            // A store of its own in each thread is what a process would have.
            scope.spawn(|| {
                let store = open(path);
                for _ in 0..8 {
                    let lease = store.lease("race").unwrap();
                    let blob = store.put_blob(&lease, b"the same").unwrap();
                    let layer = store.apply_layer(&lease, None, &archive[..], None).unwrap();
                    let file = store.layer_dirs(&layer.chain_id).unwrap()[0].join("a");
                    assert_eq!(fs::read(file).unwrap(), b"a");
                    assert_eq!(store.read_blob(&blob, 100).unwrap(), b"the same");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let store = open(path);
                for _ in 0..20 {
                    store.gc().unwrap();
                }
            });
        }
    });
    let store = open(path);
    store.gc().unwrap();
    assert!(store.blobs().unwrap().is_empty() && store.layers().unwrap().is_empty());
    assert_eq!(store.check(false).unwrap(), vec![]);
}

#[test]
fn check_finds_damage_and_repair_takes_it_away() {
    let (dir, store) = store();
    let lease = store.lease("test").unwrap();
    let upper = dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("f"), "honest").unwrap();
    let made_here = store.layer_from_dir(&lease, None, &upper).unwrap();
    let good = image(&store, &lease, &[&made_here], "linux/amd64", &["good"]);
    let other = layer(&store, &lease, None, &["x"]);
    image(&store, &lease, &[&other], "linux/amd64", &["bad"]);
    fs::write(store.layer_dirs(&made_here.chain_id).unwrap()[0].join("f"), "forged").unwrap();
    fs::remove_file(store.root().join("layers").join(other.chain_id.0.hex()).join("layer.json")).unwrap();
    let blob = store.put_blob(&lease, b"flip me").unwrap();
    fs::write(store.root().join("blobs/sha256").join(blob.hex()), b"flipped").unwrap();
    assert!(matches!(store.read_blob(&blob, 100), Err(Error::DamagedBlob(_))));

    let subjects = |findings: &[crate::Finding]| -> Vec<String> {
        findings.iter().map(|finding| finding.subject.split(' ').next().unwrap().to_owned()).collect()
    };
    let before = store.check(false).unwrap();
    assert_eq!(subjects(&before), ["blob", "layer", "layer", "image"], "{before:?}");
    let repaired = store.check(true).unwrap();
    assert_eq!(
        subjects(&repaired),
        ["blob", "layer", "layer", "image", "image", "tag", "tag"],
        "{repaired:?}"
    );
    assert!(repaired.iter().all(|finding| finding.repaired));
    assert_eq!(store.check(false).unwrap(), vec![]);
    assert!(store.resolve(&good.id.to_string(), None).is_err());
}

/// What was pulled or loaded is compared with the archive that it came in, and made anew from it.
#[test]
fn check_finds_files_of_others_layers_that_changed_and_repair_restores_them() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let mut packer = Packer::new(Vec::new());
    packer.append_bytes(&Entry::file("etc/passwd", 0o644, 0), b"root").unwrap();
    packer.append_bytes(&Entry::file("bin/sh", 0o755, 0), &[7; 100_000]).unwrap();
    let base = packer.finish().unwrap();
    let mut packer = Packer::new(Vec::new());
    packer.append_bytes(&Entry::file("etc/.wh.passwd", 0o644, 0), b"").unwrap();
    packer.append_bytes(&Entry::file("etc/.wh..wh..opq", 0o644, 0), b"").unwrap();
    packer.append_bytes(&Entry::file("etc/new", 0o600, 0), b"new").unwrap();
    let archives = [gzip(&base), gzip(&packer.finish().unwrap())];
    let mut parent = None;
    let mut descriptors = Vec::new();
    let mut layers = Vec::new();
    for archive in &archives {
        let digest = store.put_blob(&lease, archive).unwrap();
        descriptors.push(Descriptor::new(media_types::OCI_LAYER_GZIP, digest, archive.len() as u64));
        let layer = store.apply_layer(&lease, parent.as_ref(), &archive[..], None).unwrap();
        parent = Some(layer.chain_id.clone());
        layers.push(layer);
    }
    let mut config = ImageConfig::new(&"linux/amd64".parse().unwrap());
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    store.make_image(&lease, &config, descriptors, None, &[Reference::parse("pulled").unwrap()]).unwrap();
    drop(lease);
    assert_eq!(store.check(false).unwrap(), vec![]);

    let files = |index: usize| store.layer_dir(&layers[index].chain_id).join("diff");
    type Damage = fn(&Path);
    let damages: [(usize, &str, &str, Damage); 7] = [
        (1, "", "the kind or mode", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }),
        (0, "bin/sh", "the content", |path| {
            let time = fs::metadata(path).unwrap().modified().unwrap();
            let mut bytes = fs::read(path).unwrap();
            bytes[77_777] ^= 1;
            fs::write(path, bytes).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }),
        (0, "bin/sh", "the kind or mode", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap();
        }),
        (0, "etc/passwd", "the owner", |path| std::os::unix::fs::chown(path, Some(1), None).unwrap()),
        (0, "etc/passwd", "the presence", |path| fs::remove_file(path).unwrap()),
        (1, "etc/added", "the presence", |path| fs::write(path, "x").unwrap()),
        (1, "etc/new", "the time", |path| {
            let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(5);
            fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
        }),
    ];
    for (index, name, what, damage) in damages {
        damage(&files(index).join(name));
        let found = store.check(false).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].subject, format!("layer {}", layers[index].chain_id));
        let said = format!("{what} of /{name} is not as in its archive sha256:");
        assert!(found[0].problem.starts_with(&said), "{found:?}");
        assert!(store.check(true).unwrap().iter().all(|finding| finding.repaired));
        assert_eq!(store.check(false).unwrap(), vec![], "after {what} of {name}");
    }
    assert_eq!(fs::read(files(0).join("bin/sh")).unwrap(), [7; 100_000]);
    assert_eq!(fs::read_dir(store.root().join("ingest")).unwrap().count(), 0);
}

#[test]
fn a_damaged_image_does_not_stop_collecting() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a"]);
    let made = image(&store, &lease, &[&bottom], "linux/amd64", &["app"]);
    drop(lease);
    fs::write(store.root().join("blobs/sha256").join(made.digest.hex()), b"{}").unwrap();
    assert_eq!(store.gc().unwrap().layers, 1);
    assert!(matches!(store.resolve("app", None), Err(Error::DamagedBlob(_))));
    assert_eq!(store.images().unwrap().len(), 1);
}

#[test]
fn changes_compare_an_upper_directory_with_the_layers() {
    let (dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["etc/conf", "etc/same", "gone", "d/one", "d/two"]);
    let top = layer(&store, &lease, Some(&bottom), &[".wh.never", "etc/more"]);
    let upper = dir.path().join("upper");
    // As overlayfs leaves it: copied-up directories, marks for what was removed.
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/conf"), "changed").unwrap();
    fs::write(upper.join("etc/new"), "").unwrap();
    fs::create_dir(upper.join("d")).unwrap();
    fs::write(upper.join("d/two"), "2").unwrap();
    let root = sys::root::Root::open(&upper).unwrap();
    root.set_xattr("d", "trusted.overlay.opaque".as_ref(), b"y").unwrap();
    for name in ["gone", "never"] {
        root.mknod(name, rustix::fs::FileType::CharacterDevice, 0, 0).unwrap();
    }
    let changes = store.changes(Some(&top.chain_id), &upper).unwrap();
    let expected = [
        ("/d", ChangeKind::Modified),
        ("/d/one", ChangeKind::Deleted),
        ("/d/two", ChangeKind::Modified),
        ("/etc", ChangeKind::Modified),
        ("/etc/conf", ChangeKind::Modified),
        ("/etc/new", ChangeKind::Added),
        ("/gone", ChangeKind::Deleted),
    ]
    .map(|(path, kind)| Change { path: PathBuf::from(path), kind });
    assert_eq!(changes, expected);
}

#[test]
fn usage_counts_shared_layers_once() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["12345"]);
    let top = layer(&store, &lease, Some(&bottom), &["123"]);
    layer(&store, &lease, Some(&bottom), &["cached-by-builds"]);
    let small = image(&store, &lease, &[&bottom], "linux/amd64", &["small"]);
    let large = image(&store, &lease, &[&bottom, &top], "linux/amd64", &["large"]);
    let usage = store.usage().unwrap();
    assert_eq!(usage.layers, 5 + 3 + 16);
    assert_eq!(usage.images[&small.digest], (5, 5));
    assert_eq!(usage.images[&large.digest], (8, 5));
    assert_eq!(usage.cache_only.values().sum::<u64>(), 16);
}

/// Names the root that a process of [`a_kill_at_any_moment_leaves_garbage_only`] works on.
const CRASH_ROOT: &str = "DHOW_TEST_STORE_ROOT";

/// No test of its own: what the process that is going to be killed does.
#[test]
fn works_until_killed() {
    let Some(root) = std::env::var_os(CRASH_ROOT) else { return };
    let store = open(Path::new(&root));
    let known = image_names(&store);
    for round in known.. {
        let lease = store.lease("crash").unwrap();
        let name = format!("file{round}");
        let unpacked = store.repack(&lease, store.unpack(&lease, &tar(&["base"])[..]).unwrap()).unwrap();
        let bottom = store.publish(&lease, None, unpacked).unwrap();
        let upper = lease.scratch();
        fs::create_dir(&upper).unwrap();
        fs::write(upper.join(&name), &name).unwrap();
        let top = store.layer_from_dir(&lease, Some(&bottom.chain_id), &upper).unwrap();
        image(&store, &lease, &[&bottom, &top], "linux/amd64", &[&format!("app:{round}")]);
        drop(lease);
        if round % 3 == 2 {
            let tag = Reference::parse(&format!("app:{}", round - 1)).unwrap();
            store
                .db()
                .write(|tx| {
                    let target = tags::get(tx, &tag)?.map(|tag| tag.target);
                    tags::remove(tx, &tag)?;
                    target.map_or(Ok(false), |target| images::remove(tx, &target))
                })
                .unwrap();
            store.gc().unwrap();
        }
    }
}

fn image_names(store: &Store) -> usize {
    store
        .db()
        .read(tags::all)
        .unwrap()
        .iter()
        .filter_map(|tag| tag.reference.tag.as_ref()?.parse::<usize>().ok())
        .max()
        .map_or(0, |last| last + 1)
}

#[test]
fn a_kill_at_any_moment_leaves_garbage_only() {
    let (dir, store) = store();
    // On a machine that has much else to do a process may not come far in the time that it is given: some more are tried then.
    for round in (0..400u64).take_while(|round| *round < 20 || image_names(&store) == 0) {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::works_until_killed"])
            .env(CRASH_ROOT, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // It has begun when it holds a lease: before, there is nothing to be killed in.
        let begun = std::time::Instant::now();
        while fs::read_dir(store.leases_dir()).unwrap().next().is_none() {
            assert!(
                child.try_wait().unwrap().is_none() && begun.elapsed().as_secs() < 60,
                "it does not begin"
            );
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // Waits for nothing: this is when the process dies.
        std::thread::sleep(std::time::Duration::from_millis(round * 7 % 60));
        child.kill().unwrap();
        child.wait().unwrap();
        // Whatever is recorded is whole, at once and after cleaning up.
        for (record, image) in store.images().unwrap() {
            let image = image.unwrap_or_else(|error| panic!("{record:?}: {error}"));
            store.chain(image.chain().as_ref()).unwrap();
        }
        store.gc().unwrap();
        assert_eq!(store.check(false).unwrap(), vec![]);
    }
    assert!(image_names(&store) > 0, "the processes got somewhere");
}

/// What can't be read just now, as a descriptor or the disk lacks, is not taken for damaged: a repair leaves it alone.
#[test]
fn what_cannot_be_read_is_no_damage() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let bottom = layer(&store, &lease, None, &["a"]);
    image(&store, &lease, &[&bottom], "linux/amd64", &["app"]);
    drop(lease);
    let before = store.check(false).unwrap();
    let described = store.layer_dir(&bottom.chain_id).join("layer.json");
    let aside = store.root().join("aside");
    fs::rename(&described, &aside).unwrap();
    // Opens, and can't be read: EISDIR stands for EMFILE and EIO.
    fs::create_dir(&described).unwrap();
    let found = store.check(true);
    assert!(found.is_err(), "{found:?}");
    fs::remove_dir(&described).unwrap();
    fs::rename(&aside, &described).unwrap();
    assert_eq!(store.check(false).unwrap(), before);
    assert!(store.resolve("app", None).is_ok());
}

/// As long as anybody has a file open for writing, the kernel seals it not: nobody may when a blob is whole.
#[test]
fn a_blob_is_sealed_where_any_file_is() {
    let (dir, store) = store();
    let probe = dir.path().join("probe");
    fs::write(&probe, "x").unwrap();
    let can = sys::verity::seal(&fs::File::open(&probe).unwrap()).unwrap();
    let lease = store.lease("test").unwrap();
    let digest = store.put_blob(&lease, b"content").unwrap();
    let writable = fs::OpenOptions::new().append(true).open(store.blob_path(&digest)).is_ok();
    assert_eq!(writable, !can);
    assert_eq!(store.read_blob(&digest, 100).unwrap(), b"content");
}

#[test]
fn what_a_directory_hides_it_hides_on_another_layer() {
    let (dir, store) = store();
    let lease = store.lease("test").unwrap();
    let written = dir.path().join("written");
    fs::create_dir_all(written.join("d")).unwrap();
    fs::write(written.join("d/new"), "n").unwrap();
    let root = sys::root::Root::open(&written).unwrap();
    root.set_xattr("d", "trusted.overlay.opaque".as_ref(), b"y").unwrap();
    let made = store.layer_from_dir(&lease, None, &written).unwrap();
    let below = layer(&store, &lease, None, &["d/old"]);
    let moved = store.rebase(&lease, &made, Some(&below.chain_id)).unwrap();
    // Its archive still says what is hidden, or its digest would be another one.
    store.layer_tar(&moved, std::io::sink()).unwrap();
    assert_eq!(store.own_dirs(&moved).unwrap(), store.own_dirs(&made).unwrap());
}

#[test]
fn a_layer_may_lie_above_itself() {
    let (_dir, store) = store();
    let lease = store.lease("test").unwrap();
    let first = layer(&store, &lease, None, &["a"]);
    let second = layer(&store, &lease, Some(&first), &["b"]);
    let again = store.rebase(&lease, &first, Some(&second.chain_id)).unwrap();
    let stack = store.overlay(Some(&again.chain_id), None, None).unwrap();
    assert_eq!(stack.lower.len(), 2);
    stack.mount().unwrap();
}
