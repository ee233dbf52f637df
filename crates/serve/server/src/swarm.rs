//! What Dhow is not: a Swarm node, or a host of Docker's managed plugins. Clients get dockerd's own answers.

use http::StatusCode;

use crate::answer::{self, Result};
use crate::call::Call;
use crate::error::Failure;

const NOT_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

pub async fn refuse(_call: Call) -> Result {
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, NOT_MANAGER))
}

pub async fn not_part(_call: Call) -> Result {
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
}

pub async fn unsupported(_call: Call) -> Result {
    Err(Failure::new(StatusCode::NOT_IMPLEMENTED, "swarm mode is not supported by this engine"))
}

pub async fn no_plugins(_call: Call) -> Result {
    answer::ok(&serde_json::json!([]))
}

pub async fn no_plugin(call: Call) -> Result {
    let name = call.name.trim_end_matches("/json");
    Err(Failure::new(StatusCode::NOT_FOUND, format!("plugin {name:?} not found")))
}
