//! What is taken from the cache, and what is not.

use crate::fixture::{Fixture, Outcome};
use builder::{Context, DockerfileSource, Event, NamedContext, NetMode, Request, Stream};
use std::os::unix::fs::{PermissionsExt, symlink};

const FILE: &str =
    "FROM base\nWORKDIR /app\nCOPY package.json .\nRUN echo install\nCOPY . .\nRUN echo build\n";

#[test]
fn an_unchanged_tree_runs_nothing() {
    let f = Fixture::new();
    f.file("package.json", "{}").file("src/main.js", "1");
    let first = f.build(FILE);
    assert_eq!((first.ok().ran, first.ok().cached), (5, 0));
    // Another engine, another process: only the disk is the same.
    let second = f.build(FILE);
    assert_eq!((second.ok().ran, second.ok().cached), (0, 5));
    assert_eq!(first.result().image_id, second.result().image_id);
    assert!(!second.log().contains("install"));
}

#[test]
fn layers_before_the_change_stay() {
    let f = Fixture::new();
    f.file("package.json", "{}").file("src/main.js", "1");
    f.build(FILE).ok();
    f.file("src/main.js", "2");
    let outcome = f.build(FILE);
    assert_eq!((outcome.ok().ran, outcome.ok().cached), (2, 3));
    assert_eq!(outcome.reasons(), ["file /src/main.js changed", "the step before changed: COPY . ."]);
}

