//! The endpoints file of a network: who has which names and addresses in it.
//!
//! ```text
//! <run>/networks/<network id>.endpoints   a Network as JSON; replaced by rename, so that a reader sees the old or the new
//!                <network id>.new         one that is being written
//! ```
//!
//! Who writes holds a lock over reading the database and the rename: the later writer must not have read earlier. The
//! files end with the machine's uptime, as endpoints do, and are not synced. They are versioned, because a container's
//! server may be older than the engine: fields are added with defaults, a change of meaning raises [`VERSION`].

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The version that this crate writes and understands.
pub const VERSION: u32 = 1;

const EXTENSION: &str = "endpoints";

/// A network's contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// [`VERSION`].
    pub version: u32,
    /// The network's own name.
    pub name: String,
    /// It has no way out: nothing is asked of upstreams on its behalf.
    #[serde(default)]
    pub internal: bool,
    /// Who is in it.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// A container's place in the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container's full id.
    pub container: String,
    /// Its names, of which the first is the one that its addresses have. Empty where names are not resolved.
    #[serde(default)]
    pub names: Vec<String>,
    /// At most one of each family.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system's word.
    #[error("{attempt} {path}")]
    File {
        /// What was tried.
        attempt: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Not a document of ours.
    #[error("read {path}")]
    Document {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a later version.
    #[error("{path} has the unknown version {version}")]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The file of a network.
pub fn path(dir: &Path, network: &str) -> PathBuf {
    dir.join(network).with_extension(EXTENSION)
}

/// The network whose file this is; `None` for other files.
pub fn network_of(path: &Path) -> Option<&str> {
    if path.extension() != Some(OsStr::new(EXTENSION)) {
        return None;
    }
    path.file_stem()?.to_str()
}

/// What a network's file says; `None` if it has none.
pub fn read(path: &Path) -> Result<Option<Network>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::File { attempt: "read", path: path.to_owned(), source }),
    };
    let network: Network =
        serde_json::from_slice(&bytes).map_err(|source| Error::Document { path: path.to_owned(), source })?;
    match network.version {
        VERSION => Ok(Some(network)),
        version => Err(Error::Version { path: path.to_owned(), version }),
    }
}

/// Makes the file say this; without contents it is removed. The caller holds the lock.
pub fn write(dir: &Path, network: &str, contents: Option<&Network>) -> Result<(), Error> {
    let path = path(dir, network);
    let file = |attempt| {
        let path = path.clone();
        move |source| Error::File { attempt, path, source }
    };
    let Some(contents) = contents else {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file("remove")(e)),
            _ => Ok(()),
        };
    };
    let text =
        serde_json::to_vec(contents).map_err(|source| Error::Document { path: path.clone(), source })?;
    let new = path.with_extension("new");
    std::fs::write(&new, text).map_err(file("write"))?;
    std::fs::rename(&new, &path).map_err(file("replace"))
}

/// The networks that have a file.
pub fn list(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::File { attempt: "list", path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(network_of(&entry.map_err(failed)?.path()).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = Endpoint {
            container: "c".repeat(64),
            names: vec!["web".into(), "www".into()],
            addresses: vec!["172.18.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        };
        let network =
            Network { version: VERSION, name: "front".into(), internal: true, endpoints: vec![endpoint] };
        let path = path(dir.path(), "abc");
        assert_eq!(read(&path).unwrap(), None);
        write(dir.path(), "abc", Some(&network)).unwrap();
        assert_eq!(read(&path).unwrap(), Some(network));
        assert_eq!(list(dir.path()).unwrap(), ["abc"]);
        write(dir.path(), "abc", None).unwrap();
        write(dir.path(), "abc", None).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [""; 0]);
    }

    #[test]
    fn the_format() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "abc");
        std::fs::write(
            &path,
            r#"{"version":1,"name":"front","endpoints":[{"container":"c","names":["web"],"addresses":["10.0.0.2"],"new":1}]}"#,
        )
        .unwrap();
        let network = read(&path).unwrap().unwrap();
        assert_eq!(network.endpoints[0].addresses, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        std::fs::write(&path, r#"{"version":2,"name":"front"}"#).unwrap();
        assert!(matches!(read(&path), Err(Error::Version { version: 2, .. })));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read(&path), Err(Error::Document { .. })));
    }
}
