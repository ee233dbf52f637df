//! When images were last used: the time of the configuration's file, which nothing else needs. Noting it costs two microseconds
//! and no transaction.

use crate::{Error, Store};
use oci::Digest;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::time::SystemTime;

impl Store {
    /// Notes that the image of this id is used now. A note that can't be made is none.
    pub fn touch(&self, id: &Digest) {
        let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
        let _ = rustix::fs::utimensat(CWD, self.blob_path(id), &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// When the image of this id was used last.
    pub fn last_use(&self, id: &Digest) -> Result<SystemTime, Error> {
        let path = self.blob_path(id);
        std::fs::symlink_metadata(&path)
            .and_then(|metadata| metadata.modified())
            .map_err(Error::io("look at", path))
    }
}
