//! Certificates of a host as Docker has them, in `certs.d/HOST[:PORT]/`: each `*.crt` is an authority, a `*.cert` is ours and
//! has its key beside it in the `*.key` of the same name.

use std::path::{Path, PathBuf};

use super::{InvalidSettings, Tls, is_missing};

/// Adds what lies in the trees for a host. Of several certificates of ours in different trees the first counts.
pub(super) fn add(tls: &mut Tls, trees: &[PathBuf], host: &str) -> Result<(), InvalidSettings> {
    // A name out of a redirect is not to lead elsewhere.
    if host.contains('/') || host.starts_with('.') {
        return Ok(());
    }
    for tree in trees {
        let folder = tree.join(host);
        let names = list(&folder)?;
        let with = |extension: &str| {
            let extension = extension.to_owned();
            names.iter().filter(move |name| name.extension().is_some_and(|found| *found == *extension))
        };
        tls.authorities.extend(with("crt").cloned());
        for key in with("key") {
            let certificate = key.with_extension("cert");
            if !names.contains(&certificate) {
                return Err(InvalidSettings::MissingCertificate { key: key.clone(), certificate });
            }
        }
        for (number, certificate) in with("cert").enumerate() {
            let key = certificate.with_extension("key");
            if !names.contains(&key) {
                return Err(InvalidSettings::MissingKey { key, certificate: certificate.clone() });
            }
            if number > 0 {
                return Err(InvalidSettings::SeveralIdentities(folder));
            }
            if tls.identity.is_none() {
                tls.identity = Some((certificate.clone(), key));
            }
        }
    }
    Ok(())
}

/// The files of a folder that may be missing, in the order of their names.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, InvalidSettings> {
    let fail = |source| InvalidSettings::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(fail)?.path());
    }
    found.sort();
    Ok(found)
}
