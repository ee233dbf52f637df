//! What a policy says about what a build takes from elsewhere, before anything of it is done: files of servers, repositories,
//! contexts. Images are looked at where they are found.

use crate::error::{BoxError, Error, StepError};
use crate::graph::{Copy, CopySource, Graph, OpKind, Origin};
use crate::request::{Context, DockerfileSource, Env, NamedContext};
use crate::session::SourceFile;
use crate::source::{CommitId, GitUrl};
use oci::{Digest, Platform};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something that a build takes from elsewhere, as BuildKit calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `https://host/file`, `git://host/path#ref`, `local://context`.
    pub identifier: String,
    /// `http.checksum`, `git.fullurl`.
    pub attributes: BTreeMap<String, String>,
    /// For which platform, of what has one: images.
    pub platform: Option<Platform>,
}

impl Source {
    /// Without anything to say but its name.
    pub fn named(identifier: impl Into<String>) -> Source {
        Source { identifier: identifier.into(), ..Source::default() }
    }
}

/// Makes of a source what is to be taken in its place, and says whether that is anything else; an error if nothing may be.
pub type Policy = Arc<dyn Fn(&mut Source) -> Result<bool, BoxError> + Send + Sync>;

/// The digest that a file must have.
pub const CHECKSUM: &str = "http.checksum";
/// The commit that a repository's name must stand for.
pub const COMMIT: &str = "git.checksum";
const REMOTE: &str = "git.fullurl";
const KEEP: &str = "git.keepgitdir";
const MODE: &str = "http.perm";
const OWNER: [&str; 2] = ["http.uid", "http.gid"];
const GIT: &str = "git://";
/// What clients call the directory that the Dockerfile is in.
const RECIPE: &str = "dockerfile";
/// What they call their main context.
const MAIN: &str = "context";

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
                process: None,
                output: String::new(),
                hint: None,
                source: Some(source),
                left: None,
                spot: None,
            }))
        })?;
    }
    Ok(())
}

fn copied(policy: &Policy, copy: &mut Copy) -> Result<(), BoxError> {
    let is_alone = copy.sources.len() == 1;
    let mut sources = std::mem::take(&mut copy.sources);
    for source in &mut sources {
        match source {
            CopySource::Path(_) | CopySource::Inline { .. } => {}
            CopySource::Url { url, checksum, .. } => {
                let given = checksum.iter().map(|sum| (CHECKSUM.to_owned(), sum.to_string())).collect();
                let name = called(url);
                let mut asked = Source { attributes: given, ..Source::named(name.clone()) };
                if policy(&mut asked)? {
                    *checksum = digest(&mut asked)?;
                    if asked.identifier != name {
                        // It is called as the Dockerfile calls it.
                        if is_alone && copy.dest.ends_with('/') {
                            copy.dest.push_str(file_name(url));
                        }
                        *url = asked.identifier;
                    }
                    served(copy, is_alone, asked.attributes)?;
                }
            }
            CopySource::Git { url, checksum, keep_git_dir, .. } => {
                let known = Repository { url: url.clone(), commit: checksum.clone(), keep: *keep_git_dir };
                Repository { url: *url, commit: *checksum, keep: *keep_git_dir } = repository(policy, known)?;
            }
        }
    }
    copy.sources = sources;
    Ok(())
}

/// The digest that a policy demands of a file.
fn digest(asked: &mut Source) -> Result<Option<Digest>, BoxError> {
    let sum = asked.attributes.remove(CHECKSUM).filter(|sum| !sum.is_empty());
    let read = |sum: String| sum.parse::<Digest>().map_err(|e| format!("{CHECKSUM} {sum}: {e}").into());
    sum.map(read).transpose()
}

/// Mode and owner that a policy gives a file; what a Dockerfile says of both goes before that.
fn served(copy: &mut Copy, is_alone: bool, mut given: BTreeMap<String, String>) -> Result<(), BoxError> {
    given.retain(|_, value| !value.is_empty());
    if given.is_empty() {
        return Ok(());
    }
    if !is_alone {
        return Err("attributes of one file among several sources cannot be converted".into());
    }
    if let Some(mode) = given.remove(MODE) {
        copy.chmod.get_or_insert_with(|| mode.trim_start_matches("0o").to_owned());
    }
    if let [owner, group] = OWNER.map(|key| given.remove(key))
        && (owner.is_some() || group.is_some())
    {
        let id = |id: Option<String>| id.unwrap_or_else(|| "0".to_owned());
        copy.chown.get_or_insert_with(|| format!("{}:{}", id(owner), id(group)));
    }
    refuse_others(&given)
}

