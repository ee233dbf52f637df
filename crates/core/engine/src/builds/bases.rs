//! The base images of a build: those that are here, and those whose registries say what they are. The layers of these come when
//! the builder asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use builder::{BoxError, CancelToken, Image, ImageRequest, Images, LayersOf};
use oci::image::{ImageConfig, Manifest};
use oci::{ChainId, Digest, Platform, Reference};
use store::Lease;
use tokio::runtime::Handle;

use super::build::{AskCredentials, cancelled, failed};
use super::policy::Policies;
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::{self, Base, Resolved, Unfetched, Who};

/// Who the client is to a registry.
pub(super) type Known = Arc<dyn Fn(&str) -> Who + Send + Sync>;

/// What the client has said of itself, and for other registries what it answers.
pub(super) fn known(credentials: BTreeMap<String, Who>, ask: Option<AskCredentials>) -> Known {
    Arc::new(move |registry| match credentials.get(registry) {
        Some(known) => known.clone(),
        None => ask.as_ref().and_then(|ask| ask(registry)).unwrap_or_default(),
    })
}

/// An image, and what its name stands for: itself, or an index that has it.
struct Found {
    image: Image,
    root: Digest,
}

/// Finds base images. A build that asks twice gets the same.
pub(super) fn base_images(
    engine: &Engine,
    policies: Arc<Policies>,
    who: Known,
    cancel: &CancelToken,
) -> Images {
    let finder = Finder::new(engine, cancel);
    let found = Mutex::new(BTreeMap::new());
    Arc::new(move |wanted, told| {
        let known = || found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = known().get(wanted) {
            return Ok(Image::clone(image));
        }
        let find = |wanted: &ImageRequest| finder.find(&who, wanted, told);
        let image = allowed_image(&finder.engine, &policies, wanted, find)?;
        known().insert(wanted.clone(), image.clone());
        Ok(image)
    })
}

/// The image that the policies leave in the place of this one: they see its name, and the name with the digest that it stands for.
fn allowed_image(
    engine: &Engine,
    policies: &Policies,
    wanted: &ImageRequest,
    find: impl Fn(&ImageRequest) -> Result<Found>,
) -> Result<Image> {
    let named = |reference: String| ImageRequest { reference, ..wanted.clone() };
    let taken = policies.image(&wanted.reference, &wanted.platform)?;
    let known = match wanted.pull || policies.is_empty() {
        true => None,
        false => here_by_digest(engine, &taken)?,
    };
    let found = find(&named(known.unwrap_or_else(|| taken.clone())))?;
    let Some(name) = bare(&taken).filter(|_| !policies.is_empty()) else { return Ok(found.image) };
    let pinned = format!("{name}@{}", found.root);
    match policies.image(&pinned, &wanted.platform)? {
        same if same == pinned => Ok(found.image),
        other => find(&named(other)).map(|found| found.image),
    }
}

/// A name that may mean something else tomorrow; none of an id, or with a digest.
fn bare(name: &str) -> Option<String> {
    if Digest::of_id(name).is_some() {
        return None;
    }
    let reference = Reference::parse(name).ok()?;
    reference.digest.is_none().then(|| reference.to_string())
}

/// The name of the image here that a name with a digest means, if it still has that digest.
fn here_by_digest(engine: &Engine, name: &str) -> Result<Option<String>> {
    let Ok(mut reference) = Reference::parse(name) else { return Ok(None) };
    let Some(digest) = reference.digest.take() else { return Ok(None) };
    let bare = reference.to_string();
    Ok((images::root(engine, &bare)? == Some(digest)).then_some(bare))
}

/// How often an image is looked for again that was removed while it was found.
const LOOKS: usize = 3;

/// What registries are asked with, and what was found.
struct Finder {
    engine: Engine,
    waiting: Waiting,
    held: Mutex<Option<Arc<HeldBases>>>,
    /// What each name stands for in this build, whatever it means elsewhere or later, by the platforms that it is wanted for.
    roots: Mutex<BTreeMap<Wanted, Digest>>,
}

/// A name, and all platforms that it is wanted for.
type Wanted = (String, BTreeSet<Platform>);

