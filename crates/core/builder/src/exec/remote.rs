//! `ADD` of what lies elsewhere: files by their URL, commits of repositories.
//!
//! For the key it is enough to know what would come: a file's digest, a commit's id. The content is fetched when the step
//! has to run.

use super::Prepared;
use super::copy::Job;
use crate::context::access;
use crate::error::Error;
use crate::files::copy::Writer;
use crate::files::select;
use crate::files::walk::Tree;
use crate::graph::{Asking, CopySource, Op};
use crate::request::{Env, Request};
use crate::session::{Session, io_error};
use crate::source::{self, GitUrl, git, url};
use dockerfile::ignore::Ignore;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use sys::root::Root;

/// What was found out about a source for the key.
pub(crate) enum Remote {
    /// A file.
    File { url: String, asking: Asking, known: url::Known },
    /// A commit.
    Commit { url: GitUrl, keep_git_dir: bool, who: Who },
}

/// Who this build is for a repository's host, and which keys that has.
pub(crate) struct Who {
    secrets: BTreeMap<String, Vec<u8>>,
    agent: Option<PathBuf>,
    known_hosts: Option<String>,
}

impl Who {
    /// What was given with the build, and what its client has of the rest.
    fn of(session: &Session<'_>, url: &GitUrl, known_hosts: Option<&str>) -> Result<Who, source::Error> {
        let given = access(session.env, session.request);
        let mut who = Who {
            secrets: given.secrets.clone(),
            agent: given.agent.map(PathBuf::from),
            known_hosts: known_hosts.map(String::from),
        };
        let asking = |error| source::Error::Ask { url: url.shown(), source: error };
        if let Some(secrets) = &session.env.secrets {
            for id in url.secrets().into_iter().filter(|id| !given.secrets.contains_key(id)) {
                if let Some(secret) = secrets(&id).map_err(asking)? {
                    who.secrets.insert(id, secret);
                }
            }
        }
        if let (true, None, Some(agents)) = (url.is_ssh(), &who.agent, &session.env.agents) {
            who.agent = agents("default").map_err(asking)?;
        }
        Ok(who)
    }

    fn access<'a>(&'a self, env: &Env, request: &'a Request) -> git::Access<'a> {
        git::Access {
            secrets: &self.secrets,
            agent: self.agent.as_deref(),
            known_hosts: self.known_hosts.as_deref(),
            ..access(env, request)
        }
    }
}

/// Adds what a source stands for now to `read`, and keeps what is known.
pub(crate) fn read(
    session: &Session<'_>,
    op: &Op,
    source: &CopySource,
    prepared: &mut Prepared,
    read: &mut BTreeMap<String, String>,
) -> Result<Option<Remote>, Error> {
    let fail = |error| failed(session, op, error);
    match source {
        CopySource::Url { url, checksum, asking } => {
            let path = place(session, prepared)?;
            let known =
                files(session, asking, &|| session.stopped(), |s| s.look(url, checksum.as_ref(), &path));
            let known = known.map_err(fail)?;
            session.materials().file(url, &known.digest);
            let modified = known.modified.map_or_else(String::new, |seconds| seconds.to_string());
            read.insert(url.clone(), format!("{} {} {modified}", known.digest, known.name));
            Ok(Some(Remote::File { url: url.clone(), asking: asking.clone(), known }))
        }
        CopySource::Git { url: text, checksum, keep_git_dir, known_hosts } => {
            let mut url = GitUrl::parse(text).map_err(fail)?;
            url.commit = checksum.clone().or(url.commit);
            let scratch = place(session, prepared)?;
            std::fs::create_dir(&scratch).map_err(io_error("make", &scratch))?;
            let cancelled = || session.stopped();
            let who = Who::of(session, &url, known_hosts.as_deref()).map_err(fail)?;
            let repository =
                git::Repository::new(&url, who.access(session.env, session.request), &scratch, &cancelled);
            let commit = repository.and_then(|repository| repository.commit()).map_err(fail)?;
            session.materials().commit(&url, &commit);
            let keep_git_dir = keep_git_dir.or(url.keep_git_dir).unwrap_or(false);
            read.insert(oci::address::without_userinfo(text), format!("commit {commit}"));
            Ok(Some(Remote::Commit { url, keep_git_dir, who }))
        }
        CopySource::Path(_) | CopySource::Inline { .. } => Ok(None),
    }
}

/// A path of its own for what comes.
fn place(session: &Session<'_>, prepared: &mut Prepared) -> Result<PathBuf, Error> {
    let scratch = match prepared.scratch.take() {
        Some(scratch) => scratch,
        None => session.scratch()?,
    };
    prepared.places += 1;
    let path = scratch.path.join(format!("remote-{}", prepared.places));
    prepared.scratch = Some(scratch);
    Ok(path)
}

