//! Graphs that are given, with real layers and real processes.

use crate::fixture::{Fixture, Outcome, text};
use crate::transfer::{from, taking, to};
use builder::graph::{
    Change, ChangeKind, Copy, CopySource, Fs, Graph, ImageUse, Mount, MountKind, NetKind, Op, OpKind, Origin,
    Own, Run, Stack,
};
use builder::{Claims, Env, Given, GivenGraph, NetMode, Provenance, Request, Statement};
use oci::image::{Descriptor, ImageConfig};
use oci::{Digest, Platform};
use serde_json::{Value, json};
use state::cache;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

fn op(base: Fs, kind: OpKind) -> Op {
    Op {
        base,
        kind,
        name: "step".into(),
        stage: String::new(),
        instruction: "step".into(),
        span: Default::default(),
        no_cache: false,
        platform: Platform::host(),
    }
}

fn file(path: &str, data: &[u8]) -> Change {
    let kind = ChangeKind::File { mode: 0o640, data: data.to_vec() };
    Change { path: path.into(), kind, owner: Some("7:8".into()), time: Some(1_500_000_000_000_000_000) }
}

fn change(path: &str, kind: ChangeKind) -> Change {
    Change { path: path.into(), kind, owner: None, time: None }
}

fn run(script: &str, mounts: Vec<Mount>, own: Own) -> OpKind {
    OpKind::Run(Box::new(Run {
        argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        user: String::new(),
        network: Some(NetKind::None),
        insecure: false,
        devices: Vec::new(),
        mounts,
        hostname: None,
        script: None,
        proxies: Vec::new(),
        own,
    }))
}

fn kept(target: &str, from: Fs) -> Mount {
    Mount {
        kind: MountKind::Kept,
        from: Origin::Fs(from),
        source: "/".into(),
        target: target.into(),
        readonly: false,
        span: Default::default(),
    }
}

/// Builds operations on the image `base`; the last one is the result.
fn build(f: &Fixture, ops: Vec<Op>) -> Outcome {
    build_in(&f.env(), ops)
}

fn build_in(env: &Env, ops: Vec<Op>) -> Outcome {
    let request = Request { network: NetMode::None, ..Request::default() };
    build_with(env, ops, Claims::default(), &request)
}

fn build_with(env: &Env, ops: Vec<Op>, claims: Claims, request: &Request) -> Outcome {
    build_on(env, "base", ops, claims, request)
}

/// Builds operations on an image; without any it is the result.
fn build_on(env: &Env, base: &str, ops: Vec<Op>, claims: Claims, request: &Request) -> Outcome {
    let base = ImageUse {
        reference: base.into(),
        platform: Platform::host(),
        name: "base".into(),
        stage: String::new(),
        span: Default::default(),
    };
    let graph = Graph {
        images: vec![base],
        result: ops.len().checked_sub(1).map_or(Fs::Image(0), Fs::Op),
        ops,
        config: ImageConfig::new(&Platform::host()),
        history: Vec::new(),
        scan: Default::default(),
        stages: Default::default(),
    };
    let graphs = vec![GivenGraph { platform: Platform::host(), graph, claims }];
    let given = Given { graphs, name: String::new(), text: String::new(), locals: BTreeMap::new() };
    let mut events = Vec::new();
    let built = builder::build_graph(env, given, request, &mut |e| events.push(e));
    Outcome { built, events }
}

