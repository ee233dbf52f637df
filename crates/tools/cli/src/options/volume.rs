//! `-v [source:]target[:mode]`.

use std::path::{Component, Path, PathBuf};

/// What one `-v` means to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Volume {
    /// `HostConfig.Binds`: a directory of the host or a named volume.
    Bind(String),
    /// `Config.Volumes`: an anonymous volume at this path.
    Anonymous(String),
}

/// Reads one flag; a source that starts with a dot is relative to `directory`.
pub fn parse(spec: &str, directory: &Path) -> Result<Volume, String> {
    if spec.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    let parts: Vec<&str> = spec.split(':').collect();
    if spec.len() > 2 {
        if parts.iter().any(|part| part.is_empty()) {
            return Err(format!("invalid spec: {spec}: empty section between colons"));
        }
        if parts.len() > 3 {
            return Err(format!("invalid spec: {spec}: too many colons"));
        }
    }
    if parts.len() == 1 {
        return Ok(Volume::Anonymous(spec.to_owned()));
    }
    match spec.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => {
            Ok(Volume::Bind(format!("{}:{rest}", absolute(source, directory).display())))
        }
        _ => Ok(Volume::Bind(spec.to_owned())),
    }
}

/// `path` below `directory` with `.` and `..` resolved by their names alone, as Go's `filepath.Abs` does.
pub fn absolute(path: impl AsRef<Path>, directory: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in directory.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let run = |spec: &str| parse(spec, Path::new("/work/dir"));
        let bind = |text: &str| Ok(Volume::Bind(text.to_owned()));
        assert_eq!(run("pgdata:/var/lib"), bind("pgdata:/var/lib"));
        assert_eq!(run("/host:/ctr:ro"), bind("/host:/ctr:ro"));
        assert_eq!(run("./site:/srv"), bind("/work/dir/site:/srv"));
        assert_eq!(run("../site:/srv:ro,z"), bind("/work/site:/srv:ro,z"));
        assert_eq!(run("."), Ok(Volume::Anonymous(".".to_owned())));
        assert_eq!(run("/app/node_modules"), Ok(Volume::Anonymous("/app/node_modules".to_owned())));
        assert_eq!(run("").unwrap_err(), "invalid empty volume spec");
        assert_eq!(run("a::b").unwrap_err(), "invalid spec: a::b: empty section between colons");
        assert_eq!(run("a:b:c:d").unwrap_err(), "invalid spec: a:b:c:d: too many colons");
    }
}
