//! The one worker: this machine.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::types::{BuildkitVersion, WorkerRecord};
use bollard_buildkit_proto::pb;
use engine::Engine;
use oci::{Digest, Platform};

/// The BuildKit whose protocol is spoken.
const SPOKEN: &str = "v0.27.0";

pub fn version(engine: &Engine) -> BuildkitVersion {
    BuildkitVersion {
        package: "dhow".to_owned(),
        version: SPOKEN.to_owned(),
        revision: engine.config().version.to_owned(),
    }
}

/// The label `snapshotter` says that images of several platforms are kept, and that archives are handed out.
pub fn record(engine: &Engine) -> WorkerRecord {
    let label =
        |name: &str, value: &str| (format!("org.mobyproject.buildkit.worker.{name}"), value.to_owned());
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