/// The files of what has none.
pub(super) fn empty(session: &Session<'_>, prepared: &mut Prepared) -> Result<Root, Error> {
    let scratch = place(session, prepared)?;
    std::fs::create_dir(&scratch).map_err(io_error("make", &scratch))?;
    Root::open(&scratch).map_err(io_error("open", &scratch))
}

fn files<T>(
    session: &Session<'_>,
    asking: &Asking,
    cancelled: &dyn Fn() -> bool,
    work: impl FnOnce(&url::Source<'_>) -> Result<T, source::Error>,
) -> Result<T, source::Error> {
    work(&url::Source {
        fetch: session.env.fetch.as_ref(),
        asking,
        db: &session.env.db,
        limit: session.env.store.limits().bytes,
        cancelled,
    })
}

fn failed(session: &Session<'_>, op: &Op, error: source::Error) -> Error {
    if matches!(error, source::Error::Cancelled) {
        return Error::Cancelled;
    }
    let message = error.to_string();
    let mut step = session.step_error(op, message);
    if matches!(error, source::Error::NoGit { .. }) {
        step.hint = Some("install git, or ADD an archive of the commit".into());
    }
    step.source = std::error::Error::source(&error).is_some().then(|| error.into());
    Error::Step(step)
}

/// Writes what a source stands for.
pub(crate) fn write(
    job: &Job<'_, '_>,
    writer: &mut Writer<'_>,
    remote: &Remote,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    match remote {
        Remote::File { url, asking, known } => {
            let loaded = match &known.loaded {
                Some(loaded) => loaded.clone(),
                None => fetch(job, (url, asking), known, prepared)?,
            };
            file(job, writer, &loaded)
        }
        Remote::Commit { url, keep_git_dir, who } => commit(job, writer, (url, *keep_git_dir, who), prepared),
    }
}

fn fetch(
    job: &Job<'_, '_>,
    (url, asking): (&str, &Asking),
    known: &url::Known,
    prepared: &mut Prepared,
) -> Result<url::Loaded, Error> {
    let (session, op) = (job.session, job.op);
    let checksum = job.copy.sources.iter().any(
        |source| matches!(source, CopySource::Url { url: own, checksum: Some(_), .. } if own.as_str() == url),
    );
    let path = place(session, prepared)?;
    let expected = checksum.then_some(&known.digest);
    let loaded = files(session, asking, &|| session.stopped(), |s| s.load(url, expected, &path));
    let loaded = loaded.map_err(|error| failed(session, op, error))?;
    // The server said that nothing had changed and gives something else: that is no result to remember.
    prepared.unsteady |= loaded.digest != known.digest;
    Ok(loaded)
}

fn file(job: &Job<'_, '_>, writer: &mut Writer<'_>, loaded: &url::Loaded) -> Result<(), Error> {
    let open = || File::open(&loaded.path).map_err(io_error("open", &loaded.path));
    let wrong = |message: &str| Err(Error::Step(job.session.step_error(job.op, message)));
    if job.copy.unpack == Some(true) {
        return match job.extract(writer, open()?, open()?)? {
            true => Ok(()),
            false => wrong("the URL's content is no archive"),
        };
    }
    // As BuildKit calls it.
    let name = if loaded.name.is_empty() { "__unnamed__" } else { &loaded.name };
    let target = job.target(writer, &OsString::from(name))?;
    writer.write(&target, open()?, 0o600, loaded.modified).map_err(|e| job.fail(e))
}

fn commit(
    job: &Job<'_, '_>,
    writer: &mut Writer<'_>,
    (url, keep_git_dir, who): (&GitUrl, bool, &Who),
    prepared: &mut Prepared,
) -> Result<(), Error> {
    let session = job.session;
    let scratch = place(session, prepared)?;
    std::fs::create_dir(&scratch).map_err(io_error("make", &scratch))?;
    let cancelled = || session.stopped();
    let repository =
        git::Repository::new(url, who.access(session.env, session.request), &scratch, &cancelled);
    let checked_out = repository.and_then(|repository| repository.checkout(keep_git_dir));
    let git::Checkout { root, .. } = checked_out.map_err(|error| failed(session, job.op, error))?;
    let from = Tree { root: &root, ignore: None, is_context: true, cancelled: &|| session.stopped() };
    let exclude = Ignore::from_patterns(job.copy.exclude.iter().map(String::as_str));
    let exclude = exclude.map_err(|e| job.fail(e.into()))?;
    for found in select::select(&from, "/", &exclude).map_err(|e| job.fail(e))? {
        writer.copy(&from, &found, &job.copy.dest).map_err(|e| job.fail(e))?;
    }
    Ok(())
}
