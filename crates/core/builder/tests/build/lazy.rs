//! Base images whose layers are elsewhere, and come when something needs them.

use crate::fixture::{Fixture, text};
use crate::transfer::{from, to};
use builder::{
    BoxError, CacheOrigin, Env, Error, Event, Image, ImageRequest, LayersOf, LeftLayer, OpenedCache, Outlet,
};
use oci::image::{Descriptor, ImageConfig};
use oci::{ChainId, Digest, Reference};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use store::{Lease, Store};

const TWO_STAGES: &str = "FROM base AS tools
RUN cat /proc/sys/kernel/random/uuid > /made
FROM base2
COPY --from=tools /made /made
RUN cp /made /own
";

/// Machines: one that has the base images, and one that has nothing.
struct Far {
    home: Fixture,
    here: Fixture,
    lease: Arc<Lease>,
    /// How often layers of `base` and `base2` were fetched.
    fetched: Arc<[AtomicUsize; 2]>,
    cache: PathBuf,
}

impl Far {
    fn new() -> Far {
        let (home, here) = (Fixture::new(), Fixture::bare());
        home.build_with("FROM base\nCMD [\"two\"]\nRUN echo 2 > /two\n", |request| {
            request.tags = vec![oci::Reference::parse("base2").unwrap()];
        })
        .ok();
        let lease = Arc::new(here.store().lease("far").unwrap());
        let cache = home.dir.path().join("cache");
        Far { home, here, lease, fetched: Arc::default(), cache }
    }

    /// The surroundings of a build that has to fetch, which does this before.
    fn env(&self, before: impl Fn(&str) -> Result<(), BoxError> + Send + Sync + 'static) -> Env {
        let (home, here, lease) = (self.home.store(), self.here.store(), self.lease.clone());
        let (fetched, before) = (self.fetched.clone(), Arc::new(before));
        let images = move |wanted: &ImageRequest, _: &(dyn Fn(String) + Sync)| {
            let image = home.resolve(&wanted.reference, Some(&wanted.platform))?;
            let (home, here, lease, config) =
                (home.clone(), here.clone(), lease.clone(), image.config.clone());
            let (fetched, before, name) = (fetched.clone(), before.clone(), wanted.reference.clone());
            let bring = move |told: &(dyn Fn(String) + Sync), _: &(dyn Fn() -> bool + Sync)| {
                told(format!("{name} is coming"));
                before(&name)?;
                fetched[usize::from(name == "base2")].fetch_add(1, Ordering::SeqCst);
                copy(&home, (&here, &lease), &config)
            };
            let here = Image::here(image.digest, image.manifest, image.config);
            Ok(Image { layers: Some(LayersOf::new(bring)), ..here })
        };
        Env { images: Arc::new(images), ..self.here.env() }
    }

    /// With another machine that has nothing.
    fn anew(self) -> Far {
        let here = Fixture::bare();
        let lease = Arc::new(here.store().lease("far").unwrap());
        Far { here, lease, fetched: Arc::default(), ..self }
    }

    fn plain(&self) -> Env {
        self.env(|_| Ok(()))
    }

    /// The same, with the cache that a build of this file leaves where the base images are.
    fn cached(&self, file: &str, max: bool) -> Env {
        let env = Env { cache_to: vec![to(&self.home.env(), &self.cache, max)], ..self.home.env() };
        self.home.build_in(&env, file, |_| {}).ok();
        Env { cache_from: vec![from(&self.cache)], ..self.plain() }
    }

    /// The same where the registry has layers compressed, for a result that goes to another one.
    fn sending(&self, outlet: Option<Outlet>) -> Env {
        let env = self.plain();
        let images = env.images.clone();
        let packed = move |wanted: &ImageRequest, told: &(dyn Fn(String) + Sync)| {
            let mut image = images(wanted, told)?;
            let layers = image.manifest.layers.iter_mut();
            layers.for_each(|layer| layer.media_type = oci::media_types::OCI_LAYER_GZIP.to_owned());
            Ok(image)
        };
        Env { images: Arc::new(packed), outlet, ..env }
    }

    fn fetched(&self) -> [usize; 2] {
        [0, 1].map(|image| self.fetched[image].load(Ordering::SeqCst))
    }
}

/// Brings layers from one store to another.
fn copy(home: &Store, (here, lease): (&Store, &Lease), config: &ImageConfig) -> Result<(), BoxError> {
    let mut parent: Option<ChainId> = None;
    for id in ChainId::all(&config.rootfs.diff_ids) {
        let layer = home.layer(&id)?.ok_or("it is gone")?;
        let mut archive = Vec::new();
        home.layer_tar(&layer, &mut archive)?;
        // As a pull does: it is no layer that was made here.
        here.put_blob(lease, &archive)?;
        here.apply_layer(lease, parent.as_ref(), &archive[..], Some(&layer.diff_id))?;
        parent = Some(id);
    }
    Ok(())
}

