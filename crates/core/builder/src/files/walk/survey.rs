//! Directories listed side by side: a few threads take what waits to be listed, and what they find is put in order at the end.

use super::{Child, Item, Listed, Names, Task, Tree};
use crate::files::Error;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Threads that list directories at most.
const THREADS: usize = 4;
/// Directories that have to wait before another thread is worth its start.
const BACKLOG: usize = 8;

/// A directory whose entries are being put in order.
struct Open {
    /// Where its items begin.
    begun: usize,
    ignored: bool,
    names: Vec<u8>,
    children: std::vec::IntoIter<Child>,
}

/// A walk under way.
pub struct Survey<'s, 't> {
    tree: &'s Tree<'t>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Task>,
    listed: Vec<Option<(Task, Listed)>>,
    /// Directories that are being listed.
    busy: usize,
    threads: usize,
    /// Threads that wait for directories: telling nobody costs a system call all the same.
    idle: usize,
    error: Option<Error>,
}

impl<'s, 't> Survey<'s, 't> {
    pub fn new(tree: &'s Tree<'t>, top: Task) -> Self {
        let state = State {
            waiting: VecDeque::from([top]),
            listed: vec![None],
            busy: 0,
            threads: 1,
            idle: 0,
            error: None,
        };
        Self { tree, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists directories until there are none left. The first thread calls others when there is much to do.
    pub fn serve<'scope, 'env>(&'scope self, scope: Option<&'scope std::thread::Scope<'scope, 'env>>) {
        let limit = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let mut names = Names::new();
        let mut state = self.lock();
        loop {
            if state.error.is_some() || (state.waiting.is_empty() && state.busy == 0) {
                self.changed.notify_all();
                return;
            }
            let Some(task) = state.waiting.pop_front() else {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            state.busy += 1;
            if let Some(scope) = scope
                && state.waiting.len() >= BACKLOG
                && state.threads < limit
            {
                state.threads += 1;
                scope.spawn(|| self.serve(None));
            }
            drop(state);
            let found = self.tree.list(&task, &mut names);
            state = self.lock();
            state.busy -= 1;
            match found {
                Ok((listed, deeper)) => state.enter(task, listed, deeper),
                Err(error) => drop(state.error.get_or_insert(error)),
            }
            if state.idle > 0 {
                self.changed.notify_all();
            }
        }
    }

    /// Everything that was found, in order.
    pub fn items(self) -> Result<Vec<Item>, Error> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error {
            return Err(error);
        }
        let count = state.listed.iter().flatten().map(|(_, listed)| listed.children.len()).sum::<usize>() + 1;
        let mut items: Vec<Item> = Vec::with_capacity(count);
        let mut open: Vec<Open> = Vec::new();
        let mut next = Some(0);
        loop {
            if let Some((task, listed)) = next.take().and_then(|number: usize| state.listed[number].take()) {
                let Listed { is_plain, names, children } = listed;
                let (begun, children) = (items.len(), children.into_iter());
                items.push(Item { is_plain, ..task.item });
                open.push(Open { begun, ignored: task.ignored, names, children });
            }
            let Some(directory) = open.last_mut() else { return Ok(items) };
            match directory.children.next() {
                Some(Child::Directory(number)) => next = Some(number),
                Some(Child::Other(leaf)) => {
                    let name = &directory.names[leaf.name.0 as usize..leaf.name.1 as usize];
                    items.push(leaf.item(&items[directory.begun], name));
                }
                None => {
                    if directory.ignored && items.len() == directory.begun + 1 {
                        items.pop();
                    }
                    open.pop();
                }
            }
        }
    }
}

impl State {
    /// Keeps a listing and numbers the directories in it.
    fn enter(&mut self, task: Task, mut listed: Listed, deeper: Vec<Task>) {
        let mut numbers = listed.children.iter_mut().filter_map(|child| match child {
            Child::Directory(number) => Some(number),
            Child::Other(_) => None,
        });
        for mut task in deeper {
            task.number = self.listed.len();
            if let Some(number) = numbers.next() {
                *number = task.number;
            }
            self.listed.push(None);
            self.waiting.push_back(task);
        }
        let number = task.number;
        self.listed[number] = Some((task, listed));
    }
}
