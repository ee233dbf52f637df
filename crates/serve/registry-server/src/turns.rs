//! Who may change the manifests and tags of a repository now: one at a time. What a push has looked at is still so when it
//! writes, and what a removal has read is what it removes.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

use crate::name::Name;

/// Repositories that change at the same moment; two that share a turn wait for each other.
const TURNS: usize = 64;

/// Whose turn it is. Whoever keeps the collector off ([`crate::storage`]'s hold) does that first.
pub(crate) struct Turns {
    turns: [Mutex<()>; TURNS],
    state: RandomState,
}

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns { turns: std::array::from_fn(|_| Mutex::new(())), state: RandomState::new() }
    }

    /// Waits for the turn of this repository.
    pub(crate) async fn of(&self, name: &Name) -> MutexGuard<'_, ()> {
        let number = self.state.hash_one(name.as_str()) % TURNS as u64;
        self.turns[number as usize].lock().await
    }
}