/// A look for one image, by whom, and who is told of it.
struct Look<'a> {
    finder: &'a Finder,
    who: &'a Known,
    wanted: &'a ImageRequest,
    told: &'a (dyn Fn(String) + Sync),
}

/// Which version of a name is taken.
enum Version {
    /// What the name means here, which its registry has the rest of, or else what its registry has.
    Usual(Option<Digest>),
    /// What its registry had when a build last asked.
    Remembered(Digest),
    /// What its registry has, in place of this one here, which has not all platforms.
    Newest(Digest),
}

impl Finder {
    fn new(engine: &Engine, cancel: &CancelToken) -> Finder {
        let (engine, waiting) = (engine.clone(), Waiting::new(cancel));
        Finder { engine, waiting, held: Mutex::default(), roots: Mutex::default() }
    }

    /// Finds an image. All platforms of a name are of the same version, whichever is asked for first.
    fn find(&self, who: &Known, wanted: &ImageRequest, told: &(dyn Fn(String) + Sync)) -> Result<Found> {
        let look = Look { finder: self, who, wanted, told };
        let Some(name) = bare(&wanted.reference) else { return look.run() };
        let found = look.version(&name).and_then(|version| look.take(&name, version))?;
        let key = (name.clone(), wanted.platforms.clone());
        let (agreed, is_first) = {
            let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = !roots.contains_key(&key);
            (roots.entry(key).or_insert_with(|| found.root.clone()).clone(), is_first)
        };
        if is_first {
            look.tell_passed_over(&name, &agreed)?;
        }
        if agreed == found.root {
            return Ok(found);
        }
        look.of(&name, &agreed, &wanted.platform).ok_or_else(|| {
            let (platform, root) = (&wanted.platform, &found.root);
            Error::not_found(format!(
                "{name} stands for {agreed} in this build, which has nothing for {platform}; its registry has {root} under this \
                 name, which --pull takes for all platforms"
            ))
        })
    }

    /// Holds what was found; nothing if it was removed before that.
    fn held(&self, name: &str, resolved: Resolved) -> Result<Option<Found>> {
        let own = resolved.root().clone();
        let image = match resolved {
            Resolved::Here(_, found) => {
                let held = self.hold(&found.digest, &found.manifest, &found.config)?;
                // Nobody has taken anything of it away as long as its record was here.
                if self.engine.db().read(|tx| state::images::get(tx, &found.digest))?.is_none() {
                    return Ok(None);
                }
                held.is_here(&found.digest);
                let root = images::known_as(&self.engine, name, &own)?;
                Image { root, ..Image::here(found.digest, found.manifest, found.config) }
            }
            Resolved::There(unfetched) => {
                let held = self.hold(unfetched.digest(), unfetched.manifest(), unfetched.config())?;
                let (digest, manifest) = (unfetched.digest().clone(), unfetched.manifest().clone());
                let (config, root) = (unfetched.config().clone(), own.clone());
                let layers = Some(self.layers(*unfetched, held));
                Image { root, layers, ..Image::here(digest, manifest, config) }
            }
        };
        Ok(Some(Found { image, root: own }))
    }

    /// Holds the layers, as they are here and as they came, and the documents, whether they are here yet or not.
    fn hold(&self, digest: &Digest, manifest: &Manifest, config: &ImageConfig) -> Result<Arc<HeldBases>> {
        let held = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            match &*held {
                Some(held) => held.clone(),
                None => held.insert(Arc::new(HeldBases::new(&self.engine)?)).clone(),
            }
        };
        let chain = ChainId::of(&config.rootfs.diff_ids);
        let archives = manifest.layers.iter().map(|layer| &layer.digest);
        let documents = [digest, &manifest.config.digest];
        held.lease.pin_all(archives.chain(documents).chain(chain.as_ref().map(|chain| &chain.0)))?;
        Ok(held)
    }

    /// Has the layers of an image here, once for all who want them.
    fn layers(&self, unfetched: Unfetched, held: Arc<HeldBases>) -> LayersOf {
        let (waiting, is_here, name) = (self.waiting.clone(), Mutex::new(false), unfetched.name().clone());
        let layers = LayersOf::new(move |told, stopped| {
            let mut is_here = is_here.lock().unwrap_or_else(PoisonError::into_inner);
            if !*is_here {
                waiting
                    .wait(told, stopped, |told| unfetched.bring(told))
                    .map_err(|e| Box::new(e) as BoxError)?;
                held.is_here(unfetched.digest());
                *is_here = true;
            }
            Ok(())
        });
        layers.in_repository(name)
    }
}

