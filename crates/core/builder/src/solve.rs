//! The solver: runs the operations of a graph side by side, each when what it needs is there.
//!
//! It knows numbers and dependencies only: what an operation is keyed by and how it is done is `work`'s, so this is tested
//! with fakes. [`Once`] merges work with identical keys, whether it comes from one graph or from several.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How many steps run at once: as many as are asked for, or, with 0, what suits this machine.
pub fn workers(wanted: usize) -> usize {
    match wanted {
        // Many steps wait more than they work: for the network, for a lock, for a disk.
        0 => (2 * std::thread::available_parallelism().map_or(2, usize::from)).max(16),
        n => n,
    }
}

/// A limit that several graphs at once share.
pub struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

/// A place within the limit, until it is dropped.
pub struct Place<'g>(&'g Gate);

impl Gate {
    /// A gate for so many at once.
    pub fn new(limit: usize) -> Self {
        Self { free: Mutex::new(limit.max(1)), changed: Condvar::new() }
    }

    /// Waits for a place. Whoever has one must not wait for somebody who has none yet.
    pub fn enter(&self) -> Place<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}

/// Runs `work` for every index of `needs` once all the indices that it lists are done, at most `workers` at once.
/// After the first error nothing new begins; `abort` is called so that what runs can stop. The first error is returned.
pub fn solve<T, E>(
    needs: &[Vec<usize>],
    workers: usize,
    abort: &(dyn Fn() + Sync),
    work: &(dyn Fn(usize, Vec<T>) -> Result<T, E> + Sync),
) -> Result<Vec<T>, E>
where
    T: Clone + Send,
    E: Send,
{
    let mut waited_for = vec![Vec::new(); needs.len()];
    let mut missing = Vec::with_capacity(needs.len());
    for (index, needs) in needs.iter().enumerate() {
        let needs: BTreeSet<usize> = needs.iter().copied().collect();
        missing.push(needs.len());
        needs.into_iter().for_each(|need| waited_for[need].push(index));
    }
    let ready = (0..needs.len()).filter(|index| missing[*index] == 0).collect();
    let done = vec![None; needs.len()];
    let board = Board {
        state: Mutex::new(State { waited_for, missing, ready, running: 0, done, error: None }),
        changed: Condvar::new(),
    };
    let threads = workers.clamp(1, needs.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| board.serve(needs, abort, work));
        }
    });
    let state = board.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None => Ok(state.done.into_iter().flatten().collect()),
    }
}