fn refuse_others(given: &BTreeMap<String, String>) -> Result<(), BoxError> {
    match given.keys().next() {
        None => Ok(()),
        Some(key) => Err(format!("attribute {key} that the source policy sets is not supported").into()),
    }
}

/// An address as policies know it: the case of `https` does not count.
fn called(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => url.to_owned(),
    }
}

/// The last part of an address.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// A repository, and what is wanted of it besides what its address says.
struct Repository {
    url: String,
    /// The commit that it must be.
    commit: Option<CommitId>,
    keep: Option<bool>,
}

/// The repository that is taken for this one.
fn repository(policy: &Policy, known: Repository) -> Result<Repository, BoxError> {
    let url = GitUrl::parse(&known.url)?;
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
    let mut attributes = BTreeMap::from([(REMOTE.to_owned(), url.remote.clone())]);
    attributes.extend(known.commit.iter().chain(&url.commit).map(|id| (COMMIT.to_owned(), id.to_string())));
    if known.keep.or(url.keep_git_dir) == Some(true) {
        attributes.insert(KEEP.to_owned(), "true".to_owned());
    }
    let identifier = format!("{GIT}{place}{part}");
    let mut asked = Source { attributes, ..Source::named(identifier.clone()) };
    if !policy(&mut asked)? {
        return Ok(known);
    }
    let Source { identifier: to, attributes: mut given, .. } = asked;
    given.retain(|_, value| !value.is_empty());
    let (remote, commit) = (given.remove(REMOTE), given.remove(COMMIT));
    let commit = commit.map(|id| id.parse::<CommitId>().map_err(|e| format!("{COMMIT}: {e}"))).transpose()?;
    let keep = given.remove(KEEP).map(|keep| keep == "true").or(known.keep.map(|_| false));
    refuse_others(&given)?;
    if to == identifier && remote.as_ref() == Some(&url.remote) {
        return Ok(Repository { commit, keep, ..known });
    }
    let Some(rest) = to.strip_prefix(GIT) else {
        return Err(format!("repository {} cannot be converted to {to}", url.shown()).into());
    };
    let (place, part) = rest.split_once('#').unwrap_or((rest, ""));
    let remote = remote.unwrap_or_else(|| format!("https://{place}"));
    let url = if part.is_empty() { remote } else { format!("{remote}#{part}") };
    Ok(Repository { url, commit, keep })
}

/// What is taken for a context that lies elsewhere.
pub(crate) struct Remote {
    pub address: String,
    /// The digest that a file must have.
    pub checksum: Option<Digest>,
    /// The commit that a repository must be.
    pub commit: Option<CommitId>,
    pub keep_git_dir: Option<bool>,
}

/// What is taken for a source of `ADD`.
pub(crate) fn source(env: &Env, source: CopySource) -> Result<CopySource, BoxError> {
    let Some(policy) = &env.policy else { return Ok(source) };
    let mut copy = Copy::plain(Origin::Context(None), source.clone(), "/");
    copied(policy, &mut copy)?;
    Ok(copy.sources.pop().unwrap_or(source))
}

/// What is taken for the context of this address.
pub(crate) fn context(env: &Env, address: &str) -> Result<Remote, BoxError> {
    let plain = |address| Remote { address, checksum: None, commit: None, keep_git_dir: None };
    let Some(policy) = &env.policy else { return Ok(plain(address.to_owned())) };
    if crate::is_git(address) {
        let known = Repository { url: address.to_owned(), commit: None, keep: None };
        let Repository { url, commit, keep } = repository(policy, known)?;
        return Ok(Remote { commit, keep_git_dir: keep, ..plain(url) });
    }
    let mut asked = Source::named(called(address));
    policy(&mut asked)?;
    let checksum = digest(&mut asked)?;
    asked.attributes.retain(|_, value| !value.is_empty());
    refuse_others(&asked.attributes)?;
    Ok(Remote { checksum, ..plain(asked.identifier) })
}

/// Whether the Dockerfile may come from a directory of the client, where it does.
pub(crate) fn recipe(env: &Env, context: &Context, recipe: &DockerfileSource) -> Result<(), Error> {
    match (context, recipe) {
        // Who has it sent by a client has asked already.
        (Context::Client, _) | (Context::Remote(_), DockerfileSource::InContext(_)) => Ok(()),
        _ => local(env, RECIPE).map_err(Error::Policy),
    }
}

