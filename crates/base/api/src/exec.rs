//! Documents of processes that join a running container.

use serde::{Deserialize, Serialize};

use crate::json::{StrSlice, zero};

document! {
    /// The body of `POST /containers/{id}/exec`.
    pub struct CreateRequest {
        pub user: String,
        pub privileged: bool,
        pub tty: bool,
        /// Height and width.
        #[serde(skip_serializing_if = "zero")]
        pub console_size: Option<[u32; 2]>,
        pub attach_stdin: bool,
        pub attach_stderr: bool,
        pub attach_stdout: bool,
        /// The library for Python spells it so.
        #[serde(alias = "detachKeys")]
        pub detach_keys: String,
        pub env: Vec<String>,
        pub working_dir: String,
        pub cmd: StrSlice,
    }
}

document! {
    /// The body of `POST /exec/{id}/start`.
    pub struct StartRequest {
        pub detach: bool,
        pub tty: bool,
        #[serde(skip_serializing_if = "zero")]
        pub console_size: Option<[u32; 2]>,
    }
}

document! {
    /// The answer of `GET /exec/{id}/json`.
    pub struct Inspect {
        #[serde(rename = "ID")]
        pub id: String,
        pub running: bool,
        /// `null` until the process has ended.
        pub exit_code: Option<i64>,
        pub process_config: ProcessConfig,
        pub open_stdin: bool,
        pub open_stderr: bool,
        pub open_stdout: bool,
        pub can_remove: bool,
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        pub detach_keys: String,
        pub pid: i64,
    }
}

/// What an exec runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessConfig {
    pub tty: bool,
    pub entrypoint: String,
    #[serde(deserialize_with = "crate::json::nullable")]
    pub arguments: Vec<String>,
    #[serde(skip_serializing_if = "zero")]
    pub privileged: Option<bool>,
    #[serde(skip_serializing_if = "zero")]
    pub user: String,
}
