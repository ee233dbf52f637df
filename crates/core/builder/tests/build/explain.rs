//! Why a step ran: sequences of builds, each with the reasons that it has to give.

use crate::fixture::Fixture;
use builder::{Context, DockerfileSource, Event, NetMode, Request};
use oci::Reference;
use oci::image::ImageConfig;

/// One build: the Dockerfile, changes of files before it, and the reasons of all misses in their order.
struct Turn {
    file: &'static str,
    files: &'static [(&'static str, &'static str)],
    args: &'static [(&'static str, &'static str)],
    target: &'static str,
    no_cache: bool,
    reasons: &'static [&'static str],
}

const TURN: Turn = Turn { file: "", files: &[], args: &[], target: "", no_cache: false, reasons: &[] };

fn play(name: &str, turns: &[Turn]) {
    let f = Fixture::new();
    f.file(".dockerignore", "Dockerfile\n.dockerignore\n");
    for (number, turn) in turns.iter().enumerate() {
        for (path, content) in turn.files {
            match *content {
                "-" => std::fs::remove_file(f.context().join(path)).unwrap(),
                content => drop(f.file(path, content)),
            }
        }
        let outcome = f.build_with(turn.file, |r| {
            let args = turn.args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            r.build_args.extend(args);
            r.target = Some(turn.target.to_owned()).filter(|target| !target.is_empty());
            r.no_cache = turn.no_cache;
        });
        outcome.ok();
        let mut reasons = outcome.reasons();
        reasons.sort_unstable();
        let mut wanted = turn.reasons.to_vec();
        wanted.sort_unstable();
        assert_eq!(reasons, wanted, "{name}: build {number}");
    }
}

const COPY: &str = "FROM base\nCOPY . /app\nRUN echo build\n";

#[test]
fn files() {
    const AFTER: &str = "the step before changed: COPY . /app";
    play(
        "changed, reverted, cached between",
        &[
            Turn { file: COPY, files: &[("a", "1"), ("b", "1")], ..TURN },
            Turn { file: COPY, ..TURN },
            Turn { file: COPY, files: &[("a", "2")], reasons: &["file /a changed", AFTER], ..TURN },
            Turn { file: COPY, files: &[("a", "1")], ..TURN },
            Turn { file: COPY, ..TURN },
            Turn { file: COPY, files: &[("b", "2")], reasons: &["file /b changed", AFTER], ..TURN },
            Turn { file: COPY, files: &[("c", "1")], reasons: &["file /c is new", AFTER], ..TURN },
            Turn {
                file: COPY,
                files: &[("c", "-"), ("b", "3")],
                reasons: &["file /b changed", AFTER],
                ..TURN
            },
        ],
    );
}

#[test]
fn files_of_stages() {
    let file = "FROM base AS one\nCOPY a b /\nFROM base\nCOPY --from=one /a /b /\nRUN echo after\n";
    const AFTER: &str = "the step before changed: COPY --from=one /a /b /";
    let again = [
        Turn { file, files: &[("a", "1"), ("b", "1")], ..TURN },
        Turn { file, ..TURN },
        Turn { file, ..TURN },
        Turn { file, files: &[("a", "2")], reasons: &["file /a changed", "file /a changed", AFTER], ..TURN },
        Turn { file, ..TURN },
        Turn { file, files: &[("b", "2")], reasons: &["file /b changed", "file /b changed", AFTER], ..TURN },
        Turn { file, files: &[("b", "1")], ..TURN },
        Turn { file, files: &[("a", "3")], reasons: &["file /a changed", "file /a changed", AFTER], ..TURN },
    ];
    play("a copy from a stage is known by its layers too", &again);
    let mount = "FROM base AS one\nCOPY a /\nFROM base\nRUN --mount=type=bind,from=one,target=/m cat /m/a\n";
    play(
        "a mount of a stage",
        &[
            Turn { file: mount, files: &[("a", "1")], ..TURN },
            Turn { file: mount, ..TURN },
            Turn {
                file: mount,
                files: &[("a", "2")],
                reasons: &["file /a changed", "file /a (mounted at /m) changed"],
                ..TURN
            },
        ],
    );
}

#[test]
fn arguments() {
    let file = "FROM base\nARG V\nARG W=1\nCOPY a /\nRUN echo $V\n";
    let v = |value| match value {
        1 => &[("V", "1")][..],
        2 => &[("V", "2")],
        _ => &[("V", "3")],
    };
    play(
        "two arguments in turn",
        &[
            Turn { file, files: &[("a", "1")], args: v(1), ..TURN },
            Turn { file, args: v(2), reasons: &["variable V changed"], ..TURN },
            Turn { file, args: v(1), ..TURN },
            Turn { file, args: v(2), ..TURN },
            Turn {
                file,
                args: v(1),
                files: &[("a", "2")],
                reasons: &["file /a changed", "the step before changed: COPY a /"],
                ..TURN
            },
            Turn { file, args: v(2), reasons: &["variable V changed"], ..TURN },
            Turn { file, args: v(3), reasons: &["variable V changed"], ..TURN },
            Turn { file, args: v(3), ..TURN },
            Turn { file, args: &[("V", "3"), ("W", "2")], reasons: &["variable W changed"], ..TURN },
        ],
    );
    let one = "FROM base\nENV B=1\nRUN echo x\n";
    let two = "FROM base\nENV A=0 B=1\nRUN echo x\n";
    play(
        "one more variable before",
        &[
            Turn { file: one, ..TURN },
            Turn { file: two, reasons: &["variable A is new"], ..TURN },
            Turn { file: one, ..TURN },
        ],
    );
}