#[test]
fn what_runs_needs_what_it_runs_on() {
    let far = Far::new();
    let outcome = far.here.build_in(&far.plain(), TWO_STAGES, |_| {});
    assert_eq!((outcome.ok().ran, far.fetched()), (3, [1, 1]));
    let came = |event: &&Event| matches!(event, Event::StepLog { text, .. } if text == "base is coming\n");
    assert_eq!(outcome.events.iter().filter(came).count(), 1);
    assert!(!text(&far.here.rootfs(outcome.ok()), "/own").is_empty());
}

#[test]
fn of_what_a_cache_has_nothing_is_fetched_that_nobody_needs() {
    for max in [true, false] {
        let far = Far::new();
        let env = far.cached(TWO_STAGES, max);
        let outcome = far.here.build_in(&env, TWO_STAGES, |request| request.cache_only = true);
        assert_eq!((outcome.ok().ran, outcome.ok().result.is_none(), far.fetched()), (0, true, [0, 0]));
        assert!(far.here.store().layers().unwrap().is_empty());
        assert!(far.here.store().images().unwrap().is_empty());
        // The result has to have the layers of its own base.
        let outcome = far.here.build_in(&env, TWO_STAGES, |_| {});
        assert_eq!((outcome.ok().ran, far.fetched()), (0, [0, 1]), "{:?}", outcome.reasons());
        let own = |machine: &Fixture, built| text(&machine.rootfs(built), "/own");
        let home = far.home.build(TWO_STAGES);
        assert_eq!(own(&far.here, outcome.ok()), own(&far.home, home.ok()));
        assert_eq!(outcome.result().manifest, home.result().manifest);
    }
}

#[test]
fn what_changes_needs_its_own_base_alone() {
    let far = Far::new();
    let env = far.cached(TWO_STAGES, true);
    let changed = format!("{TWO_STAGES}RUN echo more > /more\n");
    let outcome = far.here.build_in(&env, &changed, |_| {});
    assert_eq!((outcome.ok().ran, far.fetched()), (1, [0, 1]), "{:?}", outcome.reasons());
    // A step that reads the other stage needs what that has.
    let changed = format!("{TWO_STAGES}RUN --mount=from=tools,target=/t cat /t/bin/busybox > /b\n");
    let outcome = far.here.build_in(&env, &changed, |_| {});
    assert_eq!((outcome.ok().ran, far.fetched()), (1, [1, 2]), "{:?}", outcome.reasons());
    assert!(far.here.rootfs(outcome.ok()).lstat("/b").unwrap().st_size > 0);
}

#[test]
fn steps_are_known_from_then_on_whose_layers_came_with_others() {
    let far = Far::new();
    let file = "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /made\nRUN cp /made /own\n";
    let env = far.cached(file, true);
    let outcome = far.here.build_in(&env, file, |_| {});
    assert_eq!((outcome.ok().ran, far.fetched()), (0, [1, 0]), "{:?}", outcome.reasons());
    let changed = file.replace("/own", "/other");
    let outcome = far.here.build_in(&far.plain(), &changed, |_| {});
    assert_eq!(outcome.ok().ran, 1, "{:?}", outcome.reasons());
}

#[test]
fn layers_on_nothing_come_without_a_base() {
    let far = Far::new();
    far.home.file("f", "linked");
    far.here.file("f", "linked");
    let file = "FROM base\nCOPY --link f /f\n";
    let env = far.cached(file, true);
    let outcome = far.here.build_in(&env, file, |request| request.cache_only = true);
    assert_eq!((outcome.ok().ran, outcome.ok().cached, far.fetched()), (0, 1, [0, 0]));
    let outcome = far.here.build_in(&env, file, |_| {});
    assert_eq!((outcome.ok().ran, far.fetched()), (0, [1, 0]));
    assert_eq!(text(&far.here.rootfs(outcome.ok()), "/f"), "linked");
}

#[test]
fn a_cache_that_goes_on_keeps_what_it_had() {
    let far = Far::new();
    let next = far.home.dir.path().join("next");
    let env = Env { cache_to: vec![to(&far.here.env(), &next, true)], ..far.cached(TWO_STAGES, true) };
    far.here.build_in(&env, TWO_STAGES, |request| request.cache_only = true).ok();
    let far = far.anew();
    let env = Env { cache_from: vec![from(&next)], ..far.plain() };
    let outcome = far.here.build_in(&env, TWO_STAGES, |request| request.target = Some("tools".into()));
    assert_eq!((outcome.ok().ran, outcome.ok().cached), (0, 1), "{:?}", outcome.reasons());
}

