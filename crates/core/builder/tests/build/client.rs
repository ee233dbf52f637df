//! Contexts that the client sends: it is asked for what a build reads, and for nothing that it does not read.

use crate::fixture::{Fixture, text};
use builder::{Bring, Context, DockerfileSource, Env, NamedContext, NetMode, Reads, Request, Sent};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Asked = Arc<Mutex<Vec<String>>>;

/// Directories of a client: what is asked of them is noted, and all is there.
fn client(f: &Fixture, names: &[Option<&str>]) -> (Env, Asked) {
    let asked = Asked::default();
    let bring = |name: &Option<&str>| {
        let (asked, path, called) = (asked.clone(), f.context(), name.unwrap_or("main").to_owned());
        let bring: Bring = Arc::new(move |reads| {
            let what = match reads {
                Reads::All => "everything".to_owned(),
                Reads::Paths(paths) => paths.iter().cloned().collect::<Vec<_>>().join(" "),
            };
            asked.lock().unwrap().push(format!("{called}: {what}"));
            Ok(Sent { path: path.clone(), ignore: None })
        });
        (name.map(str::to_owned), bring)
    };
    let client: BTreeMap<_, _> = names.iter().map(bring).collect();
    (Env { client, ..f.env() }, asked)
}

fn build(f: &Fixture, dockerfile: &str, change: impl FnOnce(&mut Request)) -> (builder::Built, Vec<String>) {
    let (env, asked) = client(f, &[None, Some("other"), Some("unused")]);
    let bytes = dockerfile.into();
    let mut request = Request {
        network: NetMode::None,
        dockerfile: DockerfileSource::Text { name: "Dockerfile".into(), bytes, ignore: Some(String::new()) },
        ..Request::default()
    };
    for name in ["other", "unused"] {
        request.named_contexts.insert(name.into(), NamedContext::Client);
    }
    change(&mut request);
    let built = builder::build(&env, Context::Client, &request, &mut |_| {}).map_err(|e| e.chain()).unwrap();
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    (built, asked)
}

#[test]
fn a_client_is_asked_for_what_is_read() {
    let f = Fixture::new();
    f.file("src/a", "1").file("src/b", "2").file("lib/x.c", "3").file("# note", "4").file("top", "5");
    let cases: &[(&str, &[&str])] = &[
        ("FROM base\nRUN true\n", &[]),
        ("FROM base\nCOPY src ./src/../top /s/\nADD lib/*.c /l/\n", &["main: lib/*.c src top"]),
        ("FROM base\nARG D=src\nWORKDIR /w\nCOPY ${D}/a .\n", &["main: src/a"]),
        ("FROM base\nCOPY --parents ./src/./a lib/**/x.c /p/\n", &["main: lib/**/x.c src/a"]),
        ("FROM base\nRUN --mount=type=bind,source=src,target=/m test -f /m/a\n", &["main: src"]),
        ("FROM base\nRUN --mount=type=bind,target=/m test -f /m/top\n", &["main: everything"]),
        ("FROM base\nRUN --mount=type=tmpfs,target=/m --mount=type=cache,target=/c true\n", &[]),
        ("FROM base AS unneeded\nCOPY . /\nFROM base\nCOPY src/a /\n", &["main: src/a"]),
        (
            "FROM base AS one\nCOPY src/b /\nFROM base\nCOPY src/a /\nCOPY --from=one /b /\n",
            &["main: src/a src/b"],
        ),
        ("FROM base\nCOPY . /all\nCOPY src /\n", &["main: everything"]),
        ("FROM base\nCOPY --from=other src/a /\n", &["other: src/a"]),
        ("FROM base\nCOPY --from=other src/a /\nCOPY lib /\n", &["main: lib", "other: src/a"]),
        ("FROM other\n", &["other: everything"]),
        ("FROM base\nCOPY <<x /y\nz\nx\n", &[]),
        ("FROM base\nCOPY top /t # the top\n", &["main: everything"]),
    ];
    for (dockerfile, expected) in cases {
        let (_, asked) = build(&f, dockerfile, |_| {});
        // With a trailing comment any word of it may be a file.
        match dockerfile.contains('#') {
            true => assert!(asked.len() == 1 && asked[0].contains("top"), "{dockerfile}: {asked:?}"),
            false => assert_eq!(asked, *expected, "{dockerfile}"),
        }
    }
}

#[test]
fn a_target_alone_counts_and_the_result_is_that_of_the_directory() {
    let f = Fixture::new();
    f.file("src/a", "1").file("src/b", "2");
    let dockerfile = "FROM base AS one\nCOPY src/a /\nFROM base AS two\nCOPY src/b /\nFROM base\nCOPY . /\n";
    let (built, asked) = build(&f, dockerfile, |request| request.target = Some("two".into()));
    assert_eq!(asked, ["main: src/b"]);
    assert_eq!(text(&f.rootfs(&built), "/b"), "2");
    let again = f.build_with(dockerfile, |request| request.target = Some("two".into()));
    assert_eq!(
        (again.ok().ran, again.ok().cached, &again.result().image_id),
        (0, 1, &crate::fixture::image(&built).image_id)
    );
}
