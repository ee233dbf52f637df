//! The lowest layer of every container: what the runtime mounts onto, so that images need not bring it.
//!
//! ```text
//! <root>/skeleton/   dev proc sys etc/{hosts,hostname,resolv.conf,mtab} .dockerenv
//! ```
//!
//! Lying below the image's layers it shows only where the image has nothing of the name; and since the mount points are
//! found there, none has to be made in the container's own upper directory: a container that changed nothing has no
//! changes, and what `commit` keeps is only the user's.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::{Engine, ids};

const DIRECTORIES: [&str; 6] = ["dev", "dev/pts", "dev/shm", "proc", "sys", "etc"];
const FILES: [&str; 5] = ["dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv"];

/// Where it is.
pub(crate) fn dir(engine: &Engine) -> PathBuf {
    engine.config().root.join("skeleton")
}

/// Makes it, once for a root.
pub(crate) fn ensure(root: &Path) -> Result<()> {
    let dir = root.join("skeleton");
    if dir.is_dir() {
        return Ok(());
    }
    let partial = root.join("ingest").join(format!("skeleton-{}", ids::short(&ids::new()?)));
    fill(&partial).during(format_args!("make {}", partial.display()))?;
    match std::fs::rename(&partial, &dir) {
        // Another engine was faster.
        Err(_) if dir.is_dir() => {
            std::fs::remove_dir_all(&partial).during(format_args!("delete {}", partial.display()))
        }
        renamed => renamed.during(format_args!("make {}", dir.display())),
    }
}

fn fill(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    for name in DIRECTORIES {
        std::fs::DirBuilder::new().mode(0o755).create(dir.join(name))?;
    }
    for name in FILES {
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(dir.join(name))?;
    }
    symlink("/proc/mounts", dir.join("etc/mtab"))
}