#[test]
fn what_a_client_attests_stands_before_what_is_asked_for() {
    let f = Fixture::new();
    let list = |file: &str, kind: &str| Statement {
        file: file.into(),
        kind: kind.into(),
        predicate: json!({ "by": "client" }),
        subjects: Vec::new(),
    };
    let mut request = Request { network: NetMode::None, ..Request::default() };
    request.export.sbom = true;
    request.export.provenance = Some(Provenance::Min);
    request.export.provenance_file = Some("how.json".into());
    request.export.file_statements = true;
    let build = |statements: Vec<Statement>| {
        let ops = vec![op(Fs::Scratch, OpKind::Change(vec![file("/f", b"x")]))];
        build_with(&f.env(), ops, Claims { statements, ..Claims::default() }, &request)
    };
    let outcome = build(vec![list("said.json", "said"), list("sbom.json", "https://spdx.dev/Document")]);
    let image = &outcome.result().images[0];
    assert_eq!(image.sbom, Some(json!({ "by": "client" })), "and not ours");
    let told =
        |(name, told): &(String, Value)| (name.clone(), told["predicateType"].as_str().unwrap().to_owned());
    let all = [
        ("said.json", "said"),
        ("sbom.json", "https://spdx.dev/Document"),
        ("how.json", "https://slsa.dev/provenance/v1"),
    ];
    let named: Vec<_> = image.statements.iter().map(told).collect();
    assert_eq!(named, all.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
    let subject = &image.statements[0].1["subject"];
    assert_eq!(*subject, json!([{ "name": "f", "digest": { "sha256": Digest::sha256(b"x").hex() } }]));
    let index = f.store().index(&outcome.result().target.digest).unwrap();
    let oci::image::Document::Manifest(attached) = f.store().document(&index.manifests[1].digest).unwrap()
    else {
        panic!("no manifest")
    };
    let kinds = attached.layers.iter().map(|layer| layer.annotations["in-toto.io/predicate-type"].as_str());
    assert_eq!(kinds.collect::<Vec<_>>(), all.map(|(_, kind)| kind));
    let twice = build(vec![list("how.json", "said")]);
    assert_eq!(twice.err().chain(), "duplicate attestation path name how.json");
    assert!(build(Vec::new()).result().images[0].sbom.as_ref().unwrap()["packages"].is_array());
}

#[test]
fn what_a_client_puts_together_is_no_newer_than_it_says_then() {
    let f = Fixture::new();
    let env = f.env();
    let gone = ChangeKind::Gone { optional: false, pattern: false };
    let new = Change { time: None, ..file("/new", b"2") };
    let ops = vec![
        op(Fs::Image(0), OpKind::Change(vec![file("/old", b"1")])),
        op(Fs::Op(0), OpKind::Change(vec![new, change("/old", gone)])),
    ];
    let plain = Request { network: NetMode::None, ..Request::default() };
    let part = build_with(&env, ops, Claims::default(), &plain);
    let base = f.config(f.build("FROM base\n").ok()).rootfs.diff_ids;
    let manifest = part.result().manifest.to_string();
    let assembled = |undated: Option<Vec<Digest>>, seconds: i64| {
        let request =
            Request { source_date_epoch: Some(Some(seconds)), rewrite_timestamp: true, ..plain.clone() };
        let claims = Claims { undated, ..Claims::default() };
        let outcome = build_on(&env, &manifest, Vec::new(), claims, &request);
        let id = outcome.result().image_id.to_string();
        let layers = f.store().resolve(&id, None).unwrap().manifest.layers;
        let is_dated = |layer: &Descriptor| layer.annotations.contains_key("buildkit/rewritten-timestamp");
        let diff_ids = f.config(outcome.ok()).rootfs.diff_ids;
        (outcome, diff_ids, layers.iter().map(is_dated).collect::<Vec<_>>())
    };
    let before = f.config(part.ok()).rootfs.diff_ids;
    let (outcome, after, notes) = assembled(Some(base.clone()), 1_600_000_000);
    let root = f.rootfs(outcome.ok());
    assert_eq!((root.lstat("/new").unwrap().st_mtime, text(&root, "/new")), (1_600_000_000, "2".to_owned()));
    assert!(root.lstat("/old").is_err(), "what was taken away stays away");
    assert_eq!(notes, [false, true, true]);
    // The one below has nothing that is newer.
    assert_eq!(after[..2], before[..2]);
    assert_ne!(after[2], before[2]);
    assert_eq!(assembled(Some(base.clone()), 1_600_000_000).1, after, "always the same");
    // Where nobody says what it is based on it is all of it; what was made with the time stays as it is.
    let (outcome, all, notes) = assembled(Some(Vec::new()), 7);
    assert_eq!((notes, all.len()), (vec![true; 3], 3));
    assert!(all.iter().zip(&before).all(|(after, before)| after != before));
    assert_eq!(f.rootfs(outcome.ok()).lstat("/bin").unwrap().st_mtime, 7);
    assert_eq!(assembled(None, 7).1, before);
}

#[test]
fn a_process_gets_only_what_its_build_may_have() {
    let f = Fixture::new();
    let process = |insecure, network| {
        let OpKind::Run(run) = run("true", Vec::new(), Own::default()) else { panic!("no process") };
        op(Fs::Image(0), OpKind::Run(Box::new(Run { insecure, network, ..*run })))
    };
    let asked =
        [(process(true, None), "security.insecure"), (process(false, Some(NetKind::Host)), "network.host")];
    for (asks, what) in asked {
        // It is refused before anything runs, also where the result does not need it.
        let outcome = build(&f, vec![asks, op(Fs::Scratch, OpKind::Change(vec![file("/a", b"a")]))]);
        let error = outcome.err();
        assert!(error.chain().starts_with(&format!("{what} is not allowed")), "{}", error.chain());
        assert_eq!(error.hint(), Some(format!("allow it with --allow {what}")));
    }
    let request = Request { network: NetMode::None, allow_host_network: true, ..Request::default() };
    build_with(&f.env(), vec![process(false, Some(NetKind::Host))], Claims::default(), &request).ok();
}

#[test]
fn single_files_change() {
    let f = Fixture::new();
    let first = OpKind::Change(vec![
        change("/d/e", ChangeKind::Directory { mode: 0o700, parents: true }),
        file("/d/e/f", b"x\xff"),
        file("/gone", b""),
        change("/d/link", ChangeKind::Link { target: "e/f".into() }),
        change("/go*", ChangeKind::Gone { optional: false, pattern: true }),
        change("/nothing", ChangeKind::Gone { optional: true, pattern: false }),
    ]);
    let outcome = build(&f, vec![op(Fs::Scratch, first.clone())]);
    let root = f.rootfs(outcome.ok());
    let stat = root.lstat("d/e/f").unwrap();
    assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (0o640, 7, 8));
    assert_eq!((stat.st_mtime, root.read_file("d/e/f", 9).unwrap()), (1_500_000_000, b"x\xff".to_vec()));
    assert_eq!(root.readlink("d/link").unwrap().to_str(), Some("e/f"));
    assert!(root.lstat("gone").is_err());
    assert_eq!(f.config(outcome.ok()).history.len(), 1);
    assert_eq!(build(&f, vec![op(Fs::Scratch, first)]).ok().ran, 0);
    let missing = change("/nothing", ChangeKind::Gone { optional: false, pattern: false });
    let outcome = build(&f, vec![op(Fs::Scratch, OpKind::Change(vec![missing]))]);
    assert!(outcome.err().chain().contains("lstat /nothing: no such file or directory"));
}

