//! What the engine tells a monitor about its container: everything that a start, and every restart after it, needs.
//!
//! The document travels in `Start` and lives in the monitor's memory only. It is versioned, because an old monitor may
//! meet a new engine: fields are added with defaults, and a change of meaning raises [`CONFIG_VERSION`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use oci::runtime::{Rlimit, Spec};
use runtime::Rootfs;
use serde::{Deserialize, Serialize};

/// The version of [`Config`] that this crate writes and understands.
pub const CONFIG_VERSION: u32 = 1;

/// One container, ready to be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// Full container id (64 hexadecimal digits).
    pub id: String,
    /// Name without the leading slash; an attribute of events.
    pub name: String,
    /// The image as the user wrote it; an attribute of events.
    pub image: String,
    /// Labels; attributes of events, nothing is ever read from them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The finished OCI document; `--init` is already in its arguments and mounts.
    pub spec: Spec,
    /// The root file system, mounted anew at each start.
    pub rootfs: Rootfs,
    /// A terminal instead of pipes.
    #[serde(default)]
    pub tty: bool,
    /// Keep the container's standard input open even when nobody is attached.
    #[serde(default)]
    pub open_stdin: bool,
    /// End the container's standard input when the first attached client ends its own.
    #[serde(default)]
    pub stdin_once: bool,
    /// Where output is recorded.
    #[serde(default)]
    pub log: LogConfig,
    /// What to do when the container exits.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Restarts that the policy counts already: made in place of a monitor that was killed.
    #[serde(default)]
    pub restarts: u32,
    /// The clean-up removes the container: whoever waits for its removal is answered after it.
    #[serde(default)]
    pub auto_remove: bool,
    /// The health check, already merged from image and container; `None` without one.
    #[serde(default)]
    pub health: Option<Health>,
    /// The signal that asks the container to stop (15 unless the image says otherwise).
    pub stop_signal: i32,
    /// Seconds between the stop signal and SIGKILL; -1 waits for ever.
    pub stop_timeout: i64,
    /// Answers the container's questions for names, on two sockets that come with this; `None` does not.
    #[serde(default)]
    pub dns: Option<dns::Config>,
    /// The file to which events are appended; `None` writes none.
    #[serde(default)]
    pub events: Option<PathBuf>,
    /// What its further processes start from; `None` leaves that to who asks for one.
    #[serde(default)]
    pub further: Option<Further>,
    /// Run and awaited after the final exit, before `removed` waiters are answered: `[exe, "cleanup", id]`. Empty runs
    /// nothing.
    #[serde(default)]
    pub cleanup: Vec<String>,
}

/// What a further process of a container starts from, but for what its own request says. Texts are as in the container's
/// definition: nothing is read from them here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Further {
    /// Who runs it.
    pub user: String,
    /// Groups besides those of the user.
    pub groups: Vec<String>,
    /// The container's host name.
    pub hostname: String,
    /// The container's environment as it is configured.
    pub env: Vec<String>,
    /// Where it runs.
    pub working_dir: String,
    /// Capabilities beside the default ones.
    pub cap_add: Vec<String>,
    /// Capabilities to leave out.
    pub cap_drop: Vec<String>,
    /// Unconfined.
    pub privileged: bool,
    /// With no_new_privs.
    pub no_new_privileges: bool,
    /// Its resource limits.
    pub rlimits: Vec<Rlimit>,
    /// What of it the OOM killer prefers.
    pub oom_score_adj: i32,
    /// The AppArmor profile; empty is none.
    pub apparmor_profile: String,
}

/// Where a container's output is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// How.
    pub driver: LogDriver,
    /// The file; rotated ones are its siblings with `.1`, `.2`, … appended. `None` is `<container_dir>/log`.
    pub path: Option<PathBuf>,
    /// Bytes after which the file is rotated; 0 never rotates.
    pub max_size: u64,
    /// How many files are kept, the current one included; 1 truncates instead of rotating.
    pub max_file: u32,
    /// Added to each record as `attrs` (the log options `labels`, `env`, `tag`).
    pub attrs: BTreeMap<String, String>,
}

impl Default for LogConfig {
    /// `json-file`, three files of 10 MB: unbounded logs fill disks.
    fn default() -> LogConfig {
        LogConfig {
            driver: LogDriver::JsonFile,
            path: None,
            max_size: 10_000_000,
            max_file: 3,
            attrs: BTreeMap::new(),
        }
    }
}

/// The log drivers that a monitor serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's JSON lines.
    #[default]
    JsonFile,
    /// Output goes to attached clients only.
    None,
}

/// Docker's restart policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// Which.
    pub name: RestartName,
    /// For `on-failure`: how many restarts at most, 0 for no bound.
    pub max_retries: u32,
}

/// The names of the restart policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartName {
    /// Never.
    #[default]
    No,
    /// After an exit code other than 0.
    OnFailure,
    /// After every exit that nobody asked for.
    Always,
    /// As `always`; differs only when a machine boots, which is the engine's business.
    UnlessStopped,
}

/// A health check with Docker's fields. A duration of zero (and zero retries) means Docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `["CMD", arg…]`, `["CMD-SHELL", text]`, or `["NONE"]`.
    pub test: Vec<String>,
    /// The shell of `CMD-SHELL`; empty is `/bin/sh -c`.
    pub shell: Vec<String>,
    /// Between the end of a probe and the next (30 s).
    pub interval: Duration,
    /// How long a probe may take (30 s).
    pub timeout: Duration,
    /// How long after the start failures do not count (0 s).
    pub start_period: Duration,
    /// The interval within the start period (5 s).
    pub start_interval: Duration,
    /// Failures in a row that make the container unhealthy (3).
    pub retries: u32,
}
