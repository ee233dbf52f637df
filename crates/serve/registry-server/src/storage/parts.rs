//! Objects that go in parts: what was begun and not ended is noted on disk, for a store keeps such parts, and asks for money for
//! them, until it is told to forget them.
//!
//! ```text
//! parts/<random>        the key and the store's name of an upload in parts
//! ```

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry::{Bucket, Unfinished};

use super::{Disk, Error};

const FOLDER: &str = "parts";

/// The notes, and which of them are of uploads that go on.
#[derive(Clone)]
pub(super) struct Notes {
    disk: Disk,
    going_on: Arc<Mutex<HashSet<String>>>,
}

/// A note of an upload that goes on.
pub(super) struct Note {
    name: String,
    notes: Notes,
}

impl Drop for Note {
    fn drop(&mut self) {
        self.notes.lock().remove(&self.name);
    }
}

impl Notes {
    pub(super) fn new(disk: Disk) -> Notes {
        Notes { disk, going_on: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.going_on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was begun.
    pub(super) async fn write(&self, begun: &Unfinished) -> Result<Note, Error> {
        let name = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let text = serde_json::to_vec(&(&begun.key, &begun.id))
            .map_err(|error| Error::new("note parts of", &begun.key, error))?;
        self.lock().insert(name.clone());
        let note = Note { name: name.clone(), notes: self.clone() };
        let write = move |disk: &Disk| disk.put(&format!("{FOLDER}/{name}"), &text);
        self.disk.work("note parts of", &begun.key, write).await?;
        Ok(note)
    }

    /// It has ended.
    pub(super) async fn remove(&self, note: Note) -> Result<(), Error> {
        let path = format!("{FOLDER}/{}", note.name);
        self.disk.work("remove", &path.clone(), move |disk| disk.discard(&path)).await
    }

    /// Lets the store forget the parts of uploads that nobody goes on with; says how many those were.
    pub(super) async fn abort_left(&self, bucket: &Bucket) -> Result<usize, Error> {
        let names = self.disk.work("list", FOLDER, |disk| disk.files(FOLDER)).await?;
        let mut count = 0;
        for name in names {
            // Looked at one by one: one that is new since the list is somebody's.
            if self.lock().contains(&name) {
                continue;
            }
            let path = format!("{FOLDER}/{name}");
            let read = |disk: &Disk, path: &str| match disk.small(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                other => other,
            };
            let text = self
                .disk
                .work("read", &path, {
                    let path = path.clone();
                    move |disk| read(disk, &path)
                })
                .await?;
            if let Ok((key, id)) = serde_json::from_slice(&text) {
                let left = Unfinished { key, id };
                bucket.abort(&left).await.map_err(|error| Error::new("abort parts of", left.key, error))?;
                count += 1;
            }
            self.disk.work("remove", &path.clone(), move |disk| disk.discard(&path)).await?;
        }
        Ok(count)
    }
}
