//! The `-v` syntax: `[source:]destination[:mode]`.
//!
//! Errors are Docker's (moby `volume/mounts/linux_parser.go`). Nothing here touches the disk.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// A parsed `-v` argument.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bind {
    /// Host path, volume name, or nothing for an anonymous volume.
    pub source: Option<String>,
    /// Clean absolute path in the container.
    pub destination: String,
    /// The mode as written.
    pub mode: String,
    /// Whether the container may write.
    pub read_write: bool,
    /// Propagation, empty when not given.
    pub propagation: String,
    /// Whether an empty new volume gets the image's content.
    pub copy_up: bool,
}

const PROPAGATIONS: [&str; 6] = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];

/// Whether `text` is a propagation mode.
pub fn is_propagation(text: &str) -> bool {
    PROPAGATIONS.contains(&text)
}

/// Parses one `-v` argument.
pub fn parse(raw: &str) -> Result<Bind> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{raw}'"));
    let parts: Vec<&str> = raw.split(':').collect();
    if parts.iter().any(|p| p.is_empty()) {
        return Err(invalid());
    }
    let (source, destination, mode) = match parts.as_slice() {
        [destination] => (None, *destination, ""),
        // A destination with a mode but without a source: volumes cannot include a mode.
        [_, second] if modes(second).is_some() => return Err(invalid()),
        [source, destination] => (Some(*source), *destination, ""),
        [source, destination, mode] => (Some(*source), *destination, *mode),
        _ => return Err(invalid()),
    };
    let mut bind = Bind {
        source: source.map(str::to_owned),
        destination: destination_path(destination).map_err(|e| {
            let typ = if source.is_some_and(|s| s.starts_with('/')) { "bind" } else { "volume" };
            e.within(format_args!(
                "invalid volume specification: '{raw}': invalid mount config for type {typ:?}"
            ))
        })?,
        mode: mode.to_owned(),
        read_write: true,
        copy_up: true,
        ..Bind::default()
    };
    let words = if mode.is_empty() { Vec::new() } else { modes(mode).ok_or_else(|| bad_mode(mode))? };
    for word in words {
        match word {
            "ro" => bind.read_write = false,
            "nocopy" => bind.copy_up = false,
            p if is_propagation(p) => p.clone_into(&mut bind.propagation),
            _ => {}
        }
    }
    let is_path = bind.source.as_deref().is_some_and(|s| s.starts_with('/'));
    if is_path && !bind.copy_up || !is_path && !bind.propagation.is_empty() {
        return Err(bad_mode(mode));
    }
    Ok(bind)
}

fn bad_mode(mode: &str) -> Error {
    Error::invalid(format!("invalid mode: {mode}"))
}

/// The comma separated words of a valid mode: each kind at most once.
fn modes(mode: &str) -> Option<Vec<&str>> {
    let (mut access, mut label, mut propagation, mut copy, mut consistency) = (0, 0, 0, 0, 0);
    let words: Vec<&str> = mode.split(',').collect();
    for word in &words {
        match *word {
            "ro" | "rw" => access += 1,
            "z" | "Z" => label += 1,
            "nocopy" => copy += 1,
            "consistent" | "cached" | "delegated" | "default" => consistency += 1,
            p if is_propagation(p) => propagation += 1,
            _ => return None,
        }
    }
    [access, label, propagation, copy, consistency].iter().all(|n| *n <= 1).then_some(words)
}

/// A destination as Docker cleans it: absolute, without `.`, `..` and double slashes, and not `/`.
pub fn destination_path(text: &str) -> Result<String> {
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{text}' mount path must be absolute")));
    }
    let clean = clean(text);
    if clean == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(clean)
}

/// Go's `path.Clean` of an absolute path.
pub fn clean(text: &str) -> String {
    let mut out = PathBuf::from("/");
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_tutorials() {
        let b = parse("pgdata:/var/lib/postgresql/data").unwrap();
        assert_eq!(
            (b.source.as_deref(), b.destination.as_str()),
            (Some("pgdata"), "/var/lib/postgresql/data")
        );
        assert!(b.read_write && b.copy_up);
        let b = parse("/host/../h:/ctr/./x/:ro").unwrap();
        assert_eq!(
            (b.source.as_deref(), b.destination.as_str(), b.read_write),
            (Some("/host/../h"), "/ctr/x", false)
        );
        let b = parse("/app/node_modules").unwrap();
        assert_eq!((b.source, b.destination.as_str()), (None, "/app/node_modules"));
        let b = parse("/a:/b:ro,Z,rslave").unwrap();
        assert_eq!((b.read_write, b.propagation.as_str(), b.mode.as_str()), (false, "rslave", "ro,Z,rslave"));
        assert!(!parse("v:/b:nocopy").unwrap().copy_up);
    }

    #[test]
    fn errors_are_dockers() {
        let text = |raw: &str| parse(raw).unwrap_err().message;
        assert_eq!(text(""), "invalid volume specification: ''");
        assert_eq!(text(":/x"), "invalid volume specification: ':/x'");
        assert_eq!(text("/x:ro"), "invalid volume specification: '/x:ro'");
        assert_eq!(text("a:/b:ro:x"), "invalid volume specification: 'a:/b:ro:x'");
        assert_eq!(text("a:/b:wrong"), "invalid mode: wrong");
        assert_eq!(text("a:/b:ro,rw"), "invalid mode: ro,rw");
        assert_eq!(text("a:/b:rslave"), "invalid mode: rslave");
        assert_eq!(text("/a:/b:nocopy"), "invalid mode: nocopy");
        assert!(text("a:b").ends_with("invalid mount path: 'b' mount path must be absolute"));
        assert!(text("a:/").ends_with("invalid specification: destination can't be '/'"));
    }
}