#[test]
fn what_a_cache_has_no_more_is_made() {
    let far = Far::new();
    let env = far.cached(TWO_STAGES, true);
    let whole = (env.cache_from[0].open)().unwrap();
    let document = whole[0].document.clone();
    let open = move || {
        let blob = |_: &Descriptor| Err("it is gone".into());
        Ok(vec![OpenedCache { document: document.clone(), layers: Vec::new(), blob: Arc::new(blob) }])
    };
    let env = Env {
        cache_from: vec![CacheOrigin { name: "empty".into(), image: None, open: Arc::new(open) }],
        ..env
    };
    let outcome = far.here.build_in(&env, TWO_STAGES, |_| {});
    assert_eq!(outcome.ok().ran, 3, "{:?}", outcome.reasons());
    let root = far.here.rootfs(outcome.ok());
    assert_eq!(text(&root, "/own"), text(&root, "/made"));
    assert!(outcome.log().contains("it is gone"), "{}", outcome.log());
}

#[test]
fn a_base_that_does_not_come_is_an_error_of_its_line() {
    let far = Far::new();
    let env = far.env(|name| if name == "base2" { Err("the line is cut".into()) } else { Ok(()) });
    let outcome = far.here.build_in(&env, TWO_STAGES, |_| {});
    let Error::Layers { reference, place, .. } = outcome.err() else { panic!("{:?}", outcome.err()) };
    assert_eq!((reference.as_str(), place.span.line), ("base2", 3));
    assert_eq!(outcome.err().chain(), "failed to fetch the layers of base2: the line is cut");
}

#[test]
fn a_base_that_another_stage_stops_has_done_nothing_wrong() {
    let far = Far::new();
    let both = Arc::new(Barrier::new(2));
    let env = far.plain();
    let (images, begun) = (env.images.clone(), both.clone());
    let found = move |wanted: &ImageRequest, told: &(dyn Fn(String) + Sync)| {
        let image = images(wanted, told)?;
        let (name, both) = (wanted.reference.clone(), begun.clone());
        // One fails while the other is under way, which goes on until it is stopped.
        let bring = move |_: &(dyn Fn(String) + Sync), stopped: &(dyn Fn() -> bool + Sync)| {
            both.wait();
            while name == "base2" && !stopped() {
                std::thread::yield_now();
            }
            Err("the line is cut".into())
        };
        Ok(Image { layers: Some(LayersOf::new(bring)), ..image })
    };
    let outcome = far.here.build_in(&Env { images: Arc::new(found), ..env }, TWO_STAGES, |_| {});
    assert_eq!(outcome.err().chain(), "failed to fetch the layers of base: the line is cut");
    let errors = outcome.events.iter().filter_map(|event| match event {
        Event::StepError { message, .. } => Some(message.as_str()),
        _ => None,
    });
    let mut errors: Vec<&str> = errors.collect();
    errors.sort_unstable();
    assert_eq!(errors, ["canceled", "failed to fetch the layers of base: the line is cut"]);
}

#[test]
fn what_no_line_asks_for_is_an_error_of_no_line() {
    let far = Far::new();
    let env = far.env(|name| if name == "base2" { Err("the line is cut".into()) } else { Ok(()) });
    let outcome = far.here.build_in(&env, "FROM base\nRUN true\n", |request| {
        request.export.sbom = true;
        request.export.generator = Some("base2".to_owned());
    });
    let Error::Layers { reference, place, .. } = outcome.err() else { panic!("{:?}", outcome.err()) };
    assert_eq!((reference.as_str(), place.excerpt.as_str()), ("base2", ""));
}

#[test]
fn bases_come_side_by_side() {
    let (far, both) = (Far::new(), Barrier::new(2));
    // Nobody passes unless both are on their way.
    let env = far.env(move |_| {
        both.wait();
        Ok(())
    });
    let outcome = far.here.build_in(&env, TWO_STAGES, |_| {});
    assert_eq!((outcome.ok().ran, far.fetched()), (3, [1, 1]));
}

#[test]
fn stages_share_a_base() {
    let far = Far::new();
    let file = "FROM base AS a\nRUN echo a > /a\nFROM base AS b\nRUN echo b > /b\nFROM scratch
COPY --from=a /a /\nCOPY --from=b /b /\n";
    let outcome = far.here.build_in(&far.plain(), file, |_| {});
    assert_eq!((outcome.ok().ran, far.fetched()), (4, [1, 0]));
}

/// What was sent: under which name, what, and what was left out of it.
type Sent = Arc<Mutex<Vec<(String, Digest, Vec<LeftLayer>)>>>;

