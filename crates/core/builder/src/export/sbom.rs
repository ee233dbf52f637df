//! What is in an image, as an SPDX 2.3 document: the packages that the package managers' own records in it tell.
//!
//! Read are those of dpkg (also its form in images without a package manager), apk, pip and npm. A record is a stranger's:
//! it is bounded, and what cannot be read is left out.

use oci::Digest;
use rustix::fs::FileType;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use sys::root::Root;

/// A record file.
const RECORD_MAX: u64 = 64 << 20;
/// Directories looked into for packages of languages.
const DIRECTORIES_MAX: usize = 20_000;

/// What stands for all that was looked through.
const WHOLE: &str = "SPDXRef-DocumentRoot";

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// The package URL (github.com/package-url/purl-spec).
    url: String,
    license: String,
}

/// Times have no fractions here (SPDX 2.3, section 6.9).
fn whole_seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// The document for a file system: `sbom` for an image's own, another name for what else was looked through.
pub(crate) fn document(
    root: Option<&Root>,
    subject: &Digest,
    created: &str,
    name: &str,
    stopped: &dyn Fn() -> bool,
) -> Value {
    let (packages, is_cut) = root.map(|root| packages(root, DIRECTORIES_MAX, stopped)).unwrap_or_default();
    // A document describes something, be it that nothing is known to be in it (SPDX 2.3, section 11.1).
    let whole = json!({
        "SPDXID": WHOLE,
        "name": name,
        "versionInfo": subject.to_string(),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    });
    let list: Vec<Value> = packages.iter().enumerate().map(|(number, p)| entry(number, p)).collect();
    let related = |from: &str, how: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to });
    let contained =
        list.iter().map(|package| related(WHOLE, "CONTAINS", package["SPDXID"].as_str().unwrap_or_default()));
    let related: Vec<Value> =
        std::iter::once(related("SPDXRef-DOCUMENT", "DESCRIBES", WHOLE)).chain(contained).collect();
    let list: Vec<Value> = std::iter::once(whole).chain(list).collect();
    let mut creation = json!({
        "creators": [format!("Tool: dhow-{}", env!("CARGO_PKG_VERSION"))],
        "created": whole_seconds(created),
    });
    if is_cut {
        creation["comment"] = format!(
            "Packages of Python and Node were looked for in {DIRECTORIES_MAX} directories; there are more."
        )
        .into();
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://dhow.invalid/{name}/{}", subject.hex()),
        "creationInfo": creation,
        "packages": list,
        "relationships": related,
    })
}

fn entry(number: usize, package: &Package) -> Value {
    let license = if package.license.is_empty() { "NOASSERTION" } else { &package.license };
    json!({
        "SPDXID": format!("SPDXRef-Package-{number}"),
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "licenseComments": license,
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.url,
        }],
    })
}

/// What is found in so many directories, and whether there are more.
fn packages(root: &Root, most: usize, stopped: &dyn Fn() -> bool) -> (BTreeSet<Package>, bool) {
    let text = |path: &str| {
        root.read_file(path, RECORD_MAX).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let release = text("etc/os-release").unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("ID=")).unwrap_or("linux");
    let system = system.trim_matches('"').to_string();
    let mut found = BTreeSet::new();
    found.extend(dpkg(&text("var/lib/dpkg/status").unwrap_or_default(), &system));
    for entry in root.read_dir("var/lib/dpkg/status.d").unwrap_or_default() {
        let path = format!("var/lib/dpkg/status.d/{}", entry.name.to_string_lossy());
        found.extend(dpkg(&text(&path).unwrap_or_default(), &system));
    }
    found.extend(apk(
        &text("lib/apk/db/installed").or_else(|| text("usr/lib/apk/db/installed")).unwrap_or_default(),
        &system,
    ));
    let (of_languages, is_cut) = languages(root, most, stopped);
    found.extend(of_languages);
    (found, is_cut)
}

/// The fields of a paragraph, continuation lines left out.
fn field<'t>(paragraph: &'t str, name: &str) -> Option<&'t str> {
    paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn dpkg(status: &str, system: &str) -> Vec<Package> {
    let package = |paragraph: &str| {
        let state = field(paragraph, "Status").unwrap_or("install ok installed");
        let (name, version) = (field(paragraph, "Package")?, field(paragraph, "Version")?);
        let arch = field(paragraph, "Architecture").unwrap_or("all");
        state.ends_with(" installed").then(|| Package {
            name: name.into(),
            version: version.into(),
            url: format!("pkg:deb/{system}/{}@{}?arch={arch}", escape(name), escape(version)),
            license: String::new(),
        })
    };
    status.split("\n\n").filter_map(package).collect()
}

fn apk(installed: &str, system: &str) -> Vec<Package> {
    let package = |paragraph: &str| {
        let (name, version) = (field(paragraph, "P")?, field(paragraph, "V")?);
        let arch = field(paragraph, "A").unwrap_or("noarch");
        Some(Package {
            name: name.into(),
            version: version.into(),
            url: format!("pkg:apk/{system}/{}@{}?arch={arch}", escape(name), escape(version)),
            license: field(paragraph, "L").unwrap_or_default().into(),
        })
    };
    installed.split("\n\n").filter_map(package).collect()
}

