//! How many builds this process works on. A build that was cancelled kills its steps and clears up after them on a thread
//! of its own, after the answer is gone: who ends the process waits for that, and for whatever else holds a lease still, such as a
//! pull that failed.

use std::sync::atomic::{AtomicUsize, Ordering};

static BUILDS: AtomicUsize = AtomicUsize::new(0);

/// Counts a build for as long as it lives.
pub(super) struct UnderWay(());

impl UnderWay {
    pub(super) fn begin() -> Self {
        BUILDS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        BUILDS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a build of this process runs or clears up, or something else does that holds on to content.
pub fn are_under_way() -> bool {
    BUILDS.load(Ordering::SeqCst) > 0 || store::are_held()
}
