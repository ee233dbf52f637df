//! Results that are handed out after their build: as files, as archives, to other builds. Until that is over their images, which
//! need no name, are held, so that nobody who clears up takes them away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oci::Digest;
use store::Lease;

use crate::Engine;
use crate::error::Result;

/// How long a result waits for a client that does not say that it is done.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Takes a lease that is to hold the images of a result.
pub async fn hold(engine: &Engine) -> Result<Arc<Lease>> {
    engine.blocking(lease).await
}

/// [`hold`] on a thread that may block.
pub(super) fn lease(engine: &Engine) -> Result<Arc<Lease>> {
    Ok(Arc::new(engine.store().lease("result of a build")?))
}

/// A client is done with a result that it has handed out, by the digest of any of its manifests or of its index.
pub async fn give_back(engine: &Engine, manifests: Vec<Digest>) -> Result<()> {
    engine
        .blocking(move |engine| {
            engine.lent().give_back(&manifests);
            Ok(())
        })
        .await
}

/// The results that clients of this engine are handing out.
#[derive(Default)]
pub(crate) struct Lent(Mutex<Vec<Loan>>);

struct Loan {
    since: Instant,
    /// With their index.
    manifests: Vec<Digest>,
    _lease: Arc<Lease>,
}

impl Lent {
    fn all(&self) -> MutexGuard<'_, Vec<Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a result until it is given back.
    pub fn add(&self, lease: Arc<Lease>, manifests: Vec<Digest>) {
        let mut all = self.all();
        let late: Vec<Loan> = all.extract_if(.., |loan| loan.since.elapsed() > PATIENCE).collect();
        all.push(Loan { since: Instant::now(), manifests, _lease: lease });
        drop(all);
        // Giving up a lease takes a while.
        drop(late);
    }

    /// One client is done with a result that has any of these.
    pub fn give_back(&self, manifests: &[Digest]) {
        let mut all = self.all();
        let of = |loan: &Loan| loan.manifests.iter().any(|manifest| manifests.contains(manifest));
        let found = all.iter().position(of).map(|at| all.remove(at));
        drop(all);
        drop(found);
    }
}
