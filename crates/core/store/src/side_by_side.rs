//! Waiting for several at once, each of which may block.

use std::sync::{Mutex, PoisonError};

/// Does this for each, `at_once` at a time, and none any more once one has failed. Those that the machine has no thread for wait.
pub fn side_by_side<T: Send, R: Send, E: Send>(
    at_once: usize,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let others = items.len().min(at_once).saturating_sub(1);
    let waiting = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        while let Some((place, item)) = next() {
            let result = work(item);
            if result.is_err() {
                waiting.lock().unwrap_or_else(PoisonError::into_inner).by_ref().for_each(drop);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
        }
    };
    std::thread::scope(|scope| {
        let begun = (0..others).map(|_| std::thread::Builder::new().spawn_scoped(scope, worker));
        // Whoever could not be begun is not missed: this thread works too.
        begun.for_each(drop);
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    const AT_ONCE: usize = 8;

    #[test]
    fn few_at_once_and_in_order() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |number: usize| {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, SeqCst);
            Ok::<_, ()>(number * 2)
        };
        let all = side_by_side(AT_ONCE, (0..10_000).collect(), work).unwrap();
        assert!(all.iter().enumerate().all(|(place, done)| *done == place * 2) && all.len() == 10_000);
        assert!(most.load(SeqCst) <= AT_ONCE);
        assert!(side_by_side(AT_ONCE, Vec::<usize>::new(), work).unwrap().is_empty());
        let begun = AtomicUsize::new(0);
        let fail = |_| match begun.fetch_add(1, SeqCst) {
            0 => Err("stop"),
            _ => Ok(()),
        };
        let failed = side_by_side(AT_ONCE, (0..10_000_000).collect::<Vec<u32>>(), fail);
        assert_eq!(failed, Err("stop"));
        assert!(begun.load(SeqCst) < 10_000_000);
    }
}
