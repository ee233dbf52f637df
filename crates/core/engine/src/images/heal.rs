//! An image that has lost something is made whole again when somebody needs it: what is damaged is moved aside, and fetched from
//! where the image came, by digest and without a word of the user's: a name may stand for somebody else's image there, and never
//! moves. What can't be had is named, with what to do.
//!
//! Only the failing path comes here: nothing is looked at while all is well, and then documents, lengths and descriptions
//! alone. The files inside of a layer are compared by `system check`.

use std::collections::{BTreeMap, BTreeSet};

use oci::{ChainId, Digest, Platform, Reference};
use state::{images, tags};
use store::{Examination, Finding, Store};

use crate::containers::record::Record;
use crate::error::{Error, Result};
use crate::system::refetch;
use crate::{Engine, events};

/// What is wanted of an image that may have lost something.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Digest of its configuration.
    pub id: Option<Digest>,
    /// Its layers.
    pub chain: Option<ChainId>,
    /// What the user calls it.
    pub name: String,
}

impl Wanted {
    /// What a container needs.
    pub fn of(container: &Record) -> Wanted {
        Wanted {
            id: container.image_id.clone(),
            chain: container.layer.clone(),
            name: container.image.clone(),
        }
    }
}

/// Makes the layers of a container whole again; what was done, in words. The error is `why` if they are whole.
pub(crate) async fn layers(engine: &Engine, wanted: Wanted, why: Error) -> Result<String> {
    let asked = wanted.clone();
    let (manifests, found) = engine.blocking(move |engine| examine_layers(engine, &asked)).await?;
    let chain = wanted.chain.clone();
    let whole = async || {
        let chain = chain.clone();
        engine.blocking(move |engine| Ok(engine.store().is_whole(chain.as_ref())?)).await
    };
    if found.is_empty() && whole().await? {
        return Err(why);
    }
    let told = Box::pin(fetch_again(engine, manifests)).await?;
    let lost = lost(&wanted.name, &found);
    match whole().await? {
        true => Ok(healed(engine, &wanted, &lost, &told)),
        false => Err(beyond_help(&lost, &told)),
    }
}

/// Makes the image whole again that a name stands for; what was done, in words. None if nothing is wrong with it.
pub(crate) async fn named(engine: &Engine, name: &str, platform: Option<Platform>) -> Result<Option<String>> {
    let (asked, wish) = (name.to_owned(), platform.clone());
    let Some((manifests, found)) =
        engine.blocking(move |engine| examine_named(engine, &asked, wish.as_ref())).await?
    else {
        return Ok(None);
    };
    let told = Box::pin(fetch_again(engine, manifests.clone())).await?;
    let lost = lost(name, &found);
    let asked = name.to_owned();
    let resolved = engine.blocking(move |engine| {
        let image = engine.store().resolve(&asked, platform.as_ref())?;
        let chain = image.chain();
        Ok(engine.store().is_whole(chain.as_ref())?.then_some((image.id, chain)))
    });
    match resolved.await {
        Ok(Some((id, chain))) => {
            let wanted = Wanted { id: Some(id), chain, name: name.to_owned() };
            Ok(Some(healed(engine, &wanted, &lost, &told)))
        }
        _ => {
            let (error, asked) = (beyond_help(&lost, &told), name.to_owned());
            match engine.blocking(move |engine| came_from(engine, &asked, &manifests)).await? {
                // A client pulls what is not here, with the credentials that it has.
                true => Err(Error::not_found(format!("No such image: {}", error.message))),
                false => Err(error),
            }
        }
    }
}

