//! What goes when there is too much, and what each byte is for.

use std::time::{Duration, SystemTime};

use super::*;
use crate::system::{Storage, collect, df};

/// An image of one layer with a megabyte of its own.
async fn megabyte(engine: &Engine, name: &str) -> Digest {
    let id = import_as(engine, name, &[("file", &name.repeat((1 << 20) / name.len()))], &[]).await;
    id.parse().unwrap()
}

/// Lets an image have been used so long ago.
fn used(engine: &Engine, id: &Digest, ago: u64) {
    let path = engine.store().root().join("blobs/sha256").join(id.hex());
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(ago)).unwrap();
}

async fn names(engine: &Engine) -> Vec<String> {
    let mut names: Vec<String> = listed(engine, &[])
        .await
        .into_iter()
        .map(|image| image.repo_tags.first().cloned().unwrap_or_else(|| "nameless".into()))
        .collect();
    names.sort();
    names
}

const MEGABYTE: u64 = 1 << 20;

#[tokio::test]
async fn what_was_used_longest_ago_goes_first_and_what_is_used_never() {
    let (_dir, engine) = engine().await;
    let mut ids = Vec::new();
    for name in ["old:1", "older:1", "kept:1", "fresh:1", "was:1"] {
        ids.push(megabyte(&engine, name).await);
    }
    // Nameless, since another took its name.
    megabyte(&engine, "was:1x").await;
    tag(&engine, "was:1x", "was", "1").await.unwrap();
    rmi(&engine, "was:1x", false).await.unwrap();
    container(&engine, &"c".repeat(64), "kept:1");
    for (id, ago) in ids.iter().zip([2000, 3000, 9000, 10, 1]) {
        used(&engine, id, ago);
    }
    let all = ["fresh:1", "kept:1", "nameless", "old:1", "older:1", "was:1"];
    assert_eq!(names(&engine).await, all);
    let max = |megabytes: u64, unused: Option<u64>| Storage {
        max: Some(megabytes * MEGABYTE + MEGABYTE / 2),
        unused: unused.map(Duration::from_secs),
        ..Storage::default()
    };
    let done = collect(&engine, max(6, None)).await.unwrap();
    assert_eq!((done.space_reclaimed, done.lacking, names(&engine).await.len()), (0, 0, 6));

    // What has a name stays where nobody has said otherwise, also if that is too much.
    let done = collect(&engine, max(2, None)).await.unwrap();
    assert_eq!(names(&engine).await, ["fresh:1", "kept:1", "old:1", "older:1", "was:1"]);
    assert!(done.space_reclaimed >= MEGABYTE && done.lacking > 2 * MEGABYTE, "{done:?}");

    // One is enough: the one that was not used longest.
    let done = collect(&engine, max(4, Some(1000))).await.unwrap();
    assert_eq!(names(&engine).await, ["fresh:1", "kept:1", "old:1", "was:1"]);
    assert_eq!((done.lacking, done.images_deleted[0].untagged.as_str()), (0, "older:1"));

    // What was used lately stays, and what a container was made from.
    let done = collect(&engine, max(0, Some(1000))).await.unwrap();
    assert_eq!(names(&engine).await, ["fresh:1", "kept:1", "was:1"]);
    assert!(done.lacking > 0);
    let done = collect(&engine, max(0, Some(0))).await.unwrap();
    assert_eq!(names(&engine).await, ["kept:1"]);
    assert!(done.lacking > 0);

    // More free space than there can be: nothing else may go.
    let all = Storage { keep_free: Some(u64::MAX), ..Storage::default() };
    assert!(collect(&engine, all).await.unwrap().lacking > 0);
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
}

