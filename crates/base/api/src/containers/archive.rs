//! The stat record that goes with an archived path: base64 JSON in a header, with Go's file mode bits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

/// Stat of a path in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathStat {
    /// The last component.
    pub name: String,
    pub size: i64,
    /// Go's mode bits, see [`go_mode`].
    pub mode: u32,
    /// RFC 3339.
    pub mtime: String,
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// A header that does not hold a stat record.
#[derive(Debug, thiserror::Error)]
pub enum PathStatError {
    #[error("decode path stat header")]
    Base64(#[source] base64::DecodeError),
    #[error("read path stat record")]
    Json(#[source] serde_json::Error),
}

impl PathStat {
    /// The header's value.
    pub fn encode(&self) -> String {
        STANDARD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads the header's value.
    pub fn decode(header: &str) -> Result<Self, PathStatError> {
        let json = STANDARD.decode(header.trim()).map_err(PathStatError::Base64)?;
        serde_json::from_slice(&json).map_err(PathStatError::Json)
    }

    pub fn is_dir(&self) -> bool {
        self.mode & GO_DIR != 0
    }

    pub fn is_symlink(&self) -> bool {
        self.mode & GO_SYMLINK != 0
    }
}

/// Go's mode bits of a Unix `st_mode`.
pub fn go_mode(unix: u32) -> u32 {
    let kind = match unix & 0o170_000 {
        0o040_000 => GO_DIR,
        0o120_000 => GO_SYMLINK,
        0o060_000 => GO_DEVICE,
        0o020_000 => GO_DEVICE | GO_CHAR_DEVICE,
        0o010_000 => GO_FIFO,
        0o140_000 => GO_SOCKET,
        _ => 0,
    };
    let special = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];
    special.iter().filter(|(bit, _)| unix & bit != 0).fold(kind | (unix & 0o777), |mode, (_, go)| mode | go)
}

/// The Unix `st_mode` of Go's mode bits.
pub fn unix_mode(go: u32) -> u32 {
    let kind = match go {
        m if m & GO_DIR != 0 => 0o040_000,
        m if m & GO_SYMLINK != 0 => 0o120_000,
        m if m & GO_CHAR_DEVICE != 0 => 0o020_000,
        m if m & GO_DEVICE != 0 => 0o060_000,
        m if m & GO_FIFO != 0 => 0o010_000,
        m if m & GO_SOCKET != 0 => 0o140_000,
        _ => 0o100_000,
    };
    let special = [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)];
    special.iter().filter(|(_, bit)| go & bit != 0).fold(kind | (go & 0o777), |mode, (unix, _)| mode | unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_translate_both_ways() {
        for unix in [0o100_644, 0o040_755, 0o120_777, 0o104_755, 0o041_777, 0o020_620, 0o060_660, 0o010_600] {
            assert_eq!(unix_mode(go_mode(unix)), unix, "{unix:o}");
        }
        assert_eq!(go_mode(0o040_755), 2_147_484_141);
    }

    #[test]
    fn header_round_trip() {
        let stat = PathStat {
            name: "etc".into(),
            size: 4096,
            mode: go_mode(0o040_755),
            mtime: "2024-01-02T03:04:05Z".into(),
            link_target: String::new(),
        };
        assert_eq!(PathStat::decode(&stat.encode()).unwrap(), stat);
        assert!(PathStat::decode("!!").is_err());
        assert!(PathStat::decode("e30=").is_ok());
    }
}