#[test]
fn instructions() {
    let one = "FROM base\nRUN echo one > /n\nRUN echo last\n";
    let two = "FROM base\nRUN echo two > /n\nRUN echo last\n";
    let more = "FROM base\nRUN echo zero > /n\nRUN echo one > /n\nRUN echo last\n";
    let flag = "FROM base\nRUN --network=none echo four > /n\nRUN echo last\n";
    play(
        "edited, back, inserted, with another flag",
        &[
            Turn { file: one, ..TURN },
            Turn {
                file: two,
                reasons: &[
                    "the instruction changed: it was RUN echo one > /n",
                    "the step before changed: it was RUN echo one > /n, it is RUN echo two > /n",
                ],
                ..TURN
            },
            Turn { file: one, ..TURN },
            // Nothing stood in the place of the new instruction.
            Turn {
                file: more,
                reasons: &[
                    "the step before changed: it was FROM base, it is RUN echo zero > /n",
                    "the step before changed: RUN echo one > /n",
                ],
                ..TURN
            },
            Turn { file: one, ..TURN },
            Turn {
                file: flag,
                reasons: &[
                    "the instruction changed: it was RUN echo one > /n",
                    "the step before changed: it was RUN echo one > /n, it is RUN --network=none echo four > /n",
                ],
                ..TURN
            },
        ],
    );
    let settings = ["FROM base\nUSER 1000\nRUN id\n", "FROM base\nUSER 1001\nRUN id\n"];
    let places = ["FROM base\nWORKDIR /x\nRUN pwd\n", "FROM base\nWORKDIR /y\nRUN pwd\n"];
    play(
        "what instructions before have set",
        &[
            Turn { file: settings[0], ..TURN },
            Turn { file: settings[1], reasons: &["user changed"], ..TURN },
            Turn { file: settings[0], ..TURN },
        ],
    );
    play(
        "another directory",
        &[
            Turn { file: places[0], ..TURN },
            Turn {
                file: places[1],
                reasons: &[
                    "the instruction changed: it was WORKDIR /x",
                    "the step before changed: it was WORKDIR /x, it is WORKDIR /y",
                    "working directory changed",
                ],
                ..TURN
            },
        ],
    );
}

#[test]
fn stages_and_targets() {
    let one = "FROM base AS dev\nCOPY a /\nRUN echo a\nFROM base AS prod\nCOPY b /\nRUN echo b\n";
    let renamed = "FROM base AS debug\nCOPY a /\nRUN echo a\nFROM base AS prod\nCOPY b /\nRUN echo b\n";
    play(
        "two targets in turn, a stage with another name",
        &[
            Turn { file: one, files: &[("a", "1"), ("b", "1")], target: "dev", ..TURN },
            Turn { file: one, target: "prod", ..TURN },
            Turn { file: one, target: "dev", ..TURN },
            Turn {
                file: one,
                target: "dev",
                files: &[("a", "2")],
                reasons: &["file /a changed", "the step before changed: COPY a /"],
                ..TURN
            },
            Turn { file: one, target: "prod", ..TURN },
            Turn { file: renamed, target: "debug", ..TURN },
            Turn {
                file: renamed,
                target: "debug",
                files: &[("a", "3")],
                reasons: &["file /a changed", "the step before changed: COPY a /"],
                ..TURN
            },
        ],
    );
    let first = "FROM base\nCOPY . /app\nRUN echo same\n";
    let second = "FROM base\nENV X=1\nCOPY . /srv\nRUN echo same\n";
    play(
        "two Dockerfiles of one context in turn",
        &[
            Turn { file: first, files: &[("a", "1")], ..TURN },
            Turn {
                file: second,
                reasons: &[
                    "the instruction changed: it was COPY . /app",
                    "the step before changed: it was COPY . /app, it is COPY . /srv",
                    "variable X is new",
                ],
                ..TURN
            },
            Turn { file: first, ..TURN },
            Turn {
                file: second,
                files: &[("a", "2")],
                reasons: &["file /a changed", "the step before changed: COPY . /srv"],
                ..TURN
            },
            Turn {
                file: first,
                reasons: &["file /a changed", "the step before changed: COPY . /app"],
                ..TURN
            },
        ],
    );
}

