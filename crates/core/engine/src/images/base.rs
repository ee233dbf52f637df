//! The base image of a build: here, or else in its registry, which is asked what it is. Its layers come when they are needed.
//!
//! One that is alone in its name may be for another platform than is asked for, as with BuildKit: whoever builds on it is
//! warned. Where several are to choose from, one of them must fit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use api::JsonMessage;
use api::auth::AuthConfig;
use api::images::BaseImage;
use oci::image::ImageConfig;
use oci::{Digest, Platform, Reference};
use store::Image;
use tokio::sync::mpsc::{Sender, channel};

use super::brief::Brief;
use super::config::{Configuration, configuration};
use super::pull::{Resolved, Unfetched, credentials_of};
use super::report::UNREAD;
use super::signatures::admit;
use super::who::Who;
use super::{pull, remote};
use crate::Engine;
use crate::error::{Error, Result};

/// Digits of an image's id, as lists show them.
const SHORT_ID: usize = 12;

/// What is known of a base image without asking anybody.
pub enum Base {
    /// It is this one; first what the name itself stands for, which may be an index.
    Here(Digest, Box<Image>),
    /// Its registry has to be asked.
    Elsewhere(Box<Elsewhere>),
}

/// An image that a registry has to be asked for.
pub struct Elsewhere {
    /// Its name.
    pub reference: Reference,
    platform: Platform,
    /// Its name goes to what its registry has now, where what it meant has come from there.
    pub renews: bool,
    /// One of that name that is better than none: for another platform, or of another version. First what the name stands for then.
    other: Option<(Digest, Box<Image>)>,
}

/// Looks for the image of a `FROM`; with `pull` its registry knows better, unless an id says which it is.
pub async fn base(engine: &Engine, name: &str, platform: &Platform, pull: bool) -> Result<Base> {
    let (name, platform) = (name.to_owned(), platform.clone());
    engine.blocking(move |engine| look(engine, &name, &platform, pull)).await
}

/// [`base`] on a thread that may block.
pub(crate) fn look(engine: &Engine, name: &str, platform: &Platform, pull: bool) -> Result<Base> {
    let is_id = Digest::of_id(name).is_some();
    let mut other = None;
    if is_id || !pull {
        let here = name_here(name);
        match engine.store().resolve_root(&here, Some(platform)) {
            // Its registry may have one that is not made for an older processor.
            Ok((root, image)) if !is_id && is_older(&image, platform) => {
                other = admit(engine, &here, &image).is_ok().then(|| (root, Box::new(image)));
            }
            Ok((root, image)) => {
                engine.store().touch(&image.id);
                admit(engine, &here, &image)?;
                return Ok(Base::Here(root, Box::new(image)));
            }
            Err(store::Error::Platform { .. }) => {
                other = alone(engine, &here)?;
                let admitted = other.as_ref().map(|(_, image)| admit(engine, &here, image));
                match admitted {
                    Some(Err(refused)) if is_id => return Err(refused),
                    // Its registry may have another one.
                    Some(Err(_)) => other = None,
                    Some(Ok(())) | None => {}
                }
            }
            Err(store::Error::NoImage(_)) if !is_id => {}
            Err(error) => return Err(error.into()),
        }
        if !is_id && let Some((root, image)) = remembered(engine, &here, platform)? {
            // An index of that name here goes before it: its registry may have the rest of it.
            if !is_index(engine, &here)? {
                engine.store().touch(&image.id);
                return Ok(Base::Here(root, image));
            }
            other = other.or(Some((root, image)));
        }
    }
    match other {
        Some((root, image)) if is_id => Ok(Base::Here(root, image)),
        other => {
            let reference = Reference::parse(name).map_err(|e| Error::invalid(e.to_string()))?;
            let platform = platform.clone();
            Ok(Base::Elsewhere(Box::new(Elsewhere { reference, platform, renews: pull, other })))
        }
    }
}

