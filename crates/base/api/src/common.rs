//! Documents that several nouns share: errors, ids, and the progress messages of long operations.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::zero;

/// Content type of a hijacked stream that carries the bytes of a terminal.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// Content type of a hijacked stream in [`crate::stdcopy`] frames (API 1.42 and newer).
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
/// Header with the client's registry credentials, see [`crate::auth`].
pub const REGISTRY_AUTH_HEADER: &str = "X-Registry-Auth";
/// Header with the credentials of every registry that a build may need.
pub const REGISTRY_CONFIG_HEADER: &str = "X-Registry-Config";
/// Header with the stat record of an archived path, see [`crate::containers::PathStat`].
pub const PATH_STAT_HEADER: &str = "X-Docker-Container-Path-Stat";

/// The body of every failed request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    pub message: String,
    /// What the user could do about it. Our extension; other clients ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The answer of operations that make something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdResponse {
    #[serde(rename = "Id")]
    pub id: String,
}

/// How far a step of a long operation has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    #[serde(skip_serializing_if = "zero")]
    pub current: i64,
    /// Zero when the end is unknown.
    #[serde(skip_serializing_if = "zero")]
    pub total: i64,
    /// Unix seconds of the step's beginning.
    #[serde(skip_serializing_if = "zero")]
    pub start: i64,
    #[serde(rename = "hidecounts", skip_serializing_if = "zero")]
    pub hide_counts: bool,
    /// What is counted; empty means bytes.
    #[serde(skip_serializing_if = "zero")]
    pub units: String,
}

/// The failure that ends a progress stream. `code` is an exit code for build steps, else an HTTP status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonError {
    #[serde(skip_serializing_if = "zero")]
    pub code: i64,
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
}

/// One line of a progress stream (pull, push, load, import, build).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JsonMessage {
    /// Text to print as it is (build output).
    #[serde(skip_serializing_if = "zero", deserialize_with = "crate::json::nullable")]
    pub stream: String,
    #[serde(skip_serializing_if = "zero", deserialize_with = "crate::json::nullable")]
    pub status: String,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<Progress>,
    /// A drawn progress bar; written by older servers only.
    #[serde(skip_serializing_if = "zero", deserialize_with = "crate::json::nullable")]
    pub progress: String,
    #[serde(skip_serializing_if = "zero", deserialize_with = "crate::json::nullable")]
    pub id: String,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<JsonError>,
    #[serde(skip_serializing_if = "zero", deserialize_with = "crate::json::nullable")]
    pub error: String,
    /// Data for programs: the built image's id, a pushed manifest's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<Value>,
}

impl JsonMessage {
    /// Text of a build's output.
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: text.into(), ..Self::default() }
    }

    /// A line about the whole operation.
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: text.into(), ..Self::default() }
    }

    /// A line about the part `id` (a layer); it replaces the part's previous line on a terminal.
    pub fn part(id: impl Into<String>, status: impl Into<String>, progress: Progress) -> Self {
        Self { id: id.into(), status: status.into(), progress_detail: Some(progress), ..Self::default() }
    }

    /// The failure that ends the stream.
    pub fn error(code: i64, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error: message.clone(), error_detail: Some(JsonError { code, message }), ..Self::default() }
    }

    /// Data for programs.
    pub fn aux(data: Value) -> Self {
        Self { aux: Some(data), ..Self::default() }
    }
}
