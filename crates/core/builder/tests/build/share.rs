//! A `COPY` that differs little from the last one keeps only what differs, and gives what copying everything gives.

use crate::fixture::{Fixture, text};
use builder::Built;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use sys::root::Root;

const COPY: &str = "FROM base\nWORKDIR /app\nCOPY . .\n";

/// A context of many files, whose times are not now's.
fn fixture() -> Fixture {
    let f = Fixture::new();
    for number in 0..120 {
        f.file(&format!("d{}/f{number}", number % 7), &format!("{number}"));
    }
    f.file("sub/deep/er/x", "x").file("sub/deep/y", "y");
    symlink("d1/f1", f.context().join("to-f1")).unwrap();
    f.file(".dockerignore", "Dockerfile\n.dockerignore\n");
    f
}

/// Every entry below a directory: path to type, mode, owner, time and content.
fn tree(root: &Root, top: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![top.to_string()];
    while let Some(directory) = left.pop() {
        for entry in root.read_dir(&directory).unwrap() {
            let path = format!("{directory}/{}", entry.name.display());
            let stat = root.lstat(&path).unwrap();
            let content = match stat.st_mode & 0o170_000 {
                0o040_000 => {
                    left.push(path.clone());
                    String::new()
                }
                0o120_000 => root.readlink(&path).unwrap().display().to_string(),
                _ => text(root, &path),
            };
            // A directory that the step makes has the time of the step.
            let time = if stat.st_mode & 0o170_000 == 0o040_000 { 0 } else { stat.st_mtime_nsec };
            let what = format!("{:o} {}:{} {time} {content}", stat.st_mode, stat.st_uid, stat.st_gid);
            found.insert(path, what);
        }
    }
    found
}

/// The layer that a build ended with.
fn top(f: &Fixture, built: &Built) -> store::Layer {
    let store = f.store();
    let image = store.resolve(&crate::fixture::image(built).image_id.to_string(), None).unwrap();
    store.layer(&image.chain().unwrap()).unwrap().unwrap()
}

/// Builds with the cache and without; both have to give the same files, and a store that is sound.
#[track_caller]
fn same_as_whole(f: &Fixture, dockerfile: &str) -> store::Layer {
    let shared = f.build(dockerfile).ok().clone();
    let seen = tree(&f.rootfs(&shared), "app");
    let layer = top(f, &shared);
    assert_eq!(f.store().check(false).unwrap(), [], "packing gives the digest that was computed");
    let other = Fixture::new();
    std::fs::remove_dir(other.context()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(f.context()).arg(other.context()).status();
    assert!(copied.unwrap().success());
    let whole = other.build(dockerfile).ok().clone();
    let whole = tree(&other.rootfs(&whole), "app");
    let paths: std::collections::BTreeSet<_> = seen.keys().chain(whole.keys()).collect();
    let differs = |path: &&&String| seen.get(**path) != whole.get(**path);
    let differences: Vec<_> = paths.iter().filter(differs).map(|path| (path, seen.get(*path))).collect();
    assert!(differences.is_empty(), "{differences:?}");
    layer
}

#[test]
fn what_changed_lies_over_what_did_not() {
    let f = fixture();
    let first = f.build(COPY).ok().clone();
    let whole = top(&f, &first);
    assert_eq!(whole.over, None);

    f.file("d3/f3", "changed");
    let changed = same_as_whole(&f, COPY);
    let over = changed.over.expect("most of it is shared");
    assert_eq!((over.chain, over.own), (whole.chain_id.clone(), 7));
    assert_eq!(f.store().layer_dirs(&changed.chain_id).unwrap().len(), 4, "two halves, WORKDIR, base");
    assert!(!f.top_layer(f.build(COPY).ok()).contains(&"app/d3/f10".to_string()));

    // New, gone, another mode, another link, a directory gone: over the same layer again.
    f.file("d4/new", "n").file("fresh/one", "1");
    let context = f.context();
    std::fs::remove_file(context.join("d5/f5")).unwrap();
    std::fs::remove_dir_all(context.join("sub/deep/er")).unwrap();
    std::fs::set_permissions(context.join("d6/f6"), PermissionsExt::from_mode(0o4711)).unwrap();
    std::fs::remove_file(context.join("to-f1")).unwrap();
    symlink("d2/f2", context.join("to-f1")).unwrap();
    let again = same_as_whole(&f, COPY);
    assert_eq!(again.over.expect("most of it is shared").chain, whole.chain_id);
    assert_eq!(again.size, top(&f, f.build(COPY).ok()).size);

    // What came back is what it was, and the same layer as at first.
    f.file("d3/f3", "3");
    assert_eq!(f.build(COPY).ok().ran, 1);
}

#[test]
fn another_step_below_shares_as_well() {
    let f = fixture();
    let file = |n: u32| {
        format!("FROM base\nRUN mkdir /app && echo {n} > /app/n && touch -d @7 /app/n\nCOPY . /app\n")
    };
    f.build(&file(1)).ok();
    f.file("d1/f1", "other");
    let layer = same_as_whole(&f, &file(2));
    assert!(layer.over.is_some());
}

#[test]
fn what_would_hide_the_layers_below_is_made_whole() {
    let f = fixture();
    let file = "FROM base AS below\nRUN mkdir -p /app/d1 /app/sub && echo below > /app/d1/f1 && echo b > /app/sub/z && touch -d @7 /app/d1/f1 /app/sub/z\nFROM below\nCOPY . /app\n";
    f.build(file).ok();
    // Gone from the context, the file below shows again.
    std::fs::remove_file(f.context().join("d1/f1")).unwrap();
    assert_eq!(same_as_whole(&f, file).over, None);
    assert_eq!(text(&f.rootfs(f.build(file).ok()), "/app/d1/f1"), "below\n");
    // A directory where a file was.
    std::fs::remove_file(f.context().join("d2/f2")).unwrap();
    f.file("d2/f2/inside", "i");
    assert_eq!(same_as_whole(&f, file).over, None);
}

#[test]
fn little_in_common_is_made_whole() {
    let f = fixture();
    f.build(COPY).ok();
    for number in 0..110 {
        f.file(&format!("d{}/f{number}", number % 7), &format!("other {number}"));
    }
    assert_eq!(same_as_whole(&f, COPY).over, None);
}

#[test]
fn names_of_one_file_stay_one_file() {
    let f = fixture();
    std::fs::hard_link(f.context().join("d1/f1"), f.context().join("d2/again")).unwrap();
    f.build(COPY).ok();
    f.file("d1/f1", "written to both");
    assert_eq!(same_as_whole(&f, COPY).over, None);
    let root = f.rootfs(f.build(COPY).ok());
    let (one, two) = (root.lstat("app/d1/f1").unwrap(), root.lstat("app/d2/again").unwrap());
    assert_eq!((one.st_ino, one.st_nlink), (two.st_ino, 2));
}

#[test]
fn attributes_are_carried_over_what_is_shared() {
    let f = fixture();
    f.build(COPY).ok();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(f.context().join("d3/f3"), "user.note", b"n", flags).unwrap();
    assert_eq!(same_as_whole(&f, COPY).over, None);
    let root = f.rootfs(f.build(COPY).ok());
    assert_eq!(root.xattr("app/d3/f3", "user.note".as_ref()).unwrap().as_deref(), Some(&b"n"[..]));
}

#[test]
fn the_lower_half_stays_as_long_as_the_upper() {
    let f = fixture();
    f.build(COPY).ok();
    f.file("d3/f3", "changed");
    let built = f.build(COPY).ok().clone();
    let env = f.env();
    builder::prune(&env, &builder::Prune { all: true, ..Default::default() }).unwrap();
    let collected = env.store.gc().unwrap();
    assert_eq!(collected.layers, 0, "the first build's layer has the second one's files");
    assert_eq!(text(&f.rootfs(&built), "/app/d4/f4"), "4");
    assert_eq!(env.store.check(false).unwrap(), []);
    let usage = env.store.usage().unwrap();
    let image = env.store.resolve(&crate::fixture::image(&built).image_id.to_string(), None).unwrap();
    let (size, _) = usage.images[&image.digest];
    assert!(size > usage.layers / 2 && usage.layers < 2 * size, "{usage:?}");
    assert_eq!(usage.cache_only.len(), 0, "what an image's layer lies over is not the cache's: {usage:?}");
}

#[test]
fn a_damaged_note_is_done_without() {
    let f = fixture();
    let first = f.build(COPY).ok().clone();
    let note = f.root().join("layers").join(top(&f, &first).chain_id.0.hex()).join("files");
    let mut bytes = std::fs::read(&note).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&note, bytes).unwrap();
    f.file("d3/f3", "changed");
    assert_eq!(same_as_whole(&f, COPY).over, None);
}

