//! What was done so far, to be undone in reverse order if the rest fails.

type Step = Box<dyn FnOnce() + Send>;

/// A stack of undo steps. Dropping it runs them, last first; [`Undo::keep`] forgets them.
#[derive(Default)]
pub(crate) struct Undo {
    steps: Vec<Step>,
}

impl Undo {
    /// Adds the reverse of what has just been done. It cannot fail: it reports and goes on.
    pub fn push(&mut self, step: impl FnOnce() + Send + 'static) {
        self.steps.push(Box::new(step));
    }

    /// The operation succeeded.
    pub fn keep(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn steps_run_in_reverse_unless_kept() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        for keep in [false, true] {
            let mut undo = Undo::default();
            for n in [1, 2] {
                let seen = seen.clone();
                undo.push(move || seen.lock().unwrap().push(n));
            }
            if keep {
                undo.keep();
            }
        }
        assert_eq!(*seen.lock().unwrap(), [2, 1]);
    }
}
