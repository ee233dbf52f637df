//! Registries as the only place where a result goes: its layers that they have, or that they take from another of their
//! repositories, are left where they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::build::BuildOptions;
use builder::{BoxError, LeftLayer, Outlet};
use oci::image::Descriptor;
use oci::{Digest, Reference};

use super::bases::{Known, Waiting};
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::{self, PushOptions};

/// Where the result goes, if that is registries alone. None whose name is that of an image here: that name must not go on meaning
/// the old one, so the result stays.
pub(super) fn outlet(
    engine: &Engine,
    options: &BuildOptions,
    who: Known,
    waiting: Waiting,
) -> Result<Option<Outlet>> {
    let Some(registries) = options.extras.export.registries.clone() else { return Ok(None) };
    let names = parsed(&registries.names)?;
    if names.is_empty() || is_any_here(engine, &parsed(&options.tags)?)? {
        return Ok(None);
    }
    let as_is = options.extras.export.compression == "uncompressed";
    let how = move |name: &Reference| PushOptions {
        name: name.familiar_name(),
        tag: name.tag.clone().unwrap_or_default(),
        by_digest: registries.by_digest,
        insecure: registries.insecure,
        as_is,
        ..PushOptions::default()
    };
    let sender = Arc::new(Sender { engine: engine.clone(), who, waiting, how });
    let asker = sender.clone();
    Ok(Some(Outlet {
        names,
        has: Arc::new(move |name, layers| asker.has(name, layers)),
        send: Arc::new(move |name, target, left| sender.send(name, target, left)),
    }))
}

fn parsed(names: &[String]) -> Result<Vec<Reference>> {
    let parse = |text: &String| {
        Reference::parse(text).map_err(|e| Error::invalid(format!("invalid tag {text:?}: {e}")))
    };
    names.iter().map(parse).collect()
}

fn is_any_here(engine: &Engine, names: &[Reference]) -> Result<bool> {
    engine.db().read(|tx| {
        for name in names {
            if state::tags::get(tx, name)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// What registries are asked and given with.
struct Sender<H> {
    engine: Engine,
    who: Known,
    waiting: Waiting,
    how: H,
}

impl<H: Fn(&Reference) -> PushOptions> Sender<H> {
    fn has(&self, name: &Reference, layers: &[LeftLayer]) -> bool {
        let (who, how) = ((self.who)(&name.domain), (self.how)(name));
        let found = images::has_layers(&self.engine, name, how.insecure, who, left(layers));
        // Whoever cannot be asked says why when something is sent there.
        let found = self.waiting.wait(&|_| (), &|| false, |_| found);
        found.inspect_err(|error| tracing::debug!(%error, %name, "its layers are fetched")).unwrap_or(false)
    }

    fn send(&self, name: &Reference, target: &Digest, layers: &[LeftLayer]) -> Result<Descriptor, BoxError> {
        let (engine, who) = (&self.engine, (self.who)(&name.domain));
        let options = PushOptions { result: Some(target.clone()), left: left(layers), ..(self.how)(name) };
        let push = images::unheard(|progress| images::push(engine, options, who, progress));
        let sent = self.waiting.wait(&|_| (), &|| false, |_| push)?;
        Ok(sent.ok_or_else(|| Error::system("nothing was sent"))?)
    }
}

/// Layers by their digests, and where each is.
fn left(layers: &[LeftLayer]) -> BTreeMap<Digest, Option<Reference>> {
    layers.iter().map(|layer| (layer.descriptor.digest.clone(), layer.from.clone())).collect()
}
