//! Query parameters of the container operations.

use std::fmt;
use std::str::FromStr;

use crate::containers::Config;
use crate::filters::Filters;

/// `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// The newest this many, running or not; zero or less is all.
    pub limit: i64,
    pub size: bool,
    pub filters: Filters,
}

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogsOptions {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// As in [`crate::time::parse_instant`]; empty is from the beginning.
    pub since: String,
    pub until: String,
    pub timestamps: bool,
    /// Puts the log's attributes before each line.
    pub details: bool,
    /// A number of lines, or `all`, or empty for all.
    pub tail: String,
}

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachOptions {
    pub stream: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Replays the log first.
    pub logs: bool,
    /// `ctrl-p,ctrl-q`; empty is the default.
    pub detach_keys: String,
}

/// `DELETE /containers/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    pub force: bool,
    /// Also its anonymous volumes.
    pub volumes: bool,
    pub link: bool,
}

/// `POST /containers/{id}/stop` and `restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// A name or number; empty is the container's own.
    pub signal: String,
    /// Seconds before the kill; negative waits for ever, absent is the container's own.
    pub timeout: Option<i64>,
}

/// `GET /containers/{id}/stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsOptions {
    pub stream: bool,
    /// One sample at once, without waiting for a previous one.
    pub one_shot: bool,
}

/// `PUT /containers/{id}/archive`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchivePutOptions {
    pub path: String,
    pub no_overwrite_dir_non_dir: bool,
    /// Gives the files the owner that the archive names.
    pub copy_uid_gid: bool,
}

/// `POST /commit`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommitOptions {
    pub container: String,
    pub repo: String,
    pub tag: String,
    pub comment: String,
    pub author: String,
    pub pause: bool,
    /// Dockerfile instructions for the new image's configuration.
    pub changes: Vec<String>,
    /// Replaces the container's configuration.
    pub config: Option<Config>,
}

/// What `POST /containers/{id}/wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    #[default]
    NotRunning,
    NextExit,
    Removed,
}

impl WaitCondition {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRunning => "not-running",
            Self::NextExit => "next-exit",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for WaitCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WaitCondition {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(format!("invalid condition: {word:?}")),
        }
    }
}