#[test]
fn links_lead_nowhere_outside() {
    let f = Fixture::new();
    let outside = f.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let changes = vec![
        change("/out", ChangeKind::Link { target: outside.display().to_string() }),
        change("/up", ChangeKind::Link { target: "../../../../../../..".into() }),
        file("/up/inside", b"x"),
        change("/out/../up/dir", ChangeKind::Directory { mode: 0o755, parents: true }),
    ];
    let outcome = build(&f, vec![op(Fs::Scratch, OpKind::Change(changes))]);
    assert_eq!(text(&f.rootfs(outcome.ok()), "inside"), "x");
    let through = vec![
        change("/out", ChangeKind::Link { target: outside.display().to_string() }),
        change("/out", ChangeKind::Gone { optional: false, pattern: false }),
        file("/out", b"y"),
    ];
    build(&f, vec![op(Fs::Scratch, OpKind::Change(through))]).ok();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(std::fs::metadata(&outside).unwrap().nlink(), 2);
}

#[test]
fn mounts_are_results_and_cached_with_the_step() {
    let f = Fixture::new();
    let ops = |script: &str| {
        let mounts = vec![kept("/out", Fs::Scratch), kept("/again", Fs::Image(0))];
        let own =
            Own { exit_codes: vec![3], hosts: vec![("db".into(), "10.1.2.3".into())], ..Own::default() };
        vec![
            op(Fs::Image(0), run(script, mounts, own)),
            op(Fs::Op(0), OpKind::Stack(Stack::Mount(0))),
            op(Fs::Op(0), OpKind::Stack(Stack::Mount(1))),
            op(Fs::Op(1), OpKind::Stack(Stack::Merge(vec![Fs::Op(2)]))),
        ]
    };
    let script = "grep -q '10.1.2.3.*db' /etc/hosts && echo a > /out/a && rm /again/etc/group && touch /root/r; exit 3";
    let outcome = build(&f, ops(script));
    let root = f.rootfs(outcome.ok());
    assert_eq!((text(&root, "a").as_str(), outcome.ok().ran), ("a\n", 1));
    assert!(root.lstat("etc/passwd").is_ok() && root.lstat("etc/group").is_err());
    assert!(root.lstat("root/r").is_err());
    let again = build(&f, ops(script));
    assert_eq!((again.ok().ran, &again.result().manifest), (0, &outcome.result().manifest));
    assert!(build(&f, ops("exit 0")).err().chain().contains("exit code: 0"));
}

