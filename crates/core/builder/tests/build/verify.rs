//! Building twice and comparing.

use crate::fixture::{Fixture, Outcome};
use builder::{Difference, Env, Error, Image, ImageRequest, Provenance, Request};
use oci::{Platform, Reference};
use std::sync::{Arc, Mutex};

const EPOCH: i64 = 1_700_000_000;

fn reproducible(request: &mut Request) {
    request.verify = true;
    request.source_date_epoch = Some(Some(EPOCH));
    request.rewrite_timestamp = true;
}

#[track_caller]
fn differences(outcome: &Outcome) -> Vec<Difference> {
    match outcome.err() {
        Error::NotReproducible { differences } => differences.clone(),
        other => panic!("{}", other.report()),
    }
}

#[test]
fn what_is_the_same_passes_and_leaves_nothing() {
    let f = Fixture::new();
    f.file("a", "1").file("d/b", "2");
    let file = "FROM base AS one\nRUN echo x >/x && ln -s x /y\nFROM base\nCOPY . /c/\nCOPY --from=one /x /\n\
                RUN --mount=type=cache,target=/k echo 1 >>/k/n; wc -l </k/n >/n\n";
    let outcome = f.build_with(file, |r| {
        reproducible(r);
        r.export.provenance = Some(Provenance::Max);
        r.export.inline_cache = true;
    });
    let built = outcome.ok();
    // The second build isn't counted, and does not use the cache mounts of the first.
    assert_eq!(built.ran, 4);
    let again = f.build_with(file, reproducible);
    assert_eq!((again.ok().ran, again.ok().cached), (0, 4));
    assert_eq!(f.store().gc().unwrap().layers, 0, "both builds gave the same layers");
}

#[test]
fn each_difference_is_named() {
    let f = Fixture::new();
    // What cache mounts hold is not part of what a build is given.
    f.build("FROM base\nRUN --mount=type=cache,target=/k touch /k/mark\n").ok();
    let file = "FROM base\nRUN cat /proc/uptime >/app; ln -s $(cat /proc/sys/kernel/random/uuid) /l\n\
                RUN --mount=type=cache,target=/k if test -e /k/mark; then mkdir -m 755 /d; else mkdir -m 700 /d /e; fi\n";
    let found = differences(&f.build_with(file, reproducible));
    let of = |place: &str| {
        let all: Vec<&Difference> = found.iter().filter(|d| d.place.ends_with(place)).collect();
        assert_eq!(all.len(), 1, "{place} in {found:#?}");
        all[0].clone()
    };
    assert!(of(": /app").what.starts_with("content of line 1: \""), "{found:#?}");
    assert!(of(": /app").place.starts_with("layer 2 ([2/3] RUN cat"), "{found:#?}");
    assert!(of(": /l").what.starts_with("link "));
    assert_eq!(of(": /d").what, "mode 0755, then 0700");
    assert_eq!(of(": /e").what, "only the second build made it");
    assert!(found.iter().all(|d| !d.place.starts_with("manifest")), "{found:#?}");
}

#[test]
fn times_come_with_a_hint() {
    let f = Fixture::new();
    let outcome = f.build_with("FROM base\nRUN echo x >/x\n", |r| r.verify = true);
    let found = differences(&outcome);
    let mtime = found.iter().find(|d| d.place.ends_with(": /x")).expect("the file's time");
    assert!(mtime.is_time && mtime.what.starts_with("mtime "), "{mtime:?}");
    assert!(found.iter().any(|d| d.place == "config: created" && d.is_time));
    assert!(found.iter().any(|d| d.place == "config: history[1].created"));
    assert!(outcome.err().hint().is_some_and(|hint| hint.contains("SOURCE_DATE_EPOCH")));
    assert!(f.store().resolve("result", None).is_err(), "what is not reproducible gets no name");
    // Nor does the cache forget what the first build made.
    assert_eq!(f.build("FROM base\nRUN echo x >/x\n").ok().ran, 0);
}