struct Board<T, E> {
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

struct State<T, E> {
    /// Who needs each.
    waited_for: Vec<Vec<usize>>,
    /// How many that each needs are not done.
    missing: Vec<usize>,
    /// In the order of the Dockerfile, so that a single worker behaves as people expect.
    ready: BTreeSet<usize>,
    running: usize,
    done: Vec<Option<T>>,
    error: Option<E>,
}

impl<T: Clone + Send, E: Send> Board<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes work until there is none left.
    fn serve(
        &self,
        needs: &[Vec<usize>],
        abort: &(dyn Fn() + Sync),
        work: &(dyn Fn(usize, Vec<T>) -> Result<T, E> + Sync),
    ) {
        let mut state = self.lock();
        loop {
            if state.error.is_some() || (state.ready.is_empty() && state.running == 0) {
                self.changed.notify_all();
                return;
            }
            let Some(index) = state.ready.pop_first() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.running += 1;
            let inputs: Vec<T> = needs[index].iter().filter_map(|n| state.done[*n].clone()).collect();
            drop(state);
            let result = work(index, inputs);
            state = self.lock();
            state.running -= 1;
            match result {
                Ok(value) => state.finish(index, value),
                Err(error) => {
                    abort();
                    state.error.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
    }
}

impl<T, E> State<T, E> {
    fn finish(&mut self, index: usize, value: T) {
        self.done[index] = Some(value);
        for other in std::mem::take(&mut self.waited_for[index]) {
            self.missing[other] -= 1;
            if self.missing[other] == 0 {
                self.ready.insert(other);
            }
        }
    }
}

/// Does work once per key: whoever comes second waits for the first one's result. A failure is not kept: the next in line
/// tries for itself.
pub struct Once<K, T> {
    slots: Mutex<HashMap<K, Arc<Slot<T>>>>,
}

struct Slot<T>(Mutex<Option<T>>);

impl<K, T> Default for Once<K, T> {
    fn default() -> Self {
        Self { slots: Mutex::new(HashMap::new()) }
    }
}

impl<K: Hash + Eq, T: Clone> Once<K, T> {
    /// The value of `key`, made by `make` if nobody has made it, and whether it was made here.
    pub fn get<E>(&self, key: K, make: impl FnOnce() -> Result<T, E>) -> Result<(T, bool), E> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_insert_with(|| Arc::new(Slot(Mutex::new(None)))))
        };
        let mut value = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*value {
            return Ok((value.clone(), false));
        }
        let made = make()?;
        *value = Some(made.clone());
        Ok((made, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn order_and_inputs() {
        let needs = vec![vec![], vec![0], vec![0], vec![1, 2]];
        let out = solve(&needs, 4, &|| {}, &|i, inputs: Vec<String>| {
            Ok::<_, ()>(format!("{i}({})", inputs.join(",")))
        });
        assert_eq!(out.unwrap()[3], "3(1(0()),2(0()))");
    }

    #[test]
    fn independent_work_runs_at_once() {
        // Nobody passes the barrier unless three are at work together.
        let barrier = Barrier::new(3);
        let needs = vec![vec![], vec![], vec![]];
        let out = solve(&needs, 3, &|| {}, &|i, _: Vec<usize>| {
            barrier.wait();
            Ok::<_, ()>(i)
        });
        assert_eq!(out, Ok(vec![0, 1, 2]));
    }

    #[test]
    fn never_more_than_the_workers() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let needs = vec![vec![]; 50];
        let work = |_, _: Vec<()>| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        solve(&needs, 2, &|| {}, &work).unwrap();
        assert!(most.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn graphs_at_once_share_a_limit() {
        let (gate, now, most) = (Gate::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        let needs = vec![vec![]; 50];
        let work = |_, _: Vec<()>| {
            let _place = gate.enter();
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| solve(&needs, 4, &|| {}, &work).unwrap());
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert_eq!(workers(3), 3);
        assert!(workers(0) >= 16);
    }

    #[test]
    fn the_first_error_stops_the_rest() {
        let (ran, aborted) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let needs = vec![vec![], vec![0], vec![1]];
        let abort = || {
            aborted.fetch_add(1, Ordering::SeqCst);
        };
        let out = solve(&needs, 2, &abort, &|i, _: Vec<()>| {
            ran.fetch_add(1, Ordering::SeqCst);
            if i == 1 { Err("boom") } else { Ok(()) }
        });
        assert_eq!(out, Err("boom"));
        assert_eq!((ran.load(Ordering::SeqCst), aborted.load(Ordering::SeqCst)), (2, 1));
    }

    #[test]
    fn nothing_to_do() {
        assert_eq!(solve(&[], 2, &|| {}, &|_, _: Vec<()>| Ok::<_, ()>(())), Ok(vec![]));
    }

    #[test]
    fn identical_keys_are_merged() {
        let made = AtomicUsize::new(0);
        let once: Once<&str, usize> = Once::default();
        let needs = vec![vec![]; 8];
        let out = solve(&needs, 8, &|| {}, &|_, _: Vec<usize>| {
            once.get("key", || Ok::<_, ()>(made.fetch_add(1, Ordering::SeqCst) + 7)).map(|v| v.0)
        });
        assert_eq!(out, Ok(vec![7; 8]));
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(once.get("bad", || Err::<usize, _>("no")), Err("no"));
        assert_eq!(once.get("bad", || Ok::<_, ()>(1)), Ok((1, true)));
    }
}
