//! Caches on their way to another machine of which only the result's layers go along (`mode=min`, inline).

use crate::fixture::{Fixture, Outcome, text};
use builder::{
    CacheOrigin, CacheTarget, DOCUMENT_MAX, DOCUMENT_TYPE, Env, INLINE_KEY, NamedContext, OpenedCache,
};
use oci::image::{Descriptor, Document, Manifest};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE: &str = "FROM base AS s
RUN cat /proc/sys/kernel/random/uuid > /f
COPY a /a
FROM base
COPY --from=s /f /a /out/
RUN cat /proc/sys/kernel/random/uuid > /u
";

fn hex(directory: &Path, descriptor: &Descriptor) -> PathBuf {
    directory.join(descriptor.digest.hex())
}

/// A cache in a directory that has blobs by their digests.
pub fn to(env: &Env, directory: &Path, max: bool) -> CacheTarget {
    let (store, directory) = (env.store.clone(), directory.to_path_buf());
    let send = move |manifest: &Descriptor, blobs: &[Descriptor]| {
        fs::create_dir_all(&directory)?;
        for blob in blobs.iter().chain([manifest]) {
            io::copy(&mut store.open_blob(&blob.digest)?, &mut File::create(hex(&directory, blob))?)?;
        }
        Ok(fs::rename(hex(&directory, manifest), directory.join("manifest"))?)
    };
    CacheTarget {
        name: "a directory".into(),
        max,
        mounts: false,
        compression: archive::Compression::Gzip,
        seekable: false,
        form: builder::CacheForm::default(),
        level: None,
        force: false,
        ignore_error: false,
        send: Arc::new(send),
    }
}

pub fn from(directory: &Path) -> CacheOrigin {
    let directory = directory.to_path_buf();
    let open = move || {
        let Document::Manifest(manifest) = Document::parse(&fs::read(directory.join("manifest"))?)? else {
            return Err("it is no manifest".into());
        };
        assert_eq!(manifest.config.media_type, DOCUMENT_TYPE);
        let document = fs::read(hex(&directory, &manifest.config))?;
        let directory = directory.clone();
        let blob = move |blob: &Descriptor| Ok(Box::new(File::open(hex(&directory, blob))?) as Box<_>);
        Ok(vec![OpenedCache { document, layers: Vec::new(), blob: Arc::new(blob) }])
    };
    CacheOrigin { name: "a directory".into(), image: None, open: Arc::new(open) }
}

/// The cache that is in the image that the build of a machine gave.
fn within(machine: &Fixture, outcome: &Outcome) -> CacheOrigin {
    let (store, image) = (machine.store(), outcome.result().image_id.to_string());
    let open = move || {
        let image = store.resolve(&image, None)?;
        let Manifest { config, layers, .. } = image.manifest;
        let document: serde_json::Value =
            serde_json::from_slice(&store.read_blob(&config.digest, DOCUMENT_MAX)?)?;
        let document = serde_json::to_vec(&document[INLINE_KEY])?;
        let layers = image.config.rootfs.diff_ids.into_iter().zip(layers).collect();
        let store = store.clone();
        let blob = move |blob: &Descriptor| Ok(Box::new(store.open_blob(&blob.digest)?) as Box<_>);
        Ok(vec![OpenedCache { document, layers, blob: Arc::new(blob) }])
    };
    CacheOrigin { name: "an image".into(), image: None, open: Arc::new(open) }
}

fn inline(machine: &Fixture, env: &Env, file: &str) -> Outcome {
    machine.build_in(env, file, |request| {
        request.export.inline_cache = true;
        (request.export.compression, request.export.force) = (Some(archive::Compression::Gzip), true);
    })
}

pub fn taking(machine: &Fixture, origin: CacheOrigin) -> Env {
    Env { cache_from: vec![origin], ..machine.env() }
}

fn counts(outcome: &Outcome) -> (u64, u64) {
    (outcome.ok().ran, outcome.ok().cached)
}

fn file(machine: &Fixture, outcome: &Outcome, path: &str) -> String {
    text(&machine.rootfs(outcome.ok()), path)
}

/// What a machine has sent, and another one that has nothing but the base.
fn sent(build: &str, max: bool) -> (Fixture, Fixture, Outcome, PathBuf) {
    let here = Fixture::new();
    here.file("a", "1").file("b", "1");
    let there = here.twin();
    let directory = here.dir.path().join("cache");
    let env = Env { cache_to: vec![to(&here.env(), &directory, max)], ..here.env() };
    let outcome = here.build_in(&env, build, |_| {});
    outcome.ok();
    (here, there, outcome, directory)
}

