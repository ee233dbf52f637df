//! What sources are before a build takes them: files of web servers, repositories.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::build::BuildOptions;
use builder::graph::Asking;
use builder::{CancelToken, CommitId, Env, FileFacts, Looking, RepositoryFacts, Secrets};

use super::build::{CancelOnDrop, environment};
use super::fetch;
use super::reach::Reach;
use crate::Engine;
use crate::error::{Error, Result, chain};

/// What opens a source that is not everybody's.
#[derive(Default)]
pub struct Opening {
    /// What the client may name by path.
    pub reach: Reach,
    /// Secrets that are asked for by name, for web servers.
    pub ask: Option<Secrets>,
    /// Secrets by id, for repositories.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
    /// The keys that a repository's server may have, as ssh's file of known hosts has them.
    pub known_hosts: Option<String>,
}

/// Has the content of a file passed to it.
pub type Reader = Box<dyn FnMut(&[u8]) + Send>;

/// What a URL gives now, and its content to who wants to read it.
pub async fn file_facts(
    engine: &Engine,
    address: String,
    asking: Asking,
    opening: Opening,
    reader: Option<Reader>,
) -> Result<FileFacts> {
    look(engine, opening, move |looking| {
        let mut reader = reader;
        let passed = reader.as_mut().map(|reader| &mut **reader as &mut dyn FnMut(&[u8]));
        builder::file_facts(looking, (&address, &asking), passed)
    })
    .await
}

/// What the address of a repository stands for, which must be `commit` if that is given; with `objects` commit and tag come along.
pub async fn repository_facts(
    engine: &Engine,
    address: String,
    opening: Opening,
    commit: Option<CommitId>,
    objects: bool,
) -> Result<RepositoryFacts> {
    look(engine, opening, move |looking| builder::repository_facts(looking, &address, commit, objects)).await
}

async fn look<T: Send + 'static>(
    engine: &Engine,
    opening: Opening,
    find: impl FnOnce(&Looking<'_>) -> std::result::Result<T, builder::BoxError> + Send + 'static,
) -> Result<T> {
    let cancel = CancelToken::default();
    let Opening { reach, ask, secrets, agent, known_hosts } = opening;
    let fetch = fetch::fetcher(engine, &cancel, ask);
    let env = Env {
        fetch: Some(fetch),
        local_repositories: reach == Reach::Files,
        ..environment(engine, &BuildOptions::default(), &cancel)
    };
    let guard = CancelOnDrop(cancel.clone());
    let found = engine
        .blocking(move |_| {
            let (agent, known_hosts) = (agent.as_deref(), known_hosts.as_deref());
            let looking = Looking { env: &env, cancel: &cancel, secrets: &secrets, agent, known_hosts };
            find(&looking).map_err(|error| Error::system(chain(error.as_ref())))
        })
        .await;
    drop(guard);
    found
}
