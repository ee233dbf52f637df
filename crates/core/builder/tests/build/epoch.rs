//! `SOURCE_DATE_EPOCH`: who says which time stands for now.

use crate::fixture::{Fixture, Outcome, text};
use builder::{Context, Env, FetchRequest, Fetched, NamedContext, NetMode, Request};
use std::io::Cursor;
use std::sync::Arc;

/// When the archive's newest file is from.
const NEWEST: i64 = 1_400_000_000;
/// What the server says of the archive.
const MODIFIED: i64 = 1_300_000_000;

fn argument(value: &str) -> impl Fn(&mut Request) + use<> {
    let value = value.to_owned();
    move |request| drop(request.build_args.insert("SOURCE_DATE_EPOCH".into(), value.clone()))
}

fn created(f: &Fixture, outcome: &Outcome) -> i64 {
    let created = f.config(outcome.ok()).created.expect("the image says when it was made");
    created.parse::<jiff::Timestamp>().unwrap().as_second()
}

#[test]
fn the_file_may_say_the_time() {
    let f = Fixture::new();
    let file = "ARG SOURCE_DATE_EPOCH=1445412480\nFROM scratch\nCOPY Dockerfile /\n";
    let outcome = f.build_with(file, |request| request.rewrite_timestamp = true);
    assert_eq!(created(&f, &outcome), 1_445_412_480);
    assert_eq!(outcome.ok().source_date_epoch, Some(1_445_412_480));
    assert_eq!(f.rootfs(outcome.ok()).lstat("/Dockerfile").unwrap().st_mtime, 1_445_412_480);
    let image = f.store().resolve(&outcome.result().image_id.to_string(), None).unwrap();
    assert_eq!(image.manifest.layers[0].annotations["buildkit/rewritten-timestamp"], "1445412480");
    assert_eq!(created(&f, &f.build_with(file, argument("1445412481"))), 1_445_412_481);
    // What is written as the exporter says comes before both; nothing is fixed where it says so.
    let exported = f.build_with(file, |request| request.source_date_epoch = Some(Some(77)));
    assert_eq!(created(&f, &exported), 77);
    let reset = |request: &mut Request| {
        (request.source_date_epoch, request.rewrite_timestamp) = (Some(None), true);
    };
    let outcome = f.build_with(file, reset);
    assert_eq!((outcome.ok().source_date_epoch, created(&f, &outcome)), (None, 1_445_412_480));
    let image = f.store().resolve(&outcome.result().image_id.to_string(), None).unwrap();
    assert!(image.manifest.layers[0].annotations.is_empty());
    assert_eq!(f.build_with(file, argument("")).ok().source_date_epoch, None);
    // The argument of a stage is its own.
    let outcome = f.build("FROM base\nARG SOURCE_DATE_EPOCH=5\nRUN echo $SOURCE_DATE_EPOCH > /said\n");
    assert_eq!(outcome.ok().source_date_epoch, None);
    assert_eq!(text(&f.rootfs(outcome.ok()), "/said"), "5\n");
}

#[test]
fn what_is_no_time_is_said() {
    let f = Fixture::new();
    let refused = |file: &str, value: &str| {
        let outcome = f.build_with(file, |request| {
            if !value.is_empty() {
                argument(value)(request);
            }
        });
        (outcome.err().chain(), outcome.err().place().map(|place| place.span.line))
    };
    let plain = "FROM scratch\nCOPY Dockerfile /\n";
    assert_eq!(refused(plain, "soon"), ("invalid SOURCE_DATE_EPOCH: soon".into(), None));
    let file = format!("# a\nARG SOURCE_DATE_EPOCH=not-a-timestamp\n{plain}");
    assert_eq!(refused(&file, ""), ("invalid SOURCE_DATE_EPOCH: not-a-timestamp".into(), Some(2)));
    assert_eq!(refused(&file, "soon"), ("invalid SOURCE_DATE_EPOCH: soon".into(), None));
    for (stage, reason) in [
        (
            "FROM scratch AS src\nCOPY Dockerfile /\n",
            "source-only requirements: unsupported COPY instruction",
        ),
        ("FROM base AS src\nADD http://h/a /\n", "must use FROM scratch"),
        ("FROM scratch AS src\nADD http://h/a /\nADD http://h/b /\n", "must contain exactly one remote ADD"),
        ("FROM scratch AS src\nADD http://h/a http://h/b /\n", "must contain exactly one remote ADD source"),
        ("FROM scratch AS src\nADD Dockerfile /\n", "must be a single HTTP(S) or Git ADD"),
        ("FROM scratch AS src\nARG A=b\n", "must contain exactly one remote ADD"),
    ] {
        let (error, line) = refused(&format!("ARG SOURCE_DATE_EPOCH=SRC\n{stage}{plain}"), "");
        assert!(error.contains(reason) && line.is_some(), "{stage}: {error}");
    }
}