#[test]
fn what_a_run_left_in_its_mounts_travels_with_the_cache() {
    let ops = || {
        let script = "cat /proc/sys/kernel/random/uuid > /out/unique";
        let mounts = vec![kept("/out", Fs::Scratch), kept("/nothing", Fs::Scratch)];
        let process = run(script, mounts, Own::default());
        vec![op(Fs::Image(0), process), op(Fs::Op(0), OpKind::Stack(Stack::Mount(0)))]
    };
    for max in [true, false] {
        let here = Fixture::new();
        let there = here.twin();
        let directory = here.dir.path().join("cache");
        let mut env = here.env();
        env.cache_to = vec![to(&env, &directory, max)];
        let made = build_in(&env, ops());
        let again = build_in(&taking(&there, from(&directory)), ops());
        assert_eq!((made.ok().ran, again.ok().ran), (1, 0), "mode=max: {max}");
        assert_eq!(text(&there.rootfs(again.ok()), "unique"), text(&here.rootfs(made.ok()), "unique"));
    }
}

#[test]
fn the_cache_of_a_build_has_what_all_its_solves_used() {
    let ops = |file: &str| {
        let script = format!("cat /proc/sys/kernel/random/uuid > /{file}");
        vec![op(Fs::Image(0), run(&script, Vec::new(), Own::default()))]
    };
    for max in [true, false] {
        let here = Fixture::new();
        let there = here.twin();
        let directory = here.dir.path().join("cache");
        let mut env = here.env();
        env.cache_to = vec![to(&env, &directory, max)];
        let made = ["one", "two"].map(|file| build_in(&env, ops(file)));
        for (file, made) in ["one", "two"].into_iter().zip(&made) {
            let again = build_in(&taking(&there, from(&directory)), ops(file));
            assert_eq!((made.ok().ran, again.ok().ran), (1, 0), "{file}, mode=max: {max}");
            assert_eq!(text(&there.rootfs(again.ok()), file), text(&here.rootfs(made.ok()), file));
        }
    }
}

#[test]
fn what_is_read_only_does_not_change() {
    let f = Fixture::new();
    let own = Own { readonly: true, ..Own::default() };
    let ops = vec![op(Fs::Image(0), run("! touch /x && test -d /etc", Vec::new(), own))];
    let outcome = build(&f, ops);
    assert!(f.rootfs(outcome.ok()).lstat("x").is_err());
}

#[test]
fn stacks_are_put_together_and_compared() {
    let f = Fixture::new();
    let same = file("/same", b"s");
    let ops = vec![
        op(Fs::Scratch, OpKind::Change(vec![file("/one", b"1"), same.clone()])),
        op(Fs::Scratch, OpKind::Change(vec![file("/two", b"2"), same])),
        op(Fs::Op(0), OpKind::Change(vec![file("/three", b"3")])),
        // What one has over the one that it was made of, and over one that it was not.
        op(Fs::Op(2), OpKind::Stack(Stack::Diff(Fs::Op(0)))),
        op(Fs::Op(1), OpKind::Stack(Stack::Diff(Fs::Op(0)))),
        op(Fs::Op(0), OpKind::Stack(Stack::Merge(vec![Fs::Op(3), Fs::Op(4), Fs::Scratch]))),
    ];
    let root = f.rootfs(build(&f, ops.clone()).ok());
    let names = |root: &sys::root::Root| {
        let mut names: Vec<_> = root.read_dir("").unwrap().into_iter().map(|e| e.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&root), ["same", "three", "two"]);
    assert_eq!(names(&f.rootfs(build(&f, ops[..4].to_vec()).ok())), ["three"]);
    let equal = vec![op(Fs::Image(0), OpKind::Stack(Stack::Diff(Fs::Image(0))))];
    assert!(f.config(build(&f, equal).ok()).rootfs.diff_ids.is_empty());
}