#[test]
fn times_do_not_count_but_modes_do() {
    let f = Fixture::new();
    f.file("a", "1");
    let file = "FROM base\nCOPY a /\n";
    f.build(file).ok();
    let now = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
    std::fs::File::options().write(true).open(f.context().join("a")).unwrap().set_modified(now).unwrap();
    assert_eq!(f.build(file).ok().ran, 0);
    std::fs::set_permissions(f.context().join("a"), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(f.build(file).ok().ran, 1);
}

#[test]
fn attributes_names_of_links_and_directories_around_count() {
    let f = Fixture::new();
    f.file("a", "1").file("p/q/x", "x");
    let context = f.context();
    symlink("a", context.join("link-one")).unwrap();
    let file = "FROM base\nCOPY a /\nCOPY link-* /links/\nCOPY --parents p/q/x /parents/\n";
    f.build(file).ok();
    std::fs::rename(context.join("link-one"), context.join("link-two")).unwrap();
    let renamed = f.build(file);
    assert!(f.rootfs(renamed.ok()).lstat("/links/link-two").is_ok());
    std::fs::set_permissions(context.join("p"), PermissionsExt::from_mode(0o711)).unwrap();
    assert_eq!(f.build(file).ok().ran, 1);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(context.join("a"), "user.note", b"n", flags).unwrap();
    assert_eq!(f.build(file).ok().ran, 3);
    assert_eq!(f.build(file).ok().ran, 0);
}

#[test]
fn ignored_files_do_not_count() {
    let f = Fixture::new();
    f.file("a", "1").file("node_modules/x", "1").file(".dockerignore", "node_modules\nDockerfile\n*.log\n");
    let file = "FROM base\nCOPY . /app\n";
    f.build(file).ok();
    f.file("node_modules/x", "2").file("x.log", "new");
    assert_eq!(f.build(file).ok().ran, 0);
}

#[test]
fn arguments_count_where_they_are_declared() {
    let f = Fixture::new();
    let file = "FROM base\nRUN echo one\nARG V\nRUN echo two\n";
    let build = |v: &str| {
        f.build_with(file, |r| {
            r.build_args.insert("V".into(), v.into());
        })
    };
    build("1").ok();
    let changed = build("2");
    assert_eq!((changed.ok().ran, changed.ok().cached), (1, 1));
    assert_eq!(changed.reasons(), ["variable V changed"]);
}

#[test]
fn no_cache_runs_everything() {
    let f = Fixture::new();
    let file = "FROM base AS a\nRUN echo a\nFROM a AS b\nRUN echo b\n";
    f.build(file).ok();
    assert_eq!(f.build_with(file, |r| r.no_cache = true).ok().ran, 2);
    assert_eq!(f.build_with(file, |r| r.no_cache_filter = vec!["b".into()]).ok().ran, 1);
}

#[test]
fn failures_are_not_remembered() {
    let f = Fixture::new();
    let file = "FROM base\nRUN --mount=type=cache,target=/c if test -e /c/x; then true; else touch /c/x; exit 1; fi\n";
    assert!(f.build(file).built.is_err());
    assert_eq!(f.build(file).ok().ran, 1);
}

#[test]
fn files_of_a_stage_count_and_not_how_they_were_made() {
    let f = Fixture::new();
    let file = |n: u32| {
        format!(
            "FROM base AS build\nRUN echo {n} > /noise && echo same > /out\nFROM base\nCOPY --from=build /out /\nRUN echo after\n"
        )
    };
    f.build(&file(1)).ok();
    let outcome = f.build(&file(2));
    assert_eq!((outcome.ok().ran, outcome.ok().cached), (1, 2), "{:?}", outcome.reasons());
}

#[test]
fn what_is_mounted_of_a_stage_counts_and_nothing_else_of_it() {
    let f = Fixture::new();
    let file = |n: u32, out: &str| {
        format!(
            "FROM base AS build\nRUN echo {n} > /noise && mkdir /out && echo {out} > /out/foo && ln -s /out/foo /link\n\
             FROM base\nRUN --mount=from=build,src=out,target=/o cat /o/foo\n\
             RUN --mount=from=build,src=/out/foo,target=/foo cat /foo\n\
             RUN --mount=from=build,src=link,target=/foo,rw cat /foo && touch /foo\n\
             RUN --mount=from=build,src=out,target=/o --mount=src=own,target=/own cat /o/foo /own\n"
        )
    };
    f.file("own", "1");
    assert_eq!(f.build(&file(1, "same")).ok().ran, 5);
    // Other layers, other times, the same files where they are mounted.
    let again = f.build(&file(2, "same"));
    assert_eq!((again.ok().ran, again.ok().cached), (1, 4), "{:?}", again.reasons());
    // Then the layers say it, too.
    assert_eq!(f.build(&file(2, "same")).ok().ran, 0);
    let changed = f.build(&file(2, "other"));
    assert_eq!(changed.ok().ran, 5);
    let reasons = changed.reasons();
    assert!(reasons.contains(&"file /out/foo (mounted at /o) changed"), "{reasons:?}");
    assert!(reasons.contains(&"file /out/foo (mounted at /foo) changed"), "{reasons:?}");
    f.file("own", "2");
    let own = f.build(&file(2, "other"));
    assert_eq!((own.ok().ran, own.reasons()), (1, vec!["file /own changed"]));
    // The whole stage is mounted here.
    let whole = |n: u32| {
        format!(
            "FROM base AS build\nRUN echo {n} > /noise\nFROM base\nRUN --mount=from=build,target=/o cat /o/noise\n"
        )
    };
    f.build(&whole(1)).ok();
    let outcome = f.build(&whole(2));
    assert_eq!(outcome.ok().ran, 2);
    assert!(outcome.reasons().contains(&"file /noise (mounted at /o) changed"), "{:?}", outcome.reasons());
}

#[test]
fn a_name_that_looks_like_a_pattern_is_a_name() {
    let f = Fixture::new();
    let file = |n: u32| {
        format!(
            "FROM base AS build\nRUN mkdir '/a[1]' /a1 && echo {n} > '/a[1]/f'\n\
             FROM base\nRUN --mount=from=build,src=/a[1],target=/o cat /o/f\n"
        )
    };
    f.build(&file(1)).ok();
    assert_eq!(f.build(&file(2)).ok().ran, 2);
}

#[test]
fn mounts_of_several_contexts_count_each() {
    let f = Fixture::new();
    let file = "FROM base\nRUN --mount=from=one,target=/1 --mount=from=two,target=/2 cat /1/f /2/f\n";
    let build = |one: &str, two: &str| {
        for (name, content) in [("one", one), ("two", two)] {
            std::fs::create_dir_all(f.dir.path().join(name)).unwrap();
            std::fs::write(f.dir.path().join(name).join("f"), content).unwrap();
        }
        f.build_with(file, |request| {
            for name in ["one", "two"] {
                let context = NamedContext::Dir(f.dir.path().join(name));
                request.named_contexts.insert(name.into(), context);
            }
        })
    };
    build("1", "2").ok();
    assert_eq!(build("1", "2").ok().ran, 0);
    let outcome = build("x", "2");
    assert_eq!((outcome.ok().ran, outcome.reasons()), (1, vec!["file /f (mounted at /1) changed"]));
}

/// What the processes wrote.
fn said(outcome: &Outcome) -> String {
    let text = |event: &Event| match event {
        Event::StepLog { text, stream: Stream::Stdout, .. } => Some(text.clone()),
        _ => None,
    };
    outcome.events.iter().filter_map(text).collect()
}

#[test]
fn without_the_cache_its_mounts_begin_anew() {
    let f = Fixture::new();
    const FILE: &str = "FROM base AS a\nARG N\nRUN --mount=type=cache,target=/c ls /c; touch /c/$N\n\
                        FROM a AS b\nARG N\nRUN --mount=type=cache,target=/c ls /c; touch /c/$N-b\n";
    let build = |n: &str, change: &dyn Fn(&mut Request)| {
        let outcome = f.build_with(FILE, |request| {
            request.build_args.insert("N".into(), n.into());
            change(request);
        });
        outcome.ok();
        said(&outcome).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(build("f1", &|_| {}), ["f1"]);
    assert_eq!(build("f2", &|_| {}), ["f1", "f1-b", "f1", "f1-b", "f2"]);
    assert_eq!(build("f3", &|request| request.no_cache = true), ["f3"], "its own steps share it");
    assert_eq!(build("f4", &|_| {}), ["f3", "f3-b", "f3", "f3-b", "f4"]);
    let only_b = build("f4", &|request| request.no_cache_filter = vec!["b".into()]);
    assert_eq!(only_b, Vec::<String>::new(), "the stage before is taken from the cache");
}

#[test]
fn who_uses_a_cache_mount_keeps_it() {
    let f = Fixture::new();
    let file =
        |n: &str| format!("FROM base\nRUN --mount=type=cache,target=/c,id=x echo {n}; ls /c; touch /c/{n}\n");
    f.build(&file("f1")).ok();
    let base = f.root().join("cache-mounts");
    let mounts = || {
        let all = builder::entries(&f.env()).unwrap().into_iter();
        all.filter(|entry| entry.kind == builder::CacheKind::Mount).collect::<Vec<_>>()
    };
    let name = mounts().remove(0).id;
    let user = std::fs::File::open(base.join(format!("{name}.lock"))).unwrap();
    user.lock_shared().unwrap();
    assert_eq!(said(&f.build_with(&file("f2"), |request| request.no_cache = true)), "f2\n");
    let held = mounts();
    assert_eq!((held.len(), held.iter().filter(|entry| entry.in_use).count()), (2, 2), "{held:?}");
    let aside = held.into_iter().find(|entry| entry.id != name).unwrap().id;
    assert!(base.join(&aside).join("f1").exists() && base.join(&name).join("f2").exists());
    let all = builder::Prune { all: true, ..Default::default() };
    builder::prune(&f.env(), &all).unwrap();
    assert_eq!(mounts().len(), 2, "somebody uses them");
    drop(user);
    // Children of other tests hold the lock as well, between their clone and their program.
    let begun = std::time::Instant::now();
    while !mounts().is_empty() && begun.elapsed().as_secs() < 60 {
        builder::prune(&f.env(), &all).unwrap();
    }
    assert_eq!(mounts(), []);
}

#[test]
fn identical_stages_run_once() {
    let f = Fixture::new();
    let file = "FROM base AS a\nRUN echo same > /x\nFROM base AS b\nRUN echo same > /x\nFROM scratch\nCOPY --from=a /x /a\nCOPY --from=b /x /b\n";
    assert_eq!(f.build(file).ok().ran, 3);
}

#[test]
fn settings_of_the_build_that_count() {
    let f = Fixture::new();
    let file = "FROM base\nRUN echo x > /x\nCOPY Dockerfile /\n";
    f.build(file).ok();
    let hosts = f.build_with(file, |r| r.extra_hosts.push(("db".into(), "192.0.2.7".into())));
    assert_eq!(hosts.reasons()[0], "hosts is new");
    let times = f.build_with(file, |r| {
        r.source_date_epoch = Some(Some(1_000_000_000));
        r.rewrite_timestamp = true;
    });
    assert_eq!(times.ok().ran, 2);
    assert_eq!(f.rootfs(times.ok()).lstat("/x").unwrap().st_mtime, 1_000_000_000);
    assert_eq!(f.build(file).ok().ran, 0);
}

#[test]
fn pruning_lets_layers_go() {
    let f = Fixture::new();
    let file = "FROM base AS build\nRUN --mount=type=cache,target=/c echo x > /x && echo y > /c/y && touch /z\nFROM base\nCOPY --from=build /x /\n";
    f.build(file).ok();
    let env = f.env();
    let all = builder::entries(&env).unwrap();
    let mounts = all.iter().filter(|e| e.kind == builder::CacheKind::Mount).count();
    assert_eq!((all.len(), mounts, all.iter().filter(|e| e.shared).count()), (3, 1, 1), "{all:?}");
    let mut gone = Vec::new();
    let begun = std::time::Instant::now();
    // Children of other tests hold the lock of the mount's directory as well, between their clone and their program.
    while gone.len() < 2 && begun.elapsed().as_secs() < 60 {
        gone.extend(builder::prune(&env, &builder::Prune::default()).unwrap());
    }
    assert_eq!(gone.len(), 2, "{gone:?}");
    env.store.gc().unwrap();
    // The image's own layer is still known, by what it is copied from, but that has to be made again.
    let again = f.build(file);
    assert_eq!((again.ok().ran, again.ok().cached), (1, 1));
    let all = builder::Prune { all: true, ..Default::default() };
    builder::prune(&env, &all).unwrap();
    assert!(builder::entries(&env).unwrap().is_empty());
    assert_eq!(f.build(file).ok().ran, 2);
}

#[test]
fn a_record_without_its_layer_is_a_miss() {
    let f = Fixture::new();
    let file = "FROM base\nRUN echo x > /x\n";
    let built = f.build(file).ok().clone();
    let store = f.store();
    let image = store.resolve(&crate::fixture::image(&built).image_id.to_string(), None).unwrap();
    let layer = f.root().join("layers").join(image.chain().unwrap().0.hex());
    std::fs::remove_dir_all(layer).unwrap();
    let again = f.build(file);
    assert_eq!((again.ok().ran, again.reasons()), (1, vec!["its layers were removed"]));
}

/// Two builds of this Dockerfile, each with an environment of its own, as two processes would have.
fn at_once(f: &Fixture, dockerfile: &str) -> (Outcome, Outcome) {
    let build = || {
        let source =
            DockerfileSource::Text { name: "Dockerfile".into(), bytes: dockerfile.into(), ignore: None };
        let request = Request { dockerfile: source, network: NetMode::None, ..Request::default() };
        let mut events = Vec::new();
        let context = Context::Dir(f.context());
        let built = builder::build(&f.env(), context, &request, &mut |event| events.push(event));
        Outcome { built, events }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(build);
        (build(), other.join().unwrap())
    })
}

#[test]
fn builds_at_once_do_the_same_work_once() {
    let f = Fixture::new();
    f.file("a", "1");
    let file = "FROM base\nCOPY a /\nRUN sleep 1; head -c 16 /dev/urandom > /id\n";
    let (one, two) = at_once(&f, file);
    assert_eq!(one.ok().ran + two.ok().ran, 2, "a copy and a process");
    assert_eq!(one.ok().cached + two.ok().cached, 2);
    assert_eq!(f.config(one.ok()).rootfs, f.config(two.ok()).rootfs);
    let said = format!("{}{}", one.log(), two.log());
    assert!(said.contains("another build is at this step"), "{said}");
    assert_eq!(std::fs::read_dir(f.root().join("steps")).unwrap().count(), 0);
}

#[test]
fn a_build_that_fails_leaves_the_step_to_the_next() {
    let f = Fixture::new();
    let file = "FROM base\nRUN --mount=type=cache,target=/c sleep 1; mkdir /c/once\n";
    let (one, two) = at_once(&f, file);
    // The second finds what the first has made in the cache mount only if it runs; it takes the first one's result.
    assert_eq!(one.ok().ran + two.ok().ran, 1);
    let file = "FROM base\nRUN --mount=type=cache,target=/c sleep 1; mkdir /c/twice || exit 0; exit 1\n";
    let (one, two) = at_once(&f, file);
    assert!(one.built.is_ok() != two.built.is_ok(), "the first one failed, the one that waited ran it anew");
}

#[test]
fn what_a_cache_mount_begins_with_counts() {
    let f = Fixture::new();
    let file = |seed: &str| {
        format!(
            "FROM base AS s\nRUN mkdir /d && echo {seed} > /d/a\nFROM base\n\
             RUN --mount=type=cache,target=/c,from=s,source=/d,id=seeded cat /c/a > /out\n"
        )
    };
    for seed in ["one", "two"] {
        let outcome = f.build(&file(seed));
        assert_eq!(outcome.ok().ran, 2, "{seed}");
        assert_eq!(f.rootfs(outcome.ok()).read_file("/out", 100).unwrap(), format!("{seed}\n").into_bytes());
    }
    assert_eq!(f.build(&file("one")).ok().ran, 0);
    // Files of the context are such a beginning, too.
    let file = "FROM base\nRUN --mount=type=cache,target=/c,from=more,id=seeded cat /c/a > /out\n";
    let more = f.dir.path().join("more");
    std::fs::create_dir(&more).unwrap();
    for seed in ["three", "four"] {
        std::fs::write(more.join("a"), seed).unwrap();
        let outcome = f.build_with(file, |request| {
            request.named_contexts.insert("more".into(), NamedContext::Dir(more.clone()));
        });
        assert_eq!(f.rootfs(outcome.ok()).read_file("/out", 100).unwrap(), seed.as_bytes());
    }
}

#[test]
fn a_cache_mount_is_whose_the_directory_is_that_it_begins_with() {
    let f = Fixture::new();
    let file = |options: &str| {
        format!(
            "FROM base AS s\nRUN mkdir -m 751 /d && busybox chown 7:8 /d\nFROM base\n\
             RUN --mount=type=cache,target=/c,from=s,source=/d{options} stat -c '%a %u %g' /c > /out\n"
        )
    };
    for (options, want) in [(",id=own", "751 7 8\n"), (",id=said,uid=9", "755 9 0\n")] {
        let outcome = f.build(&file(options));
        assert_eq!(f.rootfs(outcome.ok()).read_file("/out", 100).unwrap(), want.as_bytes(), "{options}");
    }
}
