//! Which images must be signed, and by whom: `containers-policy.json(5)`, as Podman and Skopeo read it.
//!
//! Of its transports only `docker`, the registries, is of use here. A requirement that can't be checked here (signatures of
//! GnuPG, certificates) is one that nothing meets, and says so: nothing is let in because a file was not understood.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use oci::Reference;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::payload::Claim;

/// The policy of a machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    default: Vec<Requirement>,
    /// By registry, namespace, repository or image; a leading `*.` stands for hosts below a domain.
    scopes: BTreeMap<String, Vec<Requirement>>,
}

/// What images must meet: all requirements of the narrowest scope.
#[derive(Debug, Clone, PartialEq)]
pub enum Requirement {
    /// Nothing.
    Anything,
    /// They are not wanted.
    Reject,
    /// A signature by one of these.
    Signed(Signers),
    /// One that we can't check, by its name.
    Unknown(String),
}

/// Who may sign, and what the signature must name.
#[derive(Debug, Clone, PartialEq)]
pub struct Signers {
    /// Files with public keys.
    pub paths: Vec<String>,
    /// Public keys in the policy itself, PEM in base64.
    pub data: Vec<String>,
    /// What the signature must say of the image's name.
    pub identity: Identity,
}

/// How the name in a signature and the name that was asked for belong together.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// The same, tag and all.
    Exact,
    /// The same, or, asked for by digest, of the same repository.
    RepositoryDigestOrExact,
    /// Of the same repository.
    Repository,
    /// This name, whatever was asked for.
    ExactReference(Box<Reference>),
    /// Of this repository, whatever was asked for.
    ExactRepository(Box<Reference>),
}