/// The registry of a build's result, which has these layers or none.
fn outlet(has: bool) -> (Outlet, Sent) {
    let sent = Sent::default();
    let log = sent.clone();
    let send = move |name: &Reference, target: &Digest, left: &[LeftLayer]| {
        log.lock().unwrap().push((name.familiar(), target.clone(), left.to_vec()));
        Ok(Descriptor::new("manifest", target.clone(), 1))
    };
    let names = vec![Reference::parse("r.example/a:1").unwrap(), Reference::parse("r.example/a:2").unwrap()];
    (Outlet { names, has: Arc::new(move |_, _| has), send: Arc::new(send) }, sent)
}

type Change = fn(&mut builder::Request);

const LABELLED: &str = "FROM base\nLABEL a=b\n";

#[test]
fn a_result_that_is_sent_leaves_layers_where_they_are() {
    let far = Far::new();
    let whole = far.here.build_in(&far.sending(None), LABELLED, |_| {});
    let expected = whole.result().manifest.clone();
    let far = far.anew();
    let (outlet, sent) = outlet(true);
    let env = far.sending(Some(outlet));
    let outcome = far.here.build_in(&env, LABELLED, |_| {});
    let result = outcome.result();
    assert_eq!((far.fetched(), &result.manifest, result.tags.len()), ([0, 0], &expected, 0));
    assert!(far.here.store().images().unwrap().is_empty() && far.here.store().layers().unwrap().is_empty());
    assert!(result.documents.contains_key(&expected));
    let sent = sent.lock().unwrap();
    let names: Vec<&str> = sent.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!((names, result.sent.len()), (vec!["r.example/a:1", "r.example/a:2"], 2));
    assert!(sent.iter().all(|(_, target, left)| *target == expected && left.len() == 1));
}

#[test]
fn a_result_that_is_sent_stays_with_the_layers_that_had_to_come() {
    // The registry lacks them, or something of the result is made or read here.
    let cases: [(bool, &str, Change); 5] = [
        (false, LABELLED, |_| {}),
        (true, "FROM base\nRUN echo > /f\n", |_| {}),
        (true, LABELLED, |request| request.export.sbom = true),
        (true, LABELLED, |request| request.export.force = true),
        (true, LABELLED, |request| request.verify = true),
    ];
    for (number, (has, file, change)) in cases.into_iter().enumerate() {
        let far = Far::new();
        let (outlet, sent) = outlet(has);
        let env = far.sending(Some(outlet));
        let outcome = far.here.build_in(&env, file, change);
        assert!(outcome.result().tags.len() == 1 && far.fetched()[0] > 0, "{number}");
        assert!(sent.lock().unwrap().is_empty() && outcome.result().sent.is_empty(), "{number}");
    }
}

#[test]
fn a_registry_that_refuses_a_result_is_named() {
    let far = Far::new();
    let (outlet, _) = outlet(true);
    let outlet = Outlet { send: Arc::new(|_, _, _| Err("it is full".into())), ..outlet };
    let env = far.sending(Some(outlet));
    let outcome = far.here.build_in(&env, LABELLED, |_| {});
    assert_eq!(outcome.err().chain(), "push r.example/a:1: it is full");
    assert!(far.here.store().images().unwrap().is_empty());
}

#[test]
fn a_result_that_a_cache_has_is_sent_from_there() {
    let linked = "FROM base\nRUN echo 1 > /one\nFROM base2\nCOPY --link f /f\n";
    for (file, max, own) in [(TWO_STAGES, true, 2), (TWO_STAGES, false, 2), (linked, true, 1)] {
        let far = Far::new();
        far.home.file("f", "linked");
        far.here.file("f", "linked");
        let cached = far.cached(file, max);
        let (outlet, sent) = outlet(true);
        let env = Env { cache_from: cached.cache_from, ..far.sending(Some(outlet)) };
        let outcome = far.here.build_in(&env, file, |_| {});
        assert_eq!((outcome.ok().ran, far.fetched()), (0, [0, 0]), "{file}: {:?}", outcome.reasons());
        assert!(far.here.store().layers().unwrap().is_empty());
        let sent = sent.lock().unwrap();
        // Of the base image there are two.
        assert_eq!((sent.len(), sent[0].2.len()), (2, 2 + own), "{file}");
        // Layers that are asked for in another way than the cache has them have to come.
        let (outlet, sent) = self::outlet(true);
        let far = far.anew();
        far.here.file("f", "linked");
        let env = Env { cache_from: env.cache_from, ..far.sending(Some(outlet)) };
        let outcome = far
            .here
            .build_in(&env, file, |request| request.export.compression = Some(archive::Compression::Zstd));
        assert_eq!((outcome.ok().ran, far.fetched()), (0, [0, 1]), "{:?}", outcome.reasons());
        assert!(sent.lock().unwrap().is_empty() && outcome.result().tags.len() == 1);
    }
}
