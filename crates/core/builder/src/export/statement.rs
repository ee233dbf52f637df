//! What is said of an image: in-toto statements (in-toto.io/Statement/v1), for its attestations and as files beside its own.

use oci::{Digest, Hasher, Platform, Reference};
use rustix::fs::FileType;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::PathBuf;
use sys::root::Root;

/// What a statement without a name calls its subject.
const NAMELESS: &str = "_";
/// The type of lists of packages.
pub(crate) const SPDX: &str = "https://spdx.dev/Document";
/// Content is read in pieces of this size.
const PIECE: usize = 1 << 16;

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it is called among files.
    pub file: String,
    /// The type of its predicate.
    pub kind: String,
    /// What it says; nothing is null.
    pub predicate: Value,
    /// Of what; of the result without.
    pub subjects: Vec<Subject>,
}

/// A statement as it is written.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "predicateType")]
    kind: Option<String>,
    #[serde(rename = "subject")]
    subjects: Option<Vec<Named>>,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// The result, under one more name unless that is empty.
    Result(String),
    /// Something else, by its digests.
    Other {
        /// Its name.
        name: String,
        /// Its digests by algorithm.
        digests: BTreeMap<String, String>,
    },
}

/// A part of the result with its digest: the image by one of its names, or a file.
pub(crate) type Part = (String, Digest);

impl Statement {
    /// Reads a document: of the result, or of what it says itself.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let kind = document.kind.filter(|kind| !kind.is_empty());
        let kind = kind.ok_or("it is no in-toto statement: it has no predicateType")?;
        let subjects = document.subjects.unwrap_or_default().into_iter();
        let subjects =
            subjects.map(|Named { name, digest }| Subject::Other { name, digests: digest }).collect();
        Ok(Self { file: file.to_string(), kind, predicate: document.predicate, subjects })
    }

    /// A statement about the result.
    pub(crate) fn new(file: &str, kind: &str, predicate: Value) -> Self {
        Self { file: file.to_string(), kind: kind.to_string(), predicate, subjects: Vec::new() }
    }

    /// The document, where the result is these.
    pub(crate) fn document(&self, result: &[Part]) -> Value {
        let whole = [Subject::Result(String::new())];
        let subjects = if self.subjects.is_empty() { &whole[..] } else { &self.subjects };
        let subjects: Vec<Value> = subjects.iter().flat_map(|subject| subject.shown(result)).collect();
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": self.kind,
            "subject": subjects,
            "predicate": self.predicate,
        })
    }
}

impl Subject {
    fn shown(&self, result: &[Part]) -> Vec<Value> {
        match self {
            Subject::Other { name, digests } => {
                let name = if name.is_empty() { NAMELESS } else { name };
                vec![json!({ "name": name, "digest": digests })]
            }
            Subject::Result(more) => {
                let more = Some(more.as_str()).filter(|name| !matches!(*name, "" | NAMELESS));
                let named = |(name, digest): &Part| {
                    let digest = json!({ digest.algorithm(): digest.hex() });
                    let one = move |name: &str| json!({ "name": name, "digest": digest.clone() });
                    std::iter::once(name.as_str()).chain(more).map(one).collect::<Vec<_>>()
                };
                result.iter().flat_map(named).collect()
            }
        }
    }
}

/// An image as the package URLs of its names.
pub(crate) fn image(names: &[Reference], platform: &Platform, digest: &Digest) -> Vec<Part> {
    if names.is_empty() {
        return vec![(NAMELESS.to_string(), digest.clone())];
    }
    names.iter().map(|name| (url(name, platform), digest.clone())).collect()
}

/// An image as a package URL (github.com/package-url/purl-spec).
pub(crate) fn url(image: &Reference, platform: &Platform) -> String {
    let name = image.familiar_name().replace(':', "%3A");
    let platform = platform.normalized().to_string().replace('/', "%2F");
    let tag = image.tag.clone().or_else(|| image.digest.is_none().then(|| "latest".to_string()));
    let version = tag.map(|tag| format!("@{tag}")).unwrap_or_default();
    let digest = image.digest.as_ref().map(|digest| format!("digest={digest}&")).unwrap_or_default();
    format!("pkg:docker/{name}{version}?{digest}platform={platform}")
}