#[test]
fn what_was_put_together_once_is_known() {
    let f = Fixture::new();
    let ops = || {
        vec![
            op(Fs::Scratch, OpKind::Change(vec![file("/one", b"1")])),
            op(Fs::Scratch, OpKind::Change(vec![file("/two", b"2")])),
            op(Fs::Op(0), OpKind::Stack(Stack::Merge(vec![Fs::Op(1)]))),
        ]
    };
    let root = f.rootfs(build(&f, ops()).ok());
    assert!(root.lstat("one").is_ok() && root.lstat("two").is_ok());
    // Whatever the record says that nobody else has is what comes of it.
    let db = f.env().db;
    let known = db.read(|tx| cache::recent_below(tx, "", 100)).unwrap();
    let of_merge = known.iter().find(|entry| entry.record.is_empty()).unwrap();
    let other = known.iter().find(|entry| entry.record.contains("/one")).unwrap();
    let forged = cache::Entry { chain: other.chain.clone(), ..of_merge.clone() };
    db.write_fleeting(|tx| cache::put(tx, &forged)).unwrap();
    let root = f.rootfs(build(&f, ops()).ok());
    assert!(root.lstat("one").is_ok() && root.lstat("two").is_err());
}

/// Elsewhere a directory that was made anew hides only what its maker took away.
#[test]
fn what_was_taken_away_is_all_that_is_missing_on_another_base() {
    let f = Fixture::new();
    let directories = |paths: &[&str]| {
        let made = |path: &&str| change(path, ChangeKind::Directory { mode: 0o755, parents: false });
        paths.iter().map(made).collect::<Vec<_>>()
    };
    let with = |files: &[&str]| {
        let files = files.iter().map(|path| file(path, b"x"));
        OpKind::Change(directories(&["/d", "/d/sub", "/d/was"]).into_iter().chain(files).collect())
    };
    let anew = run("rm -rf /d; mkdir -p /d/sub /d/was; echo new > /d/new", Vec::new(), Own::default());
    let ops = [
        op(Fs::Image(0), with(&["/d/old", "/d/sub/deep", "/d/was/here"])),
        op(Fs::Op(0), anew),
        op(Fs::Scratch, with(&["/d/old", "/d/other", "/d/sub/deep", "/d/sub/kept", "/d/was/here"])),
        op(Fs::Op(1), OpKind::Stack(Stack::Diff(Fs::Op(0)))),
        op(Fs::Op(2), OpKind::Stack(Stack::Merge(vec![Fs::Op(3)]))),
        op(Fs::Op(2), OpKind::Stack(Stack::Merge(vec![Fs::Op(1)]))),
    ];
    for last in [4, 5] {
        let root = f.rootfs(build(&f, ops[..=last].to_vec()).ok());
        for path in ["d/new", "d/other", "d/sub/kept", "d/was"] {
            assert!(root.lstat(path).is_ok(), "{path} of {last}");
        }
        for path in ["d/old", "d/sub/deep", "d/was/here"] {
            assert!(root.lstat(path).is_err(), "{path} of {last}");
        }
    }
    // Marks of what is gone are no files that could be copied.
    let copied = op(Fs::Scratch, copy(Fs::Op(3), "/", false));
    let root = f.rootfs(build(&f, ops[..4].iter().cloned().chain([copied]).collect()).ok());
    assert!(root.lstat("d/new").is_ok() && root.lstat("d/old").is_err());
}