impl Look<'_> {
    /// Looks here first, unless its registry is to be asked in any case.
    fn run(&self) -> Result<Found> {
        self.look(&self.wanted.reference, &self.wanted.platform, self.wanted.pull)
    }

    fn look(&self, name: &str, platform: &Platform, past_what_is_here: bool) -> Result<Found> {
        let Look { finder, who, wanted, told } = *self;
        let engine = &finder.engine;
        for _ in 0..LOOKS {
            let resolved = match images::look_for_base(engine, name, platform, past_what_is_here)? {
                Base::Here(root, found) => Resolved::Here(root, found),
                Base::Elsewhere(mut elsewhere) => {
                    elsewhere.renews = wanted.pull;
                    let auth = who(&elsewhere.reference.domain);
                    finder.waiting.wait(told, &|| false, |told| elsewhere.resolve(engine, auth, told))?
                }
            };
            if let Some(found) = finder.held(name, resolved)? {
                return Ok(found);
            }
        }
        Err(Error::not_found(format!("{name} is removed again and again")))
    }

    /// A version of a name for a platform, if it is here or its registry has it.
    fn of(&self, name: &str, root: &Digest, platform: &Platform) -> Option<Found> {
        let found = self.look(&format!("{name}@{root}"), platform, false).ok();
        found.filter(|found| platform.matches(&found.image.config.platform()))
    }

    /// Which version is taken for all platforms that the build wants a name for.
    fn version(&self, name: &str) -> Result<Version> {
        let Look { finder, wanted, .. } = *self;
        if wanted.pull {
            return Ok(Version::Usual(None));
        }
        let engine = &finder.engine;
        let remembered = images::remembered_root(engine, name)?;
        let own = images::root(engine, name)?.or_else(|| remembered.clone());
        let Some(own) = own.filter(|_| wanted.platforms.len() > 1) else {
            return Ok(Version::Usual(images::root(engine, name)?));
        };
        let lacks = |name: &str, root: &Digest| -> Result<Vec<&Platform>> {
            let mut lacking = Vec::new();
            for platform in &wanted.platforms {
                match images::look_for_base(engine, name, platform, false)? {
                    Base::Here(found, _) if found == *root => {}
                    Base::Here(..) | Base::Elsewhere(_) => lacking.push(platform),
                }
            }
            Ok(lacking)
        };
        let lacking = lacks(name, &own)?;
        let is_index = engine.store().index(&own).is_ok();
        if lacking.is_empty()
            || is_index && lacking.iter().all(|platform| self.of(name, &own, platform).is_some())
        {
            return Ok(Version::Usual(Some(own)));
        }
        match remembered.filter(|root| *root != own) {
            Some(root) if lacks(&format!("{name}@{root}"), &root)?.is_empty() => {
                Ok(Version::Remembered(root))
            }
            _ => Ok(Version::Newest(own)),
        }
    }

    fn take(&self, name: &str, version: Version) -> Result<Found> {
        let Look { finder, wanted, .. } = *self;
        let own = match version {
            Version::Usual(own) => own,
            Version::Remembered(root) => {
                return self.look(&format!("{name}@{root}"), &wanted.platform, false);
            }
            Version::Newest(own) => {
                return self
                    .look(name, &wanted.platform, true)
                    .map_err(|error| refused(finder, wanted, &own, error));
            }
        };
        let found = self.run()?;
        // What is here is of what the name means here.
        let other = own.filter(|own| found.image.layers.is_some() && *own != found.root);
        Ok(other.and_then(|own| self.of(name, &own, &wanted.platform)).unwrap_or(found))
    }

    /// Says that the image of a name here was left alone, where that may surprise.
    fn tell_passed_over(&self, name: &str, taken: &Digest) -> Result<()> {
        let Look { finder, wanted, told, .. } = *self;
        let own = images::root(&finder.engine, name)?;
        if let Some(own) = own.filter(|own| own != taken && !wanted.pull && wanted.platforms.len() > 1) {
            let (has, wants) = (platforms_here(finder, &own), list(&wanted.platforms));
            told(format!("{name} here has only {has}: {taken} of its registry is taken for {wants}"));
        }
        Ok(())
    }
}

