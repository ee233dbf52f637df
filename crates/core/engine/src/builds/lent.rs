//! Results that are handed out after their build: as files, as archives, to other builds. Until that is over their images, which
//! need no name, are held, so that nobody who clears up takes them away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use oci::Digest;
use store::Lease;
use tokio::runtime::Handle;

use crate::Engine;
use crate::error::Result;

/// How long a result is held for a client that does not say that it is done: it may be gone.
const PATIENCE: Duration = Duration::from_secs(600);

/// Takes a lease that is to hold the images of a result.
pub async fn hold(engine: &Engine) -> Result<Arc<Lease>> {
    engine.blocking(lease).await
}

/// [`hold`] on a thread that may block.
pub(super) fn lease(engine: &Engine) -> Result<Arc<Lease>> {
    Ok(Arc::new(engine.store().lease("result of a build")?))
}

/// A client is done with a result that it has handed out, by the digest of any of its manifests or of its index.
pub async fn give_back(engine: &Engine, manifest: Digest) -> Result<()> {
    engine
        .blocking(move |engine| {
            engine.lent().end(|loan| loan.manifests.contains(&manifest));
            Ok(())
        })
        .await
}

impl Engine {
    /// Holds a result until it is given back, or nobody can be expected to do that any more.
    pub(crate) fn lend(&self, lease: Arc<Lease>, manifests: Vec<Digest>) {
        // A build for its cache alone has none.
        if manifests.is_empty() {
            return;
        }
        let late = Arc::downgrade(&lease);
        self.lent().all().push(Loan { manifests, lease });
        if let Ok(runtime) = Handle::try_current() {
            let engine = self.clone();
            runtime.spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                let of = move |loan: &Loan| Weak::ptr_eq(&Arc::downgrade(&loan.lease), &late);
                let end = move |engine: &Engine| {
                    engine.lent().end(of);
                    Ok(())
                };
                engine.blocking(end).await
            });
        }
    }
}

/// The results that clients of this engine are handing out.
#[derive(Default)]
pub(crate) struct Lent(Mutex<Vec<Loan>>);

struct Loan {
    /// With their index.
    manifests: Vec<Digest>,
    lease: Arc<Lease>,
}

impl Lent {
    fn all(&self) -> MutexGuard<'_, Vec<Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds one result less, if there is such a one.
    fn end(&self, of: impl Fn(&Loan) -> bool) {
        let mut all = self.all();
        let found = all.iter().position(of).map(|at| all.remove(at));
        drop(all);
        // Giving up a lease takes a while.
        drop(found);
    }
}
