//! The base image of a build: first what it is, and its layers once somebody needs them.
//!
//! Until then nothing of it is in the store: its documents wait in a [`Batch`], which goes with whoever has it. What is fetched
//! is what was found, whatever the name stands for by then.

use std::sync::Arc;

use api::JsonMessage;
use oci::image::{CONFIG_MAX, ImageConfig, Manifest};
use oci::{Digest, Platform, Reference};
use registry::Credentials;
use store::{Batch, Claim, Image};
use tokio::sync::mpsc::Sender;

use super::{Chosen, Fit, Pull, artifact_kind, client};
use crate::Engine;
use crate::error::{Error, Result};
use crate::images::report::Report;

/// What a registry has under the name of a base image.
pub enum Resolved {
    /// It is here; what the name itself stands for, which may be an index.
    Here(Digest, Box<Image>),
    /// Its layers can be fetched.
    There(Box<Unfetched>),
}

/// An image whose layers were left where they are.
pub struct Unfetched {
    order: Order,
    target: Digest,
    chosen: Chosen,
    config: ImageConfig,
    /// What has to be signed of it.
    signed: Option<String>,
    documents: Arc<Batch>,
}

/// Which image is wanted, and by whom.
struct Order {
    engine: Engine,
    reference: Reference,
    platform: Platform,
    renews: bool,
    credentials: Option<Credentials>,
}

impl Order {
    fn pull(&self, progress: Sender<JsonMessage>) -> Pull {
        Pull {
            engine: self.engine.clone(),
            client: client(&self.engine, &progress),
            credentials: self.credentials.clone(),
            platform: Some(self.platform.clone()),
            fit: Fit::IfChosen,
            attached: false,
            report: Report::new(progress),
        }
    }
}

/// Asks a registry for an image: where there is only one, it may be for another platform. Its name goes to it only if it means nothing
/// else here: a build changes no names but its own. What has come from there may be renewed.
pub(in crate::images) async fn find(
    engine: &Engine,
    (reference, platform, renews): (&Reference, &Platform, bool),
    credentials: Option<Credentials>,
    progress: Sender<JsonMessage>,
) -> Result<Resolved> {
    let (engine, platform) = (engine.clone(), platform.clone());
    let order = Order { engine, reference: reference.clone(), platform, renews, credentials };
    let pull = order.pull(progress);
    let repository = pull.repository(reference);
    let demand = pull.demand(reference).await?;
    if let Some((target, image)) = pull.unchanged(&repository, reference).await? {
        let signed = pull.verify(&repository, demand.as_ref(), &target, &image.digest).await?;
        pull.keep_signatures(&image.digest, signed).await?;
        return Ok(Resolved::Here(target, Box::new(image)));
    }
    let (target, batch, chosen) = pull.resolve(&repository, reference).await?;
    let signed = pull.verify(&repository, demand.as_ref(), &target, &chosen.digest).await?;
    if let Some(kind) = artifact_kind(&chosen.manifest, reference) {
        let (name, kind) = (reference.familiar(), kind.to_owned());
        return Err(store::Error::Artifact { name, kind }.into());
    }
    let config = pull.config(&batch, &repository, &chosen.manifest, reference).await?;
    if chosen.digest != target {
        pull.check_platform(&config, reference)?;
    }
    let unfetched = Unfetched { order, target, chosen, config, signed, documents: batch };
    Ok(Resolved::There(Box::new(unfetched)))
}

impl Unfetched {
    /// What its name stands for: its manifest, or an index.
    pub fn root(&self) -> &Digest {
        &self.target
    }

    /// Its name.
    pub fn name(&self) -> &Reference {
        &self.order.reference
    }

    /// Digest of its manifest.
    pub fn digest(&self) -> &Digest {
        &self.chosen.digest
    }

    pub fn manifest(&self) -> &Manifest {
        &self.chosen.manifest
    }

    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// Its configuration as it stands.
    pub(in crate::images) fn document(&self) -> Result<Vec<u8>> {
        Ok(self.documents.read_blob(&self.chosen.manifest.config.digest, CONFIG_MAX)?)
    }

    /// What it is called here: one for another machine by its digest alone, so that the name goes on meaning one for this.
    fn called(&self) -> Reference {
        match Platform::host().matches(&self.config.platform()) {
            true => self.order.reference.clone(),
            false => self.order.reference.with_digest(self.target.clone()),
        }
    }

    /// Remembers what its name stands for, where it did not get that name.
    async fn remember(&self) -> Result<()> {
        let (reference, target) = (self.order.reference.clone(), self.target.clone());
        if self.called() == reference || reference.digest.is_some() {
            return Ok(());
        }
        let put = move |engine: &Engine| {
            engine.db().write(|tx| Ok::<_, Error>(state::bases::put(tx, &reference, &target)?))
        };
        self.order.engine.blocking(put).await
    }

    /// Fetches its layers, and has it in the store under its name. Who was stopped may try again.
    pub(in crate::images) async fn fetch(&self, progress: Sender<JsonMessage>) -> Result<()> {
        let pull = self.order.pull(progress);
        let (reference, chosen) = (&self.order.reference, &self.chosen);
        // The lease of each attempt ends with it: it says by itself when nobody waits any more.
        let batch = pull.batch(reference).await?;
        pull.report.stops(batch.lease());
        pull.layers(&batch, &pull.repository(reference), &chosen.manifest, &self.config).await?;
        let documents = self.documents.clone();
        pull.engine.blocking(move |_| Ok(documents.publish()?)).await?;
        pull.keep_signatures(&chosen.digest, self.signed.clone()).await?;
        let claim = if self.order.renews { Claim::Renewed } else { Claim::Free };
        pull.record(&batch, &self.called(), &self.target, (&chosen.digest, claim)).await?;
        self.remember().await
    }
}
