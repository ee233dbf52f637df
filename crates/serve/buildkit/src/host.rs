//! What connections of a server share: the sessions that clients have opened, and the builds that run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::Engine;
use engine::builds::Reach;
use http::HeaderMap;
use hyper::rt::{Read, Write};
use tokio::sync::watch;
use tonic::Status;

use crate::build::Build;
use crate::line::Line;
use crate::session::{About, Session};
use crate::status::Told;

/// How long a call waits for the session or the build that it names: clients open both at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// Sessions at a time.
const SESSIONS_MAX: usize = 4096;
/// Builds whose words are kept after their end.
const ENDED_MAX: usize = 32;
/// Bytes of them.
const ENDED_BYTES: usize = 64 << 20;
/// The longest name of a session.
const NAME_MAX: usize = 256;

/// Serves BuildKit's protocols. Clones share sessions and builds.
#[derive(Clone)]
pub struct Host(Arc<Shared>);

struct Shared {
    engine: Engine,
    /// What results of builds have.
    state: Mutex<State>,
    /// Changes with the state.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Session>,
    builds: HashMap<String, Arc<Build>>,
    /// What builds have told that ended lately: who wants to hear it may come late. The oldest first.
    ended: VecDeque<Ended>,
}

struct Ended {
    id: String,
    told: Arc<Told>,
    size: usize,
}

impl State {
    fn told(&self, id: &str) -> Option<Arc<Told>> {
        // Of several of one id the last is meant.
        let ended = || self.ended.iter().rfind(|ended| ended.id == id).map(|ended| ended.told.clone());
        self.builds.get(id).map(|build| build.told.clone()).or_else(ended)
    }

    /// Keeps what a build has told; what ended before it goes when that is too much.
    fn keep(&mut self, ended: Ended) {
        self.ended.push_back(ended);
        let mut size: usize = self.ended.iter().map(|ended| ended.size).sum();
        while self.ended.len() > ENDED_MAX || (size > ENDED_BYTES && self.ended.len() > 1) {
            size -= self.ended.pop_front().map_or(0, |gone| gone.size);
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// What it may name by path.
    pub reach: Reach,
    /// Which user of this machine it is, where that is known.
    pub uid: Option<u32>,
}

/// Why a session can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("a session needs its id in the header X-Docker-Expose-Session-Uuid")]
    Nameless,
    #[error("session {0} already exists")]
    Exists(String),
    #[error("too many sessions are open")]
    TooMany,
}

impl Host {
    /// Nothing is open yet.
    pub fn new(engine: Engine) -> Host {
        Host(Arc::new(Shared { engine, state: Mutex::default(), changed: watch::Sender::new(()) }))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// A session that is about to be opened by somebody, by the headers of its request.
    pub fn session(&self, headers: &HeaderMap, peer: Peer) -> Result<Opening, Refused> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = text("x-docker-expose-session-uuid").to_owned();
        let methods = headers.get_all("x-docker-expose-session-grpc-method").iter();
        let methods = methods.filter_map(|value| Some(value.to_str().ok()?.to_ascii_lowercase())).collect();
        if id.is_empty() || id.len() > NAME_MAX {
            return Err(Refused::Nameless);
        }
        let state = self.state();
        if state.sessions.contains_key(&id) {
            return Err(Refused::Exists(id));
        }
        if state.sessions.len() >= SESSIONS_MAX {
            return Err(Refused::TooMany);
        }
        let shared_key = text("x-docker-expose-session-sharedkey").to_owned();
        Ok(Opening { host: self.clone(), id, client: About { methods, shared_key, peer } })
    }

    /// The session of this id, which may be about to come.
    pub(crate) async fn find_session(&self, id: &str) -> Result<Session, Status> {
        if id.is_empty() {
            return Err(Status::invalid_argument(
                "the client's own files are asked for, and no session is named",
            ));
        }
        let missing = || Status::not_found(format!("no active session for {id}: context deadline exceeded"));
        self.wait(|state| state.sessions.get(id).cloned()).await.ok_or_else(missing)
    }

    /// The build of this id, which may be about to begin.
    pub(crate) async fn find_build(&self, id: &str) -> Option<Arc<Build>> {
        self.wait(|state| state.builds.get(id).cloned()).await
    }

    /// Ends the builds that their clients call so.
    pub fn cancel(&self, name: &str) {
        let state = self.state();
        state.builds.values().filter(|build| build.called == name).for_each(|build| build.life.end());
    }