/// Packages of Python and of Node, where their tools put them; and whether there are directories that were not looked into:
/// which they are does not depend on the order in which a file system lists them.
fn languages(root: &Root, most: usize, stopped: &dyn Fn() -> bool) -> (Vec<Package>, bool) {
    let mut found = Vec::new();
    let mut left = most;
    let mut open: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let Some(rest) = left.checked_sub(1).filter(|_| !stopped()) else { return (found, true) };
        left = rest;
        let mut entries = root.read_dir(&directory).unwrap_or_default();
        // The last one that is put there is looked into first.
        entries.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        for entry in entries {
            let path = directory.join(&entry.name);
            let Some(name) = entry.name.to_str() else { continue };
            if entry.file_type == FileType::Directory {
                if name.ends_with(".dist-info") {
                    found.extend(python(root, &path));
                } else if !matches!(directory.to_str(), Some("")) || !matches!(name, "proc" | "sys" | "dev") {
                    open.push(path);
                }
            } else if name == "package.json" && is_module(&directory) {
                found.extend(node(root, &path));
            }
        }
    }
    (found, false)
}

fn python(root: &Root, directory: &Path) -> Option<Package> {
    let bytes = root.read_file(directory.join("METADATA"), 1 << 20).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split("\n\n").next().unwrap_or_default();
    let (name, version) = (field(head, "Name")?, field(head, "Version")?);
    Some(Package {
        name: name.into(),
        version: version.into(),
        url: format!("pkg:pypi/{}@{}", escape(&name.to_lowercase().replace('_', "-")), escape(version)),
        license: field(head, "License").unwrap_or_default().chars().take(200).collect(),
    })
}

/// `node_modules/name` or `node_modules/@scope/name`.
fn is_module(directory: &Path) -> bool {
    let parent = directory.parent();
    let name = |path: Option<&Path>| path.and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    match name(parent).as_deref() {
        Some("node_modules") => true,
        Some(scope) if scope.starts_with('@') => {
            name(parent.and_then(Path::parent)).as_deref() == Some("node_modules")
        }
        _ => false,
    }
}

fn node(root: &Root, path: &Path) -> Option<Package> {
    let bytes = root.read_file(path, 1 << 20).ok()?;
    let document: Value = serde_json::from_slice(&bytes).ok()?;
    let (name, version) = (document["name"].as_str()?, document["version"].as_str()?);
    Some(Package {
        name: name.into(),
        version: version.into(),
        url: format!(
            "pkg:npm/{}@{}",
            name.split('/').map(escape).collect::<Vec<_>>().join("/"),
            escape(version)
        ),
        license: document["license"].as_str().unwrap_or_default().into(),
    })
}

/// Percent escapes of what means something in a package URL.
fn escape(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~' | ':');
    let mut out = String::new();
    for c in text.chars() {
        if plain(c) {
            out.push(c);
        } else {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_package_managers() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("etc/os-release", "NAME=x\nID=debian\n");
        write(
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u1\nDescription: x\n more\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        );
        write("lib/apk/db/installed", "C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\n");
        write(
            "usr/lib/python3/site-packages/Foo_Bar-1.dist-info/METADATA",
            "Name: Foo_Bar\nVersion: 1\n\nText: no\n",
        );
        write("app/node_modules/@s/n/package.json", r#"{"name":"@s/n","version":"3.0.0","license":"MIT"}"#);
        write("app/package.json", r#"{"name":"app","version":"0"}"#);
        let root = Root::open(dir.path()).unwrap();
        let document =
            document(Some(&root), &Digest::sha256(b""), "2024-01-01T00:00:00.5Z", "sbom", &|| false);
        assert_eq!(document["creationInfo"]["created"], "2024-01-01T00:00:00Z");
        assert!(document["creationInfo"]["comment"].is_null());
        assert_eq!(document["relationships"][4]["spdxElementId"], document["packages"][0]["SPDXID"]);
        assert_eq!(document["relationships"][4]["relatedSpdxElement"], document["packages"][4]["SPDXID"]);
        let urls: Vec<&str> = document["packages"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|p| p["externalRefs"][0]["referenceLocator"].as_str())
            .collect();
        assert_eq!(
            urls,
            [
                "pkg:npm/%40s/n@3.0.0",
                "pkg:pypi/foo-bar@1",
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64",
                "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64",
            ]
        );
    }

    /// The specification's own reader refuses a document that describes nothing.
    #[test]
    fn what_has_no_packages_is_described_all_the_same() {
        let document = document(None, &Digest::sha256(b""), "2024-01-01T00:00:00Z", "sbom", &|| false);
        assert_eq!(document["packages"].as_array().unwrap().len(), 1);
        let related = json!([{
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": document["packages"][0]["SPDXID"],
        }]);
        assert_eq!(document["relationships"], related);
    }

    #[test]
    fn what_is_left_out_is_told_and_always_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
        let package = |name: &str| {
            let path = dir.path().join("node_modules").join(name);
            std::fs::create_dir_all(&path).unwrap();
            let text = format!(r#"{{"name":"{name}?x#y","version":"1"}}"#);
            std::fs::write(path.join("package.json"), text).unwrap();
        };
        names.iter().rev().for_each(|name| package(name));
        let root = Root::open(dir.path()).unwrap();
        let found = |most| {
            let (found, is_cut) = languages(&root, most, &|| false);
            (found.into_iter().map(|package| package.url).collect::<Vec<_>>(), is_cut)
        };
        let urls = |count: usize| -> Vec<String> {
            names[..count].iter().map(|name| format!("pkg:npm/{name}%3Fx%23y@1")).collect()
        };
        assert_eq!(found(22), (urls(20), false));
        assert_eq!(found(21), (urls(19), true));
        assert_eq!(found(7), (urls(5), true));
        assert!(languages(&root, 100, &|| true).1);
    }
}