/// Whether the image was pulled from the repository that a name is in: what a registry has under the name of an image that was
/// made or loaded here is somebody else's.
fn came_from(engine: &Engine, name: &str, manifests: &BTreeSet<Digest>) -> Result<bool> {
    let Ok(reference) = Reference::parse(name) else { return Ok(false) };
    for manifest in manifests {
        let (_, sources) = refetch::sources(engine, manifest)?;
        if sources.iter().any(|(source, _)| source.repository() == reference.repository()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Moves aside what is damaged of the image of these layers; its manifests, and what was found.
fn examine_layers(engine: &Engine, wanted: &Wanted) -> Result<(BTreeSet<Digest>, Vec<Finding>)> {
    let store = engine.store();
    let records = match &wanted.id {
        Some(id) => engine.db().read(|tx| images::by_id(tx, id))?,
        None => Vec::new(),
    };
    let manifests: BTreeSet<Digest> = records.into_iter().map(|record| record.digest).collect();
    let mut found = examine(store, &manifests, true)?;
    let layers = store.chain(wanted.chain.as_ref()).unwrap_or_default();
    if found.is_empty() && layers.iter().any(|layer| layer.is_image) {
        // That an image can't be mounted shows only when it is read.
        found = examine(store, &manifests, false)?;
    }
    Ok((manifests, found))
}

/// The same for what a name stands for, if anything is wrong with it.
fn examine_named(
    engine: &Engine,
    name: &str,
    platform: Option<&Platform>,
) -> Result<Option<(BTreeSet<Digest>, Vec<Finding>)>> {
    let store = engine.store();
    match store.resolve(name, platform) {
        Ok(image) if store.is_whole(image.chain().as_ref())? => return Ok(None),
        Ok(_) | Err(store::Error::NoBlob(_) | store::Error::DamagedBlob(_)) => {}
        Err(_) => return Ok(None),
    }
    let manifests = engine.db().read(|tx| stands_for(store, tx, name))?;
    let found = examine(store, &manifests, true)?;
    Ok(Some((manifests, found)))
}

/// What is to be looked at of a name: its target, and the images that this leads to.
fn stands_for(store: &Store, tx: &state::Tx<'_>, name: &str) -> Result<BTreeSet<Digest>> {
    let mut all = BTreeSet::new();
    if let Ok(reference) = Reference::parse(name)
        && let Some(tag) = tags::meant(tx, &reference)?
    {
        for member in store.members(&tag.target)?.leaves {
            all.extend(images::get(tx, &member.digest)?.map(|record| record.digest));
        }
        all.insert(tag.target);
        return Ok(all);
    }
    let (record, _) = store.find_in(tx, name, None)?;
    all.insert(record.digest);
    Ok(all)
}

fn examine(store: &Store, manifests: &BTreeSet<Digest>, quick: bool) -> Result<Vec<Finding>> {
    let found = store.examine(&Examination { repair: true, quick, only: Some(manifests), progress: None })?;
    for finding in &found {
        tracing::debug!(subject = finding.subject, problem = finding.problem, "damaged");
    }
    Ok(found)
}

/// What came of it, in words.
async fn fetch_again(engine: &Engine, manifests: BTreeSet<Digest>) -> Result<String> {
    if manifests.is_empty() {
        return Ok("it is known no more".to_owned());
    }
    let findings = refetch::refetch(engine, manifests, &BTreeMap::new()).await?;
    let mut told: Vec<String> = findings.into_iter().map(|finding| finding.message).collect();
    told.dedup();
    Ok(match told.is_empty() {
        true => "it did not come from a registry".to_owned(),
        false => told.join("; "),
    })
}

/// What an image lacks.
fn lost(name: &str, found: &[Finding]) -> String {
    match found {
        [] => format!("image {name} lacks a part of its content"),
        [first, ..] => format!("image {name} is damaged ({}: {})", first.subject, first.problem),
    }
}

fn healed(engine: &Engine, wanted: &Wanted, lost: &str, told: &str) -> String {
    let id = wanted.id.as_ref().map(ToString::to_string).unwrap_or_default();
    let attributes = BTreeMap::from([("name".to_owned(), wanted.name.clone())]);
    events::emit(engine, "image", "repair", &id, &attributes);
    format!("{lost}: {told}")
}

fn beyond_help(lost: &str, told: &str) -> Error {
    Error::system(format!("{lost}, and {told}; pull, load or build it again"))
}