#[test]
fn what_was_touched_and_is_as_it_was_is_no_difference() {
    let f = Fixture::new();
    let script = "mv /a /t && mv /t /a && chown 7:8 /b && chmod 600 /c && echo new > /new";
    let ops = vec![
        op(Fs::Image(0), OpKind::Change(vec![file("/a", b"a"), file("/b", b"b"), file("/c", b"c")])),
        op(Fs::Op(0), run(script, Vec::new(), Own::default())),
        op(Fs::Op(1), OpKind::Stack(Stack::Diff(Fs::Op(0)))),
    ];
    let root = f.rootfs(build(&f, ops).ok());
    assert_eq!(text(&root, "/new"), "new\n");
    assert_eq!(root.lstat("/c").unwrap().st_mode & 0o777, 0o600);
    let there: Vec<_> = ["/a", "/b", "/c"].into_iter().filter(|path| root.lstat(path).is_ok()).collect();
    assert_eq!(there, ["/c"]);
}

#[test]
fn what_differs_keeps_the_directories_that_it_lies_in() {
    let f = Fixture::new();
    let tmp = change("/tmp", ChangeKind::Directory { mode: 0o1777, parents: true });
    let ops = vec![
        op(Fs::Image(0), OpKind::Change(vec![file("/tmp/x", b"x")])),
        op(Fs::Scratch, OpKind::Change(vec![tmp])),
        // The directory itself is the same in both, and they have no layer in common.
        op(Fs::Op(0), OpKind::Stack(Stack::Diff(Fs::Op(1)))),
        op(Fs::Op(1), OpKind::Stack(Stack::Merge(vec![Fs::Op(2)]))),
    ];
    let root = f.rootfs(build(&f, ops).ok());
    assert_eq!(text(&root, "/tmp/x"), "x");
    assert_eq!(root.lstat("/tmp").unwrap().st_mode & 0o7777, 0o1777);
}

#[test]
fn a_directory_is_not_made_of_a_file() {
    let f = Fixture::new();
    let directory = ChangeKind::Directory { mode: 0o755, parents: true };
    let ops = vec![op(Fs::Scratch, OpKind::Change(vec![file("/f", b"f"), change("/f", directory)]))];
    let error = build(&f, ops).err().chain();
    assert!(error.contains("make directory f: File exists"), "{error}");
}

fn copy(from: Fs, source: &str, replaces: bool) -> OpKind {
    let source = CopySource::Path(source.into());
    OpKind::Copy(Box::new(Copy { replaces, ..Copy::plain(Origin::Fs(from), source, "/") }))
}

#[test]
fn a_directory_that_is_copied_itself_stays_as_it_is() {
    let f = Fixture::new();
    let tree = |mode| {
        let kind = ChangeKind::Directory { mode, parents: false };
        let top = Change { path: "/d".into(), kind, owner: Some("7:8".into()), time: None };
        let below = change("/d/sub", ChangeKind::Directory { mode: 0o755, parents: false });
        OpKind::Change(vec![top, file("/d/f", b"f"), below])
    };
    let copied = |mode, chmod: Option<&str>, time| {
        let source = CopySource::Path("/d".into());
        let plain = Copy::plain(Origin::Fs(Fs::Op(0)), source, "/new");
        let copy = Copy { whole: true, chmod: chmod.map(str::to_owned), time, ..plain };
        let ops = vec![op(Fs::Scratch, tree(mode)), op(Fs::Scratch, OpKind::Copy(Box::new(copy)))];
        f.rootfs(build(&f, ops).ok())
    };
    let stat = |root: &sys::root::Root, path: &str| {
        let stat = root.lstat(path).unwrap();
        (stat.st_mode & 0o7777, stat.st_uid, stat.st_mtime)
    };
    let root = copied(0o500, None, None);
    assert_eq!((stat(&root, "/new").0, stat(&root, "/new").1), (0o500, 7));
    assert_eq!(stat(&root, "/new/f").2, 1_500_000_000);
    // It is another one with another mode, and symbolic modes are of its own.
    assert_eq!(stat(&copied(0o510, None, None), "/new").0, 0o510);
    assert_eq!(stat(&copied(0o500, Some("a+X"), None), "/new").0, 0o511);
    let root = copied(0o500, None, Some(1_234_000_000_000));
    assert_eq!(["/new", "/new/f", "/new/sub"].map(|path| stat(&root, path).2), [1_234; 3]);
}

