//! Results that are handed out after their build: as files, as archives, to registries, to other builds. Until that is over their
//! images are held, so that nobody who clears up takes them away. Those that somebody keeps, or that have a name, stay then; the
//! others are only lent, and go with the last one who holds them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::Digest;
use state::{Tx, images};
use store::Lease;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::under_way::UnderWay;
use crate::Engine;
use crate::error::Result;

/// Takes a lease that is to hold the images of a result.
pub async fn hold(engine: &Engine) -> Result<Arc<Lease>> {
    engine.blocking(|engine| Ok(Arc::new(engine.store().lease("result of a build")?))).await
}

/// Holds the images of a result until it is dropped.
pub struct Loan {
    engine: Engine,
    /// Until it is dropped.
    lease: Option<Arc<Lease>>,
}

impl Loan {
    /// Of a result that this lease holds, if it is the last one that has the lease.
    pub fn new(engine: &Engine, lease: Arc<Lease>) -> Loan {
        Loan { engine: engine.clone(), lease: Some(lease) }
    }

    /// These images are to stay afterwards.
    pub async fn keep(&self, manifests: Vec<Digest>) -> Result<()> {
        let keep = move |tx: &Tx<'_>| manifests.iter().try_for_each(|manifest| images::keep(tx, manifest));
        self.engine.blocking(move |engine| Ok(engine.db().write(keep)?)).await
    }

    /// Lets go, and returns when what goes with it is gone.
    pub(super) async fn end(mut self) -> Result<()> {
        let lease = self.lease.take();
        self.engine.blocking(|engine| end(engine, lease)).await
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let (engine, lease) = (self.engine.clone(), self.lease.take());
        if lease.is_none() {
            return;
        }
        let under_way = UnderWay::begin();
        let work = move || {
            if let Err(error) = end(&engine, lease) {
                tracing::warn!(%error, "what a build made for its client was not removed");
            }
            drop(under_way);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => work(),
        }
    }
}

/// Gives a lease up, and collects what only it kept.
fn end(engine: &Engine, lease: Option<Arc<Lease>>) -> Result<()> {
    if let Some(lease) = lease.and_then(Arc::into_inner)
        && lease.end()?
    {
        engine.store().gc()?;
    }
    Ok(())
}

/// The results that clients of this engine hand out, by their builds.
#[derive(Default)]
pub(crate) struct Lent(Mutex<BTreeMap<String, (Loan, oneshot::Sender<()>)>>);

impl Lent {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (Loan, oneshot::Sender<()>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result that a client hands out: until it gives that back ([`give_back`]), or this is dropped, as it is when the client goes.
pub struct Handout {
    engine: Engine,
    build: String,
    given_back: oneshot::Receiver<()>,
}

impl Handout {
    /// Of a build that is yet to come and holds its result by this lease.
    pub fn begin(engine: &Engine, build: &str, lease: Arc<Lease>) -> Handout {
        let (loan, (sender, given_back)) = (Loan::new(engine, lease), oneshot::channel());
        engine.lent().all().insert(build.to_owned(), (loan, sender));
        Handout { engine: engine.clone(), build: build.to_owned(), given_back }
    }

    /// Returns when the client is done.
    pub async fn given_back(&mut self) {
        // Nothing is sent: the other end goes.
        let _ = (&mut self.given_back).await;
    }
}

impl Drop for Handout {
    fn drop(&mut self) {
        let loan = self.engine.lent().all().remove(&self.build);
        drop(loan);
    }
}

/// The engine serves nobody any more. What is being read is held by who reads it, and its client could ask for no more of it.
pub fn end_handouts(engine: &Engine) {
    let ended = std::mem::take(&mut *engine.lent().all());
    drop(ended);
}

/// The client of this build is done with its result. What goes with it is gone then.
pub async fn give_back(engine: &Engine, build: &str) -> Result<()> {
    let loan = engine.lent().all().remove(build);
    match loan {
        Some((loan, _)) => loan.end().await,
        None => Ok(()),
    }
}
