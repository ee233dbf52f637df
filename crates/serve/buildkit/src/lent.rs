//! Images that are there only because results of builds have them. Several builds at once may make the same one: whoever has it last
//! takes it back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::Engine;
use engine::builds::Lease;
use oci::Digest;

use crate::Host;

/// The images of all results, by their manifests.
#[derive(Clone, Default)]
pub struct Lent(Arc<Mutex<HashMap<Digest, Users>>>);

#[derive(Default)]
struct Users {
    count: usize,
    /// It was not there before the first of them, and nobody keeps it.
    is_to_go: bool,
}

impl Lent {
    fn all(&self) -> MutexGuard<'_, HashMap<Digest, Users>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a result has this image, which its build has made anew or found.
    fn add(&self, manifest: &Digest, is_new: bool) {
        let mut all = self.all();
        let users = all.entry(manifest.clone()).or_default();
        users.count += 1;
        users.is_to_go |= is_new;
    }

    /// Forgets a result with these images; those that go with it. With `kept` they are to stay, whoever else has them.
    fn remove(&self, manifests: Vec<Digest>, kept: bool) -> Vec<Digest> {
        let mut all = self.all();
        let goes = |manifest: &Digest| {
            let Some(users) = all.get_mut(manifest) else { return false };
            users.count -= 1;
            users.is_to_go &= !kept;
            if users.count > 0 {
                return false;
            }
            all.remove(manifest).is_some_and(|users| users.is_to_go)
        };
        let mut manifests = manifests;
        manifests.retain(goes);
        manifests
    }

    /// Whether a result has come by this image meanwhile; then it goes with that one.
    fn passes_on(&self, manifest: &Digest) -> bool {
        let mut all = self.all();
        let users = all.get_mut(manifest);
        users.map(|users| users.is_to_go = true).is_some()
    }

    /// Forgets a result, and in time what goes with it.
    fn take_back(&self, engine: &Engine, manifests: Vec<Digest>, held: Option<Arc<Lease>>, kept: bool) {
        let gone = self.remove(manifests, kept);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (engine, lent) = (engine.clone(), self.clone());
        runtime.spawn(async move {
            // What is still held would stay.
            let _ = tokio::task::spawn_blocking(move || drop(held)).await;
            if gone.is_empty() {
                return;
            }
            let goes = move |manifest: &Digest| !lent.passes_on(manifest);
            if let Err(error) = engine::images::discard(&engine, gone, goes).await {
                tracing::warn!(%error, "what a build made for its client was not removed");
            }
        });
    }
}

/// The images of one result. Given back when dropped.
///
/// An image is added within the transaction that records it, and asked about within the one that forgets it: so nobody finds an
/// image that another result is just taking with it.
pub struct Loan {
    engine: Engine,
    lent: Lent,
    manifests: Mutex<Vec<Digest>>,
    kept: AtomicBool,
    /// Keeps the images from whoever clears up.
    held: Option<Arc<Lease>>,
}

impl Loan {
    /// Of a result that has no image yet; they are held by this.
    pub fn new(host: &Host, held: Option<Arc<Lease>>) -> Loan {
        let (engine, lent) = (host.engine().clone(), host.lent().clone());
        Loan { engine, lent, manifests: Mutex::default(), kept: false.into(), held }
    }

    /// Notes that the result has this image, which its build has made anew or found.
    pub fn add(&self, manifest: &Digest, is_new: bool) {
        self.lent.add(manifest, is_new);
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner).push(manifest.clone());
    }

    /// The images are to stay.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let manifests = std::mem::take(self.manifests.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.lent.take_back(&self.engine, manifests, self.held.take(), *self.kept.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_takes_it_back() {
        let lent = Lent::default();
        let (one, other) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let remove = |all: &[&Digest], kept| lent.remove(all.iter().map(|d| (*d).clone()).collect(), kept);
        // The second build finds what the first has made.
        lent.add(&one, true);
        lent.add(&one, false);
        lent.add(&other, false);
        assert_eq!(remove(&[&one], false), vec![]);
        assert_eq!(remove(&[&one, &other], false), vec![one.clone()], "the other one was there before");
        // What one of them keeps stays.
        lent.add(&one, true);
        lent.add(&one, false);
        assert_eq!((remove(&[&one], true), remove(&[&one], false)), (vec![], vec![]));
        // Who comes while it is on its way out has it, and takes it back.
        assert!(!lent.passes_on(&one));
        lent.add(&one, false);
        assert!(lent.passes_on(&one));
        assert_eq!(remove(&[&one], false), vec![one]);
    }
}