#[test]
fn what_is_in_the_way_of_a_copy_goes_if_that_is_wanted() {
    let f = Fixture::new();
    let directory = |path: &str| change(path, ChangeKind::Directory { mode: 0o755, parents: true });
    let link = |path: &str| change(path, ChangeKind::Link { target: "kept".into() });
    let old = vec![
        file("/kept/x", b"x"),
        file("/file-here/below", b""),
        file("/dir-here", b""),
        link("/link-here"),
    ];
    let old = old.into_iter().flat_map(|c| match &c.path[..] {
        "/kept/x" => vec![directory("/kept"), c],
        "/file-here/below" => vec![directory("/file-here"), c],
        _ => vec![c],
    });
    let new = vec![
        file("/file-here", b"new"),
        directory("/dir-here"),
        file("/dir-here/y", b"y"),
        directory("/link-here"),
        directory("/kept"),
        file("/kept/z", b"z"),
    ];
    let ops = |replaces| {
        let old = op(Fs::Scratch, OpKind::Change(old.clone().collect()));
        let new = op(Fs::Scratch, OpKind::Change(new.clone()));
        vec![old, new, op(Fs::Op(0), copy(Fs::Op(1), "/", replaces))]
    };
    let refused = build(&f, ops(false));
    assert!(refused.err().chain().contains("cannot"), "{}", refused.err().chain());
    let outcome = build(&f, ops(true));
    let root = f.rootfs(outcome.ok());
    for (path, content) in [("file-here", "new"), ("dir-here/y", "y"), ("kept/x", "x"), ("kept/z", "z")] {
        assert_eq!(text(&root, path), content, "{path}");
    }
    assert!(root.read_dir("link-here").unwrap().is_empty() && root.readlink("link-here").is_err());
}

#[test]
fn nothing_can_be_copied_of_nothing() {
    let f = Fixture::new();
    let outcome = build(&f, vec![op(Fs::Image(0), copy(Fs::Scratch, "/", false))]);
    assert!(f.rootfs(outcome.ok()).lstat("bin").is_ok());
    let outcome = build(&f, vec![op(Fs::Image(0), copy(Fs::Scratch, "/x", false))]);
    assert!(outcome.err().chain().contains("\"/x\": not found"), "{}", outcome.err().chain());
}

#[test]
fn of_a_tree_what_patterns_fit_is_copied_with_the_way_to_it() {
    let f = Fixture::new();
    let directory = |path: &str, mode| change(path, ChangeKind::Directory { mode, parents: false });
    let tree = vec![
        directory("/a", 0o710),
        directory("/a/b", 0o701),
        directory("/a/c", 0o755),
        file("/a/b/x.txt", b"x"),
        file("/a/b/y.log", b"y"),
        file("/a/c/z.txt", b"z"),
    ];
    let there = vec![directory("/out", 0o755), directory("/out/a", 0o777)];
    let built = |include: &str, exclude: &[&str], required: &str| {
        let OpKind::Copy(copy) = copy(Fs::Op(0), "/", false) else { panic!("no copy") };
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let copy = Copy {
            dest: "/out".into(),
            include: list(&[include]),
            exclude: list(exclude),
            required: list(&[required]),
            ..*copy
        };
        let ops = [OpKind::Change(tree.clone()), OpKind::Change(there.clone()), OpKind::Copy(Box::new(copy))];
        let [tree, there, copy] = ops;
        build(&f, vec![op(Fs::Scratch, tree), op(Fs::Scratch, there), op(Fs::Op(1), copy)])
    };
    let outcome = built("a/*", &["**/*.log", "a/c"], "/a/b");
    let root = f.rootfs(outcome.ok());
    assert_eq!(text(&root, "out/a/b/x.txt"), "x");
    let names = |path: &str| root.read_dir(path).unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>();
    assert_eq!((names("out/a"), names("out/a/b")), (vec!["b".into()], vec!["x.txt".into()]));
    let mode = |path: &str| root.lstat(path).unwrap().st_mode & 0o7777;
    assert_eq!(
        (mode("out/a"), mode("out/a/b")),
        (0o777, 0o701),
        "what is there stays, what is new is as it was"
    );
    for (include, required) in [("a/nope", "/a/nope"), ("a/b", "/a/b/x"), ("a/b/x.txt", "/a/b/y.log")] {
        let outcome = built(include, &[], required);
        let error = outcome.err().chain();
        assert!(error.contains(&format!("\"{required}\": not found")), "{error}");
    }
}