#[tokio::test]
async fn what_makes_no_room_stays_while_others_do() {
    let (_dir, engine) = engine().await;
    let id = megabyte(&engine, "one:1").await;
    used(&engine, &id, 9000);
    // The same layer under another configuration.
    let image = engine.store().resolve("one:1", None).unwrap();
    let lease = engine.store().lease("test").unwrap();
    let mut config = image.config.clone();
    config.comment = "another".into();
    let twin = Reference::parse("twin:1").unwrap();
    let layers = image.manifest.layers.clone();
    let twin = engine.store().make_image(&lease, &config, layers, None, &[twin]).unwrap().image.id;
    drop(lease);
    used(&engine, &twin, 8000);
    let alone = megabyte(&engine, "alone:1").await;
    used(&engine, &alone, 7000);
    let limits = |megabytes: u64| Storage {
        max: Some(megabytes * MEGABYTE + MEGABYTE / 2),
        unused: Some(Duration::ZERO),
        ..Storage::default()
    };
    assert_eq!(collect(&engine, limits(1)).await.unwrap().lacking, 0);
    assert_eq!(names(&engine).await, ["one:1", "twin:1"]);
    assert_eq!(collect(&engine, limits(0)).await.unwrap().lacking, 0);
    assert_eq!(names(&engine).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_operation_under_way_keeps_what_it_holds() {
    let (_dir, engine) = engine().await;
    let id = megabyte(&engine, "app:1").await;
    used(&engine, &id, 5000);
    let image = engine.store().resolve("app:1", None).unwrap();
    let lease = engine.store().lease("test").unwrap();
    engine.store().use_layer(&lease, &image.chain().unwrap()).unwrap();
    let limits = Storage { max: Some(1), unused: Some(Duration::ZERO), ..Storage::default() };
    assert!(collect(&engine, limits).await.unwrap().lacking > MEGABYTE / 2);
    assert!(engine.store().layer(&image.chain().unwrap()).unwrap().is_some());
    drop(lease);
    assert_eq!(collect(&engine, limits).await.unwrap().lacking, 0);
    assert!(engine.store().layers().unwrap().is_empty());
}

/// An image without a name that was used so long ago.
async fn nameless(engine: &Engine, name: &str, ago: u64) -> Digest {
    let id = megabyte(engine, name).await;
    let image = engine.store().resolve(name, None).unwrap();
    let reference = Reference::parse(name).unwrap();
    engine.db().write(|tx| state::tags::remove(tx, &reference)).unwrap();
    used(engine, &id, ago);
    image.digest
}

#[tokio::test]
async fn results_that_are_held_or_were_just_made_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("root"), dir.path().join("run"), "/proc/self/exe");
    config.storage = Storage { max: Some(1), ..Storage::default() };
    let engine = Engine::open(config).await.unwrap();
    let held = nameless(&engine, "held:1", 5000).await;
    let made = nameless(&engine, "made:1", 500).await;
    let gone = nameless(&engine, "gone:1", 700).await;
    let is_here = |digest: &Digest| engine.db().read(|tx| state::images::get(tx, digest)).unwrap().is_some();
    let lease = crate::builds::hold(&engine).await.unwrap();
    lease.pin(&held).unwrap();
    // Somebody may be about to run what was made minutes ago, whoever else ends something now.
    crate::system::keep_within_limits(&engine).await;
    assert_eq!((is_here(&held), is_here(&made), is_here(&gone)), (true, true, false));
    // But where somebody asks for the room.
    let limits = Storage { max: Some(1), ..Storage::default() };
    collect(&engine, limits).await.unwrap();
    assert_eq!((is_here(&held), is_here(&made)), (true, false));
    // Who is asked to take what has no name takes it, but for what somebody hands out.
    let made = nameless(&engine, "made:1", 1).await;
    prune(&engine, Filters::default()).await.unwrap();
    assert_eq!((is_here(&held), is_here(&made)), (true, false));
    drop(lease);
    prune(&engine, Filters::default()).await.unwrap();
    assert!(!is_here(&held));
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
}

#[tokio::test]
async fn every_byte_below_the_root_is_for_something() {
    let (dir, engine) = engine().await;
    megabyte(&engine, "app:1").await;
    load_bytes(&engine, multi_platform().0).await.unwrap();
    let root = dir.path().join("root");
    for (path, length) in [
        ("containers/abc/log", 70_000),
        ("containers/abc/log.1", 5000),
        ("containers/abc/upper/file", 9000),
        ("volumes/v/_data/file", 123_456),
        ("cache-mounts/m/file", 4097),
        ("quarantine/1-blob-x", 10_000),
        ("stray/file", 1),
        ("ingest/partial-sha256-x", 8192),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x".repeat(length)).unwrap();
    }
    std::fs::hard_link(root.join("volumes/v/_data/file"), root.join("volumes/v/_data/again")).unwrap();
    let sparse = std::fs::File::create(root.join("volumes/v/_data/sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    // Blocks of files are given out when they are written out.
    rustix::fs::syncfs(std::fs::File::open(&root).unwrap()).unwrap();

    let usage = df(&engine, &[], true).await.unwrap();
    let shares = usage.disk.unwrap();
    let du = std::process::Command::new("du").args(["-sx", "--block-size=1"]).arg(&root).output().unwrap();
    let du: i64 = String::from_utf8(du.stdout).unwrap().split('\t').next().unwrap().parse().unwrap();
    assert_eq!(shares.iter().map(|share| share.size).sum::<i64>(), du, "{shares:?}");
    let of = |kind: &str| shares.iter().find(|share| share.kind == kind).map_or(0, |share| share.size);
    assert!(of("layers") > 1 << 20 && of("blobs") > 0 && of("database") > 0, "{shares:?}");
    assert!((75_000..90_000).contains(&of("logs")), "{shares:?}");
    assert!((123_456..160_000).contains(&of("volumes")), "{shares:?}");
    for kind in ["containers", "cache-mounts", "quarantine", "ingest", "other"] {
        assert!(of(kind) > 0, "{kind}: {shares:?}");
    }
    assert!(df(&engine, &[], false).await.unwrap().disk.is_none());
}
