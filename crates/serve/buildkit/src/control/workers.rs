//! The one worker: this machine.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::types::{BuildkitVersion, WorkerRecord};
use bollard_buildkit_proto::pb;
use engine::{Engine, networks};
use oci::{Digest, Platform};
use tonic::Status;

use crate::fault;

/// The BuildKit whose protocol is spoken.
const SPOKEN: &str = "v0.27.0";

pub fn version(engine: &Engine) -> BuildkitVersion {
    BuildkitVersion {
        package: "dhow".to_owned(),
        version: SPOKEN.to_owned(),
        revision: engine.config().version.to_owned(),
    }
}

/// The label that says what clients put in the place of `host-gateway`, which `docker buildx` does itself.
const HOST_GATEWAY: &str = "moby.host-gateway-ip";

/// The worker, with what `host-gateway` stands for here.
pub async fn with_gateway(engine: &Engine) -> Result<WorkerRecord, Status> {
    let mut record = record(engine);
    if let Some(gateway) = networks::host_gateway(engine).await.map_err(fault::status)? {
        record.labels.extend([label(HOST_GATEWAY, &gateway.to_string())]);
    }
    Ok(record)
}

fn label(name: &str, value: &str) -> (String, String) {
    (format!("org.mobyproject.buildkit.worker.{name}"), value.to_owned())
}

/// The label `snapshotter` says that images of several platforms are kept, and that archives are handed out.
pub fn record(engine: &Engine) -> WorkerRecord {
    WorkerRecord {
        id: Digest::sha256(engine.config().root.as_os_str().as_encoded_bytes())
            .hex()
            .chars()
            .take(25)
            .collect(),
        labels: HashMap::from([label("executor", "dhow"), label("snapshotter", "overlayfs")]),
        platforms: vec![platform(&Platform::host())],
        gc_policy: Vec::new(),
        buildkit_version: Some(version(engine)),
        cdi_devices: Vec::new(),
    }
}

fn platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        ..pb::Platform::default()
    }
}