#[test]
fn platforms_are_solved_at_once_and_share_what_is_the_same() {
    let f = Fixture::new();
    let host = Platform::host();
    let other = Platform::new("linux", "riscv64", None);
    // Two stages for this machine, whatever is built: the step of the first runs once.
    let file = "FROM --platform=$BUILDPLATFORM base AS tool\nRUN echo made >/made; echo ran\n\
                FROM scratch\nARG TARGETARCH\nCOPY --from=tool /made /$TARGETARCH\n";
    let outcome = f.build_with(file, |r| {
        reproducible(r);
        r.platforms = vec![host.clone(), other.clone()];
    });
    let built = outcome.ok();
    assert_eq!(crate::fixture::image(built).images.len(), 2);
    assert_eq!(outcome.log().matches("ran\n").count(), 2, "once, and once more to compare");
    let names: Vec<&str> = outcome
        .events
        .iter()
        .filter_map(|event| match event {
            builder::Event::StepStarted { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert!(names.iter().any(|n| n.starts_with(&format!("[{host} tool 2/2] RUN"))), "{names:?}");
    assert!(names.iter().any(|n| n.starts_with("[linux/riscv64 stage-1 1/1] COPY")), "{names:?}");
}

/// What a base image asks for may be a platform of another one that was found before.
#[test]
fn an_image_is_asked_for_with_all_platforms_that_it_is_wanted_for() {
    let f = Fixture::new();
    f.build_with("FROM base\nONBUILD COPY --from=other /etc/passwd /passwd\n", |r| {
        r.tags = vec![Reference::parse("trigger").unwrap()];
    })
    .ok();
    let asked: Arc<Mutex<Vec<ImageRequest>>> = Arc::default();
    let (env, noted, store) = (f.env(), asked.clone(), f.store());
    let images = move |wanted: &ImageRequest, _: &(dyn Fn(String) + Sync)| {
        noted.lock().unwrap().push(wanted.clone());
        let image = store.resolve(&wanted.reference, None)?;
        Ok(Image::here(image.digest, image.manifest, image.config))
    };
    let file = "FROM --platform=linux/riscv64 base AS other\nFROM base AS here\n\
                FROM trigger\nCOPY --from=here /etc/group /\n";
    f.build_in(&Env { images: Arc::new(images), ..env }, file, |_| {}).ok();
    let asked = asked.lock().unwrap();
    let counts =
        asked.iter().filter(|wanted| wanted.reference == "base").map(|wanted| wanted.platforms.len());
    let mut counts: Vec<usize> = counts.collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 2], "{asked:?}");
}

#[test]
fn an_image_is_for_the_platform_that_was_asked_for() {
    let f = Fixture::new();
    f.file("f", "x");
    let file = "FROM --platform=$BUILDPLATFORM base\nCOPY f /\n";
    let of = |platform: Option<&str>| {
        let platforms = platform.map(|text| text.parse().unwrap()).into_iter().collect();
        let outcome = f.build_with(file, |r| r.platforms = platforms);
        let config = f.config(outcome.ok());
        (config.architecture, config.variant)
    };
    assert_eq!(of(Some("linux/arm/v7")), ("arm".to_owned(), Some("v7".to_owned())));
    assert_eq!(of(Some("linux/riscv64")), ("riscv64".to_owned(), None));
    let host = Platform::host();
    assert_eq!(of(None), (host.architecture, host.variant));
}

#[test]
fn a_context_may_be_an_image_of_each_platform() {
    let f = Fixture::new();
    let platforms = [Platform::host(), Platform::new("linux", "riscv64", None)];
    let image = |platform: &Platform| {
        let file = format!("FROM scratch\nCOPY of /{}\n", platform.architecture);
        f.file("of", "x");
        f.build_with(&file, |r| r.platforms = vec![platform.clone()]).result().manifest.to_string()
    };
    let images = platforms.each_ref().map(image);
    let build = |names: [String; 2]| {
        f.build_with("FROM scratch\nARG TARGETARCH\nCOPY --from=parts /$TARGETARCH /found\n", |r| {
            r.platforms = platforms.to_vec();
            r.named_contexts =
                names.into_iter().zip(images.clone().map(builder::NamedContext::Image)).collect();
        })
    };
    let own = platforms.each_ref().map(|platform| format!("parts::{platform}"));
    assert_eq!(build(own.clone()).result().images.len(), 2);
    // The name alone is for the platforms that have none of their own.
    assert_eq!(build(["parts".to_owned(), own[1].clone()]).result().images.len(), 2);
}

#[test]
fn a_generator_lists_what_the_result_holds() {
    let f = Fixture::new();
    // The generator: an image whose command writes a statement about what it is shown.
    let script = "touch $BUILDKIT_SCAN_SOURCE/made 2>/dev/null && exit 8; read what <$BUILDKIT_SCAN_SOURCE/made; \
                  echo \"{\\\"predicateType\\\": \\\"https://example.org/list\\\", \\\"predicate\\\": {\\\"found\\\": \\\"$what$BUILDKIT_SCAN_MORE\\\"}}\" \
                  >$BUILDKIT_SCAN_DESTINATION/sbom.json";
    let file = format!("FROM base\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [{}]\n", serde_json::json!(script));
    f.build_with(&file, |r| r.tags = vec![oci::Reference::parse("lister").unwrap()]).ok();
    let build = |generator: &str| {
        f.build_with("FROM base\nRUN echo value >/made\n", |r| {
            r.export.sbom = true;
            r.export.generator = Some(generator.to_owned());
            r.export.generator_args.insert("MORE".to_owned(), ", more".to_owned());
            r.export.names = vec![oci::Reference::parse("localhost:5000/a:1").unwrap()];
        })
    };
    let outcome = build("lister");
    let store = f.store();
    let index = store.index(&outcome.result().target.digest).unwrap();
    let notes =
        index.manifests.iter().find(|m| m.platform.as_ref().is_some_and(|p| p.os == "unknown")).unwrap();
    let oci::image::Document::Manifest(manifest) = store.document(&notes.digest).unwrap() else { panic!() };
    let statement = store.read_blob(&manifest.layers[0].digest, 1 << 20).unwrap();
    let statement: serde_json::Value = serde_json::from_slice(&statement).unwrap();
    assert_eq!(statement["predicateType"], "https://example.org/list");
    assert_eq!(statement["predicate"]["found"], "value, more");
    let name = statement["subject"][0]["name"].as_str().unwrap();
    assert!(name.starts_with("pkg:docker/localhost%3A5000/a@1?platform=linux%2F"), "{name}");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], outcome.result().manifest.hex());
    // It is a step: the cache knows it, and nothing of it is in the image.
    assert_eq!(build("lister").ok().ran, 0);
    assert!(f.rootfs(outcome.ok()).lstat("/run/out").is_err());
    assert!(build("base").err().chain().contains("the image says no command"));
    f.build_with("FROM base\nCMD [\"/bin/true\"]\n", |r| {
        r.tags = vec![oci::Reference::parse("idle").unwrap()]
    })
    .ok();
    assert!(build("idle").err().chain().contains("generate sbom using idle: it wrote no statement"));
}

