//! What a policy says about what a build takes from elsewhere, before anything of it is done: files of servers, repositories,
//! contexts. Images are looked at where they are found.

use crate::error::{BoxError, Error, StepError};
use crate::graph::{Copy, CopySource, Graph, OpKind};
use crate::request::Env;
use crate::session::SourceFile;
use crate::source::GitUrl;
use oci::Digest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something that a build takes from elsewhere, as BuildKit calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `https://host/file`, `git://host/path#ref`, `local://context`.
    pub identifier: String,
    /// `http.checksum`, `git.fullurl`.
    pub attributes: BTreeMap<String, String>,
}

/// Makes of a source what is to be taken in its place, and says whether that is anything else; an error if nothing may be.
pub type Policy = Arc<dyn Fn(&mut Source) -> Result<bool, BoxError> + Send + Sync>;

const CHECKSUM: &str = "http.checksum";
const REMOTE: &str = "git.fullurl";
const GIT: &str = "git://";

/// Asks about all that the operations of a graph fetch.
pub(crate) fn apply(env: &Env, graph: &mut Graph, file: &SourceFile) -> Result<(), Error> {
    let Some(policy) = &env.policy else { return Ok(()) };
    for op in &mut graph.ops {
        let OpKind::Copy(copy) = &mut op.kind else { continue };
        copied(policy, copy).map_err(|source| {
            Error::Step(Box::new(StepError {
                place: file.place(op.span),
                instruction: op.instruction.clone(),
                message: "evaluate the source policy".to_owned(),
                exit_code: None,
                output: String::new(),
                hint: None,
                source: Some(source),
            }))
        })?;
    }
    Ok(())
}

fn copied(policy: &Policy, copy: &mut Copy) -> Result<(), BoxError> {
    let is_alone = copy.sources.len() == 1;
    for source in &mut copy.sources {
        match source {
            CopySource::Path(_) | CopySource::Inline { .. } => {}
            CopySource::Url { url, checksum } => {
                let given = checksum.iter().map(|sum| (CHECKSUM.to_owned(), sum.clone())).collect();
                let mut asked = Source { identifier: url.clone(), attributes: given };
                if policy(&mut asked)? {
                    // It is called as the Dockerfile calls it.
                    if is_alone && copy.dest.ends_with('/') && asked.identifier != *url {
                        copy.dest.push_str(file_name(url));
                    }
                    *url = asked.identifier;
                    *checksum = asked.attributes.remove(CHECKSUM).filter(|sum| !sum.is_empty());
                    if let Some(sum) = checksum {
                        sum.parse::<Digest>().map_err(|e| format!("{CHECKSUM} {sum}: {e}"))?;
                    }
                }
            }
            CopySource::Git { url, .. } => *url = repository(policy, url)?,
        }
    }
    Ok(())
}

/// The last part of an address.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The repository that is taken for this one.
fn repository(policy: &Policy, address: &str) -> Result<String, BoxError> {
    let url = GitUrl::parse(address)?;
    let place = url.remote.split_once("://").map_or(url.remote.as_str(), |(_, place)| place);
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let place = if url.remote.contains("://") { place.to_owned() } else { place.replacen(':', "/", 1) };
    let part = match (&url.reference, url.directory.as_str()) {
        (None, "") => String::new(),
        (reference, "") => format!("#{}", reference.as_ref().map_or("", |name| name.name())),
        (reference, directory) => {
            format!("#{}:{directory}", reference.as_ref().map_or("", |name| name.name()))
        }
    };
    let attributes = BTreeMap::from([(REMOTE.to_owned(), url.remote.clone())]);
    let mut asked = Source { identifier: format!("{GIT}{place}{part}"), attributes };
    if !policy(&mut asked)? {
        return Ok(address.to_owned());
    }
    let Some(rest) = asked.identifier.strip_prefix(GIT) else {
        return Err(format!("repository {address} cannot be converted to {}", asked.identifier).into());
    };
    let (place, part) = rest.split_once('#').unwrap_or((rest, ""));
    let remote = asked.attributes.remove(REMOTE).filter(|remote| !remote.is_empty());
    let remote = remote.unwrap_or_else(|| format!("https://{place}"));
    Ok(if part.is_empty() { remote } else { format!("{remote}#{part}") })
}

/// The address that is taken for that of a context.
pub(crate) fn context(env: &Env, address: &str) -> Result<String, BoxError> {
    let Some(policy) = &env.policy else { return Ok(address.to_owned()) };
    if crate::is_git(address) {
        return repository(policy, address);
    }
    let mut asked = Source { identifier: address.to_owned(), ..Source::default() };
    policy(&mut asked)?;
    match asked.attributes.get(CHECKSUM) {
        Some(_) => Err(format!("{address}: the checksum of a context cannot be demanded").into()),
        None => Ok(asked.identifier),
    }
}

/// Whether a directory of the client may be used.
pub(crate) fn local(env: &Env, name: &str) -> Result<(), BoxError> {
    let Some(policy) = &env.policy else { return Ok(()) };
    let mut asked = Source { identifier: format!("local://{name}"), ..Source::default() };
    match policy(&mut asked)? {
        false => Ok(()),
        true => Err(format!("local://{name} cannot be converted to {}", asked.identifier).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins() -> Policy {
        Arc::new(|source| match source.identifier.as_str() {
            "https://h/a?x" => {
                source.identifier = "https://mirror/b".to_owned();
                source.attributes.insert(CHECKSUM.to_owned(), format!("sha256:{:064}", 0));
                Ok(true)
            }
            "git://h/r.git#main:sub" => {
                source.identifier = "git://h/r.git#v1:sub".to_owned();
                Ok(true)
            }
            "git://h/bare.git" => {
                source.identifier = "git://other/bare.git#v2".to_owned();
                source.attributes.insert(REMOTE.to_owned(), "https://other/bare.git".to_owned());
                Ok(true)
            }
            "git://h/no.git" => Err("denied".into()),
            _ => Ok(false),
        })
    }

    #[test]
    fn repositories() {
        let taken = |address: &str| repository(&pins(), address).map_err(|e| e.to_string());
        assert_eq!(taken("https://h/r.git#main:sub").unwrap(), "https://h/r.git#v1:sub");
        assert_eq!(taken("git@h:r.git#other").unwrap(), "git@h:r.git#other");
        assert_eq!(taken("https://user:pass@h/bare.git").unwrap(), "https://other/bare.git#v2");
        assert_eq!(taken("https://h/no.git").unwrap_err(), "denied");
    }

    #[test]
    fn files_keep_their_names() {
        let url = CopySource::Url { url: "https://h/a?x".to_owned(), checksum: None };
        let mut copy = Copy::plain(crate::graph::Origin::Context(None), url, "/d/");
        copied(&pins(), &mut copy).unwrap();
        let sum = Some(format!("sha256:{:064}", 0));
        assert_eq!(copy.sources, [CopySource::Url { url: "https://mirror/b".to_owned(), checksum: sum }]);
        assert_eq!(copy.dest, "/d/a");
    }
}
