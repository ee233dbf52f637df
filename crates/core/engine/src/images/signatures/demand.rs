//! The signatures that this machine's policy asks for.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use api::images::SignedStatement;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cosign::{Claim, Identity, Policy, PublicKey, Requirement, Signers, Statement};
use oci::{Digest, Reference};
use state::tags::Tag;
use store::Image;

use crate::Engine;
use crate::error::{Error, Result};

/// A policy file that is larger than this is none.
const POLICY_MAX: u64 = 4 << 20;
/// So is a key.
const KEY_MAX: u64 = 64 << 10;

/// The signatures that an image of this name must have: one of each.
pub(crate) struct Demand {
    name: Reference,
    policy: PathBuf,
    signers: Vec<(Vec<PublicKey>, Identity)>,
}

impl Demand {
    /// What the policy asks of an image of this name; none without a policy or when anything goes. What is not wanted at
    /// all is an error.
    pub fn of(engine: &Engine, name: &Reference) -> Result<Option<Demand>> {
        match read(&engine.config().policies)? {
            Some((path, policy)) => Demand::by(&policy, &path, name),
            None => Ok(None),
        }
    }

    fn by(policy: &Policy, path: &Path, name: &Reference) -> Result<Option<Demand>> {
        let mut signers = Vec::new();
        for requirement in policy.of(name) {
            match requirement {
                Requirement::Anything => {}
                Requirement::Reject => return Err(refused(&name.familiar(), path, "it rejects this image")),
                Requirement::Unknown(what) => {
                    let why = format!("it asks for {what}, which can't be checked here");
                    return Err(refused(&name.familiar(), path, &why));
                }
                Requirement::Signed(wanted) => signers.push((keys(wanted, path)?, wanted.identity.clone())),
            }
        }
        Ok((!signers.is_empty()).then(|| Demand { name: name.clone(), policy: path.to_owned(), signers }))
    }

    /// Whether these statements about one of these manifests are enough; why not, if not.
    pub fn check(&self, manifests: &[&Digest], statements: &[SignedStatement]) -> Result<()> {
        for (keys, identity) in &self.signers {
            let claims = || {
                statements.iter().flat_map(|statement| keys.iter().filter_map(|key| claim(key, statement)))
            };
            if claims().any(|claim| manifests.contains(&&claim.digest) && identity.admits(&claim, &self.name))
            {
                continue;
            }
            let fingerprints: Vec<String> = keys.iter().map(PublicKey::fingerprint).collect();
            let why = match (statements.len(), claims().next()) {
                (0, _) => "it asks for a signature, and the image has none".to_owned(),
                (count, None) => {
                    format!("none of the image's {count} signatures is by key {}", fingerprints.join(" or "))
                }
                (_, Some(claim)) => {
                    let of = claim.reference.unwrap_or_else(|| claim.digest.to_string());
                    format!("key {} has signed {of}, and not this image", fingerprints.join(" or "))
                }
            };
            return Err(refused(&self.name.familiar(), &self.policy, &why));
        }
        Ok(())
    }
}

/// What a statement claims, if this key's owner has signed it.
fn claim(key: &PublicKey, statement: &SignedStatement) -> Option<Claim> {
    let SignedStatement { payload, signature, bundle } = statement;
    match bundle.is_empty() {
        true => Statement::Payload { payload, signature }.claim(key),
        false => Statement::Bundle(bundle).claim(key),
    }
}

/// Whether an image that is here may be run by this name: if it must be signed, by what was kept when it was pulled. By an id,
/// all its names count, for it came by one of them; one that has none must need nothing.
pub(crate) fn admit(engine: &Engine, asked: &str, image: &Image) -> Result<()> {
    let Some((path, policy)) = read(&engine.config().policies)? else { return Ok(()) };
    let (asked, all, kept) = engine.db().read(|tx| -> Result<_> {
        let asked = match Reference::parse(asked) {
            Ok(name) => state::tags::get(tx, &name)?,
            Err(_) => None,
        };
        Ok((asked, state::tags::all(tx)?, state::signatures::get(tx, &image.digest)?))
    })?;
    let names: Vec<Tag> = match asked {
        Some(tag) => vec![tag],
        None => all.into_iter().filter(|tag| leads_to(engine, &tag.target, &image.digest)).collect(),
    };
    let statements: Vec<SignedStatement> = match kept {
        Some(document) => serde_json::from_str(&document)
            .map_err(|e| Error::system(format!("kept signatures of {}: {e}", image.digest)))?,
        None => Vec::new(),
    };
    if names.is_empty() && policy.of_nameless().iter().any(|asked| *asked != Requirement::Anything) {
        let why = "it has no name, and what holds for all images asks for more than nothing";
        return Err(refused(&image.id.to_string(), &path, why));
    }
    for tag in &names {
        if let Some(demand) = Demand::by(&policy, &path, &tag.reference)? {
            demand.check(&[&image.digest, &tag.target], &statements)?;
        }
    }
    Ok(())
}

/// Whether a name for `target` is one for this image: the same, or an index that has it.
fn leads_to(engine: &Engine, target: &Digest, image: &Digest) -> bool {
    target == image || engine.store().members(target).is_ok_and(|members| members.has(image))
}

fn refused(image: &str, policy: &Path, why: &str) -> Error {
    Error::forbidden(format!("{image} is refused by {}: {why}", policy.display()))
        .with_hint("`image verify --key FILE IMAGE` shows which signatures there are")
}

fn read(places: &[PathBuf]) -> Result<Option<(PathBuf, Policy)>> {
    for path in places {
        if let Some(text) = bounded(path, POLICY_MAX)? {
            let policy = Policy::parse(&text).map_err(|e| {
                Error::system(format!("policy {}: {}", path.display(), crate::error::chain(&e)))
            })?;
            return Ok(Some((path.clone(), policy)));
        }
    }
    Ok(None)
}

fn bounded(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let fail = |e: std::io::Error| Error::system(format!("read {}: {e}", path.display()));
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Ok(found) if found.is_file() && found.len() <= most => {}
        Ok(_) => {
            return Err(Error::system(format!("{} is no file of less than {most} bytes", path.display())));
        }
        Err(error) => return Err(fail(error)),
    }
    fs::read(path).map(Some).map_err(fail)
}

/// The keys of those who may sign.
fn keys(signers: &Signers, policy: &Path) -> Result<Vec<PublicKey>> {
    let within = |what: &str, problem: &dyn std::fmt::Display| {
        Error::system(format!("policy {}: {what}: {problem}", policy.display()))
    };
    let mut keys = Vec::new();
    for path in &signers.paths {
        let text = bounded(Path::new(path), KEY_MAX)?.ok_or_else(|| within(path, &"there is no such key"))?;
        keys.push(PublicKey::from_pem(&text).map_err(|e| within(path, &e))?);
    }
    for data in &signers.data {
        let text = STANDARD.decode(data).map_err(|e| within("keyData", &e))?;
        keys.push(PublicKey::from_pem(&text).map_err(|e| within("keyData", &e))?);
    }
    Ok(keys)
}
