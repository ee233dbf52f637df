//! A small file of lines that is read again when it changes.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Error;

/// How often is looked whether the file is another.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest file.
const MOST: u64 = 16 << 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark(u64, u64, i64, i64);

pub(super) struct Watched<T> {
    path: PathBuf,
    parse: fn(&str) -> Result<T, (usize, String)>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    mark: Mark,
    looked: Instant,
}

impl<T> Watched<T> {
    /// Reads the file; `parse` says what is wrong with which line.
    pub(super) fn open(
        path: &Path,
        parse: fn(&str) -> Result<T, (usize, String)>,
    ) -> Result<Watched<T>, Error> {
        let (value, mark) = read(path, parse)?;
        let state = State { value: Arc::new(value), mark, looked: Instant::now() };
        Ok(Watched { path: path.to_owned(), parse, state: Mutex::new(state) })
    }

    /// What the file says. A change that can't be read is told in the log, and what was there before holds.
    pub(super) fn now(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < PAUSE {
            return state.value.clone();
        }
        state.looked = Instant::now();
        if mark(&self.path).is_ok_and(|mark| mark != state.mark) {
            match read(&self.path, self.parse) {
                Ok((value, mark)) => (state.value, state.mark) = (Arc::new(value), mark),
                Err(error) => {
                    tracing::error!(error = %crate::error::chain(&error), "a changed file is not used")
                }
            }
        }
        state.value.clone()
    }
}

fn mark(path: &Path) -> io::Result<Mark> {
    let metadata = std::fs::metadata(path)?;
    Ok(Mark(metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

fn read<T>(path: &Path, parse: fn(&str) -> Result<T, (usize, String)>) -> Result<(T, Mark), Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mark = mark(path).map_err(failed)?;
    if mark.1 > MOST {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let bad = |(line, problem)| Error::Line { path: path.to_owned(), line, problem };
    Ok((parse(&text).map_err(bad)?, mark))
}

/// The lines that say something, with their numbers.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}