/// Whether the directories of the client that graphs read may be used; of those that it sends it is asked when it does.
pub(crate) fn directories<'g>(
    env: &Env,
    named: &BTreeMap<String, NamedContext>,
    is_main_local: bool,
    graphs: impl Iterator<Item = &'g Graph>,
) -> Result<(), Error> {
    if env.policy.is_none() {
        return Ok(());
    }
    for name in crate::context::reads(graphs).into_keys() {
        let is_local = match &name {
            None => is_main_local,
            Some(name) => matches!(named.get(name), Some(NamedContext::Dir(_))),
        };
        if is_local {
            local(env, name.as_deref().unwrap_or(MAIN)).map_err(Error::Policy)?;
        }
    }
    Ok(())
}

/// Whether a directory of the client may be used.
fn local(env: &Env, name: &str) -> Result<(), BoxError> {
    let Some(policy) = &env.policy else { return Ok(()) };
    let mut asked = Source::named(format!("local://{name}"));
    match policy(&mut asked)? {
        false => Ok(()),
        true => Err(format!("local://{name} cannot be converted to {}", asked.identifier).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Asking;

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
            "git://h/pin.git#main" => {
                source.attributes.insert(COMMIT.to_owned(), "ABCDEF0".to_owned());
                Ok(true)
            }
            "git://h/pin.git#option" => {
                source.attributes.insert(COMMIT.to_owned(), "--upload-pack=x".to_owned());
                Ok(true)
            }
            "git://h/odd.git" => {
                source.attributes.insert("git.sig.pubkey".to_owned(), "x".to_owned());
                Ok(true)
            }
            "https://h/owned" => {
                source.attributes.insert(MODE.to_owned(), "0640".to_owned());
                source.attributes.insert(OWNER[0].to_owned(), "7".to_owned());
                Ok(true)
            }
            "https://h/renamed" => {
                source.attributes.insert("http.filename".to_owned(), "x".to_owned());
                Ok(true)
            }
            _ => Ok(false),
        })
    }

    #[test]
    fn repositories() {
        let taken = |address: &str| {
            let known = Repository { url: address.to_owned(), commit: None, keep: None };
            repository(&pins(), known).map(|taken| taken.url).map_err(|e| e.to_string())
        };
        assert_eq!(taken("https://h/r.git#main:sub").unwrap(), "https://h/r.git#v1:sub");
        assert_eq!(taken("git@h:r.git#other").unwrap(), "git@h:r.git#other");
        assert_eq!(taken("https://user:pass@h/bare.git").unwrap(), "https://other/bare.git#v2");
        assert_eq!(taken("https://h/no.git").unwrap_err(), "denied");
        assert!(taken("https://h/odd.git").unwrap_err().contains("git.sig.pubkey"));
        let wrong = taken("https://h/pin.git#option").unwrap_err();
        assert_eq!(wrong, "git.checksum: \"--upload-pack=x\" is no commit id");
        let known = Repository { url: "https://h/pin.git#main".to_owned(), commit: None, keep: Some(true) };
        let pinned = repository(&pins(), known).unwrap();
        assert_eq!(pinned.url, "https://h/pin.git#main");
        assert_eq!(pinned.commit.map(|id| id.to_string()).as_deref(), Some("abcdef0"));
        assert_eq!(pinned.keep, Some(true));
    }

    #[test]
    fn files_get_mode_and_owner() {
        let added = |url: &str| {
            let url = CopySource::Url { url: url.to_owned(), checksum: None, asking: Asking::default() };
            let mut copy = Copy::plain(crate::graph::Origin::Context(None), url, "/d/");
            copied(&pins(), &mut copy).map(|()| copy).map_err(|e| e.to_string())
        };
        let owned = added("HTTPS://h/owned").unwrap();
        assert_eq!((owned.chmod.as_deref(), owned.chown.as_deref()), (Some("0640"), Some("7:0")));
        assert!(added("https://h/renamed").unwrap_err().contains("http.filename"));
    }

    #[test]
    fn files_keep_their_names() {
        let url =
            CopySource::Url { url: "https://h/a?x".to_owned(), checksum: None, asking: Asking::default() };
        let mut copy = Copy::plain(crate::graph::Origin::Context(None), url, "/d/");
        copied(&pins(), &mut copy).unwrap();
        let sum = format!("sha256:{:064}", 0).parse().ok();
        assert_eq!(
            copy.sources,
            [CopySource::Url {
                url: "https://mirror/b".to_owned(),
                checksum: sum,
                asking: Asking::default()
            }]
        );
        assert_eq!(copy.dest, "/d/a");
    }
}