    /// Whether a client waits for the build of this id.
    pub(crate) fn runs(&self, id: &str) -> bool {
        self.state().builds.contains_key(id)
    }

    /// Images by digest that builds which run have made, or loaded for their clients.
    pub(crate) fn made_here(&self) -> Vec<String> {
        let builds: Vec<Arc<Build>> = self.state().builds.values().cloned().collect();
        builds.iter().flat_map(|build| build.made_here()).collect()
    }

    /// How the image of this digest was made that is a result of a build which runs.
    pub(crate) fn origin(&self, digest: &str) -> Option<serde_json::Value> {
        let builds: Vec<Arc<Build>> = self.state().builds.values().cloned().collect();
        builds.iter().find_map(|build| build.origin(digest))
    }

    /// What the build of this id tells, if it runs or has ended lately.
    pub(crate) fn told(&self, id: &str) -> Option<Arc<Told>> {
        self.state().told(id)
    }

    /// The same of a build that may be about to begin, or is over before anybody looked.
    pub(crate) async fn find_told(&self, id: &str) -> Option<Arc<Told>> {
        self.wait(|state| state.told(id)).await
    }

    /// Makes a build known as long as what is returned lives.
    pub(crate) fn register(&self, build: Arc<Build>) -> Result<Registered, Status> {
        let mut state = self.state();
        let id = build.id().to_owned();
        if state.builds.contains_key(&id) {
            return Err(Status::already_exists(format!("build {id} exists already")));
        }
        state.builds.insert(id.clone(), build);
        drop(state);
        self.0.changed.send_replace(());
        Ok(Registered { host: self.clone(), id })
    }

    async fn wait<T>(&self, find: impl Fn(&State) -> Option<T>) -> Option<T> {
        let mut changed = self.0.changed.subscribe();
        let search = async {
            loop {
                changed.borrow_and_update();
                let found = find(&self.state());
                if found.is_some() {
                    return found;
                }
                changed.changed().await.ok()?;
            }
        };
        tokio::time::timeout(PATIENCE, search).await.ok().flatten()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session whose connection is about to come.
pub struct Opening {
    host: Host,
    id: String,
    client: About,
}

impl Opening {
    /// Keeps the session open until its client closes the connection.
    pub async fn run<T: Read + Write + Unpin + Send + 'static>(self, io: T) {
        let Opening { host, id, client } = self;
        let (line, connection) = match Line::open(io).await {
            Ok(opened) => opened,
            Err(error) => return tracing::debug!(%error, id, "session did not open"),
        };
        let session = Session::new(line, client);
        // Somebody may have come first since the answer.
        if let std::collections::hash_map::Entry::Vacant(place) = host.state().sessions.entry(id.clone()) {
            place.insert(session);
        } else {
            return tracing::debug!(id, "session exists already");
        }
        host.0.changed.send_replace(());
        let ended = connection.await;
        host.state().sessions.remove(&id);
        if let Err(error) = ended {
            tracing::debug!(%error, id, "session ended");
        }
    }
}

/// A build that is known by its id.
pub struct Registered {
    host: Host,
    id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut state = self.host.state();
        let Some(build) = state.builds.remove(&self.id) else { return };
        // Listeners hear of the end also when the build's future is dropped.
        let (told, id) = (build.told.clone(), std::mem::take(&mut self.id));
        let size = told.end();
        state.keep(Ended { id, told, size });
        build.life.end();
        drop(state);
        // What it has made may go with it, which takes no lock of ours.
        drop(build);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(id: &str, size: usize) -> Ended {
        Ended { id: id.to_owned(), told: Arc::new(Told::new(id)), size }
    }

    #[test]
    fn of_builds_of_one_id_the_last_is_heard() {
        let mut state = State::default();
        let (first, last) = (ended("b", 1), ended("b", 1));
        let told = last.told.clone();
        state.keep(first);
        state.keep(last);
        assert!(Arc::ptr_eq(&state.told("b").unwrap(), &told));
    }

    #[test]
    fn what_is_kept_of_builds_is_bounded() {
        let mut state = State::default();
        (0..ENDED_MAX).for_each(|number| state.keep(ended(&number.to_string(), 1)));
        assert!(state.told("0").is_some());
        state.keep(ended("more", 1));
        assert!(state.told("0").is_none() && state.told("1").is_some());
        state.keep(ended("much", ENDED_BYTES));
        assert!(state.ended.len() == 1 && state.told("much").is_some());
    }
}