/// The files of a result, sorted by path.
pub(crate) fn files(root: Option<&Root>, stopped: &dyn Fn() -> bool) -> io::Result<Vec<Part>> {
    let Some(root) = root else { return Ok(Vec::new()) };
    let (mut found, mut directories) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        for entry in
            root.read_dir(if directory.as_os_str().is_empty() { ".".as_ref() } else { directory.as_path() })?
        {
            if stopped() {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            let path = directory.join(&entry.name);
            let kind = match entry.file_type {
                FileType::Unknown => FileType::from_raw_mode(root.lstat(&path)?.st_mode),
                known => known,
            };
            match kind {
                FileType::Directory => directories.push(path),
                FileType::RegularFile => {
                    found.push((path.to_string_lossy().into_owned(), digest(root, &path)?))
                }
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

fn digest(root: &Root, path: &std::path::Path) -> io::Result<Digest> {
    let (mut file, mut sum, mut piece) = (root.open_file(path)?, Hasher::sha256(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sum.digest()),
            length => sum.update(&piece[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls() {
        let of = |text: &str| url(&Reference::parse(text).unwrap(), &"linux/arm64".parse().unwrap());
        let platform = "platform=linux%2Farm64";
        assert_eq!(of("alpine"), format!("pkg:docker/alpine@latest?{platform}"));
        assert_eq!(of("user/a:v2"), format!("pkg:docker/user/a@v2?{platform}"));
        assert_eq!(of("localhost:5000/a/b:1"), format!("pkg:docker/localhost%3A5000/a/b@1?{platform}"));
        let digest = Digest::sha256(b"x");
        assert_eq!(of(&format!("alpine@{digest}")), format!("pkg:docker/alpine?digest={digest}&{platform}"));
    }

    #[test]
    fn subjects() {
        let digest = Digest::sha256(b"x");
        let result = vec![("a".to_string(), digest.clone()), ("b".to_string(), digest.clone())];
        let mut statement = Statement::new("s.json", "k", Value::Null);
        let names = |statement: &Statement, result: &[Part]| -> Vec<Value> {
            let document = statement.document(result);
            document["subject"].as_array().unwrap().iter().map(|subject| subject["name"].clone()).collect()
        };
        assert_eq!(names(&statement, &result), ["a", "b"]);
        let digests = BTreeMap::from([("sha256".to_string(), "00".to_string())]);
        statement.subjects = vec![
            Subject::Result("c".into()),
            Subject::Other { name: String::new(), digests: digests.clone() },
        ];
        assert_eq!(names(&statement, &result), ["a", "c", "b", "c", "_"]);
        assert_eq!(statement.document(&result)["subject"][4]["digest"], json!(digests));
        let host = Platform::host();
        assert_eq!(image(&[], &host, &digest), [("_".to_string(), digest.clone())]);
        assert_eq!(statement.document(&[])["predicate"], Value::Null);
    }

    #[test]
    fn documents_are_read() {
        let text = br#"{"predicateType": "k", "predicate": {"a": 1}, "subject": [{"name": "n", "digest": {"sha1": "00"}}]}"#;
        let read = Statement::read("s.json", text).unwrap();
        let digests = BTreeMap::from([("sha1".to_string(), "00".to_string())]);
        assert_eq!(read.subjects, [Subject::Other { name: "n".into(), digests }]);
        assert_eq!(
            (read.file.as_str(), read.kind.as_str(), &read.predicate),
            ("s.json", "k", &json!({ "a": 1 }))
        );
        assert!(
            Statement::read("s", br#"{"predicateType": "k", "subject": null}"#).unwrap().subjects.is_empty()
        );
        for wrong in ["{}", "x", r#"{"predicateType": ""}"#, r#"{"predicateType": "k", "subject": [1]}"#] {
            assert!(Statement::read("s", wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_of_a_result() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/x"), b"x").unwrap();
        std::fs::write(dir.path().join("a"), b"").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let found = files(Some(&root), &|| false).unwrap();
        assert_eq!(
            found,
            [("a".to_string(), Digest::sha256(b"")), ("d/x".to_string(), Digest::sha256(b"x"))]
        );
        assert!(files(Some(&root), &|| true).is_err());
        assert!(files(None, &|| false).unwrap().is_empty());
    }
}