/// The platforms of an image or an index here, for a message.
fn platforms_here(finder: &Finder, root: &Digest) -> String {
    let here = images::platforms_of(&finder.engine, root).unwrap_or_default();
    if here.is_empty() { "nothing".to_owned() } else { list(&here) }
}

fn list(platforms: &BTreeSet<Platform>) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Neither what is here nor its registry has all platforms that a name is wanted for.
fn refused(finder: &Finder, wanted: &ImageRequest, own: &Digest, error: Error) -> Error {
    let (has, wants) = (platforms_here(finder, own), list(&wanted.platforms));
    let message = format!(
        "{} here has only {has}, and this build wants it for {wants}, which its registry does not give: {}",
        wanted.reference, error.message
    );
    let hint = "build each platform by itself to take the image that is here for all that it can do";
    Error { message, ..error }.with_hint(hint)
}

/// Holds what a build needs of its images: whoever removes one meanwhile leaves that.
struct HeldBases {
    engine: Engine,
    lease: Lease,
    /// The manifests of those that are images here.
    here: Mutex<Vec<Digest>>,
}

impl HeldBases {
    fn new(engine: &Engine) -> Result<HeldBases> {
        let lease = engine.store().lease("base images")?;
        Ok(HeldBases { engine: engine.clone(), lease, here: Mutex::default() })
    }

    fn is_here(&self, manifest: &Digest) {
        self.here.lock().unwrap_or_else(PoisonError::into_inner).push(manifest.clone());
    }

    /// Lets go; of what was removed meanwhile nobody else takes away what only this has kept.
    fn end(&mut self) -> Result<()> {
        let here = std::mem::take(self.here.get_mut().unwrap_or_else(PoisonError::into_inner));
        let is_any_gone = self.engine.db().read(|tx| {
            for manifest in &here {
                if state::images::get(tx, manifest)?.is_none() {
                    return Ok(true);
                }
            }
            Ok::<_, Error>(false)
        })?;
        if is_any_gone {
            self.lease.end()?;
            self.engine.store().gc()?;
        }
        Ok(())
    }
}

impl Drop for HeldBases {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "what is left of a base image that was removed stays until something is collected");
        }
    }
}

/// Threads of a build that wait for what is asked of others.
#[derive(Clone)]
pub(super) struct Waiting {
    runtime: Handle,
    cancel: CancelToken,
}

impl Waiting {
    pub fn new(cancel: &CancelToken) -> Waiting {
        Waiting { runtime: Handle::current(), cancel: cancel.clone() }
    }

    /// Waits for what tells lines meanwhile, unless it is not wanted any more.
    pub fn wait<T, F: Future<Output = Result<T>>>(
        &self,
        told: &(dyn Fn(String) + Sync),
        stopped: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(Tell) -> F,
    ) -> Result<T> {
        let (sender, lines) = std::sync::mpsc::channel();
        let work = async {
            // Its end ends the lines.
            let work = work(Box::new(move |line| drop(sender.send(line))));
            tokio::select! {
                done = work => done,
                () = cancelled(|| self.cancel.is_cancelled() || stopped()) => Err(failed(builder::Error::Cancelled)),
            }
        };
        // Who is told may block, which nobody may who drives the work.
        std::thread::scope(|scope| {
            let tell = || lines.into_iter().for_each(told);
            // Where the machine has no thread for it, nothing is told.
            let _ = std::thread::Builder::new().spawn_scoped(scope, tell);
            self.runtime.block_on(work)
        })
    }
}

/// Takes a line.
type Tell = Box<dyn Fn(String) + Send>;
