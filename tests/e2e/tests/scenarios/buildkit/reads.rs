//! Which of a client's files come: those that the build reads.

use std::collections::HashMap;
use std::path::Path;

use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use bollard_buildkit_proto::pb::{self, FileAction, FileActionCopy, FileOp, SourceOp, file_action, op};

use super::client::{Client, Holdings};
use super::files::{device, file, folder, link, pipe};
use super::graphs::definition;
use super::with_client;

const CANARY: &str = "c4n4ry-of-a-file-that-nobody-reads";

/// Dockerfiles, and what of the context each reads; `none` is nothing, `all` is everything.
const READS: [(&str, &str, &str); 8] = [
    ("nothing", "FROM busybox\nRUN true\n", "none"),
    ("copy", "FROM busybox\nCOPY src /s\n", "src"),
    ("mount", "FROM busybox\nRUN --mount=type=bind,source=src,target=/m test -f /m/a\n", "src"),
    ("unneeded", "FROM busybox AS no\nCOPY other /\nFROM busybox\nCOPY src/a /\n", "src/a"),
    ("pattern", "FROM busybox\nCOPY src/* lib /p/\nRUN test -f /p/b -a -f /p/c\n", "lib src/*"),
    ("add", "FROM busybox\nADD lib /l\nRUN test -f /l/c\n", "lib"),
    ("named", "FROM busybox\nCOPY --from=extra one /\nRUN test -f /one -a ! -e /two\n", "none"),
    ("all", "FROM busybox\nCOPY . /all\nRUN test -f /all/secret.key -a -L /all/to-src\n", "all"),
];

fn held() -> Holdings {
    let context = vec![
        folder("lib"),
        file("lib/c", "c"),
        folder("other"),
        file("other/big", CANARY),
        file("secret.key", CANARY),
        folder("src"),
        file("src/a", "a"),
        file("src/b", "b"),
        link("to-src", "src"),
    ];
    let dockerfiles = READS.iter().map(|(name, text, _)| file(name, text)).collect();
    let extra = vec![file("one", "1"), file("two", CANARY)];
    let directories = [("context", context), ("dockerfile", dockerfiles), ("extra", extra)];
    let directories = directories.map(|(name, entries)| (name.to_owned(), entries));
    Holdings { directories: HashMap::from(directories), ..Holdings::default() }
}

/// What was asked for of a directory, besides its ignore file.
fn followed(client: &Client, directory: &str) -> Vec<String> {
    let followed = std::mem::take(&mut *client.holdings.followed.lock().unwrap());
    let followed =
        followed.into_iter().filter(|(name, paths)| name == directory && *paths != [".dockerignore"]);
    let text = |paths: Vec<String>| if paths.is_empty() { "all".to_owned() } else { paths.join(" ") };
    followed.map(|(_, paths)| text(paths)).collect()
}

/// Whether what nobody reads lies anywhere below.
fn lies_below(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.map(Result::unwrap).any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => lies_below(&entry.path()),
        kind if kind.is_file() => std::fs::read(entry.path()).unwrap() == CANARY.as_bytes(),
        _ => false,
    })
}

#[test]
fn what_a_build_does_not_read_is_not_sent() {
    with_client(held(), |host, client| {
        host.busybox();
        let root = host.home().join("root");
        let run = async move {
            for round in 0..2 {
                for (number, (name, _, reads)) in READS.iter().enumerate() {
                    let id = format!("build0000000{round}10{number}");
                    let attributes = [("filename", *name), ("context:extra", "local:extra")];
                    let (solved, told) = client.solve(client.order(&id, &attributes, &[])).await;
                    solved.unwrap_or_else(|e| panic!("{name}: {}", e.message()));
                    let asked = std::mem::take(&mut *client.holdings.asked.lock().unwrap());
                    let read = |path: &str| asked.iter().any(|asked| asked == path);
                    // What came for another build that reads the same need not come again.
                    let is_new = round == 0 && !READS[..number].iter().any(|(_, _, other)| other == reads);
                    let has_src = reads.contains("src") || *name == "all";
                    assert_eq!(read("secret.key"), *name == "all" && is_new, "{name}: {asked:?}");
                    assert_eq!(read("src/a"), has_src && is_new, "{name}: {asked:?}");
                    assert_eq!(read("one"), *name == "named" && round == 0, "{name}: {asked:?}");
                    assert!(!read("two"), "{name}: {asked:?}");
                    let followed = followed(&client, "context");
                    let expected: &[&str] = if *reads == "none" { &[] } else { &[reads] };
                    assert_eq!(followed, expected, "{name}");
                    let loads =
                        told.iter().flat_map(|s| &s.vertexes).any(|v| v.name.contains("load build context"));
                    assert_eq!(loads, *reads != "none", "{name}");
                    let is_kept = lies_below(&root.join("contexts"));
                    assert_eq!(is_kept, *name == "all" || round == 1, "{name}");
                }
            }
        };
        (host, run)
    });
}

