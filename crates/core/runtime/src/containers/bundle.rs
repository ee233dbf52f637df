//! Reading a bundle's `config.json`.

use std::io;
use std::path::{Path, PathBuf};

use oci::runtime::{Process, Spec};

use super::Error;

/// A bundle as it was read.
#[derive(Debug)]
pub(super) struct Bundle {
    /// Without symbolic links.
    pub path: PathBuf,
    /// The document as it is in the file.
    pub text: Vec<u8>,
    pub spec: Spec,
    pub rootfs: PathBuf,
}

/// Reads the bundle in a directory.
pub(super) fn read(path: &Path) -> Result<Bundle, Error> {
    let absolute = path.canonicalize();
    let path = absolute.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let file = path.join("config.json");
    let text = match std::fs::read(&file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::NoConfig { path: file }),
        other => other.map_err(|source| Error::Read { path: file.clone(), source })?,
    };
    let spec = parse(&text, &file)?;
    check(&spec, &file)?;
    let root = spec.root.as_ref().map(|root| root.path.as_path()).unwrap_or(Path::new(""));
    let rootfs = path.join(root);
    if let Err(e) = std::fs::metadata(&rootfs) {
        let reason = crate::plan::said(e.raw_os_error().unwrap_or_default());
        return Err(Error::Rootfs { path: rootfs, reason });
    }
    Ok(Bundle { path, text, spec, rootfs })
}

/// A document, read as Go reads it; what is wrong in it is named.
pub(super) fn parse(text: &[u8], file: &Path) -> Result<Spec, Error> {
    let bad = |field, reason: String| Error::Config { path: file.to_owned(), field, reason };
    let value = oci::lenient::first(text).map_err(|e| bad(String::new(), e.to_string()))?;
    // Keeping track of the way costs: only what is wrong is read again for it.
    oci::lenient::from_value(&value).or_else(|_| {
        serde_path_to_error::deserialize(oci::lenient::deserializer(&value)).map_err(|e| {
            let way = e.path().to_string();
            // What it says where there is no way: at the top.
            let field = if matches!(way.as_str(), "." | "?") { String::new() } else { way };
            bad(field, e.into_inner().to_string())
        })
    })
}

fn check(spec: &Spec, file: &Path) -> Result<(), Error> {
    let bad = |field: &str, reason: String| {
        Err(Error::Config { path: file.to_owned(), field: field.to_owned(), reason })
    };
    // The specification has a version be required and of the semantic kind, and a document of another major version be
    // compatible with nothing of this one. Engines write it; runc 1.1 doesn't look.
    if spec.oci_version.split('.').next() != Some("1") {
        return bad("ociVersion", format!("version {:?} is not supported", spec.oci_version));
    }
    let Some(process) = &spec.process else {
        return bad("process", "process property must not be empty".to_owned());
    };
    if let Err((field, reason)) = check_process(process) {
        return bad(&format!("process.{field}"), reason);
    }
    if spec.root.is_none() {
        return bad("root", "root must be specified".to_owned());
    }
    Ok(())
}

/// What a document must say of a process, and our own callers need not. Gives the field, and what is wrong.
pub(super) fn check_process(process: &Process) -> Result<(), (&'static str, String)> {
    if process.cwd.is_empty() {
        return Err(("cwd", "Cwd property must not be empty".to_owned()));
    }
    if !process.cwd.starts_with('/') {
        return Err(("cwd", "Cwd must be an absolute path".to_owned()));
    }
    for variable in &process.env {
        let wrong = match variable.split_once('=') {
            None => "invalid environment variable",
            Some(("", _)) => "environment variable name can't be empty",
            Some(_) => continue,
        };
        return Err(("env", format!("{wrong}: {variable:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes(), Path::new("/b/config.json")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = error(r#"{"process": {"args": 5}}"#);
        assert!(text.starts_with("/b/config.json: process.args: invalid type"), "{text}");
        let text = error(r#"{"linux": {"namespaces": [{"type": "pid"}, {"type": "nix"}]}}"#);
        assert!(text.starts_with("/b/config.json: linux.namespaces[1].type: unknown variant"), "{text}");
        assert!(error("{").starts_with("/b/config.json: EOF"), "{}", error("{"));
        assert!(parse(b"{} x", Path::new("/b/config.json")).is_ok(), "runc reads no further either");
    }

    #[test]
    fn versions_to_come_are_refused() {
        let file = Path::new("/b/config.json");
        let spec = parse(br#"{"ociVersion": "2.0.0", "process": {}, "root": {}}"#, file).unwrap();
        let unversioned = parse(br#"{"ociVersion": null, "process": {}, "root": {}}"#, file).unwrap();
        assert!(check(&unversioned, file).unwrap_err().to_string().contains(r#"version "" is not"#));
        assert_eq!(
            check(&spec, file).unwrap_err().to_string(),
            r#"/b/config.json: ociVersion: version "2.0.0" is not supported"#
        );
        let spec =
            parse(br#"{"ociVersion": "1.0.2-dev", "process": {"cwd": "/"}, "root": {}}"#, file).unwrap();
        assert!(check(&spec, file).is_ok());
    }

    #[test]
    fn processes_are_checked_as_runc_does() {
        let check = |cwd: &str, env: &[&str]| {
            let env = env.iter().map(|variable| (*variable).to_owned()).collect();
            check_process(&Process { cwd: cwd.to_owned(), env, ..Process::default() })
        };
        assert!(check("/", &["A=", "B=c=d"]).is_ok());
        assert_eq!(check("", &[]).unwrap_err().1, "Cwd property must not be empty");
        assert_eq!(check("tmp", &[]).unwrap_err().1, "Cwd must be an absolute path");
        assert_eq!(check("/", &["A=1", "B"]).unwrap_err().1, r#"invalid environment variable: "B""#);
        assert_eq!(check("/", &["=x"]).unwrap_err().1, r#"environment variable name can't be empty: "=x""#);
    }
}