/// Why a policy can't be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// Not JSON, or not of the right shape; the source says where.
    #[error("it is no policy")]
    Document(#[from] serde_json::Error),
    /// A scope without any requirement.
    #[error("{scope}: a list of requirements must not be empty")]
    Empty { scope: String },
    /// A requirement is incomplete.
    #[error("{scope}: {problem}")]
    Requirement { scope: String, problem: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Line>,
    #[serde(default)]
    transports: Once<Once<Vec<Line>>>,
}

/// A requirement as it is written. A key that its type does not have may be one that was meant to make it stricter: such a
/// file is refused as a whole.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Line {
    InsecureAcceptAnything {},
    Reject {},
    SignedBy {
        #[serde(rename = "keyType")]
        _key_type: Option<String>,
        #[serde(rename = "keyPath")]
        _key_path: Option<String>,
        #[serde(rename = "keyPaths")]
        _key_paths: Option<Vec<String>>,
        #[serde(rename = "keyData")]
        _key_data: Option<String>,
        #[serde(rename = "signedIdentity")]
        _signed_identity: Option<Signed>,
    },
    SigstoreSigned(Box<Sigstore>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sigstore {
    key_path: Option<String>,
    key_paths: Option<Vec<String>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    fulcio: Option<serde_json::Value>,
    pki: Option<serde_json::Value>,
    rekor_public_key_path: Option<String>,
    rekor_public_key_paths: Option<Vec<String>>,
    rekor_public_key_data: Option<String>,
    rekor_public_key_datas: Option<Vec<String>>,
    signed_identity: Option<Signed>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Signed {
    MatchExact {},
    MatchRepoDigestOrExact {},
    MatchRepository {},
    ExactReference { docker_reference: String },
    ExactRepository { docker_repository: String },
    RemapIdentity { prefix: String, signed_prefix: String },
}

/// A map whose keys are there once: of two, one would be lost, and it might be the stricter one.
struct Once<V>(BTreeMap<String, V>);

impl<V> Default for Once<V> {
    fn default() -> Once<V> {
        Once(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Once<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Once<V>, D::Error> {
        struct Keys<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Keys<V> {
            type Value = Once<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once<V>, A::Error> {
                let mut found = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if found.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    let value = map.next_value()?;
                    found.insert(key, value);
                }
                Ok(Once(found))
            }
        }

        deserializer.deserialize_map(Keys(PhantomData))
    }
}

impl Policy {
    /// Reads a policy file's content.
    pub fn parse(text: &[u8]) -> Result<Policy, InvalidPolicy> {
        let file: File = serde_json::from_slice(text)?;
        let default = requirements("default", file.default)?;
        let mut scopes = BTreeMap::new();
        let mut transports = file.transports.0;
        for (scope, lines) in transports.remove("docker").unwrap_or_default().0 {
            let requirements = requirements(&scope, lines)?;
            scopes.insert(scope, requirements);
        }
        Ok(Policy { default, scopes })
    }

    /// What an image must meet, by its name.
    pub fn of(&self, name: &Reference) -> &[Requirement] {
        let full = name.name();
        let mut candidates = Vec::new();
        if let Some(digest) = &name.digest {
            candidates.push(format!("{full}@{digest}"));
        }
        if let Some(tag) = &name.tag {
            candidates.push(format!("{full}:{tag}"));
        }
        let mut rest = full.as_str();
        candidates.push(rest.to_owned());
        while let Some((above, _)) = rest.rsplit_once('/') {
            candidates.push(above.to_owned());
            rest = above;
        }
        let mut host = rest;
        while let Some((_, domain)) = host.split_once('.') {
            candidates.push(format!("*.{domain}"));
            host = domain;
        }
        candidates
            .iter()
            .find_map(|scope| self.scopes.get(scope))
            .map_or_else(|| self.of_nameless(), Vec::as_slice)
    }

    /// What an image without a name must meet: what holds for all registries, or else by default.
    pub fn of_nameless(&self) -> &[Requirement] {
        self.scopes.get("").unwrap_or(&self.default)
    }
}

fn requirements(scope: &str, lines: Vec<Line>) -> Result<Vec<Requirement>, InvalidPolicy> {
    if lines.is_empty() {
        return Err(InvalidPolicy::Empty { scope: scope.to_owned() });
    }
    let problem = |problem: String| InvalidPolicy::Requirement { scope: scope.to_owned(), problem };
    lines.into_iter().map(|line| requirement(line).map_err(problem)).collect()
}

fn requirement(line: Line) -> Result<Requirement, String> {
    let line = match line {
        Line::InsecureAcceptAnything {} => return Ok(Requirement::Anything),
        Line::Reject {} => return Ok(Requirement::Reject),
        Line::SignedBy { .. } => return Ok(Requirement::Unknown("signedBy".to_owned())),
        Line::SigstoreSigned(line) => line,
    };
    let certificates = line.fulcio.is_some() || line.pki.is_some();
    let log_paths = line.rekor_public_key_path.is_some() || line.rekor_public_key_paths.is_some();
    let logs = log_paths || line.rekor_public_key_data.is_some() || line.rekor_public_key_datas.is_some();
    if certificates || logs {
        let what = if certificates { "certificates" } else { "a transparency log" };
        return Ok(Requirement::Unknown(format!("sigstoreSigned with {what}")));
    }
    let paths: Vec<String> = line.key_path.into_iter().chain(line.key_paths.unwrap_or_default()).collect();
    let data: Vec<String> = line.key_data.into_iter().chain(line.key_datas.unwrap_or_default()).collect();
    if paths.is_empty() && data.is_empty() {
        return Err("sigstoreSigned needs keyPath, keyPaths, keyData or keyDatas".to_owned());
    }
    let identity = line.signed_identity.map_or(Ok(Identity::RepositoryDigestOrExact), identity)?;
    Ok(Requirement::Signed(Signers { paths, data, identity }))
}

fn identity(signed: Signed) -> Result<Identity, String> {
    let name = |text: &str, what: &str| {
        Reference::parse(text).map(Box::new).map_err(|e| format!("{what} {text:?}: {e}"))
    };
    match signed {
        Signed::MatchExact {} => Ok(Identity::Exact),
        Signed::MatchRepoDigestOrExact {} => Ok(Identity::RepositoryDigestOrExact),
        Signed::MatchRepository {} => Ok(Identity::Repository),
        Signed::ExactReference { docker_reference } => {
            name(&docker_reference, "dockerReference").map(Identity::ExactReference)
        }
        Signed::ExactRepository { docker_repository } => {
            name(&docker_repository, "dockerRepository").map(Identity::ExactRepository)
        }
        Signed::RemapIdentity { prefix, signed_prefix } => {
            Err(format!("signedIdentity remapIdentity ({prefix} as {signed_prefix}) is not supported"))
        }
    }
}

impl Identity {
    /// Whether a signature's claim is about what was asked for. A bundle names no image but by its digest, so it fits any name.
    pub fn admits(&self, claim: &Claim, asked: &Reference) -> bool {
        let Some(text) = &claim.reference else { return true };
        let Ok(signed) = Reference::parse_name(text) else { return false };
        let exact = |other: &Reference| {
            signed.name() == other.name() && signed.tag == other.tag && signed.tag.is_some()
        };
        match self {
            Identity::Exact => exact(asked),
            Identity::RepositoryDigestOrExact => match asked.tag.is_none() && asked.digest.is_some() {
                true => signed.name() == asked.name(),
                false => exact(asked),
            },
            Identity::Repository => signed.name() == asked.name(),
            Identity::ExactReference(name) => exact(name),
            Identity::ExactRepository(name) => signed.name() == name.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    const POLICY: &str = r#"{
        "default": [{"type": "insecureAcceptAnything"}],
        "transports": {
            "docker": {
                "registry.test": [{"type": "reject"}],
                "registry.test/team": [{"type": "sigstoreSigned", "keyPath": "/k.pub"}],
                "registry.test/team/app:1": [{"type": "insecureAcceptAnything"}],
                "*.example.test": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg"}],
                "docker.io/library": [{"type": "sigstoreSigned", "keyDatas": ["a"], "signedIdentity": {"type": "matchRepository"}}]
            },
            "docker-daemon": {"": [{"type": "reject"}]}
        }
    }"#;

    #[test]
    fn the_narrowest_scope_counts() {
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        let of = |text: &str| policy.of(&name(text))[0].clone();
        assert_eq!(of("elsewhere.test/x"), Requirement::Anything);
        assert_eq!(of("registry.test/x"), Requirement::Reject);
        assert_eq!(of("registry.test/teams/x"), Requirement::Reject, "a namespace ends at a slash");
        assert!(matches!(of("registry.test/team/app:2"), Requirement::Signed(_)));
        assert_eq!(of("registry.test/team/app:1"), Requirement::Anything);
        assert_eq!(of("a.b.example.test/x"), Requirement::Unknown("signedBy".to_owned()));
        assert!(matches!(of("nginx"), Requirement::Signed(Signers { identity: Identity::Repository, .. })));
    }

    #[test]
    fn damaged_policies_are_refused() {
        let reject = r#"[{"type": "reject"}]"#;
        let twice = format!(
            r#"{{"default": {reject}, "transports": {{"docker": {{"a": {reject}}}, "docker": {{}}}}}}"#
        );
        let scopes = format!(
            r#"{{"default": {reject}, "transports": {{"docker": {{"a": {reject}, "a": {reject}}}}}}}"#
        );
        for text in [&twice, &scopes] {
            let Err(InvalidPolicy::Document(error)) = Policy::parse(text.as_bytes()) else {
                panic!("{text}")
            };
            assert!(error.to_string().contains("duplicate key"), "{error}");
        }
        for (text, want) in [
            ("", "it is no policy"),
            ("{}", "it is no policy"),
            (r#"{"default": []}"#, "default: a list of requirements must not be empty"),
            (r#"{"default": [{"type": "sigstoreSigned"}]}"#, "needs keyPath"),
            (r#"{"default": [{"type": "reject"}], "other": 1}"#, "it is no policy"),
            (r#"{"default": [{"type": "reject", "keyPath": "/k"}]}"#, "it is no policy"),
            (r#"{"default": [{"type": "new"}]}"#, "it is no policy"),
            (
                r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedidentity": {}}]}"#,
                "it is no policy",
            ),
            (
                r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "remapIdentity", "prefix": "a", "signedPrefix": "b"}}]}"#,
                "remapIdentity (a as b) is not supported",
            ),
            (
                r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "exactReference"}}]}"#,
                "it is no policy",
            ),
            (
                r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "exactReference", "dockerReference": "A"}}]}"#,
                "dockerReference \"A\"",
            ),
        ] {
            let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
        let keyless = r#"{"default": [{"type": "sigstoreSigned", "fulcio": {"caPath": "/c"}}]}"#;
        let policy = Policy::parse(keyless.as_bytes()).unwrap();
        assert!(
            matches!(&policy.of(&name("x"))[0], Requirement::Unknown(what) if what.contains("certificates"))
        );
    }

    #[test]
    fn names_belong_together() {
        let claim = |text: &str| Claim {
            reference: Some(text.to_owned()),
            digest: oci::Digest::sha256(b""),
            annotations: BTreeMap::new(),
        };
        let by_digest = format!("registry.test/app@{}", oci::Digest::sha256(b""));
        for (identity, signed, asked, fits) in [
            (Identity::Exact, "registry.test/app:1", "registry.test/app:1", true),
            (Identity::Exact, "registry.test/app:1", "registry.test/app:2", false),
            (Identity::Exact, "registry.test/app", "registry.test/app:latest", false),
            (Identity::RepositoryDigestOrExact, "registry.test/app:1", &by_digest, true),
            (Identity::RepositoryDigestOrExact, "registry.test/other:1", &by_digest, false),
            (Identity::RepositoryDigestOrExact, "registry.test/app:1", "registry.test/app:2", false),
            (Identity::Repository, "registry.test/app", "registry.test/app:2", true),
            (Identity::Repository, "index.docker.io/library/nginx", "nginx:1", true),
            (
                Identity::ExactRepository(Box::new(name("registry.test/app"))),
                "registry.test/app:9",
                "mirror.test/app:1",
                true,
            ),
            (
                Identity::ExactReference(Box::new(name("registry.test/app:9"))),
                "registry.test/app:8",
                "mirror.test/app:1",
                false,
            ),
            (Identity::Repository, "NOT A NAME", "registry.test/app:2", false),
        ] {
            assert_eq!(identity.admits(&claim(signed), &name(asked)), fits, "{identity:?} {signed} {asked}");
        }
    }
}
