//! A client's directories as contexts: of each comes what the build reads of it, when it is known what that is, and nothing of one
//! that it does not read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Engine;
use engine::builds::received::Received;
use engine::builds::{BoxError, Bring, Policies, Reads, Sent};
use engine::images::Spread;
use oci::path::clean;
use tokio::runtime::Handle;
use tonic::{Code, Status};

use crate::Host;
use crate::build::Build;
use crate::fault;
use crate::llb::Local;
use crate::policy;
use crate::session::{Life, Session, Wanted};
use crate::status::Told;

const IGNORE: &str = ".dockerignore";
/// Paths and patterns that clients are told, each in a header: servers of Go refuse 500 of them.
const HEADERS_MAX: usize = 400;

/// A directory of a client.
#[derive(Clone)]
pub struct Folder {
    /// How the step is called that receives it.
    pub title: String,
    pub session: Session,
    /// The client's name for it.
    pub name: String,
    pub ignore: Ignore,
}

/// What of a directory is ignored.
#[derive(Clone)]
pub enum Ignore {
    /// What this says.
    Known(Option<String>),
    /// What the file in it says.
    OfTheFolder,
}

/// The directories that are contexts of a build; none is the main one.
pub struct Folders {
    receiver: Receiver,
    /// Files of images that are contexts.
    spread: Vec<Spread>,
    all: BTreeMap<Option<String>, Folder>,
}

#[derive(Clone)]
struct Receiver {
    engine: Engine,
    policies: Arc<Policies>,
    told: Arc<Told>,
    life: Life,
    /// What is received goes when the build is over.
    held: Arc<Mutex<Vec<Received>>>,
}

impl Folders {
    pub async fn new(host: &Host, build: &Build) -> Result<Folders, Status> {
        let (engine, told) = (host.engine().clone(), build.told.clone());
        let policies = Arc::new(policy::policies(host, build).await?);
        let life = build.life.clone();
        let receiver = Receiver { engine, policies, told, life, held: Arc::default() };
        Ok(Folders { receiver, spread: Vec::new(), all: BTreeMap::new() })
    }

    /// Keeps the files of an image as long as the others: where they are.
    pub fn keep(&mut self, files: Spread) -> PathBuf {
        let path = files.path().to_owned();
        self.spread.push(files);
        path
    }

    pub fn add(&mut self, context: Option<String>, folder: Folder) {
        self.all.insert(context, folder);
    }

    /// What a build calls to have their files; from a thread that may block.
    pub fn bring(&self) -> BTreeMap<Option<String>, Bring> {
        let runtime = Handle::current();
        let bring = |(context, folder): (&Option<String>, &Folder)| {
            let (runtime, receiver, folder) = (runtime.clone(), self.receiver.clone(), folder.clone());
            let bring: Bring = Arc::new(move |reads| {
                policy::may_read(&receiver.policies, &folder.name)?;
                let sent = runtime.block_on(receiver.life.share(receiver.receive(&folder, reads)));
                sent.map_err(|status| BoxError::from(status.message().to_owned()))
            });
            (context.clone(), bring)
        };
        self.all.iter().map(bring).collect()
    }

    /// Removes what was received and is not kept.
    pub fn forget(self) {
        // Removing many files takes a while.
        tokio::task::spawn_blocking(move || drop(self));
    }
}

impl Receiver {
    async fn receive(&self, folder: &Folder, reads: &Reads) -> Result<Sent, Status> {
        let Folder { title, session, name, ignore } = folder;
        let ignore = match ignore {
            Ignore::Known(text) => text.clone(),
            Ignore::OfTheFolder => {
                let bytes = ignore_file(&self.engine, session, name).await?;
                bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        let exclude = ignore.as_deref().map(patterns).unwrap_or_default();
        let follow = match reads {
            Reads::Paths(paths) if paths.len() + exclude.len() <= HEADERS_MAX => {
                paths.iter().cloned().collect()
            }
            Reads::All | Reads::Paths(_) => Vec::new(),
        };
        let wanted = Wanted { name: name.clone(), include: Vec::new(), exclude, follow };
        let received = transfer(&self.engine, &self.told, title, (session, ""), wanted).await?;
        let path = received.path().to_owned();
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(received);
        Ok(Sent { path, ignore })
    }
}

/// Receives what a graph reads of a client's directory.
pub async fn receive(host: &Host, build: &Build, local: &Local) -> Result<Received, Status> {
    let own = build.order.session.as_str();
    let session = host.find_session(if local.session.is_empty() { own } else { &local.session }).await?;
    let wanted = Wanted {
        name: local.name.clone(),
        include: local.include.clone(),
        exclude: local.exclude.clone(),
        follow: local.follow.clone(),
    };
    if local.anew {
        let step = build.told.step(&local.title);
        return step.end(few(host.engine(), &session, wanted).await);
    }
    transfer(host.engine(), &build.told, &local.title, (&session, &local.hint), wanted).await
}

/// What a client gives once under an address of its session, as a file in a directory: all solves of a build have it.
pub async fn upload(host: &Host, build: &Build, address: &str) -> Result<Arc<Received>, Status> {
    let session = host.find_session(&build.order.session).await?;
    let receive = async {
        let into = Received::new(host.engine()).await.map_err(fault::status)?;
        let step = build.told.step(address);
        let received = build.life.share(session.uploaded(address, into)).await;
        Ok(Arc::new(step.end(received)?))
    };
    build.uploads.once(address, receive).await
}

/// Receives files of a client, of which those that came the last time need not come again if it tells its contexts apart.
async fn transfer(
    engine: &Engine,
    told: &Told,
    title: &str,
    (session, hint): (&Session, &str),
    wanted: Wanted,
) -> Result<Received, Status> {
    let step = told.step(title);
    let called = wanted.name.clone();
    let work = async {
        let into = match session.context_key() {
            Some(key) => Received::again(engine, format!("{key}\0{hint}\0{wanted:?}")).await,
            None => Received::new(engine).await,
        };
        let into = into.map_err(fault::status)?;
        session.files(&wanted, into).await
    };
    let received = work.await;
    if let Ok(received) = &received {
        step.progress(&format!("transferring {called}:"), received.bytes(), 0, true);
    }
    step.end(received)
}

/// A few files that are read at once.
pub async fn few(engine: &Engine, session: &Session, wanted: Wanted) -> Result<Received, Status> {
    let into = Received::new(engine).await.map_err(fault::status)?;
    session.files(&wanted, into).await
}

/// The ignore file of a client's directory, if there is one.
pub async fn ignore_file(
    engine: &Engine,
    session: &Session,
    folder: &str,
) -> Result<Option<Vec<u8>>, Status> {
    let wanted = Wanted { name: folder.to_owned(), follow: vec![IGNORE.to_owned()], ..Wanted::default() };
    let found = match few(engine, session, wanted).await {
        // What is asked about a Dockerfile needs no context.
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => return Ok(None),
        found => found?,
    };
    found.read(IGNORE, dockerfile::ignore::MAX_SIZE as u64).map_err(fault::status)
}

/// The patterns of an ignore file, as clients want them.
fn patterns(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
    let pattern = |line: &str| {
        let (sign, path) = match line.strip_prefix('!') {
            Some(path) => ("!", path.trim()),
            None => ("", line),
        };
        let path = clean(path);
        let path = path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&path);
        format!("{sign}{path}")
    };
    lines.filter(|line| !line.is_empty()).map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignore_files_become_patterns() {
        assert_eq!(
            patterns("# a comment\n\n/node_modules/\n ! keep/./x \n*.log\n"),
            ["node_modules", "!keep/x", "*.log"]
        );
    }
}