#[test]
fn large_files_pass_through_with_their_holes() {
    let f = fixture();
    let large = std::fs::File::create(f.context().join("large")).unwrap();
    large.set_len(40 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"in the middle", 17 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"at the end", (40 << 20) - 10).unwrap();
    f.file("zz", "after it");
    let built = f.build(COPY).ok().clone();
    assert_eq!(f.store().check(false).unwrap(), []);
    let root = f.rootfs(&built);
    let copied = root.lstat("app/large").unwrap();
    assert!(copied.st_size == 40 << 20 && copied.st_blocks * 512 < 8 << 20, "{}", copied.st_blocks);
    let mut there = vec![0; 13];
    let file = root.open_file("app/large").unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut there, 17 << 20).unwrap();
    assert_eq!(there, b"in the middle");
    f.file("zz", "changed");
    let after = f.build(COPY).ok().clone();
    assert_eq!(top(&f, &after).over.unwrap().own, 7);
    assert_eq!(f.store().check(false).unwrap(), []);
}

#[test]
fn reasons_name_files_however_many_there_are() {
    let f = Fixture::new();
    for number in 0..2300 {
        f.file(&format!("d{}/f{number}", number % 20), "x");
    }
    let file = "FROM base\nCOPY . /app\n";
    f.file(".dockerignore", "Dockerfile\n");
    f.build(file).ok();
    f.file("d3/f3", "y").file("d4/new", "n");
    std::fs::remove_file(f.context().join("d5/f5")).unwrap();
    let outcome = f.build(file);
    assert_eq!(outcome.reasons(), ["file /d3/f3 changed", "file /d4/new is new", "file /d5/f5 is gone"]);
    assert_eq!(outcome.ok().ran, 1);
    assert_eq!(f.build(file).ok().ran, 0);
    let large = f.context().join("d6/f6");
    assert_eq!(std::fs::metadata(&large).unwrap().nlink(), 1);
    std::fs::set_permissions(large, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(f.build(file).reasons(), ["file /d6/f6 changed"]);
}
