//! The engine's events as BuildKit's status: vertexes that start and end, what they log, warnings.
//!
//! What was told is kept for whoever comes late, so all of it is bounded: [`teller`] says what is left out.

mod item;
mod teller;
mod told;

use std::time::{Duration, SystemTime};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use oci::Digest;

pub use item::{Item, batch};
pub use teller::Teller;
pub use told::Told;

/// What a step of a run of a build is called.
pub fn digest(build: &str, run: u32, number: u64) -> Digest {
    Digest::sha256(format!("{build}/{run}/{number}").as_bytes())
}

/// A moment as the protocol has it.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}

/// A moment in RFC 3339.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from(time.as_duration()).ok()?)
}