#[test]
fn steps_without_layers_are_hit() {
    let (here, there, first, directory) = sent(FILE, false);
    let third = there.twin();
    // A base with one layer, and two of the result: the stage's did not go along.
    let blobs = fs::read_dir(&directory).unwrap().count();
    assert_eq!(blobs, 3 + 2, "layers, document and manifest");
    let next = there.dir.path().join("cache");
    let mut env = taking(&there, from(&directory));
    env.cache_to = vec![to(&env, &next, false)];
    let second = there.build_in(&env, FILE, |_| {});
    assert_eq!(counts(&second), (0, 4), "{:?}", second.reasons());
    assert_eq!(second.result().image_id, first.result().image_id);
    assert_eq!(file(&there, &second, "/u"), file(&here, &first, "/u"));
    // What it was given is in what it gives, also to the next but one.
    let outcome = third.build_in(&taking(&third, from(&next)), FILE, |_| {});
    assert_eq!(counts(&outcome), (0, 4), "{:?}", outcome.reasons());
    // On this machine the stage's layers are not, and nobody misses them.
    let again = there.build(FILE);
    assert_eq!(again.ok().ran, 4, "without the cache from elsewhere nothing is known of the stage");
}

#[test]
fn an_image_tells_of_its_other_stages() {
    let here = Fixture::new();
    here.file("a", "1");
    let (there, third) = (here.twin(), here.twin());
    let first = inline(&here, &here.env(), FILE);
    let env = taking(&there, within(&here, &first));
    let second = inline(&there, &env, FILE);
    assert_eq!(counts(&second), (0, 4), "{:?}", second.reasons());
    // It tells of them as it was told itself, however the steps were found.
    assert_eq!(second.result().image_id, first.result().image_id);
    let again = inline(&here, &here.env(), FILE);
    assert_eq!(again.result().image_id, first.result().image_id);
    assert_eq!(file(&there, &second, "/u"), file(&here, &first, "/u"));
    let outcome = third.build_in(&taking(&third, within(&there, &second)), FILE, |_| {});
    assert_eq!(counts(&outcome), (0, 4), "{:?}", outcome.reasons());
}

#[test]
fn a_later_step_that_misses_needs_only_the_result() {
    let (here, there, first, directory) = sent(FILE, false);
    let env = taking(&there, from(&directory));
    let longer = format!("{FILE}RUN cat /out/f /u > /last\n");
    let outcome = there.build_in(&env, &longer, |_| {});
    assert_eq!(counts(&outcome), (1, 4), "{:?}", outcome.reasons());
    let both = file(&here, &first, "/out/f") + &file(&here, &first, "/u");
    assert_eq!(file(&there, &outcome, "/last"), both);
}

#[test]
fn what_changed_in_a_stage_is_made_with_all_that_it_is_on() {
    let (here, there, first, directory) = sent(FILE, false);
    there.file("a", "2");
    let outcome = there.build_in(&taking(&there, from(&directory)), FILE, |_| {});
    assert_eq!(counts(&outcome), (4, 0));
    let why = "the imported cache knows it without its layers (mode=max has them)";
    assert!(outcome.reasons().contains(&why), "{:?}", outcome.reasons());
    assert_eq!(file(&there, &outcome, "/out/a"), "2");
    assert_ne!(file(&there, &outcome, "/out/f"), file(&here, &first, "/out/f"), "it ran anew");
}

#[test]
fn a_result_is_of_one_run_of_a_stage() {
    // Two copies of what a stage made by chance; the second one has not been there before.
    let (here, there, first, directory) = sent(FILE, false);
    let twice = format!("{FILE}COPY --from=s /f /again\n");
    let outcome = there.build_in(&taking(&there, from(&directory)), &twice, |_| {});
    assert_eq!(file(&there, &outcome, "/again"), file(&there, &outcome, "/out/f"));
    assert_ne!(file(&there, &outcome, "/again"), file(&here, &first, "/out/f"));
    // A mount is a need as well, where its step misses.
    let mounted = format!("{FILE}RUN --mount=from=s,target=/s cat /s/f > /again\n");
    let (_here, there, _, directory) = sent(FILE, false);
    let outcome = there.build_in(&taking(&there, from(&directory)), &mounted, |_| {});
    assert_eq!(file(&there, &outcome, "/again"), file(&there, &outcome, "/out/f"));
}

