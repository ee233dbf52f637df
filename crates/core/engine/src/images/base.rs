//! The base image of a build: here, or else in its registry, which is asked what it is. Its layers come when they are needed.
//!
//! One that is alone in its name may be for another platform than is asked for, as with BuildKit: whoever builds on it is
//! warned. Where several are to choose from, one of them must fit.

use std::collections::BTreeMap;
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
    /// It is this one.
    Here(Box<Image>),
    /// Its registry has to be asked.
    Elsewhere(Box<Elsewhere>),
}

/// An image that a registry has to be asked for.
pub struct Elsewhere {
    /// Its name.
    pub reference: Reference,
    platform: Platform,
    /// Its name goes to what its registry has now, where what it meant has come from there.
    renews: bool,
    /// One of that name for another platform, which is better than none.
    other: Option<Box<Image>>,
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
        let store = engine.store();
        match store.resolve(&here, Some(platform)) {
            // Its registry may have one that is not made for an older processor.
            Ok(image) if !is_id && is_older(&image, platform) => {
                other = admit(engine, &here, &image).is_ok().then(|| Box::new(image));
            }
            Ok(image) => {
                store.touch(&image.id);
                admit(engine, &here, &image)?;
                return Ok(Base::Here(Box::new(image)));
            }
            Err(store::Error::Platform { .. }) => {
                other = alone(engine, &here)?;
                let admitted = other.as_ref().map(|image| admit(engine, &here, image));
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
    }
    match other {
        Some(image) if is_id => Ok(Base::Here(image)),
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
pub async fn root_of(engine: &Engine, name: &str) -> Result<Option<Digest>> {
    let name = name.to_owned();
    engine.blocking(move |engine| root(engine, &name)).await
}

/// [`root_of`] on a thread that may block.
pub(crate) fn root(engine: &Engine, name: &str) -> Result<Option<Digest>> {
    match engine.store().find(&name_here(name), None) {
        Ok((_, tag)) => Ok(tag.map(|tag| tag.target)),
        Err(store::Error::NoImage(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
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
fn alone(engine: &Engine, name: &str) -> Result<Option<Box<Image>>> {
    let store = engine.store();
    let (record, tag) = store.find(name, None)?;
    match tag.is_none_or(|tag| tag.target == record.digest) {
        true => Ok(Some(Box::new(store.load(record)?))),
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
            (Err(error), Some(other)) => {
                tracing::debug!(%error, image = %self.reference, "taken for another platform");
                engine.store().touch(&other.id);
                Ok(Resolved::Here(other.digest.clone(), other))
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
        Base::Here(image) => return Ok(image.config),
        Base::Elsewhere(elsewhere) => elsewhere,
    };
    match (remote::image(engine, name, Some(platform), who).await, elsewhere.other) {
        (Ok((_, _, (_, config))), _) => Ok(config),
        (Err(_), Some(other)) => Ok(other.config),
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