/// Whether an image is for another architecture than is asked for, though one that it comprises.
fn is_older(image: &Image, platform: &Platform) -> bool {
    image.config.platform().normalized().architecture != platform.normalized().architecture
}

/// The digest that a name of an image here stands for: of its index, where it has one. None for an id.
pub(crate) fn root(engine: &Engine, name: &str) -> Result<Option<Digest>> {
    let Ok(reference) = Reference::parse(&name_here(name)) else { return Ok(None) };
    Ok(engine.db().read(|tx| state::tags::meant(tx, &reference))?.map(|tag| tag.target))
}

/// Whether a name stands for an index here.
fn is_index(engine: &Engine, name: &str) -> Result<bool> {
    Ok(root(engine, name)?.is_some_and(|root| engine.store().index(&root).is_ok()))
}

/// What a name stood for in its registry when a build last fetched an image of it for another machine, see [`state::bases`].
pub(crate) fn remembered_root(engine: &Engine, name: &str) -> Result<Option<Digest>> {
    match Reference::parse(name) {
        Ok(reference) => Ok(engine.db().read(|tx| state::bases::get(tx, &reference))?),
        Err(_) => Ok(None),
    }
}

/// The image of that for a platform, if it is here and may be taken.
fn remembered(engine: &Engine, name: &str, platform: &Platform) -> Result<Option<(Digest, Box<Image>)>> {
    let (Some(root), Ok(reference)) = (remembered_root(engine, name)?, Reference::parse(name)) else {
        return Ok(None);
    };
    let named = reference.with_digest(root).to_string();
    // Damage is what fetching mends.
    let Ok((root, image)) = engine.store().resolve_root(&named, Some(platform)) else { return Ok(None) };
    let is_taken = !is_older(&image, platform) && admit(engine, &named, &image).is_ok();
    Ok(is_taken.then(|| (root, Box::new(image))))
}

/// The platforms of the images here that an image's or an index's digest leads to.
pub(crate) fn platforms_of(engine: &Engine, root: &Digest) -> Result<BTreeSet<Platform>> {
    let images = engine.db().read(|tx| engine.store().images_of(tx, root))?;
    Ok(images.into_iter().filter_map(|(platform, _)| platform).collect())
}

/// The digest by which the repository of a name has what it stands for here: what was made here has become another one as it was
/// sent, if its layers were compressed then.
pub(crate) fn known_as(engine: &Engine, name: &str, root: &Digest) -> Result<Digest> {
    let Ok(name) = Reference::parse(name) else { return Ok(root.clone()) };
    let mut known = engine.db().read(|tx| state::tags::of(tx, root))?;
    known.retain(|known| {
        known.reference.repository() == name.repository() && known.reference.digest.is_some()
    });
    let is_same = |known: &state::tags::Tag| known.reference.digest.as_ref() == Some(root);
    let last = known.iter().max_by(|a, b| (is_same(a), &a.updated).cmp(&(is_same(b), &b.updated)));
    Ok(last.and_then(|known| known.reference.digest.clone()).unwrap_or_else(|| root.clone()))
}

/// The image of this name, if there is no choice of platforms behind it.
fn alone(engine: &Engine, name: &str) -> Result<Option<(Digest, Box<Image>)>> {
    let store = engine.store();
    let (record, tag) = match store.find(name, None) {
        // An index that has nothing here.
        Err(store::Error::Platform { .. }) => return Ok(None),
        found => found?,
    };
    match tag.is_none_or(|tag| tag.target == record.digest) {
        true => Ok(Some((record.digest.clone(), Box::new(store.load(record)?)))),
        false => Ok(None),
    }
}

