//! What a container runs: the portable half of a create request.

use std::collections::BTreeMap;

pub use oci::image::Healthcheck as HealthConfig;

use super::host_config::HostConfig;
use crate::json::{NameSet, StrSlice, null_if_empty, zero};
use crate::networks::NetworkingConfig;

document! {
    /// The portable configuration of a container.
    pub struct Config {
        pub hostname: String,
        pub domainname: String,
        pub user: String,
        pub attach_stdin: bool,
        pub attach_stdout: bool,
        pub attach_stderr: bool,
        /// `80/tcp`.
        #[serde(skip_serializing_if = "zero")]
        pub exposed_ports: NameSet,
        pub tty: bool,
        pub open_stdin: bool,
        /// Closes standard input when the first attached client leaves.
        pub stdin_once: bool,
        /// `NAME=value`; `NAME` alone removes the image's variable.
        pub env: Vec<String>,
        pub cmd: StrSlice,
        #[serde(skip_serializing_if = "zero")]
        pub healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "zero")]
        pub args_escaped: bool,
        pub image: String,
        /// Paths that get an anonymous volume.
        pub volumes: NameSet,
        pub working_dir: String,
        pub entrypoint: StrSlice,
        #[serde(skip_serializing_if = "zero")]
        pub network_disabled: bool,
        /// Older clients ask for an address here instead of in the endpoint.
        #[serde(skip_serializing_if = "zero")]
        pub mac_address: String,
        #[serde(serialize_with = "null_if_empty")]
        pub on_build: Vec<String>,
        pub labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "zero")]
        pub stop_signal: String,
        /// Seconds; -1 waits for ever.
        #[serde(skip_serializing_if = "zero")]
        pub stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "zero")]
        pub shell: StrSlice,
    }
}

document! {
    /// The body of `POST /containers/create`.
    pub struct CreateRequest {}
    flatten {
        pub config: Config,
    }
    {
        #[serde(skip_serializing_if = "zero")]
        pub host_config: Option<HostConfig>,
        #[serde(skip_serializing_if = "zero")]
        pub networking_config: Option<NetworkingConfig>,
    }
}

document! {
    pub struct CreateResponse {
        pub id: String,
        pub warnings: Vec<String>,
    }
}
