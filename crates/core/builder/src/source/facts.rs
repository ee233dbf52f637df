//! What is known of a source before a build takes it, for who decides whether it may.

use super::git::{self, Repository, RepositoryFacts};
use super::{CommitId, Error, GitUrl, io, url};
use crate::error::BoxError;
use crate::graph::Asking;
use crate::request::{CancelToken, Env};
use oci::Digest;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Who looks, and how.
pub struct Looking<'a> {
    pub env: &'a Env,
    pub cancel: &'a CancelToken,
    /// Secrets by id, which open repositories.
    pub secrets: &'a BTreeMap<String, Vec<u8>>,
    /// The socket of an ssh agent.
    pub agent: Option<&'a Path>,
    /// The keys that a repository's server may have.
    pub known_hosts: Option<&'a str>,
}

/// What is known of a web server's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    pub digest: Digest,
    /// What it is called.
    pub name: String,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
}

/// Has the content of a file passed to it as it is read.
pub type Reading<'a> = &'a mut dyn FnMut(&[u8]);

/// What a URL gives now. Without somebody to read it, it need not be fetched anew.
pub fn file(
    looking: &Looking<'_>,
    (address, asking): (&str, &Asking),
    reading: Option<Reading<'_>>,
) -> Result<FileFacts, BoxError> {
    let cancelled = || looking.cancel.is_cancelled();
    let env = looking.env;
    let source = url::Source {
        fetch: env.fetch.as_ref(),
        asking,
        db: &env.db,
        limit: env.store.limits().stream(),
        cancelled: &cancelled,
    };
    let scratch = Scratch::new(env)?;
    let path = scratch.path.join("content");
    let Some(reading) = reading else {
        let url::Known { digest, name, modified, .. } = source.look(address, None, &path)?;
        return Ok(FileFacts { digest, name, modified });
    };
    let url::Loaded { path, name, modified, digest, .. } = source.load(address, None, &path)?;
    let mut file = std::fs::File::open(&path).map_err(io("open", &path))?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).map_err(io("read", &path))? {
            0 => return Ok(FileFacts { digest, name, modified }),
            count => reading(&buffer[..count]),
        }
    }
}

/// What the address of a repository stands for; with `objects` its commit comes along, and its tag.
pub fn repository(
    looking: &Looking<'_>,
    address: &str,
    commit: Option<CommitId>,
    objects: bool,
) -> Result<RepositoryFacts, BoxError> {
    let mut url = GitUrl::parse(address)?;
    url.commit = commit.or(url.commit);
    let scratch = Scratch::new(looking.env)?;
    let cancelled = || looking.cancel.is_cancelled();
    let proxies = BTreeMap::new();
    let Looking { env, secrets, agent, known_hosts, .. } = *looking;
    let access =
        git::Access { local: env.local_repositories, secrets, agent, known_hosts, proxies: &proxies };
    Ok(Repository::new(&url, access, &scratch.path, &cancelled)?.facts(objects)?)
}

/// A directory that goes with this.
struct Scratch {
    path: PathBuf,
    _lease: store::Lease,
}

impl Scratch {
    fn new(env: &Env) -> Result<Scratch, Error> {
        let failed = |source: BoxError| Error::Io {
            attempt: "make a directory for",
            path: "what is looked at".to_owned(),
            source: std::io::Error::other(source),
        };
        let lease = env.store.lease("look at a source").map_err(|e| failed(e.into()))?;
        let path = lease.scratch();
        crate::session::make_private(&path).map_err(|e| failed(e.into()))?;
        Ok(Scratch { path, _lease: lease })
    }
}