/// An archive of files from different times.
fn tar(dockerfile: &str) -> Vec<u8> {
    let mut packer = archive::Packer::new(Vec::new());
    for (name, content, seconds) in [("Dockerfile", dockerfile, NEWEST - 9), ("a", "x", NEWEST)] {
        let mut entry = archive::Entry::file(name, 0o644, content.len() as u64);
        entry.mtime.seconds = seconds;
        packer.append_bytes(&entry, content.as_bytes()).unwrap();
    }
    let mut directory = archive::Entry::new("d", archive::Kind::Directory, 0o755);
    directory.mtime.seconds = NEWEST + 9;
    packer.append_bytes(&directory, b"").unwrap();
    packer.finish().unwrap()
}

/// A server that has this for every address, and says when it is from for those that end so.
fn serving(f: &Fixture, content: Vec<u8>) -> Env {
    let fetch = move |request: &FetchRequest<'_>| {
        Ok(Fetched {
            unchanged: false,
            body: Box::new(Cursor::new(content.clone())),
            file_name: None,
            modified: request.url.ends_with("dated").then_some(MODIFIED),
            etag: None,
            last_modified: None,
        })
    };
    Env { fetch: Some(Arc::new(fetch)), ..f.env() }
}

#[test]
fn a_context_has_a_time() {
    let f = Fixture::new();
    let file = "FROM base\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /said\n";
    let env = serving(&f, tar(file));
    let of = |url: &str| {
        let mut request = Request { network: NetMode::None, ..Request::default() };
        argument("context")(&mut request);
        let built = builder::build(&env, Context::Remote(url.into()), &request, &mut |_| {}).unwrap();
        (built.source_date_epoch, text(&f.rootfs(&built), "/said"))
    };
    assert_eq!(of("http://h/dated"), (Some(MODIFIED), format!("{MODIFIED}\n")));
    assert_eq!(of("http://h/x.tar"), (Some(NEWEST), format!("{NEWEST}\n")));
    // Files of whoever builds have none.
    let local = f.build_with(file, argument("context"));
    assert_eq!(local.ok().source_date_epoch, None);
    assert_eq!(text(&f.rootfs(local.ok()), "/said"), "\n");
}

#[test]
fn a_name_may_say_the_time() {
    let f = Fixture::new();
    let env = serving(&f, tar(""));
    let plain = "FROM scratch\nCOPY Dockerfile /\n";
    let named = format!("ARG SOURCE_DATE_EPOCH=mysource\n{plain}");
    for (url, seconds) in [("http://h/dated", MODIFIED), ("http://h/x", NEWEST)] {
        let outcome = f.build_in(&env, &named, |request| {
            request.named_contexts.insert("mysource".into(), NamedContext::Remote(url.into()));
        });
        assert_eq!(created(&f, &outcome), seconds);
        let stage = format!(
            "ARG SOURCE_DATE_EPOCH=mysource\nARG HOST=h\nFROM scratch AS MySource\nARG URL=${{HOST}}/{}\nADD http://$URL /\n{plain}",
            url.rsplit('/').next().unwrap()
        );
        assert_eq!(created(&f, &f.build_in(&env, &stage, |_| {})), seconds);
        assert_eq!(created(&f, &f.build_in(&env, &stage, argument("4"))), 4);
    }
}

#[test]
fn directories_of_workdir_have_the_time() {
    let file = "FROM base\nWORKDIR /home/new/deep\nWORKDIR /other\n";
    let (first, second) = (Fixture::new(), Fixture::new());
    let layers = |f: &Fixture| {
        let outcome = f.build_with(file, argument("1600000000"));
        let root = f.rootfs(outcome.ok());
        for path in ["/home/new", "/home/new/deep", "/other"] {
            assert_eq!(root.lstat(path).unwrap().st_mtime, 1_600_000_000, "{path}");
        }
        f.config(outcome.ok()).rootfs.diff_ids[1..].to_vec()
    };
    // The base's own directory, which the first layer holds too, has another time on each machine.
    let before = |f: &Fixture| f.rootfs(f.build("FROM base\n").ok()).lstat("/home").unwrap().st_mtime;
    let (one, other) = (layers(&first), layers(&second));
    assert_eq!(one[1], other[1]);
    assert_eq!(one[0] == other[0], before(&first) == before(&second));
}