#[test]
fn stages_and_the_context_are_looked_through_where_arguments_say_so() {
    let f = Fixture::new();
    f.file("var/lib/dpkg/status.d/here", "Package: of-the-context\nVersion: 2\n");
    f.file("var/lib/dpkg/status.d/hidden", "Package: ignored\nVersion: 2\n");
    f.file(".dockerignore", "**/hidden\n");
    let file = "FROM base AS tools\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n\
        RUN test -z \"$BUILDKIT_SBOM_SCAN_STAGE\" && mkdir -p /lib/apk/db && \
        printf 'P:of-the-stage\\nV:1\\n' >/lib/apk/db/installed && echo x >/x\n\
        FROM base AS quiet\nRUN echo y >/y\n\
        FROM base\nARG BUILDKIT_SBOM_SCAN_CONTEXT\nCOPY --from=tools /x /\nCOPY --from=quiet /y /\n";
    let lists = |generator: Option<&str>, context: &str| -> Vec<(String, String)> {
        let outcome = f.build_with(file, |r| {
            r.export.sbom = true;
            r.export.generator = generator.map(str::to_owned);
            r.build_args.insert("BUILDKIT_SBOM_SCAN_CONTEXT".to_owned(), context.to_owned());
        });
        let store = f.store();
        let index = store.index(&outcome.result().target.digest).unwrap();
        let notes = index.manifests.iter().find(|m| m.platform.as_ref().is_some_and(|p| p.os == "unknown"));
        let oci::image::Document::Manifest(manifest) = store.document(&notes.unwrap().digest).unwrap() else {
            panic!()
        };
        let read = |layer: &oci::image::Descriptor| {
            let bytes = store.read_blob(&layer.digest, 1 << 20).unwrap();
            let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let predicate = &told["predicate"];
            (predicate["name"].as_str().unwrap().to_owned(), predicate["packages"].to_string())
        };
        manifest.layers.iter().map(read).collect()
    };
    let found = lists(None, "true");
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sbom", "sbom-tools", "sbom-context"]);
    assert!(found[1].1.contains("of-the-stage") && !found[0].1.contains("of-the-stage"), "{found:?}");
    assert!(found[2].1.contains("of-the-context") && !found[2].1.contains("ignored"), "{found:?}");
    assert_eq!(lists(None, "quiet").len(), 2, "the last stage is not called so");

    let script = "echo \"{\\\"predicateType\\\": \\\"list\\\", \\\"predicate\\\": {\\\"name\\\": \\\"$(echo $(ls $BUILDKIT_SCAN_SOURCE_EXTRAS))\\\"}}\" \
                  >$BUILDKIT_SCAN_DESTINATION/sbom.json";
    let lister =
        format!("FROM base\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [{}]\n", serde_json::json!(script));
    f.build_with(&lister, |r| r.tags = vec![oci::Reference::parse("lister").unwrap()]).ok();
    assert_eq!(lists(Some("lister"), "1")[0].0, "sbom-context sbom-tools");
}