#[test]
fn switched_off() {
    const OFF: &str = "the cache is switched off (--no-cache)";
    play(
        "without the cache, then with it",
        &[
            Turn { file: COPY, files: &[("a", "1")], ..TURN },
            Turn { file: COPY, no_cache: true, reasons: &[OFF, OFF], ..TURN },
            Turn { file: COPY, ..TURN },
            Turn {
                file: COPY,
                files: &[("a", "2")],
                reasons: &["file /a changed", "the step before changed: COPY . /app"],
                ..TURN
            },
        ],
    );
    let f = Fixture::new();
    f.build("FROM base AS x\nRUN echo 1\n").ok();
    let one = f.build_with("FROM base AS x\nRUN echo 1\n", |r| r.no_cache_filter = vec!["x".into()]);
    assert_eq!(one.reasons(), ["the cache is switched off (--no-cache-filter)"]);
}

#[test]
fn pruned() {
    let f = Fixture::new();
    let file = "FROM base\nCOPY a /\nRUN echo 1\n";
    f.file("a", "1");
    assert!(f.build(file).reasons().is_empty(), "it has not run before");
    builder::prune(&f.env(), &builder::Prune { all: true, ..Default::default() }).unwrap();
    let again = f.build(file);
    let pruned = "its record was pruned from the cache";
    assert_eq!((again.ok().ran, again.reasons()), (2, vec![pruned, pruned]));
    // What is known again is compared again.
    f.file("a", "2");
    assert_eq!(f.build(file).reasons(), ["file /a changed", "the step before changed: COPY a /"]);
}

/// The image changes under its name.
#[test]
fn base_images() {
    let f = Fixture::new();
    let file = "FROM base\nRUN echo 1\n";
    f.build(file).ok();
    let was = f.store().resolve("base", None).unwrap();
    f.build_with("FROM base\nRUN echo new > /etc/new\n", |r| {
        r.tags = vec![Reference::parse("base").unwrap()];
    })
    .ok();
    let is = f.store().resolve("base", None).unwrap();
    let reasons = f.build(file);
    let wanted = format!("base image base changed: it was {}, it is {}", was.digest, is.digest);
    assert_eq!(reasons.reasons(), [wanted.as_str()]);
    let store = f.store();
    let lease = store.lease("test").unwrap();
    let config = ImageConfig { rootfs: was.config.rootfs.clone(), ..was.config.clone() };
    let other = [Reference::parse("other").unwrap()];
    store.make_image(&lease, &config, was.manifest.layers.clone(), None, &other).unwrap();
    drop(lease);
    assert_eq!(f.build("FROM other\nRUN echo 1\n").ok().ran, 0, "the same layers under another name");
    f.build_with("FROM base\nRUN echo newer > /etc/newer\n", |r| {
        r.tags = vec![Reference::parse("other").unwrap()];
    })
    .ok();
    let reasons = f.build("FROM other\nRUN echo 1\n");
    assert_eq!(reasons.reasons(), ["the base image changed: it was base, it is other"]);
}

/// Another project with the same instructions is no earlier run of this one.
#[test]
fn other_projects() {
    let f = Fixture::new();
    let env = f.env();
    let of = |text: &'static str, name: &str, content: &str| {
        let context = f.dir.path().join(name);
        std::fs::create_dir_all(&context).unwrap();
        std::fs::write(context.join(name), content).unwrap();
        let source = DockerfileSource::Text { name: "Dockerfile".into(), bytes: text.into(), ignore: None };
        let request = Request { dockerfile: source, network: NetMode::None, ..Request::default() };
        let mut reasons = Vec::new();
        builder::build(&env, Context::Dir(context), &request, &mut |event| {
            if let builder::Event::StepMissed { reasons: said, .. } = event {
                reasons.extend(said);
            }
        })
        .unwrap();
        reasons
    };
    let build = |name: &str, content: &str| of("FROM base\nCOPY . /app\n", name, content);
    assert!(build("one", "1").is_empty());
    assert!(build("two", "1").is_empty(), "nothing of it was built before");
    assert_eq!(build("one", "2"), ["file /one changed"]);
    assert_eq!(build("two", "2"), ["file /two changed"]);
    assert!(of("FROM base\nRUN echo 1\nWORKDIR /app\n", "three", "1").is_empty());
    assert!(
        of("FROM base\nWORKDIR /app\n", "four", "1").is_empty(),
        "it stands elsewhere in another project"
    );
}

#[test]
fn what_holds_for_all_platforms_is_said_once() {
    let f = Fixture::new();
    let file = "FROM scratch AS unused\nFROM scratch\nWORKDIR app\n";
    let outcome = f.build_with(file, |r| {
        r.platforms = ["linux/amd64", "linux/arm64"].map(|platform| platform.parse().unwrap()).to_vec();
    });
    let said = |wanted: fn(&Event) -> bool| outcome.events.iter().filter(|event| wanted(event)).count();
    assert_eq!(said(|event| matches!(event, Event::Warning { .. })), 1);
    assert_eq!(said(|event| matches!(event, Event::StageSkipped { .. })), 1);
}
