//! The base images of a build: those that are here, and those whose registries say what they are. The layers of these come when
//! the builder asks for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use builder::{BoxError, CancelToken, Image, ImageRequest, Images, LayersOf};
use oci::image::{ImageConfig, Manifest};
use oci::{ChainId, Digest, Reference};
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
        let key = (wanted.reference.clone(), wanted.platform.clone());
        if let Some(image) = known().get(&key) {
            return Ok(Image::clone(image));
        }
        let find = |wanted: &ImageRequest| finder.find(&who, wanted, told);
        let image = allowed_image(&finder.engine, &policies, wanted, find)?;
        known().insert(key, image.clone());
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
    /// What each name stands for in this build, whatever it means elsewhere or later.
    roots: Mutex<BTreeMap<String, Digest>>,
}

impl Finder {
    fn new(engine: &Engine, cancel: &CancelToken) -> Finder {
        let (engine, waiting) = (engine.clone(), Waiting::new(cancel));
        Finder { engine, waiting, held: Mutex::default(), roots: Mutex::default() }
    }

    /// Finds an image. All platforms of a name are of the same index: of the one that the name means here, if its registry has that,
    /// too.
    fn find(&self, who: &Known, wanted: &ImageRequest, told: &(dyn Fn(String) + Sync)) -> Result<Found> {
        let mut found = self.look(who, wanted, told)?;
        let Some(name) = bare(&wanted.reference) else { return Ok(found) };
        let of = |root: &Digest| {
            let reference = format!("{name}@{root}");
            let pinned = ImageRequest { reference, pull: false, ..wanted.clone() };
            let other = self.look(who, &pinned, told).ok();
            other.filter(|other| wanted.platform.matches(&other.image.config.platform()))
        };
        // What is here is of what the name means here.
        if !wanted.pull
            && found.image.layers.is_some()
            && let Some(own) = images::root(&self.engine, &wanted.reference)?
            && own != found.root
        {
            found = of(&own).unwrap_or(found);
        }
        let agreed = {
            let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
            roots.entry(name.clone()).or_insert_with(|| found.root.clone()).clone()
        };
        if agreed == found.root {
            return Ok(found);
        }
        of(&agreed).ok_or_else(|| {
            let (platform, root) = (&wanted.platform, &found.root);
            Error::not_found(format!(
                "{name} stands for {agreed} in this build, which has nothing for {platform}; its registry has {root} under this \
                 name, which --pull takes for all platforms"
            ))
        })
    }

    fn look(&self, who: &Known, wanted: &ImageRequest, told: &(dyn Fn(String) + Sync)) -> Result<Found> {
        let engine = &self.engine;
        for _ in 0..LOOKS {
            let (name, platform) = (&wanted.reference, &wanted.platform);
            let resolved = match images::look_for_base(engine, name, platform, wanted.pull)? {
                Base::Here(found) => {
                    let root = images::root(engine, name)?.unwrap_or_else(|| found.digest.clone());
                    Resolved::Here(root, found)
                }
                Base::Elsewhere(elsewhere) => {
                    let auth = who(&elsewhere.reference.domain);
                    self.waiting.wait(told, &|| false, |told| elsewhere.resolve(engine, auth, told))?
                }
            };
            if let Some(found) = self.held(wanted, resolved)? {
                return Ok(found);
            }
        }
        Err(Error::not_found(format!("{} is removed again and again", wanted.reference)))
    }

    /// Holds what was found; nothing if it was removed before that.
    fn held(&self, wanted: &ImageRequest, resolved: Resolved) -> Result<Option<Found>> {
        let own = resolved.root().clone();
        let image = match resolved {
            Resolved::Here(_, found) => {
                let held = self.hold(&found.digest, &found.manifest, &found.config)?;
                // Nobody has taken anything of it away as long as its record was here.
                if self.engine.db().read(|tx| state::images::get(tx, &found.digest))?.is_none() {
                    return Ok(None);
                }
                held.is_here(&found.digest);
                let root = images::known_as(&self.engine, &wanted.reference, &own)?;
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
