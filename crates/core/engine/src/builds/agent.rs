//! A socket at which a build's steps reach an ssh agent that is elsewhere.

use std::path::{Path, PathBuf};

use store::Lease;
use tokio::net::UnixListener;

use super::leftovers;
use crate::Engine;
use crate::containers::record::make_private_dir;
use crate::error::{Context as _, Result};

/// Such a socket, in a directory of its own below `<run>/build`; both go with this.
pub struct AgentSocket {
    directory: PathBuf,
    path: PathBuf,
    _lease: Lease,
}

impl AgentSocket {
    /// The socket, and what listens at it.
    pub async fn new(engine: &Engine) -> Result<(AgentSocket, UnixListener)> {
        let made = engine.blocking(|engine| {
            let lease = engine.store().lease("ssh agent")?;
            let directory = leftovers::secrets(engine).join(format!("{}-agent", lease.id()));
            make_private_dir(&directory)?;
            let path = directory.join("agent");
            let socket = AgentSocket { directory, path, _lease: lease };
            let failed = || format!("listen on {}", socket.path.display());
            let listener = std::os::unix::net::UnixListener::bind(&socket.path).during(failed())?;
            listener.set_nonblocking(true).during(failed())?;
            Ok((socket, listener))
        });
        let (socket, listener) = made.await?;
        let failed = || format!("listen on {}", socket.path.display());
        let listener = UnixListener::from_std(listener).during(failed())?;
        Ok((socket, listener))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        // What stays is found by the check of the system.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