#[test]
fn a_graph_says_itself_which_files_it_is_about() {
    with_client(held(), |host, client| {
        host.busybox();
        let root = host.home().join("root");
        let run = async move {
            let attrs =
                [("local.followpaths", r#"["src/a","lib"]"#), ("local.excludepatterns", r#"["lib/c"]"#)];
            let attrs = attrs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let local = op::Op::Source(SourceOp { identifier: "local://context".to_owned(), attrs });
            let copy = FileActionCopy {
                src: "/src".to_owned(),
                dest: "/s".to_owned(),
                mode: -1,
                timestamp: -1,
                dir_copy_contents: true,
                ..FileActionCopy::default()
            };
            let action = file_action::Action::Copy(copy);
            let actions = vec![FileAction { input: -1, secondary_input: 0, output: 0, action: Some(action) }];
            let graph: pb::Definition =
                definition(vec![(local, vec![]), (op::Op::File(FileOp { actions }), vec![0])], 0);
            let order = SolveRequest {
                definition: Some(graph),
                frontend: String::new(),
                ..client.order("build000000000200", &[], &[("local", &[])])
            };
            client.solve(order).await.0.unwrap();
            assert_eq!(client.holdings.take_received(), [("s/a".to_owned(), b"a".to_vec())]);
            assert_eq!(followed(&client, "context"), ["src/a lib"]);
            assert!(client.holdings.excluded.lock().unwrap().contains(&"lib/c".to_owned()));
            assert!(!lies_below(&root.join("contexts")));
        };
        (host, run)
    });
}

#[test]
fn named_pipes_and_devices_are_sent_once_and_copied() {
    let mut held = held();
    held.directories.get_mut("context").unwrap().extend([device("z-null"), pipe("z-pipe")]);
    let dockerfile = "FROM busybox\nCOPY z-pipe z-null /\nRUN ls -l /z-pipe | grep -q ^prw-r-----\n\
        RUN ls -l /z-null | grep -q '^crw-r----- .* 1, *3 '\n";
    held.directories.insert("dockerfile".to_owned(), vec![file("Dockerfile", dockerfile)]);
    with_client(held, |host, client| {
        host.busybox();
        let run = async move {
            for id in ["build000000000210", "build000000000211"] {
                client.solve(client.order(id, &[], &[])).await.0.unwrap();
            }
            assert_eq!(*client.holdings.asked.lock().unwrap(), ["Dockerfile", "Dockerfile"]);
        };
        (host, run)
    });
}

#[test]
fn files_that_are_handed_out_have_the_time_that_was_said() {
    with_client(held(), |host, client| {
        host.busybox();
        let run = async move {
            let attributes = [("filename", "copy"), ("build-arg:SOURCE_DATE_EPOCH", "1000000")];
            client.solve(client.order("build000000000220", &attributes, &[("local", &[])])).await.0.unwrap();
            let received = std::mem::take(&mut *client.holdings.received.lock().unwrap());
            assert!(received.iter().any(|(stat, _)| stat.path == b"s/a"));
            for (stat, _) in received {
                assert_eq!(
                    stat.modified,
                    1_000_000_000_000_000,
                    "{:?}",
                    stat.path.escape_ascii().to_string()
                );
            }
        };
        (host, run)
    });
}

/// Each path is a header of a request, and the servers of clients refuse hundreds of them.
#[test]
fn of_many_paths_none_is_told() {
    let names: Vec<String> = (0..450).map(|number| format!("f{number}")).collect();
    let few = names[..300].join(" ");
    let recipes = vec![
        file("few", &format!("FROM scratch\nCOPY {few} /d/\n")),
        file("many", &format!("FROM scratch\nCOPY {} /d/\n", names.join(" "))),
    ];
    let context = names.iter().map(|name| file(name, name)).collect();
    let directories = HashMap::from([("context".to_owned(), context), ("dockerfile".to_owned(), recipes)]);
    with_client(Holdings { directories, ..Holdings::default() }, |host, client| {
        let run = async move {
            for (number, (name, told)) in [("few", 300), ("many", 1)].into_iter().enumerate() {
                let order = client.order(&format!("build00000000008{number}"), &[("filename", name)], &[]);
                client.solve(order).await.0.unwrap();
                let followed = followed(&client, "context").join(" ");
                assert_eq!(followed.split(' ').count(), told, "{name}: {followed}");
            }
        };
        (host, run)
    });
}