#[test]
fn stages_on_stages_mounts_and_links_are_hit() {
    let build = "FROM base AS deps
RUN cat /proc/sys/kernel/random/uuid > /dep
FROM deps AS one
WORKDIR /w
COPY --link a /link/a
RUN --mount=type=bind,source=b,target=/b cat /b /dep > /one
FROM base AS two
RUN --mount=from=one,target=/from cat /from/one /from/link/a > /two
FROM base
COPY --link --from=two /two /
COPY --link a /link/a
RUN --mount=from=deps,target=/d cat /d/dep /two > /all
";
    let (here, there, first, directory) = sent(build, false);
    let outcome = there.build_in(&taking(&there, from(&directory)), build, |_| {});
    assert_eq!(counts(&outcome), (0, 8), "{:?}", outcome.reasons());
    assert_eq!(file(&there, &outcome, "/all"), file(&here, &first, "/all"));
    there.file("b", "2");
    let outcome = there.build_in(&taking(&there, from(&directory)), build, |_| {});
    let all = file(&there, &outcome, "/all");
    assert!(all.contains('2') && outcome.ok().ran > 0, "{all}");
    // The dependency's own text, and that of the stage on it, are of one run.
    let (own, inner) = (all.lines().next().unwrap(), all.lines().nth(1).unwrap());
    assert!(inner.ends_with(own), "{all}");
}

#[test]
fn no_cache_and_targets_take_no_promise() {
    let (here, there, first, directory) = sent(FILE, false);
    let env = taking(&there, from(&directory));
    let outcome = there.build_in(&env, FILE, |request| request.no_cache_filter = vec!["s".into()]);
    assert_ne!(file(&there, &outcome, "/out/f"), file(&here, &first, "/out/f"));
    // A stage of which no layers came is made where it is the result.
    let (_here, there, _, directory) = sent(FILE, false);
    let outcome = there.build_in(&taking(&there, from(&directory)), FILE, |r| r.target = Some("s".into()));
    assert_eq!(counts(&outcome), (2, 0));
    assert_eq!(file(&there, &outcome, "/a"), "1");
    // Another context under the stage's name is another stage.
    let (_here, there, _, directory) = sent(FILE, false);
    there.file("other/f", "f").file("other/a", "a");
    let outcome = there.build_in(&taking(&there, from(&directory)), FILE, |request| {
        request.named_contexts.insert("s".into(), NamedContext::Dir(there.context().join("other")));
    });
    assert_eq!(file(&there, &outcome, "/out/f"), "f");
}

#[test]
fn a_cache_says_nothing_in_words() {
    let file = "FROM base AS s
ARG TOKEN
ENV VARIABLE=canary-of-a-variable
RUN : canary-of-a-command; [ \"$TOKEN\" ] && echo made > /made
COPY a /canary-of-a-place
FROM base
COPY --from=s /made /
RUN --mount=from=s,target=/canary-of-a-mount cat /made > /last
";
    let here = Fixture::new();
    here.file("a", "1");
    let token = |request: &mut builder::Request| {
        request.build_args.insert("TOKEN".into(), "canary-of-an-argument".into());
    };
    for max in [false, true] {
        let (there, directory) = (here.twin(), here.dir.path().join(format!("cache-{max}")));
        let env = Env { cache_to: vec![to(&here.env(), &directory, max)], ..here.env() };
        here.build_in(&env, file, token).ok();
        for blob in fs::read_dir(&directory).unwrap() {
            let bytes = fs::read(blob.unwrap().path()).unwrap();
            assert!(
                !String::from_utf8_lossy(&bytes).contains("canary"),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
        // Who takes it knows what it does, and tells it.
        let outcome = there.build_in(&taking(&there, from(&directory)), file, token);
        assert_eq!(counts(&outcome), (0, 4), "{:?}", outcome.reasons());
        let outcome = there.build(&file.replace("cat /made", "cat /made /made"));
        let why = "variable TOKEN is gone";
        assert!(
            !max || outcome.reasons().iter().any(|reason| reason.contains(why)),
            "{:?}",
            outcome.reasons()
        );
    }
    let outcome = here.build_in(&here.env(), file, |request| {
        token(request);
        request.export.inline_cache = true;
    });
    let documents = (within(&here, &outcome).open)().unwrap();
    let document = String::from_utf8(documents.into_iter().next().unwrap().document).unwrap();
    assert!(document.contains("entries") && !document.contains("canary"), "{document}");
}

#[test]
fn with_all_layers_nothing_is_promised() {
    let (_here, there, _, directory) = sent(FILE, true);
    let outcome = there.build_in(&taking(&there, from(&directory)), FILE, |_| {});
    assert_eq!(counts(&outcome), (0, 4), "{:?}", outcome.reasons());
    // What nobody needed of the stage stayed where it is, from where it comes when it is needed.
    let stage = there.build_in(&taking(&there, from(&directory)), FILE, |r| r.target = Some("s".into()));
    assert_eq!(counts(&stage), (0, 2), "{:?}", stage.reasons());
    assert_eq!(counts(&there.build(FILE)), (0, 4), "all of it is here now");
}
