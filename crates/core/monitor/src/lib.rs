//! The per-container process, its protocol and the client side of that protocol.
//!
//! One `dhow monitor` process owns one container's life: it creates and reaps the container's processes, carries their
//! stdio, writes the log, answers its questions for names, probes the health, applies the restart policy and records the
//! exit. No daemon stands above it; engines come and go as clients of its socket. It must not know images, networks, the
//! database or HTTP: it is handed a finished [`Config`] and open descriptors.
//!
//! # Life
//!
//! The monitor is spawned by the first client that needs one ([`client::ensure`]): a start, but also an attach or a wait
//! that comes before the start, so these work from any engine. It stays while the container runs (or is paused, or waits
//! for its restart), while its clean-up runs, and while a client is connected; then it leaves.
//!
//! ```text
//!            Start                 exit, policy says no
//!  created ─────────► running ───────────────────────────► exited ──► cleanup argv ──► `removed` waiters ──► leaves
//!                      │  ▲ ▲      exit, policy says yes      ▲
//!                Pause │  │ └──────────── restarting ◄────────│── (Stop while restarting goes to exited)
//!                      ▼  │ Unpause
//!                     paused
//! ```
//!
//! # Files
//!
//! ```text
//! <container_dir>/status.json        Status; replaced by rename, synced at every final exit before anyone hears of it
//! <container_dir>/log, log.1, …      json-file records (see `log`)
//! <run_dir>/containers/<id>/monitor.lock   flock(2) held exclusively for the monitor's life: liveness
//!                          monitor.sock    0600; only root or the monitor's own user may talk
//!                          monitor.err     the monitor's and the cleanup's standard error
//!                          status.json     how a container ended that is removed at its end; hides the other one
//! ```
//!
//! A status that says `running` while the lock is free means that the monitor was killed. The container died with it
//! (its init has a parent death signal), see [`client::observe`].
//!
//! # Who writes which event
//!
//! The monitor appends to the events file: `start`, `die`, `oom`, `kill`, `stop`, `pause`, `unpause`, `resize`, `detach`,
//! `exec_create`, `exec_start`, `exec_die`, `exec_detach`, `health_status`. Everything that is also possible without a
//! running container belongs to the engine: `create`, `attach`, `rename`, `update`, `restart`, `destroy` and the rest.
//! Health probes are not reported as `exec_*` events: they would be most of a quiet machine's history.

pub mod client;
mod config;
mod detach;
pub mod event;
mod health;
pub mod init;
pub mod log;
mod place;
pub mod protocol;
mod restart;
mod serve;
mod status;
pub mod stdcopy;

pub use config::{CONFIG_VERSION, Config, Further, Health, LogConfig, LogDriver, RestartName, RestartPolicy};
pub use detach::{DEFAULT_DETACH_KEYS, DetachKeysError, parse_detach_keys};
pub use restart::Restarts;
pub use status::{HealthLog, HealthRecord, HealthStatus, STATUS_VERSION, State, Status, StatusError};

pub use serve::run;

/// An error with all its causes, joined by `: `.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