impl Elsewhere {
    /// Asks its registry what it is, and hands on what is to be told of that, see [`Brief`].
    pub async fn resolve(
        self,
        engine: &Engine,
        who: impl Into<Who>,
        told: impl Fn(String),
    ) -> Result<Resolved> {
        let (credentials, wanted) = (credentials_of(who), (&self.reference, &self.platform, self.renews));
        let found = briefly(told, |progress| Box::pin(pull::find(engine, wanted, credentials, progress)));
        match (found.await, self.other) {
            (Err(error), Some((root, other))) => {
                tracing::debug!(%error, image = %self.reference, "another one that is here is taken");
                engine.store().touch(&other.id);
                Ok(Resolved::Here(root, other))
            }
            (found, _) => found,
        }
    }
}

impl Resolved {
    /// What its name stands for.
    pub fn root(&self) -> &Digest {
        match self {
            Resolved::Here(root, _) => root,
            Resolved::There(unfetched) => unfetched.root(),
        }
    }

    /// Its configuration, as it stands.
    pub async fn configuration(self, engine: &Engine) -> Result<Configuration> {
        match self {
            Resolved::Here(_, image) => configuration(engine, *image).await,
            Resolved::There(unfetched) => {
                let read = move |_: &Engine| {
                    let (manifest, config) = (unfetched.digest().clone(), unfetched.config().clone());
                    Ok(Configuration { manifest, config, bytes: unfetched.document()? })
                };
                engine.blocking(read).await
            }
        }
    }
}

impl Unfetched {
    /// Has it whole in the store, under its name; hands on what is to be told of that.
    pub async fn bring(&self, told: impl Fn(String)) -> Result<()> {
        briefly(told, |progress| Box::pin(self.fetch(progress))).await
    }
}

/// Does what tells much, and hands little of that on.
async fn briefly<F: Future>(told: impl Fn(String), work: impl FnOnce(Sender<JsonMessage>) -> F) -> F::Output {
    let (sender, mut messages) = channel(UNREAD);
    let listen = async {
        let mut brief = Brief::new(Instant::now());
        while let Some(message) = messages.recv().await {
            brief.line(&message, Instant::now()).into_iter().for_each(&told);
        }
    };
    tokio::join!(work(sender), listen).0
}

/// The configuration of the image of a `FROM`: of the one that is here, else its registry is asked, and nothing pulled.
pub async fn base_config(
    engine: &Engine,
    name: &str,
    platform: &Platform,
    who: &BTreeMap<String, impl Into<Who> + Clone>,
) -> Result<ImageConfig> {
    let elsewhere = match base(engine, name, platform, false).await? {
        Base::Here(_, image) => return Ok(image.config),
        Base::Elsewhere(elsewhere) => elsewhere,
    };
    match (remote::image(engine, name, Some(platform), who).await, elsewhere.other) {
        (Ok((_, _, (_, config))), _) => Ok(config),
        (Err(_), Some((_, other))) => Ok(other.config),
        (Err(error), None) => Err(error),
    }
}

/// The same for a client, which names the platform.
pub async fn base_document(
    engine: &Engine,
    name: &str,
    platform: &str,
    who: &BTreeMap<String, AuthConfig>,
) -> Result<BaseImage> {
    let platform = platform.parse::<Platform>().map_err(|e| Error::invalid(e.to_string()))?;
    let config = base_config(engine, name, &platform.normalized(), who).await?;
    let runs = builder::runs(&config.platform());
    Ok(BaseImage { config: Some(config), runs })
}

/// The name to look for among the images here. A few hexadecimal digits are a repository's name, as they are everywhere
/// else: what is built must not depend on how ids happen to begin.
fn name_here(reference: &str) -> String {
    let is_hex = reference.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match Reference::parse(reference) {
        Ok(named) if is_hex && reference.len() < SHORT_ID => named.to_string(),
        _ => reference.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::name_here;

    #[test]
    fn what_could_be_a_repository_is_no_id() {
        assert_eq!(name_here("e3"), "docker.io/library/e3:latest");
        assert_eq!(name_here("cafe"), "docker.io/library/cafe:latest");
        let id = "0123456789ab";
        assert_eq!(name_here(id), id);
        assert_eq!(name_here("base"), "base");
        assert_eq!(name_here("cafe:1"), "cafe:1");
    }
}
